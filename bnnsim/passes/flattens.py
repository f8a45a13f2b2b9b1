"""Move Flatten behind elementwise ops, so that a layer and its binarization stand side by side."""

from __future__ import annotations

from dataclasses import replace

from bnnsim.graph.ir import Graph, Node, Tensor
from bnnsim.graph.ops import infer

_BLIND_TO_SHAPE = ("Relu", "Clip", "Cast", "Quantize")


def flatten_last(graph: Graph) -> Graph:
    """Swap ``Flatten -> f`` into ``f -> Flatten`` while ``f`` treats every element alike.

    Both nodes keep their ids and names. The order of the elements stays, so that nothing changes
    but where the binarization stands: behind its layer, where it can become a threshold.
    """
    moved = True
    while moved:
        moved = False
        for node in graph.nodes:
            follower = _only_consumer(graph, node) if node.op == "Flatten" else None
            if follower is not None and follower.op in _BLIND_TO_SHAPE:
                graph, moved = _swap(graph, node, follower), True
                break
    return graph


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
