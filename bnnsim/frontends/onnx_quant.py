"""The quantizers of QONNX, and QuantizeLinear with DequantizeLinear, on activations.

A quantizer becomes integers, and its scale a factor that waits for the next layer's sums. The
division by the scale is exact: a product with its float64 reciprocal, rounded to float32, is the
rounded quotient of any two float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bnnsim.frontends.elementwise import Lookup, levels_type
from bnnsim.frontends.importer import Activation, Scaled
from bnnsim.frontends.onnx_joins import HANDLERS
from bnnsim.frontends.onnx_numpy import MEANING, limits_of, rounding_of
from bnnsim.frontends.onnx_ops import lowers
from bnnsim.frontends.onnx_values import Levels, OnnxCall, Permuted, levels_of
from bnnsim.graph.dtypes import FLOAT32, INT8, INT32, MAX_GRID_BITS, DType
from bnnsim.graph.quantizers import ROUNDINGS, TERNARIZE

_QONNX = ("Quant", "IntQuant", "BipolarQuant", "Trunc", "MultiThreshold")
DOMAINS: Mapping[str, tuple[str, ...]] = {
    "onnx.brevitas": _QONNX,
    "qonnx.custom_op.general": _QONNX,
    "finn.custom_op.general": _QONNX,
}
_FLOAT64 = DType("float", 64)
_EXACT = 2**24


@lowers("BipolarQuant")
def _bipolar(call: OnnxCall) -> Any:
    scale = _positive(call, 1, "scale")
    x = call.args[0]
    if isinstance(x, Lookup) and not x.compared:
        return _scaled(call, Lookup(x.source, np.where(x.table >= 0, 1.0, -1.0)), scale)
    return _scaled(call, call.im.sign(_unscaled(x), call.place, zero_is_plus=True), scale)


def _unscaled(x: Any) -> Any:
    """Return an operand without its positive factor, which changes no sign."""
    return x.inner if isinstance(x, Scaled) else x


def _positive(call: OnnxCall, index: int, what: str) -> np.ndarray:
    """Return a constant of positive numbers, one or one per channel."""
    values = np.asarray(call.constant(index, what), np.float32)
    channels = call.shape[1]
    shape = values.shape if values.ndim > 1 else (1, values.size)
    if values.size not in (1, channels) or (values.size > 1 and shape[1] != values.size):
        rule = f"one value, or one for each of {channels} channels"
        raise call.im.refused(f"{call.place}: {what}", values.shape, rule)
    values = values.reshape(-1)
    if not np.isfinite(values).all() or (values <= 0).any():
        raise call.im.refused(f"{call.place}: {what}", values.min(), "finite positive numbers")
    return values[:1] if (values == values[0]).all() else values


def _scaled(call: OnnxCall, levels: Any, scale: np.ndarray) -> Any:
    """Return levels times their scale: a factor that waits, or one multiplication per channel."""
    x = call.im.activation(levels, call.place)
    if scale.size == 1:
        return x if scale[0] == 1 else Scaled(x, float(scale[0]))
    return call.im.add("Scale", x, {"scale": (call.im.ordered(scale, x), FLOAT32)}, label="scale")


@lowers("Quant", "IntQuant")
def _quant(call: OnnxCall) -> Any:
    scale = _positive(call, 1, "scale")
    zero = _zero_point(call, call.constant(2, "zero point"))
    low, high = limits_of(call.constant(3, "bit width"), call.attrs)
    if high <= 0 and call.attrs.get("signed", 1):
        if zero:
            raise call.unsupported("of 1 bit with a zero point")
        bits = call.im.sign(_unscaled(call.args[0]), call.place, zero_is_plus=True)
        return _scaled(call, bits, scale)
    if max(-low, high) > _EXACT:
        rule = "at most 24 bits, which float32 holds exactly"
        raise call.im.refused(f"{call.place}: bit width", f"levels to {high}", rule)
    x = call.args[0]
    if isinstance(x, Lookup) and not x.compared and scale.size == 1:
        real = MEANING["Quant"]((x.table, scale[0], np.float32(zero), call.args[3]), call.attrs)
        return _scaled(call, Lookup(x.source, np.rint(real / scale[0])), scale)
    rounding = rounding_of(call.attrs)
    levels = _rounded(call, x, scale, (low, high), rounding=rounding, zero=zero)
    return _scaled(call, levels, scale)


def _zero_point(call: OnnxCall, values: np.ndarray) -> int:
    """Return a zero point that is one integer."""
    zero = np.asarray(values, np.float64).reshape(-1)
    if not zero.size or (zero != zero[0]).any() or zero[0] != np.rint(zero[0]):
        rule = "one integer for all channels"
        raise call.im.refused(f"{call.place}: zero point", np.asarray(values).tolist(), rule)
    if abs(zero[0]) > _EXACT:
        raise call.im.refused(f"{call.place}: zero point", zero[0], "at most 2^24")
    return int(zero[0])


def _rounded(
    call: OnnxCall, value: Any, scale: np.ndarray, limits: tuple[int, int], *,
    rounding: str = "half_even", zero: int = 0,
) -> Activation:  # fmt: skip
    """Append the rounding of ``x / scale + zero`` to integers within limits, less ``zero``."""
    im, (low, high) = call.im, limits
    x = im.activation(value, call.place)
    is_power = bool((np.frexp(scale)[0] == 0.5).all())  # then 1 / scale is a float32
    kind = FLOAT32 if is_power else _FLOAT64
    reciprocal = np.broadcast_to(1 / scale.astype(np.float64), x.shape[:1])
    reciprocal = reciprocal if x.order is None else reciprocal[x.order]
    if (low, high, zero) == (-1, 1, 0) and rounding == "half_even" and is_power:
        if not (scale == 1).all():
            x = im.add("Scale", x, {"scale": (reciprocal, kind)}, label="scale")
        return im.add("Quantize", x, label="quantize", quantizer=TERNARIZE)
    dtype = levels_type(low - zero, high - zero)
    bias = np.full(x.shape[0], zero)
    attrs: dict[str, Any] = {"dtype": str(dtype), "rounding": rounding, "zero_point": zero}
    if zero or (low, high) != (dtype.low, dtype.high):
        attrs["limits"] = limits
    constants = {"scale": (reciprocal, kind), "bias": (bias, FLOAT32)}
    return im.add("Requantize", x, constants, label="quantize", **attrs)


@lowers("QuantizeLinear")
def _quantize_linear(call: OnnxCall) -> Levels:
    scale, x = _positive(call, 1, "scale"), call.args[0]
    point = np.zeros(1, np.uint8) if call.argument(2) is None else call.constant(2, "zero point")
    if point.dtype not in (np.int8, np.uint8, np.int16, np.uint16):
        raise call.im.refused(f"{call.place}: zero point", str(point.dtype), "8 or 16 bits")
    limits = np.iinfo(point.dtype)
    if isinstance(x, (Permuted, Levels)):
        raise call.unsupported("of a transposed or quantized activation")
    axis = int(call.attrs.get("axis", 1))
    zero = _zero_point(call, point)
    return Levels(x, scale, zero, int(limits.min), int(limits.max), axis)


@lowers("DequantizeLinear")
def _dequantize_linear(call: OnnxCall) -> Any:
    q = call.args[0]
    if not isinstance(q, Levels):
        raise call.unsupported("other than of what QuantizeLinear gave")
    inner = OnnxCall(call.im, call.node, (q.inner, *call.args[1:]), call.opset)
    scale = _positive(inner, 1, "scale")
    given = call.argument(2)
    zero = 0 if given is None else _zero_point(call, np.asarray(given))
    if zero != q.zero or q.low > q.high:
        rule = f"{q.zero}, as QuantizeLinear has, and limits in order"
        raise call.im.refused(f"{call.place}: zero point", zero, rule)
    if isinstance(q.inner, Lookup) and not q.inner.compared and q.scale.size == 1:
        table = np.rint(q.inner.table / q.scale[0])
        table = np.clip(table, q.low - q.zero, q.high - q.zero)
        return _scaled(call, Lookup(q.inner.source, table), scale)
    levels = _rounded(inner, q.inner, q.scale, (q.low - q.zero, q.high - q.zero))
    return _scaled(inner, levels, scale)


@lowers("Trunc")
def _trunc(call: OnnxCall) -> Any:
    """Lower Trunc: round to integers of the input's scale, then drop low bits and round again."""
    im, place = call.im, call.place
    scale, newer = _positive(call, 1, "scale"), len(call.args) > 5
    if scale.size > 1 or _zero_point(call, call.constant(2, "zero point")):
        raise call.unsupported("with a scale per channel or a zero point")
    moved = levels_of(im, call.args[0], place)
    x = moved.activation
    own = 1.0 if moved.factor is None and im.dtype(x).is_integer else moved.factor
    if own != float(scale[0]):
        x = _rounded(call, call.args[0], scale, (-_EXACT, _EXACT))
    widths = [float(call.constant(i, "bit width").reshape(-1)[0]) for i in (3, 5 if newer else 4)]
    if newer:
        out_scale = _positive(call, 4, "output scale")
        dropped = int(np.rint(np.log2(float(out_scale[0]) / float(scale[0]))))
        low, high = limits_of(widths[1], {"signed": 1, **call.attrs})
    else:
        out_scale, dropped = scale, int(widths[0] - widths[1])
        low, high = _truncated(im.dtype(x), dropped, rounding_of(_floor(call)))
    if not 0 <= dropped <= 24:
        raise im.refused(f"{place}: bits dropped", dropped, "0 to 24")
    rounding = rounding_of(_floor(call))
    step = np.full(1, 2.0**dropped, np.float32)
    return _scaled(call, _rounded(call, x, step, (low, high), rounding=rounding), out_scale)


def _floor(call: OnnxCall) -> dict[str, Any]:
    return {"rounding_mode": "FLOOR", **call.attrs}


def _truncated(dtype: DType, dropped: int, rounding: str) -> tuple[int, int]:
    """Return the range of a type's integers after their low bits are dropped."""
    low, high = (min(max(float(end), -_EXACT), _EXACT) for end in (dtype.low, dtype.high))
    ends = ROUNDINGS[rounding](np.array([low, high]) / 2.0**dropped)
    return int(ends[0]), int(ends[1])


@lowers("MultiThreshold")
def _multi_threshold(call: OnnxCall) -> Any:
    im, value = call.im, call.args[0]
    layout = call.attrs.get("data_layout", "") or "NCHW"[: len(call.shape)]
    if isinstance(value, Permuted) and layout.index("C") == value.perm.index(1):
        inner = OnnxCall(im, call.node, (value.inner, *call.args[1:]), call.opset)
        return Permuted(_counted(inner), value.perm)
    if layout.find("C") != 1:
        raise call.unsupported(f"along the channels of data_layout {layout!r}")
    return _counted(call)


def _counted(call: OnnxCall) -> Any:
    """Append the count of thresholds met, and what its scale and bias make of it."""
    im = call.im
    x = im.activation(call.args[0], call.place)
    table = np.asarray(call.constant(1, "thresholds"), np.float32)
    if table.ndim != 2 or table.shape[0] not in (1, x.shape[0]) or not table.shape[1]:
        rule = f"(1 or {x.shape[0]} channels, at least one threshold)"
        raise im.refused(f"{call.place}: thresholds", table.shape, rule)
    if np.isnan(table).any() or table.shape[1] >= 2**MAX_GRID_BITS:
        rule = f"numbers, at most {2**MAX_GRID_BITS - 1} per channel"
        raise im.refused(f"{call.place}: thresholds", f"{table.shape[1]} or nan", rule)
    table = np.broadcast_to(table, (x.shape[0], table.shape[1]))
    table = table if x.order is None else table[x.order]
    kind = FLOAT32 if im.dtype(x).is_float else INT32
    if kind == INT32:  # x >= t iff x >= ceil(t), for an integer x
        table = np.clip(np.ceil(table.astype(np.float64)), -(2**31), 2**31 - 1)
    else:
        table = np.clip(table, np.finfo(np.float32).min, np.finfo(np.float32).max)
    constants = {"thresholds": (table, kind), "direction": (np.ones(x.shape[0]), INT8)}
    scale = np.float32(call.attrs.get("out_scale", 1.0))
    bias = np.float32(call.attrs.get("out_bias", 0.0))
    steps = table.shape[1]
    dtype, base, factor, rest = _levels_of_counts(steps, float(scale), float(bias))
    attrs: dict[str, Any] = {"dtype": str(dtype)}
    if dtype.kind != "bipolar":
        attrs["base"] = base
    y = im.add("Threshold", x, constants, label="threshold", **attrs)
    if rest:
        return im.scaled(y, factor, np.full(y.shape[0], rest, np.float32))
    return y if factor == 1 else Scaled(y, factor)


def _levels_of_counts(steps: int, scale: float, bias: float) -> tuple[DType, int, float, float]:
    """Return the type, the lowest level, and factor and rest of ``scale * count + bias``.

    Counts that lie around 0 in steps of the scale are integers from there on; those that are odd
    multiples of half of it are bipolar.
    """
    offset = bias / scale if scale > 0 else 0.5
    if scale > 0 and offset == -steps / 2 and steps & (steps + 1) == 0 and offset % 1:
        return DType("bipolar", steps.bit_length()), 0, scale / 2, 0.0
    if scale > 0 and offset.is_integer() and abs(offset) <= 2**MAX_GRID_BITS:
        base = int(offset)
        return levels_type(base, base + steps), base, scale, 0.0
    return levels_type(0, steps), 0, scale, bias


__all__ = ["DOMAINS", "HANDLERS", "levels_type"]
