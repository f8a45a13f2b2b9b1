"""The loop nest, memories and tiling of one Dense or Conv2d stage."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from bnnsim.cost.context import Context
from bnnsim.cost.datapath import Execution, execution, slices
from bnnsim.cost.hardware import Array, HardwareProfile, Memory
from bnnsim.cost.mapping import Loops, Option, Room, entire, frontier, whole
from bnnsim.cost.memory import Residency, home, off_chip
from bnnsim.cost.pricing import access_joules
from bnnsim.cost.stages import Stage
from bnnsim.cost.traffic import ACTIVATIONS, IO, Levels, Nest, Order, cheapest
from bnnsim.graph.ir import Node
from bnnsim.graph.ops import normal_attrs

Streamed = tuple[bool, bool, bool]


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
    """How a layer runs: its nest, loop order at the array with accesses, bytes of its tiles."""

    nest: Nest
    order: Order
    tile_bytes: int


@dataclass(frozen=True, slots=True)
class Shape:
    """All that the mapping of a layer depends on, but for where its tensors live.

    Parameters
    ----------
    columns, accumulators : int
    granules : tuple of int
        Input channels that fill the rows of the array, and those that fill a PE.
    reach : int
        Of a dot product, what the rows take in one slice.
    flat : bool
        Whether a slice may hold several taps.
    bits : tuple of int
        Bits of a stored input element, weight, output element, and partial sum.
    cost : tuple of float
        As in ``Room``.
    levels : tuple of Levels
        The memories that may serve it.
    on_chip : tuple of bool
        Whether activations and weights have a home on chip.
    shared : bool
        Whether one memory holds both.
    out_pixels, source, sink
        As in ``Nest``.
    """

    loops: Loops
    columns: int
    accumulators: int
    granules: tuple[int, ...]
    reach: int
    flat: bool
    bits: tuple[int, int, int, int]
    cost: tuple[float, float, float]
    levels: tuple[Levels, ...]
    on_chip: tuple[bool, bool]
    shared: bool
    out_pixels: int
    source: str
    sink: str


class Layer:
    """A shape with all that was found out about it, shared by all layers of that shape.

    The option with the least memory energy among those that fit is taken. Whatever fits a memory
    fits a larger one and costs the same there: off chip the tilings that no other beats, or
    operands straight to the array; with the window memory, if it holds the rows under the filter,
    or without.
    """

    def __init__(self, shape: Shape) -> None:
        self.shape = shape
        self._options: dict[Streamed, tuple[Option, tuple[Option, ...] | None]] = {}
        self._orders: dict[tuple[Streamed, Option | None], tuple[Nest, Order]] = {}
        self._choices: dict[tuple[Streamed, int, int], Choice] = {}

    def choose(self, streamed: Streamed, free_bits: int, free_weight_bits: int) -> Choice:
        """Return the cheapest way to run with these operands off chip and this room for tiles.

        Parameters
        ----------
        streamed : tuple of bool
            Whether input, weights and output are off chip.
        free_bits, free_weight_bits : int
            On-chip bits for tiles of activations and of weights; equal where one memory serves
            both.
        """
        if not any(streamed):
            free_bits = free_weight_bits = 0
        key = streamed, free_bits, free_weight_bits
        if key not in self._choices:
            self._choices[key] = self._least(streamed, free_bits, free_weight_bits)
        return self._choices[key]

    def _least(self, streamed: Streamed, free_bits: int, free_weight_bits: int) -> Choice:
        """Return the option with the least memory energy, the first of equals.

        Off chip and in sums put aside an option costs what the search says, or more for ragged
        words, and at the array no less than undivided: dearer ones need no look.
        """
        pools = free_weight_bits if not self.shape.shared else -1
        room = Room(self.shape.bits, streamed, free_bits, pools, self.shape.cost)
        found: list[Option | None] = [*self._fitting(room), None] if any(streamed) else [None]
        floor = self._order((False, False, False), None)[1].joules
        best, least = found[0], float("inf")
        for option in found:
            crossing = option.joules * self.shape.loops.groups if option is not None else 0.0
            if floor + crossing > least * (1 + 1e-9):
                continue
            joules = self._order(streamed, option)[1].joules
            if joules < least:
                best, least = option, joules
        nest, order = self._order(streamed, best)
        return Choice(nest, order, best.tile_bytes if best is not None else 0)

    def _fitting(self, room: Room) -> list[Option]:
        """Return the tilings worth a look: the one tile of everything if it fits, else more."""
        first = entire(self.shape.loops, room)
        if first.fits(room):
            return [first]
        shape = self.shape
        found = frontier(shape.loops, shape.columns, room.unbounded(), shape.granules)
        return [option for option in found if option.fits(room)]

    def _order(self, streamed: Streamed, option: Option | None) -> tuple[Nest, Order]:
        """Return the nest under an option and its cheapest order over all memories that may serve.

        Without an option, operands pass straight to the array from where they are.
        """
        key = streamed, option
        if key not in self._orders:
            nest = self._nest(streamed, option)
            orders = [cheapest(nest, levels) for levels in self.shape.levels]
            self._orders[key] = nest, min(orders, key=lambda order: order.joules)
        return self._orders[key]

    def _nest(self, streamed: Streamed, option: Option | None) -> Nest:
        shape = self.shape
        if option is not None:
            tiling = option.tiling(shape.loops)
        else:
            tiling = replace(whole(shape.loops), staged=not any(streamed))
        taps = shape.loops.kernel[0] * shape.loops.kernel[1]
        steps = tuple(slices(shape.reach, shape.flat, taps, d) for d in tiling.depth_tiles)
        return Nest(shape.loops, tiling, steps, shape.columns, shape.accumulators, shape.bits,
                    streamed, shape.out_pixels, shape.source, shape.sink)  # fmt: skip


@lru_cache(maxsize=4096)
def shared_layer(shape: Shape) -> Layer:
    """Return the layer of a shape, always the same."""
    return Layer(shape)


def _layer_of(context: Context, stage: Stage, loops: Loops, how: Execution) -> Layer:
    """Return the layer of a Dense or Conv2d on a profile with memories."""
    profile, array = context.profile, context.profile.array
    source, weights = stage.reads[0], stage.weights
    outer = off_chip(profile)
    acts_home, weights_home = home(profile, "activations"), home(profile, "weights")
    acts, held = acts_home or outer, weights_home or outer
    assert weights is not None
    assert acts is not None
    assert held is not None
    sums = how.operands.accumulator_bits or max(source.dtype.bits, 16)
    bits = (source.dtype.bits, weights.dtype.bits, stage.writes.dtype.bits, sums)
    onto = min(_price(acts, "write"), _price(held, "write"))
    cost = (_price(outer, "read") + onto, _price(outer, "write"),
            _price(acts, "write") + _price(acts, "read"))  # fmt: skip
    bare, window = Levels(None, acts, held, outer), _window(profile, loops, bits[0])
    graph, writes = context.graph, stage.writes
    return shared_layer(Shape(
        loops, array.columns, array.accumulators, _granules(array, how.lanes, loops),
        array.rows * how.lanes, array.unroll_rows == "K", bits, cost,
        (bare,) if window is None else (replace(bare, window=window), bare),
        (acts_home is not None, weights_home is not None),
        acts_home is not None and acts_home is weights_home,
        writes.size // writes.shape[-1] * context.images,
        IO if source.name in graph.inputs else ACTIVATIONS,
        IO if writes.name in graph.outputs else ACTIVATIONS,
    ))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Run:
    """How the array runs a Dense or Conv2d, and its layer on a profile with memories."""

    loops: Loops
    execution: Execution
    layer: Layer | None


def run_of(context: Context, stage: Stage) -> Run | None:
    """Return how a stage with products runs, and None for others."""
    operands = context.counts[stage.head.id].operands
    if stage.weights is None or operands is None:
        return None
    loops = loops_of(context, stage.head)
    how = execution(context.profile, operands, loops.fan_in, stage.head.describe())
    chip = context.profile.scope == "chip"
    return Run(loops, how, _layer_of(context, stage, loops, how) if chip else None)


def choose(context: Context, where: Residency, position: int, layer: Layer) -> Choice:
    """Return how a layer runs where its tensors live, with the room that is left there."""
    stage = context.layout.stages[position]
    on_chip = layer.shape.on_chip
    streamed = (
        stage.reads[0].name in where.spilled and on_chip[0],
        position not in where.pinned and on_chip[1],
        stage.writes.name in where.spilled and on_chip[0],
    )
    return layer.choose(streamed, max(0, 8 * where.free_activations[position]),
                        max(0, 8 * where.free_weights[position]))  # fmt: skip


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


def _price(memory: Memory | None, verb: str) -> float:
    """Return joules per bit of a full-word access."""
    return access_joules(memory, verb) / memory.word_bits if memory is not None else 0.0
