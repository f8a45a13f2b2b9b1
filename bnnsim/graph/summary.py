"""Describe a graph layer by layer: what each became, why, and how large it is."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from bnnsim.display import Displayed
from bnnsim.graph.draws import is_stochastic, rng_bits
from bnnsim.graph.dtypes import BIT, DType
from bnnsim.graph.grids import grid_of
from bnnsim.graph.ir import WHAT_IF, Graph, Node, Tensor
from bnnsim.graph.ops import normal_attrs
from bnnsim.graph.quantizers import DOREFA, GRID, SIGN, TERNARIZE, requantized_range
from bnnsim.graph.ranges import INT32_MAX, INT32_MIN

LINEAR = ("Dense", "Conv2d")


@dataclass(frozen=True, slots=True)
class Layer:
    """One node as a reader of a table sees it; sizes are per image, without the batch axis."""

    name: str
    id: int
    op: str
    act_dtype: str
    weight_dtype: str
    out_dtype: str
    kind: str
    why: str
    shape: tuple[int, ...]
    macs: int
    weight_bytes: int


@dataclass(frozen=True, slots=True)
class Inspection(Displayed):
    """A graph's layers and totals."""

    model: str
    input_shape: tuple[int, ...]
    input_dtype: str
    layers: tuple[Layer, ...]
    parameters: int
    notes: tuple[str, ...]

    @property
    def macs(self) -> int:
        """Nominal multiply-accumulates of one image, padding counted."""
        return sum(layer.macs for layer in self.layers)

    @property
    def weight_bytes(self) -> int:
        """Bytes of all weights of Dense and Conv2d, packed."""
        return sum(layer.weight_bytes for layer in self.layers)

    def to_json(self) -> str:
        """Return :meth:`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=1)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "schema": 1,
            "model": self.model,
            "input": {"shape": list(self.input_shape), "dtype": self.input_dtype},
            "layers": [{**asdict(layer), "shape": list(layer.shape)} for layer in self.layers],
            "totals": {
                "macs": self.macs,
                "weight_bytes": self.weight_bytes,
                "parameters": self.parameters,
            },
            "notes": list(self.notes),
        }


def summarize(graph: Graph) -> Inspection:
    """Return what every node of ``graph`` is, and why."""
    source = graph.tensor(graph.inputs[0])
    return Inspection(
        model=graph.name,
        input_shape=source.shape,
        input_dtype=str(source.dtype),
        layers=tuple(_layer(graph, node) for node in graph.nodes),
        parameters=sum(t.size for t in graph.constants() if not t.name.endswith(".table")),
        notes=((WHAT_IF,) if graph.meta.get("what_if") else ())
        + tuple(graph.meta.get("notes", ())),
    )


def macs_of(graph: Graph, node: Node) -> int:
    """Return the nominal multiply-accumulates of a node for one image."""
    if node.op not in LINEAR:
        return 0
    fan_in = math.prod(graph.tensor(node.inputs[1]).shape[1:])
    return graph.result(node).size * fan_in


def _layer(graph: Graph, node: Node) -> Layer:
    x, out = graph.activation(node), graph.result(node)
    weight = graph.tensor(node.inputs[1]) if node.op in LINEAR else None
    if weight is None:
        kind, why = _other_kind(graph, node)
    else:
        kind, why = _linear_kind(x, weight, is_input=_is_input(graph, x.name))
    return Layer(
        name=node.name,
        id=node.id,
        op=node.op,
        act_dtype=str(x.dtype),
        weight_dtype=str(weight.dtype) if weight is not None else "",
        out_dtype=str(out.dtype),
        kind=kind,
        why=why,
        shape=out.shape,
        macs=macs_of(graph, node),
        weight_bytes=-(-weight.bits // 8) if weight is not None else 0,
    )


def _is_input(graph: Graph, name: str) -> bool:
    """Return whether a tensor is the network's input, encoded or not."""
    node = graph.producer(name)
    while node is not None and node.op in ("Encode", "FromGrid", "Flatten"):
        node = graph.producer(node.inputs[0])
    return node is None


def _linear_kind(x: Tensor, weight: Tensor, *, is_input: bool) -> tuple[str, str]:
    fan_in = math.prod(weight.shape[1:])
    if x.dtype == weight.dtype == BIT:
        return "binary", f"weights and activations are -1/+1: XNOR-popcount over {fan_in} bits"
    if weight.dtype == BIT and x.dtype.is_integer and is_input:
        return "binary", f"weights are -1/+1, the input holds {x.dtype} integers: exact sums"
    levels = x.dtype.kind in ("unsigned", "bipolar", "ternary")
    if weight.dtype == BIT and not levels:
        return "weight-only", f"weights are -1/+1, activations {x.dtype}: additions, no products"
    if weight.dtype.is_integer and x.dtype.is_integer:
        return (
            "k-bit",
            f"weights {_values(weight.dtype)}, activations {x.dtype}: exact integer sums",
        )
    return "float", f"weights are {weight.dtype}: sums in float64, rounded once to {x.dtype}"


def _values(dtype: DType) -> str:
    """Return in words which values a type of weights holds."""
    if dtype.is_light:
        return "are -1/+1" if dtype == BIT else "are -1/0/+1"
    odd = ", odd" if dtype.kind == "bipolar" else ""
    return f"are {dtype} ({int(dtype.low)} to {int(dtype.high)}{odd})"


def _threshold_why(graph: Graph, node: Node) -> str:
    thresholds, direction = (graph.tensor(name) for name in node.inputs[1:])
    steps = thresholds.shape[1]
    kind = "integer" if thresholds.dtype.is_integer else "float"
    text = f"{kind} compare per channel, {steps} step{'s' if steps > 1 else ''}"
    if thresholds.data is None or direction.data is None:
        return text
    ends = np.isin(thresholds.data, (INT32_MIN, INT32_MAX)).all(axis=1)
    falling = int((direction.data < 0).sum())
    return f"{text}; {falling} of {thresholds.shape[0]} fall, {int(ends.sum())} never change"


def _pool_why(graph: Graph, node: Node) -> str:
    word = "OR" if graph.activation(node).dtype == BIT else "maximum"
    if len(node.inputs) == 1:
        return f"{word} over each window"
    minimum = graph.tensor(node.inputs[1]).data
    count = "some" if minimum is None else str(int(minimum.sum()))
    other = "AND" if word == "OR" else "minimum"
    return f"{word} over each window, {other} in {count} falling channels"


def _prelu_why(graph: Graph, node: Node) -> str:
    slope = graph.tensor(node.inputs[1]).data
    if slope is None or not (slope < 0).any():
        return "one slope per channel below 0"
    negative = int((slope < 0).sum())
    return f"one slope per channel below 0, {negative} of {slope.size} negative: not monotone"


_QUANTIZED = {
    SIGN: "sign, with sign(0) = +1",
    DOREFA: "clip to [0, 1], rounded half to even to levels of {bits} bits",
    GRID: "clip to [-1, 1], rounded half to even to a grid of {bits} bits",
    TERNARIZE: "clip to [-1, 1], rounded half to even to -1, 0 or +1",
}


def _quantize_why(node: Node) -> str:
    if is_stochastic(node):
        return f"+1 with the probability of a hard sigmoid, {rng_bits(node)} random bits a draw"
    return _QUANTIZED[node.attrs["quantizer"]].format(bits=node.attrs.get("bits"))


def _requantize_why(node: Node) -> str:
    attrs = normal_attrs(node)
    low, high = requantized_range(attrs)
    how = {"half_even": "rounded half to even"}.get(attrs["rounding"])
    ends = f", to {low} to {high}" if attrs["limits"] else ""
    return f"per-channel scale, {how or 'rounding ' + attrs['rounding']}{ends}"


def _slice_why(node: Node) -> str:
    attrs = normal_attrs(node)
    return "elements {start} to {stop} of (H, W, C) in steps of {step}".format_map(attrs)


def _grid_why(graph: Graph, node: Node) -> str:
    grid = grid_of(normal_attrs(node))
    readers = graph.consumers(node.output)
    back = all(reader.op in ("Bias", "Scale", "Cast") for reader in readers)
    use = "no layer reads the integers: floats again" if back else "exact integers from here on"
    return f"the input's grid, every value checked: {grid.rule}; {use}"


_WHY: Mapping[str, Callable[[Graph, Node], str]] = MappingProxyType(
    {
        "FromGrid": _grid_why,
        "Encode": lambda _, __: "table of what each pixel value means in training",
        "Threshold": _threshold_why,
        "MaxPool": _pool_why,
        "BatchNorm": lambda _, __: "float32 batch norm, evaluated as written",
        "Quantize": lambda _, node: _quantize_why(node),
        "Requantize": lambda _, node: _requantize_why(node),
        "Flatten": lambda _, __: "height, width, channel order",
        "Add": lambda graph, node: f"sum of two {graph.activation(node).dtype} activations",
        "Mul": lambda _, __: "product of two activations, rounded once",
        "Scale": lambda _, __: "one factor per channel, such as XNOR-Net's alpha",
        "InputScale": lambda _, __: "XNOR-Net's K: mean of |x| over channels and window",
        "AvgPool": lambda _, __: "mean over each window, rounded once",
        "GlobalAvgPool": lambda _, __: "mean over height and width, rounded once",
        "PRelu": lambda graph, node: _prelu_why(graph, node),
        "Sigmoid": lambda _, __: "1 / (1 + exp(-x)), rounded once",
        "Softmax": lambda _, node: f"{'logarithm of ' * node.attrs.get('log', False)}softmax",
        "Concat": lambda _, node: f"channels of {len(node.inputs)} activations side by side",
        "ChannelShuffle": lambda _, node: f"channels of {node.attrs['groups']} groups interleaved",
        "Reshape": lambda _, node: f"the same elements as {node.attrs['shape']}",
        "Slice": lambda _, node: _slice_why(node),
        "PadChannels": lambda _, __: "channels of zeros beside the activation's",
        "IntegerAffine": lambda _, __: "exact integer scale and offset",
    }
)


def _other_kind(graph: Graph, node: Node) -> tuple[str, str]:
    why = _WHY.get(node.op)
    return "elementwise", why(graph, node) if why else f"{graph.result(node).dtype} elementwise"
