"""Attribute checkers: each returns a value's normal form or raises ValueError with the rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bnnsim.graph.dtypes import DType

_INT32_MAX = 2**31 - 1


def integer(value: Any) -> int:
    """Return an integer."""
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > _INT32_MAX:
        raise ValueError("an integer of at most 32 bits")
    return value


def positive(value: Any) -> int:
    """Return an integer of at least 1."""
    if integer(value) < 1:
        raise ValueError("a positive integer")
    return int(value)


def natural(value: Any) -> int:
    """Return an integer of at least 0."""
    if integer(value) < 0:
        raise ValueError("an integer of at least 0")
    return int(value)


def number(value: Any) -> float:
    """Return a number that is not NaN."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        raise ValueError("a number")
    return float(value)


def truth(value: Any) -> bool:
    """Return a truth value."""
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def tuple_of(count: int, low: int) -> Callable[[Any], tuple[int, ...]]:
    """Return a checker of ``count`` integers of at least ``low``."""

    def check(value: Any) -> tuple[int, ...]:
        rule = f"{count} integers of at least {low}"
        if not isinstance(value, (list, tuple)) or len(value) != count:
            raise ValueError(rule)
        if not all(type(v) is int and low <= v <= _INT32_MAX for v in value):  # no bool
            raise ValueError(rule)
        return tuple(value)

    return check


def sizes(value: Any) -> tuple[int, ...]:
    """Return the shape of an activation: one to three positive integers."""
    if not isinstance(value, (list, tuple)) or not 1 <= len(value) <= 3:
        raise ValueError("one to three integers of at least 1")
    return tuple_of(len(value), 1)(value)


def limits(value: Any) -> tuple[int, ...]:
    """Return nothing, or the lowest and the highest of some integers."""
    rule = "nothing, or two integers of which the first is not the greater"
    if not isinstance(value, (list, tuple)) or len(value) not in (0, 2):
        raise ValueError(rule)
    ends = tuple(map(integer, value))
    if ends and ends[0] > ends[1]:
        raise ValueError(rule)
    return ends


def one_of(*choices: Any) -> Callable[[Any], Any]:
    """Return a checker of membership."""

    def check(value: Any) -> Any:
        if isinstance(value, bool) or value not in choices:
            raise ValueError(f"one of {', '.join(map(repr, choices))}")
        return value

    return check


def dtype_name(value: Any) -> str:
    """Return the normal name of a dtype."""
    if not isinstance(value, str):
        raise ValueError("a dtype name")
    return str(DType.parse(value))
