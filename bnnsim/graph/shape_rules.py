"""Shape and dtype rules of windows, residual sums, slices and what keeps every element."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bnnsim.errors import GraphError
from bnnsim.graph.dtypes import FLOAT32, INT32, DType
from bnnsim.graph.grids import grid_of
from bnnsim.graph.ir import Tensor

Shape = tuple[int, ...]
Inference = tuple[Shape, DType]

_MAX_SIDE = 2**16
MAX_ELEMENTS = 2**26  # of one activation of one image; guards allocations against hostile files


def window_output(
    size: Sequence[int],
    kernel: Sequence[int],
    *,
    stride: Sequence[int],
    pads: Sequence[int],
    dilation: Sequence[int] = (1, 1),
) -> tuple[int, int]:
    """Return (height, width) of sliding a window; pads are (top, left, bottom, right).

    Raises
    ------
    GraphError
        If the window does not fit the padded input.
    """
    out = []
    for axis in (0, 1):
        padded = size[axis] + pads[axis] + pads[axis + 2]
        reach = dilation[axis] * (kernel[axis] - 1) + 1
        if padded > _MAX_SIDE:
            raise GraphError(f"a padded side of {padded} is above the limit of {_MAX_SIDE}.")
        if padded < reach:
            raise GraphError(f"a window of {reach} does not fit a padded input of {padded}.")
        out.append((padded - reach) // stride[axis] + 1)
    return out[0], out[1]


def check_padded(x: Tensor, pads: Sequence[int]) -> None:
    """Raise GraphError if the padded image would be too large to allocate."""
    height, width = x.shape[0] + pads[0] + pads[2], x.shape[1] + pads[1] + pads[3]
    if height * width * x.shape[2] > MAX_ELEMENTS:
        raise GraphError(f"pads {tuple(pads)} give more than {MAX_ELEMENTS} elements of an image.")


def pooled(attrs: Mapping[str, Any], x: Tensor) -> Shape:
    """Return the shape that a pool gives.

    Raises
    ------
    GraphError
        If ``x`` is no image, is too large once padded, or a window could lie wholly on padding.
    """
    require_image(x)
    check_padded(x, attrs["pads"])
    if any(p >= k for p, k in zip(attrs["pads"], attrs["kernel"] * 2, strict=True)):
        raise GraphError(f"pads {attrs['pads']} leave windows of {attrs['kernel']} without taps.")
    size = window_output(x.shape, attrs["kernel"], stride=attrs["stride"], pads=attrs["pads"])
    return (*size, x.shape[2])


def require_image(x: Tensor) -> None:
    """Raise GraphError unless ``x`` has the shape (H, W, C)."""
    if len(x.shape) != 3:
        raise GraphError(f"the activation has shape {x.shape}, but (H, W, C) is needed.")


def add(_: Mapping[str, Any], tensors: Sequence[Tensor]) -> Inference:
    """Two activations of one shape: one float type, or integers that give int32."""
    a, b = tensors
    if a.shape != b.shape:
        raise GraphError(f"activations of shapes {a.shape} and {b.shape}: one shape is needed.")
    if a.dtype.is_integer and b.dtype.is_integer:
        return a.shape, INT32
    if (a.dtype.kind, a.dtype.bits) != (b.dtype.kind, b.dtype.bits):
        raise GraphError(
            f"activations are {a.dtype} and {b.dtype}: one float type, or integers, are needed. "
            "Cast one of them first."
        )
    return a.shape, a.dtype


def _require_numbers(x: Tensor, why: str) -> None:
    if x.dtype.kind == "bipolar":
        raise GraphError(f"the input is {x.dtype}, {why}: cast it to int8 or a float type first.")


def average_pool(attrs: Mapping[str, Any], tensors: Sequence[Tensor]) -> Inference:
    """Windows of numbers; the type stays."""
    (x,) = tensors
    _require_numbers(x, "which has no average")
    return pooled(attrs, x), x.dtype


def global_average_pool(_: Mapping[str, Any], tensors: Sequence[Tensor]) -> Inference:
    """One number per channel; the type stays."""
    (x,) = tensors
    require_image(x)
    _require_numbers(x, "which has no average")
    return (1, 1, x.shape[2]), x.dtype


def sliced(attrs: Mapping[str, Any], tensors: Sequence[Tensor]) -> Inference:
    """Every ``step``-th element of [start, stop) along each of height, width and channels."""
    (x,) = tensors
    require_image(x)
    start, stop, step = attrs["start"], attrs["stop"], attrs["step"]
    axes = list(zip(start, stop, x.shape, strict=True))
    if any(not first < last <= size for first, last, size in axes):
        raise GraphError(
            f"start {start} and stop {stop} do not fit the activation's shape {x.shape}: "
            "start < stop <= size is needed along each axis."
        )
    size = tuple(-(-(b - a) // s) for a, b, s in zip(start, stop, step, strict=True))
    return size, x.dtype


def channel_padding(attrs: Mapping[str, Any], tensors: Sequence[Tensor]) -> Inference:
    """More channels; the type stays."""
    (x,) = tensors
    _require_numbers(x, "which has no 0 to pad with")
    channels = x.shape[-1] + attrs["before"] + attrs["after"]
    if channels > _MAX_SIDE:
        raise GraphError(f"{channels} channels are above the limit of {_MAX_SIDE}.")
    return (*x.shape[:-1], channels), x.dtype


def concatenated(_: Mapping[str, Any], tensors: Sequence[Tensor]) -> Inference:
    """Channels side by side: of one type, and of images of one size."""
    first = tensors[0]
    for other in tensors[1:]:
        if other.shape[:-1] != first.shape[:-1]:
            raise GraphError(
                f"activations of shapes {first.shape} and {other.shape}: images of one height and "
                "width, or vectors, are needed."
            )
        if other.dtype != first.dtype:
            raise GraphError(
                f"activations are {first.dtype} and {other.dtype}: one type is needed. "
                "Cast one of them first."
            )
    channels = sum(tensor.shape[-1] for tensor in tensors)
    if channels > _MAX_SIDE and len(first.shape) == 3:
        raise GraphError(f"{channels} channels are above the limit of {_MAX_SIDE}.")
    return (*first.shape[:-1], channels), first.dtype


def shuffled(attrs: Mapping[str, Any], tensors: Sequence[Tensor]) -> Inference:
    """Return the shape and type of the same channels in another order."""
    (x,) = tensors
    if x.shape[-1] % attrs["groups"]:
        raise GraphError(f"{x.shape[-1]} channels do not divide into {attrs['groups']} groups.")
    return x.shape, x.dtype


def reshaped(attrs: Mapping[str, Any], tensors: Sequence[Tensor]) -> Inference:
    """Return the attribute as the shape; the elements and their type stay."""
    (x,) = tensors
    if math.prod(attrs["shape"]) != x.size:
        raise GraphError(
            f"shape {attrs['shape']} does not hold the {x.size} elements of {x.shape}."
        )
    return attrs["shape"], x.dtype


def flattened(_: Mapping[str, Any], tensors: Sequence[Tensor]) -> Inference:
    """One vector; the type stays."""
    return (tensors[0].size,), tensors[0].dtype


def integer_affine(_: Mapping[str, Any], tensors: Sequence[Tensor]) -> Inference:
    """Integers of the same shape."""
    if not tensors[0].dtype.is_integer:
        raise GraphError(f"the input is {tensors[0].dtype}, but an integer is needed.")
    return tensors[0].shape, INT32


def encoded(_: Mapping[str, Any], tensors: Sequence[Tensor]) -> Inference:
    """Return the table's type in the shape of what it maps."""
    x, table = tensors
    if x.dtype.kind != "unsigned" or x.dtype.bits > 8:
        raise GraphError(f"the input is {x.dtype}, but a table needs at most 8 unsigned bits.")
    if table.shape != (2**x.dtype.bits,):
        raise GraphError(f"the table has shape {table.shape}, not ({2**x.dtype.bits},).")
    return x.shape, table.dtype


def from_grid(attrs: Mapping[str, Any], tensors: Sequence[Tensor]) -> Inference:
    """Return the 8-bit type of a grid's integers in the shape of the values."""
    if tensors[0].dtype != FLOAT32:
        raise GraphError(f"the input is {tensors[0].dtype}, but float32 is needed.")
    return tensors[0].shape, DType.parse(grid_of(attrs).dtype)
