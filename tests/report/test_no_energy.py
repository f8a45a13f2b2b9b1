"""A profile without energies: nothing shows 0 joules where nothing was estimated."""

from __future__ import annotations

import pytest
from report.pages import Page, charts

import bnnsim
from bnnsim.report import figures
from bnnsim.report.constants import assumptions_table, flip_blocks, sensitivity_blocks
from bnnsim.report.costs import compare_blocks, estimate_blocks
from bnnsim.report.html import render
from bnnsim.report.text import plain

TFC = bnnsim.load("zoo:tfc")


@pytest.fixture(scope="module")
def one():
    return bnnsim.estimate(TFC, "zc706", allow_unpriced=True).to_dict()


@pytest.fixture(scope="module")
def several():
    names = ["zc706", "ultra96", "pynq-z1"]
    return bnnsim.compare([TFC], names, ["binary"], allow_unpriced=True).to_dict()


def test_the_text_of_an_estimate_says_not_estimated(one):
    lines = plain(estimate_blocks(one)).splitlines()
    for total in ("energy per inference (uJ)", "energy of the batch (uJ)", "power (mW)"):
        (line,) = (x for x in lines if x.startswith(total))
        assert line.split("  ")[-1].strip() == "not estimated"
    assert any(x.split() == ["all", "not", "estimated", "-"] for x in lines)
    (dense,) = (x for x in lines if x.startswith("dense1"))
    assert dense.split()[-4:-2] == ["-", "-"]


def test_no_constant_has_a_share_of_an_energy_that_there_is_none_of(one):
    table = assumptions_table(one, known=False)
    assert table.title.startswith("Constants (energy not estimated)")
    assert {row[2] for row in table.rows} == {"-"}
    assert sensitivity_blocks(one) == ["sensitivity: none, no energy was estimated"]


def test_sensitivities_and_flips_in_text():
    result = bnnsim.estimate(bnnsim.load("zoo:cnv"), "cmos45", flip=True).to_dict()
    first, *_ = result["sensitivity"]
    lines = plain(sensitivity_blocks(result)).splitlines()
    row = next(line.split() for line in lines if line.startswith(first["constant"]))
    assert row[1] == f"{first['percent_per_10_percent']:+.2f}"
    flips = [flip for flip in result["flips"] if flip["flips"]]
    said, table = flip_blocks(result)
    assert (
        said == f"searches at the ends of bands: {len(result['flips'])}, of which "
        f"{len(flips)} flip the mapping"
    )
    assert [(row[0], row[2]) for row in table.rows] == [
        (flip["constant"], str(flip["layers"])) for flip in flips
    ]
    assert flip_blocks({}) == []


def test_the_page_of_an_estimate_has_no_figure_of_energy(one):
    text = render(one)
    page = Page(text)
    row = page.tables["Totals [90 % interval]"][1]
    assert (row[1], row[3]) == ("not estimated", "not estimated")
    assert "energy not estimated" in "".join(page.text)
    assert "0 J" not in [t.strip() for t in page.text]
    assert not [title for title in charts(text) if "nergy" in title]
    assert any(title.startswith("Latency by layer") for title in charts(text))


def test_a_comparison_keeps_what_was_estimated(several):
    text = render(several)
    page = Page(text)
    totals = {row[0]: row for row in page.tables["Totals [90 % interval]"][1:]}
    assert totals["zc706"][1] == totals["ultra96"][1] == "not estimated"
    assert totals["pynq-z1"][1].startswith("0.837 [")
    ratios = next(t for c, t in page.tables.items() if c.startswith("Ratios"))[1:]
    assert [row[2] for row in ratios] == ["-"] * 3
    assert ratios[0][3].startswith("1.50 [")
    assert "x its energy" not in text
    bars = figures.totals_figure(several["columns"])
    assert bars.drawing.body.count("<circle") == 1
    assert "Energy not estimated for zc706, ultra96." in bars.caption
    assert "Energy by layer, binary" in charts(text)
    assert "Between profiles" not in text
    assert "0 J" not in plain(compare_blocks(several))
