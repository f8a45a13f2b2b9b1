"""Mapping one Dense or Conv2d onto the memories: tiles from off chip, loop order at the array.

Two boundaries. From off chip, tiles of whole columns of output channels by rows (or images) of
outputs are brought on chip, double-buffered, in the cheaper of two loop orders; innermost go tiles
of input channels, between which the sums of the output tile stay on chip. At the array, for each
tile, either the weights are held while all outputs pass (partial sums go to memory between slices
of the dot product), or a few sums are held while the weights pass. The search is exhaustive over
divisor and ceil tiles; its counts are those of a loop-nest replayer.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
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
        Bits of a stored input element, weight, output element, and partial sum.
    streamed : tuple of bool
        Whether input, weights and output are off chip.
    free_bits, free_weight_bits : int
        On-chip bits for tiles; the second is the pool of weights, or -1 if there is one pool.
    cost : tuple of float
        Joules per bit brought in, per bit sent out, and per bit of a partial sum put aside on
        chip and taken up again.
    """

    bits: tuple[int, int, int, int]
    streamed: tuple[bool, bool, bool]
    free_bits: int
    free_weight_bits: int
    cost: tuple[float, float, float]

    def unbounded(self) -> Room:
        """Return the same without the sizes: what tilings cost and need."""
        return replace(self, free_bits=0, free_weight_bits=min(0, self.free_weight_bits))


@dataclass(frozen=True, slots=True)
class Tiling:
    """The chosen off-chip tiling.

    Parameters
    ----------
    channel_tiles : tuple of int
        Output channels of each tile.
    row_tiles : tuple of (int, int, int)
        (first output row, output rows, images) of each tile.
    depth_tiles : tuple of int
        Input channels of each tile; more than one only if the weights of all of them do not fit.
    order : str
        Which loop is outer, one of ``OFF_CHIP_ORDERS``; empty where nothing is off chip.
    staged : bool
        False if operands pass from off chip straight to the array, where no tile fits or it costs
        less.
    """

    channel_tiles: tuple[int, ...]
    row_tiles: tuple[tuple[int, int, int], ...]
    depth_tiles: tuple[int, ...]
    order: str
    staged: bool

    def __str__(self) -> str:
        if not self.staged:
            return "operands pass from off chip straight to the array"
        if not self.order:
            return "on chip"
        rows = (
            self.row_tiles[0][1] if self.row_tiles[0][2] == 1 else f"{self.row_tiles[0][2]} x all"
        )
        depth = f" x {self.depth_tiles[0]} deep" if len(self.depth_tiles) > 1 else ""
        return f"{self.order}, tiles of {self.channel_tiles[0]} channels x {rows} rows{depth}"


def tile_sizes(size: int) -> tuple[int, ...]:
    """Return the divisor and ceil tiles of ``size``: every distinct ceil(size / i)."""
    return tuple(sorted({-(-size // i) for i in range(1, size + 1)}))


def split(size: int, tile: int) -> tuple[int, ...]:
    """Return the tiles of ``size``, the last one ragged."""
    full, rest = divmod(size, tile)
    return (tile,) * full + ((rest,) if rest else ())


def tile(loops: Loops, columns: int, room: Room, granules: tuple[int, ...]) -> Tiling:
    """Return the tiling with the least energy off chip and in partial sums that fits twice.

    Twice, because tiles are double-buffered. Among equals the larger tiles win. Weights read once
    and inputs read once cost the same in either order where only one of them is off chip.

    Parameters
    ----------
    granules : tuple of int
        Tiles of input channels are multiples of one of these, or all of them.
    """
    if not any(room.streamed):
        return whole(loops)
    options = frontier(loops, columns, room.unbounded(), granules)
    found = next((o for o in options if o.fits(room)), None)
    return replace(whole(loops), staged=False) if found is None else found.tiling(loops)


def whole(loops: Loops) -> Tiling:
    """Return the tiling of a layer whose operands are all on chip."""
    rows = ((0, loops.out_rows, loops.images),)
    return Tiling((loops.channels_out,), rows, (loops.channels_in,), "", True)


@dataclass(frozen=True, slots=True)
class Option:
    """A tiling worth having: each that costs less needs more room.

    Parameters
    ----------
    bits, weight_bits : float
        Room that it takes; the second is 0 where one pool serves both.
    joules : float
        Off chip and in partial sums, of one group.
    sizes : tuple of int
        Output channels, output rows, images, and input channels of a tile.
    order : str
    """

    bits: float
    weight_bits: float
    joules: float
    sizes: tuple[int, int, int, int]
    order: str

    def fits(self, room: Room) -> bool:
        """Return whether the double-buffered tiles find room."""
        return self.bits <= room.free_bits and self.weight_bits <= max(0, room.free_weight_bits)

    @property
    def tile_bytes(self) -> int:
        """Bytes of the double-buffered tiles."""
        return -(-int(self.bits + self.weight_bits) // 8)

    def tiling(self, loops: Loops) -> Tiling:
        """Return the tiles themselves."""
        channels, rows, images, depth = self.sizes
        return Tiling(
            split(loops.channels_out, channels),
            _row_tiles(loops, (rows, images)),
            split(loops.channels_in, depth),
            self.order,
            True,
        )


def entire(loops: Loops, room: Room) -> Option:
    """Return the one tile of everything: where it fits, no other costs less."""
    bits_in, bits_w, bits_out, _ = room.bits
    rows = loops.out_rows, loops.images
    read_in = room.streamed[0] * _row_figures(loops, rows)[2] * loops.channels_in * bits_in
    read_w = room.streamed[1] * loops.channels_out * loops.fan_in * bits_w
    written = room.streamed[2] * loops.pixels * loops.channels_out * bits_out
    joules = (read_in + read_w) * room.cost[0] + written * room.cost[1]
    acts, weights = BUFFERS * (read_in + written), BUFFERS * read_w
    needs = (acts + weights, 0) if room.free_weight_bits < 0 else (acts, weights)
    sizes = (loops.channels_out, *rows, loops.channels_in)
    return Option(*needs, joules, sizes, OFF_CHIP_ORDERS[0])


@lru_cache(maxsize=8192)
def frontier(
    loops: Loops, columns: int, room: Room, granules: tuple[int, ...]
) -> tuple[Option, ...]:
    """Return the tilings that no other beats in room and energy, the cheapest first.

    They do not depend on how much room there is, so that a larger memory has all that a smaller
    one has.
    """
    channels = _multiples(loops.channels_out, columns)
    depths = sorted({d for granule in granules for d in _multiples(loops.channels_in, granule)})
    row_options = _row_options(loops)
    rows = np.array([_row_figures(loops, option) for option in row_options], dtype=float)
    axes = _Axes.of(loops, rows, channels, depths)
    joules = _joules(loops, room, axes)
    shape = joules.shape
    bits, weight_bits = (np.broadcast_to(b, shape).ravel() for b in _needs(loops, room, axes))
    size = np.broadcast_to((axes.pixels * axes.channels * axes.depth)[None], shape).ravel()
    costs = joules.ravel()
    left = np.lexsort((-size, costs))
    found = []
    while left.size:
        best = left[0]
        order, m, n, d = (int(i) for i in np.unravel_index(best, shape))
        needs = float(bits[best]), float(weight_bits[best])
        sizes = (channels[n], *row_options[m], depths[d])
        found.append(Option(*needs, float(costs[best]), sizes, OFF_CHIP_ORDERS[order]))
        left = left[(bits[left] < needs[0]) | (weight_bits[left] < needs[1])]
    return tuple(found)


def _multiples(size: int, granule: int) -> list[int]:
    """Return the tiles of ``size`` that are whole granules, or all of it."""
    return [min(size, t * granule) for t in tile_sizes(-(-size // granule))]


@dataclass(frozen=True, slots=True)
class _Axes:
    """The options of a search, each along its own axis: (rows, output channels, input channels).

    Parameters
    ----------
    tiles_m, pixels_in, all_pixels_in, pixels : array of shape (M, 1, 1)
        Tiles, input pixels of the largest and of all tiles, output pixels of the largest tile.
    tiles_n, channels : array of shape (1, N, 1)
    tiles_d, depth : array of shape (1, 1, D)
    """

    tiles_m: np.ndarray
    pixels_in: np.ndarray
    all_pixels_in: np.ndarray
    pixels: np.ndarray
    tiles_n: np.ndarray
    channels: np.ndarray
    tiles_d: np.ndarray
    depth: np.ndarray

    @classmethod
    def of(cls, loops: Loops, rows: np.ndarray, channels: list[int], depths: list[int]) -> _Axes:
        """Return the axes of all row figures and tile sizes."""
        n, d = np.array(channels, dtype=float), np.array(depths, dtype=float)
        tiles_m, pixels_in, all_pixels_in, pixels = (column[:, None, None] for column in rows.T)
        return cls(
            tiles_m,
            pixels_in,
            all_pixels_in,
            pixels,
            np.ceil(loops.channels_out / n)[None, :, None],
            n[None, :, None],
            np.ceil(loops.channels_in / d)[None, None, :],
            d[None, None, :],
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
    """Return tiles, input pixels of the largest tile and of all, output pixels of the largest."""
    rows, images = option
    parts = split(loops.out_rows, rows)
    reads = [loops.input_rows(i * rows, n) * loops.columns_in for i, n in enumerate(parts)]
    repeats = loops.images if len(parts) > 1 else -(-loops.images // images)
    largest = max(reads) * images
    return (
        len(parts) * repeats,
        largest,
        sum(reads) * loops.images,
        (rows * loops.out_columns * images),
    )


def _joules(loops: Loops, room: Room, axes: _Axes) -> np.ndarray:
    """Return energy by (order, row, channel, depth option) off chip and in partial sums."""
    bits_in, bits_w, bits_out, bits_sum = room.bits
    cost_in, cost_out, cost_sum = room.cost
    tiles_m, tiles_n, tiles_d = axes.tiles_m, axes.tiles_n, axes.tiles_d
    read_in = room.streamed[0] * axes.all_pixels_in * loops.channels_in * bits_in
    read_w = room.streamed[1] * loops.channels_out * loops.fan_in * bits_w
    results = float(loops.pixels * loops.channels_out)
    written = room.streamed[2] * results * bits_out * cost_out
    sums = results * bits_sum * cost_sum * (tiles_d - 1)
    # The operand of the outer loop stays while the inner loop runs, if it is one tile deep; that
    # of the inner loop stays where it has one tile in all.
    deep = tiles_d > 1
    in_again, w_again = np.where(deep, tiles_n, 1.0), np.where(deep, tiles_m, 1.0)
    channels_outer = read_in * np.where(tiles_m > 1, tiles_n, in_again) + read_w * w_again
    rows_outer = read_in * in_again + read_w * np.where(tiles_n > 1, tiles_m, w_again)
    return np.stack([channels_outer, rows_outer]) * cost_in + written + sums


def _needs(loops: Loops, room: Room, axes: _Axes) -> tuple[np.ndarray, np.ndarray]:
    """Return bits of double-buffered tiles and of the sums of a split depth, and those of weights.

    Where one pool serves both, the first are all of them.
    """
    bits_in, bits_w, bits_out, bits_sum = room.bits
    taps = loops.kernel[0] * loops.kernel[1]
    results = axes.pixels * axes.channels
    acts = room.streamed[0] * axes.pixels_in * axes.depth * bits_in * BUFFERS
    acts = acts + room.streamed[2] * results * bits_out * BUFFERS
    acts = acts + (axes.tiles_d > 1) * results * bits_sum
    weights = room.streamed[1] * axes.channels * taps * axes.depth * bits_w * BUFFERS
    if room.free_weight_bits < 0:
        return acts + weights, np.zeros_like(weights)
    return acts, weights
