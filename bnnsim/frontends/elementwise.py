"""Elementwise functions of a value that has few states, followed state by state.

An 8-bit pixel has 256 states, the sign of a number three. Every elementwise operator between such
a value and its first other use is applied, by torch itself, to the table of all states; what
comes out is the function, exactly, whatever it was made of.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bnnsim.graph.dtypes import BIT, FLOAT32, INT8, INT16, INT32, DType

_CASTS = ("to", "_to_copy", "type_as")
_ARITHMETIC = ("mul", "add", "sub", "rsub", "div", "neg", "abs", "pow", "floor", "round", "trunc")
_CHOICES = ("where", "ge", "gt", "le", "lt", "eq", "ne", "logical_not", "sign")
_LIMITS = ("clamp", "clamp_min", "clamp_max", "hardtanh", "relu", "relu6")
ELEMENTWISE = frozenset(
    {"bnnsim.sign"}.union("aten." + n for n in _CASTS + _ARITHMETIC + _CHOICES + _LIMITS)
)
_INTEGERS = (BIT, INT8, INT16, INT32)


@dataclass(frozen=True, slots=True)
class Lookup:
    """A function of an activation's states: ``table[state]``.

    Parameters
    ----------
    source : Activation
        What has the states.
    table : torch.Tensor or ndarray, (states,)
        256 entries where the source is uint8; 3 where it is compared with zero: the value for
        numbers below zero, for zero itself, and for those above.
    compared : bool
        Whether the states are those of a comparison.
    place : str
        How messages name that comparison.
    """

    source: Any
    table: Any
    compared: bool = False
    place: str = ""


def outcomes(kind: str) -> tuple[float, float, float]:
    """Return what a sign, or a comparison with zero, gives below zero, at zero and above."""
    return {
        "sign": (-1, 0, 1),
        "ge": (False, True, True),
        "gt": (False, False, True),
        "le": (True, True, False),
        "lt": (True, False, False),
    }[kind]


def numbers(value: Any) -> np.ndarray:
    """Return a constant, whether torch's or numpy's, as an array."""
    return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)


def scalar_of(value: Any) -> Any:
    """Return a constant tensor of equal elements as its 0-d tensor, other constants unchanged."""
    if not hasattr(value, "shape") or 0 in value.shape:
        return value
    first = value.reshape(-1)[0]
    return first if bool((value == first).all()) else value


def apply_to_table(target: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Lookup | None:
    """Return the Lookup of an elementwise operator over Lookups and constants, or None.

    None means that the operands differ in their source or that a constant is no scalar.
    """
    lookups = [arg for arg in (*args, *kwargs.values()) if isinstance(arg, Lookup)]
    first = lookups[0]
    if any((k.source, k.compared) != (first.source, first.compared) for k in lookups):
        return None

    def operand(value: Any) -> Any:
        if not isinstance(value, Lookup):
            return scalar_of(value)
        return value.table.clone() if hasattr(value.table, "clone") else value.table.copy()

    positional, named = [operand(v) for v in args], {k: operand(v) for k, v in kwargs.items()}
    constants = [
        value
        for given, value in zip(
            (*args, *kwargs.values()), (*positional, *named.values()), strict=True
        )
        if not isinstance(given, Lookup) and hasattr(value, "shape")
    ]
    if any(math.prod(value.shape) != 1 for value in constants):
        return None  # one value per feature: no function of the state alone
    table = target(*positional, **named)
    if table.shape != first.table.shape:
        return None
    return replace(first, table=table)


def table_type(values: np.ndarray) -> DType:
    """Return the narrowest of bit, int8, int16, int32 and float32 that holds a table."""
    for dtype in _INTEGERS:
        if dtype.valid(values.astype(np.float64)).all():
            return dtype
    return FLOAT32


def levels_type(low: int, high: int) -> DType:
    """Return the narrowest type of the integers from ``low`` to ``high``."""
    if (low, high) == (-1, 1):
        return DType("ternary", 2)
    if low >= 0:
        return DType("unsigned", max(1, high.bit_length()))
    return DType("signed", 1 + max(-low - 1, high, 1).bit_length())
