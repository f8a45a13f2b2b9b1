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

    def line_bits(self):
        loops = self.nest.loops
        return loops.columns_in * loops.channels_in * self.nest.bits[0]

    def run(self, *, hold_weights):
        tiling = self.nest.tiling
        numbered_n, numbered_m = enumerate(tiling.channel_tiles), enumerate(tiling.row_tiles)
        n_tiles, m_tiles = list(numbered_n), list(numbered_m)
        if tiling.order == OFF_CHIP_ORDERS[1]:
            pairs = [(n, m) for m in m_tiles for n in n_tiles]
        else:
            pairs = [(n, m) for n in n_tiles for m in m_tiles]
        for (n_id, channels), (m_id, rows) in pairs:
            if tiling.order and tiling.staged:
                self.bring_tiles(n_id, channels, m_id, rows)
            for part in pieces(channels, self.nest.columns):
                self.column_pass(part, rows, hold_weights)
                self.sent[n_id] += part * self.pixels(rows) * self.nest.bits[2]
        if tiling.order and tiling.staged and self.nest.streamed[2]:
            for bits in self.sent.values():
                self.count(self.levels.acts, "read", "activations_memory",
                           words(bits, self.levels.acts))  # fmt: skip
                self.count(self.levels.outer, "write", self.nest.sink,
                           words(bits, self.levels.outer))  # fmt: skip
        return self.counts

    def pixels(self, rows):
        return rows[1] * self.nest.loops.out_columns * rows[2]

    def bring_tiles(self, n_id, channels, m_id, rows):
        nest, levels = self.nest, self.levels
        if nest.streamed[0] and self.held_input != m_id:
            self.held_input = m_id
            bits = self.rows_read(rows[0], rows[1]) * rows[2] * self.line_bits()
            self.count(levels.outer, "read", nest.source, words(bits, levels.outer))
            self.count(levels.acts, "write", "activations_memory", words(bits, levels.acts))
        if nest.streamed[1] and self.held_weights != n_id:
            self.held_weights = n_id
            bits = channels * nest.loops.fan_in * nest.bits[1]
            self.count(levels.outer, "read", "weights_memory", words(bits, levels.outer))
            self.count(levels.weights, "write", "weights_memory", words(bits, levels.weights))

    def column_pass(self, channels, rows, hold_weights):
        nest = self.nest
        pixels = list(range(self.pixels(rows)))
        last = len(nest.steps) - 1
        if hold_weights or last == 0:
            for k, step in enumerate(nest.steps):
                self.fetch_weights(channels, step)
                self.fill_window(rows)
                for _ in pixels:
                    self.read_input(step)
                    self.partial_sums(channels, k, last)
        else:
            self.fill_window(rows)
            for start in range(0, len(pixels), nest.accumulators):
                for step in nest.steps:
                    self.fetch_weights(channels, step)
                    for _ in pixels[start : start + nest.accumulators]:
                        self.read_input(step)
        for _ in pixels:
            memory = self.output_memory()
            category = nest.sink if memory.off_chip else "activations_memory"
            self.count(memory, "write", category, words(channels * nest.bits[2], memory))

    def partial_sums(self, channels, k, last):
        acts = self.levels.acts
        number = words(channels * self.nest.bits[3], acts)
        if k > 0:
            self.count(acts, "read", "activations_memory", number)
        if k < last:
            self.count(acts, "write", "activations_memory", number)

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

    def fill_window(self, rows):
        window, acts = self.window(), self.levels.acts
        if window is None:
            return
        for _ in range(self.rows_read(rows[0], rows[1]) * rows[2]):
            self.count(acts, "read", "activations_memory", words(self.line_bits(), acts))
            self.count(window, "write", "activations_memory", words(self.line_bits(), window))

    def read_input(self, step):
        memory = self.window() or self.source(0, self.levels.acts)
        category = self.nest.source if memory.off_chip else "activations_memory"
        self.count(memory, "read", category, words(step * self.nest.bits[0], memory))
