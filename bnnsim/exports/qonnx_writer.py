"""The QONNX file under construction: tensors, constants, operators, and what may be expressed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from bnnsim.errors import GraphError, message
from bnnsim.graph.dtypes import DType
from bnnsim.graph.ir import Graph, Node, Tensor
from bnnsim.graph.ranges import value_ranges

QONNX = "qonnx.custom_op.general"
_OPSET, _IR = 13, 10
_EXACT = 2**24
Array = np.ndarray
Shape = tuple[int, ...]


class Writer:
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
            shape = shape_of(source)
            self.where[source.name] = self.emit("Cast", [source.name], "input.float", shape, to=to)

    def _check_tensor(self, place: str, tensor: Tensor) -> None:
        if tensor.dtype.is_float and str(tensor.dtype) != "float32":
            raise GraphError(message(place, str(tensor.dtype), "float32 or integers for QONNX"))
        low, high = self.ranges.get(tensor.name, (0, 0))
        if max(-low, high) > _EXACT:
            rule = "integers up to 2^24, which QONNX's float32 holds exactly"
            raise GraphError(message(place, f"integers in {[low, high]}", rule))

    def write(self, node: Node, rule: Rule | None) -> None:
        """Append what a node becomes; the last operator has its name."""
        result = self.graph.result(node)
        self._check_tensor(node.describe(), result)
        for name in node.inputs:
            if self.graph.tensor(name).constant and self.graph.tensor(name).data is None:
                raise GraphError(message(node.describe(), "no weights", "a network with weights"))
        first = len(self.nodes)
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
        shape = shape_of(self.graph.activation(node))
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
        ends = [helper.make_tensor_value_info(source.name, kind, list(shape_of(source)))]
        name = self.where[result.name]
        outputs = [helper.make_tensor_value_info(name, types.FLOAT, list(shape_of(result)))]
        inner = [info for info in self.shapes if info.name != name]
        made = helper.make_graph(self.nodes, graph.name, ends, outputs, self.held, value_info=inner)
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(QONNX, 1)]
        model = helper.make_model(
            made, opset_imports=opsets, ir_version=_IR, producer_name="bnnsim"
        )
        return bytes(model.SerializeToString())


Rule = Callable[[Writer, Node], str]


def refused(node: Node, got: str) -> GraphError:
    """Return the error for a node that QONNX cannot express."""
    rule = "what QONNX has operators for"
    return GraphError(message(node.describe(), got, rule, "Export another mode or network."))


def shape_of(tensor: Tensor) -> Shape:
    """Return a tensor's shape in the file, of one image."""
    if len(tensor.shape) == 3:
        return 1, tensor.shape[2], *tensor.shape[:2]
    return (1, *tensor.shape)
