"""Comparisons of several sources, profiles and modes: which ratios are printed, and how."""

from __future__ import annotations

import io
import re
from itertools import combinations, product

import pytest
from report.results import compare, estimate, quantity
from report.test_text import Terminal

from bnnsim.report.costs import comparable, compare_blocks, marks, ratio_tables
from bnnsim.report.text import plain, write_blocks

MODES = ("float32", "int8", "binary")
SIDES = [
    {"source": s, "profile": p, "mode": m}
    for s, p, m in product(("net", "other"), ("cmos45", "chip"), MODES)
]


@pytest.fixture(scope="module")
def result():
    columns = [estimate(s["mode"], model=s["source"], profile=s["profile"]) for s in SIDES]
    ratios = [
        {"of": a, "over": b, "energy": quantity(i + 1.0), "latency": quantity(2.0), "memory": 3.0}
        for i, (a, b) in enumerate(combinations(SIDES, 2))
    ]
    return {"schema": 1, "columns": columns, "ratios": ratios}


def test_ratios_are_printed_where_one_thing_differs(result):
    found = {t.title: t for t in ratio_tables(result["ratios"])}
    # 4 x 3 pairs of modes, 6 of profiles, 6 of sources; the other 42 of 66 stay in the JSON.
    assert {title: len(t.rows) for title, t in found.items()} == {
        "Ratios between modes [90 % interval]": 12,
        "Ratios between profiles [90 % interval]": 6,
        "Ratios between sources [90 % interval]": 6,
    }
    assert len(comparable(result["ratios"])) == 24
    heads = [c.head for c in found["Ratios between profiles [90 % interval]"].columns]
    assert heads == ["source", "mode", "of", "over", "energy (x)", "latency (x)", "memory (x)"]


def test_rows_hold_what_is_the_same_and_both_that_differ(result):
    (table, *_) = ratio_tables(result["ratios"])
    of, over = SIDES[7], SIDES[8]
    ratio = next(r for r in result["ratios"] if (r["of"], r["over"]) == (of, over))
    row = next(r for r in table.rows if r[:4] == ("other", "cmos45", "int8", "binary"))
    assert row[4].startswith(f"{ratio['energy']['value']:.1f} [")


def test_one_kind_of_step_needs_no_column_for_the_rest():
    (table,) = ratio_tables(compare("float32", "int8", "binary")["ratios"])
    assert table.title == "Ratios [90 % interval]"
    assert [c.head for c in table.columns][:3] == ["of", "over", "energy (x)"]
    assert [row[:2] for row in table.rows] == [
        ("float32", "int8"), ("float32", "binary"), ("int8", "binary")
    ]  # fmt: skip


def test_sources_of_one_name_are_still_compared():
    side = {"source": "net", "profile": "cmos45", "mode": "binary"}
    ratio = {"of": side, "over": side, "energy": quantity(1.0), "latency": quantity(1.0),
             "memory": 1.0}  # fmt: skip
    (table,) = ratio_tables([ratio])
    assert table.rows[0][:2] == ("net", "net")


def test_no_ratio_gives_no_table():
    assert ratio_tables([]) == []


def test_marks_name_modes_where_that_says_which_columns(result):
    for column in result["columns"]:
        column["notes"] = ["what-if"] if column["mode"] != "binary" else []
    result["columns"][2]["unpriced"] = ["x"]
    said = [mark.text for mark in marks(result["columns"])]
    assert said[0] == "float32, int8: what-if"
    assert said[1].startswith("net binary cmos45: NOT priced")


@pytest.mark.parametrize("width", [80, 140])
def test_twelve_columns_fit_a_terminal(result, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    stream = Terminal()
    write_blocks(compare_blocks(result), stream)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue()).splitlines()
    assert max(map(len, lines)) <= width
    shown = " ".join(lines)
    for word in plain(compare_blocks(result)).split():
        assert set(word) == {"-"} or word in shown


def test_a_pipe_gets_every_table_whole(result):
    stream = io.StringIO()
    write_blocks(compare_blocks(result), stream)
    assert "(continued)" not in stream.getvalue()
    (head,) = [line for line in stream.getvalue().splitlines() if line.startswith("component ")]
    assert head.count("(uJ, share)") == 12
