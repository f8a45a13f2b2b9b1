"""ONNX operators that join, reorder and gate channels; they join those of `onnx_images`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bnnsim.frontends.importer import Activation, Scaled
from bnnsim.frontends.onnx_images import HANDLERS
from bnnsim.frontends.onnx_ops import lowers
from bnnsim.frontends.onnx_values import OnnxCall, Permuted, full_shape, in_flight
from bnnsim.graph.dtypes import FLOAT32

__all__ = ["HANDLERS"]

_LAST_AXIS = 13  # the opset from which a softmax is over one axis, by default the last


@lowers("Concat")
def _concat(call: OnnxCall) -> Any:
    values, axis = list(call.args), int(call.attrs["axis"])
    if not all(map(in_flight, values)):
        raise call.unsupported("with a constant beside activations")
    perms = {value.perm if isinstance(value, Permuted) else None for value in values}
    if len(perms) > 1:
        raise call.unsupported("of activations in two orders of axes")
    shapes = [full_shape(call.im, value) for value in values]
    rank = len(shapes[0])
    if not -rank <= axis < rank or any(_without(s, axis) != _without(shapes[0], axis)
                                       for s in shapes):  # fmt: skip
        rule = f"shapes that are equal but along axis {axis}"
        raise call.im.refused(call.place, shapes, rule)
    perm = perms.pop()
    if perm is None:
        return _joined(call, values, shapes, axis % rank)
    back = [int(place) for place in np.argsort(perm)]
    inner = [tuple(shape[place] for place in back) for shape in shapes]
    return Permuted(_joined(call, [v.inner for v in values], inner, perm[axis]), perm)


def _without(shape: Sequence[int], axis: int) -> tuple[int, ...]:
    return tuple(size for i, size in enumerate(shape) if i != axis % len(shape))


def _joined(call: OnnxCall, values: list[Any], shapes: list[Any], axis: int) -> Any:
    """Concatenate activations; levels of one factor stay integers."""
    factors = {value.factor if _is_levels(value) else None for value in values}
    shape = list(shapes[0])
    shape[axis] = sum(s[axis] for s in shapes)
    factor = factors.pop() if len(factors) == 1 else None
    if factor is not None:
        values = [value.inner for value in values]
    joined = call.aten("cat", shape, tensors=values, dim=axis)
    return joined if factor is None else Scaled(joined, factor)


def _is_levels(value: Any) -> bool:
    return isinstance(value, Scaled) and isinstance(value.inner, Activation)


@lowers("PRelu")
def _prelu(call: OnnxCall) -> Any:
    slope = call.constant(1, "slope")
    x = call.plain()
    values = call.im.channels(slope, x, f"{call.place}: slope")
    return call.im.add("PRelu", x, {"slope": (values, FLOAT32)}, label="prelu")


@lowers("LeakyRelu")
def _leaky(call: OnnxCall) -> Any:
    slope = float(call.attrs.get("alpha", 0.01))
    if slope == 0:
        return call.aten("relu", call.shape, self=call.args[0])
    return call.aten("leaky_relu", call.shape, self=call.args[0], negative_slope=slope)


@lowers("Sigmoid")
def _sigmoid(call: OnnxCall) -> Any:
    return call.aten("sigmoid", call.shape, self=call.args[0])


@lowers("Tanh")
def _tanh(call: OnnxCall) -> Any:
    return call.aten("tanh", call.shape, self=call.args[0])


@lowers("HardSigmoid", "HardSwish")
def _hard_gate(call: OnnxCall) -> Any:
    """Lower min(max(alpha x + beta, 0), 1), and x times it."""
    im, swish = call.im, call.node.op == "HardSwish"
    x = im.floats(call.args[0], call.place)
    alpha, beta = 1 / 6 if swish else call.attrs.get("alpha", 0.2), call.attrs.get("beta", 0.5)
    line = im.scaled(x, alpha, np.full(x.shape[0], 0.5 if swish else beta))
    gate = im.add("Clip", line, label="clip", low=0.0, high=1.0)
    return call.aten("mul", call.shape, self=x, other=gate) if swish else gate


@lowers("Softmax", "LogSoftmax")
def _softmax(call: OnnxCall) -> Any:
    shape, new = call.shape, call.opset >= _LAST_AXIS
    axis = int(call.attrs.get("axis", -1 if new else 1)) % len(shape)
    one_axis = new or all(size == 1 for size in shape[2:])  # older ones flatten what follows
    if axis != 1 or not one_axis:
        raise call.unsupported("other than over channels")
    kind = "log_softmax" if call.node.op == "LogSoftmax" else "softmax"
    return call.aten(kind, shape, self=call.args[0], dim=1, dtype=None)
