"""A graph under construction: append nodes; shapes and dtypes follow from the op table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bnnsim.graph.dtypes import DType
from bnnsim.graph.ir import Graph, Node, Tensor
from bnnsim.graph.ops import infer
from bnnsim.graph.verify import verify


class GrowingGraph:
    """Nodes and tensors so far, the first of which is the input tensor ``input``.

    Parameters
    ----------
    shape : tuple of int
        Of the input, without batch axis, NHWC.
    dtype : DType
        Of the input.
    """

    def __init__(self, shape: tuple[int, ...], dtype: DType) -> None:
        self.tensors: dict[str, Tensor] = {"input": Tensor("input", shape, dtype)}
        self.nodes: list[Node] = []

    def append(
        self,
        op: str,
        name: str,
        activations: Sequence[str],
        constants: Sequence[Tensor],
        attrs: Mapping[str, Any],
    ) -> str:
        """Append a node that reads ``activations``, then ``constants``; return its output.

        Raises
        ------
        GraphError
            If the inputs break the op's rule.
        """
        inputs = [*(self.tensors[x] for x in activations), *constants]
        names = tuple(tensor.name for tensor in inputs)
        node = Node(len(self.nodes), name, op, names, (f"{name}.out",), attrs)
        out = Tensor(node.output, *infer(node, inputs))
        self.tensors.update({tensor.name: tensor for tensor in (*constants, out)})
        self.nodes.append(node)
        return node.output

    def graph(self, name: str, output: str, meta: Mapping[str, Any]) -> Graph:
        """Return the verified graph that computes ``output``."""
        return verify(Graph(name, tuple(self.nodes), self.tensors, ("input",), (output,), meta))
