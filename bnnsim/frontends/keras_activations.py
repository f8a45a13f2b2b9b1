"""Quantizers of activations and activation functions, as layers or inside other layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from bnnsim.frontends import larq_quantizers as larq
from bnnsim.frontends.importer import Activation, Clipped, Importer, Scaled
from bnnsim.frontends.keras_uses import Probabilities, Use, append, shape_of
from bnnsim.frontends.larq_quantizers import Quantizer, read_quantizer
from bnnsim.graph.dtypes import BIT, FLOAT32, DType

_FUNCTIONS = ("linear", "relu", "relu6", "hard_tanh", "sigmoid", "softmax")


# --- quantizers of activations -----------------------------------------------------------------


def quantize(im: Importer, use: Use, value: Any, quantizer: Quantizer) -> tuple[Activation, float]:
    """Append a quantizer; return its levels and what one level stands for."""
    if isinstance(value, Scaled) and quantizer.kind in (larq.SIGN, larq.HEAVISIDE):
        value = value.inner  # a positive factor changes neither
    if quantizer.kind == larq.SIGN:
        if isinstance(value, Activation) and im.dtype(value) == BIT:
            return value, 1.0
        return im.sign(value, use.place, zero_is_plus=True), 1.0
    x = im.activation(value, use.place)
    if quantizer.kind == larq.HEAVISIDE:
        return _heaviside(im, use, x), 1.0
    if quantizer.kind == larq.TERNARIZE and quantizer.threshold is not None:
        return _ternary(im, use, x, float(np.float32(quantizer.threshold))), 1.0
    if quantizer.kind == larq.DOREFA and quantizer.mode == larq.ACTIVATIONS:
        attrs = {"quantizer": "dorefa", "bits": quantizer.bits}
        levels = append(im, use, "Quantize", x, label="quantize", **attrs)
        return levels, 1 / (2**quantizer.bits - 1)
    got = f"{quantizer.name} of activations"
    rule = "a quantizer of each value by itself: this one depends on the whole batch"
    raise im.refused(use.place, got, rule, "It is meant for weights.")


def _per_channel(im: Importer, x: Activation, value: float) -> tuple[np.ndarray, DType]:
    return np.full(shape_of(im, x)[-1], value), FLOAT32


def _steps(im: Importer, use: Use, x: Activation, *levels: int, **attrs: Any) -> Activation:
    """Append the number of thresholds that an integer reaches, or is not above."""
    channels = shape_of(im, x)[-1]
    direction = np.full(channels, attrs.pop("direction", 1))
    constants = {
        "thresholds": (np.tile(np.array(levels), (channels, 1)), DType("signed", 32)),
        "direction": (direction, DType("signed", 8)),
    }
    return append(im, use, "Threshold", x, constants, label="threshold", **attrs)


def _heaviside(im: Importer, use: Use, x: Activation) -> Activation:
    """Append 1 above 0, else 0: of floats from the sign of -x, which is +1 at 0."""
    if im.dtype(x).is_integer:
        return _steps(im, use, x, 1, dtype="uint1")
    negated = append(im, use, "Scale", x, {"scale": _per_channel(im, x, -1)}, label="negate")
    sign = append(im, use, "Quantize", negated, label="sign", quantizer="sign")
    return _steps(im, use, sign, -1, direction=-1, dtype="uint1")


def _ternary(im: Importer, use: Use, x: Activation, t: float) -> Activation:
    """Append +1 for x >= t and -1 for x <= -t: of floats half of sign(x - t) - sign(-x - t)."""
    if im.dtype(x).is_integer:
        high, low = (1, 0) if t == 0 else (int(np.ceil(t)), int(np.floor(-t)) + 1)
        return _steps(im, use, x, low, high, dtype="ternary", base=-1)
    shift = _per_channel(im, x, -t)
    above = append(im, use, "Bias", x, {"bias": shift}, label="above")
    above = append(im, use, "Quantize", above, label="sign", quantizer="sign")
    mirrored = {"scale": _per_channel(im, x, -1), "bias": shift}
    below = append(im, use, "Affine", x, mirrored, label="below")
    below = append(im, use, "Quantize", below, label="sign", quantizer="sign")
    below = append(im, use, "IntegerAffine", below, label="negate", mul=-1)
    both = append(im, use, "Add", above, label="add", also=(below.tensor,))
    return _steps(im, use, both, -1, 1, dtype="ternary", base=-1)


def levels_of(
    im: Importer, use: Use, value: Any, quantizer: Quantizer | None
) -> tuple[Activation, float]:
    """Return what a layer multiplies, quantized, and the factor that its sums are to have."""
    if quantizer is not None:
        return quantize(im, use, value, quantizer)
    if isinstance(value, Scaled) and isinstance(value.inner, Activation):
        return value.inner, value.factor
    return im.activation(value, use.place), 1.0


# --- activation functions ----------------------------------------------------------------------


def activated(im: Importer, use: Use, value: Any) -> Any:
    """Return a value after the layer's own activation function."""
    given = use.fields.get("activation", "linear")
    if given is None:
        return value
    name = given
    if isinstance(given, dict):
        name = given.get("class_name")
        if name == "function" or larq.is_quantizer(given.get("config")):
            name = given.get("config")
    if larq.is_quantizer(name):
        quantizer = read_quantizer(use.fields, "activation")
        return value if quantizer is None else scaled(*quantize(im, use, value, quantizer))
    return function(im, use, value, name)


def scaled(x: Activation, factor: float) -> Activation | Scaled:
    """Return levels together with what one of them stands for."""
    return x if factor == 1 else Scaled(x, factor)


def function(im: Importer, use: Use, value: Any, name: object) -> Any:
    """Return a value after an activation function of this name."""
    if name == "linear":
        return value
    if name == "relu":
        return rectified(im, use, value)
    x = im.activation(value, use.place)
    if name == "softmax":
        return Probabilities(x)
    if name == "sigmoid":
        return append(im, use, "Sigmoid", x, label="sigmoid")
    limits = {"relu6": (0.0, 6.0), "hard_tanh": (-1.0, 1.0)}.get(str(name))
    if limits is None:
        rule = f"one of {', '.join(_FUNCTIONS)}, or a quantizer of larq"
        raise use.fields.refused("activation", name, rule, "Other functions have no op here.")
    return Clipped(x, *limits)


def rectified(im: Importer, use: Use, value: Any) -> Any:
    """Append max(x, 0); levels that are no sign are left as they are."""
    if isinstance(value, Scaled) and isinstance(value.inner, Activation):
        return Scaled(rectified(im, use, value.inner), value.factor)
    return im.rectified(im.activation(value, use.place))
