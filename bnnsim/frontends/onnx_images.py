"""ONNX operators of windows and shapes on activations; they join those of `onnx_ops`."""

from __future__ import annotations

from typing import Any

import numpy as np

from bnnsim.frontends.elementwise import Lookup
from bnnsim.frontends.importer import Activation, Grouped, Padded, Scaled
from bnnsim.frontends.onnx_numpy import (
    axes_of,
    flattened,
    reshaped,
    slice_of,
    squeezed,
    unsqueezed,
)
from bnnsim.frontends.onnx_ops import HANDLERS, lowers, pads_of, pair
from bnnsim.frontends.onnx_values import OnnxCall, Permuted, image_of, levels_of
from bnnsim.graph.shape_rules import window_output

__all__ = ["HANDLERS"]

# --- windows -----------------------------------------------------------------------------------


def _window(call: OnnxCall) -> dict[str, Any]:
    """Return kernel, stride and pads; with ``ceil_mode`` the last windows reach further out."""
    kernel = pair(call, "kernel_shape", 0)
    if len(call.shape) != 4:
        raise call.im.refused(call.place, call.shape, "(N, C, H, W)")
    if pair(call, "dilations") != (1, 1) or call.attrs.get("storage_order", 0):
        raise call.unsupported("with dilations or storage_order")
    stride = pair(call, "strides")
    pads = list(pads_of(call, kernel, stride, (1, 1)))
    if call.attrs.get("ceil_mode", 0):
        for axis, size in enumerate(call.shape[2:]):
            open_end = size + pads[axis] + pads[axis + 2] - kernel[axis]
            steps = -(-open_end // stride[axis])
            if steps * stride[axis] >= size + pads[axis]:
                steps -= 1  # a window that starts on the padding is left out
            pads[axis + 2] += max(0, steps * stride[axis] - open_end)
    return {"kernel": kernel, "stride": stride, "pads": tuple(pads)}


@lowers("MaxPool")
def _max_pool(call: OnnxCall) -> Any:
    moved = levels_of(call.im, call.args[0], call.place)
    tensor = call.im.builder.add("MaxPool", moved.activation.tensor, label="pool", **_window(call))
    return moved.then(image_of(call.im, tensor))


@lowers("AveragePool")
def _average_pool(call: OnnxCall) -> Any:
    window, counts = _window(call), bool(call.attrs.get("count_include_pad", 0))
    if counts and call.attrs.get("ceil_mode", 0):
        raise call.unsupported("with ceil_mode and count_include_pad")
    x = call.args[0]
    top, left, bottom, right = window["pads"]
    if counts or (top, left) == (bottom, right) == (0, 0):
        even = (top, left) == (bottom, right)
        if even and not isinstance(x, (Padded, Lookup)):
            return call.aten(
                "avg_pool2d", (*call.shape[:2], *_pooled(call, window)), self=x,
                kernel_size=window["kernel"], stride=window["stride"], padding=(top, left),
                ceil_mode=False, count_include_pad=counts, divisor_override=None,
            )  # fmt: skip
    plain = call.im.floats(x, call.place)
    call.im.note_average()
    tensor = call.im.builder.add(
        "AvgPool", plain.tensor, label="pool", count_include_pad=counts, **window
    )
    return image_of(call.im, tensor)


def _pooled(call: OnnxCall, window: dict[str, Any]) -> tuple[int, int]:
    return window_output(
        call.shape[2:], window["kernel"], stride=window["stride"], pads=window["pads"]
    )


@lowers("GlobalAveragePool")
def _global_average(call: OnnxCall) -> Any:
    if len(call.shape) != 4:
        raise call.im.refused(call.place, call.shape, "(N, C, H, W)")
    shape = (*call.shape[:2], 1, 1)
    return call.aten("mean", shape, self=call.args[0], dim=[2, 3], keepdim=True, dtype=None)


@lowers("ReduceMean")
def _mean(call: OnnxCall) -> Any:
    axes, keep = axes_of(call.args, call.attrs), bool(call.attrs.get("keepdims", 1))
    if axes is None:
        raise call.unsupported("over all axes")
    rank = len(call.shape)
    dims = sorted(axis % rank for axis in axes)
    full = [1 if i in dims else size for i, size in enumerate(call.shape)]
    shape = full if keep else [size for i, size in enumerate(call.shape) if i not in dims]
    return call.aten("mean", shape, self=call.args[0], dim=dims, keepdim=keep, dtype=None)


@lowers("Pad")
def _pad(call: OnnxCall) -> Any:
    given = call.argument(1)
    pads = call.attrs.get("pads") if given is None else call.constant(1, "pads").tolist()
    value = call.attrs.get("value", 0.0)
    if call.argument(2) is not None:
        value = float(call.constant(2, "value").reshape(-1)[0])
    if call.argument(3) is not None or pads is None or len(call.shape) != 4 or len(pads) != 8:
        raise call.unsupported("other than of all four axes of an image")
    begin, end = pads[:4], pads[4:]
    if begin[0] or end[0]:
        raise call.unsupported("that pads the batch")
    torch_order = [p for axis in (3, 2, 1) for p in (begin[axis], end[axis])]
    if not any(torch_order[4:]):
        torch_order = torch_order[:4]
    shape = [s + b + e for s, b, e in zip(call.shape, begin, end, strict=True)]
    mode = call.attrs.get("mode", "constant")
    x = call.args[0]
    moved = levels_of(call.im, x, call.place) if not value else None
    inner = x if moved is None else moved.activation
    padded = call.aten("pad", shape, self=inner, pad=torch_order, mode=mode, value=value)
    if moved is None or moved.factor is None:
        return padded
    return Scaled(padded, moved.factor)


# --- shapes ------------------------------------------------------------------------------------


@lowers("Shape")
def _shape(call: OnnxCall) -> np.ndarray:
    whole = np.array(call.shape, np.int64)
    return whole[call.attrs.get("start") : call.attrs.get("end")]


@lowers("Flatten", "Reshape", "Squeeze", "Unsqueeze")
def _reshape(call: OnnxCall) -> Any:
    shape, attrs = call.shape, call.attrs
    if call.node.op == "Flatten":
        wanted: tuple[int, ...] = flattened(shape, attrs)
    elif call.node.op == "Reshape":
        target = attrs["shape"] if "shape" in attrs else call.constant(1, "shape")
        wanted = reshaped(shape, target, attrs)
    else:
        axes = axes_of(call.args, attrs)
        wanted = unsqueezed(shape, axes or []) if call.node.op == "Unsqueeze" else squeezed(
            shape, axes
        )  # fmt: skip
    if not wanted or wanted[0] != int(call.im.batch):
        rule = f"a shape that keeps the batch of {call.im.batch} as its first axis"
        raise call.im.refused(call.place, wanted, rule)
    x = call.args[0]
    if isinstance(x, Permuted):
        return _flat_permuted(call, x, wanted)
    return call.aten("reshape", wanted, self=x, shape=list(wanted))


def _flat_permuted(call: OnnxCall, x: Permuted, wanted: tuple[int, ...]) -> Any:
    """Flatten an image whose axes the file has transposed."""
    moved = levels_of(call.im, x.inner, call.place)
    inner = moved.activation
    if len(wanted) != 2 or x.perm[0] != 0 or len(inner.shape) != 3:
        raise call.unsupported("of a transposed activation, other than to (N, features)")
    index = np.arange(wanted[1]).reshape([inner.shape[p - 1] for p in x.perm[1:]])
    order = index.transpose(np.argsort([p - 1 for p in x.perm[1:]])).transpose(1, 2, 0).reshape(-1)
    tensor = call.im.builder.add("Flatten", inner.tensor, label="flatten")
    plain = bool((order == np.arange(wanted[1])).all())
    return moved.then(Activation(tensor, wanted[1:], None if plain else order))


@lowers("Transpose")
def _transpose(call: OnnxCall) -> Any:
    x = call.args[0]
    rank = len(call.shape)
    if isinstance(x, Grouped):
        dims = list(call.attrs.get("perm", range(rank)[::-1]))
        shape = [call.shape[dim] for dim in dims]
        return call.aten("permute", shape, self=x, dims=dims)
    perm = tuple(call.attrs.get("perm", range(rank)[::-1]))
    if sorted(perm) != list(range(rank)) or perm[0] != 0:
        raise call.unsupported(f"with perm {list(perm)}")
    inner, own = (x.inner, x.perm) if isinstance(x, Permuted) else (x, tuple(range(rank)))
    joined = tuple(own[axis] for axis in perm)
    return inner if joined == tuple(range(rank)) else Permuted(inner, joined)


@lowers("Slice")
def _slice(call: OnnxCall) -> Any:
    value, shape = call.args[0], list(call.shape)
    for axis, start, end, step in slice_of(call.args, call.attrs):
        if step < 1 or not -len(shape) <= axis < len(shape):
            raise call.unsupported(f"with a step of {step} along axis {axis}")
        axis %= len(shape)
        first, last, _ = slice(start, end, step).indices(shape[axis])
        if (first, last, step) == (0, shape[axis], 1):
            continue
        shape[axis] = max(0, -(-(last - first) // step))
        arguments = {"dim": axis, "start": first, "end": last, "step": step}
        value = call.aten("slice", shape, self=value, **arguments)
    return value


@lowers("Split")
def _split(call: OnnxCall) -> list[Any]:
    """Lower parts along one axis, each a slice."""
    axis, parts = int(call.attrs.get("axis", 0)) % len(call.shape), len(call.node.outputs)
    extent = int(call.shape[axis])
    given = call.args[1] if len(call.args) > 1 else call.attrs.get("split")
    even = -(-extent // parts)
    sizes = [even] * parts if given is None else [int(size) for size in np.ravel(given)]
    ends = np.minimum(np.cumsum(sizes), extent) if given is None else np.cumsum(sizes)
    if len(sizes) != parts or min(sizes) < 1 or ends[-1] != extent:
        raise call.unsupported(f"of {extent} elements into {sizes} for {parts} outputs")
    values, start = [], 0
    for end in map(int, ends):
        shape = [*call.shape[:axis], end - start, *call.shape[axis + 1 :]]
        arguments = {"dim": axis, "start": start, "end": end, "step": 1}
        values.append(call.aten("slice", shape, self=call.args[0], **arguments))
        start = end
    return values
