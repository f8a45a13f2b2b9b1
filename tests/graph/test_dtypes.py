"""Dtypes: names, ranges, numpy storage and allowed values."""

from __future__ import annotations

import numpy as np
import pytest

from bnnsim.errors import GraphError
from bnnsim.graph.dtypes import BIT, TERNARY, DType

NAMES = ("bit", "ternary", "int8", "uint8", "int3", "uint2", "int32", "float16", "float32",
         "bfloat16", "bipolar2", "bipolar8")  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_parse_inverts_str(name: str) -> None:
    assert str(DType.parse(name)) == name


@pytest.mark.parametrize(
    ("name", "low", "high", "numpy"),
    [
        ("bit", -1, 1, "int8"),
        ("ternary", -1, 1, "int8"),
        ("int8", -128, 127, "int8"),
        ("uint8", 0, 255, "uint8"),
        ("int9", -256, 255, "int16"),
        ("bipolar2", -3, 3, "int8"),
        ("bipolar7", -127, 127, "int8"),
        ("bipolar8", -255, 255, "int16"),
        ("uint2", 0, 3, "uint8"),
        ("int32", -(2**31), 2**31 - 1, "int32"),
    ],
)
def test_range_and_storage(name: str, low: int, high: int, numpy: str) -> None:
    dtype = DType.parse(name)
    assert (dtype.low, dtype.high, str(dtype.numpy)) == (low, high, numpy)


def test_valid_marks_each_element() -> None:
    assert BIT.valid(np.array([-1, 0, 1, 2])).tolist() == [True, False, True, False]
    assert TERNARY.valid(np.array([-1, 0, 1, 2])).tolist() == [True, True, True, False]
    grid = np.array([-5, -3, -1, 0, 1, 2, 3, 2.5, np.inf, np.nan])
    assert grid[DType.parse("bipolar2").valid(grid)].tolist() == [-3, -1, 1, 3]
    floats = np.array([0.5, np.nan, np.inf], np.float32)
    assert DType.parse("float32").valid(floats).tolist() == [True, False, False]
    assert DType.parse("uint2").valid(np.array([-1, 0, 3, 4])).tolist() == [
        False,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(
    "name", ["int", "int0", "float8", "int65", "bits", "uint 8", "", "bipolar9", "bipolar0"]
)
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(GraphError, match=r"dtype.*expected"):
        DType.parse(name)


def test_scale_must_be_positive_and_finite() -> None:
    with pytest.raises(GraphError, match="scale: got 0"):
        DType("signed", 8, scale=0)
