"""Which integers a tensor can reach: the bounds that thresholds and accumulators rest on."""

from __future__ import annotations

import numpy as np

from bnnsim.errors import GraphError, message
from bnnsim.graph.ir import Graph, Node, Tensor
from bnnsim.graph.ops import activations_of, normal_attrs

_KEEPING = ("MaxPool", "GlobalAvgPool", "Slice", "ChannelShuffle", "Flatten", "Reshape", "Cast")
INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1


def value_ranges(graph: Graph) -> dict[str, tuple[int, int]]:
    """Return (lowest, highest) value of every integer tensor, by name.

    The bounds follow from dtypes, weights and tables; they hold for any input, and a Dense or
    Conv2d over bits reaches both ends.

    Raises
    ------
    GraphError
        If an accumulator could leave int32.
    """
    ranges: dict[str, tuple[int, int]] = {}
    for name, tensor in graph.tensors.items():
        if tensor.dtype.is_integer:
            ranges[name] = (int(tensor.dtype.low), int(tensor.dtype.high))
            if tensor.constant and tensor.data is not None and tensor.size:
                ranges[name] = (int(tensor.data.min()), int(tensor.data.max()))
    for node in graph.nodes:
        out = graph.result(node)
        if out.dtype.is_integer:
            ranges[out.name] = _checked(node, _node_range(graph, node, ranges), out)
    return ranges


def _node_range(graph: Graph, node: Node, ranges: dict[str, tuple[int, int]]) -> tuple[int, int]:
    x = graph.activation(node)
    low, high = ranges.get(x.name, (0, 0))
    if node.op == "Add":
        spans = [ranges[name] for name in activations_of(node)]
        return sum(span[0] for span in spans), sum(span[1] for span in spans)
    if node.op == "Concat":
        spans = [ranges[name] for name in activations_of(node)]
        return min(span[0] for span in spans), max(span[1] for span in spans)
    if node.op in ("AvgPool", "PadChannels"):
        return min(low, 0), max(high, 0)
    if node.op == "Encode":
        return ranges[node.inputs[1]]
    if node.op in ("Dense", "Conv2d"):
        return _accumulator_range(graph, node, (low, high))
    if node.op in _KEEPING:  # an integer Cast only widens
        return low, high
    if node.op == "Relu":
        return max(low, 0), max(high, 0)
    if node.op == "Clip":
        attrs = normal_attrs(node)
        ends = [int(min(max(value, attrs["low"]), attrs["high"])) for value in (low, high)]
        return ends[0], ends[1]
    if node.op == "IntegerAffine":
        attrs = normal_attrs(node)
        ends = [(value * attrs["mul"] + attrs["add"]) // attrs["div"] for value in (low, high)]
        return min(ends), max(ends)
    out = graph.result(node)
    return ranges[out.name]


def _accumulator_range(graph: Graph, node: Node, span: tuple[int, int]) -> tuple[int, int]:
    weight = graph.tensor(node.inputs[1])
    if node.op == "Conv2d" and any(normal_attrs(node)["pads"]):
        pad = normal_attrs(node)["pad_value"]
        span = (min(span[0], pad), max(span[1], pad))
    fan_in = int(np.prod(weight.shape[1:], dtype=np.int64))
    largest = max(abs(int(weight.dtype.low)), abs(int(weight.dtype.high)))
    if weight.dtype.kind not in ("bipolar", "ternary") and weight.data is not None:
        largest = int(np.abs(weight.data.astype(np.int64)).max(initial=0))
    reach = fan_in * largest * max(abs(span[0]), abs(span[1]))
    return -reach, reach


def _checked(node: Node, span: tuple[int, int], out: Tensor) -> tuple[int, int]:
    # The ends of int32 stand for "never" in thresholds, so an accumulator must not reach them.
    if out.dtype.bits == 32 and (span[0] <= INT32_MIN or span[1] >= INT32_MAX):
        rule = "values inside int32"
        raise GraphError(
            message(
                node.describe(),
                f"accumulators in {list(span)}",
                rule,
                "Narrow the input or split the layer.",
            )
        )
    return span
