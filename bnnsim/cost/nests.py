"""The loop nest, memories and tiling of one Dense or Conv2d stage."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from bnnsim.cost.context import Context
from bnnsim.cost.datapath import Execution, slices
from bnnsim.cost.hardware import Array, HardwareProfile, Memory
from bnnsim.cost.mapping import Loops, Option, Room, Tiling, entire, frontier, whole
from bnnsim.cost.memory import home, off_chip
from bnnsim.cost.pricing import access_joules
from bnnsim.cost.stages import Stage
from bnnsim.cost.traffic import ACTIVATIONS, IO, Accesses, Levels, Nest, Order, cheapest
from bnnsim.graph.ir import Node
from bnnsim.graph.ops import normal_attrs


def loops_of(context: Context, node: Node) -> Loops:
    """Return the loop nest of a Dense or Conv2d for the images in flight."""
    x, out = context.graph.activation(node), context.graph.result(node)
    weight = context.graph.tensor(node.inputs[1])
    if node.op == "Dense":
        return Loops(context.images, 1, 1, weight.shape[0], weight.shape[1], (1, 1), (1, 1),
                     (1, 1), (0, 0, 0, 0), 1, 1, 1)  # fmt: skip
    attrs = normal_attrs(node)
    return Loops(
        images=context.images,
        out_rows=out.shape[0],
        out_columns=out.shape[1],
        channels_out=out.shape[2] // attrs["groups"],
        channels_in=weight.shape[3],
        kernel=(weight.shape[1], weight.shape[2]),
        stride=attrs["stride"],
        dilation=attrs["dilation"],
        pads=attrs["pads"],
        rows_in=x.shape[0],
        columns_in=x.shape[1],
        groups=attrs["groups"],
    )


@dataclass(frozen=True, slots=True)
class Choice:
    """How a layer runs: its nest, the order at the array, all accesses, and bytes of its tiles."""

    nest: Nest
    order: str
    accesses: Accesses
    tile_bytes: int


def choose(
    context: Context, stage: Stage, position: int, loops: Loops, execution: Execution
) -> Choice:
    """Return the nest with the least memory energy that fits what a stage has left.

    Whatever fits a memory fits a larger one and costs the same there, and the least of all that
    fit is taken: off chip the tilings that no other beats, or operands straight to the array; with
    the window memory, if it holds the rows under the filter, or without.
    """
    room = _room(context, stage, position, execution)
    array = context.profile.array
    granules = _granules(array, execution.lanes, loops)
    options: tuple[Option | None, ...] = (None,)
    if any(room.streamed):
        first = entire(loops, room)
        found = (
            (first,)
            if first.fits(room)
            else frontier(loops, array.columns, room.unbounded(), granules)
        )
        options = (*(option for option in found if option.fits(room)), None)
    levels = _levels(context, loops, room.bits[0])
    return _least(_Work(loops, array.columns, array.accumulators, array.rows * execution.lanes,
                        array.unroll_rows == "K", room.bits, room.streamed,
                        stage.writes.size // stage.writes.shape[-1] * context.images,
                        IO if stage.reads[0].name in context.graph.inputs else ACTIVATIONS,
                        IO if stage.writes.name in context.graph.outputs else ACTIVATIONS),
                  options, levels)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Work:
    """What a nest is made from, but for its tiling.

    Parameters
    ----------
    reach : int
        Of a dot product, what the rows take in one slice.
    flat : bool
        Whether a slice may hold several taps.

    The other fields are those of ``Nest``.
    """

    loops: Loops
    columns: int
    accumulators: int
    reach: int
    flat: bool
    bits: tuple[int, int, int, int]
    streamed: tuple[bool, bool, bool]
    out_pixels: int
    source: str
    sink: str

    def nest(self, tiling: Tiling) -> Nest:
        """Return the nest under a tiling."""
        taps = self.loops.kernel[0] * self.loops.kernel[1]
        steps = tuple(slices(self.reach, self.flat, taps, d) for d in tiling.depth_tiles)
        return Nest(self.loops, tiling, steps, self.columns, self.accumulators,
                    self.bits, self.streamed, self.out_pixels, self.source, self.sink)  # fmt: skip

    def undivided(self) -> Nest:
        """Return the nest of the layer with all operands on chip."""
        return replace(self.nest(whole(self.loops)), streamed=(False, False, False))

    def tiling(self, option: Option | None) -> Tiling:
        """Return the tiling of an option; without one, operands pass straight to the array."""
        if option is not None:
            return option.tiling(self.loops)
        return replace(whole(self.loops), staged=not any(self.streamed))


@lru_cache(maxsize=16384)
def _least(work: _Work, options: tuple[Option | None, ...], levels: tuple[Levels, ...]) -> Choice:
    """Return the option with the least memory energy, the first of equals.

    Off chip and in sums put aside an option costs what the search says, or more for ragged words,
    and at the array no less than undivided: dearer ones need no look.
    """
    floor = min(cheapest(work.undivided(), level).joules for level in levels)
    best: tuple[float, Nest, Order, int] | None = None
    for option in options:
        bound = floor + (option.joules * work.loops.groups if option is not None else 0.0)
        if best is not None and bound > best[0] * (1 + 1e-9):
            continue
        nest = work.nest(work.tiling(option))
        for level in levels:
            order = cheapest(nest, level)
            if best is None or order.joules < best[0]:
                best = order.joules, nest, order, option.tile_bytes if option is not None else 0
    assert best is not None
    return Choice(best[1], best[2].name, best[2].accesses, best[3])


def _room(context: Context, stage: Stage, position: int, execution: Execution) -> Room:
    """Return what the search needs to know of a stage's memories and operands."""
    profile, where = context.profile, context.where
    source, weights = stage.reads[0], stage.weights
    acts_home, weights_home = home(profile, "activations"), home(profile, "weights")
    assert where is not None
    assert weights is not None
    outer = off_chip(profile)
    acts, held = acts_home or outer, weights_home or outer
    streamed = (
        source.name in where.spilled and acts_home is not None,
        position not in where.pinned and weights_home is not None,
        stage.writes.name in where.spilled and acts_home is not None,
    )
    sums = execution.operands.accumulator_bits or max(source.dtype.bits, 16)
    bits = (source.dtype.bits, weights.dtype.bits, stage.writes.dtype.bits, sums)
    onto = min(_price(profile, acts, "write"), _price(profile, held, "write"))
    cost = (_price(profile, outer, "read") + onto,
            _price(profile, outer, "write"),
            _price(profile, acts, "write") + _price(profile, acts, "read"))  # fmt: skip
    return Room(bits, streamed, max(0, 8 * where.free_activations[position]),
                -1 if where.shared else max(0, 8 * where.free_weights[position]), cost)  # fmt: skip


def _levels(context: Context, loops: Loops, bits: int) -> tuple[Levels, ...]:
    """Return the memories that serve a stage: without a window memory, and with one that fits."""
    profile = context.profile
    outer = off_chip(profile)
    acts, held = (home(profile, operand) or outer for operand in ("activations", "weights"))
    assert acts is not None
    assert held is not None
    bare, window = Levels(None, acts, held, outer), _window(profile, loops, bits)
    return (bare,) if window is None else (replace(bare, window=window), bare)


def _granules(array: Array, lanes: int, loops: Loops) -> tuple[int, ...]:
    """Return the input channels that fill the rows of the array, and those that fill a PE."""
    taps = loops.kernel[0] * loops.kernel[1] if array.unroll_rows == "K" else 1
    return lanes * -(-array.rows // taps), lanes


def _window(profile: HardwareProfile, loops: Loops, bits: int) -> Memory | None:
    """Return the nearest memory if it can hold the input rows under the filter."""
    near = [m for m in profile.chain("activations") if not m.off_chip][:-1]
    reach = (loops.kernel[0] - 1) * loops.dilation[0] + 1
    line = loops.columns_in * loops.channels_in * bits
    return next((m for m in near if 8 * (m.size_bytes or 0) >= reach * line), None)


def _price(profile: HardwareProfile, memory: Memory | None, verb: str) -> float:
    """Return joules per bit of a full-word access."""
    return access_joules(memory, verb) / memory.word_bits if memory is not None else 0.0
