"""Walks the loops that mapping.py describes, one pixel and one slice at a time, and counts words.

Every buffer is a variable that remembers what it holds; a transfer is counted when the loop needs
something else. No count formula is used.
"""

from __future__ import annotations

from collections import Counter

from bnnsim.cost.mapping import OFF_CHIP_ORDERS


def words(bits, memory):
    count = 0
    while bits > 0:
        bits -= memory.word_bits
        count += 1
    return count


def pieces(size, part):
    return [min(part, size - at) for at in range(0, size, part)]


class Replayer:
    """One stage's loop nest over its memories, for one group."""

    def __init__(self, nest, levels):
        self.nest, self.levels, self.counts = nest, levels, Counter()
        self.held_weights = self.held_input = None
        self.sent = Counter()

    def count(self, memory, verb, category, number):
        self.counts[memory.name, verb, category] += number

    def rows_read(self, first, rows):
        """Rows of the image from the first to the last that these output rows touch."""
        loops = self.nest.loops
        touched = {
            i * loops.stride[0] + r * loops.dilation[0] - loops.pads[0]
            for i in range(first, first + rows)
            for r in range(loops.kernel[0])
        }
        inside = range(max(0, min(touched)), min(loops.rows_in, max(touched) + 1))
        return len(inside)

    def line_bits(self, depth):
        return self.nest.loops.columns_in * depth * self.nest.bits[0]

    def run(self, *, hold_weights):
        tiling = self.nest.tiling
        numbered_n, numbered_m = enumerate(tiling.channel_tiles), enumerate(tiling.row_tiles)
        n_tiles, m_tiles = list(numbered_n), list(numbered_m)
        if tiling.order == OFF_CHIP_ORDERS[1]:
            pairs = [(n, m) for m in m_tiles for n in n_tiles]
        else:
            pairs = [(n, m) for n in n_tiles for m in m_tiles]
        for (n_id, channels), (m_id, rows) in pairs:
            self.begun = set()
            for d_id, depth in enumerate(tiling.depth_tiles):
                if tiling.order and tiling.staged:
                    self.bring_tiles((n_id, d_id), channels, (m_id, d_id), rows, depth)
                for first in range(0, channels, self.nest.columns):
                    part = min(self.nest.columns, channels - first)
                    self.column_pass(first, part, rows, d_id, hold_weights)
            self.sent[n_id] += channels * self.pixels(rows) * self.nest.bits[2]
        if tiling.order and tiling.staged and self.nest.streamed[2]:
            for bits in self.sent.values():
                self.count(self.levels.acts, "read", "activations_memory",
                           words(bits, self.levels.acts))  # fmt: skip
                self.count(self.levels.outer, "write", self.nest.sink,
                           words(bits, self.levels.outer))  # fmt: skip
        return self.counts

    def pixels(self, rows):
        return rows[1] * self.nest.loops.out_columns * rows[2]

    def bring_tiles(self, weights_id, channels, input_id, rows, depth):
        nest, levels = self.nest, self.levels
        if nest.streamed[0] and self.held_input != input_id:
            self.held_input = input_id
            bits = self.rows_read(rows[0], rows[1]) * rows[2] * self.line_bits(depth)
            self.count(levels.outer, "read", nest.source, words(bits, levels.outer))
            self.count(levels.acts, "write", "activations_memory", words(bits, levels.acts))
        if nest.streamed[1] and self.held_weights != weights_id:
            self.held_weights = weights_id
            bits = channels * depth * nest.loops.kernel[0] * nest.loops.kernel[1] * nest.bits[1]
            self.count(levels.outer, "read", "weights_memory", words(bits, levels.outer))
            self.count(levels.weights, "write", "weights_memory", words(bits, levels.weights))

    def column_pass(self, first, channels, rows, d_id, hold_weights):
        nest = self.nest
        pixels, steps = list(range(self.pixels(rows))), nest.steps[d_id]
        depth = nest.tiling.depth_tiles[d_id]
        last = d_id == len(nest.steps) - 1
        if hold_weights or len(steps) == 1:
            for k, step in enumerate(steps):
                self.fetch_weights(channels, step)
                self.fill_window(rows, depth)
                for pixel in pixels:
                    self.take_up_sums(first, channels, pixel)
                    self.read_input(step)
                    self.put_aside_sums(first, channels, pixel, last and k == len(steps) - 1)
        else:
            self.fill_window(rows, depth)
            for start in range(0, len(pixels), nest.accumulators):
                held = pixels[start : start + nest.accumulators]
                for pixel in held:
                    self.take_up_sums(first, channels, pixel)
                for step in steps:
                    self.fetch_weights(channels, step)
                    for _ in held:
                        self.read_input(step)
                for pixel in held:
                    self.put_aside_sums(first, channels, pixel, last)

    def take_up_sums(self, first, channels, pixel):
        if (first, pixel) in self.begun:
            self.count(self.levels.acts, "read", "activations_memory",
                       words(channels * self.nest.bits[3], self.levels.acts))  # fmt: skip
        self.begun.add((first, pixel))

    def put_aside_sums(self, first, channels, pixel, finished):
        if finished:
            memory = self.output_memory()
            category = self.nest.sink if memory.off_chip else "activations_memory"
            self.count(memory, "write", category, words(channels * self.nest.bits[2], memory))
        else:
            self.count(self.levels.acts, "write", "activations_memory",
                       words(channels * self.nest.bits[3], self.levels.acts))  # fmt: skip

    def source(self, operand, on_chip):
        direct = not self.nest.tiling.staged and self.nest.streamed[operand]
        return self.levels.outer if direct else on_chip

    def output_memory(self):
        return self.source(2, self.levels.acts)

    def fetch_weights(self, channels, step):
        memory = self.source(1, self.levels.weights)
        self.count(memory, "read", "weights_memory",
                   words(channels * step * self.nest.bits[1], memory))  # fmt: skip

    def window(self):
        on_chip = self.source(0, self.levels.acts) is self.levels.acts
        return self.levels.window if on_chip else None

    def fill_window(self, rows, depth):
        window, acts = self.window(), self.levels.acts
        if window is None:
            return
        for _ in range(self.rows_read(rows[0], rows[1]) * rows[2]):
            self.count(acts, "read", "activations_memory", words(self.line_bits(depth), acts))
            self.count(window, "write", "activations_memory", words(self.line_bits(depth), window))

    def read_input(self, step):
        memory = self.window() or self.source(0, self.levels.acts)
        category = self.nest.source if memory.off_chip else "activations_memory"
        self.count(memory, "read", category, words(step * self.nest.bits[0], memory))
