"""Cut planned steps into turns: runs of compiled steps that one call into C makes, and numpy steps.

Buffers that only one run of compiled steps touches lie in the arena of the thread that runs it. All
others are arrays: the input, what a numpy step reads or makes, and what the caller wants to see.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TypeAlias

from bnnsim.engine import _kernels
from bnnsim.engine.arena import Layout, Lifetime, layout, least_bytes
from bnnsim.engine.step import Place, Step, fan_in, tensor_form
from bnnsim.engine.values import Array, Buffer, Form, Value
from bnnsim.graph.ir import Graph

_MAX_TILE = 1024
_Placed: TypeAlias = tuple[_kernels.Call, list[Place], list[Place]]


# Rough times of numpy, in products of bits, the unit of Program.work: of an element that a step
# makes, and of a product that it sums.
_ELEMENT_WORK, _PRODUCT_WORK = 1000, 50


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor that a step stores: its form, and the arrays or places in an arena that hold it.

    A view has the places of its input.
    """

    form: Form
    places: tuple[Place, ...]
    shapes: tuple[tuple[int, ...], ...]

    def value(self, arrays: Mapping[Place, Array], images: int) -> Value:
        """Return the tensor's value, all its places being arrays."""
        held = [
            arrays[place].reshape(images, *shape)
            for place, shape in zip(self.places, self.shapes, strict=True)
        ]
        return self.form.value(held)


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """Compiled steps that one call runs.

    Parameters
    ----------
    steps : tuple of Step
    program : Program or None
        None where all steps are views.
    arrays : tuple of Place
        The program's buffers that are arrays, in the order in which it takes them.
    makes : mapping of Place to Buffer
        Those of them that it writes.
    arena : Layout
        Of one image.
    least_bytes : int
        The most bytes of one image that its steps need at one moment, in the arena.
    tile : int
        Images that a thread takes at a time.
    """

    steps: tuple[Step, ...]
    program: _kernels.Program | None
    arrays: tuple[Place, ...]
    makes: Mapping[Place, Buffer]
    arena: Layout[Place]
    least_bytes: int
    tile: int

    def images_at_once(self, images: int, threads: int) -> int:
        """Return how many images of a batch lie in arenas at the same time."""
        return 0 if self.program is None else math.prod(self.program.parts(images, threads))


@dataclass(frozen=True, slots=True, eq=False)
class Turn:
    """A segment or a numpy step, and the arrays that nothing needs after it."""

    runs: Segment | Step
    done: tuple[Place, ...]

    @property
    def step(self) -> Step:
        """The last of its steps."""
        return self.runs.steps[-1] if isinstance(self.runs, Segment) else self.runs


@dataclass(frozen=True, slots=True, eq=False)
class Schedule:
    """The turns of a plan for what is wanted of it.

    Parameters
    ----------
    turns : tuple of Turn
    tensors : mapping of str to Stored
    wanted : mapping of str to Buffer
        Results, as plain arrays.
    direct : mapping of Place to str
        Arrays that are results as they lie.
    numpy_share : float
        Of the time that an image takes, roughly.
    """

    turns: tuple[Turn, ...]
    tensors: Mapping[str, Stored]
    wanted: Mapping[str, Buffer]
    direct: Mapping[Place, str]
    numpy_share: float

    @property
    def indirect(self) -> tuple[str, ...]:
        """The results that are copied, or unpacked."""
        return tuple(name for name in self.wanted if name not in self.direct.values())


def schedule(
    graph: Graph, steps: Sequence[Step], wanted: Collection[str], budget: int, *, single: bool
) -> Schedule:
    """Return the turns of ``steps``.

    Parameters
    ----------
    graph : Graph
    steps : sequence of Step
    wanted : collection of str
        Tensors that must be arrays after the run.
    budget : int
        Bytes of an arena, if an image takes less.
    single : bool
        Give each step a turn of its own, and every tensor arrays.
    """
    tensors = _stored(graph, steps)
    arrays = tensors if single else wanted
    turns = tuple(_Cutter(tensors, list(_groups(steps, single)), arrays).turns(budget))
    made = {place for t in turns if isinstance(t.runs, Segment) for place in t.runs.makes}
    results = {name: Buffer(tensors[name].form.shape, tensors[name].form.dtype) for name in wanted}
    direct = {
        tensors[name].places[0]: name
        for name in wanted
        if tensors[name].form.kind == "array" and tensors[name].places[0] in made
    }
    return Schedule(turns, tensors, results, direct, _numpy_share(graph, turns))


def _stored(graph: Graph, steps: Sequence[Step]) -> dict[str, Stored]:
    tensors: dict[str, Stored] = {}
    for name, step in [(graph.inputs[0], None), *((step.node.output, step) for step in steps)]:
        form = tensor_form(graph, name)
        shapes = tuple(buffer.shape for buffer in form.buffers)
        own = tuple((name, i) for i in range(len(shapes)))
        is_view = step is not None and step.is_view
        places = tensors[step.reads[0]].places if step is not None and is_view else own
        tensors[name] = Stored(form, places, shapes)
    return tensors


def _numpy_share(graph: Graph, turns: Sequence[Turn]) -> float:
    compiled = numpy = 0.0
    for turn in turns:
        if isinstance(turn.runs, Segment):
            compiled += turn.runs.program.work if turn.runs.program is not None else 0.0
            continue
        node = turn.runs.node
        products = fan_in(graph.tensor(node.inputs[1])) if node.op in ("Dense", "Conv2d") else 0
        numpy += graph.result(node).size * (_ELEMENT_WORK + _PRODUCT_WORK * products)
    return numpy / (compiled + numpy) if numpy else 0.0


def _groups(steps: Sequence[Step], single: bool) -> Iterator[tuple[Step, ...]]:
    for is_numpy, group in groupby(steps, lambda step: step.is_numpy):
        members = tuple(group)
        if is_numpy or single:
            yield from ((step,) for step in members)
        else:
            yield members


@dataclass(frozen=True, slots=True)
class _Cutter:
    tensors: Mapping[str, Stored]
    groups: list[tuple[Step, ...]]
    wanted: Collection[str]

    def turns(self, budget: int) -> Iterator[Turn]:
        last: dict[Place, int] = {}
        touched: dict[Place, set[int]] = {}
        for i, group in enumerate(self.groups):
            for place in {p for step in group for p in self._touches(step)}:
                last[place] = i
                touched.setdefault(place, set()).add(i)
        kept = {place for name in self.wanted for place in self.tensors[name].places}
        given = self.tensors[next(iter(self.tensors))].places
        shared = {place for place, where in touched.items() if len(where) > 1}
        arrays = kept | shared | set(given)
        for i, group in enumerate(self.groups):
            done = tuple(p for p, end in last.items() if end == i and p in arrays - kept)
            if group[0].is_numpy:
                yield Turn(group[0], done)
            else:
                yield Turn(self._segment(group, arrays, budget), done)

    def _touches(self, step: Step) -> set[Place]:
        """Return the places that a step reads and writes, but for its temporary ones."""
        names = [*step.reads, step.node.output]
        return {place for name in names for place in self.tensors[name].places}

    def _segment(self, steps: tuple[Step, ...], arrays: set[Place], budget: int) -> Segment:
        root = {
            (name, i): place
            for name, tensor in self.tensors.items()
            for i, place in enumerate(tensor.places)
        }
        calls = [
            (c.call, [root.get(p, p) for p in c.x], [root.get(p, p) for p in c.out])
            for step in steps
            for c in step.calls
        ]
        buffers = {place: self._buffer(place, steps) for _, x, out in calls for place in (*x, *out)}
        calls = _in_place(calls, buffers, arrays)
        lifetimes = _lifetimes(calls, buffers, arrays)
        arena = layout(lifetimes)
        written = {place for _, _, out in calls for place in out}
        outside = tuple(place for place in buffers if place in arrays)
        order = [*outside, *arena.offsets]
        number = {place: i for i, place in enumerate(order)}
        slots = [
            (buffers[place].nbytes, arena.offsets.get(place), max(0, i - len(outside)))
            for i, place in enumerate(order)
        ]
        planned = [
            (call, tuple(number[place] for place in x), number[out]) for call, x, (out,) in calls
        ]
        tile = max(1, min(_MAX_TILE, budget // max(1, arena.nbytes)))
        program = _kernels.Program(planned, slots, arena.nbytes, tile) if planned else None
        makes = {place: buffers[place] for place in outside if place in written}
        return Segment(
            steps, program, outside, makes, arena, least_bytes([*lifetimes.values()]), tile
        )

    def _buffer(self, place: Place, steps: tuple[Step, ...]) -> Buffer:
        name, i = place
        buffers = self.tensors[name].form.buffers
        if i < len(buffers):
            return buffers[i]
        return next(step.temporary[place] for step in steps if place in step.temporary)


def _in_place(
    calls: Sequence[_Placed], buffers: Mapping[Place, Buffer], arrays: Collection[Place]
) -> list[_Placed]:
    """Let calls that can do so write where they read for the last time."""
    last = {place: i for i, (_, x, _) in enumerate(calls) for place in x}
    moved: dict[Place, Place] = {}
    placed: list[_Placed] = []
    for i, (call, x, out) in enumerate(calls):
        reads = [moved.get(place, place) for place in x]
        ending = [
            now
            for place, now in zip(x, reads, strict=True)
            if last[place] == i
            and now not in arrays
            and buffers[now].nbytes == buffers[out[0]].nbytes
        ]
        if call.in_place and ending and out[0] not in (*arrays, *moved):
            moved[out[0]] = ending[0]
        placed.append((call, reads, [moved.get(place, place) for place in out]))
    return placed


def _lifetimes(
    calls: Sequence[_Placed],
    buffers: Mapping[Place, Buffer],
    arrays: Collection[Place],
) -> dict[Place, Lifetime]:
    """Return when each buffer that is no array is needed, a moment being a call."""
    uses: dict[Place, list[int]] = {}
    for moment, (_, x, out) in enumerate(calls):
        for place in (*x, *out):
            if place not in arrays:
                uses.setdefault(place, []).append(moment)
    return {
        place: Lifetime(buffers[place].nbytes, where[0], where[-1]) for place, where in uses.items()
    }
