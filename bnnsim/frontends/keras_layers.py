"""What each Keras layer with weights becomes in the graph.

Keras images are (N, H, W, C) as the graph's are; a kernel is (R, S, C / groups, N), a dense weight
(K, N), a depthwise one (R, S, C, multiplier), where output channel c * multiplier + m reads c.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bnnsim.frontends import larq_quantizers as larq
from bnnsim.frontends.importer import Activation, Importer, Padded
from bnnsim.frontends.keras_activations import activated, levels_of
from bnnsim.frontends.keras_uses import HANDLERS, Use, append, image_shape, lowers, shape_of
from bnnsim.frontends.larq_quantizers import Quantizer, read_quantizer
from bnnsim.frontends.weights import classify
from bnnsim.graph.dtypes import FLOAT32, DType

__all__ = ["HANDLERS", "NO_PADS", "same_pads"]

Pads = tuple[int, int, int, int]
NO_PADS: Pads = (0, 0, 0, 0)
_BIAS_NOTE = "A bias is added once, after the sum; TensorFlow may add it before."


# --- quantizers of weights ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kernel:
    """A layer's weights in the graph's layout, and the factor of each output channel or None."""

    values: np.ndarray
    dtype: DType
    scale: np.ndarray | None


Layout = Callable[[np.ndarray], np.ndarray]


def kernel_of(
    im: Importer, use: Use, weight: np.ndarray, quantizer: Quantizer | None, layout: Layout,
    repeat: int = 1,
) -> Kernel:  # fmt: skip
    """Return a kernel as its quantizer says, or as its values say where it has none.

    ``layout`` brings it to the graph's axes; ``repeat`` is how often its last axis is gone through
    by the output channels (the input channels of a depthwise kernel).
    """
    if quantizer is None:
        found = classify(layout(weight))
        return Kernel(found.values, found.dtype, found.scale)
    q = larq.quantized(weight, quantizer)
    zeros = int((weight == 0).sum())
    if quantizer.kind in (larq.SIGN, larq.MAGNITUDE):
        took = f"{zeros} of them are 0 and become +1" if zeros else "none of them is 0"
        im.note_once(f"{use.place}: {weight.size} latent weights become their sign; {took}.")
    if quantizer.kind == larq.TERNARIZE and quantizer.threshold is None:
        im.note_once(f"{use.place}: the mean of |w| is rounded once; TensorFlow's sum may differ.")
    if quantizer.kind == larq.DOREFA and quantizer.mode == larq.WEIGHTS:
        text = "tanh is numpy's; a weight halfway between two levels may take the other"
        im.note_once(f"{use.place}: {text} in TensorFlow.")
    return Kernel(layout(q.values), q.dtype, None if q.scale is None else np.tile(q.scale, repeat))


def sums(
    im: Importer, use: Use, x: Activation, kernel: Kernel, factor: float, bias: Any, **attrs: Any
) -> Activation:
    """Append a Dense or Conv2d, the scale of its operands and its bias."""
    if im.dtype(x).is_integer and kernel.dtype.is_float:
        x = im.floats(x, use.place)
    op = attrs.pop("op")
    y = append(im, use, op, x, {"weight": (kernel.values, kernel.dtype)}, **attrs)
    if bias is not None:
        im.note_once(_BIAS_NOTE)
    if kernel.scale is None and factor == 1:
        if bias is None:
            return y
        return append(im, use, "Bias", y, {"bias": (bias, FLOAT32)}, label="bias")
    im.note_once(
        "Levels, and weights with a scale, are multiplied as integers and their sums scaled once; "
        "TensorFlow scales each of them and rounds every product: where the exact sum is 0, it may "
        "be next to 0 on either side, and a sign after it may differ."
    )
    channels = shape_of(im, y)[-1]
    each = np.ones(channels) if kernel.scale is None else kernel.scale
    scale = (np.asarray(each, np.float64) * factor, FLOAT32)
    if bias is None:
        return append(im, use, "Scale", y, {"scale": scale}, label="scale")
    return append(im, use, "Affine", y, {"scale": scale, "bias": (bias, FLOAT32)}, label="affine")


# --- layers with weights -----------------------------------------------------------------------


@lowers("Dense", "QuantDense")
def _dense(im: Importer, use: Use) -> Any:
    fields = use.fields
    units, biased = fields.positive("units"), fields.truth("use_bias", True)
    value, quantizer = use.only(im), read_quantizer(fields, "input_quantizer")
    x, factor = levels_of(im, use, value, quantizer)
    columns = shape_of(im, x)[-1]
    shapes: dict[str, tuple[int, ...]] = {"kernel": (columns, units)}
    held = use.held({**shapes, "bias": (units,)} if biased else shapes)
    image = len(shape_of(im, x)) == 3  # Keras multiplies each pixel, as a kernel of 1 x 1 does
    kernel = kernel_of(
        im, use, held["kernel"], read_quantizer(fields, "kernel_quantizer"),
        lambda w: w.T.reshape(w.shape[1], 1, 1, w.shape[0]) if image else w.T,
    )  # fmt: skip
    kind = {"op": "Conv2d", "label": "conv"} if image else {"op": "Dense", "label": "dense"}
    return activated(im, use, sums(im, use, x, kernel, factor, held.get("bias"), **kind))


@dataclass(frozen=True, slots=True)
class _Window:
    """The places of a convolution, and what it finds beside the image."""

    stride: tuple[int, int]
    dilation: tuple[int, int]
    pads: Pads
    value: float


def same_pads(
    size: tuple[int, ...], kernel: tuple[int, int], stride: tuple[int, int],
    dilation: tuple[int, int] = (1, 1),
) -> Pads:  # fmt: skip
    """Return TensorFlow's padding 'same': the odd one of a total goes to the bottom and right."""
    ends = []
    for n, k, s, d in zip(size[:2], kernel, stride, dilation, strict=True):
        total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
        ends.append((total // 2, total - total // 2))
    (top, bottom), (left, right) = ends
    return top, left, bottom, right


def _conv_input(
    im: Importer, use: Use, kernel: tuple[int, int]
) -> tuple[Activation, float, _Window]:
    """Return what a convolution multiplies, the factor of its sums, and its window."""
    fields, value = use.fields, use.only(im)
    fields.choice("data_format", ("channels_last",), "channels_last")
    stride, dilation = fields.pair("strides", (1, 1)), fields.pair("dilation_rate", (1, 1))
    padding = fields.choice("padding", ("valid", "same"), "valid")
    own = fields.number("pad_values", 0.0)
    quantizer = read_quantizer(fields, "input_quantizer")
    border, beside = NO_PADS, 0.0
    if isinstance(value, Padded):
        border, beside, value = value.pads, value.value, value.inner
        beside = _border_value(quantizer, beside)
    x, factor = levels_of(im, use, value, quantizer)
    height, width, _ = image_shape(im, use, x)
    padded = (height + border[0] + border[2], width + border[1] + border[3])
    pads = same_pads(padded, kernel, stride, dilation) if padding == "same" else NO_PADS
    if any(pads) and any(border) and own != beside:
        rule = f"a border of one value, not {beside:g} and then {own:g}"
        raise im.refused(use.place, "padding 'same' after ZeroPadding2D", rule)
    level = (beside if any(border) else own) / factor if any(pads) or any(border) else 0.0
    if abs(level - round(level)) > 1e-6 or abs(level) > 2**31 - 1:
        rule = "a whole number (of levels)"
        raise fields.refused("pad_values", own, rule, "Pad with 0, 1 or -1.")
    both = [ours + border_side for ours, border_side in zip(pads, border, strict=True)]
    window = _Window(stride, dilation, (both[0], both[1], both[2], both[3]), round(level))
    return x, factor, window


def _border_value(quantizer: Quantizer | None, value: float) -> float:
    """Return what a layer's quantizer makes of the zeros around its input."""
    return 1.0 if quantizer is not None and quantizer.kind == larq.SIGN else value


def _attrs(window: _Window, groups: int) -> dict[str, Any]:
    return {
        "op": "Conv2d",
        "label": "conv",
        "stride": window.stride,
        "dilation": window.dilation,
        "pads": window.pads,
        "pad_value": int(window.value),
        "groups": groups,
    }


@lowers("Conv2D", "QuantConv2D")
def _conv2d(im: Importer, use: Use) -> Any:
    fields = use.fields
    filters, size = fields.positive("filters"), fields.pair("kernel_size")
    groups, biased = fields.positive("groups", 1), fields.truth("use_bias", True)
    x, factor, window = _conv_input(im, use, size)
    channels = image_shape(im, use, x)[2]
    if channels % groups or filters % groups:
        rule = f"a divisor of {channels} channels and {filters} filters"
        raise fields.refused("groups", groups, rule)
    shapes: dict[str, tuple[int, ...]] = {"kernel": (*size, channels // groups, filters)}
    held = use.held({**shapes, "bias": (filters,)} if biased else shapes)
    quantizer = read_quantizer(fields, "kernel_quantizer")
    kernel = kernel_of(im, use, held["kernel"], quantizer, lambda w: w.transpose(3, 0, 1, 2))
    y = sums(im, use, x, kernel, factor, held.get("bias"), **_attrs(window, groups))
    return activated(im, use, y)


def _depthwise_kernel(im: Importer, use: Use, weight: np.ndarray) -> Kernel:
    """Return a kernel (R, S, C, multiplier) as (C * multiplier, R, S, 1)."""
    rows, columns, channels, multiplier = weight.shape
    shape = (rows, columns, channels * multiplier, 1)
    return kernel_of(
        im, use, weight, read_quantizer(use.fields, "depthwise_quantizer"),
        lambda w: w.reshape(shape).transpose(2, 0, 1, 3), repeat=channels,
    )  # fmt: skip


@lowers("DepthwiseConv2D", "QuantDepthwiseConv2D")
def _depthwise(im: Importer, use: Use) -> Any:
    fields = use.fields
    size, multiplier = fields.pair("kernel_size"), fields.positive("depth_multiplier", 1)
    biased = fields.truth("use_bias", True)
    fields.get("groups", 1)  # Keras does not look at it here
    x, factor, window = _conv_input(im, use, size)
    channels = image_shape(im, use, x)[2]
    shapes: dict[str, tuple[int, ...]] = {"depthwise_kernel": (*size, channels, multiplier)}
    held = use.held({**shapes, "bias": (channels * multiplier,)} if biased else shapes)
    kernel = _depthwise_kernel(im, use, held["depthwise_kernel"])
    y = sums(im, use, x, kernel, factor, held.get("bias"), **_attrs(window, channels))
    return activated(im, use, y)


@lowers("SeparableConv2D", "QuantSeparableConv2D")
def _separable(im: Importer, use: Use) -> Any:
    fields = use.fields
    filters, size = fields.positive("filters"), fields.pair("kernel_size")
    multiplier, biased = fields.positive("depth_multiplier", 1), fields.truth("use_bias", True)
    fields.get("groups", 1)
    x, factor, window = _conv_input(im, use, size)
    channels = image_shape(im, use, x)[2]
    shapes: dict[str, tuple[int, ...]] = {
        "depthwise_kernel": (*size, channels, multiplier),
        "pointwise_kernel": (1, 1, channels * multiplier, filters),
    }
    held = use.held({**shapes, "bias": (filters,)} if biased else shapes)
    depthwise = _depthwise_kernel(im, use, held["depthwise_kernel"])
    between = sums(im, use, x, depthwise, factor, None, **_attrs(window, channels))
    quantizer = read_quantizer(fields, "pointwise_quantizer")
    weight = held["pointwise_kernel"]
    pointwise = kernel_of(im, use, weight, quantizer, lambda w: w.transpose(3, 0, 1, 2))
    plain = _Window((1, 1), (1, 1), NO_PADS, 0)
    y = sums(im, use, between, pointwise, 1.0, held.get("bias"), **_attrs(plain, 1))
    return activated(im, use, y)


@lowers("BatchNormalization")
def _batch_norm(im: Importer, use: Use) -> Any:
    fields = use.fields
    x = im.activation(use.only(im), use.place)
    shape = shape_of(im, x)
    axis = fields.get("axis", -1)
    axes = axis if isinstance(axis, list) else [axis]
    if axes not in ([-1], [len(shape)]):
        rule = "the last axis, that of the channels"
        raise fields.refused("axis", axis, rule, "Use data_format channels_last.")
    named = {"gamma": fields.truth("scale", True), "beta": fields.truth("center", True)}
    names = [name for name, there in named.items() if there] + ["moving_mean", "moving_variance"]
    held = use.held({name: (shape[-1],) for name in names})
    gamma = held.get("gamma", np.ones(shape[-1]))
    beta = held.get("beta", np.zeros(shape[-1]))
    epsilon = fields.number("epsilon", 1e-3)
    least = held["moving_variance"].min() + np.float32(epsilon)
    if not least > 0:
        raise fields.refused("moving_variance", float(least), "positive variances (with epsilon)")
    im.note_once(
        "Keras's batch norm rounds in another order than the graph's: outputs may differ in the "
        "last bits, and signs where it is next to 0."
    )
    values = {
        "gamma": gamma, "beta": beta, "mean": held["moving_mean"], "var": held["moving_variance"],
    }  # fmt: skip
    constants = {role: (value, FLOAT32) for role, value in values.items()}
    return append(im, use, "BatchNorm", x, constants, label="bn", eps=epsilon)
