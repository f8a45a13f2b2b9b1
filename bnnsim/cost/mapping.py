"""Mapping one Dense or Conv2d onto the memories: tiles from off chip, loop order at the array.

Two boundaries. From off chip, tiles of whole columns of output channels by rows (or images) of
outputs are brought on chip, double-buffered, in the cheaper of two loop orders. At the array, for
each tile of output channels, either the weights are held while all outputs pass (partial sums go
to memory between slices of the dot product), or a few sums are held while the weights pass. The
search is exhaustive over divisor and ceil tiles; its counts are those of a loop-nest replayer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

OFF_CHIP_ORDERS = ("channels outer", "rows outer")
BUFFERS = 2


@dataclass(frozen=True, slots=True)
class Loops:
    """The loop nest of one layer and group, for the images in flight.

    Parameters
    ----------
    images, out_rows, out_columns : int
        Output pixels are images x rows x columns; 1 x 1 for a Dense.
    channels_out, channels_in : int
        Of one group.
    kernel, stride, dilation, pads : tuple of int
        As the node's attributes; pads are (top, left, bottom, right).
    rows_in, columns_in : int
    groups : int
    """

    images: int
    out_rows: int
    out_columns: int
    channels_out: int
    channels_in: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pads: tuple[int, int, int, int]
    rows_in: int
    columns_in: int
    groups: int

    @property
    def pixels(self) -> int:
        """Output pixels of all images in flight."""
        return self.images * self.out_rows * self.out_columns

    @property
    def fan_in(self) -> int:
        """Elements of one dot product."""
        return self.kernel[0] * self.kernel[1] * self.channels_in

    def input_rows(self, first: int, count: int) -> int:
        """Return how many rows of the image output rows [first, first + count) read."""
        top = first * self.stride[0] - self.pads[0]
        reach = (count - 1) * self.stride[0] + (self.kernel[0] - 1) * self.dilation[0] + 1
        return max(0, min(self.rows_in, top + reach) - max(0, top))


@dataclass(frozen=True, slots=True)
class Room:
    """What the search needs to know of memories and operands.

    Parameters
    ----------
    bits : tuple of int
        Bits of a stored input element, weight and output element.
    streamed : tuple of bool
        Whether input, weights and output are off chip.
    free_bits, free_weight_bits : int
        On-chip bits for tiles; the second is the pool of weights, or -1 if there is one pool.
    cost : tuple of float
        Joules per bit brought in and per bit sent out.
    """

    bits: tuple[int, int, int]
    streamed: tuple[bool, bool, bool]
    free_bits: int
    free_weight_bits: int
    cost: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Tiling:
    """The chosen off-chip tiling.

    Parameters
    ----------
    channel_tiles : tuple of int
        Output channels of each tile.
    row_tiles : tuple of (int, int, int)
        (first output row, output rows, images) of each tile.
    order : str
        Which loop is outer, one of ``OFF_CHIP_ORDERS``; empty where nothing is off chip.
    staged : bool
        False if no tile fits and operands pass from off chip straight to the array.
    """

    channel_tiles: tuple[int, ...]
    row_tiles: tuple[tuple[int, int, int], ...]
    order: str
    staged: bool

    def __str__(self) -> str:
        if not self.staged:
            return "no tile fits: operands pass from off chip to the array"
        if not self.order:
            return "on chip"
        rows = (
            self.row_tiles[0][1] if self.row_tiles[0][2] == 1 else f"{self.row_tiles[0][2]} x all"
        )
        return f"{self.order}, tiles of {self.channel_tiles[0]} channels x {rows} rows"


def tile_sizes(size: int) -> tuple[int, ...]:
    """Return the divisor and ceil tiles of ``size``: every distinct ceil(size / i)."""
    return tuple(sorted({-(-size // i) for i in range(1, size + 1)}))


def split(size: int, tile: int) -> tuple[int, ...]:
    """Return the tiles of ``size``, the last one ragged."""
    full, rest = divmod(size, tile)
    return (tile,) * full + ((rest,) if rest else ())


@lru_cache(maxsize=8192)
def tile(loops: Loops, columns: int, room: Room) -> Tiling:
    """Return the tiling with the least off-chip energy that fits twice (double-buffered).

    Among equals the larger tiles win. Weights read once and inputs read once cost the same in
    either order where only one of them is off chip.
    """
    whole = (loops.channels_out,)
    all_rows = ((0, loops.out_rows, loops.images),)
    if not any(room.streamed):
        return Tiling(whole, all_rows, "", True)
    channel_options = [min(loops.channels_out, t * columns)
                       for t in tile_sizes(-(-loops.channels_out // columns))]  # fmt: skip
    row_options = _row_options(loops)
    n = np.array(channel_options, dtype=float)
    tiles_n = np.array([-(-loops.channels_out // c) for c in channel_options], dtype=float)
    rows = np.array([_row_figures(loops, option) for option in row_options], dtype=float)
    tiles_m, in_peak, in_total, out_peak = rows.T
    joules = _traffic_joules(loops, room, (tiles_n, tiles_m), in_total)
    fits = _fits(loops, room, n, in_peak, out_peak)
    if not fits.any():
        return Tiling(whole, all_rows, "", False)
    joules = np.where(fits[None], joules, np.inf)
    size = (out_peak[:, None] * n[None, :])[None]
    best = np.flatnonzero(joules == joules.min())
    order, m_at, n_at = np.unravel_index(
        best[np.argmax(np.broadcast_to(size, joules.shape).ravel()[best])], joules.shape
    )
    return Tiling(
        split(loops.channels_out, channel_options[int(n_at)]),
        _row_tiles(loops, row_options[int(m_at)]),
        OFF_CHIP_ORDERS[int(order)],
        True,
    )


def _row_options(loops: Loops) -> list[tuple[int, int]]:
    """Return (output rows, images) of a tile: rows of one image, or whole images."""
    rows = [(r, 1) for r in tile_sizes(loops.out_rows) if r < loops.out_rows]
    return rows + [(loops.out_rows, b) for b in tile_sizes(loops.images)]


def _row_tiles(loops: Loops, option: tuple[int, int]) -> tuple[tuple[int, int, int], ...]:
    rows, images = option
    if rows == loops.out_rows:
        return tuple((0, rows, b) for b in split(loops.images, images))
    tiles = []
    for part, count in enumerate(split(loops.out_rows, rows)):
        tiles.append((part * rows, count, 1))
    return tuple(tiles) * loops.images


def _row_figures(loops: Loops, option: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return tiles, elements of the largest input tile, of all input tiles, largest pixels."""
    rows, images = option
    parts = split(loops.out_rows, rows)
    line = loops.columns_in * loops.channels_in
    reads = [loops.input_rows(i * rows, count) * line for i, count in enumerate(parts)]
    repeats = loops.images if len(parts) > 1 else -(-loops.images // images)
    largest = max(reads) * images
    return (
        len(parts) * repeats,
        largest,
        sum(reads) * loops.images,
        (rows * loops.out_columns * images),
    )


def _traffic_joules(
    loops: Loops, room: Room, tiles: tuple[np.ndarray, np.ndarray], in_total: np.ndarray
) -> np.ndarray:
    """Return energy by (order, row option, channel option) of what crosses the chip's edge."""
    tiles_n, tiles_m = tiles
    (bits_in, bits_w, bits_out), (cost_in, cost_out) = room.bits, room.cost
    read_in = room.streamed[0] * in_total[:, None] * bits_in
    read_w = room.streamed[1] * loops.channels_out * loops.fan_in * bits_w
    written = room.streamed[2] * loops.pixels * loops.channels_out * bits_out * cost_out
    # Consecutive tiles of the outer loop keep the inner operand where the inner loop has one tile.
    again_in = np.where(tiles_m[:, None] > 1, tiles_n[None, :], 1.0)
    again_w = np.where(tiles_n[None, :] > 1, tiles_m[:, None], 1.0)
    channels_outer = read_in * again_in + read_w
    rows_outer = read_in + read_w * again_w
    return np.stack([channels_outer, rows_outer]) * cost_in + written


def _fits(
    loops: Loops, room: Room, n: np.ndarray, in_peak: np.ndarray, out_peak: np.ndarray
) -> np.ndarray:
    bits_in, bits_w, bits_out = room.bits
    acts = room.streamed[0] * in_peak[:, None] * bits_in * BUFFERS
    acts = acts + room.streamed[2] * out_peak[:, None] * n[None, :] * bits_out * BUFFERS
    weights = room.streamed[1] * n[None, :] * loops.fan_in * bits_w * BUFFERS
    if room.free_weight_bits < 0:
        return np.asarray(acts + weights <= room.free_bits)
    return np.asarray((acts <= room.free_bits) & (weights <= room.free_weight_bits))
