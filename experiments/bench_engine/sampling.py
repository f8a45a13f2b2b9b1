"""Samples in turns: every contender right after our one-thread call and after the raw loop."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from bnnsim.engine import _kernels
from experiments.bench_engine.clock import PIECE_SECONDS, PIECES, Call, sampler

Row = dict[str, object]
OURS = "bnnsim"  # the names of our contenders start so


@dataclass(frozen=True, slots=True)
class Work:
    """One workload: its multiply-accumulates and everyone who does it here, ``OURS`` first.

    ``elsewhere`` are contenders in other processes: functions that take a sample of their own.
    """

    name: str
    macs: float
    calls: dict[str, Call]
    elsewhere: dict[str, Callable[[], float]] = field(default_factory=dict)


def raw_rate() -> float:
    """Return multiply-accumulates per second of the raw loop, sampled like everyone."""
    return max(_kernels.raw_xor_popcount_rate(PIECE_SECONDS) for _ in range(PIECES))


def raw_scaling(threads: int, rounds: int) -> dict[str, float]:
    """Return the raw loop's rate on several threads over that on one: the machine's limit."""
    with ThreadPoolExecutor(threads) as pool:
        several = [
            sum(pool.map(lambda _: raw_rate(), range(threads))) / raw_rate() for _ in range(rounds)
        ]
    return quartiles(several)


def quartiles(samples: list[float]) -> dict[str, float]:
    """Return the median and the quartiles around it."""
    low, median, high = statistics.quantiles(samples, n=4, method="inclusive")
    return {"median": median, "low": low, "high": high}


@dataclass
class _Samples:
    seconds: list[float] = field(default_factory=list)
    ours_over: list[float] = field(default_factory=list)  # its seconds / ours
    share: list[float] = field(default_factory=list)  # of the raw loop


def measure(work: Work, budget: float, least_rounds: int) -> Row:
    """Time all contenders in rounds until ``budget`` seconds are spent.

    Ratios are taken between neighbours in time, so that what slows the machine down for longer than
    a sample slows both sides; medians and quartiles are over the rounds.
    """
    own: dict[str, Callable[[], float]] = {n: sampler(call) for n, call in work.calls.items()}
    samplers = own | work.elsewhere
    samples = {name: _Samples() for name in samplers}
    rounds, start = 0, time.perf_counter()
    while rounds < least_rounds or time.perf_counter() - start < budget:
        rounds += 1
        for name, timed in samplers.items():
            raw = raw_rate()
            ours = samplers[OURS]()
            seconds = ours if name == OURS else timed()
            samples[name].seconds.append(seconds)
            samples[name].ours_over.append(seconds / ours)
            samples[name].share.append(work.macs / seconds / raw)
    return {
        "work": work.name,
        "macs": work.macs,
        "rounds": rounds,
        "contenders": {
            name: {
                "seconds": quartiles(of.seconds),
                "ours_over": quartiles(of.ours_over),
                "share_of_raw_loop": quartiles(of.share),
            }
            for name, of in samples.items()
        },
    }
