"""Axes and bars: lengths on the page are the numbers that they stand for."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report.pages import SVG, stacks, ticks

from bnnsim.report.svg import Bar, bar_chart, linear_axis, log_axis, point_chart, shortened

UNITS = ((1e-9, "nJ"), (1e-6, "uJ"), (1e-3, "mJ"))


@given(st.floats(1e-12, 1e12))
def test_linear_axis_reaches_over_the_value_with_few_round_ticks(high):
    axis = linear_axis(high, "uJ")
    assert axis.high >= high * (1 - 1e-9)
    assert 2 <= len(axis.ticks) <= 6
    assert axis.ticks[-1][0] == axis.high


def test_linear_axis_of_nothing_has_a_length():
    assert linear_axis(0.0, "uJ").high == 1.0


def test_log_axis_spans_whole_decades():
    axis = log_axis(3e-9, 2e-6, UNITS)
    assert [text for _, text in axis.ticks] == ["1 nJ", "10 nJ", "100 nJ", "1 uJ", "10 uJ"]
    assert axis.place(1e-9) == 0
    assert axis.place(1e-5) == 100
    assert axis.place(1e-7) == pytest.approx(50)
    assert axis.place(0.0) == 0


def test_log_axis_over_many_decades_keeps_ticks_apart():
    assert len(log_axis(1e-15, 1.0, UNITS).ticks) <= 7


def test_bars_are_as_long_as_their_parts():
    bars = [Bar("a", "4", (("x", 1.0), ("y", 3.0))), Bar("b", "0", (("x", 0.0), ("y", 0.0)))]
    root = ET.fromstring(bar_chart("t", "d", bars, linear_axis(4.0, "uJ")).inline("n"))
    assert stacks(root) == [[("x", 25.0), ("y", 75.0)], []]
    assert ticks(root)[0] == (0.0, "0 uJ")
    assert ticks(root)[-1] == (100.0, "4 uJ")


def test_whiskers_stand_at_the_interval():
    bars = [Bar("a", "2", (("x", 2.0),), (1.0, 4.0))]
    root = ET.fromstring(point_chart("t", "d", bars, linear_axis(4.0, "uJ")).inline("n"))
    whiskers = [line for line in root.iter(f"{SVG}line") if line.get("class") == "whisker"]
    assert {(w.get("x1"), w.get("x2")) for w in whiskers} == {
        ("25.00%", "100.00%"), ("25.00%", "25.00%"), ("100.00%", "100.00%")
    }  # fmt: skip
    (dot,) = root.iter(f"{SVG}circle")
    assert dot.get("cx") == "50.00%"


def test_chart_has_title_and_description_that_label_it():
    root = ET.fromstring(bar_chart("<t>", "d & e", [], linear_axis(1, "")).inline("n"))
    ids = root.get("aria-labelledby").split()
    assert [root.find(f"{SVG}{tag}").get("id") for tag in ("title", "desc")] == ids
    assert root.find(f"{SVG}title").text == "<t>"
    assert root.find(f"{SVG}desc").text == "d & e"


def test_hostile_labels_stay_text():
    bar = Bar("</text><script>alert(1)</script>\x00", '"&<', (("x", 1.0),))
    root = ET.fromstring(bar_chart("t", "d", [bar], linear_axis(1, "")).inline("n"))
    assert not list(root.iter(f"{SVG}script"))
    assert not list(root.iter("script"))


def test_long_labels_lose_their_middle():
    assert shortened("a" * 34) == "a" * 34
    assert shortened("a" * 20 + "b" * 20) == "a" * 16 + "…" + "b" * 16


def test_long_labels_are_cut_between_words():
    text = "float32 / weight-only:fp32 of mnist-convnet, asic-example"
    assert len(shortened(text)) <= 34
    first, last = shortened(text).split("…")
    words = text.split(" ")
    assert first.split(" ")[-1] in words
    assert last.split(" ")[0] in words
