"""Run a planned graph over a batch: in tiles that bound memory, on as many threads as asked."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np

from bnnsim.engine import _kernels
from bnnsim.engine.dispatch import resolve
from bnnsim.engine.plan import plan
from bnnsim.engine.reference import check_input
from bnnsim.engine.segments import Schedule, Segment, schedule
from bnnsim.engine.step import Place, Step
from bnnsim.engine.values import Array, Value, arrays_of, to_dense, to_value
from bnnsim.errors import InputError, message
from bnnsim.graph.draws import Draws, needed
from bnnsim.graph.ir import Graph, Node
from bnnsim.graph.ops import activations_of

TILE_BYTES = 32 * 2**20  # of what is alive at once outside arenas
_ARENA_BYTES = 2 * 2**20  # of the arena of one thread: smaller ones reread weights more often
_MAX_TILE = 1024
_TURN_PARTS = 64  # parts of one call into C, so that it ends soon
_LINE = 64
_SPLIT_SHARE = 0.1  # of numpy steps in the time of a run; less is left to one thread
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
    fast_float : bool
        Form the sums of float layers in float32: faster, and may differ in their last bits.

    Raises
    ------
    GraphError, KernelError, InputError
        If constants lack data, the instruction set cannot run here, or ``threads`` is below 1.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        isa: str = "auto",
        threads: int = 1,
        keep: Collection[str] = (),
        fast_float: bool = False,
    ) -> None:
        if threads < 1:
            raise InputError(message("threads", threads, "at least 1"))
        self.graph, self.isa, self.threads = graph, resolve(isa), threads
        self.steps: tuple[Step, ...] = plan(graph, self.isa, keep, fast_float=fast_float)
        self.fast_float = fast_float
        self._schedules: dict[tuple[frozenset[str], bool], Schedule] = {}
        self._arenas: list[Array] = []
        self._tile = tile_size(graph, TILE_BYTES)
        self._arena_budget = min(_ARENA_BYTES, TILE_BYTES)

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
        return tuple(step.node for step in self.steps if step.draws)

    @cached_property
    def _storing(self) -> Plan:
        """The same graph with a tensor for every node."""
        return Plan(
            self.graph, isa=self.isa, threads=self.threads, keep=self.graph.tensors,
            fast_float=self.fast_float,
        )  # fmt: skip

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
        chosen = self._schedule(wanted, single=watch is not None)
        result = {
            name: np.empty((len(x), *buffer.shape), buffer.dtype)
            for name, buffer in chosen.wanted.items()
        }
        if len(x) > 0:
            self._run_tiles(_Run(self, chosen, x, result, draws, watch, self.threads), progress)
        return result

    def step_seconds(self, x: Array, *, draws: Draws | None = None) -> tuple[float, ...]:
        """Run a batch step by step and return the seconds of each, in the order of :attr:`steps`.

        Steps are those of :meth:`run`, but each is a call of its own and leaves its output as an
        array; the first one's time contains the packing of the input.
        """
        check_input(self.graph, x)
        seconds = {step.node.name: 0.0 for step in self.steps}
        last = 0.0

        def tick(_start: int, step: Step, _read: Sequence[Value], _made: Value) -> None:
            nonlocal last
            now = time.perf_counter()
            seconds[step.node.name] += now - last
            last = time.perf_counter()

        chosen = self._schedule(self.graph.outputs, single=True)
        result = {n: np.empty((len(x), *b.shape), b.dtype) for n, b in chosen.wanted.items()}
        run = _Run(self, chosen, x, result, draws, tick, self.threads)
        tile = min(len(x), self._tile)
        with self._threads_of_kernels():
            for start in range(0, len(x), tile):
                last = time.perf_counter()
                run.tile(start, min(start + tile, len(x)))
        return tuple(seconds.values())

    @contextmanager
    def _threads_of_kernels(self) -> Iterator[None]:
        """Let kernels use the plan's threads."""
        before = _kernels.set_threads(self.threads)
        try:
            yield
        finally:
            _kernels.set_threads(before)

    def _run_tiles(self, run: _Run, progress: Callable[[int], object] | None) -> None:
        images = len(run.x)
        tile = self._at_once(run.schedule, images)
        splits = tile < images and self._splits(run.schedule, images)
        if splits:
            run = replace(run, threads=1)  # each thread calls kernels of one thread

        def run_tile(start: int) -> None:
            stop = min(start + tile, images)
            run.tile(start, stop)
            if progress is not None:
                progress(stop - start)

        if splits:
            with ThreadPoolExecutor(self.threads) as pool:
                list(pool.map(run_tile, range(0, images, tile)))
            return
        with self._threads_of_kernels():
            for start in range(0, images, tile):
                run_tile(start)

    def _schedule(self, wanted: Collection[str], *, single: bool) -> Schedule:
        """Return the turns that leave ``wanted`` as arrays."""
        key = (frozenset(wanted), single)
        if key not in self._schedules:
            self._schedules[key] = schedule(
                self.graph, self.steps, wanted, self._arena_budget, single=single
            )
        return self._schedules[key]

    def _at_once(self, chosen: Schedule, images: int) -> int:
        """Return how many images go through all turns before the next ones."""
        runs = [turn.runs for turn in chosen.turns]
        if len(runs) == 1 and isinstance(runs[0], Segment):
            return min(images, runs[0].tile * _TURN_PARTS)
        tile = min(images, self._tile)
        return min(tile, -(-images // self.threads)) if self._splits(chosen, images) else tile

    def _splits(self, chosen: Schedule, images: int) -> bool:
        """Return whether threads take tiles, for the sake of numpy, and kernels one thread each."""
        worth = chosen.numpy_share > _SPLIT_SHARE and images > self.threads * _SPLIT_IMAGES
        return self.threads > 1 and worth

    def least_bytes(self, images: int) -> int:
        """Return the bytes that must be alive at one moment of a run of a batch, arenas included.

        The inputs and results of the whole batch are not counted in, nor what numpy takes within
        a step.
        """
        chosen = self._schedule(self.graph.outputs, single=False)
        at_once = self._at_once(chosen, images)
        alive, most = dict.fromkeys(chosen.tensors[self.graph.inputs[0]].places, 0), 0
        for turn in chosen.turns:
            arena = 0
            if isinstance(turn.runs, Segment):
                made = {place: b.nbytes for place, b in turn.runs.makes.items()}
                arena = turn.runs.least_bytes * turn.runs.images_at_once(at_once, self.threads)
            else:
                stored = chosen.tensors[turn.runs.node.output]
                sizes = (buffer.nbytes for buffer in stored.form.buffers)
                made = dict(zip(stored.places, sizes, strict=True))
            alive |= {place: n for place, n in made.items() if place not in chosen.direct}
            most = max(most, at_once * sum(alive.values()) + arena)
            alive = {place: n for place, n in alive.items() if place not in turn.done}
        return most

    def take_arena(self, nbytes: int) -> Array:
        """Return memory of at least ``nbytes`` that starts on a cache line, to be given back."""
        arena = self._arenas.pop() if self._arenas else None
        if arena is not None and arena.nbytes >= nbytes:
            return arena
        block = np.empty(nbytes + _LINE, np.uint8)
        skip = -block.ctypes.data % _LINE
        return block[skip : skip + nbytes]

    def give_arena(self, arena: Array) -> None:
        """Keep an arena for the next run."""
        self._arenas.append(arena)


@dataclass(frozen=True, slots=True, eq=False)
class _Run:
    """One run of a schedule: what goes in, and where results go."""

    plan: Plan
    schedule: Schedule
    x: Array
    result: dict[str, Array]
    draws: Draws | None
    watch: Watch | None
    threads: int

    def tile(self, start: int, stop: int) -> None:
        """Run images ``start`` to ``stop - 1`` through all turns."""
        tensors, images = self.schedule.tensors, stop - start
        arrays = self._given(start, stop)
        draws = None if self.draws is None else self.draws.at(start)
        for turn in self.schedule.turns:
            if isinstance(turn.runs, Segment):
                self._segment(turn.runs, arrays, start, stop, draws)
            else:
                self._numpy(turn.runs, arrays, images, draws)
            if self.watch is not None:
                step = turn.step
                operands = [tensors[name].value(arrays, images) for name in step.reads]
                made = tensors[step.node.output].value(arrays, images)
                self.watch(start, step, operands, made)
            for place in turn.done:
                del arrays[place]
        for name in self.schedule.indirect:
            value = tensors[name].value(arrays, images)
            self.result[name][start:stop] = to_dense(value, self.plan.isa)

    def _given(self, start: int, stop: int) -> dict[Place, Array]:
        stored = self.schedule.tensors[self.plan.graph.inputs[0]]
        value = to_value(self.x[start:stop], stored.form, self.plan.isa)
        return dict(zip(stored.places, arrays_of(value), strict=True))

    def _numpy(
        self, step: Step, arrays: dict[Place, Array], images: int, draws: Draws | None
    ) -> None:
        tensors = self.schedule.tensors
        operands = [tensors[name].value(arrays, images) for name in step.reads]
        with np.errstate(over="ignore", invalid="ignore"):
            made = step.apply(*operands, draws=draws)
        arrays.update(zip(tensors[step.node.output].places, arrays_of(made), strict=True))

    def _segment(
        self,
        segment: Segment,
        arrays: dict[Place, Array],
        start: int,
        stop: int,
        draws: Draws | None,
    ) -> None:
        images = stop - start
        for place, buffer in segment.makes.items():
            shape = (images, *buffer.shape)
            name = self.schedule.direct.get(place)
            arrays[place] = (
                np.empty(shape, buffer.dtype) if name is None
                else self.result[name][start:stop].reshape(shape)
            )  # fmt: skip
        program = segment.program
        if program is None:
            return
        arena = self.plan.take_arena(program.arena_bytes(images, self.threads))
        try:
            buffers = [arrays[place] for place in segment.arrays]
            stream = () if draws is None else (draws.first_image, draws.seed, draws.sample)
            program.run(images, buffers, arena, self.threads, *stream)
        finally:
            self.plan.give_arena(arena)


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
