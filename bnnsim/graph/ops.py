"""The op table: for each op its inputs, attributes, shape and dtype rule, and written equation.

One ``Conv2d`` and one ``Dense`` serve every precision; the operand dtypes tell them apart. The
equations are the meaning; ``engine/reference.py`` is their executable form.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from bnnsim.errors import GraphError, message, nearest
from bnnsim.graph import linear_rules, scale_rules, shape_rules
from bnnsim.graph.attributes import dtype_name as _dtype_name
from bnnsim.graph.attributes import integer as _integer
from bnnsim.graph.attributes import limits as _limits
from bnnsim.graph.attributes import natural as _natural
from bnnsim.graph.attributes import number as _number
from bnnsim.graph.attributes import one_of as _one_of
from bnnsim.graph.attributes import positive as _positive
from bnnsim.graph.attributes import sizes as _sizes
from bnnsim.graph.attributes import truth as _truth
from bnnsim.graph.attributes import tuple_of as _tuple_of
from bnnsim.graph.dtypes import BIT, FLOAT32, DType
from bnnsim.graph.ir import Node, Tensor
from bnnsim.graph.quantizers import (
    QUANTIZER_NAMES,
    ROUNDINGS,
    quantized_dtype,
    requantized_range,
)
from bnnsim.graph.shape_rules import Inference, pooled


@dataclass(frozen=True, slots=True)
class Op:
    """What a node of this kind is.

    Parameters
    ----------
    inputs : tuple of str
        Names of the inputs; the first ``activations`` are computed, the others are constants.
    optional : int
        How many of the last inputs may be left out.
    activations : int
        How many of the first inputs are activations.
    variadic : bool
        Whether any further inputs may follow, all of them activations.
    attrs : mapping of str to (checker, default)
        A default of None marks a required attribute.
    infer : callable
        (attributes, input tensors) -> (shape, dtype) of the only output.
    equation : str
        The meaning, one line.
    """

    inputs: tuple[str, ...]
    infer: Callable[[Mapping[str, Any], Sequence[Tensor]], Inference]
    equation: str
    attrs: Mapping[str, tuple[Callable[[Any], Any], Any]] = field(default_factory=dict)
    optional: int = 0
    activations: int = 1
    variadic: bool = False


# --- shape and dtype rules ---------------------------------------------------------------------


def _check_channels(x: Tensor, *vectors: Tensor) -> None:
    for vector in vectors:
        if vector.shape != (x.shape[-1],):
            raise GraphError(
                f"{vector.name!r} has shape {vector.shape}, the activation has "
                f"{x.shape[-1]} channels: one value per channel is needed."
            )


def _per_channel_float(_: Mapping[str, Any], tensors: Sequence[Tensor]) -> Inference:
    x, *vectors = tensors
    _check_channels(x, *vectors)
    return x.shape, x.dtype if x.dtype.is_float else FLOAT32


def _function(_: Mapping[str, Any], tensors: Sequence[Tensor]) -> Inference:
    dtype = tensors[0].dtype
    return tensors[0].shape, dtype if dtype.is_float else FLOAT32


def _rectify(_: Mapping[str, Any], tensors: Sequence[Tensor]) -> Inference:
    dtype = tensors[0].dtype
    if dtype.kind == "bipolar":
        raise GraphError(f"the input is {dtype}, which has no value between -1 and +1 to clip to.")
    return tensors[0].shape, tensors[0].dtype


def _clip(attrs: Mapping[str, Any], tensors: Sequence[Tensor]) -> Inference:
    dtype, low, high = tensors[0].dtype, attrs["low"], attrs["high"]
    if low > high:
        raise GraphError(f"clips to [{low}, {high}], which is empty.")
    whole = low == int(low) and high == int(high) if abs(low) + abs(high) < float("inf") else False
    if dtype.is_integer and not (whole and dtype.low <= low and high <= dtype.high):
        raise GraphError(f"clips {dtype} to [{low}, {high}]: integers that it holds are needed.")
    return _rectify(attrs, tensors)


def _quantize(attrs: Mapping[str, Any], tensors: Sequence[Tensor]) -> Inference:
    return tensors[0].shape, quantized_dtype(attrs["quantizer"], attrs["bits"])


def _threshold(attrs: Mapping[str, Any], tensors: Sequence[Tensor]) -> Inference:
    x, thresholds, direction = tensors
    if x.dtype.is_integer != thresholds.dtype.is_integer:
        kind = "integer" if thresholds.dtype.is_integer else "float"
        raise GraphError(f"the input is {x.dtype}, but {kind} thresholds need its own kind.")
    if len(thresholds.shape) != 2 or thresholds.shape[0] != x.shape[-1]:
        raise GraphError(
            f"thresholds have shape {thresholds.shape}, not ({x.shape[-1]} channels, levels - 1)."
        )
    _check_channels(x, direction)
    out, steps, base = DType.parse(attrs["dtype"]), thresholds.shape[1], attrs["base"]
    if out.kind == "bipolar":
        if steps != out.high:
            need = "bits: 1 is" if out == BIT else f"{out}: {out.high} are"
            raise GraphError(f"{steps} thresholds per channel cannot give {need} needed.")
    elif out.is_float or base < out.low or base + steps > out.high:
        raise GraphError(f"levels {base} to {base + steps} do not fit dtype {out}.")
    return x.shape, out


def _requantize(attrs: Mapping[str, Any], tensors: Sequence[Tensor]) -> Inference:
    x, *vectors = tensors
    _check_channels(x, *vectors)
    out = DType.parse(attrs["dtype"])
    if out.kind not in ("signed", "unsigned", "ternary"):
        raise GraphError(f"dtype {out} is no integer type with a range to round into.")
    low, high = requantized_range(attrs)
    if not out.low <= low <= high <= out.high:
        raise GraphError(f"levels {low} to {high} do not fit dtype {out}.")
    return x.shape, out


def _max_pool(attrs: Mapping[str, Any], tensors: Sequence[Tensor]) -> Inference:
    x, *minimum = tensors
    shape = pooled(attrs, x)
    _check_channels(x, *minimum)
    return shape, x.dtype


def _cast(attrs: Mapping[str, Any], tensors: Sequence[Tensor]) -> Inference:
    x, out = tensors[0], DType.parse(attrs["dtype"])
    holds = x.dtype.is_integer and out.low <= x.dtype.low and x.dtype.high <= out.high
    if out.is_integer and (out.kind == "bipolar" or not holds):
        raise GraphError(f"casts {x.dtype} to {out}, which does not hold all its values.")
    return x.shape, out


_PAIR = _tuple_of(2, 1)
_UNIT = (_PAIR, (1, 1))
_PADS = _tuple_of(4, 0)
_AXES, _STEPS = _tuple_of(3, 0), _tuple_of(3, 1)
_WINDOW = {"kernel": (_PAIR, None), "stride": (_PAIR, None), "pads": (_PADS, (0, 0, 0, 0))}

OPS: Mapping[str, Op] = MappingProxyType(
    {
        "Encode": Op(("x", "table"), shape_rules.encoded, "y = table[x]"),
        "FromGrid": Op(
            ("x",),
            shape_rules.from_grid,
            "y = n, the integer of dtype with x = scale * (n - zero), a product formed in float32 "
            "or rounded once to it; every other x is refused",
            {"scale": (_number, None), "zero": (_integer, 0), "dtype": (_dtype_name, "uint8")},
        ),
        "Dense": Op(("x", "weight"), linear_rules.dense, "y[n] = sum_k weight[n, k] * x[k]"),
        "Conv2d": Op(
            ("x", "weight"),
            linear_rules.conv2d,
            "y[i, j, n] = sum_{r, s, c} weight[n, r, s, c] * "
            "x[i * stride + r * dilation - top, j * stride + s * dilation - left, c]; "
            "a tap outside the image has the value pad_value",
            {
                "stride": _UNIT,
                "pads": (_PADS, (0, 0, 0, 0)),
                "dilation": _UNIT,
                "groups": (_positive, 1),
                "pad_value": (_integer, 0),
            },
        ),
        "Bias": Op(("x", "bias"), _per_channel_float, "y = x + bias[c]"),
        "Scale": Op(
            ("x", "scale"),
            _per_channel_float,
            "y = x * scale[c]; a float64 scale 1 / s divides by s",
        ),
        "Affine": Op(("x", "scale", "bias"), _per_channel_float, "y = x * scale[c] + bias[c]"),
        "BatchNorm": Op(
            ("x", "gamma", "beta", "mean", "var"),
            _per_channel_float,
            "y = (x - mean[c]) * (gamma[c] / sqrt(var[c] + eps)) + beta[c], each step in float32",
            {"eps": (_number, None)},
        ),
        "Relu": Op(("x",), _rectify, "y = max(x, 0)"),
        "PRelu": Op(
            ("x", "slope"),
            _per_channel_float,
            "y = x where x >= 0 else x * slope[c]; slopes may be negative",
        ),
        "Sigmoid": Op(("x",), _function, "y = 1 / (1 + exp(-x)), in float64, rounded once"),
        "Softmax": Op(
            ("x",),
            _function,
            "y[..., c] = exp(x[..., c] - m) / sum_k exp(x[..., k] - m) with m the maximum over "
            "channels, or with log its logarithm x[..., c] - m - log(sum); in float64, rounded "
            "once",
            {"log": (_truth, False)},
        ),
        "Clip": Op(
            ("x",),
            _clip,
            "y = min(max(x, low), high)",
            {"low": (_number, None), "high": (_number, None)},
        ),
        "Quantize": Op(
            ("x",),
            _quantize,
            "sign: y = +1 if x >= 0 else -1; stochastic_sign: y = +1 if u < floor(clip((x + 1) / 2,"
            " 0, 1) * 2^bits + 0.5) else -1, u uniform below 2^bits; with n = 2^bits - 1, dorefa: "
            "y = rint(clip(x, 0, 1) * n); bipolar: y = 2 rint((clip(x, -1, 1) / 2 + 1/2) * n) - n; "
            "ternary: y = rint(clip(x, -1, 1)); each step in float32, rint half to even",
            {
                "quantizer": (_one_of(*QUANTIZER_NAMES), None),
                "bits": (_positive, 8),
            },
        ),
        "Threshold": Op(
            ("x", "thresholds", "direction"),
            _threshold,
            "level = number of i with x >= thresholds[c, i] (direction +1) or "
            "x <= thresholds[c, i] (direction -1); y = base + level, or for bits 2 * level - 1 and "
            "for bipolar types of n thresholds 2 * level - n",
            {"dtype": (_dtype_name, "bit"), "base": (_integer, 0)},
        ),
        "Requantize": Op(
            ("x", "scale", "bias"),
            _requantize,
            "y = min(max(round(float32(float32(x) * scale[c]) + bias[c]), low), high) - zero_point;"
            " limits are (low, high), or the ends of dtype + zero_point; a float64 scale 1 / s "
            "divides by s",
            {
                "dtype": (_dtype_name, "int8"),
                "rounding": (_one_of(*ROUNDINGS), "half_even"),
                "limits": (_limits, ()),
                "zero_point": (_integer, 0),
            },
        ),
        "MaxPool": Op(
            ("x", "minimum"),
            _max_pool,
            "y[i, j, c] = maximum over the window's taps inside the image, "
            "or minimum where minimum[c] is 1",
            _WINDOW,
            optional=1,
        ),
        "AvgPool": Op(
            ("x",),
            shape_rules.average_pool,
            "y[i, j, c] = sum over the window's taps inside the image / n, where n is their number "
            "or, with count_include_pad, the size of the kernel; float: summed and "
            "divided in float64, rounded once; integers: rounded half to even",
            {**_WINDOW, "count_include_pad": (_truth, False)},
        ),
        "GlobalAvgPool": Op(
            ("x",),
            shape_rules.global_average_pool,
            "y[0, 0, c] = sum_{i, j} x[i, j, c] / (H * W), rounded as AvgPool",
        ),
        "Add": Op(
            ("a", "b"),
            shape_rules.add,
            "y = a + b; float16 and bfloat16 in float32, rounded once",
            activations=2,
        ),
        "Mul": Op(
            ("a", "b"),
            scale_rules.mul,
            "y = a * b, with b broadcast to the shape of a; in float32, rounded once; with groups, "
            "each channel of b is for a group of neighbouring channels of a",
            {"groups": (_positive, 1)},
            activations=2,
        ),
        "InputScale": Op(
            ("x",),
            scale_rules.input_scale,
            "y[i, j, g] = sum_{r, s, c} |x[...]| / (R * S * C) over the taps of Conv2d and the C "
            "channels of a group; a tap outside the image counts 0; of a vector: sum_k |x[k]| / K; "
            "in float64, rounded once",
            {
                "kernel": _UNIT,
                "stride": _UNIT,
                "dilation": _UNIT,
                "pads": (_PADS, (0,) * 4),
                "groups": (_positive, 1),
            },
        ),
        "Slice": Op(
            ("x",),
            shape_rules.sliced,
            "y[i, j, c] = x[start + step * (i, j, c)] for every such element below stop",
            {"start": (_AXES, (0, 0, 0)), "stop": (_AXES, None), "step": (_STEPS, (1, 1, 1))},
        ),
        "PadChannels": Op(
            ("x",),
            shape_rules.channel_padding,
            "y[..., c] = x[..., c - before], and 0 where that channel is none of x",
            {"before": (_natural, 0), "after": (_natural, 0)},
        ),
        "Concat": Op(
            ("a", "b"),
            shape_rules.concatenated,
            "y[..., c] = the channels of a, then those of b and of any further inputs",
            activations=2,
            variadic=True,
        ),
        "ChannelShuffle": Op(
            ("x",),
            shape_rules.shuffled,
            "y[..., c] = x[..., (c mod groups) * (C / groups) + floor(c / groups)]: the channels "
            "as a (groups, C / groups) matrix, transposed",
            {"groups": (_positive, None)},
        ),
        "Flatten": Op(("x",), shape_rules.flattened, "y = the elements of x in (H, W, C) order"),
        "Reshape": Op(
            ("x",),
            shape_rules.reshaped,
            "y = the elements of x in (H, W, C) order, in another shape",
            {"shape": (_sizes, None)},
        ),
        "IntegerAffine": Op(
            ("x",),
            shape_rules.integer_affine,
            "y = (x * mul + add) / div, a division that must leave no remainder",
            {"mul": (_integer, 1), "add": (_integer, 0), "div": (_positive, 1)},
        ),
        "Cast": Op(("x",), _cast, "y = x in the given dtype", {"dtype": (_dtype_name, None)}),
    }
)


def normal_attrs(node: Node) -> dict[str, Any]:
    """Return the node's attributes checked, with defaults filled in.

    Raises
    ------
    GraphError
        Naming node, attribute, value and rule.
    """
    op = lookup(node)
    unknown = [key for key in node.attrs if key not in op.attrs]
    if unknown:
        rule = f"attributes among {sorted(op.attrs)}"
        raise GraphError(message(node.describe(), unknown[0], rule, nearest(unknown[0], op.attrs)))
    attrs = {}
    for key, (check, default) in op.attrs.items():
        value = node.attrs.get(key, default)
        try:
            attrs[key] = check(value)
        except (ValueError, GraphError) as error:
            place = f"{node.describe()}: attribute {key!r}"
            raise GraphError(message(place, value, str(error))) from None
    return attrs


def lookup(node: Node) -> Op:
    """Return the op table's entry for a node."""
    if node.op not in OPS:
        rule = f"an op among {', '.join(OPS)}"
        raise GraphError(message(f"node {node.name!r}", node.op, rule, nearest(node.op, OPS)))
    return OPS[node.op]


def activations_of(node: Node) -> tuple[str, ...]:
    """Return the names of the inputs of a node that are activations (one for an unknown op)."""
    op = OPS.get(node.op)
    if op is not None and op.variadic:
        return node.inputs
    return node.inputs[: op.activations if op else 1]


def constants_of(node: Node) -> tuple[str, ...]:
    """Return the names of the inputs of a node that are constants."""
    return node.inputs[len(activations_of(node)) :]


def infer(node: Node, tensors: Sequence[Tensor]) -> Inference:
    """Return shape (without batch axis) and dtype of the node's output.

    Raises
    ------
    GraphError
        If the inputs break the op's rule, naming the node.
    """
    op = lookup(node)
    need, most = len(op.inputs) - op.optional, len(op.inputs)
    if len(tensors) < need or (len(tensors) > most and not op.variadic):
        rule = f"inputs ({', '.join(op.inputs)}{', ...' if op.variadic else ''})"
        raise GraphError(message(node.describe(), f"{len(tensors)} inputs", rule))
    computed = len(activations_of(node))
    for i, tensor in enumerate(tensors):
        role = op.inputs[min(i, most - 1)]
        if tensor.constant != (i >= computed):
            wrong = "a" if tensor.constant else "no"
            what = f"input {role!r} ({tensor.name!r}) is {wrong} constant."
            raise GraphError(f"{node.describe()}: {what}")
    try:
        return op.infer(normal_attrs(node), tensors)
    except GraphError as error:
        text = str(error)
        prefix = "" if text.startswith("node ") else f"{node.describe()}: "
        raise GraphError(prefix + text) from None
