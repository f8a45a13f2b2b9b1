"""Run a planned graph over a batch: in tiles that bound memory, on as many threads as asked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeAlias

import numpy as np

from bnnsim.engine.plan import Step, plan
from bnnsim.engine.reference import check_input
from bnnsim.engine.values import Array, Value, to_dense
from bnnsim.errors import InputError, message
from bnnsim.graph.draws import Draws, needed
from bnnsim.graph.ir import Graph
from bnnsim.graph.ops import activations_of

TILE_BYTES = 32 * 2**20
_MAX_TILE = 1024
# Called with the number of a tile's first image, a step, what it read and what it made; by several
# threads at the same time where there are any.
Watch: TypeAlias = Callable[[int, Step, Sequence[Value], Value], None]


@dataclass(frozen=True, slots=True)
class Traced:
    """Which kernel ran a node."""

    node: str
    op: str
    kernel: str


class Plan:
    """A graph planned once for an instruction set and a number of threads.

    Parameters
    ----------
    graph : Graph
        Executed as it is; lower it first for thresholds and bit pools.
    isa : str
        ``auto``, ``ref``, ``avx2``, ``avx512`` or ``neon``.
    threads : int
        Parts of the batch that run at the same time; results do not depend on it.

    Raises
    ------
    GraphError, KernelError, InputError
        If constants lack data, the instruction set cannot run here, or ``threads`` is below 1.
    """

    def __init__(self, graph: Graph, *, isa: str = "auto", threads: int = 1) -> None:
        if threads < 1:
            raise InputError(message("threads", threads, "at least 1"))
        self.graph, self.isa, self.threads = graph, isa, threads
        self.steps: tuple[Step, ...] = plan(graph, isa)
        self._tile = tile_size(graph, TILE_BYTES)

    @property
    def trace(self) -> tuple[Traced, ...]:
        """The kernel of every node, in execution order."""
        return tuple(Traced(s.node.name, s.node.op, s.kernel) for s in self.steps)

    def run(
        self,
        x: Array,
        *,
        keep: Collection[str] = (),
        progress: Callable[[int], object] | None = None,
        draws: Draws | None = None,
        watch: Watch | None = None,
    ) -> dict[str, Array]:
        """Run a batch.

        Parameters
        ----------
        x : ndarray, shape (N, features) or (N, H, W, C)
        keep : collection of str
            Names of further tensors to return.
        progress : callable, optional
            Called with the number of images done since the last call.
        draws : Draws, optional
            Which random numbers stochastic nodes use; only graphs that have such nodes need it.
        watch : Watch, optional
            Sees every value of every tile as the kernels leave it; changes nothing.

        Returns
        -------
        dict of str to ndarray
            The graph's outputs and the kept tensors; bits as int8 -1 and +1.
        """
        check_input(self.graph, x)
        wanted = list(dict.fromkeys([*keep, *self.graph.outputs]))
        unknown = [name for name in wanted if name not in self.graph.tensors]
        if unknown:
            raise InputError(message("keep", unknown[0], "names of tensors of the graph"))
        for step in self.steps:
            if step.draw is not None:
                needed(step.node, draws)
        if len(x) == 0:
            return {name: self._empty(name) for name in wanted}
        tile = max(1, min(self._tile, -(-len(x) // self.threads)))
        starts = range(0, len(x), tile)

        def run_tile(start: int) -> list[Array]:
            part = x[start : start + tile]
            part_draws = None if draws is None else draws.at(start)
            seen = None if watch is None else partial(watch, start)
            result = self._run_tile(part, wanted, part_draws, seen)
            if progress is not None:
                progress(len(part))
            return result

        if self.threads == 1 or len(starts) == 1:
            parts = [run_tile(start) for start in starts]
        else:
            with ThreadPoolExecutor(self.threads) as pool:
                parts = list(pool.map(run_tile, starts))
        return {name: np.concatenate([p[i] for p in parts]) for i, name in enumerate(wanted)}

    def _empty(self, name: str) -> Array:
        tensor = self.graph.tensor(name)
        return np.empty((0, *tensor.shape), tensor.dtype.numpy)

    def _run_tile(
        self,
        x: Array,
        wanted: list[str],
        draws: Draws | None,
        seen: Callable[[Step, Sequence[Value], Value], None] | None,
    ) -> list[Array]:
        last_use = _last_uses(self.graph)
        values: dict[str, Value] = {self.graph.inputs[0]: np.ascontiguousarray(x)}
        for i, step in enumerate(self.steps):
            operands = [values[name] for name in step.reads]
            with np.errstate(over="ignore", invalid="ignore"):
                made = values[step.node.output] = step.apply(*operands, draws=draws)
            if seen is not None:
                seen(step, operands, made)
            for name in set(step.reads):
                if last_use[name] == i and name not in wanted:
                    del values[name]
        return [to_dense(values[name], self.isa) for name in wanted]


def _last_uses(graph: Graph) -> dict[str, int]:
    """Return for every activation that is read the position of its last reader."""
    return {name: i for i, node in enumerate(graph.nodes) for name in activations_of(node)}


def tile_size(graph: Graph, budget: int) -> int:
    """Return how many images at once keep what is live at once near ``budget`` bytes."""
    sizes = {
        t.name: t.size * (1 if t.dtype.is_integer and t.dtype.bits <= 8 else 4)
        for t in graph.tensors.values()
        if not t.constant
    }
    last_use = _last_uses(graph)
    live, largest = {graph.inputs[0]}, 1
    for i, node in enumerate(graph.nodes):
        live.add(node.output)
        largest = max(largest, sum(sizes[name] for name in live))
        live -= {name for name in activations_of(node) if last_use[name] == i}
    return int(min(_MAX_TILE, max(1, budget // largest)))
