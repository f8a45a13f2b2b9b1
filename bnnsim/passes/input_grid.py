"""Declare the fixed-point grid of a float32 input, so that its first layers run in integers.

A FromGrid at the input gives the integers n of ``value = scale * (n - zero)``. What moves elements
and every layer of integer weights reads n itself: its sums are exact, and ``scale * (sum - zero *
sum of weights)`` follows as a Bias and a Scale, which thresholds absorb. Every other node reads
the value again, ``float32(n - zero) * float32(scale)``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bnnsim.errors import InputError, message
from bnnsim.graph.dtypes import FLOAT32
from bnnsim.graph.grids import Grid, grid_of, parse_grid
from bnnsim.graph.ir import Graph, Node, Tensor
from bnnsim.graph.ops import activations_of, normal_attrs
from bnnsim.graph.verify import verify
from bnnsim.passes.layers import LINEAR
from bnnsim.passes.rewriter import Rewriter

# A positive scale keeps the order that a maximum needs.
_MOVES = ("MaxPool", "Slice", "ChannelShuffle", "Flatten", "Reshape")
_EXACT = 2**24  # integers up to here are numbers of float32, in which the zero is taken off
_NODE = "input_grid"


def with_input_grid(graph: Graph, grid: Grid | str) -> Graph:
    """Return ``graph`` with its float32 input declared to lie on a grid.

    Parameters
    ----------
    graph : Graph
        A model graph.
    grid : Grid or str
        Or its name: see :func:`bnnsim.graph.grids.parse_grid`.

    Returns
    -------
    Graph
        The same input. Values off the grid are refused when it runs. Sums of layers with integer
        weights are exact, and rounded to float32 once before the scale.

    Raises
    ------
    InputError
        If the input is not float32 or has a grid, if a layer pads with a value off the grid, or if
        the zero cannot be taken off a layer's sums exactly.
    """
    grid = parse_grid(grid) if isinstance(grid, str) else grid
    (name,) = graph.inputs
    place = f"{graph.name}: input grid"
    if graph.tensor(name).dtype != FLOAT32:
        rule = "a network whose input is float32"
        remedy = "Its input is of integers already: leave the grid out."
        raise InputError(message(place, str(graph.tensor(name).dtype), rule, remedy))
    if any(node.op == "FromGrid" for node in graph.consumers(name)):
        raise InputError(message(place, grid.rule, "a network that declares no grid yet"))
    twin = _OnGrid(graph)
    attrs = {"scale": grid.scale, "zero": grid.zero, "dtype": grid.dtype}
    twin.out.where[name] = twin.out.derive(name, _NODE, "FromGrid", attrs=attrs).name
    twin.stages[name] = (grid, len(_steps(grid)))
    return verify(twin.rewritten().with_meta(**twin.known()), known=graph)


def sums_of_integers(graph: Graph) -> Graph:
    """Let layers whose weights a mode made integers read the integers of a declared grid.

    Raises
    ------
    InputError
        See :func:`with_input_grid`.
    """
    if not any(node.op == "FromGrid" for node in graph.nodes):
        return graph
    return _OnGrid(graph).rewritten()


def _steps(grid: Grid) -> list[tuple[str, str, float]]:
    """Return (label, op, operand) of what makes values of the grid's integers."""
    zero = [("zero", "Bias", -float(grid.zero))] if grid.zero else []
    return [*zero, ("scale", "Scale", grid.scale)]


class _OnGrid:
    """A graph under construction whose tensors may hold n where the source's hold values.

    ``stages`` says of such tensors of the source which grid they are on, and how many of its steps
    lie between n and what the source holds.
    """

    def __init__(self, graph: Graph) -> None:
        self.out = Rewriter(graph)
        self.stages: dict[str, tuple[Grid, int]] = {}

    def rewritten(self) -> Graph:
        """Return the new graph."""
        out, graph = self.out, self.out.source
        for node in graph.nodes:
            self._rewrite(node)
        for name in graph.outputs:
            out.where[name] = self._value(name).name
        return out.graph()

    def known(self) -> dict[str, Any]:
        """Return the meta entries that say what tensors are in the source, of those that still are.

        (`bnnsim.frontends.pairs`; layers that read n, and what moves it, hold other numbers now.)
        """
        where, meta = self.out.where, self.out.source.meta
        return {
            kind: {t: pair for t, pair in meta[kind].items() if where.get(t) == t
                   and t not in self.stages}
            for kind in ("torch", "onnx") if isinstance(meta.get(kind), dict)
        }  # fmt: skip

    def _rewrite(self, node: Node) -> None:
        out, names = self.out, activations_of(node)
        grid, stage = self.stages.get(names[0], (None, 0))
        steps = [] if grid is None else _steps(grid)
        if node.op == "FromGrid":
            out.emit(node)
            self.stages[node.output] = (grid_of(normal_attrs(node)), 0)
        elif grid is not None and node.op in _MOVES:
            out.emit(node)
            self.stages[node.output] = (grid, stage)
        elif grid is not None and stage < len(steps) and self._is(node, steps[stage]):
            out.alias(node)
            self.stages[node.output] = (grid, stage + 1)
        elif grid is not None and stage == len(steps) and self._sums_integers(node):
            self._layer(node, grid)
        else:
            held = {name: out.where[name] for name in names}
            out.where.update({name: self._value(name).name for name in names})
            out.emit(node)
            out.where.update(held)

    def _is(self, node: Node, step: tuple[str, str, float]) -> bool:
        """Whether a node is that step of a grid."""
        if node.op != step[1]:
            return False
        data = self.out.source.tensor(node.inputs[1]).data
        return data is not None and bool((data == np.float32(step[2])).all())

    def _sums_integers(self, node: Node) -> bool:
        weight = self.out.source.tensor(node.inputs[1]) if node.op in LINEAR else None
        return weight is not None and weight.dtype.is_integer

    def _value(self, name: str) -> Tensor:
        """Return what a tensor of the source holds, computed once for all its readers."""
        now = self.out.tensors[self.out.where[name]]
        grid, stage = self.stages.get(name, (None, 0))
        for label, op, operand in [] if grid is None else _steps(grid)[:stage]:
            made = f"{now.name.removesuffix('.out')}.{label}"
            if f"{made}.out" not in self.out.tensors:
                self.out.derive(now.name, made, op, [_vector(made, now.shape[-1], operand)])
            now = self.out.tensors[f"{made}.out"]
        return now

    def _layer(self, node: Node, grid: Grid) -> None:
        """Append a layer over n, its zero taken off and its scale after the sum."""
        out, weight = self.out, self.out.source.tensor(node.inputs[1])
        now = out.emit(node, attrs=self._padded(node, grid))
        outputs = weight.shape[0]
        if grid.zero:
            name = f"{node.name}.zero"
            bias = Tensor(f"{name}.bias", (outputs,), FLOAT32, True, self._zeros(node, grid))
            now = out.derive(now.name, name, "Bias", [bias])
        scale = _vector(f"{node.name}.grid", outputs, grid.scale)
        now = out.derive(now.name, f"{node.name}.grid", "Scale", [scale])
        out.where[node.output] = now.name

    def _padded(self, node: Node, grid: Grid) -> Mapping[str, Any]:
        """Return a layer's attributes with its padding as an integer of the grid."""
        if node.op != "Conv2d" or not any(normal_attrs(node)["pads"]):
            return node.attrs
        pad = normal_attrs(node)["pad_value"]
        level = grid.level(pad)
        if level is None:
            rule = f"a padding value on the input's grid: {grid.rule}"
            remedy = "Declare a grid that holds it, or none."
            raise InputError(message(self._place(node), float(pad), rule, remedy))
        return {**node.attrs, "pad_value": level}

    def _zeros(self, node: Node, grid: Grid) -> np.ndarray | None:
        """Return what the zero adds to each sum, negated: (outputs,) float32, exact."""
        data = self.out.source.tensor(node.inputs[1]).data
        if data is None:
            return None
        rows = data.reshape(len(data), -1).astype(np.int64)
        farthest = max(abs(end - offset) for end in grid.ends for offset in (0, grid.zero))
        reach = int(np.abs(rows).sum(axis=1).max(initial=0)) * max(farthest, abs(grid.zero))
        if reach > _EXACT:
            rule = f"sums of at most {_EXACT}, from which a float32 takes the zero off exactly"
            remedy = "Declare a grid whose zero is 0, such as that of centred inputs."
            raise InputError(message(self._place(node), f"sums of up to {reach}", rule, remedy))
        return (-grid.zero * rows.sum(axis=1)).astype(np.float32)

    def _place(self, node: Node) -> str:
        return f"{self.out.source.name}: input grid: {node.describe()}"


def _vector(name: str, channels: int, value: float) -> Tensor:
    return Tensor(f"{name}.factor", (channels,), FLOAT32, True, np.full(channels, value, "f4"))
