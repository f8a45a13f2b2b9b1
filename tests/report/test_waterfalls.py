"""Waterfalls in text and on the page: the figures are those of the JSON."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
from report.pages import SVG, Page, charts
from report.results import compare

from bnnsim.errors import InputError
from bnnsim.report.check import checked
from bnnsim.report.costs import compare_blocks
from bnnsim.report.html import render
from bnnsim.report.waterfalls import waterfall_table

STEPS = (
    ("gb.read", "price", "J", 2e-11, 4e-11, 3e-6),
    ("dram.standby", "time", "s", 2e-3, 1e-3, -2.5e-6),
    ("add.bit", "count", "1/inference", 4e6, 2e6, -1e-6),
    ("dram.read", "removed", "J", 5e-7, 0.0, -5e-7),
)


def step(constant, cause, unit, before, after, energy) -> dict[str, Any]:
    return {"constant": constant, "cause": cause, "unit": unit, "from": before, "to": after,
            "energy_j": energy}  # fmt: skip


def result(steps=STEPS, start=10e-6) -> dict[str, Any]:
    found = compare("binary", "binary")
    end = start + sum(s[-1] for s in steps)
    side = {"source": "net", "mode": "binary"}
    found["waterfalls"] = [{
        "from": {**side, "profile": "first"}, "to": {**side, "profile": "second"},
        "start_j": start, "end_j": end, "steps": [step(*s) for s in steps],
    }]  # fmt: skip
    return found


def test_the_table_holds_steps_and_their_parts():
    found = waterfall_table(result()["waterfalls"][0])
    assert found.title == "net binary, first to second: 10.0 uJ to 9.00 uJ per inference"
    # Of the larger energy, 10 uJ, whatever the difference is.
    assert found.rows[0] == ("gb.read", "price", "20.0 pJ", "40.0 pJ", "3.00", "30.0")
    assert found.rows[1] == ("dram.standby", "time", "2.00 ms", "1.00 ms", "-2.50", "-25.0")
    assert found.rows[2] == ("add.bit", "count", "4e+06", "2e+06", "-1.00", "-10.0")
    assert found.rows[3] == ("dram.read", "removed", "500 nJ", "0", "-0.500", "-5.0")
    assert found.rows[-1] == ("all steps", "", "", "", "-1.00", "-10.0")


def test_parts_of_a_small_difference_stay_small():
    steps = (*STEPS[:1], ("dram.read", "price", "J", 5e-7, 1e-7, -2.999e-6),
             ("x.y", "price", "J", 1e-15, 1e-16, -1e-12))  # fmt: skip
    found = waterfall_table(result(steps)["waterfalls"][0])
    assert [row[-1] for row in found.rows] == ["30.0", "-30.0", "<0.1", "<0.1"]
    assert found.columns[-1].head == "of the larger energy (%)"
    text = render(result(steps))
    assert "matched by\nname alone" in text


def test_many_steps_end_in_one_row_of_the_rest():
    many = [("a.b", "price", "J", 1e-12, 2e-12, 1e-6 / (i + 1)) for i in range(15)]
    rows = waterfall_table(result(many)["waterfalls"][0]).rows
    assert len(rows) == 14
    assert rows[-2][0] == "3 more"
    assert float(rows[-2][4]) == pytest.approx(1 / 13 + 1 / 14 + 1 / 15, rel=5e-3)


def test_no_difference_is_a_table_too():
    rows = waterfall_table(result(())["waterfalls"][0]).rows
    assert rows == (("all steps", "", "", "", "0", "0"),)


def test_compare_text_ends_with_the_waterfall():
    assert compare_blocks(result())[-1].title.startswith("net binary, first to second")
    assert compare_blocks(compare("binary", "binary"))[-1].title.startswith("Ratios")


def spans(text: str) -> dict[str, list[tuple[str, float, float]]]:
    """Return the bars of the waterfall by label: class, start and width in per cent."""
    chart = next(c for title, c in charts(text).items() if "first to second" in title)
    found = {}
    for group in chart.findall(f"{SVG}g"):
        label = next(t.text for t in group.iter(f"{SVG}text") if t.get("class") == "label")
        bars = [
            (r.get("class"), float(r.get("x")[:-1]), float(r.get("width")[:-1]))
            for r in group.iter(f"{SVG}rect") if r.get("class") not in ("hit", "gap")
        ]  # fmt: skip
        found[label] = bars
    return found


def test_bars_run_from_one_total_to_the_other():
    found = spans(render(result()))
    # Axis to 15 uJ; what adds comes first: 10 to 13, then 13 to 10.5, 9.5 and 9.
    places = {label: bars[0] for label, bars in found.items()}
    expected = {
        "first": ("w-end", 0, 10), "gb.read (price)": ("w-up", 10, 3),
        "dram.standby (time)": ("w-down", 10.5, 2.5), "add.bit (count)": ("w-down", 9.5, 1),
        "dram.read (removed)": ("w-down", 9, 0.5), "second": ("w-end", 0, 9),
    }  # fmt: skip
    assert list(places) == list(expected)
    scale = places["first"][2] / 10
    for label, (style, start, width) in expected.items():
        assert places[label][0] == style
        assert places[label][1] == pytest.approx(start * scale, abs=2e-3)
        assert places[label][2] == pytest.approx(width * scale, abs=2e-3)


def test_the_page_is_whole_and_its_colours_are_known():
    text = render(result())
    page = Page(text)
    assert "net binary, first to second: 10.0 uJ to 9.00 uJ per inference" in page.tables
    assert 'href="#waterfalls"' in text
    for style in ("gap", "w-up", "w-down", "w-end"):
        assert re.search(rf"^[^{{]*\.bnnsim \.{style} \{{", text, re.MULTILINE)
    assert "waterfalls" not in render(compare("binary", "int8"))


def test_hostile_names_stay_text():
    bad = result()
    name = "<script>alert(1)</script>\u202e"
    bad["waterfalls"][0]["steps"][0]["constant"] = name
    bad["waterfalls"][0]["to"]["profile"] = name
    text = render(bad)
    assert "<script>" not in text
    assert "\u202e" not in text
    assert Page(text).tables


def test_check_takes_waterfalls_and_names_a_wrong_step():
    good = result()
    assert checked(good, where="r.json") is good
    bad = copy.deepcopy(good)
    bad["waterfalls"][0]["steps"][1]["cause"] = "magic"
    with pytest.raises(InputError, match=r"waterfalls\[0\]: steps\[1\]: cause: got 'magic'"):
        checked(bad, where="r.json")
    bad["waterfalls"][0]["steps"] = [{}]
    with pytest.raises(InputError, match="no key 'constant'"):
        checked(bad, where="r.json")
