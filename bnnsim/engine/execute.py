"""Run a planned graph over a batch: in tiles that bound memory, on as many threads as asked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TypeAlias

import numpy as np

from bnnsim.engine import _kernels
from bnnsim.engine.dispatch import resolve
from bnnsim.engine.plan import plan
from bnnsim.engine.reference import check_input
from bnnsim.engine.step import Step
from bnnsim.engine.values import Array, Value, to_dense, to_value
from bnnsim.errors import InputError, message
from bnnsim.graph.draws import Draws, needed
from bnnsim.graph.ir import Graph, Node
from bnnsim.graph.ops import activations_of

TILE_BYTES = 32 * 2**20
_MAX_TILE = 1024
_SPLIT_IMAGES = 32  # per thread; fewer cost less in kernels that share them
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
        Large batches run in as many parts at a time, small ones in kernels of as many threads;
        results do not depend on it.
    keep : collection of str
        Tensors that :meth:`run` will be asked to keep: sums among them are stored, and a kernel of
        its own compares them.

    Raises
    ------
    GraphError, KernelError, InputError
        If constants lack data, the instruction set cannot run here, or ``threads`` is below 1.
    """

    def __init__(
        self, graph: Graph, *, isa: str = "auto", threads: int = 1, keep: Collection[str] = ()
    ) -> None:
        if threads < 1:
            raise InputError(message("threads", threads, "at least 1"))
        self.graph, self.isa, self.threads = graph, resolve(isa), threads
        self.steps: tuple[Step, ...] = plan(graph, self.isa, keep)
        self._turns = _turns(self.steps, graph.outputs)
        self._tile = tile_size(graph, TILE_BYTES)

    @property
    def trace(self) -> tuple[Traced, ...]:
        """The kernel of every node, in execution order."""
        return tuple(
            Traced(node.name, node.op, step.kernel) for step in self.steps for node in step.nodes
        )

    @cached_property
    def unstored(self) -> frozenset[str]:
        """Tensors that no step stores: a kernel forms and consumes them."""
        return frozenset(s.first.output for s in self.steps if s.first is not None)

    @cached_property
    def _drawing(self) -> tuple[Node, ...]:
        """The nodes that need random numbers."""
        return tuple(step.node for step in self.steps if step.draw is not None)

    @cached_property
    def _storing(self) -> Plan:
        """The same graph with a tensor for every node."""
        return Plan(self.graph, isa=self.isa, threads=self.threads, keep=self.graph.tensors)

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
            Names of further tensors to return. Unstored ones take a second plan.
        progress : callable, optional
            Called with the number of images done since the last call.
        draws : Draws, optional
            Which random numbers stochastic nodes use; only graphs that have such nodes need it.
        watch : Watch, optional
            Sees every value of every tile as the kernels leave it, so each node runs in a step of
            its own; changes nothing else.

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
        if not self.unstored.isdisjoint(wanted) or (watch is not None and self.unstored):
            return self._storing.run(x, keep=keep, progress=progress, draws=draws, watch=watch)
        for node in self._drawing:
            needed(node, draws)
        if len(x) == 0:
            return {name: self._empty(name) for name in wanted}
        tile = min(self._tile, len(x))
        if len(x) > self.threads * _SPLIT_IMAGES:
            tile = min(tile, -(-len(x) // self.threads))
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
            before = _kernels.set_threads(self.threads)
            try:
                parts = [run_tile(start) for start in starts]
            finally:
                _kernels.set_threads(before)
        else:  # each thread calls kernels of one thread
            with ThreadPoolExecutor(self.threads) as pool:
                parts = list(pool.map(run_tile, starts))
        if len(parts) == 1 and not any(np.may_share_memory(x, part) for part in parts[0]):
            return dict(zip(wanted, parts[0], strict=True))
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
        given = self.graph.inputs[0]
        values: dict[str, Value] = {given: to_value(x, self.graph.tensor(given).dtype, self.isa)}
        with np.errstate(over="ignore", invalid="ignore"):
            for turn in self._turns:
                operands = [values[name] for name in turn.reads]
                made = values[turn.output] = turn.step.apply(*operands, draws=draws)
                if seen is not None:
                    seen(turn.step, operands, made)
                for name in turn.last_reads:
                    if name not in wanted:
                        del values[name]
        return [to_dense(values[name], self.isa) for name in wanted]


@dataclass(frozen=True, slots=True)
class _Turn:
    """A step with the names that it reads, reads as the last one, and writes."""

    step: Step
    reads: tuple[str, ...]
    last_reads: frozenset[str]
    output: str


def _turns(steps: tuple[Step, ...], outputs: Collection[str]) -> tuple[_Turn, ...]:
    last = {name: i for i, step in enumerate(steps) for name in step.reads}
    return tuple(
        _Turn(
            step,
            step.reads,
            frozenset(n for n in step.reads if last[n] == i and n not in outputs),
            step.node.output,
        )
        for i, step in enumerate(steps)
    )


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
