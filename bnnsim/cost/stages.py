"""Stages: nodes that run as one pass over memory, and the tensors that stay between stages.

A Dense or Conv2d takes the elementwise nodes after it into its output stage: their tensors never
reach memory. Encode, Flatten and Reshape happen on the way from memory to the array, so what they
yield is stored as what they read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from bnnsim.cost.actions import MAC_OPS
from bnnsim.cost.remembered import by_graph
from bnnsim.graph.ir import Graph, Node, Tensor
from bnnsim.graph.ops import activations_of, normal_attrs

ON_READ = frozenset({"Encode", "Flatten", "Reshape"})
EARLY = frozenset({"Slice", "PadChannels", "Flatten", "Reshape", "InputScale"})
FUSED = frozenset(
    {"Bias", "Affine", "BatchNorm", "Relu", "Clip", "Quantize", "Threshold", "Requantize",
     "IntegerAffine", "Cast", "Add", "Mul", "Scale", "PRelu", "Sigmoid", "Softmax", "Concat",
     "ChannelShuffle"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Stage:
    """Nodes run together: the first reads from memory, the last writes.

    Parameters
    ----------
    nodes : tuple of Node
        Those that make ``maps`` come last.
    reads : tuple of Tensor
        Stored activations that it reads; those of its head come first.
    operands : tuple of Tensor
        Those of them that nodes after the head read, once for each such node.
    writes : Tensor
        The stored result.
    maps : tuple of Tensor
        Input scales that are summed up on the way, while what they are taken of passes.
    weights : Tensor or None
        Of a Dense or Conv2d.
    parameters : tuple of Tensor
        Other constants: thresholds, scales, tables.
    """

    nodes: tuple[Node, ...]
    reads: tuple[Tensor, ...]
    operands: tuple[Tensor, ...]
    writes: Tensor
    maps: tuple[Tensor, ...]
    weights: Tensor | None
    parameters: tuple[Tensor, ...]

    @property
    def head(self) -> Node:
        """The node that reads from memory."""
        return self.nodes[0]


def stored_as(graph: Graph) -> dict[str, str]:
    """Return for every activation the name of the tensor whose memory it is read from."""
    roots = {name: name for name in graph.tensors}
    for node in graph.nodes:
        if node.op in ON_READ:
            roots[node.output] = roots[node.inputs[0]]
    return roots


def build_stages(graph: Graph) -> tuple[Stage, ...]:
    """Return the stages in execution order; Encode, Flatten and Reshape nodes are in none."""
    roots = stored_as(graph)
    readers = Counter(
        roots[name] for node in graph.nodes if node.op not in ON_READ
        for name in dict.fromkeys(activations_of(node))
    )  # fmt: skip
    readers.update(roots[name] for name in graph.outputs)
    chains: list[list[Node]] = []
    scales: list[list[Node]] = []
    made_by: dict[str, int] = {}
    for node in _early_first(graph):
        if node.op in ON_READ:
            continue
        # A sum or product joins the last of the chains that compute its operands: the others are
        # done. One with a map of that chain, or that broadcasts its end, is a stage of its own.
        sources = {roots[name] for name in activations_of(node)}
        at, source = max((made_by.get(name, -1), name) for name in sources)
        ready = all(made_by.get(name, -1) < at for name in sources - {source})
        open_end = at >= 0 and chains[at][-1].output == source and ready
        grows = node.op == "Mul" and graph.tensor(source).size < graph.result(node).size
        if open_end and node.op == "InputScale":
            scales[at].append(node)
            readers[source] -= 1
        elif open_end and readers[source] == 1 and not grows and _fuses(node, chains[at][0]):
            chains[at].append(node)
        else:
            at = len(chains)
            chains.append([node])
            scales.append([])
        made_by[node.output] = at
    pairs = zip(chains, scales, strict=True)
    return tuple(_stage(graph, tuple(chain), tuple(beside), roots) for chain, beside in pairs)


def _early_first(graph: Graph) -> list[Node]:
    """Return the nodes with each Slice, PadChannels and InputScale as soon as its input is there.

    A shortcut or scale is then ready before the layer whose output stage takes it in, and what it
    was made from need not be kept as long.
    """
    waiting: dict[str, list[Node]] = {}
    for node in graph.nodes:
        if node.op in EARLY:
            waiting.setdefault(node.inputs[0], []).append(node)
    ordered: list[Node] = []

    def place(tensor: str) -> None:
        for node in waiting.pop(tensor, ()):
            ordered.append(node)
            place(node.output)

    for name in graph.inputs:
        place(name)
    for node in graph.nodes:
        if node.op not in EARLY:
            ordered.append(node)
            place(node.output)
    return ordered


def _fuses(node: Node, head: Node) -> bool:
    """Whether a node can run on what the stage of ``head`` yields, before that is written."""
    if node.op == "PadChannels":
        return head.op not in MAC_OPS
    if node.op in ("MaxPool", "AvgPool"):
        attrs = normal_attrs(node)
        return bool(attrs["kernel"] == attrs["stride"] and not any(attrs["pads"]))
    return node.op in FUSED


def _stage(
    graph: Graph, chain: tuple[Node, ...], scales: tuple[Node, ...], roots: Mapping[str, str]
) -> Stage:
    nodes = (*chain, *scales)
    inside = {node.output for node in nodes}
    reads, parameters, operands = dict[str, Tensor](), list[Tensor](), list[Tensor]()
    weights = graph.tensor(nodes[0].inputs[1]) if nodes[0].op in MAC_OPS else None
    for node in nodes:
        for name in node.inputs:
            tensor = graph.tensor(roots[name])
            if tensor.constant:
                parameters += [] if tensor is weights else [tensor]
            elif tensor.name not in inside:
                reads[tensor.name] = tensor
                operands += [] if node is nodes[0] else [tensor]
    writes, *maps = (graph.tensor(node.output) for node in (chain[-1], *scales))
    return Stage(nodes, tuple(reads.values()), tuple(operands), writes, tuple(maps), weights,
                 tuple(parameters))  # fmt: skip


def stored_bytes(tensor: Tensor) -> int:
    """Return the bytes of one image's tensor, elements packed without gaps."""
    return -(-tensor.bits // 8)


@dataclass(frozen=True, slots=True)
class Layout:
    """The stages of a graph and what is in memory while each runs, for one image.

    Parameters
    ----------
    stages : tuple of Stage
    live : tuple of dict
        By stage: bytes of each stored activation, the stage's result included.
    constant_bytes : tuple of int
        By stage: weights and parameters.
    weights_bytes, parameters_bytes : int
        Weights of Dense and Conv2d, and all other constants, each counted once.
    first_readers : mapping of str to int
        Position of the first stage that reads a stored tensor.
    """

    stages: tuple[Stage, ...]
    live: tuple[Mapping[str, int], ...]
    constant_bytes: tuple[int, ...]
    weights_bytes: int
    parameters_bytes: int
    first_readers: Mapping[str, int]

    @property
    def peak_bytes(self) -> int:
        """Bytes of the largest live set."""
        return max((sum(live.values()) for live in self.live), default=0)


@by_graph
def lay_out(graph: Graph) -> Layout:
    """Return the stages of a graph with liveness and sizes."""
    stages = build_stages(graph)
    constants = {t.name: stored_bytes(t) for t in graph.constants()}
    weights = {s.weights.name for s in stages if s.weights is not None}
    first: dict[str, int] = {}
    for i, stage in enumerate(stages):
        for tensor in stage.reads:
            first.setdefault(tensor.name, i)
    own = tuple(
        sum(constants[t.name] for t in (*stage.parameters, stage.weights) if t is not None)
        for stage in stages
    )
    heavy = sum(constants[name] for name in weights)
    return Layout(stages, live_sets(graph, stages), own, heavy, sum(constants.values()) - heavy,
                  first)  # fmt: skip


def live_sets(graph: Graph, stages: tuple[Stage, ...]) -> tuple[Mapping[str, int], ...]:
    """Return for each stage the bytes of the activations in memory while it runs."""
    roots = stored_as(graph)
    last = {roots[name]: len(stages) for name in graph.outputs}
    for i, stage in enumerate(stages):
        for tensor in stage.reads:
            last[tensor.name] = max(last.get(tensor.name, i), i)
    live = {name: stored_bytes(graph.tensor(name)) for name in graph.inputs}
    sets = []
    for i, stage in enumerate(stages):
        live |= {t.name: stored_bytes(t) for t in (stage.writes, *stage.maps)}
        sets.append(dict(live))
        live = {name: size for name, size in live.items() if last.get(name, -1) > i}
    return tuple(sets)
