"""A planned node, as the planner makes it and the executor runs it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bnnsim.engine.values import Array, Value
from bnnsim.graph.draws import Draws, needed
from bnnsim.graph.ir import Graph, Node, Tensor
from bnnsim.graph.ops import activations_of


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A planned node, or two: a function from the values of its activations to that of its output.

    Parameters
    ----------
    node : Node
    kernel : str
    run : callable or None
        Of the activations alone.
    draw : callable or None
        Of the activation and the random numbers; set, in the place of ``run``, where the node is
        stochastic.
    first : Node, optional
        The node before ``node`` that the same kernel computes; its output is never stored.
    """

    node: Node
    kernel: str
    run: Callable[..., Value] | None
    draw: Callable[[Any, Draws], Value] | None = None
    first: Node | None = None

    @property
    def reads(self) -> tuple[str, ...]:
        """The names of the step's activations, in the order that ``apply`` takes them."""
        return activations_of(self.first or self.node)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes that the step computes."""
        return (self.node,) if self.first is None else (self.first, self.node)

    def apply(self, *values: Value, draws: Draws | None) -> Value:
        """Return the value of the node's output."""
        if self.draw is not None:
            (x,) = values
            return self.draw(x, needed(self.node, draws))
        assert self.run is not None
        return self.run(*values)


def constant(graph: Graph, node: Node, index: int) -> Array:
    """Return the data of a constant input of a node."""
    data = graph.tensor(node.inputs[index]).data
    assert data is not None  # reference.check_weights
    return data


def fan_in(weight: Tensor) -> int:
    """Return how many products one output of a weight sums."""
    return weight.size // weight.shape[0]
