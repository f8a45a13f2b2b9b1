"""Rebuild a graph node by node while its dtypes change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from bnnsim.graph.dtypes import FLOAT32, DType
from bnnsim.graph.ir import Graph, Node, Tensor
from bnnsim.graph.ops import activations_of, constants_of, infer


class Rewriter:
    """Collects the nodes of a new graph; dtypes of results are inferred anew.

    Parameters
    ----------
    source : Graph
        The graph being rewritten. Its activation names stay; ``where`` maps each of them to the
        tensor of the new graph that now stands for it.
    """

    def __init__(self, source: Graph) -> None:
        self.source = source
        self.nodes: list[Node] = []
        self.tensors: dict[str, Tensor] = {name: source.tensor(name) for name in source.inputs}
        self.where: dict[str, str] = {name: name for name in source.inputs}
        self._next_id = 1 + max((node.id for node in source.nodes), default=-1)

    def current(self, node: Node, index: int = 0) -> Tensor:
        """Return the new tensor that an activation of the node now is."""
        return self.tensors[self.where[activations_of(node)[index]]]

    def emit(
        self,
        node: Node,
        *,
        op: str | None = None,
        attrs: Mapping[str, Any] | None = None,
        constants: Sequence[Tensor] | None = None,
        reads: Tensor | None = None,
    ) -> Tensor:
        """Append ``node`` with another op, attributes or constants; return its result.

        ``reads`` is a tensor of the new graph to read instead of what stands for the activation.
        """
        if constants is None:
            constants = [self.source.tensor(name) for name in constants_of(node)]
        activations = [self.where[name] for name in activations_of(node)]
        if reads is not None:
            activations[0] = reads.name
        fresh = replace(
            node,
            op=op or node.op,
            attrs=node.attrs if attrs is None else attrs,
            inputs=(*activations, *(t.name for t in constants)),
        )
        return self._append(fresh, constants)

    def insert(
        self,
        before: Node,
        name: str,
        op: str,
        constants: Sequence[Tensor] = (),
        attrs: Mapping[str, Any] | None = None,
        index: int = 0,
    ) -> Tensor:
        """Append a new node that reads an activation of ``before`` and stands in its place."""
        source = activations_of(before)[index]
        result = self.derive(self.where[source], name, op, constants, attrs)
        self.where[source] = result.name
        return result

    def derive(
        self,
        tensor: str,
        name: str,
        op: str,
        constants: Sequence[Tensor] = (),
        attrs: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """Append a new node that reads ``tensor`` of the new graph; other readers keep theirs.

        ``constants`` are its other inputs; they may be activations where the op reads several.
        """
        inputs = (tensor, *(t.name for t in constants))
        node = Node(self._next_id, name, op, inputs, (f"{name}.out",), attrs or {})
        self._next_id += 1
        return self._append(node, constants)

    def cast(self, node: Node, dtype: DType) -> None:
        """Insert Casts before ``node`` where its activations do not have ``dtype`` already."""
        for index in range(len(activations_of(node))):
            now = self.current(node, index).dtype
            if (now.kind, now.bits) != (dtype.kind, dtype.bits):
                name = f"{node.name}.cast{index or ''}"
                self.insert(node, name, "Cast", attrs={"dtype": str(dtype)}, index=index)

    def alias(self, node: Node) -> None:
        """Drop ``node``: its result is its activation."""
        self.where[node.output] = self.where[node.inputs[0]]

    def unknown(self, node: Node, role: str) -> Tensor:
        """Return a per-channel float constant without data, which makes the twin cost-only."""
        channels = self.source.result(node).shape[-1]
        return Tensor(f"{node.name}.{role}.synthetic", (channels,), FLOAT32, True)

    def graph(self) -> Graph:
        """Return the new graph."""
        outputs = tuple(self.where[name] for name in self.source.outputs)
        return replace(self.source, nodes=tuple(self.nodes), tensors=self.tensors, outputs=outputs)

    def _append(self, node: Node, constants: Sequence[Tensor]) -> Tensor:
        self.tensors.update({t.name: t for t in constants})
        shape, dtype = infer(node, [self.tensors[name] for name in node.inputs])
        result = Tensor(node.output, shape, dtype)
        self.tensors[result.name] = result
        self.where[result.name] = result.name
        self.nodes.append(node)
        return result
