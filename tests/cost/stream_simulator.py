"""A streaming dataflow that ticks cycle by cycle: rows are tokens in queues. Slow and obvious.

Written from the rules in bnnsim/cost/streaming.py, without its formulas: nothing here knows when a
row will be there, only what has happened until now. Several images follow one another.
"""

from __future__ import annotations

from bnnsim.graph.ir import Graph, Node


def rows(graph: Graph, name: str) -> int:
    shape = graph.tensor(name).shape
    return shape[0] if len(shape) == 3 else 1


class Source:
    """Puts bits on the bus, as many a cycle as it is wide, and counts complete rows."""

    def __init__(self, graph: Graph, name: str, bits: int, bus: int, images: int) -> None:
        self.name, self.bus, self.images = name, bus, images
        self.rows, self.bits = rows(graph, name), bits
        self.sent = self.image = 0

    def tick(self, there: dict[tuple[str, int], int]) -> None:
        if self.image == self.images:
            return
        self.sent = min(self.bits, self.sent + self.bus)
        there[self.name, self.image] = self.sent * self.rows // self.bits
        if self.sent == self.bits:
            self.sent, self.image = 0, self.image + 1


class Worker:
    """Works on one row at a time, for so many cycles; the windows say which rows it must have."""

    def __init__(self, graph: Graph, node: Node, cycles: int, images: int) -> None:
        self.node, self.cycles, self.images = node, cycles, images
        self.rows = rows(graph, node.output)
        self.needs = [needed(graph, node, row) for row in range(self.rows)]
        self.image = self.row = self.left = 0

    def tick(self, before: dict[tuple[str, int], int], there: dict[tuple[str, int], int]) -> None:
        if self.image == self.images:
            return
        have = before.get((self.node.inputs[0], self.image), 0)
        if not self.left and have >= self.needs[self.row]:
            self.left = self.cycles
        if self.left:
            self.left -= 1
            if not self.left:
                self.row += 1
                there[self.node.output, self.image] = self.row
                if self.row == self.rows:
                    self.row, self.image = 0, self.image + 1


def needed(graph: Graph, node: Node, row: int) -> int:
    """Return how many input rows must have come before an output row can be made."""
    height = rows(graph, node.inputs[0])
    if node.op in ("Flatten", "GlobalAvgPool", "Dense"):
        return height
    if node.op in ("Conv2d", "MaxPool"):
        taps = graph.tensor(node.inputs[1]).shape[1] if node.op == "Conv2d" else 0
        kernel = taps or node.attrs["kernel"][0]
        gap = node.attrs.get("dilation", (1, 1))[0]
        top = row * node.attrs["stride"][0] - node.attrs["pads"][0]
        lowest = max(top + gap * tap for tap in range(kernel))
        return max(0, min(height, lowest + 1))
    return row + 1  # an op that works on each element


def follow(graph: Graph, there: dict[tuple[str, int], int], image: int) -> None:
    """Let rows through the ops that take no time."""
    for node in graph.nodes:
        if node.op in ("Dense", "Conv2d"):
            continue
        sources = [n for n in node.inputs if not graph.tensor(n).constant]
        have = min(there.get((name, image), 0) for name in sources)
        made = sum(needed(graph, node, r) <= have for r in range(rows(graph, node.output)))
        there[node.output, image] = made


def finish_times(
    graph: Graph, bits: int, bus: int, row_cycles: dict[str, int], images: int = 1
) -> list[int]:
    """Return the cycle at which the last bit of each image's result has left."""
    (source,), (out,) = graph.inputs, graph.outputs
    feed = Source(graph, source, bits, bus, images)
    workers = [Worker(graph, n, row_cycles[n.name], images) for n in graph.nodes
               if n.name in row_cycles]  # fmt: skip
    row_bits = graph.tensor(out).bits // rows(graph, out)
    there: dict[tuple[str, int], int] = {}
    done: list[int] = []
    gone = sent = cycle = 0
    while len(done) < images:
        cycle += 1
        before = dict(there)
        feed.tick(there)
        for worker in workers:
            worker.tick(before, there)
        for image in range(images):
            follow(graph, there, image)
        if before.get((out, len(done)), 0) > gone:
            sent += bus
            if sent >= row_bits:
                sent, gone = 0, gone + 1
            if gone == rows(graph, out):
                done.append(cycle)
                gone = 0
    return done
