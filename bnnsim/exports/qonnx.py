"""Write a model graph as a QONNX file: standard operators, Quant, BipolarQuant, MultiThreshold.

All activations are float32, as QONNX has them; integers are exact there up to 2^24. Images are
(1, C, H, W). A batch norm is written as the subtraction, product and sum that it means here, so
that any executor rounds as this one does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from bnnsim.errors import GraphError, message
from bnnsim.graph.dtypes import BIT, TERNARY, DType
from bnnsim.graph.ir import Graph, Node, Tensor
from bnnsim.graph.ops import normal_attrs
from bnnsim.graph.quantizers import DOREFA, GRID, SIGN, requantized_range
from bnnsim.graph.ranges import value_ranges

QONNX = "qonnx.custom_op.general"
_OPSET, _IR = 13, 10
_EXACT = 2**24
Array = np.ndarray
Shape = tuple[int, ...]


def to_qonnx(graph: Graph, costs: Mapping[str, Mapping[str, str]] | None = None) -> bytes:
    """Return a model graph as the bytes of a QONNX file.

    Parameters
    ----------
    graph : Graph
        With weights; deterministic, of float32, integers and bits.
    costs : mapping of node name to entries, optional
        Written as ``metadata_props`` of the nodes.

    Raises
    ------
    GraphError
        Naming the first node that QONNX cannot express, and why.
    """
    import onnx

    writer = _Writer(graph, onnx, costs or {})
    for node in graph.nodes:
        writer.write(node)
    return writer.finished()


class _Writer:
    """The file under construction."""

    def __init__(self, graph: Graph, onnx: Any, costs: Mapping[str, Mapping[str, str]]) -> None:
        self.graph, self.onnx, self.costs = graph, onnx, costs
        self.nodes: list[Any] = []
        self.held: list[Any] = []
        self.shapes: list[Any] = []
        self.where: dict[str, str] = {}
        self.ranges = value_ranges(graph)
        source = graph.tensor(graph.inputs[0])
        self._check_tensor("input", source)
        if source.dtype.is_integer and source.dtype.numpy != np.uint8:
            raise GraphError(message("input", str(source.dtype), "uint8 or float32 for QONNX"))
        self.where[source.name] = source.name
        if source.dtype.is_integer:
            to = onnx.TensorProto.FLOAT
            shape = _shape(source)
            self.where[source.name] = self.emit("Cast", [source.name], "input.float", shape, to=to)

    def _check_tensor(self, place: str, tensor: Tensor) -> None:
        if tensor.dtype.is_float and str(tensor.dtype) != "float32":
            raise GraphError(message(place, str(tensor.dtype), "float32 or integers for QONNX"))
        low, high = self.ranges.get(tensor.name, (0, 0))
        if max(-low, high) > _EXACT:
            rule = "integers up to 2^24, which QONNX's float32 holds exactly"
            raise GraphError(message(place, f"integers in {[low, high]}", rule))

    def write(self, node: Node) -> None:
        """Append what a node becomes; the last operator has its name."""
        result = self.graph.result(node)
        self._check_tensor(node.describe(), result)
        for name in node.inputs:
            if self.graph.tensor(name).constant and self.graph.tensor(name).data is None:
                raise GraphError(message(node.describe(), "no weights", "a network with weights"))
        first = len(self.nodes)
        rule = _RULES.get(node.op)
        if rule is None:
            raise refused(node, node.op)
        self.where[node.output] = rule(self, node)
        if len(self.nodes) > first:
            last = self.nodes[-1]
            last.name = node.name
            for key, value in self.costs.get(node.name, {}).items():
                last.metadata_props.add(key=key, value=value)

    def x(self, node: Node, index: int = 0) -> str:
        """Return the file's tensor that the node reads."""
        return self.where[node.inputs[index]]

    def data(self, node: Node, index: int) -> Array:
        """Return the data of a node's constant."""
        data = self.graph.tensor(node.inputs[index]).data
        assert data is not None
        return data

    def emit(
        self, op: str, inputs: Sequence[str], output: str, shape: Shape, domain: str = "",
        **attrs: Any,
    ) -> str:  # fmt: skip
        """Append an operator of one output of this shape and return its name."""
        helper = self.onnx.helper
        self.nodes.append(
            helper.make_node(op, list(inputs), [output], name=output, domain=domain, **attrs)
        )
        kind = self.onnx.TensorProto.INT64 if attrs.get("to") == 7 else self.onnx.TensorProto.FLOAT
        self.shapes.append(helper.make_tensor_value_info(output, kind, list(shape)))
        return output

    def constant(self, name: str, values: Any, dtype: Any = np.float32) -> str:
        """Add an initializer and return its name."""
        held = np.ascontiguousarray(values, dtype).reshape(np.shape(values))
        self.held.append(self.onnx.numpy_helper.from_array(held, name))
        return name

    def channelwise(self, node: Node, op: str, x: str, values: Any, suffix: str = "") -> str:
        """Append an elementwise operator with one constant per channel of the node's input."""
        shape = _shape(self.graph.activation(node))
        vector = np.asarray(values).reshape((-1, 1, 1) if len(shape) == 4 else (-1,))
        name = f"{node.output}{suffix}"
        held = self.constant(f"{name}.{op.lower()}", vector)
        return self.emit(op, [x, held], name, shape)

    def quant(
        self, x: str, output: str, shape: Shape, dtype: DType, *, narrow: bool = False,
        rounding: str = "ROUND",
    ) -> str:  # fmt: skip
        """Append a Quant of scale 1 to the integers of a type."""
        parts = {"scale": 1.0, "zero": 0.0, "bits": float(dtype.bits)}
        held = [self.constant(f"{output}.{key}", np.float32(v)) for key, v in parts.items()]
        attrs = {"signed": int(dtype.kind != "unsigned"), "narrow": int(narrow)}
        inputs = [x, *held]
        return self.emit("Quant", inputs, output, shape, QONNX, rounding_mode=rounding, **attrs)

    def finished(self) -> bytes:
        """Return the file."""
        helper, graph = self.onnx.helper, self.graph
        source, result = graph.tensor(graph.inputs[0]), graph.tensor(graph.outputs[0])
        types = self.onnx.TensorProto
        kind = types.UINT8 if source.dtype.is_integer else types.FLOAT
        ends = [helper.make_tensor_value_info(source.name, kind, list(_shape(source)))]
        name = self.where[result.name]
        outputs = [helper.make_tensor_value_info(name, types.FLOAT, list(_shape(result)))]
        inner = [info for info in self.shapes if info.name != name]
        made = helper.make_graph(self.nodes, graph.name, ends, outputs, self.held, value_info=inner)
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(QONNX, 1)]
        model = helper.make_model(
            made, opset_imports=opsets, ir_version=_IR, producer_name="bnnsim"
        )
        return bytes(model.SerializeToString())


def refused(node: Node, got: str) -> GraphError:
    """Return the error for a node that QONNX cannot express."""
    rule = "what QONNX has operators for"
    return GraphError(message(node.describe(), got, rule, "Export another mode or network."))


def _shape(tensor: Tensor) -> Shape:
    """Return a tensor's shape in the file, of one image."""
    if len(tensor.shape) == 3:
        return 1, tensor.shape[2], *tensor.shape[:2]
    return (1, *tensor.shape)


# --- what each op becomes ----------------------------------------------------------------------


def _encode(out: _Writer, node: Node) -> str:
    table, shape = out.data(node, 1), _shape(out.graph.result(node))
    steps = np.diff(table.astype(np.float64))
    if table.dtype.kind in "iu" and (steps == steps[0]).all():
        y = out.channelwise(node, "Mul", out.x(node), np.full(1, steps[0]), ".scaled")
        return out.channelwise(node, "Add", y, np.full(1, float(table[0])))
    index = out.emit("Cast", [out.x(node)], f"{node.output}.index", shape, to=7)
    held = out.constant(f"{node.output}.table", table)
    return out.emit("Gather", [held, index], node.output, shape)


def _weight(out: _Writer, node: Node, values: Array) -> str:
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


def _dense(out: _Writer, node: Node) -> str:
    weight = _weight(out, node, out.data(node, 1).T)
    return out.emit("MatMul", [out.x(node), weight], node.output, _shape(out.graph.result(node)))


def _conv(out: _Writer, node: Node) -> str:
    attrs, x, pads = normal_attrs(node), out.x(node), list(normal_attrs(node)["pads"])
    if attrs["pad_value"] and any(pads):
        sides = [0, 0, *pads[:2], 0, 0, *pads[2:]]
        shape = np.add(_shape(out.graph.activation(node)), np.add(sides[:4], sides[4:]))
        held = out.constant(f"{node.output}.pads", sides, np.int64)
        value = out.constant(f"{node.output}.pad", np.float32(attrs["pad_value"]))
        x = out.emit("Pad", [x, held, value], f"{node.output}.padded", tuple(shape.tolist()))
        pads = [0, 0, 0, 0]
    weight = _weight(out, node, out.data(node, 1).transpose(0, 3, 1, 2))
    kernel = out.data(node, 1).shape[1:3]
    return out.emit(
        "Conv", [x, weight], node.output, _shape(out.graph.result(node)),
        kernel_shape=list(kernel), pads=pads, strides=list(attrs["stride"]),
        dilations=list(attrs["dilation"]), group=attrs["groups"],
    )  # fmt: skip


def _bias(out: _Writer, node: Node) -> str:
    return out.channelwise(node, "Add", out.x(node), out.data(node, 1))


def _times(out: _Writer, node: Node, factor: Array, suffix: str = "") -> str:
    """Append a product; a float64 factor 1 / s is the division by s that it means."""
    if factor.dtype == np.float64:
        return out.channelwise(node, "Div", out.x(node), 1 / factor, suffix)
    return out.channelwise(node, "Mul", out.x(node), factor, suffix)


def _scale(out: _Writer, node: Node) -> str:
    return _times(out, node, out.data(node, 1))


def _affine(out: _Writer, node: Node) -> str:
    y = _times(out, node, out.data(node, 1), ".scaled")
    return out.channelwise(node, "Add", y, out.data(node, 2))


def _batch_norm(out: _Writer, node: Node) -> str:
    gamma, beta, mean, var = (out.data(node, i) for i in range(1, 5))
    scale = gamma / np.sqrt(var + np.float32(normal_attrs(node)["eps"]))
    y = out.channelwise(node, "Sub", out.x(node), mean, ".centred")
    y = out.channelwise(node, "Mul", y, scale, ".scaled")
    return out.channelwise(node, "Add", y, beta)


def _plain(op: str) -> Callable[[_Writer, Node], str]:
    def rule(out: _Writer, node: Node) -> str:
        return out.emit(op, [out.x(node)], node.output, _shape(out.graph.result(node)))

    return rule


def _clip(out: _Writer, node: Node) -> str:
    limits = normal_attrs(node)
    return _clipped(out, node, out.x(node), node.output, (limits["low"], limits["high"]))


def _clipped(out: _Writer, node: Node, x: str, output: str, limits: tuple[float, float]) -> str:
    ends = [out.constant(f"{output}.{key}", np.float32(v))
            for key, v in zip(("low", "high"), limits, strict=True)]  # fmt: skip
    return out.emit("Clip", [x, *ends], output, _shape(out.graph.activation(node)))


def _quantize(out: _Writer, node: Node) -> str:
    attrs, x = normal_attrs(node), out.x(node)
    shape, dtype = _shape(out.graph.result(node)), out.graph.result(node).dtype
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


def _requantize(out: _Writer, node: Node) -> str:
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
    shape = _shape(out.graph.result(node))
    if not zero:
        return out.quant(x, name, shape, kind, rounding=rounding)
    x = out.quant(x, f"{name}.levels", shape, kind, rounding=rounding)
    return out.channelwise(node, "Sub", x, np.full(1, zero))


def _threshold(out: _Writer, node: Node) -> str:
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
        "MultiThreshold", [x, held], node.output, _shape(out.graph.result(node)), QONNX,
        out_dtype=kind, out_scale=scale, out_bias=bias,
    )  # fmt: skip


def _window(node: Node) -> dict[str, Any]:
    attrs = normal_attrs(node)
    keys = {"kernel": "kernel_shape", "stride": "strides", "pads": "pads"}
    return {name: list(attrs[key]) for key, name in keys.items()}


def _max_pool(out: _Writer, node: Node) -> str:
    shape, window = _shape(out.graph.result(node)), _window(node)
    if len(node.inputs) == 1 or not out.data(node, 1).any():
        return out.emit("MaxPool", [out.x(node)], node.output, shape, **window)
    turn = np.where(out.data(node, 1), -1.0, 1.0)  # a minimum is the maximum of the negatives
    x = out.channelwise(node, "Mul", out.x(node), turn, ".turned")
    x = out.emit("MaxPool", [x], f"{node.output}.pooled", shape, **window)
    held = out.constant(f"{node.output}.turn", turn.reshape(-1, 1, 1))
    return out.emit("Mul", [x, held], node.output, shape)


def _average(out: _Writer, node: Node) -> str:
    if out.graph.result(node).dtype.is_integer:
        raise refused(node, "an average rounded to integers")
    shape = _shape(out.graph.result(node))
    if node.op == "GlobalAvgPool":
        return out.emit("GlobalAveragePool", [out.x(node)], node.output, shape)
    counts = int(normal_attrs(node)["count_include_pad"])
    return out.emit(
        "AveragePool", [out.x(node)], node.output, shape, count_include_pad=counts,
        **_window(node),
    )  # fmt: skip


def _binary(op: str) -> Callable[[_Writer, Node], str]:
    def rule(out: _Writer, node: Node) -> str:
        if normal_attrs(node).get("groups", 1) > 1:
            raise refused(node, "a product by groups of channels")
        inputs = [out.x(node), out.x(node, 1)]
        return out.emit(op, inputs, node.output, _shape(out.graph.result(node)))

    return rule


def _input_scale(out: _Writer, node: Node) -> str:
    attrs, x = normal_attrs(node), out.graph.activation(node)
    if attrs["groups"] > 1:
        raise refused(node, "input scales by groups of channels")
    shape = _shape(x)
    y = out.emit("Abs", [out.x(node)], f"{node.output}.abs", shape)
    plain = attrs["kernel"] == attrs["stride"] == (1, 1) and not any(attrs["pads"])
    name = node.output if plain else f"{node.output}.mean"
    y = out.emit("ReduceMean", [y], name, (1, 1, *shape[2:]), axes=[1], keepdims=1)
    if plain:
        return y
    box = np.full((1, 1, *attrs["kernel"]), 1 / np.prod(attrs["kernel"]))
    held = out.constant(f"{node.output}.box", box)
    return out.emit(
        "Conv", [y, held], node.output, _shape(out.graph.result(node)),
        kernel_shape=list(attrs["kernel"]), pads=list(attrs["pads"]),
        strides=list(attrs["stride"]), dilations=list(attrs["dilation"]),
    )  # fmt: skip


def _slice(out: _Writer, node: Node) -> str:
    attrs, order = normal_attrs(node), (2, 0, 1)
    lists = {key: [attrs[key][i] for i in order] for key in ("start", "stop", "step")}
    lists = {"start": lists["start"], "stop": lists["stop"], "axes": [1, 2, 3], **lists}
    keys = ("start", "stop", "axes", "step")
    held = [out.constant(f"{node.output}.{key}", lists[key], np.int64) for key in keys]
    return out.emit("Slice", [out.x(node), *held], node.output, _shape(out.graph.result(node)))


def _pad_channels(out: _Writer, node: Node) -> str:
    attrs = normal_attrs(node)
    sides = [0, attrs["before"], 0, 0, 0, attrs["after"], 0, 0]
    shape = _shape(out.graph.result(node))
    if len(shape) != 4:
        raise refused(node, "zero features beside a vector's")
    held = out.constant(f"{node.output}.pads", sides, np.int64)
    return out.emit("Pad", [out.x(node), held], node.output, shape)


def _flatten(out: _Writer, node: Node) -> str:
    x, shape = out.x(node), _shape(out.graph.activation(node))
    if len(shape) == 4:  # the graph's features are in the order (H, W, C)
        moved = (1, *out.graph.activation(node).shape)
        x = out.emit("Transpose", [x], f"{node.output}.moved", moved, perm=[0, 2, 3, 1])
    return out.emit("Flatten", [x], node.output, _shape(out.graph.result(node)), axis=1)


def _integer_affine(out: _Writer, node: Node) -> str:
    attrs, x = normal_attrs(node), out.x(node)
    steps = (("Mul", attrs["mul"], 1), ("Add", attrs["add"], 0), ("Div", attrs["div"], 1))
    used = [(op, value) for op, value, neutral in steps if value != neutral]
    for index, (op, value) in enumerate(used, 1 - len(used)):
        x = out.channelwise(node, op, x, np.full(1, value), f".step{-index}" if index else "")
    return x


_RULES: Mapping[str, Callable[[_Writer, Node], str]] = MappingProxyType(
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
        "Flatten": _flatten,
        "IntegerAffine": _integer_affine,
        "Cast": _plain("Identity"),
    }
)


def check_path(path: str | Path) -> Path:
    """Return the path of a QONNX file, which must end in ``.onnx``."""
    target = Path(path)
    if target.suffix.lower() != ".onnx":
        raise GraphError(message("export --to qonnx", str(path), "a file name that ends in .onnx"))
    return target
