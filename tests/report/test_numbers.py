"""Figures keep three significant digits, and text from files cannot act on a terminal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnnsim.report.numbers import (
    JOULES,
    count,
    digits,
    interval,
    share,
    unit_for,
    visible,
)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"), (1, "1.00"), (12.345, "12.3"), (99.96, "100"), (0.9999, "1.00"), (2838.2, "2838"),
        (123456, "123456"), (999999.9, "1.00e+06"), (1e6, "1.00e+06"), (0.001, "0.00100"),
        (0.00099, "9.90e-04"), (-3.14159, "-3.14"), (1e-12, "1.00e-12"),
    ],
)  # fmt: skip
def test_digits_examples(value, text):
    assert digits(value) == text


@given(st.floats(1e-15, 1e15))
def test_digits_are_within_half_a_unit_of_the_third(value):
    assert float(digits(value)) == pytest.approx(value, rel=0.0051)


def test_interval_stands_in_the_unit_asked_for():
    quantity = {"value": 12.3e-6, "low": 8.1e-6, "high": 18.94e-6}
    assert interval(quantity, 1e-6) == "12.3 [8.10, 18.9]"


def test_interval_without_width_is_one_number():
    assert interval({"value": 2.0, "low": 2.0, "high": 2.0}) == "2.00"


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(1, 4, "25.0"), (0, 4, "0"), (1, 0, "0"), (1e-9, 1, "<0.1"), (0.0005, 1, "0.1")],
)
def test_share_examples(part, whole, text):
    assert share(part, whole) == text


def test_count_separates_thousands():
    assert count(8398080) == "8,398,080"


def test_visible_escapes_what_a_terminal_would_obey():
    assert visible("a\x1b[31mb\r\n\u202e\x00") == "a\\x1b[31mb\\r\\n\\u202e\\x00"
    assert visible("Größe 2") == "Größe 2"
    assert visible("\ud800") == "\\ud800"


@pytest.mark.parametrize(
    ("largest", "unit"),
    [(16.009e-3, "mJ"), (10e-3, "mJ"), (9.9e-3, "uJ"), (1e-9, "uJ"), (0.99e-9, "pJ"), (12.0, "J"),
     (0.0, "uJ")],
)  # fmt: skip
def test_a_table_keeps_its_unit_while_its_largest_figure_is_easily_read(largest, unit):
    assert unit_for([largest / 1e6, largest], 1e-6, JOULES)[1] == unit
    assert unit_for([], 1e-6, JOULES) == (1e-6, "uJ")
