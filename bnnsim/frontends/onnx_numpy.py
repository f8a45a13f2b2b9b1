"""What ONNX operators compute on numpy arrays: constants of a file, and tables of pixel values.

Shapes are known, and counted, before anything is allocated. Quantizers are evaluated as QONNX
writes them, in float32.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from bnnsim.frontends.onnx_file import import_onnx
from bnnsim.graph.quantizers import ROUNDINGS

Array = np.ndarray
Meaning = Callable[[Sequence[Any], Mapping[str, Any]], Any]

_MODES = {"round": "half_even", "half_even": "half_even"} | {
    name: name for name in ("ceil", "floor", "up", "down", "half_up", "half_down")
}


class Budget:
    """How many elements the folding of constants may still make."""

    def __init__(self, elements: int) -> None:
        self.left = elements

    def spend(self, shape: Sequence[int]) -> None:
        """Count an array of this shape, before it is made."""
        self.left -= max(1, math.prod(int(size) for size in shape))
        if self.left < 0:
            raise ValueError(f"folding it to shape {tuple(map(int, shape))} takes too much memory")


def rounding_of(attrs: Mapping[str, Any]) -> str:
    """Return the name in `ROUNDINGS` of a ``rounding_mode``, or raise ValueError."""
    mode = str(attrs.get("rounding_mode", "ROUND")).lower()
    if mode not in _MODES:
        raise ValueError(f"rounding_mode {mode!r} is none of {', '.join(_MODES)}")
    return _MODES[mode]


def limits_of(bits: Any, attrs: Mapping[str, Any]) -> tuple[int, int]:
    """Return the lowest and the highest integer of a Quant of so many bits."""
    width = float(np.asarray(bits).reshape(-1)[0]) if np.size(bits) == 1 else 0.0
    if not width.is_integer() or not 1 <= width <= 32:
        raise ValueError(f"a bit width of {np.asarray(bits).tolist()}; 1 to 32, the same for all")
    signed, narrow = bool(attrs.get("signed", 1)), bool(attrs.get("narrow", 0))
    if signed:
        return -(2 ** int(width - 1)) + narrow, 2 ** int(width - 1) - 1
    return 0, 2 ** int(width) - 1 - narrow


def _quant(args: Sequence[Any], attrs: Mapping[str, Any]) -> Array:
    x, scale, zero, bits = args
    levels = x / scale + zero
    low, high = limits_of(bits, attrs)
    if (low, high) in ((-1, 0), (0, 0)) and attrs.get("signed", 1):
        return (np.where(levels >= 0, 1, -1).astype(np.float32) - zero) * scale
    levels = np.clip(levels, np.float32(low), np.float32(high))
    return (ROUNDINGS[rounding_of(attrs)](levels) - zero) * scale


def _bipolar(args: Sequence[Any], _: Mapping[str, Any]) -> Array:
    x, scale = args
    return np.where(x >= 0, np.float32(1), np.float32(-1)) * scale


def _axis_shaped(vector: Any, x: Array, axis: int) -> Array:
    vector = np.asarray(vector)
    if vector.size <= 1:
        return vector.reshape(-1)[0] if vector.size else vector
    shape = [1] * x.ndim
    shape[axis] = -1
    return vector.reshape(shape)


def _quantize_linear(args: Sequence[Any], attrs: Mapping[str, Any]) -> Array:
    x, scale, *zero = args
    point = np.asarray(zero[0] if zero and zero[0] is not None else np.uint8(0))
    limits = np.iinfo(point.dtype)
    axis = int(attrs.get("axis", 1))
    shift = _axis_shaped(point, x, axis)
    levels = np.rint(x / _axis_shaped(scale, x, axis)) + np.asarray(shift, np.float32)
    return np.clip(levels, limits.min, limits.max).astype(point.dtype)


def _dequantize_linear(args: Sequence[Any], attrs: Mapping[str, Any]) -> Array:
    q, scale, *zero = args
    axis = int(attrs.get("axis", 1))
    point = zero[0] if zero and zero[0] is not None else np.zeros((), q.dtype)
    shift = np.asarray(_axis_shaped(point, q, axis), np.int64)
    return (q.astype(np.int64) - shift).astype(np.float32) * _axis_shaped(scale, q, axis)


def _cast(args: Sequence[Any], attrs: Mapping[str, Any]) -> Array:
    dtype = import_onnx().helper.tensor_dtype_to_np_dtype(int(attrs["to"]))
    return np.asarray(args[0]).astype(dtype)


def _clip(args: Sequence[Any], attrs: Mapping[str, Any]) -> Array:
    x, low, high = clip_limits(args, attrs)
    low = None if low is None else np.asarray(low, x.dtype)
    high = None if high is None else np.asarray(high, x.dtype)
    return x if low is high is None else np.clip(x, low, high)


def clip_limits(args: Sequence[Any], attrs: Mapping[str, Any]) -> tuple[Any, Any, Any]:
    """Return operand, low and high of a Clip, of old opsets (attributes) and new ones (inputs)."""
    x, low, high = (*args, None, None)[:3]
    return x, attrs.get("min", low), attrs.get("max", high)


def reshaped(shape: Sequence[int], target: Any, attrs: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the shape that Reshape gives for a target with 0 (as it was) and -1 (the rest)."""
    wanted = [int(size) for size in np.asarray(target).reshape(-1)]
    for i, size in enumerate(wanted):
        if size == 0 and not attrs.get("allowzero", 0):
            if i >= len(shape):
                raise ValueError(f"target {wanted} keeps an axis that is not there")
            wanted[i] = shape[i]
    total, open_axes = math.prod(shape), [i for i, size in enumerate(wanted) if size == -1]
    known = math.prod(size for size in wanted if size != -1)
    if len(open_axes) == 1 and known and total % known == 0:
        wanted[open_axes[0]] = total // known
    if min(wanted, default=0) < 0 or math.prod(wanted) != total:
        raise ValueError(f"shape {tuple(shape)} does not become {wanted}")
    return tuple(wanted)


def axes_of(args: Sequence[Any], attrs: Mapping[str, Any]) -> list[int] | None:
    """Return the axes of Squeeze, Unsqueeze or a reduction, whether input or attribute."""
    given = args[1] if len(args) > 1 and args[1] is not None else attrs.get("axes")
    return None if given is None else [int(axis) for axis in np.asarray(given).reshape(-1)]


def unsqueezed(shape: Sequence[int], axes: Sequence[int]) -> tuple[int, ...]:
    """Return ``shape`` with sizes of 1 put in at ``axes`` of the result."""
    rank = len(shape) + len(axes)
    places = {axis % rank for axis in axes} if all(-rank <= a < rank for a in axes) else set()
    if len(places) != len(axes):
        raise ValueError(f"axes {list(axes)} do not fit a result of {rank} axes")
    rest = iter(shape)
    return tuple(1 if i in places else next(rest) for i in range(rank))


def squeezed(shape: Sequence[int], axes: Sequence[int] | None) -> tuple[int, ...]:
    """Return ``shape`` without the sizes of 1 at ``axes``."""
    rank = len(shape)
    if axes is None:
        return tuple(size for size in shape if size != 1)
    places = {axis % rank for axis in axes if -rank <= axis < rank}
    if len(places) != len(axes) or any(shape[i] != 1 for i in places):
        raise ValueError(f"axes {list(axes)} of shape {tuple(shape)} are not all 1")
    return tuple(size for i, size in enumerate(shape) if i not in places)


def flattened(shape: Sequence[int], attrs: Mapping[str, Any]) -> tuple[int, int]:
    """Return the two sizes that Flatten gives."""
    axis = int(attrs.get("axis", 1))
    if not -len(shape) <= axis <= len(shape):
        raise ValueError(f"axis {axis} of shape {tuple(shape)}")
    axis += len(shape) if axis < 0 else 0
    return math.prod(shape[:axis]), math.prod(shape[axis:])


def slice_of(args: Sequence[Any], attrs: Mapping[str, Any]) -> list[tuple[int, int, int, int]]:
    """Return (axis, start, end, step) of every axis that a Slice names."""
    lists = [None if v is None else np.asarray(v).reshape(-1).tolist() for v in args[1:]]
    starts, ends, axes, steps = (*lists, None, None, None, None)[:4]
    starts = attrs.get("starts", starts)
    ends = attrs.get("ends", ends)
    axes = attrs.get("axes", axes)
    if starts is None or ends is None:
        raise ValueError("no starts or ends")
    axes = list(range(len(starts))) if axes is None else axes
    steps = [1] * len(starts) if steps is None else steps
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise ValueError(f"{len(starts)} starts, {len(ends)} ends, {len(axes)} axes")
    return [tuple(map(int, row)) for row in zip(axes, starts, ends, steps, strict=True)]  # type: ignore[misc]


def _sliced(args: Sequence[Any], attrs: Mapping[str, Any]) -> Array:
    x = args[0]
    index = [slice(None)] * x.ndim
    for axis, start, end, step in slice_of(args, attrs):
        index[axis] = slice(start, None if step < 0 and end < -x.shape[axis] else end, step)
    return x[tuple(index)]


def _reduced(how: Callable[..., Any]) -> Meaning:
    def meaning(args: Sequence[Any], attrs: Mapping[str, Any]) -> Array:
        axes = axes_of(args, attrs)
        axis = None if axes is None else tuple(axes)
        result = how(args[0], axis=axis, keepdims=bool(attrs.get("keepdims", 1)))
        return np.asarray(result, args[0].dtype)

    return meaning


def _plain(function: Callable[..., Any]) -> Meaning:
    """Return an operator without attributes; a float32 operand keeps the result float32."""

    def meaning(args: Sequence[Any], _: Mapping[str, Any]) -> Array:
        return np.asarray(function(*args))

    return meaning


def _div(a: Array, b: Array) -> Array:
    if np.asarray(a).dtype.kind in "iu":
        return np.trunc(np.true_divide(a, b)).astype(np.asarray(a).dtype)
    return np.divide(a, b)


def _power(a: Array, b: Array) -> Array:
    return np.power(a, b).astype(np.asarray(a).dtype)


def _constant_of_shape(args: Sequence[Any], attrs: Mapping[str, Any]) -> Array:
    value = np.asarray(attrs.get("value", np.zeros(1, np.float32))).reshape(-1)
    return np.full(tuple(int(size) for size in args[0]), value[0], value.dtype)


def _constant(_: Sequence[Any], attrs: Mapping[str, Any]) -> Array:
    for key, dtype in (("value", None), ("value_float", np.float32), ("value_int", np.int64),
                       ("value_floats", np.float32), ("value_ints", np.int64)):  # fmt: skip
        if key in attrs:
            return np.asarray(attrs[key], dtype)
    raise ValueError("no value, value_float, value_int, value_floats or value_ints")


def _transposed(args: Sequence[Any], attrs: Mapping[str, Any]) -> Array:
    return np.transpose(args[0], attrs.get("perm"))


# Elementwise ones may also be applied to a table of pixel values.
ELEMENTWISE: Mapping[str, Meaning] = MappingProxyType(
    {
        "Add": _plain(np.add), "Sub": _plain(np.subtract), "Mul": _plain(np.multiply),
        "Div": _plain(_div), "Neg": _plain(np.negative), "Abs": _plain(np.abs),
        "Pow": _plain(_power), "Sqrt": _plain(np.sqrt), "Exp": _plain(np.exp),
        "Reciprocal": _plain(np.reciprocal), "Floor": _plain(np.floor), "Ceil": _plain(np.ceil),
        "Round": _plain(np.rint), "Sign": _plain(np.sign), "Tanh": _plain(np.tanh),
        "Relu": _plain(lambda x: np.maximum(x, x.dtype.type(0))), "Not": _plain(np.logical_not),
        "Greater": _plain(np.greater), "GreaterOrEqual": _plain(np.greater_equal),
        "Less": _plain(np.less), "LessOrEqual": _plain(np.less_equal),
        "Equal": _plain(np.equal), "Where": _plain(np.where), "Clip": _clip, "Cast": _cast,
        "Max": _plain(lambda *x: np.maximum.reduce(np.broadcast_arrays(*x))),
        "Min": _plain(lambda *x: np.minimum.reduce(np.broadcast_arrays(*x))),
        "Quant": _quant, "IntQuant": _quant, "BipolarQuant": _bipolar,
        "QuantizeLinear": _quantize_linear, "DequantizeLinear": _dequantize_linear,
    }
)  # fmt: skip

_SHAPING: Mapping[str, Meaning] = MappingProxyType(
    {
        "Constant": _constant,
        "ConstantOfShape": _constant_of_shape,
        "Identity": lambda args, _: args[0],
        "Shape": lambda args, a: np.array(args[0].shape, np.int64)[a.get("start") : a.get("end")],
        "Gather": lambda args, a: np.take(args[0], args[1], axis=a.get("axis", 0)),
        "Concat": lambda args, a: np.concatenate(args, axis=a["axis"]),
        "Reshape": lambda args, a: args[0].reshape(reshaped(args[0].shape, args[1], a)),
        "Flatten": lambda args, a: args[0].reshape(flattened(args[0].shape, a)),
        "Squeeze": lambda args, a: args[0].reshape(squeezed(args[0].shape, axes_of(args, a))),
        "Unsqueeze": lambda args, a: args[0].reshape(
            unsqueezed(args[0].shape, axes_of(args, a) or [])
        ),
        "Transpose": _transposed,
        "Expand": lambda args, _: np.broadcast_to(
            args[0], np.broadcast_shapes(args[0].shape, tuple(map(int, args[1])))
        ).copy(),
        "Tile": lambda args, _: np.tile(args[0], tuple(map(int, args[1]))),
        "Slice": _sliced,
        "MatMul": _plain(np.matmul),
        "ReduceMean": _reduced(np.mean),
        "ReduceSum": _reduced(np.sum),
        "ReduceMax": _reduced(np.max),
        "ReduceProd": _reduced(np.prod),
    }
)
MEANING: Mapping[str, Meaning] = MappingProxyType({**ELEMENTWISE, **_SHAPING})


def fold(op: str, args: Sequence[Any], attrs: Mapping[str, Any], budget: Budget) -> Array:
    """Return the result of an operator on constants.

    Raises
    ------
    ValueError, IndexError, TypeError, KeyError, FloatingPointError
        If operands or attributes do not fit, in numpy's or our own words.
    """
    budget.spend(_result_shape(op, args))
    with np.errstate(all="ignore"):
        return np.asarray(MEANING[op](args, attrs))


def _result_shape(op: str, args: Sequence[Any]) -> tuple[int, ...]:
    """Return a shape at least as large as the result's."""
    shapes = [np.shape(a) for a in args if a is not None]
    if op == "ConstantOfShape":
        return tuple(int(size) for size in np.asarray(args[0]).reshape(-1))
    if op == "Expand":
        return np.broadcast_shapes(shapes[0], tuple(int(v) for v in args[1]))
    if op == "Tile":
        return tuple(s * int(r) for s, r in zip(shapes[0], args[1], strict=True))
    if op == "Concat":
        return (sum(map(math.prod, shapes)),)
    if op == "MatMul":
        rows = shapes[0][:-1] or (1,)
        return (*np.broadcast_shapes(rows[:-1], shapes[1][:-2]), rows[-1], shapes[1][-1])
    if op == "Gather":
        return (math.prod(shapes[0]) * max(1, math.prod(shapes[1])),)
    if op in ELEMENTWISE and op not in ("QuantizeLinear", "DequantizeLinear", "Clip"):
        return np.broadcast_shapes(*shapes)
    return shapes[0] if shapes else (1,)
