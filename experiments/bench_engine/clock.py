"""A sample of a call: the quickest of a few pieces. Imports nothing that a peer's Python lacks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

Call = Callable[[], object]
PIECES = 5  # of a sample, of which the quickest counts: the others were interrupted
PIECE_SECONDS = 0.0005  # a shorter call is repeated up to this, and the total divided
UNTIMED_BELOW = 0.05  # seconds; such a call runs once before each sample: warm caches and threads


@dataclass(frozen=True, slots=True)
class Sampler:
    """A call, how often a piece of a sample repeats it, and how many pieces there are."""

    call: Call
    repeats: int
    pieces: int

    def __call__(self) -> float:
        """Return seconds per call."""
        if self.pieces > 1:
            self.call()
        return min(self._piece() for _ in range(self.pieces))

    def _piece(self) -> float:
        start = time.perf_counter()
        for _ in range(self.repeats):
            self.call()
        return (time.perf_counter() - start) / self.repeats


def sampler(call: Call) -> Sampler:
    call()
    once = Sampler(call, 1, 1)()
    pieces = PIECES if once < UNTIMED_BELOW else 1
    return Sampler(call, max(1, int(PIECE_SECONDS / max(once, 1e-7))), pieces)
