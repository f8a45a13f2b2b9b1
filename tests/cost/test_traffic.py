"""Physical counts against the replayer, and the tile search against exhaustive replay."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replayer import Replayer

from bnnsim.cost.hardware import Constant, Memory
from bnnsim.cost.mapping import (
    BUFFERS,
    OFF_CHIP_ORDERS,
    Loops,
    Room,
    Tiling,
    split,
    tile,
    tile_sizes,
)
from bnnsim.cost.traffic import (
    Levels,
    Nest,
    array_accesses,
    cheapest,
    off_chip_accesses,
    output_accesses,
)


def memory(name, kind, word, size=None):
    price = Constant(f"{name}.read", 1e-12, "J/access", 1.5, "s", "assumed", "s", "p")
    return Memory(name, kind, size, word, 1, 1, 0, 1, ("weights", "activations"), price, price,
                  None, ())  # fmt: skip


WINDOW, GB = memory("window", "sram", 24, 512), memory("gb", "sram", 32, 4096)
DRAM = memory("dram", "dram", 128)


def conv(images, out, channels, kernel, *, stride=(1, 1), dilation=(1, 1), pad=(0, 0)):
    rows, columns = (
        (out[a] - 1) * stride[a] + dilation[a] * (kernel[a] - 1) + 1 - 2 * pad[a] for a in (0, 1)
    )
    return Loops(images, *out, *channels, kernel, stride, dilation, (*pad, *pad),
                 max(1, rows), max(1, columns), 1)  # fmt: skip


def nest_for(loops, tiling, streamed, *, steps=None, columns=4, accumulators=3,
             bits=(1, 1, 1, 7)):  # fmt: skip
    taps = loops.kernel[0] * loops.kernel[1]
    steps = steps or tuple(split(taps * depth, 10) for depth in tiling.depth_tiles)
    return Nest(loops, tiling, steps, columns, accumulators, bits,
                streamed, loops.pixels, "io", "activations_memory")  # fmt: skip


def tidy(counts):
    return {key: number for key, number in counts.items() if number}


def assert_replayed(nest, levels):
    for hold in (True, False):
        counted = (
            array_accesses(nest, levels, hold_weights=hold)
            + off_chip_accesses(nest, levels)
            + output_accesses(nest, levels)
        )
        assert tidy(counted) == tidy(Replayer(nest, levels).run(hold_weights=hold))


LOOPS = [
    conv(1, (5, 4), (7, 3), (3, 3), pad=(1, 1)),
    conv(2, (4, 3), (5, 2), (2, 3), stride=(2, 1), pad=(1, 0)),
    conv(3, (3, 5), (9, 1), (3, 1), dilation=(2, 1)),
    conv(5, (1, 1), (11, 23), (1, 1)),
    conv(1, (7, 1), (4, 5), (1, 1), stride=(3, 1)),
]


def row_cuts(loops):
    """All cuts of the output: into images, or into rows of single images."""
    for images in tile_sizes(loops.images):
        yield tuple((0, loops.out_rows, n) for n in split(loops.images, images))
    for rows in tile_sizes(loops.out_rows)[:-1]:
        starts = split(loops.out_rows, rows)
        yield tuple((i * rows, n, 1) for i, n in enumerate(starts)) * loops.images


def tilings(loops):
    whole = ((loops.channels_out,), ((0, loops.out_rows, loops.images),), (loops.channels_in,))
    yield Tiling(*whole, "", True)
    depths = {-(-loops.channels_in // parts) for parts in (1, 2, 3)}
    for order, channels, rows, depth in product(
        OFF_CHIP_ORDERS, tile_sizes(loops.channels_out), row_cuts(loops), sorted(depths)
    ):
        tiles = (split(loops.channels_out, channels), rows, split(loops.channels_in, depth))
        yield Tiling(*tiles, order, True)
    yield Tiling(*whole, "", False)


@pytest.mark.parametrize("loops", LOOPS)
@pytest.mark.parametrize("window", [WINDOW, None])
def test_accesses_equal_those_of_the_replayer(loops, window):
    levels = Levels(window, GB, GB, DRAM)
    for tiling, streamed in product(tilings(loops), product((False, True), repeat=3)):
        if bool(tiling.order) != any(streamed) and tiling.staged:
            continue
        assert_replayed(nest_for(loops, tiling, streamed), levels)


def test_accesses_with_wide_operands_and_slices_by_tap_equal_the_replayer():
    loops = conv(2, (3, 3), (6, 5), (3, 2), pad=(1, 0))
    levels = Levels(WINDOW, GB, replace(GB, name="wgt", word_bits=64), DRAM)
    steps = ((2, 1) * 6, (2,) * 6)
    tiling = Tiling((4, 2), ((0, 2, 1), (2, 1, 1)) * 2, (3, 2), "rows outer", True)
    nest = nest_for(loops, tiling, (True, True, False), steps=steps, bits=(8, 16, 4, 20))
    assert_replayed(nest, levels)


@pytest.mark.parametrize(("streamed", "channels", "staged"), [
    ((False, True, False), 8, False),  # each weight is read once
    ((True, False, False), 64, True),  # inputs are read by each of 16 passes
])  # fmt: skip
def test_operands_pass_straight_to_the_array_where_that_costs_less(streamed, channels, staged):
    dear = replace(DRAM, word_bits=32, read=replace(DRAM.read, value_si=1e-11))
    levels, bits = Levels(None, GB, GB, dear), (8, 8, 8, 20)
    loops = conv(1, (9, 1), (channels, 16), (1, 1))
    whole = ((channels,), ((0, 9, 1),), (16,))
    inside, straight = (
        cheapest(nest_for(loops, Tiling(*whole, order, at), streamed, bits=bits), levels).joules
        for order, at in (("rows outer", True), ("", False))
    )
    assert (inside <= straight) == staged


def test_groups_multiply_every_access():
    loops = conv(1, (4, 4), (2, 3), (3, 3), pad=(1, 1))
    levels = Levels(None, GB, GB, DRAM)
    tiling = next(tilings(loops))
    one = cheapest(nest_for(loops, tiling, (False,) * 3), levels).accesses
    grouped = replace(loops, groups=5)
    five = cheapest(nest_for(grouped, tiling, (False,) * 3), levels).accesses
    assert five == Counter({key: 5 * number for key, number in one.items()})


def exhaustive(loops, room, columns, granule):
    """Return the least energy over all tilings that fit, by replaying each one."""
    best = None
    for channels, depth, order in product(
        range(1, loops.channels_out + 1), range(1, loops.channels_in + 1), OFF_CHIP_ORDERS
    ):
        if channels % columns and channels != loops.channels_out:
            continue
        if depth % granule and depth != loops.channels_in:
            continue
        for rows in row_cuts(loops):
            tiles = (split(loops.channels_out, channels), rows, split(loops.channels_in, depth))
            nest = nest_for(loops, Tiling(*tiles, order, True), room.streamed, columns=columns,
                            bits=room.bits)  # fmt: skip
            if footprint(nest) <= room.free_bits:
                joules = replayed_joules(nest, room)
                best = joules if best is None else min(best, joules)
    return best


def replayed_joules(nest, room):
    """Energy across the chip's edge, bit by bit, and of partial sums of finished depth tiles."""
    levels = Levels(None, replace(GB, word_bits=1), replace(GB, name="wgt", word_bits=1),
                    replace(DRAM, word_bits=1))  # fmt: skip
    whole = tuple((depth,) for depth in nest.tiling.depth_tiles)  # one slice: spills by depth only
    counts = Replayer(replace(nest, steps=whole), levels).run(hold_weights=True)
    results = nest.loops.pixels * nest.loops.channels_out
    passed_on = results * room.bits[2] if room.streamed[2] else 0
    inside = counts["gb", "read", "activations_memory"] - passed_on
    read_array = nest.loops.pixels * nest.loops.channels_in * nest.channel_steps().total()
    sums = inside - read_array * room.bits[0]
    read = sum(n for (m, v, _), n in counts.items() if m == "dram" and v == "read")
    sent = sum(n for (m, v, _), n in counts.items() if m == "dram" and v == "write")
    return read * room.cost[0] + sent * room.cost[1] + sums * room.cost[2]


def footprint(nest):
    """Bits of the largest double-buffered tiles of what is off chip, and of sums put aside."""
    loops, replayer, tiling = nest.loops, Replayer(nest, None), nest.tiling
    depth, channels = tiling.depth_tiles[0], tiling.channel_tiles[0]
    lines = max(replayer.rows_read(r[0], r[1]) * r[2] for r in tiling.row_tiles)
    results = max(r[1] * loops.out_columns * r[2] for r in tiling.row_tiles) * channels
    sizes = (lines * replayer.line_bits(depth),
             channels * loops.kernel[0] * loops.kernel[1] * depth * nest.bits[1],
             results * nest.bits[2])  # fmt: skip
    sums = results * nest.bits[3] if len(tiling.depth_tiles) > 1 else 0
    return BUFFERS * sum(s for s, off in zip(sizes, nest.streamed, strict=True) if off) + sums


@pytest.mark.parametrize("loops", [LOOPS[0], LOOPS[1], LOOPS[3]])
@pytest.mark.parametrize("free", [300, 700, 2000, 100_000])
@pytest.mark.parametrize(
    ("streamed", "granule"),
    [((True, True, True), 2), ((True, True, False), 3), ((False, True, False), 1)],
)
def test_search_finds_the_exhaustive_optimum_and_stays_within_the_memory(
    loops, free, streamed, granule
):
    room = Room((2, 3, 1, 9), streamed, free, -1, (1.0, 1.5, 0.25))
    found = tile(loops, 2, room, (granule,))
    best = exhaustive(loops, room, 2, granule)
    if best is None:
        assert not found.staged
        return
    nest = nest_for(loops, found, streamed, columns=2, bits=room.bits)
    assert found.staged
    assert footprint(nest) <= free
    assert replayed_joules(nest, room) == best


def test_a_finer_granule_is_taken_only_if_nothing_fits_with_the_coarser():
    loops = conv(1, (1, 1), (8, 64), (1, 1))
    room = Room((8, 8, 8, 24), (False, True, False), 2 * 8 * 16 * 8 + 8 * 24, -1,
                (1.0, 1.5, 0.25))  # fmt: skip
    assert tile(loops, 8, room, (16, 4)).depth_tiles == (16,) * 4
    tight = replace(room, free_bits=room.free_bits - 1)
    assert max(tile(loops, 8, tight, (16, 4)).depth_tiles) < 16
    assert not tile(loops, 8, tight, (16,)).staged


@given(st.integers(1, 400))
def test_tile_sizes_are_all_ceil_tiles(size):
    assert set(tile_sizes(size)) == {-(-size // i) for i in range(1, size + 1)}


def test_split_covers_the_size_with_one_ragged_tile():
    assert split(65, 32) == (32, 32, 1)
    assert split(64, 32) == (32, 32)
    assert sum(split(127, 10)) == 127
