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
    return Nest(loops, tiling, steps or split(loops.fan_in, 10), columns, accumulators, bits,
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


def tilings(loops, columns=4):
    yield Tiling((loops.channels_out,), ((0, loops.out_rows, loops.images),), "", True)
    for order in OFF_CHIP_ORDERS:
        for channels in tile_sizes(loops.channels_out):
            yield Tiling(split(loops.channels_out, channels),
                         ((0, loops.out_rows, loops.images),), order, True)  # fmt: skip
            for rows in tile_sizes(loops.out_rows)[:-1]:
                starts = split(loops.out_rows, rows)
                parts = tuple((i * rows, n, 1) for i, n in enumerate(starts)) * loops.images
                yield Tiling(split(loops.channels_out, channels), parts, order, True)
    yield Tiling((loops.channels_out,), ((0, loops.out_rows, loops.images),), "", False)


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
    steps = (2, 2, 1) * 6
    tiling = Tiling((4, 2), ((0, 2, 1), (2, 1, 1)) * 2, "rows outer", True)
    nest = nest_for(loops, tiling, (True, True, False), steps=steps, bits=(8, 16, 4, 20))
    assert_replayed(nest, levels)


def test_groups_multiply_every_access():
    loops = conv(1, (4, 4), (2, 3), (3, 3), pad=(1, 1))
    levels = Levels(None, GB, GB, DRAM)
    tiling = next(tilings(loops))
    one = cheapest(nest_for(loops, tiling, (False,) * 3), levels)[1]
    grouped = replace(loops, groups=5)
    five = cheapest(nest_for(grouped, tiling, (False,) * 3), levels)[1]
    assert five == Counter({key: 5 * number for key, number in one.items()})


def exhaustive(loops, room, columns):
    """Return the least off-chip energy over all tilings that fit, by replaying each one."""
    unit = {name: replace(m, word_bits=1) for name, m in (("gb", GB), ("dram", DRAM))}
    levels = Levels(None, unit["gb"], unit["gb"], unit["dram"])
    best = None
    for channels, order in product(range(1, loops.channels_out + 1), OFF_CHIP_ORDERS):
        if channels % columns and channels != loops.channels_out:
            continue
        row_tiles = [((0, loops.out_rows, b),) for b in range(1, loops.images + 1)]
        parts = [tuple((0, loops.out_rows, b) for b in split(loops.images, n[0][2]))
                 for n in row_tiles]  # fmt: skip
        for rows in range(1, loops.out_rows):
            cut = split(loops.out_rows, rows)
            parts.append(tuple((i * rows, n, 1) for i, n in enumerate(cut)) * loops.images)
        for rows in parts:
            tiling = Tiling(split(loops.channels_out, channels), rows, order, True)
            nest = nest_for(loops, tiling, room.streamed, columns=columns, bits=(*room.bits, 9))
            if footprint(nest) > room.free_bits:
                continue
            counts = Replayer(nest, levels).run(hold_weights=True)
            read = sum(n for (m, v, _), n in counts.items() if m == "dram" and v == "read")
            sent = sum(n for (m, v, _), n in counts.items() if m == "dram" and v == "write")
            joules = read * room.cost[0] + sent * room.cost[1]
            best = joules if best is None else min(best, joules)
    return best


def footprint(nest):
    """Bits of the largest double-buffered tiles of what is off chip."""
    loops, replayer = nest.loops, Replayer(nest, None)
    lines = max(replayer.rows_read(r[0], r[1]) * r[2] for r in nest.tiling.row_tiles)
    pixels = max(r[1] * loops.out_columns * r[2] for r in nest.tiling.row_tiles)
    channels = nest.tiling.channel_tiles[0]
    sizes = (lines * replayer.line_bits(), channels * loops.fan_in * nest.bits[1],
             pixels * channels * nest.bits[2])  # fmt: skip
    return BUFFERS * sum(s for s, off in zip(sizes, nest.streamed, strict=True) if off)


@pytest.mark.parametrize("loops", [LOOPS[0], LOOPS[1], LOOPS[3]])
@pytest.mark.parametrize("free", [300, 700, 2000, 100_000])
@pytest.mark.parametrize(
    "streamed", [(True, True, True), (True, True, False), (False, True, False)]
)
def test_search_finds_the_exhaustive_optimum_and_stays_within_the_memory(loops, free, streamed):
    room = Room((2, 3, 1), streamed, free, -1, (1.0, 1.5))
    found = tile(loops, 2, room)
    best = exhaustive(loops, room, 2)
    if best is None:
        assert not found.staged
        return
    nest = nest_for(loops, found, streamed, columns=2, bits=(2, 3, 1, 9))
    assert found.staged
    assert footprint(nest) <= free
    unit = replace(GB, word_bits=1)
    counts = Replayer(nest, Levels(None, unit, unit, replace(DRAM, word_bits=1))).run(
        hold_weights=True
    )
    joules = sum(n * (1.0 if verb == "read" else 1.5)
                 for (m, verb, _), n in counts.items() if m == "dram")  # fmt: skip
    assert joules == best


@given(st.integers(1, 400))
def test_tile_sizes_are_all_ceil_tiles(size):
    assert set(tile_sizes(size)) == {-(-size // i) for i in range(1, size + 1)}


def test_split_covers_the_size_with_one_ragged_tile():
    assert split(65, 32) == (32, 32, 1)
    assert split(64, 32) == (32, 32)
    assert sum(split(127, 10)) == 127
