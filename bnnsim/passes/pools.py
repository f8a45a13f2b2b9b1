"""Move max-pooling behind the quantization, where it works on single bits or bytes.

Max commutes with any per-channel function that never falls, and turns into min under one that
never rises: sign(f(max(a, b))) = max(sign(f(a)), sign(f(b))) for rising f (an OR of bits), and
min(...) for falling f (an AND). Rounding keeps this true, because a rounded monotone function is
still monotone.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bnnsim.graph.draws import is_stochastic
from bnnsim.graph.dtypes import DType
from bnnsim.graph.ir import Graph, Node, Tensor
from bnnsim.graph.ops import infer
from bnnsim.passes.thresholds import is_monotone

_UINT1 = DType("unsigned", 1)


def pool_on_bits(graph: Graph) -> Graph:
    """Swap ``MaxPool -> f`` into ``f -> MaxPool`` until every pool that can works on bits.

    ``f`` is Quantize, Threshold, Requantize, or an elementwise op on the way to one of them. Only
    pools whose result reaches one of these through such ops move; others stay as they are. So does
    a pool before a stochastic sign: one draw for the maximum is no maximum of many draws.
    """
    moved = True
    while moved:
        moved = False
        for pool in graph.nodes:
            if pool.op == "MaxPool" and (follower := _follower(graph, pool)) is not None:
                graph, moved = _swap(graph, pool, follower), True
                break
    return graph


def _follower(graph: Graph, pool: Node) -> Node | None:
    """Return the node to swap the pool with, or None if the pool has to stay."""
    first = node = _only_consumer(graph, pool)
    while node is not None:
        if is_stochastic(node):
            return None
        if node.op in ("Quantize", "Threshold", "Requantize"):
            return first
        if node.op == "Cast" or not is_monotone(graph, node):
            return None
        node = _only_consumer(graph, node)
    return None


def _only_consumer(graph: Graph, node: Node) -> Node | None:
    consumers = graph.consumers(node.output)
    if len(consumers) != 1 or node.output in graph.outputs:
        return None
    return consumers[0]


def _falling(graph: Graph, node: Node) -> np.ndarray:
    """Return per channel whether the node's function falls (without data: never, for costs)."""
    slopes = {"Threshold": 2, "BatchNorm": 1, "Affine": 1, "Scale": 1, "Requantize": 1}
    role = slopes.get(node.op)
    slope = None if role is None else graph.tensor(node.inputs[role]).data
    if slope is None:
        return np.zeros(graph.activation(node).shape[-1], bool)
    return slope < 0


def _swap(graph: Graph, pool: Node, follower: Node) -> Graph:
    """Return ``graph`` with ``follower`` before ``pool``; both keep their ids and names."""
    source, result = graph.activation(pool), graph.result(follower)
    minimum = _falling(graph, follower) ^ _minimum_of(graph, pool)
    fresh: list[Tensor] = []
    inputs: tuple[str, ...] = (pool.output,)
    if minimum.any():
        role = Tensor(f"{pool.name}.minimum", minimum.shape, _UINT1, True, minimum.astype(np.uint8))
        fresh.append(role)
        inputs = (*inputs, role.name)
    first = replace(follower, inputs=(source.name, *follower.inputs[1:]), outputs=(pool.output,))
    constants = [graph.tensor(name) for name in follower.inputs[1:]]
    shape, dtype = infer(first, [source, *constants])
    fresh.append(Tensor(pool.output, shape, dtype))
    second = replace(pool, inputs=inputs, outputs=(result.name,))
    swap = {pool.id: first, follower.id: second}
    return graph.with_nodes([swap.get(node.id, node) for node in graph.nodes], fresh)


def _minimum_of(graph: Graph, pool: Node) -> np.ndarray:
    if len(pool.inputs) == 1:
        return np.zeros(graph.activation(pool).shape[-1], bool)
    data = graph.tensor(pool.inputs[1]).data
    assert data is not None
    return data.astype(bool)
