"""Whole-word accesses of each memory while a stage runs, under its mapping.

Every count is in accesses of the memory's own word (bursts for DRAM); a read of a slice of b bits
takes ceil(b / word) accesses. The loops are those of mapping.py; a replayer in the tests walks
them and counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from bnnsim.cost.hardware import Memory
from bnnsim.cost.mapping import Loops, Tiling, split
from bnnsim.cost.pricing import access_joules

WEIGHTS, ACTIVATIONS, IO = "weights_memory", "activations_memory", "io"
Access = tuple[str, str, str]
Accesses = Counter[Access]


@dataclass(frozen=True, slots=True)
class Levels:
    """The memories that serve one stage.

    Parameters
    ----------
    window : Memory or None
        Small memory that holds the input rows under the filter, where they fit.
    acts, weights : Memory
        Where the array's inputs, outputs and partial sums, and its weights, are on chip.
    outer : Memory or None
        Off-chip memory.
    """

    window: Memory | None
    acts: Memory
    weights: Memory
    outer: Memory | None

    def joules(self, accesses: Accesses) -> float:
        """Return the energy of accesses to these memories."""
        memories = {m.name: m for m in (self.window, self.acts, self.weights, self.outer) if m}
        return sum(n * access_joules(memories[m], verb) for (m, verb, _), n in accesses.items())


@dataclass(frozen=True, slots=True)
class Nest:
    """Everything that the access counts of a Dense or Conv2d depend on.

    Parameters
    ----------
    steps : tuple of tuple of int
        By tile of input channels: slices of the dot product, as the rows take them.
    columns, accumulators : int
    bits : tuple of int
        Bits of a stored input element, weight, output element, and partial sum.
    streamed : tuple of bool
        Whether input, weights and output are off chip.
    out_pixels : int
        Written pixels of all images in flight (after a fused pool).
    source, sink : str
        Category of the off-chip traffic of input and output.
    """

    loops: Loops
    tiling: Tiling
    steps: tuple[tuple[int, ...], ...]
    columns: int
    accumulators: int
    bits: tuple[int, int, int, int]
    streamed: tuple[bool, bool, bool]
    out_pixels: int
    source: str
    sink: str

    def channel_steps(self) -> Counter[int]:
        """Return how many passes over the columns have each number of channels, of one group."""
        found: Counter[int] = Counter()
        for size, times in Counter(self.tiling.channel_tiles).items():
            for part in split(size, self.columns):
                found[part] += times
        return found

    def row_figures(self) -> list[tuple[int, int]]:
        """Return (output pixels, input rows of all its images) of each off-chip row tile."""
        loops = self.loops
        return [
            (rows * loops.out_columns * images, loops.input_rows(first, rows) * images)
            for first, rows, images in self.tiling.row_tiles
        ]


def words(bits: int, memory: Memory) -> int:
    """Return the accesses that a slice of ``bits`` takes."""
    return -(-bits // memory.word_bits)


@dataclass(frozen=True, slots=True)
class Order:
    """A loop order at the array: its name, all accesses of the layer, and their energy."""

    name: str
    accesses: Accesses
    joules: float


def cheapest(nest: Nest, levels: Levels) -> Order:
    """Return the loop order at the array with the least memory energy, the first of equals."""
    fixed = off_chip_accesses(nest, levels) + output_accesses(nest, levels)
    orders = {"weights held": array_accesses(nest, levels, hold_weights=True)}
    if any(len(steps) > 1 for steps in nest.steps):  # else both orders are the same
        orders["sums held"] = array_accesses(nest, levels, hold_weights=False)
    name = min(orders, key=lambda key: levels.joules(orders[key]))
    total = fixed + orders[name]
    accesses = Counter({key: n * nest.loops.groups for key, n in total.items()})
    return Order(name, accesses, levels.joules(accesses))


def array_accesses(nest: Nest, levels: Levels, *, hold_weights: bool) -> Accesses:
    """Return the accesses between the array and the nearest memories, for one group.

    Weights held: for each column pass and slice of the dot product, the weights are read once per
    row tile and all its pixels pass; sums held: for each column pass, ``accumulators`` pixels keep
    their sums while the slices of one tile of input channels pass. The weights of one pass and
    slice lie together (their layout is free), the inputs of one pixel and slice too.
    """
    found: Accesses = Counter()
    bits_in, bits_w, _, bits_sum = nest.bits
    acts, weights = _sources(nest, levels)
    near = levels.window if levels.window is not None and acts is levels.acts else acts
    channel_steps, tiles = nest.channel_steps(), nest.row_figures()
    passes = channel_steps.total()
    lines = sum(count for _, count in tiles) * passes
    partial_sums = -1  # times that a pixel's sums are put aside
    for depth, steps in zip(nest.tiling.depth_tiles, nest.steps, strict=True):
        held = hold_weights or len(steps) == 1
        partial_sums += len(steps) if held else 1
        chunks = sum(1 if held else -(-pixels // nest.accumulators) for pixels, _ in tiles)
        sizes = Counter(steps)
        blocks = sum(
            words(n * step * bits_w, weights) * times * again
            for n, times in channel_steps.items() for step, again in sizes.items()
        )  # fmt: skip
        found[weights.name, "read", WEIGHTS] += chunks * blocks
        per_pixel = sum(words(step * bits_in, near) * again for step, again in sizes.items())
        category = nest.source if near.off_chip else ACTIVATIONS
        found[near.name, "read", category] += nest.loops.pixels * passes * per_pixel
        if near is not acts:
            line = nest.loops.columns_in * depth * bits_in
            rows = lines * (len(steps) if held else 1)
            found[acts.name, "read", ACTIVATIONS] += rows * words(line, acts)
            found[near.name, "write", ACTIVATIONS] += rows * words(line, near)
    if partial_sums:
        partial = sum(words(n * bits_sum, levels.acts) * t for n, t in channel_steps.items())
        spills = nest.loops.pixels * partial * partial_sums
        found[levels.acts.name, "write", ACTIVATIONS] += spills
        found[levels.acts.name, "read", ACTIVATIONS] += spills
    return found


def _sources(nest: Nest, levels: Levels) -> tuple[Memory, Memory]:
    """Return from where the array reads inputs and weights; off chip where nothing is staged."""
    direct = not nest.tiling.staged and levels.outer is not None
    acts = levels.outer if direct and nest.streamed[0] else levels.acts
    weights = levels.outer if direct and nest.streamed[1] else levels.weights
    return acts or levels.acts, weights or levels.weights


def output_accesses(nest: Nest, levels: Levels) -> Accesses:
    """Return the writes of finished outputs, one column pass of one pixel at a time."""
    outer = levels.outer
    direct = outer is not None and nest.streamed[2] and not nest.tiling.staged
    memory = outer if direct and outer is not None else levels.acts
    per_pixel = sum(words(n * nest.bits[2], memory) * t for n, t in nest.channel_steps().items())
    category = nest.sink if memory.off_chip else ACTIVATIONS
    return Counter({(memory.name, "write", category): nest.out_pixels * per_pixel})


def off_chip_accesses(nest: Nest, levels: Levels) -> Accesses:
    """Return what crosses the chip's edge in whole tiles, and its passage through the chip."""
    found: Accesses = Counter()
    outer = levels.outer
    if outer is None or not nest.tiling.staged or not nest.tiling.order:
        return found
    tiles_n, tiles_m = nest.tiling.channel_tiles, nest.row_figures()
    depths = nest.tiling.depth_tiles
    taps = nest.loops.kernel[0] * nest.loops.kernel[1]
    channels_outer = nest.tiling.order == "channels outer"
    if nest.streamed[0]:
        line = nest.loops.columns_in * nest.bits[0]
        stays = len(depths) == 1 and (not channels_outer or len(tiles_m) == 1)
        loads = [rows * line * depth for _, rows in tiles_m for depth in depths]
        again = 1 if stays else len(tiles_n)
        _bring_in(found, loads, again, outer, levels.acts, (nest.source, ACTIVATIONS))
    if nest.streamed[1]:
        stays = len(depths) == 1 and (channels_outer or len(tiles_n) == 1)
        loads = [n * taps * depth * nest.bits[1] for n in tiles_n for depth in depths]
        again = 1 if stays else len(tiles_m)
        _bring_in(found, loads, again, outer, levels.weights, (WEIGHTS, WEIGHTS))
    if nest.streamed[2]:
        sizes = [n * nest.out_pixels * nest.bits[2] for n in tiles_n]
        found[levels.acts.name, "read", ACTIVATIONS] += sum(words(b, levels.acts) for b in sizes)
        found[outer.name, "write", nest.sink] += sum(words(b, outer) for b in sizes)
    return found


def _bring_in(
    found: Accesses, loads: Sequence[int], again: int, outer: Memory, inner: Memory,
    categories: tuple[str, str],
) -> None:  # fmt: skip
    found[outer.name, "read", categories[0]] += again * sum(words(b, outer) for b in loads)
    found[inner.name, "write", categories[1]] += again * sum(words(b, inner) for b in loads)


def move(bits: int, source: Memory, target: Memory, read: str, write: str) -> Accesses:
    """Return the accesses of copying ``bits``, with the category of the read and of the write."""
    found: Accesses = Counter()
    found[source.name, "read", read] += words(bits, source)
    found[target.name, "write", write] += words(bits, target)
    return found
