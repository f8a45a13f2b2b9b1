"""torch operators of scales: products of two activations, and XNOR-Net's K written out.

K is the mean of |x| over the channels, then a box filter: ``abs``, ``mean`` over dimension 1, and a
convolution with a constant kernel of 1 / (r s), or an average pool that counts its padding. They
join the operators of ``aten_images.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bnnsim.frontends.aten import Handler, unsupported
from bnnsim.frontends.aten_images import HANDLERS, require_alike
from bnnsim.frontends.elementwise import numbers
from bnnsim.frontends.importer import (
    Activation,
    Call,
    Importer,
    Magnitude,
    ScaleMap,
    is_symbolic,
    pair_of,
)

__all__ = ["HANDLERS"]

_BOX_ROUNDING = 2.0**-22  # of weights that float32 made of 1 / (r s)
_constant_factor: Handler = HANDLERS["aten.mul"]
_spatial_mean: Handler = HANDLERS["aten.mean"]
_plain_conv: Handler = HANDLERS["aten.conv2d"]
_plain_average: Handler = HANDLERS["aten.avg_pool2d"]


def _magnitude(im: Importer, call: Call) -> Magnitude:
    return Magnitude(im.activation(call.first, call.place))


def _mean(im: Importer, call: Call) -> Any:
    """Lower the mean of |x| over channels; other means are over height and width."""
    x = call.first
    if not isinstance(x, Magnitude):
        return _spatial_mean(im, call)
    dims = [d % (1 + len(x.inner.shape)) for d in call.args["dim"] or ()]
    if dims != [1] or not call.args["keepdim"] or call.args.get("dtype") is not None:
        what = f"{call.op} of magnitudes other than over channels with keepdim"
        raise unsupported(im, call.place, what)
    return ScaleMap(x.inner, (1, *x.inner.shape[1:]))


def _conv(im: Importer, call: Call) -> Any:
    """Lower a box filter of a scale map; other convolutions read what they read."""
    x, weight = call.first, call.args["weight"]
    if not isinstance(x, ScaleMap) or is_symbolic(weight) or call.args["bias"] is not None:
        return _plain_conv(im, call)
    box = numbers(weight).astype(np.float64)
    padding = call.args["padding"]
    is_box = box.shape[:2] == (1, 1) and (np.abs(box * box.size - 1) < _BOX_ROUNDING).all()
    if not is_box or isinstance(padding, str) or call.args.get("transposed"):
        return _plain_conv(im, call)
    window = {key: pair_of(call.args[key]) for key in ("stride", "dilation")}
    pads = pair_of(padding) * 2
    return im.input_scale(x.inner, call.shape, kernel=box.shape[2:], pads=pads, **window)


def _average(im: Importer, call: Call) -> Any:
    """Lower an average of a scale map that counts its padding; others average activations."""
    x, args = call.first, call.args
    padding = pair_of(args["padding"])
    plain = not args["ceil_mode"] and args["divisor_override"] is None
    counts_all = args["count_include_pad"] or not any(padding)
    if not isinstance(x, ScaleMap) or not plain or not counts_all:
        return _plain_average(im, call)
    kernel = pair_of(args["kernel_size"])
    stride = pair_of(args["stride"]) if args["stride"] else kernel
    return im.input_scale(x.inner, call.shape, kernel=kernel, stride=stride, pads=padding * 2)


def _product(im: Importer, call: Call) -> Activation:
    """Lower the product of two activations; a constant factor is a scale."""
    operands = [call.args["self"], call.args["other"]]
    if not all(map(is_symbolic, operands)):
        plain: Activation = _constant_factor(im, call)
        return plain
    if call.dtype != "torch.float32":
        raise unsupported(im, call.place, f"{call.op} that is not plain float32")
    a, b = (im.activation(value, call.place) for value in operands)
    if a.shape != call.shape or (a.shape == b.shape and im.dtype(b).is_integer):
        a, b = b, a
    if a.shape != call.shape or len(b.shape) != len(a.shape):
        rule = "one operand of the result's shape, the other with as many axes"
        raise im.refused(call.place, f"{call.op} of {a.shape} and {b.shape}", rule)
    if a.shape == b.shape:
        require_alike(im, call, a, b)
    factor = im.floats(b, call.place)
    tensor = im.builder.add("Mul", a.tensor, label="mul", also=(factor.tensor,))
    return Activation(tensor, call.shape, a.order)


HANDLERS.update(
    {
        "aten.abs": _magnitude,
        "aten.mean": _mean,
        "aten.conv2d": _conv,
        "aten.convolution": _conv,
        "aten.avg_pool2d": _average,
        "aten.mul": _product,
    }
)
