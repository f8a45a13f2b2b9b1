"""The model graph: frozen tensors and nodes with stable ids, checked by ``verify``.

Activation tensors have shapes without the batch axis: ``(features,)`` or ``(H, W, C)``; constants
have their full shape. A constant may have no data (a network of the zoo without weights): it can
be costed, not executed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from bnnsim.errors import GraphError, message
from bnnsim.graph.dtypes import DType

WHAT_IF = "what-if: not trained in this precision, no accuracy"

if TYPE_CHECKING:
    from bnnsim.graph.summary import Inspection


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A named value: an activation, or a constant with its data.

    Parameters
    ----------
    name : str
        Unique in its graph.
    shape : tuple of int
        Without the batch axis for activations.
    dtype : DType
    constant : bool
        Whether the value belongs to the graph instead of being computed.
    data : ndarray, optional
        The value of a constant, in ``dtype.numpy``; bits are stored as int8 -1 and +1.
    """

    name: str
    shape: tuple[int, ...]
    dtype: DType
    constant: bool = False
    data: np.ndarray | None = None

    @property
    def size(self) -> int:
        """Number of elements (of one image, for an activation)."""
        return math.prod(self.shape)

    @property
    def bits(self) -> int:
        """Bits that the elements need, without padding to words."""
        return self.size * self.dtype.bits


@dataclass(frozen=True, slots=True)
class Node:
    """One operation. ``id`` is fixed at import and kept by every pass."""

    id: int
    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "attrs", MappingProxyType(dict(self.attrs)))

    @property
    def output(self) -> str:
        """The name of the only output."""
        (name,) = self.outputs
        return name

    def describe(self) -> str:
        """Return how messages name this node."""
        return f"node {self.name!r} ({self.op})"


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Graph:
    """A network: nodes in execution order over named tensors.

    Parameters
    ----------
    name : str
    nodes : tuple of Node
        Topologically ordered.
    tensors : mapping of str to Tensor
    inputs, outputs : tuple of str
    meta : mapping
        JSON values: where the graph comes from, its mode, how a class is decided.
    """

    name: str
    nodes: tuple[Node, ...]
    tensors: Mapping[str, Tensor]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "tensors", MappingProxyType(dict(self.tensors)))
        object.__setattr__(self, "meta", MappingProxyType(dict(self.meta)))

    def tensor(self, name: str) -> Tensor:
        """Return the tensor called ``name``."""
        return self.tensors[name]

    def activation(self, node: Node) -> Tensor:
        """Return the tensor that the node's first input names."""
        return self.tensors[node.inputs[0]]

    def result(self, node: Node) -> Tensor:
        """Return the tensor that the node's only output names."""
        return self.tensors[node.output]

    def producer(self, tensor: str) -> Node | None:
        """Return the node that computes ``tensor``, or None for inputs and constants."""
        return next((node for node in self.nodes if tensor in node.outputs), None)

    def consumers(self, tensor: str) -> tuple[Node, ...]:
        """Return the nodes that read ``tensor``, in execution order."""
        return tuple(node for node in self.nodes if tensor in node.inputs)

    def constants(self) -> tuple[Tensor, ...]:
        """Return the constant tensors, by name."""
        return tuple(t for _, t in sorted(self.tensors.items()) if t.constant)

    @property
    def has_weights(self) -> bool:
        """Whether every constant has data, so that the graph can be executed."""
        return all(t.data is not None for t in self.tensors.values() if t.constant)

    def with_nodes(self, nodes: Iterable[Node], tensors: Iterable[Tensor] = ()) -> Graph:
        """Return a graph of these nodes; ``tensors`` are added or replaced, unused ones dropped.

        Nodes are put in topological order, ties by their position in ``nodes``.
        """
        merged = {**self.tensors, **{t.name: t for t in tensors}}
        ordered = topological_order(nodes, self.inputs, merged)
        used = {name for node in ordered for name in (*node.inputs, *node.outputs)}
        used.update(self.inputs, self.outputs)
        kept = {name: merged[name] for name in merged if name in used}
        return replace(self, nodes=ordered, tensors=kept)

    def summary(self) -> Inspection:
        """Return, layer by layer, what this graph is and why (see ``bnnsim.inspect``)."""
        from bnnsim.graph.summary import summarize

        return summarize(self)

    def with_meta(self, **entries: Any) -> Graph:
        """Return this graph with the given meta entries set."""
        return replace(self, meta={**self.meta, **entries})


def topological_order(
    nodes: Iterable[Node], inputs: Iterable[str], tensors: Mapping[str, Tensor]
) -> tuple[Node, ...]:
    """Order nodes so that each comes after what it reads.

    Raises
    ------
    GraphError
        If some nodes can never run: a cycle, or an input that nothing produces.
    """
    known = set(inputs) | {name for name, t in tensors.items() if t.constant}
    waiting: list[Node] = list(nodes)
    ordered: list[Node] = []
    while waiting:
        blocked = []
        for node in waiting:
            if all(name in known for name in node.inputs):
                ordered.append(node)
                known.update(node.outputs)
            else:
                blocked.append(node)
        if len(blocked) == len(waiting):
            node = blocked[0]
            missing = [name for name in node.inputs if name not in known]
            rule = "inputs that an earlier node, the graph's inputs or a constant provide"
            remedy = "Look for a cycle or a misspelt name."
            raise GraphError(message(node.describe(), missing, rule, remedy))
        waiting = blocked
    return tuple(ordered)
