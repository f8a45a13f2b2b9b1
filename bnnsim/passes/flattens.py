"""Move what only moves elements behind elementwise ops: a layer and its sign stand side by side."""

from __future__ import annotations

from dataclasses import replace

from bnnsim.graph.draws import is_stochastic
from bnnsim.graph.ir import Graph, Node, Tensor
from bnnsim.graph.ops import infer

_MOVING = ("Flatten", "Reshape", "ChannelShuffle")
_BLIND_TO_SHAPE = ("Relu", "Clip", "Cast", "Quantize")


def flatten_last(graph: Graph) -> Graph:
    """Swap ``Flatten -> f`` into ``f -> Flatten``, and shuffles too, while ``f`` is elementwise.

    Both nodes keep their ids and names. The order of the elements stays, so that nothing changes
    but where the binarization stands: behind its layer, where it can become a threshold.
    """
    moved = True
    while moved:
        moved = False
        for node in graph.nodes:
            follower = _only_consumer(graph, node) if node.op in _MOVING else None
            if follower is not None and _commutes(node, follower):
                graph, moved = _swap(graph, node, follower), True
                break
    return graph


def _commutes(move: Node, follower: Node) -> bool:
    """Whether ``follower`` treats every element alike; the place of one says what it draws."""
    if move.op == "ChannelShuffle" and is_stochastic(follower):
        return False
    return follower.op in _BLIND_TO_SHAPE


def _only_consumer(graph: Graph, node: Node) -> Node | None:
    consumers = graph.consumers(node.output)
    return consumers[0] if len(consumers) == 1 and node.output not in graph.outputs else None


def _swap(graph: Graph, flatten: Node, follower: Node) -> Graph:
    source = graph.activation(flatten)
    first = replace(follower, inputs=flatten.inputs, outputs=flatten.outputs)
    second = replace(flatten, inputs=flatten.outputs, outputs=follower.outputs)
    shape, dtype = infer(first, [source])
    swap = {flatten.id: first, follower.id: second}
    nodes = [swap.get(node.id, node) for node in graph.nodes]
    return graph.with_nodes(nodes, [Tensor(flatten.output, shape, dtype)])
