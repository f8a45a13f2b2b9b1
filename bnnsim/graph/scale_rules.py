"""Shape and dtype rules of scaling: products of activations, and XNOR-Net's input scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bnnsim.errors import GraphError
from bnnsim.graph.dtypes import BIT, FLOAT32
from bnnsim.graph.ir import Tensor
from bnnsim.graph.shape_rules import Inference, check_padded, require_image, window_output


def mul(attrs: Mapping[str, Any], tensors: Sequence[Tensor]) -> Inference:
    """Shape and type of ``a * b``: b is a float that broadcasts to the shape of a.

    Axes are aligned from the last, and along each of them b has one element or as many as a: a map
    (H, W, 1), a factor per channel (1, 1, C) or (C,), a single number (1,), or the shape of a. With
    ``groups``, b has that many channels, each for as many neighbouring channels of a.
    """
    a, b = tensors
    groups, shape = attrs["groups"], b.shape
    if groups > 1:
        if shape[-1] != groups or a.shape[-1] % groups:
            raise GraphError(
                f"{groups} groups need as many channels of b and a multiple of them of a; their "
                f"shapes are {shape} and {a.shape}."
            )
        shape = (*shape[:-1], a.shape[-1])
    aligned = zip(reversed(a.shape), reversed(shape), strict=False)
    if len(shape) > len(a.shape) or any(n not in (1, size) for size, n in aligned):
        raise GraphError(
            f"b of shape {b.shape} does not broadcast to a of shape {a.shape}: along each axis, "
            "aligned from the last, b needs one element or as many as a."
        )
    if not b.dtype.is_float:
        raise GraphError(f"b is {b.dtype}, but a float is needed: cast it first.")
    if a.dtype.is_float and (a.dtype.kind, a.dtype.bits) != (b.dtype.kind, b.dtype.bits):
        raise GraphError(
            f"activations are {a.dtype} and {b.dtype}: one float type, or an integer a, is needed. "
            "Cast one of them first."
        )
    return a.shape, b.dtype


def input_scale(attrs: Mapping[str, Any], tensors: Sequence[Tensor]) -> Inference:
    """One float32 per window and group of an image, or one of a whole vector."""
    (x,) = tensors
    if x.dtype == BIT:
        raise GraphError("the input is bit, whose magnitude is 1: read what the sign was taken of.")
    if x.shape[-1] % attrs["groups"]:
        raise GraphError(f"{x.shape[-1]} channels do not divide into {attrs['groups']} groups.")
    if len(x.shape) == 1:
        if (attrs["kernel"], attrs["pads"], attrs["groups"]) != ((1, 1), (0, 0, 0, 0), 1):
            raise GraphError("a vector has no windows and no groups: leave these attributes out.")
        return (1,), FLOAT32
    require_image(x)
    check_padded(x, attrs["pads"])
    places = {key: attrs[key] for key in ("stride", "pads", "dilation")}
    return (*window_output(x.shape, attrs["kernel"], **places), attrs["groups"]), FLOAT32
