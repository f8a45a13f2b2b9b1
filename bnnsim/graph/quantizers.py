"""The quantizers of Quantize: what type each gives, and what it computes.

Levels are integers; the real value that a level stands for is the level over the highest one. The
scale is an op of its own, after the next layer's sum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from bnnsim.errors import GraphError, message
from bnnsim.graph.dtypes import BIT, MAX_GRID_BITS, TERNARY, DType

Array = np.ndarray
SIGN, STOCHASTIC = "sign", "stochastic_sign"
DOREFA, GRID, TERNARIZE = "dorefa", "bipolar", "ternary"
QUANTIZER_NAMES = (SIGN, STOCHASTIC, DOREFA, GRID, TERNARIZE)
RNG_BITS = (1, 2, 4, 8, 16)
_BITS: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        STOCHASTIC: RNG_BITS,
        DOREFA: tuple(range(1, MAX_GRID_BITS + 1)),
        GRID: tuple(range(2, MAX_GRID_BITS + 1)),
    }
)


def quantized_dtype(quantizer: str, bits: int) -> DType:
    """Return the type that a quantizer gives; ``bits`` of a stochastic sign are random ones.

    Raises
    ------
    GraphError
        If the quantizer has no such number of bits.
    """
    allowed = _BITS.get(quantizer)
    if allowed is not None and bits not in allowed:
        remedy = "One bit is the quantizer 'sign'." if quantizer == GRID and bits == 1 else ""
        rule = f"one of {', '.join(map(str, allowed))}"
        raise GraphError(message(f"quantizer {quantizer!r}: attribute 'bits'", bits, rule, remedy))
    if quantizer == TERNARIZE:
        return TERNARY
    kind = {DOREFA: "unsigned", GRID: "bipolar"}.get(quantizer)
    return BIT if kind is None else DType(kind, bits)


def steps_of(dtype: DType) -> int:
    """Return the number of steps between the lowest and the highest level of a type."""
    return int(dtype.high) if dtype.kind == "bipolar" else int(dtype.high - dtype.low)


def level_of(values: Array, dtype: DType) -> Array:
    """Return how many steps values of a type are above its lowest."""
    above = values.astype(np.int64) - int(dtype.low)
    return above // 2 if dtype.kind == "bipolar" else above


def _sign(x: Array, _: DType) -> Array:
    return np.where(x >= 0, np.int8(1), np.int8(-1))


def _clipped(x: Array, low: int) -> Array:
    return np.clip(x.astype(np.float32, copy=False), np.float32(low), np.float32(1))


def _dorefa(x: Array, dtype: DType) -> Array:
    return np.rint(_clipped(x, 0) * np.float32(dtype.high)).astype(dtype.numpy)


def _grid(x: Array, dtype: DType) -> Array:
    half, top = np.float32(0.5), np.float32(dtype.high)
    level = np.rint((_clipped(x, -1) * half + half) * top)
    return (2 * level - top).astype(dtype.numpy)


def _ternary(x: Array, dtype: DType) -> Array:
    return np.rint(_clipped(x, -1)).astype(dtype.numpy)


def _away_from_zero(rounds: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Return a rounding of magnitudes as one of signed numbers."""
    return lambda x: np.sign(x) * rounds(np.abs(x))


_HALF = np.float32(0.5)
ROUNDINGS: Mapping[str, Callable[[Array], Array]] = MappingProxyType(
    {
        "half_even": np.rint,
        "ceil": np.ceil,
        "floor": np.floor,
        "up": _away_from_zero(np.ceil),
        "down": np.trunc,
        "half_up": _away_from_zero(lambda x: np.floor(x + _HALF)),
        "half_down": _away_from_zero(lambda x: np.ceil(x - _HALF)),
    }
)


def requantized_range(attrs: Mapping[str, Any]) -> tuple[int, int]:
    """Return the lowest and the highest level that a Requantize of these attributes gives."""
    dtype, shift = DType.parse(attrs["dtype"]), attrs["zero_point"]
    if not attrs["limits"]:
        return int(dtype.low), int(dtype.high)
    low, high = attrs["limits"]
    return low - shift, high - shift


# Of numbers that are not NaN; graph/draws.py has the meaning of the stochastic sign.
QUANTIZERS: Mapping[str, Callable[[Array, DType], Array]] = MappingProxyType(
    {SIGN: _sign, DOREFA: _dorefa, GRID: _grid, TERNARIZE: _ternary}
)
