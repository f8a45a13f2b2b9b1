"""The loop nest, memories and tiling of one Dense or Conv2d stage."""

from __future__ import annotations

from dataclasses import replace

from bnnsim.cost.context import Context
from bnnsim.cost.datapath import Execution, k_steps
from bnnsim.cost.hardware import Array, HardwareProfile, Memory
from bnnsim.cost.mapping import BUFFERS, Loops, Room, Tiling, tile
from bnnsim.cost.memory import home, off_chip
from bnnsim.cost.pricing import access_joules
from bnnsim.cost.stages import Stage
from bnnsim.cost.traffic import ACTIVATIONS, IO, Levels, Nest
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


def nest_of(
    context: Context, stage: Stage, position: int, loops: Loops, execution: Execution
) -> tuple[Nest, Levels, Room]:
    """Return nest, memories and room of a stage, given its loops and how its pair runs."""
    profile, where = context.profile, context.where
    source, weights = stage.reads[0], stage.weights
    acts_home, weights_home = home(profile, "activations"), home(profile, "weights")
    outer = off_chip(profile)
    assert where is not None
    assert weights is not None
    acts, held = acts_home or outer, weights_home or outer
    assert acts is not None
    assert held is not None
    streamed = (
        source.name in where.spilled and acts_home is not None,
        position not in where.pinned and weights_home is not None,
        stage.writes.name in where.spilled and acts_home is not None,
    )
    sums = execution.operands.accumulator_bits or max(source.dtype.bits, 16)
    bits = (source.dtype.bits, weights.dtype.bits, stage.writes.dtype.bits, sums)
    cost = (_price(profile, outer, "read") + _price(profile, acts, "write"),
            _price(profile, outer, "write"),
            _price(profile, acts, "write") + _price(profile, acts, "read"))  # fmt: skip
    room = Room(bits, streamed, max(0, 8 * where.free_activations[position]),
                -1 if where.shared else max(0, 8 * where.free_weights[position]), cost)  # fmt: skip
    tiling = tile(
        loops, profile.array.columns, room, _granules(profile.array, execution.lanes, loops)
    )
    taps = loops.kernel[0] * loops.kernel[1]
    nest = Nest(
        loops=loops,
        tiling=tiling,
        steps=tuple(k_steps(profile.array, execution, taps, d) for d in tiling.depth_tiles),
        columns=profile.array.columns,
        accumulators=profile.array.accumulators,
        bits=bits,
        streamed=streamed,
        out_pixels=stage.writes.size // stage.writes.shape[-1] * context.images,
        source=IO if source.name in context.graph.inputs else ACTIVATIONS,
        sink=IO if stage.writes.name in context.graph.outputs else ACTIVATIONS,
    )
    return nest, Levels(_window(profile, loops, bits[0]), acts, held, outer), room


def direct(profile: HardwareProfile, nest: Nest, execution: Execution) -> Nest:
    """Return the nest with what is off chip passing from there straight to the array."""
    loops = nest.loops
    whole = ((loops.channels_out,), ((0, loops.out_rows, loops.images),), (loops.channels_in,))
    taps = loops.kernel[0] * loops.kernel[1]
    steps = (k_steps(profile.array, execution, taps, loops.channels_in),)
    return replace(nest, tiling=Tiling(*whole, "", staged=False), steps=steps)


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


def tile_bytes(nest: Nest, room: Room) -> int:
    """Return the bytes of the double-buffered tiles of what comes from off chip."""
    if not (nest.tiling.staged and nest.tiling.order):
        return 0
    channels = nest.tiling.channel_tiles[0]
    pixels = max(p for p, _ in nest.row_figures())
    lines = max(r for _, r in nest.row_figures()) * nest.loops.columns_in
    depth = nest.tiling.depth_tiles[0]
    taps = nest.loops.kernel[0] * nest.loops.kernel[1]
    sizes = (lines * depth, channels * taps * depth, pixels * channels)
    bits = sum(s * b for s, b, off in zip(sizes, room.bits, room.streamed, strict=False) if off)
    sums = pixels * channels * room.bits[3] if len(nest.tiling.depth_tiles) > 1 else 0
    return -(-(BUFFERS * bits + sums) // 8)


def _price(profile: HardwareProfile, memory: Memory | None, verb: str) -> float:
    """Return joules per bit of a full-word access."""
    return access_joules(memory, verb) / memory.word_bits if memory is not None else 0.0
