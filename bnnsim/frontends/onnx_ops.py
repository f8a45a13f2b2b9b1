"""What each standard ONNX operator on an activation becomes, by way of torch's operators.

ONNX images are (N, C, H, W) as torch's are; `bnnsim.frontends.aten` says what they become here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bnnsim.frontends.elementwise import Lookup, outcomes, scalar_of
from bnnsim.frontends.importer import Activation, Clipped, Padded, Scaled
from bnnsim.frontends.onnx_numpy import (
    clip_limits,
)
from bnnsim.frontends.onnx_values import (
    Handler,
    Levels,
    OnnxCall,
    Permuted,
    full_shape,
    in_flight,
)
from bnnsim.graph.dtypes import DType
from bnnsim.graph.shape_rules import window_output

HANDLERS: dict[str, Handler] = {}
_FLOAT_TYPES = (1, 10, 11)  # TensorProto.FLOAT, FLOAT16, DOUBLE


def lowers(*ops: str) -> Callable[[Handler], Handler]:
    """Register a handler of operators."""

    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(ops, handler))
        return handler

    return register


# --- linear ------------------------------------------------------------------------------------


def _float32(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype in (np.float64, np.float16) else array


@lowers("MatMul")
def _matmul(call: OnnxCall) -> Any:
    if in_flight(call.args[1]):
        raise call.unsupported("with a computed right operand")
    weight = _float32(call.constant(1, "right operand"))
    if weight.ndim != 2:
        raise call.unsupported(f"with a right operand of shape {weight.shape}")
    _require_features(call, weight.shape[0])
    shape = (*call.shape[:-1], weight.shape[1])
    return call.aten("linear", shape, input=call.args[0], weight=weight.T, bias=None)


def _require_features(call: OnnxCall, features: int) -> None:
    if call.shape[-1] != features:
        rule = f"{features} features, as the weight has"
        raise call.im.refused(call.place, call.shape, rule)


@lowers("Gemm")
def _gemm(call: OnnxCall) -> Any:
    attrs = call.attrs
    if attrs.get("transA", 0) or in_flight(call.args[1]):
        raise call.unsupported("with a transposed or a computed operand")
    weight = _float32(call.constant(1, "B"))
    if weight.ndim != 2:
        raise call.im.refused(f"{call.place}: B", weight.shape, "two axes")
    weight = weight if attrs.get("transB", 0) else weight.T
    _require_features(call, weight.shape[1])
    bias = None
    if call.argument(2) is not None:
        given = _float32(call.constant(2, "C")) * np.float32(attrs.get("beta", 1.0))
        bias = np.broadcast_to(given, (1, len(weight)))[0]
    weight = weight * np.float32(attrs.get("alpha", 1.0))
    shape = (call.shape[0], len(weight))
    return call.aten("linear", shape, input=call.args[0], weight=weight, bias=bias)


@lowers("Conv")
def _conv(call: OnnxCall) -> Any:
    if in_flight(call.argument(1)):
        raise call.unsupported("of two activations")
    weight, shape = _float32(call.constant(1, "W")), call.shape
    if weight.ndim != 4 or len(shape) != 4:
        raise call.unsupported(f"with a weight of {weight.ndim} axes on {len(shape)}; images only")
    groups = int(call.attrs.get("group", 1))
    if groups < 1 or weight.shape[1] * groups != shape[1] or len(weight) % groups:
        rule = f"{weight.shape[1] * groups} channels, for a weight of {groups} group(s)"
        raise call.im.refused(call.place, shape, rule)
    kernel = weight.shape[2:]
    if call.attrs.get("kernel_shape", list(kernel)) != list(kernel):
        raise call.im.refused(
            f"{call.place}: kernel_shape", call.attrs["kernel_shape"], f"{kernel}"
        )
    stride, dilation = (pair(call, key) for key in ("strides", "dilations"))
    pads = pads_of(call, kernel, stride, dilation)
    size = window_output(shape[2:], kernel, stride=stride, pads=pads, dilation=dilation)
    bias = None if call.argument(2) is None else _float32(call.constant(2, "B"))
    even = pads[:2] == pads[2:] and not isinstance(call.args[0], Padded)
    return call.aten(
        "conv2d",
        (shape[0], len(weight), *size),
        input=call.args[0] if even else _bordered(call, pads),
        weight=weight,
        bias=bias,
        stride=stride,
        padding=pads[:2] if even else (0, 0),
        dilation=dilation,
        groups=groups,
    )


def _bordered(call: OnnxCall, pads: tuple[int, int, int, int]) -> Any:
    """Return the operand with the border of the convolution itself, which may be uneven."""
    x = call.args[0]
    if not any(pads):
        return x
    if isinstance(x, Padded):
        if x.value != 0:
            raise call.im.refused(call.place, x.value, "no zero padding on top of another value")
        both = [own + outer for own, outer in zip(pads, x.pads, strict=True)]
        return Padded(x.inner, (both[0], both[1], both[2], both[3]), 0.0)
    if isinstance(x, Scaled) and isinstance(x.inner, Activation):
        return Scaled(Padded(x.inner, pads, 0.0), x.factor)
    return Padded(call.im.activation(x, call.place), pads, 0.0)


def pair(call: OnnxCall, key: str, default: int = 1) -> tuple[int, int]:
    """Return an attribute of height and width; a default of 0 means that it must be there."""
    values = call.attrs.get(key, [default, default])
    if len(values) != 2 or min(values) < 1:
        raise call.im.refused(f"{call.place}: {key}", values, "two positive numbers")
    return int(values[0]), int(values[1])


def pads_of(
    call: OnnxCall, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int]
) -> tuple[int, int, int, int]:
    """Return (top, left, bottom, right), given or by ``auto_pad``."""
    how = call.attrs.get("auto_pad", "NOTSET")
    if how == "NOTSET":
        pads = call.attrs.get("pads", [0, 0, 0, 0])
        if len(pads) != 4 or min(pads) < 0:
            raise call.im.refused(f"{call.place}: pads", pads, "four numbers of at least 0")
        return int(pads[0]), int(pads[1]), int(pads[2]), int(pads[3])
    if how == "VALID":
        return 0, 0, 0, 0
    if how not in ("SAME_UPPER", "SAME_LOWER"):
        raise call.im.refused(f"{call.place}: auto_pad", how, "NOTSET, VALID or SAME_*")
    before, after = [], []
    for axis, size in enumerate(call.shape[2:]):
        steps = -(-size // stride[axis])
        need = (steps - 1) * stride[axis] + dilation[axis] * (kernel[axis] - 1) + 1 - size
        half = max(need, 0) // 2
        rest = max(need, 0) - half
        before.append(half if how == "SAME_UPPER" else rest)
        after.append(rest if how == "SAME_UPPER" else half)
    return before[0], before[1], after[0], after[1]


# --- elementwise -------------------------------------------------------------------------------


@lowers("BatchNormalization")
def _batch_norm(call: OnnxCall) -> Any:
    if call.attrs.get("training_mode", 0):
        raise call.unsupported("in training mode")
    roles = ("weight", "bias", "running_mean", "running_var")
    channels = call.shape[1]
    constants = {}
    for index, role in enumerate(roles, 1):
        vector = _float32(call.constant(index, role))
        if vector.shape != (channels,):
            rule = f"one value for each of {channels} channels"
            raise call.im.refused(f"{call.place}: {role}", vector.shape, rule)
        if not np.isfinite(vector).all() or (role == "running_var" and (vector < 0).any()):
            rule = "finite numbers, and variances of at least 0"
            raise call.im.refused(f"{call.place}: {role}", "other values", rule)
        constants[role] = vector
    eps = float(call.attrs.get("epsilon", 1e-5))
    return call.aten(
        "batch_norm", call.shape, input=call.args[0], **constants,
        training=False, momentum=0.0, eps=eps,
    )  # fmt: skip


@lowers("Relu")
def _relu(call: OnnxCall) -> Any:
    return call.aten("relu", call.shape, self=call.args[0])


@lowers("Sign")
def _sign(call: OnnxCall) -> Any:
    return call.aten("sign", call.shape, self=call.args[0])


@lowers("Abs")
def _abs(call: OnnxCall) -> Any:
    return call.aten("abs", call.shape, self=call.args[0])


@lowers("Neg")
def _neg(call: OnnxCall) -> Any:
    return call.aten("neg", call.shape, self=call.args[0])


@lowers("Clip")
def _clip(call: OnnxCall) -> Any:
    x, low, high = clip_limits(call.args, call.attrs)
    if in_flight(low) or in_flight(high):
        raise call.unsupported("with computed limits")
    limits = [None if v is None else float(np.asarray(v).reshape(-1)[0]) for v in (low, high)]
    if isinstance(x, Levels):
        ends = [
            own if v is None else int(v) for own, v in zip((x.low, x.high), limits, strict=True)
        ]
        return Levels(x.inner, x.scale, x.zero, max(ends[0], x.low), min(ends[1], x.high), x.axis)
    if limits == [None, None]:
        return x
    return call.aten("clamp", call.shape, self=x, min=limits[0], max=limits[1])


@lowers("Round")
def _round(call: OnnxCall) -> Any:
    return call.aten("round", call.shape, self=call.args[0])


_COMPARED = {"Greater": "gt", "GreaterOrEqual": "ge", "Less": "lt", "LessOrEqual": "le"}
_MIRRORED = {"gt": "lt", "ge": "le", "lt": "gt", "le": "ge"}


@lowers(*_COMPARED)
def _compare(call: OnnxCall) -> Lookup:
    """Return the two outcomes of a comparison with a constant, which is taken away before."""
    kind, (x, other) = _COMPARED[call.node.op], call.args[:2]
    if not in_flight(x):
        kind, x, other = _MIRRORED[kind], other, x
    if in_flight(other):
        raise call.unsupported("of two activations")
    if np.any(np.asarray(other)):
        limit = _float32(np.asarray(other))
        x = call.aten("sub", full_shape(call.im, x), self=x, other=limit)
    source = x if isinstance(x, Clipped) else call.im.activation(x, call.place)
    return Lookup(source, np.array(outcomes(kind)), True, call.place)


@lowers("Add", "Sub", "Mul", "Div")
def _arithmetic(call: OnnxCall) -> Any:
    a, b = call.args[:2]
    shape = np.broadcast_shapes(full_shape(call.im, a), full_shape(call.im, b))
    if any(isinstance(v, Permuted) for v in (a, b)):
        return _permuted(call, a, b)
    if isinstance(a, Scaled) and isinstance(b, Scaled) and call.node.op in ("Add", "Sub"):
        joined = _sum_of_levels(call, a, b)
        if joined is not None:
            return joined
    a, b = (v if in_flight(v) else _float32(np.asarray(v)) for v in (a, b))
    if call.node.op == "Div":
        return _quotient(call, a, b, shape)
    if call.node.op == "Sub" and in_flight(a) and in_flight(b):
        b = call.aten("neg", full_shape(call.im, b), self=b)
        return call.aten("add", shape, self=a, other=b)
    return call.aten(call.node.op.lower(), shape, self=a, other=b)


def _permuted(call: OnnxCall, a: Any, b: Any) -> Any:
    """Lower an operator of a transposed activation and a constant on the activation itself."""
    own = a if isinstance(a, Permuted) else b
    rank, back = len(own.perm), np.argsort(own.perm)
    operands = []
    for value in (a, b):
        if isinstance(value, Permuted):
            if value.perm != own.perm:
                raise call.unsupported("of activations in two orders of axes")
            operands.append(value.inner)
        elif in_flight(value):
            raise call.unsupported("of activations in two orders of axes")
        else:
            array = np.asarray(value)
            wide = array.reshape((1,) * (rank - array.ndim) + array.shape)
            operands.append(wide.transpose(back))
    inner = _arithmetic(OnnxCall(call.im, call.node, operands, call.opset))
    return Permuted(inner, own.perm)


def _sum_of_levels(call: OnnxCall, a: Scaled, b: Scaled) -> Any:
    """Return the sum of levels of one factor as a sum of integers, or None."""
    plain = isinstance(a.inner, Activation) and isinstance(b.inner, Activation)
    if not plain or a.factor != b.factor or call.node.op != "Add":
        return None
    total = call.aten("add", call.shape, self=a.inner, other=b.inner)
    return Scaled(total, a.factor)


def _quotient(call: OnnxCall, a: Any, b: Any, shape: Sequence[int]) -> Any:
    """Lower a quotient by a constant exactly, as a product with its float64 reciprocal."""
    if in_flight(b):
        raise call.unsupported("by an activation")
    divisor = np.asarray(scalar_of(b), np.float32)
    if not np.isfinite(divisor).all() or (divisor == 0).any():
        raise call.im.refused(f"{call.place}: divisor", "0 or no number", "finite numbers but 0")
    if (np.abs(np.frexp(divisor)[0]) == 0.5).all() or isinstance(a, Scaled):
        if isinstance(a, Scaled):
            return call.aten("mul", shape, self=a, other=np.float32(1) / divisor)
        return call.aten("div", shape, self=a, other=divisor)
    x = call.im.activation(a, call.place)
    per_channel = call.im.channels(divisor, x, call.place)
    reciprocal = 1 / per_channel.astype(np.float64)
    return call.im.add("Scale", x, {"scale": (reciprocal, DType("float", 64))}, label="scale")


@lowers("Gather")
def _gather(call: OnnxCall) -> Any:
    """Look a pixel's meaning up in a table of the file."""
    index, table = call.argument(1), call.argument(0)
    is_table = isinstance(index, Lookup) and isinstance(table, np.ndarray) and table.ndim == 1
    if not is_table or call.attrs.get("axis", 0):
        raise call.unsupported("other than of a table of the file by the value of a pixel")
    return replace(index, table=table[np.asarray(index.table)])


@lowers("Where")
def _where(call: OnnxCall) -> Any:
    raise call.unsupported("other than of two constants by a comparison with a constant")


@lowers("Cast")
def _cast(call: OnnxCall) -> Any:
    if int(call.attrs["to"]) not in _FLOAT_TYPES[:1]:
        raise call.unsupported("to another type than float32")
    return call.args[0]


@lowers("Identity", "Dropout")
def _identity(call: OnnxCall) -> Any:
    training = call.argument(2)
    if training is not None and np.any(np.asarray(training)):
        raise call.unsupported("in training mode")
    return call.args[0]
