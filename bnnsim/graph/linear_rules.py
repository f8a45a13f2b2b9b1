"""Shape and dtype rules of Dense and Conv2d."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bnnsim.errors import GraphError
from bnnsim.graph.dtypes import BIT, INT32, DType
from bnnsim.graph.ir import Tensor
from bnnsim.graph.shape_rules import Inference, check_padded, window_output


def product_dtype(activation: DType, weight: DType) -> DType:
    """Return the accumulator type of a Dense or Conv2d with these operand types.

    Integers by integers give int32; a float activation keeps its own type (sums are formed in
    float64 and rounded once).
    """
    if activation.is_float:
        return activation
    if weight.is_float:
        raise GraphError(
            f"weight is {weight} but the activation is {activation}: "
            "cast the activation to a float type first."
        )
    return INT32


def dense(_: Mapping[str, Any], tensors: Sequence[Tensor]) -> Inference:
    """One dot product per row of the weight."""
    x, weight = tensors
    if len(x.shape) != 1 or len(weight.shape) != 2 or weight.shape[1] != x.shape[0]:
        raise GraphError(
            f"activation of shape {x.shape} and weight of shape {weight.shape} do not fit: "
            "(K,) and (N, K) are needed. Flatten images first."
        )
    return (weight.shape[0],), product_dtype(x.dtype, weight.dtype)


def conv2d(attrs: Mapping[str, Any], tensors: Sequence[Tensor]) -> Inference:
    """One dot product per window and output channel; bits are padded by 0 or bits."""
    x, weight = tensors
    if len(x.shape) != 3 or len(weight.shape) != 4:
        raise GraphError(
            f"activation of shape {x.shape} and weight of shape {weight.shape}: "
            "(H, W, C) and (C_out, R, S, C / groups) are needed."
        )
    check_padded(x, attrs["pads"])
    groups, channels = attrs["groups"], x.shape[2]
    if channels != weight.shape[3] * groups:
        raise GraphError(
            f"weight has C={weight.shape[3]} in {groups} group(s), activation has C={channels}. "
            "Check the exporter's groups attribute."
        )
    if weight.shape[0] % groups:
        raise GraphError(f"{weight.shape[0]} output channels do not divide into {groups} groups.")
    pad = attrs["pad_value"]
    if x.dtype.kind in ("bipolar", "ternary") and pad and not x.dtype.valid(np.array(pad)):
        values = "-1, 0 or 1" if x.dtype.high == 1 else "0 or a value of its own"
        what = "bits are" if x.dtype == BIT else f"{x.dtype} is"
        raise GraphError(f"pad_value is {pad}, but {what} padded by {values}.")
    size = window_output(
        x.shape,
        weight.shape[1:3],
        stride=attrs["stride"],
        pads=attrs["pads"],
        dilation=attrs["dilation"],
    )
    return (*size, weight.shape[0]), product_dtype(x.dtype, weight.dtype)
