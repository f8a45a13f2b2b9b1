"""torch operators that join, reorder and gate channels: concat, shuffle, PReLU, gates, softmax.

They join the operators of ``aten_levels.py``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from bnnsim.frontends.aten import Handler, unsupported
from bnnsim.frontends.aten_levels import HANDLERS, signs_apart
from bnnsim.frontends.elementwise import Lookup, scalar_of
from bnnsim.frontends.importer import (
    Activation,
    Call,
    Clipped,
    Grouped,
    Importer,
    Scaled,
    is_symbolic,
)
from bnnsim.graph.dtypes import FLOAT32

__all__ = ["HANDLERS"]

_FUNCTION_NOTE = "A {} is computed in float64 and rounded once; {} rounds each step."
_SWAPPED = ([0, 2, 1, 3, 4], [0, 2, 1])
_plain_reshape: dict[str, Handler] = {
    name: HANDLERS[name]
    for name in ("aten.flatten", "aten.view", "aten.reshape", "aten.squeeze", "aten.unsqueeze")
}
_plain_reshape["aten.view_as"] = HANDLERS["aten.view"]


def _concat(im: Importer, call: Call) -> Activation:
    """Lower channels side by side; features of flattened images keep their order."""
    values, dim = call.args["tensors"], int(call.args.get("dim", 0))
    if dim % (1 + len(call.shape)) != 1 or not all(map(is_symbolic, values)):
        what = f"{call.op} other than of the channels of activations"
        raise unsupported(im, call.place, what)
    parts = [im.activation(value, call.place) for value in values]
    if len({im.dtype(x) for x in parts}) > 1:
        parts = [im.floats(x, call.place) for x in parts]
    order = None
    if any(x.order is not None for x in parts):
        sizes = [x.shape[0] for x in parts]
        starts = np.cumsum([0, *sizes])
        order = np.concatenate([
            start + (np.arange(size) if x.order is None else x.order)
            for x, size, start in zip(parts, sizes, starts, strict=False)
        ])  # fmt: skip
    if len(parts) == 1:
        return parts[0]
    first, *others = (x.tensor for x in parts)
    return Activation(
        im.builder.add("Concat", first, label="concat", also=others), call.shape, order
    )


def _prelu(im: Importer, call: Call) -> Activation:
    """Lower one slope per channel below zero, or one for all."""
    x = im.activation(call.first, call.place)
    slope = call.args["weight"] if call.kind == "prelu" else call.args["negative_slope"]
    if is_symbolic(slope):
        raise unsupported(im, call.place, f"{call.op} with a computed slope")
    values = np.asarray(scalar_of(slope), np.float32).reshape(-1)
    if values.size not in (1, x.shape[0]):
        raise im.refused(call.place, values.shape, "one slope, or one per channel")
    wide = im.ordered(np.broadcast_to(values, (x.shape[0],)), x)
    return im.add("PRelu", x, {"slope": (wide, FLOAT32)}, label="prelu")


def _sigmoid(im: Importer, call: Call) -> Activation:
    im.note_once(_FUNCTION_NOTE.format("sigmoid", im.source))
    return im.add("Sigmoid", im.floats(call.first, call.place), label="sigmoid")


def _tanh(im: Importer, call: Call) -> Activation:
    """Lower tanh(x) as 2 sigmoid(2 x) - 1."""
    im.note_once("tanh(x) is 2 sigmoid(2 x) - 1 here: they may differ by 1e-7.")
    gate = _sigmoid(
        im, replace(call, args={"self": im.scaled(im.floats(call.first, call.place), 2)})
    )
    return im.scaled(gate, 2.0, np.full(gate.shape[0], -1.0))


def _softmax(im: Importer, call: Call) -> Activation:
    x = im.floats(call.first, call.place)
    if int(call.args["dim"]) % (1 + len(x.shape)) != 1 or call.args.get("dtype") is not None:
        raise unsupported(im, call.place, f"{call.op} other than over channels")
    im.note_once(_FUNCTION_NOTE.format("softmax", im.source))
    return im.add("Softmax", x, label="softmax", log="log" in call.kind)


def _hard_gate(im: Importer, call: Call) -> Activation:
    """Lower relu6(x + 3) / 6, and x times it."""
    im.note_once("relu6(x + 3) / 6 is multiplied by 1/6 here, in the last bit unlike torch's.")
    x = im.floats(call.first, call.place)
    moved = im.add("Bias", x, {"bias": (np.full(x.shape[0], 3), FLOAT32)}, label="bias")
    gate = im.scaled(im.add("Clip", moved, label="clip", low=0.0, high=6.0), 1 / 6)
    return gate if call.kind == "hardsigmoid" else _gated(im, x, gate)


def _gated(im: Importer, x: Activation, gate: Activation) -> Activation:
    return im.add("Mul", x, label="mul", also=(gate.tensor,))


def _silu(im: Importer, call: Call) -> Activation:
    x = im.floats(call.first, call.place)
    return _gated(im, x, _sigmoid(im, call))


def _shuffle(im: Importer, call: Call) -> Activation:
    x = im.activation(call.first, call.place)
    return im.add("ChannelShuffle", x, label="shuffle", groups=int(call.args["groups"]))


def _swap(im: Importer, call: Call) -> Grouped:
    """Lower the transpose of groups and channels in a group; images keep their axes."""
    x, rank = call.first, 1 + len(call.shape)
    dims = call.args.get("dims")
    if dims is None:
        swapped = sorted(int(call.args[key]) % rank for key in ("dim0", "dim1")) == [1, 2]
    else:
        swapped = [int(d) % rank for d in dims] in _SWAPPED
    if not isinstance(x, Grouped) or not swapped:
        raise unsupported(im, call.place, f"{call.op} other than of groups of channels")
    return replace(x, transposed=not x.transposed)


def _reshape(im: Importer, call: Call) -> Any:
    """Lower views of channels as groups and back, and of vectors as images of one pixel."""
    if len(call.shape) > 1:
        call = signs_apart(im, call)
    x = call.first
    if isinstance(x, Grouped):
        return _regrouped(im, call, x)
    if len(call.shape) > 1 and (isinstance(x, Clipped) or _is_comparison(x)):
        x = im.activation(x, call.place)
    levels = isinstance(x, Scaled) and isinstance(x.inner, Activation)
    inner = x.inner if levels else x
    groups = isinstance(inner, Activation) and len(inner.shape) == len(call.shape) - 1
    if groups and inner.order is None and _splits_channels(inner.shape, call.shape):
        if call.shape[1:] != (1,):
            return Grouped(inner, call.shape[0], factor=x.factor if levels else 1.0)
        pixel = Activation(inner.tensor, call.shape)
        return Scaled(pixel, x.factor) if levels else pixel
    if isinstance(x, Activation) and call.shape != x.shape:
        flat = len(im.builder.tensor(x.tensor).shape) == 1
        if flat and x.order is None and call.shape[1:] == (1, 1):
            shape = (1, 1, call.shape[0])
            tensor = im.builder.add("Reshape", x.tensor, label="reshape", shape=shape)
            return Activation(tensor, call.shape)
        if flat and call.shape == x.shape[:1]:
            return Activation(x.tensor, call.shape, x.order)
    return _plain_reshape[f"aten.{call.kind}"](im, call)


def _is_comparison(x: Any) -> bool:
    return isinstance(x, Lookup) and x.compared


def _splits_channels(shape: tuple[int, ...], view: tuple[int, ...]) -> bool:
    """Whether a view of a vector or an image has its channels as a matrix."""
    return len(shape) in (1, 3) and view[2:] == shape[1:] and shape[0] > 1


def _regrouped(im: Importer, call: Call, x: Grouped) -> Activation | Scaled:
    if call.shape != x.inner.shape:
        rule = f"the view back to {x.inner.shape}"
        raise im.refused(call.place, call.shape, rule)
    y = x.inner
    if x.transposed:
        y = im.add("ChannelShuffle", y, label="shuffle", groups=x.groups)
    return y if x.factor == 1 else Scaled(y, x.factor)


def _expand(im: Importer, call: Call) -> Any:
    """Lower a view that repeats elements: products, and sums with constants, repeat them too."""
    return im.activation(call.first, call.place) if is_symbolic(call.first) else call.first


HANDLERS.update(
    {
        "aten.cat": _concat,
        "aten.concat": _concat,
        "aten.prelu": _prelu,
        "aten.leaky_relu": _prelu,
        "aten.sigmoid": _sigmoid,
        "aten.silu": _silu,
        "aten.tanh": _tanh,
        "aten.hardsigmoid": _hard_gate,
        "aten.hardswish": _hard_gate,
        **dict.fromkeys(
            ("aten.softmax", "aten.log_softmax", "aten._softmax", "aten._log_softmax"), _softmax
        ),
        "aten.channel_shuffle": _shuffle,
        "aten.native_channel_shuffle": _shuffle,
        "aten.transpose": _swap,
        "aten.permute": _swap,
        "aten.expand": _expand,
        "aten.expand_as": _expand,
        **dict.fromkeys(_plain_reshape, _reshape),
    }
)
