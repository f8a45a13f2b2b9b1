"""Fold the float chain between an integer accumulator and its quantization into compares.

The chain (BatchNorm, Bias, Affine, Scale, Relu, Clip, Cast, PRelu without negative slopes) and the
quantizer are monotone in the accumulator for every channel, so that each level of the result is
entered at most once over the reachable integers. The places are found by bisection on the
reference's own float32 evaluation: its rounding, ties at zero and halves included, is inherited and
not approximated by a formula.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from bnnsim.errors import GraphError
from bnnsim.graph.draws import is_stochastic
from bnnsim.graph.dtypes import INT8, INT32
from bnnsim.graph.elementwise import ELEMENTWISE
from bnnsim.graph.ir import Graph, Node, Tensor
from bnnsim.graph.ops import normal_attrs
from bnnsim.graph.quantizers import level_of, requantized_range, steps_of
from bnnsim.graph.ranges import INT32_MAX, INT32_MIN, value_ranges

_MONOTONE = ("BatchNorm", "Bias", "Affine", "Scale", "Relu", "Clip", "Cast")
_MOST_STEPS = 15  # of a Requantize; a byte's 255 thresholds would cost more than its rounding


def fold_thresholds(graph: Graph) -> Graph:
    """Replace each chain from an integer tensor to a quantization by one integer Threshold.

    A quantization is a Quantize, a Requantize to few levels, or a Threshold of floats.

    Parameters
    ----------
    graph : Graph
        Chains whose constants have no data give thresholds without data.

    Returns
    -------
    Graph
        Same outputs, bit for bit. Thresholds: (C, levels - 1) int32; direction: (C,) int8, +1
        where level i or more is iff ``acc >= t[i]`` and -1 where it is iff ``acc <= t[i]``.
        Compares that never change use the ends of int32, with direction +1 where that holds for a
        whole channel. The Threshold keeps the Quantize's id and name. Chains stay that start from
        a float tensor or with a float result that other nodes read as well, that overflow inside
        the reach, that hold a PRelu with a negative slope, which first falls and then rises, or
        that end in a stochastic sign, whose probability depends on the value.
    """
    ranges = value_ranges(graph)
    nodes: list[Node] = []
    fresh: list[Tensor] = []
    for node in graph.nodes:
        chain = _chain(graph, node) if _is_quantization(graph, node) else None
        if chain is None:
            nodes.append(node)
            continue
        source = graph.activation(chain[0])
        constants = _constants(graph, node, chain, ranges[source.name])
        if constants is None:
            nodes.append(node)
            continue
        fresh.extend(constants)
        names = (source.name, *(t.name for t in constants))
        out = graph.result(node).dtype
        attrs: dict[str, Any] = {"dtype": str(out)}
        if out.kind != "bipolar":
            attrs["base"] = _levels(graph, node)[0]
        nodes.append(replace(node, op="Threshold", inputs=names, attrs=attrs))
    return drop_unused(graph.with_nodes(nodes, fresh))


def _is_quantization(graph: Graph, node: Node) -> bool:
    """Whether a node gives levels that thresholds of its float input could give."""
    if node.op == "Requantize":
        return _levels(graph, node)[1] <= _MOST_STEPS
    if node.op == "Threshold":
        return graph.activation(node).dtype.is_float
    return node.op == "Quantize" and not is_stochastic(node)


def _levels(graph: Graph, node: Node) -> tuple[int, int]:
    """Return the lowest level of a quantization, and how many steps there are above it."""
    out = graph.result(node).dtype
    if node.op == "Requantize":
        low, high = requantized_range(normal_attrs(node))
        return low, high - low
    if node.op == "Threshold" and out.kind != "bipolar":
        return normal_attrs(node)["base"], graph.tensor(node.inputs[1]).shape[1]
    return int(out.low), steps_of(out)


def drop_unused(graph: Graph) -> Graph:
    """Remove nodes whose results nobody reads."""
    needed = set(graph.outputs)
    kept = []
    for node in reversed(graph.nodes):
        if needed.intersection(node.outputs):
            kept.append(node)
            needed.update(node.inputs)
    return graph.with_nodes(reversed(kept))


def is_monotone(graph: Graph, node: Node) -> bool:
    """Whether a node never falls, or never rises, in its input, channel by channel.

    Slopes without data are taken for positive ones: they are for costs.
    """
    if node.op != "PRelu":
        return node.op in _MONOTONE
    slope = graph.tensor(node.inputs[1]).data
    return slope is None or bool((slope >= 0).all())


def _chain(graph: Graph, quantize: Node) -> list[Node] | None:
    """Return the nodes from an integer tensor to ``quantize``, or None if there are none."""
    chain = [quantize]
    while not graph.activation(chain[0]).dtype.is_integer:
        before = graph.producer(chain[0].inputs[0])
        if before is None or not is_monotone(graph, before) or _kept(graph, before, chain[0]):
            return None
        chain.insert(0, before)
    return chain


def _kept(graph: Graph, node: Node, reader: Node) -> bool:
    """Whether something else needs the node's float result, such as a residual addition."""
    others = [n for n in graph.consumers(node.output) if n is not reader]
    signs = [n for n in others if n.op == "Quantize" and not is_stochastic(n)]
    return len(signs) < len(others) or node.output in graph.outputs


def _constants(
    graph: Graph, quantize: Node, chain: list[Node], reach: tuple[int, int]
) -> tuple[Tensor, Tensor] | None:
    """Return the thresholds and directions that stand for ``chain``.

    None where the chain gives no number at an end of the reach, because it overflows there.
    """
    source = graph.activation(chain[0])
    channels, steps = source.shape[-1], _levels(graph, quantize)[1]
    thresholds = direction = None
    operands = [graph.tensor(name) for node in chain for name in node.inputs[1:]]
    if all(t.data is not None for t in operands):
        try:
            with np.errstate(over="ignore", invalid="ignore"):
                thresholds, direction = changes(_evaluator(graph, chain), reach, (steps, channels))
        except GraphError:
            return None
    name = quantize.name
    return (
        Tensor(f"{name}.thresholds", (channels, steps), INT32, True, thresholds),
        Tensor(f"{name}.direction", (channels,), INT8, True, direction),
    )


def _evaluator(graph: Graph, chain: list[Node]) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from (steps, C) accumulators to whether row i reaches level i + 1."""
    out = graph.result(chain[-1]).dtype
    base = _levels(graph, chain[-1])[0] - int(out.low)  # of the first step

    def is_met(accumulators: np.ndarray) -> np.ndarray:
        values = accumulators
        for node in chain:
            constants = [graph.tensor(name).data for name in node.inputs[1:]]
            operands = [values, *(c for c in constants if c is not None)]
            values = ELEMENTWISE[node.op](operands, normal_attrs(node), graph.result(node).dtype)
        return level_of(values, out) - base > np.arange(len(values))[:, None]

    return is_met


def changes(
    is_met: Callable[[np.ndarray], np.ndarray], reach: tuple[int, int], shape: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """Find where monotone predicates change over the integers of ``reach``, per channel.

    Parameters
    ----------
    is_met : callable
        (steps, C) int32 -> (steps, C) bool, element by element; all steps of a channel rise, or
        all fall.
    reach : (int, int)
        Lowest and highest integer, inclusive, strictly inside int32.
    shape : (int, int)
        (steps, C).

    Returns
    -------
    thresholds : ndarray, (C, steps) int32
    direction : ndarray, (C,) int8
    """
    low = np.full(shape, reach[0], np.int64)
    high = np.full(shape, reach[1], np.int64)
    at_low, at_high = is_met(low.astype(np.int32)), is_met(high.astype(np.int32))
    while (high - low > 1).any():
        middle = (low + high) // 2
        same_as_low = is_met(middle.astype(np.int32)) == at_low
        low, high = np.where(same_as_low, middle, low), np.where(same_as_low, high, middle)
    falls = (at_low & ~at_high).any(axis=0)
    never = np.where(at_low ^ falls, INT32_MIN, INT32_MAX)  # x >= least int32 always holds
    thresholds = np.where(at_low == at_high, never, np.where(at_high, high, low))
    direction = np.where(falls, -1, 1)
    return np.ascontiguousarray(thresholds.T, np.int32), direction.astype(np.int8)
