"""Time the engine, other libraries and the raw loop in turns, and print medians."""

from __future__ import annotations

import argparse
import json
import os
import statistics
from itertools import chain
from pathlib import Path

from bnnsim.engine import _kernels, dispatch
from experiments.bench_engine.contenders import OURS, Work, convolutions, networks, products
from experiments.bench_gemm.__main__ import cpu_name, seconds_of, summary

RAW_SECONDS = 0.02
LEAST_SECONDS = 0.002  # a shorter call is repeated up to this and divided

SIDES = ((56, 64), (28, 128), (14, 256), (7, 512))
NETWORKS = {"mlp-3x4096": (1, 100, 10_000), "cifar10-convnet": (1, 64)}
QUICK_NETWORKS = {"tfc": (1,)}


def measure(work: Work, rounds: int, threads: int) -> dict[str, object]:
    """Return rates in GMAC/s of everyone, sampled in turns, and ratios taken inside a round."""
    repeats = {}
    for name, call in work.calls.items():
        call()
        repeats[name] = max(1, int(LEAST_SECONDS / max(seconds_of(call), 1e-6)))
    rates: dict[str, list[float]] = {name: [] for name in work.calls}
    shares: dict[str, list[float]] = {name: [] for name in rates if name.startswith(OURS)}
    for _ in range(rounds):
        for name, call in work.calls.items():
            raw = _kernels.raw_xor_popcount_rate(RAW_SECONDS) if name in shares else 0.0
            count = repeats[name]
            seconds = seconds_of(lambda c=call, n=count: [c() for _ in range(n)]) / count
            rates[name].append(work.macs / seconds / 1e9)
            if name in shares:
                shares[name].append(work.macs / seconds / raw)
    ours = rates[OURS]
    return {
        "work": work.name,
        "macs": work.macs,
        "threads": threads,
        "seconds": {n: work.macs / 1e9 / statistics.median(r) for n, r in rates.items()},
        "gmac_per_s": {name: summary(values) for name, values in rates.items()},
        "share_of_raw_loop": {name: summary(values) for name, values in shares.items()},
        "ours_over": {
            name: summary([a / b for a, b in zip(ours, values, strict=True)])
            for name, values in rates.items()
            if name != OURS
        },
    }


def show(result: dict[str, object]) -> None:
    print(f"\n{result['work']}")
    print(f"  {'':<22}{'time':>12}{'GMAC/s':>10}{'low':>10}{'high':>10}{'of raw':>9}{'ours/it':>9}")
    rates, seconds = result["gmac_per_s"], result["seconds"]
    for name, row in rates.items():  # type: ignore[attr-defined]
        share = result["share_of_raw_loop"].get(name)  # type: ignore[attr-defined]
        over = result["ours_over"].get(name)  # type: ignore[attr-defined]
        print(
            f"  {name:<22}{seconds[name] * 1e6:>9.1f} us"  # type: ignore[index]
            f"{row['median']:>10.1f}{row['low']:>10.1f}{row['high']:>10.1f}"
            f"{share['median'] if share else float('nan'):>9.2f}"
            f"{over['median'] if over else float('nan'):>9.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.bench_engine", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7, help="each times every contender once")
    parser.add_argument("--threads", type=int, default=2, help="of our second contender")
    parser.add_argument("--json", type=Path, help="also write the results here")
    parser.add_argument("--quick", action="store_true", help="small work, 2 rounds: some seconds")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    threads, rounds = arguments.threads, 2 if arguments.quick else arguments.rounds
    if arguments.quick:
        work = chain(
            products((1, 100), 512, threads),
            convolutions(((14, 64),), threads),
            networks(QUICK_NETWORKS, threads),
        )
    else:
        work = chain(
            products((1, 100, 4096), 4096, threads),
            convolutions(SIDES, threads),
            networks(NETWORKS, threads),
        )
    results = []
    print(
        f"{cpu_name()}, kernels {dispatch.select('gemm_bit').symbol}, load {os.getloadavg()[0]:.1f}"
    )
    for item in work:
        results.append(measure(item, rounds, threads))
        show(results[-1])
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        told = {"cpu": cpu_name(), "load": os.getloadavg(), "rounds": rounds, "results": results}
        arguments.json.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
