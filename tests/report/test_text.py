"""Text blocks: aligned, complete, without colour codes in a pipe."""

from __future__ import annotations

import io
import re

import pytest
from report.results import compare, estimate

from bnnsim.report.costs import compare_blocks, estimate_blocks, marks, summary_table
from bnnsim.report.html import render
from bnnsim.report.numbers import interval
from bnnsim.report.tables import Mark, table
from bnnsim.report.text import plain, write_blocks


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_table_is_aligned_and_whole():
    long = "x" * 300
    text = plain([table("title", ("name", "energy (uJ)"), [("a", "1.0"), (long, "12.5")])])
    assert text.splitlines() == [
        "title",
        f"{'name':<300}  energy (uJ)",
        f"{'-' * 300}  {'-' * 11}",
        f"{'a':<300}  {'1.0':>11}",
        f"{long}  {'12.5':>11}",
    ]


def test_plain_lines_follow_each_other_and_tables_stand_apart():
    shown = plain(["one", "two", table("t", ("a",), [("b",)]), "three"])
    assert shown == "one\ntwo\n\nt\na\n-\nb\n\nthree\n"


def test_words_stand_left_and_figures_right():
    built = table("", ("layer", "kind", "MACs", "share (%)"), [("1", "binary", "1,000", "<0.1")])
    assert [column.left for column in built.columns] == [True, True, False, False]


def test_table_without_rows_shows_its_head():
    assert plain([table("t", ("a", "b"), [])]) == "t\na  b\n-  -\n"


def test_pipe_gets_no_escape_codes():
    stream = io.StringIO()
    write_blocks(estimate_blocks(estimate()), stream)
    assert "\x1b" not in stream.getvalue()


def test_terminal_gets_rich_tables_and_no_escape_code_from_a_name(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "200")
    stream = Terminal()
    write_blocks(["head", Mark("mark"), table("", ("a",), [("x\x1b[2Jy [red]z[/red]",)])], stream)
    shown = stream.getvalue()
    assert "\x1b[2J" not in shown
    assert "x\\x1b[2Jy [red]z[/red]" in shown
    assert "\x1b[1m" in shown


def test_narrow_encodings_do_not_fail():
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    write_blocks(["Größe"], stream)
    assert raw.getvalue() == b"Gr\\xf6\\xdfe\n"


def test_estimate_text_holds_the_figures():
    result = estimate(batch=4)
    text = plain(estimate_blocks(result))
    energy = interval(result["totals"]["energy_per_inference_j"], 1e-6)
    (row,) = [line for line in text.splitlines() if line.startswith("energy per inference (uJ)")]
    assert row.endswith(f" {energy}")
    assert "net binary on cmos45, batch 4" in text.splitlines()[0]
    assert "9,000" not in text
    assert "5,000" in text


def test_compare_text_names_columns_by_what_differs():
    text = plain(compare_blocks(compare("float32", "binary")))
    assert "net on cmos45, batch 1" in text
    assert any(line.startswith("float32 ") for line in text.splitlines())
    assert "net float32" not in text


def test_marks_come_first_and_say_which_column():
    result = compare("float32", "int8", "binary")
    for column in result["columns"][:2]:
        column["notes"] = ["what-if: not trained in this precision, no accuracy"]
    result["columns"][2]["unpriced"] = ["PRelu at act3"]
    first, second = plain(compare_blocks(result)).splitlines()[:2]
    assert first == "float32, int8: what-if: not trained in this precision, no accuracy"
    assert second == "binary: NOT priced, missing from every total: PRelu at act3"


def test_synthetic_result_is_marked_once():
    plainly = marks([estimate(synthetic=True)])
    assert [mark.text for mark in plainly] == [
        "binary: cost-only twin: some of its values are made up, no accuracy"
    ]
    said = marks([estimate(synthetic=True, notes=["cost-only twin: no accuracy"])])
    assert [mark.text for mark in said] == ["binary: cost-only twin: no accuracy"]


@pytest.mark.parametrize("width", [30, 60, 80, 200])
def test_no_terminal_is_too_narrow_for_a_cell(width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    stream = Terminal()
    cells = ("alpha", "0.0332", "[0.00712, 0.0161]", "138 (3.2 %)", "omega")
    write_blocks([table("t", ("a", "b", "c", "d", "e"), [cells])], stream)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue()).split()
    assert set(" ".join(cells).split()) <= set(shown)


@pytest.mark.parametrize("width", range(24, 150, 9))
def test_wide_tables_go_in_parts_that_are_never_cut(width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    heads = ["component", *(f"mode{i} (uJ)" for i in range(19))]
    rows = [["weight memory", *(f"{i}.{i}55 ({i}.1 %)" for i in range(19))], ["io", *["-"] * 19]]
    stream = Terminal()
    write_blocks([table("parts", heads, rows)], stream)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue()).splitlines()
    assert max(map(len, lines)) <= width
    words = [word for line in lines for word in line.split()]
    assert {word for row in rows for cell in row for word in cell.split()} <= set(words)
    parts = words.count("io")
    assert words.count("(continued)") == parts - 1 == words.count("parts") - 1
    assert parts > 1


def test_large_and_small_totals_take_another_unit():
    found = estimate()
    totals = found["totals"]
    totals["energy_per_inference_j"] = {"value": 16.009e-3, "low": 9.158e-3, "high": 26.79e-3}
    totals["throughput_per_s"] = {"value": 24030.0, "low": 20000.0, "high": 30000.0}
    totals["latency_s"] = {"value": 250e-9, "low": 200e-9, "high": 300e-9}
    said = [" ".join(line.split()) for line in plain(estimate_blocks(found)).splitlines()]
    assert "energy per inference (mJ) 16.0 [9.16, 26.8]" in said
    assert "throughput (k/s) 24.0 [20.0, 30.0]" in said
    assert "latency of the batch (ns) 250 [200, 300]" in said
    row = summary_table([found]).rows[0]
    assert row[1:3] == ("16.0 [9.16, 26.8]", "250 [200, 300]")
    text = render(found)
    assert ">24.0 k/s<" in text
    assert ">16.0 mJ<" in text
