"""The numpy meaning of every elementwise op, shared by the reference and the passes.

Each function takes ``(operands, attributes, output dtype)``, activations first. Float work is
done in float32, rounded after every step in the written order, without contraction; the result is
rounded to the output dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from bnnsim.errors import GraphError
from bnnsim.graph.dtypes import DType
from bnnsim.graph.grids import grid_of
from bnnsim.graph.quantizers import QUANTIZERS, ROUNDINGS, requantized_range

Array = np.ndarray
Attrs = Mapping[str, Any]
Meaning = Callable[[list[Array], Attrs, DType], Array]


def to_dtype(values: Array, dtype: DType) -> Array:
    """Round float64 or exact integer values once to ``dtype`` (bfloat16 is held as float32)."""
    if dtype.kind == "bfloat":
        mantissa, exponent = np.frexp(values.astype(np.float64))
        return np.ldexp(np.rint(mantissa * 2.0**8), exponent - 8).astype(np.float32)
    return values.astype(dtype.numpy)


def _working(x: Array) -> Array:
    """Return ``x`` as float32, the type in which elementwise float ops work."""
    return x.astype(np.float32, copy=False)


def _bias(operands: list[Array], _: Attrs, dtype: DType) -> Array:
    x, bias = operands
    return to_dtype(_working(x) + bias, dtype)


def _add(operands: list[Array], _: Attrs, dtype: DType) -> Array:
    a, b = operands
    if dtype.is_integer:
        return a.astype(dtype.numpy) + b.astype(dtype.numpy)
    return to_dtype(_working(a) + _working(b), dtype)


def _mul(operands: list[Array], attrs: Attrs, dtype: DType) -> Array:
    a, b = operands
    missing = (1,) * (a.ndim - b.ndim)
    if attrs["groups"] > 1:
        b = np.repeat(b, a.shape[-1] // attrs["groups"], axis=-1)
    return to_dtype(_working(a) * _working(b).reshape(len(b), *missing, *b.shape[1:]), dtype)


def _scale(operands: list[Array], _: Attrs, dtype: DType) -> Array:
    x, scale = operands
    return to_dtype(_working(x) * scale, dtype)


def _affine(operands: list[Array], _: Attrs, dtype: DType) -> Array:
    x, scale, bias = operands
    return to_dtype(_working(x) * scale + bias, dtype)


def _batch_norm(operands: list[Array], attrs: Attrs, dtype: DType) -> Array:
    x, gamma, beta, mean, var = operands
    scale = gamma / np.sqrt(var + np.float32(attrs["eps"]))
    return to_dtype((_working(x) - mean) * scale + beta, dtype)


def _relu(operands: list[Array], _: Attrs, __: DType) -> Array:
    return np.maximum(operands[0], operands[0].dtype.type(0))


def _prelu(operands: list[Array], _: Attrs, dtype: DType) -> Array:
    x, slope = operands
    wide = _working(x)
    return to_dtype(np.where(wide >= 0, wide, wide * slope), dtype)


def _sigmoid(operands: list[Array], _: Attrs, dtype: DType) -> Array:
    with np.errstate(over="ignore"):  # exp(-x) is infinite where the result is 0
        return to_dtype(1 / (1 + np.exp(-operands[0].astype(np.float64))), dtype)


def _clip(operands: list[Array], attrs: Attrs, dtype: DType) -> Array:
    (x,) = operands
    return np.clip(x, x.dtype.type(attrs["low"]), x.dtype.type(attrs["high"]))


def _encode(operands: list[Array], _: Attrs, __: DType) -> Array:
    x, table = operands
    return table[x]


def _from_grid(operands: list[Array], attrs: Attrs, _: DType) -> Array:
    return grid_of(attrs).integers(operands[0], "FromGrid: x")


def _quantize(operands: list[Array], attrs: Attrs, dtype: DType) -> Array:
    (x,) = operands
    if np.isnan(x).any():
        raise GraphError("Quantize: got nan, expected numbers. Check the weights and the input.")
    return QUANTIZERS[attrs["quantizer"]](x, dtype)


def _threshold(operands: list[Array], attrs: Attrs, dtype: DType) -> Array:
    x, thresholds, direction = operands
    met = np.where(direction[:, None] > 0, x[..., None] >= thresholds, x[..., None] <= thresholds)
    level = met.sum(axis=-1, dtype=np.int64)
    if dtype.kind == "bipolar":
        return (2 * level - int(dtype.high)).astype(dtype.numpy)
    return (attrs["base"] + level).astype(dtype.numpy)


def _requantize(operands: list[Array], attrs: Attrs, dtype: DType) -> Array:
    x, scale, bias = operands
    scaled = _working(_working(x) * scale) + bias
    low, high = requantized_range(attrs)
    shift = attrs["zero_point"]
    rounded = ROUNDINGS[attrs["rounding"]](scaled)
    return (np.clip(rounded, low + shift, high + shift) - shift).astype(dtype.numpy)


def _integer_affine(operands: list[Array], attrs: Attrs, _: DType) -> Array:
    shifted = operands[0].astype(np.int64) * attrs["mul"] + attrs["add"]
    if (shifted % attrs["div"]).any():
        raise GraphError(f"IntegerAffine: a value does not divide by {attrs['div']} evenly.")
    return (shifted // attrs["div"]).astype(np.int32)


def _cast(operands: list[Array], _: Attrs, dtype: DType) -> Array:
    return to_dtype(operands[0], dtype)


ELEMENTWISE: Mapping[str, Meaning] = MappingProxyType(
    {
        "Encode": _encode,
        "FromGrid": _from_grid,
        "Bias": _bias,
        "Add": _add,
        "Mul": _mul,
        "Scale": _scale,
        "Affine": _affine,
        "BatchNorm": _batch_norm,
        "Relu": _relu,
        "PRelu": _prelu,
        "Sigmoid": _sigmoid,
        "Clip": _clip,
        "Quantize": _quantize,
        "Threshold": _threshold,
        "Requantize": _requantize,
        "IntegerAffine": _integer_affine,
        "Cast": _cast,
    }
)
