"""Graphs of shapes and types without weights, built node by node."""

from __future__ import annotations

from typing import Any

from bnnsim.graph.dtypes import BIT, INT16, DType
from bnnsim.graph.growing import GrowingGraph
from bnnsim.graph.ir import Graph, Node, Tensor
from bnnsim.graph.ops import normal_attrs


class Shapes:
    """A chain of ops whose constants have no data."""

    def __init__(self, shape: tuple[int, ...], dtype: DType) -> None:
        self._graph = GrowingGraph(shape, dtype)
        self.last = "input"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of what the last op gives."""
        return self._graph.tensors[self.last].shape

    def add(
        self,
        op: str,
        *constants: tuple[tuple[int, ...], DType],
        also: tuple[str, ...] = (),
        **attrs: object,
    ) -> None:
        """Append one op with constants of these shapes and types; ``also`` names more inputs."""
        i = len(self._graph.nodes)
        name, activations = f"{op.lower()}{i}", (self.last, *also)
        held = [Tensor(f"c{i}_{j}", s, d, constant=True) for j, (s, d) in enumerate(constants)]
        normal = normal_attrs(Node(i, name, op, activations, (), attrs))
        self.last = self._graph.append(op, name, activations, held, normal)

    def conv(
        self, out: int, kernel: int, dtype: DType, *, stride: int = 1, pad: int = 0, groups: int = 1
    ) -> None:
        """Append a convolution with weights of ``dtype``."""
        weight = (out, kernel, kernel, self.shape[-1] // groups)
        self.add("Conv2d", (weight, dtype), stride=(stride, stride), pads=(pad,) * 4, groups=groups)

    def threshold(self, dtype: DType = BIT) -> None:
        """Append a comparison per channel and level, its constants as small as they can be."""
        channels, levels = self.shape[-1], 1 if dtype is BIT else 2
        base: dict[str, Any] = {} if dtype is BIT else {"base": -1}
        self.add("Threshold", ((channels, levels), INT16), ((channels,), BIT),
                 dtype=str(dtype), **base)  # fmt: skip

    def narrow(self, dtype: DType) -> None:
        """Append a Cast to a type that need not hold all values, which no graph to run may have."""
        i, last = len(self._graph.nodes), self._graph.tensors[self.last]
        node = Node(i, f"cast{i}", "Cast", (last.name,), (f"cast{i}.out",), {"dtype": str(dtype)})
        self._graph.tensors[node.output] = Tensor(node.output, last.shape, dtype)
        self._graph.nodes.append(node)
        self.last = node.output

    def graph(self, name: str) -> Graph:
        """Return the graph; it is priced, never run, so sums wider than int32 are left alone."""
        held = self._graph
        return Graph(name, tuple(held.nodes), held.tensors, ("input",), (self.last,), {})
