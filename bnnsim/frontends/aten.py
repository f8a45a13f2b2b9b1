"""What each torch operator on an activation becomes in the graph.

torch images are (N, C, H, W), the graph's (N, H, W, C): weights are transposed, and after a
flattened image the features of everything that follows are reordered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from bnnsim.errors import SourceError
from bnnsim.frontends.elementwise import ELEMENTWISE, Lookup, numbers, outcomes, scalar_of
from bnnsim.frontends.importer import (
    Activation,
    Call,
    Clipped,
    Importer,
    Padded,
    is_symbolic,
    pair_of,
)
from bnnsim.frontends.weights import classify, float_remark
from bnnsim.graph.dtypes import FLOAT32

_EXACT_FLOAT32 = 2**24
_FLOAT32_MAX = float(np.finfo(np.float32).max)

Handler = Callable[[Importer, Call], Any]
HANDLERS: dict[str, Handler] = {}


def unsupported(im: Importer, place: str, op: object) -> SourceError:
    """Return the error for an operator that has no meaning in the graph."""
    names = im.known or [name.removeprefix("aten.") for name in (*HANDLERS, *ELEMENTWISE)]
    known = ", ".join(sorted({name for name in names if not name.startswith("_")}))
    rule = f"one of {known}, as far as the graph has a meaning for it"
    remedy = "Leave it out of the exported model, or write it with these."
    return im.refused(place, str(op), rule, remedy)


def _lowers(*packets: str) -> Callable[[Handler], Handler]:
    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(packets, handler))
        return handler

    return register


# --- linear ------------------------------------------------------------------------------------


@_lowers("aten.linear")
def _linear(im: Importer, call: Call) -> Activation:
    return _dense(im, call, call.args["weight"], call.args["bias"])


@_lowers("aten.mm", "aten.matmul")
def _matmul(im: Importer, call: Call) -> Activation:
    weight = list(call.args.values())[1]
    if is_symbolic(weight) or len(weight.shape) != 2:
        raise unsupported(im, call.place, f"{call.op} of two activations")
    return _dense(im, call, weight.T, None)


@_lowers("aten.addmm")
def _addmm(im: Importer, call: Call) -> Activation:
    bias, x, weight = (call.args[key] for key in ("self", "mat1", "mat2"))
    scaled = call.args["beta"] != 1 or call.args["alpha"] != 1
    if scaled or is_symbolic(bias) or is_symbolic(weight):
        raise unsupported(im, call.place, call.op)
    return _dense(im, Call(call.op, call.place, {"x": x}, call.shape), weight.T, bias)


def _dense(im: Importer, call: Call, weight: Any, bias: Any) -> Activation:
    x = im.activation(call.first, call.place)
    if len(x.shape) != 1:
        rule = "(N, features): flatten images first"
        raise im.refused(call.place, (im.batch, *x.shape), rule)
    matrix = _parameter(im, call, weight)
    columns = matrix if x.order is None else matrix[:, x.order]
    flat = Activation(x.tensor, x.shape)
    return _with_weight(im, call, flat, columns, bias, op="Dense", label="dense")


@_lowers("aten.conv2d", "aten.convolution")
def _conv2d(im: Importer, call: Call) -> Activation:
    if call.args.get("transposed") or len(call.args["weight"].shape) != 4:
        raise unsupported(im, call.place, f"{call.op} other than a plain one over images")
    kernel = tuple(int(k) for k in call.args["weight"].shape[2:])
    pads, value = _conv_pads(call.args, kernel)
    x = call.first
    if isinstance(x, Padded):
        if any(pads) and x.value != 0:
            rule = "no zero padding on top of another padding value"
            raise im.refused(call.place, x.value, rule)
        pads = [own + border for own, border in zip(pads, x.pads, strict=True)]
        value, x = x.value, x.inner
    if value not in (-1, 0, 1):
        rule = "a padding value of -1, 0 or +1"
        raise im.refused(call.place, value, rule)
    weight = _parameter(im, call, call.args["weight"]).transpose(0, 2, 3, 1)
    return _with_weight(
        im,
        call,
        im.activation(x, call.place),
        weight,
        call.args["bias"],
        op="Conv2d",
        label="conv",
        stride=pair_of(call.args["stride"]),
        pads=tuple(pads),
        dilation=pair_of(call.args["dilation"]),
        groups=int(call.args["groups"]),
        pad_value=int(value),
    )


def _conv_pads(args: Mapping[str, Any], kernel: tuple[int, ...]) -> tuple[list[int], float]:
    """Return (top, left, bottom, right) and the padding value of the convolution itself."""
    padding = args["padding"]
    if padding == "valid":
        return [0, 0, 0, 0], 0.0
    if padding == "same":
        total = [d * (k - 1) for d, k in zip(pair_of(args["dilation"]), kernel, strict=True)]
        before = [t // 2 for t in total]
        return [*before, *(t - b for t, b in zip(total, before, strict=True))], 0.0
    return [*pair_of(padding), *pair_of(padding)], 0.0


def _parameter(im: Importer, call: Call, value: Any) -> np.ndarray:
    """Return a float32 weight, or refuse one that is computed, no float32 or not finite."""
    if is_symbolic(value):
        raise unsupported(im, call.place, f"{call.op} of two activations")
    array = numbers(value)
    if array.dtype != np.float32 or not np.isfinite(array).all():
        got = str(array.dtype) if array.dtype != np.float32 else "values that are not finite"
        rule = "finite float32 weights"
        raise im.refused(call.place, got, rule, "Check the training.")
    return array


def _largest(im: Importer, x: Activation) -> int:
    """Return a bound on the absolute values of an integer activation."""
    for node in im.builder.nodes:
        if node.output == x.tensor and node.op == "Encode":
            table = im.builder.tensor(node.inputs[1]).data
            assert table is not None
            return int(np.abs(table.astype(np.int64)).max())
    dtype = im.dtype(x)
    return max(abs(int(dtype.low)), abs(int(dtype.high)))


def _with_weight(
    im: Importer, call: Call, x: Activation, weight: np.ndarray, bias: Any, **attrs: Any
) -> Activation:
    found = classify(weight)
    dtype = im.dtype(x)
    if found.dtype.is_float and (remark := float_remark(weight, dtype)):
        im.note_once(f"{call.place}: {remark}")
    if dtype.is_integer and found.dtype.is_float:
        x = im.add("Cast", x, label="cast", dtype="float32")
    elif dtype.is_integer:
        reach = _largest(im, x) * int(np.prod(weight.shape[1:]))
        if reach > _EXACT_FLOAT32:
            im.note_once(
                f"{call.place}: sums up to {reach} are exact here, rounded in {im.source}."
            )
    constants = {"weight": (found.values, found.dtype)}
    tensor = im.builder.add(attrs.pop("op"), x.tensor, constants, **attrs)
    y = Activation(tensor, call.shape)
    return _scaled(im, call, y, found.scale, bias)


def _scaled(
    im: Importer, call: Call, y: Activation, scale: np.ndarray | None, bias: Any
) -> Activation:
    """Append what follows the sum of products: the weights' scale and the bias."""
    shift = np.zeros(y.shape[0], np.float32) if bias is None else _parameter(im, call, bias)
    if shift.any():
        im.note_once(f"A bias is added once, after the sum; {im.source} may add it before.")
    if scale is not None:
        im.note_once(
            f"{call.place}: weights are -a and +a, or 0 and other multiples of a, per output "
            f"channel; the sum of integers is multiplied by a once, {im.source} rounds every "
            f"product: where the exact sum is 0, {im.source} may be next to 0 on either side, and "
            "a sign after it may differ."
        )
        y = _scale(im, y, scale)
    return im.add("Bias", y, {"bias": (shift, FLOAT32)}, label="bias") if shift.any() else y


# --- normalization and elementwise -------------------------------------------------------------


@_lowers("bnnsim.batch_norm", "aten.batch_norm", "aten._native_batch_norm_legit_no_training")
def _batch_norm(im: Importer, call: Call) -> Activation:
    x = im.activation(call.first, call.place)
    _, gamma, beta, mean, var, *_ = call.args.values()
    if call.args.get("training") or mean is None or var is None:
        remedy = "Call module.eval() before the export."
        raise im.refused(call.place, "batch statistics", "running statistics", remedy)
    if not call.op.startswith("bnnsim."):
        im.note_once(
            f"{im.source}'s own batch norm rounds in another order than the graph's: outputs may "
            "differ in the last bit, and signs where it is next to 0."
        )
    gamma = np.ones(x.shape[0]) if gamma is None else gamma
    beta = np.zeros(x.shape[0]) if beta is None else beta
    values = {"gamma": gamma, "beta": beta, "mean": mean, "var": var}
    constants = {role: (im.ordered(v, x), FLOAT32) for role, v in values.items()}
    return im.add("BatchNorm", x, constants, label="bn", eps=float(call.args["eps"]))


@_lowers("bnnsim.sign")
def _sign(im: Importer, call: Call) -> Activation:
    return im.sign(call.first, call.place, zero_is_plus=True)


@_lowers("bnnsim.stochastic_sign")
def _stochastic_sign(im: Importer, call: Call) -> Activation:
    return im.stochastic_sign(call.first, call.place, bits=int(call.args["bits"]))


@_lowers("aten.sign", "aten.ge", "aten.gt", "aten.le", "aten.lt")
def _compare(im: Importer, call: Call) -> Lookup:
    """Return what a sign, or a comparison with zero, gives below zero, at zero and above."""
    x, *others = call.args.values()
    if any(is_symbolic(v) or not np.array_equal(np.asarray(scalar_of(v)), 0) for v in others):
        raise unsupported(im, call.place, f"{call.op} with anything but 0")
    import torch

    source = x if isinstance(x, Clipped) else im.activation(x, call.place)
    return Lookup(source, torch.tensor(outcomes(call.kind)), True, call.place)


@_lowers("aten.relu")
def _relu(im: Importer, call: Call) -> Activation:
    return im.rectified(im.activation(call.first, call.place))


@_lowers("aten.hardtanh", "aten.relu6", "aten.clamp", "aten.clamp_min", "aten.clamp_max")
def _clip(im: Importer, call: Call) -> Activation | Clipped:
    limits = [v for key, v in call.args.items() if key != "self"]
    if call.kind == "relu6":
        limits = [0.0, 6.0]
    elif call.kind == "clamp_min":
        limits = [*limits, None]
    elif call.kind == "clamp_max":
        limits = [None, *limits]
    if any(is_symbolic(v) or hasattr(v, "dim") for v in limits):
        raise unsupported(im, call.place, f"{call.op} with tensor limits")
    low, high = (None if v is None else float(v) for v in limits)
    x = im.activation(call.first, call.place)
    if low == 0 and high is None:
        return im.rectified(x)
    return Clipped(x, -_FLOAT32_MAX if low is None else low, _FLOAT32_MAX if high is None else high)


@_lowers("aten.add", "aten.sub", "aten.rsub", "aten.mul", "aten.div", "aten.neg")
def _arithmetic(im: Importer, call: Call) -> Activation:
    """Lower x + c, x - c, c - x, x * c, x / c and -x for a constant c per channel."""
    kind, operands = call.kind, [call.args[key] for key in ("self", "other") if key in call.args]
    if all(map(is_symbolic, operands)) and len(operands) > 1:
        raise unsupported(im, call.place, f"{call.op} of two activations")
    plain = call.args.get("alpha", 1) == 1 and not call.args.get("rounding_mode")
    if not plain or call.dtype != "torch.float32":
        raise unsupported(im, call.place, f"{call.op} that is not plain float32")
    x_first = is_symbolic(operands[0])
    x = im.activation(operands[not x_first], call.place)
    others = [im.channels(v, x, call.place) for v in operands if not is_symbolic(v)]
    c = others[0] if others else np.ones(x.shape[0], np.float32)
    if kind == "div":
        if not x_first:
            raise unsupported(im, call.place, f"{call.op} of a constant by an activation")
        if (np.abs(np.frexp(c)[0]) != 0.5).any():
            im.note_once(
                "A quotient by a constant is the product with its reciprocal, rounded once more "
                f"than {im.source}'s."
            )
        c = np.float32(1) / c
    if kind in ("mul", "div", "neg"):
        return _scale(im, x, -c if kind == "neg" else c)
    if (kind == "sub" and not x_first) or (kind == "rsub" and x_first):
        constants = {"scale": (np.full_like(c, -1), FLOAT32), "bias": (c, FLOAT32)}
        return im.add("Affine", x, constants, label="affine")
    return im.add("Bias", x, {"bias": (c if kind == "add" else -c, FLOAT32)}, label="bias")


def _scale(im: Importer, x: Activation, factor: np.ndarray) -> Activation:
    return im.add("Scale", x, {"scale": (factor, FLOAT32)}, label="scale")


# --- shapes and windows ------------------------------------------------------------------------


@_lowers("aten.detach", "aten.clone", "aten.alias", "aten.contiguous", "aten.lift_fresh_copy")
def _identity(im: Importer, call: Call) -> Any:
    return call.first


@_lowers("aten.to", "aten._to_copy")
def _to(im: Importer, call: Call) -> Any:
    dtype = call.args.get("dtype")
    if dtype is not None and str(dtype) != "torch.float32":
        rule = "float32 throughout"
        raise im.refused(call.place, str(dtype), rule)
    return call.first


@_lowers("aten.dropout", "aten.feature_dropout", "aten.alpha_dropout")
def _dropout(im: Importer, call: Call) -> Any:
    if call.args["train"]:
        remedy = "Call module.eval() before the export."
        raise im.refused(call.place, "dropout", "eval mode", remedy)
    return call.first


@_lowers("aten.ones_like", "aten.zeros_like", "aten.full_like")
def _filled(im: Importer, call: Call) -> Any:
    import torch

    value = {"ones_like": 1.0, "zeros_like": 0.0}.get(call.kind, call.args.get("fill_value"))
    return torch.tensor(value, dtype=torch.float32)


@_lowers("aten.max_pool2d", "aten.max_pool2d_with_indices")
def _max_pool(im: Importer, call: Call) -> Activation:
    args = call.args
    if pair_of(args["dilation"]) != (1, 1):
        raise unsupported(im, call.place, f"{call.op} with dilation")
    kernel = pair_of(args["kernel_size"])
    x = im.activation(call.first, call.place)
    stride = pair_of(args["stride"]) if args["stride"] else kernel
    pads = pool_pads(x.shape, call.shape, kernel, stride, pair_of(args["padding"]))
    attrs: dict[str, Any] = {"kernel": kernel, "stride": stride, "pads": pads}
    return Activation(im.builder.add("MaxPool", x.tensor, label="pool", **attrs), call.shape)


def pool_pads(
    size: tuple[int, ...],
    result: tuple[int, ...],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> tuple[int, int, int, int]:
    """Return the pads of a pool that gives ``result``: ``ceil_mode`` adds windows over the end."""
    reach = [(n - 1) * s + k for n, s, k in zip(result[1:], stride, kernel, strict=True)]
    missing = [r - n - 2 * p for r, n, p in zip(reach, size[1:], padding, strict=True)]
    bottom, right = (p + max(0, m) for p, m in zip(padding, missing, strict=True))
    return (*padding, bottom, right)


@_lowers("aten.pad", "aten.constant_pad_nd")
def _pad(im: Importer, call: Call) -> Padded:
    pads = [int(p) for p in call.args["pad"]]
    x = im.activation(call.first, call.place)
    if call.args.get("mode", "constant") != "constant" or len(x.shape) != 3 or len(pads) > 4:
        raise unsupported(im, call.place, f"{call.op} other than a constant border of an image")
    if min(pads, default=0) < 0:
        raise unsupported(im, call.place, f"{call.op} that crops")
    left, right, top, bottom = [*pads, 0, 0][:4]
    return Padded(x, (top, left, bottom, right), float(call.args.get("value") or 0))


@_lowers("aten.flatten", "aten.view", "aten.reshape", "aten.squeeze", "aten.unsqueeze")
def _reshape(im: Importer, call: Call) -> Activation | Lookup:
    value = call.first
    if isinstance(value, Lookup):
        source = _reshaped(im, call, im.activation(value.source, call.place))
        return replace(value, source=source)
    return _reshaped(im, call, im.activation(value, call.place))


def _reshaped(im: Importer, call: Call, x: Activation) -> Activation:
    if call.shape == x.shape:
        return x
    if len(call.shape) != 1:
        rule = "flattening to (N, features)"
        raise im.refused(call.place, call.shape, rule)
    order = None
    if len(x.shape) == 3 and x.shape[0] > 1 and x.shape[1:] != (1, 1):
        order = np.arange(call.shape[0]).reshape(x.shape).transpose(1, 2, 0).reshape(-1)
    return Activation(im.builder.add("Flatten", x.tensor, label="flatten"), call.shape, order)
