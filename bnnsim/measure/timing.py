"""How long something takes: short samples, and what they say together."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable, Sequence

Work = Callable[[], object]
Sampler = Callable[[Work], Sequence[float]]

SAMPLE_S = 0.004  # of one sample: a call is repeated until it takes about this long
SAMPLES = 10


def seconds_of(work: Work, *, samples: int = SAMPLES, sample_s: float = SAMPLE_S) -> list[float]:
    """Return the seconds that one call takes, once for each sample, after a call to warm up."""
    work()
    begin = time.perf_counter()
    work()
    once = max(time.perf_counter() - begin, 1e-9)
    calls = max(1, math.ceil(sample_s / once))
    found = []
    for _ in range(samples):
        begin = time.perf_counter()
        for _ in range(calls):
            work()
        found.append((time.perf_counter() - begin) / calls)
    return found


def undisturbed(samples: Sequence[float]) -> float:
    """Return the sample that a tenth of the others do not exceed.

    Others that use the machine only make a call slower; a minimum would rest on one lucky sample.
    """
    return sorted(samples)[len(samples) // 10]


def band(values: Sequence[float], least: float) -> float:
    """Return the factor around the geometric mean within which 9 of 10 values lie.

    That is exp(1.645 s) with s the standard deviation of the logarithms, and at least ``least``.
    """
    if len(values) < 2:
        return least
    return max(least, math.exp(1.645 * statistics.stdev(map(math.log, values))))
