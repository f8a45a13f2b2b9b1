"""What each op of a graph becomes in a QONNX file."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from bnnsim.exports.qonnx_writer import QONNX, Array, Rule, Writer, refused, shape_of
from bnnsim.graph.dtypes import BIT, TERNARY, DType
from bnnsim.graph.ir import Node
from bnnsim.graph.ops import normal_attrs
from bnnsim.graph.quantizers import DOREFA, GRID, SIGN, requantized_range


def _encode(out: Writer, node: Node) -> str:
    table, shape = out.data(node, 1), shape_of(out.graph.result(node))
    steps = np.diff(table.astype(np.float64))
    if table.dtype.kind in "iu" and (steps == steps[0]).all():
        y = out.channelwise(node, "Mul", out.x(node), np.full(1, steps[0]), ".scaled")
        return out.channelwise(node, "Add", y, np.full(1, float(table[0])))
    index = out.emit("Cast", [out.x(node)], f"{node.output}.index", shape, to=7)
    held = out.constant(f"{node.output}.table", table)
    return out.emit("Gather", [held, index], node.output, shape)


def _weight(out: Writer, node: Node, values: Array) -> str:
    """Return a weight in the file's order of axes, behind the quantizer that says what it holds."""
    dtype, name = out.graph.tensor(node.inputs[1]).dtype, f"{node.output}.weight"
    held = out.constant(name, values)
    shape = values.shape
    if dtype == BIT:
        one = out.constant(f"{name}.scale", np.float32(1))
        return out.emit("BipolarQuant", [held, one], f"{name}.bits", shape, QONNX)
    if dtype.kind == "bipolar" or dtype.is_float:
        return held
    return out.quant(held, f"{name}.levels", shape, dtype, narrow=dtype == TERNARY)


def _dense(out: Writer, node: Node) -> str:
    weight = _weight(out, node, out.data(node, 1).T)
    return out.emit("MatMul", [out.x(node), weight], node.output, shape_of(out.graph.result(node)))


def _conv(out: Writer, node: Node) -> str:
    attrs, x, pads = normal_attrs(node), out.x(node), list(normal_attrs(node)["pads"])
    if attrs["pad_value"] and any(pads):
        sides = [0, 0, *pads[:2], 0, 0, *pads[2:]]
        shape = np.add(shape_of(out.graph.activation(node)), np.add(sides[:4], sides[4:]))
        held = out.constant(f"{node.output}.pads", sides, np.int64)
        value = out.constant(f"{node.output}.pad", np.float32(attrs["pad_value"]))
        x = out.emit("Pad", [x, held, value], f"{node.output}.padded", tuple(shape.tolist()))
        pads = [0, 0, 0, 0]
    weight = _weight(out, node, out.data(node, 1).transpose(0, 3, 1, 2))
    kernel = out.data(node, 1).shape[1:3]
    return out.emit(
        "Conv", [x, weight], node.output, shape_of(out.graph.result(node)),
        kernel_shape=list(kernel), pads=pads, strides=list(attrs["stride"]),
        dilations=list(attrs["dilation"]), group=attrs["groups"],
    )  # fmt: skip


def _bias(out: Writer, node: Node) -> str:
    return out.channelwise(node, "Add", out.x(node), out.data(node, 1))


def _times(out: Writer, node: Node, factor: Array, suffix: str = "") -> str:
    """Append a product; a float64 factor 1 / s is the division by s that it means."""
    if factor.dtype == np.float64:
        return out.channelwise(node, "Div", out.x(node), 1 / factor, suffix)
    return out.channelwise(node, "Mul", out.x(node), factor, suffix)


def _scale(out: Writer, node: Node) -> str:
    return _times(out, node, out.data(node, 1))


def _affine(out: Writer, node: Node) -> str:
    y = _times(out, node, out.data(node, 1), ".scaled")
    return out.channelwise(node, "Add", y, out.data(node, 2))


def _batch_norm(out: Writer, node: Node) -> str:
    gamma, beta, mean, var = (out.data(node, i) for i in range(1, 5))
    scale = gamma / np.sqrt(var + np.float32(normal_attrs(node)["eps"]))
    y = out.channelwise(node, "Sub", out.x(node), mean, ".centred")
    y = out.channelwise(node, "Mul", y, scale, ".scaled")
    return out.channelwise(node, "Add", y, beta)


def _plain(op: str) -> Rule:
    def rule(out: Writer, node: Node) -> str:
        return out.emit(op, [out.x(node)], node.output, shape_of(out.graph.result(node)))

    return rule


def _clip(out: Writer, node: Node) -> str:
    limits = normal_attrs(node)
    return _clipped(out, node, out.x(node), node.output, (limits["low"], limits["high"]))


def _clipped(out: Writer, node: Node, x: str, output: str, limits: tuple[float, float]) -> str:
    ends = [out.constant(f"{output}.{key}", np.float32(v))
            for key, v in zip(("low", "high"), limits, strict=True)]  # fmt: skip
    return out.emit("Clip", [x, *ends], output, shape_of(out.graph.activation(node)))


def _quantize(out: Writer, node: Node) -> str:
    attrs, x = normal_attrs(node), out.x(node)
    shape, dtype = shape_of(out.graph.result(node)), out.graph.result(node).dtype
    kind, name = attrs["quantizer"], node.output
    if kind == SIGN:
        one = out.constant(f"{name}.scale", np.float32(1))
        return out.emit("BipolarQuant", [x, one], name, shape, QONNX)
    if kind == DOREFA:
        x = out.channelwise(node, "Mul", x, np.full(1, dtype.high), ".scaled")
        return out.quant(x, name, shape, dtype)
    if kind == GRID:
        levels, halves = DType("unsigned", dtype.bits), np.full(1, 0.5)
        x = _clipped(out, node, x, f"{name}.clipped", (-1.0, 1.0))
        x = out.channelwise(node, "Mul", x, halves, ".half")
        x = out.channelwise(node, "Add", x, halves, ".shifted")
        x = out.channelwise(node, "Mul", x, np.full(1, dtype.high), ".scaled")
        x = out.quant(x, f"{name}.levels", shape, levels)
        x = out.channelwise(node, "Mul", x, np.full(1, 2.0), ".doubled")
        return out.channelwise(node, "Sub", x, np.full(1, dtype.high))
    if dtype == TERNARY:
        return out.quant(x, name, shape, dtype, narrow=True)
    raise refused(node, "a stochastic sign")


def _requantize(out: Writer, node: Node) -> str:
    attrs, name = normal_attrs(node), node.output
    x = _times(out, node, out.data(node, 1), ".scaled")
    x = out.channelwise(node, "Add", x, out.data(node, 2), ".shifted")
    zero = attrs["zero_point"]
    low, high = (end + zero for end in requantized_range(attrs))
    x = _clipped(out, node, x, f"{name}.clipped", (float(low), float(high)))
    kind = DType("unsigned", max(1, high.bit_length()))
    if low < 0:
        kind = DType("signed", 1 + max(-low - 1, high, 1).bit_length())
    rounding = attrs["rounding"].upper().replace("HALF_EVEN", "ROUND")
    shape = shape_of(out.graph.result(node))
    if not zero:
        return out.quant(x, name, shape, kind, rounding=rounding)
    x = out.quant(x, f"{name}.levels", shape, kind, rounding=rounding)
    return out.channelwise(node, "Sub", x, np.full(1, zero))


def _threshold(out: Writer, node: Node) -> str:
    table, falls = out.data(node, 1).astype(np.float32), out.data(node, 2) < 0
    x, dtype = out.x(node), out.graph.result(node).dtype
    if falls.any():  # x <= t is -x >= -t
        turn = np.where(falls, -1.0, 1.0)
        x = out.channelwise(node, "Mul", x, turn, ".turned")
        table = np.where(falls[:, None], -table, table)
    base, steps = normal_attrs(node)["base"], table.shape[1]
    scale, bias, kind = 1.0, float(base), f"{'U' if base >= 0 else ''}INT{dtype.bits}"
    if dtype.kind == "bipolar":
        scale, bias = 2.0, float(-steps)
        kind = "BIPOLAR" if dtype == BIT else f"INT{dtype.bits + 1}"
    held = out.constant(f"{node.output}.thresholds", table)
    return out.emit(
        "MultiThreshold", [x, held], node.output, shape_of(out.graph.result(node)), QONNX,
        out_dtype=kind, out_scale=scale, out_bias=bias,
    )  # fmt: skip


def _window(node: Node) -> dict[str, Any]:
    attrs = normal_attrs(node)
    keys = {"kernel": "kernel_shape", "stride": "strides", "pads": "pads"}
    return {name: list(attrs[key]) for key, name in keys.items()}


def _max_pool(out: Writer, node: Node) -> str:
    shape, window = shape_of(out.graph.result(node)), _window(node)
    if len(node.inputs) == 1 or not out.data(node, 1).any():
        return out.emit("MaxPool", [out.x(node)], node.output, shape, **window)
    turn = np.where(out.data(node, 1), -1.0, 1.0)  # a minimum is the maximum of the negatives
    x = out.channelwise(node, "Mul", out.x(node), turn, ".turned")
    x = out.emit("MaxPool", [x], f"{node.output}.pooled", shape, **window)
    held = out.constant(f"{node.output}.turn", turn.reshape(-1, 1, 1))
    return out.emit("Mul", [x, held], node.output, shape)


def _average(out: Writer, node: Node) -> str:
    if out.graph.result(node).dtype.is_integer:
        raise refused(node, "an average rounded to integers")
    shape = shape_of(out.graph.result(node))
    if node.op == "GlobalAvgPool":
        return out.emit("GlobalAveragePool", [out.x(node)], node.output, shape)
    counts = int(normal_attrs(node)["count_include_pad"])
    return out.emit(
        "AveragePool", [out.x(node)], node.output, shape, count_include_pad=counts,
        **_window(node),
    )  # fmt: skip


def _binary(op: str) -> Rule:
    def rule(out: Writer, node: Node) -> str:
        if normal_attrs(node).get("groups", 1) > 1:
            raise refused(node, "a product by groups of channels")
        inputs = [out.x(node), out.x(node, 1)]
        return out.emit(op, inputs, node.output, shape_of(out.graph.result(node)))

    return rule


def _input_scale(out: Writer, node: Node) -> str:
    attrs, x = normal_attrs(node), out.graph.activation(node)
    if attrs["groups"] > 1:
        raise refused(node, "input scales by groups of channels")
    shape = shape_of(x)
    y = out.emit("Abs", [out.x(node)], f"{node.output}.abs", shape)
    plain = attrs["kernel"] == attrs["stride"] == (1, 1) and not any(attrs["pads"])
    name = node.output if plain else f"{node.output}.mean"
    y = out.emit("ReduceMean", [y], name, (1, 1, *shape[2:]), axes=[1], keepdims=1)
    if plain:
        return y
    box = np.full((1, 1, *attrs["kernel"]), 1 / np.prod(attrs["kernel"]))
    held = out.constant(f"{node.output}.box", box)
    return out.emit(
        "Conv", [y, held], node.output, shape_of(out.graph.result(node)),
        kernel_shape=list(attrs["kernel"]), pads=list(attrs["pads"]),
        strides=list(attrs["stride"]), dilations=list(attrs["dilation"]),
    )  # fmt: skip


def _slice(out: Writer, node: Node) -> str:
    attrs, order = normal_attrs(node), (2, 0, 1)
    lists = {key: [attrs[key][i] for i in order] for key in ("start", "stop", "step")}
    lists = {"start": lists["start"], "stop": lists["stop"], "axes": [1, 2, 3], **lists}
    keys = ("start", "stop", "axes", "step")
    held = [out.constant(f"{node.output}.{key}", lists[key], np.int64) for key in keys]
    return out.emit("Slice", [out.x(node), *held], node.output, shape_of(out.graph.result(node)))


def _pad_channels(out: Writer, node: Node) -> str:
    attrs = normal_attrs(node)
    sides = [0, attrs["before"], 0, 0, 0, attrs["after"], 0, 0]
    shape = shape_of(out.graph.result(node))
    if len(shape) != 4:
        raise refused(node, "zero features beside a vector's")
    held = out.constant(f"{node.output}.pads", sides, np.int64)
    return out.emit("Pad", [out.x(node), held], node.output, shape)


def _prelu(out: Writer, node: Node) -> str:
    return out.channelwise(node, "PRelu", out.x(node), out.data(node, 1))


def _softmax(out: Writer, node: Node) -> str:
    op = "LogSoftmax" if normal_attrs(node)["log"] else "Softmax"
    return out.emit(op, [out.x(node)], node.output, shape_of(out.graph.result(node)), axis=1)


def _concat(out: Writer, node: Node) -> str:
    inputs = [out.where[name] for name in node.inputs]
    shape = shape_of(out.graph.result(node))
    return out.emit("Concat", inputs, node.output, shape, axis=1)


def _reshaped(out: Writer, x: str, output: str, shape: tuple[int, ...]) -> str:
    held = out.constant(f"{output}.shape", shape, np.int64)
    return out.emit("Reshape", [x, held], output, shape)


def _shuffle(out: Writer, node: Node) -> str:
    """Write a shuffle as exporters do: a view as groups, their transpose, the view back."""
    one, channels, *size = shape_of(out.graph.result(node))
    groups, name = normal_attrs(node)["groups"], node.output
    if groups in (1, channels):
        return out.emit("Identity", [out.x(node)], name, (one, channels, *size))
    matrix, swapped = (groups, channels // groups), (channels // groups, groups)
    x = _reshaped(out, out.x(node), f"{name}.groups", (one, *matrix, *size))
    perm = [0, 2, 1, *range(3, 3 + len(size))]
    x = out.emit("Transpose", [x], f"{name}.swapped", (one, *swapped, *size), perm=perm)
    return _reshaped(out, x, name, (one, channels, *size))


def _reshape(out: Writer, node: Node) -> str:
    before, after = out.graph.activation(node).shape, out.graph.result(node).shape
    if len(before) != 1 or after[:2] != (1, 1):
        raise refused(node, f"a reshape of {before} to {after}, other than of a vector to a pixel")
    return _reshaped(out, out.x(node), node.output, shape_of(out.graph.result(node)))


def _flatten(out: Writer, node: Node) -> str:
    x, shape = out.x(node), shape_of(out.graph.activation(node))
    if len(shape) == 4:  # the graph's features are in the order (H, W, C)
        moved = (1, *out.graph.activation(node).shape)
        x = out.emit("Transpose", [x], f"{node.output}.moved", moved, perm=[0, 2, 3, 1])
    return out.emit("Flatten", [x], node.output, shape_of(out.graph.result(node)), axis=1)


def _integer_affine(out: Writer, node: Node) -> str:
    attrs, x = normal_attrs(node), out.x(node)
    steps = (("Mul", attrs["mul"], 1), ("Add", attrs["add"], 0), ("Div", attrs["div"], 1))
    used = [(op, value) for op, value, neutral in steps if value != neutral]
    for index, (op, value) in enumerate(used, 1 - len(used)):
        x = out.channelwise(node, op, x, np.full(1, value), f".step{-index}" if index else "")
    return x


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "Encode": _encode,
        "Dense": _dense,
        "Conv2d": _conv,
        "Bias": _bias,
        "Scale": _scale,
        "Affine": _affine,
        "BatchNorm": _batch_norm,
        "Relu": _plain("Relu"),
        "Clip": _clip,
        "Quantize": _quantize,
        "Requantize": _requantize,
        "Threshold": _threshold,
        "MaxPool": _max_pool,
        "AvgPool": _average,
        "GlobalAvgPool": _average,
        "Add": _binary("Add"),
        "Mul": _binary("Mul"),
        "InputScale": _input_scale,
        "Slice": _slice,
        "PadChannels": _pad_channels,
        "PRelu": _prelu,
        "Sigmoid": _plain("Sigmoid"),
        "Softmax": _softmax,
        "Concat": _concat,
        "ChannelShuffle": _shuffle,
        "Reshape": _reshape,
        "Flatten": _flatten,
        "IntegerAffine": _integer_affine,
        "Cast": _plain("Identity"),
    }
)
