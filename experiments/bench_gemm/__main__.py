"""Time the binary GEMM, torch's float32 GEMM and the raw loop in turns, and print medians."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from bnnsim.engine import _kernels, dispatch
from bnnsim.graph import bits

SEED = 20161205
RAW_SECONDS = 0.1
REF_SIZE = 512
SAMPLE_ROWS = 64

Timer = Callable[[], float]


def seconds_of(call: Callable[[], object]) -> float:
    """Return the wall time of one call in seconds."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def bipolar(rng: np.random.Generator, size: int) -> np.ndarray:
    return np.where(rng.random((size, size), np.float32) < 0.6, np.int8(1), np.int8(-1))


def binary_timer(a: np.ndarray, b: np.ndarray, isa: str) -> Timer:
    """Return a timer of the binary product of two {-1, +1} matrices, checked against int64."""
    size = len(a)
    packed, weights = bits.pack(a), _kernels.pack_gemm_weights(bits.pack(b), size, isa)
    out = np.empty((size, size), np.int32)
    _kernels.gemm_bit(packed, weights, size, out=out)
    expected = a[:SAMPLE_ROWS].astype(np.float64) @ b.astype(np.float64).T  # exact below 2^53
    if not (out[:SAMPLE_ROWS] == expected).all():
        raise SystemExit(f"{weights.kernel} differs from the float64 product")
    return lambda: seconds_of(lambda: _kernels.gemm_bit(packed, weights, size, out=out))


def float_timer(a: np.ndarray, b: np.ndarray, threads: int) -> Timer:
    """Return a timer of torch's float32 product of the same matrices."""
    import torch

    torch.set_num_threads(threads)
    x, y = torch.from_numpy(a).float(), torch.from_numpy(b).float().T.contiguous()
    out = torch.empty(len(a), len(a))
    torch.mm(x, y, out=out)
    return lambda: seconds_of(lambda: torch.mm(x, y, out=out))


def summary(samples: list[float]) -> dict[str, float]:
    """Return the median and the range of rates (GMAC/s)."""
    return {"median": statistics.median(samples), "low": min(samples), "high": max(samples)}


def cpu_name() -> str:
    """Return the CPU's model name where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def measure(size: int, repeats: int, threads: int) -> dict[str, object]:
    """Return rates in GMAC/s of every contender, sampled in turns, and the median ratios."""
    rng = np.random.default_rng(SEED)
    a, b = bipolar(rng, size), bipolar(rng, size)
    best = dispatch.select("gemm_bit")
    small = min(size, REF_SIZE)
    timers = {
        best.name: (size, binary_timer(a, b, best.isa)),
        "torch float32": (size, float_timer(a, b, threads)),
        f"gemm_bit_ref ({small}^3)": (
            small,
            binary_timer(a[:small, :small].copy(), b[:small, :small].copy(), "ref"),
        ),
    }
    rates: dict[str, list[float]] = {name: [] for name in timers}
    raw: list[float] = []
    for _ in range(repeats):
        for name, (side, timer) in timers.items():
            if name == best.name:
                raw.append(_kernels.raw_xor_popcount_rate(RAW_SECONDS, isa=best.isa) / 1e9)
            rates[name].append(side**3 / timer() / 1e9)
    over_float = [x / y for x, y in zip(rates[best.name], rates["torch float32"], strict=True)]
    over_raw = [x / y for x, y in zip(rates[best.name], raw, strict=True)]
    return {
        "size": size,
        "repeats": repeats,
        "threads": threads,
        "cpu": cpu_name(),
        "kernel": best.symbol,
        "gmac_per_s": {"raw loop": summary(raw), **{k: summary(v) for k, v in rates.items()}},
        "ratio": {"over torch float32": summary(over_float), "of the raw loop": summary(over_raw)},
    }


def show(result: dict[str, object]) -> None:
    print(f"{result['size']}^3, {result['repeats']} turns, kernel {result['kernel']}")
    for title, key in (("GMAC/s", "gmac_per_s"), ("ratio", "ratio")):
        print(f"{title:<24}{'median':>10}{'low':>10}{'high':>10}")
        for name, row in result[key].items():  # type: ignore[attr-defined]
            print(f"  {name:<22}{row['median']:>10.2f}{row['low']:>10.2f}{row['high']:>10.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.bench_gemm", description=__doc__)
    parser.add_argument("--size", type=int, default=4096, help="rows, columns and depth")
    parser.add_argument("--repeats", type=int, default=5, help="turns; each times every contender")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch; ours uses one")
    parser.add_argument("--json", type=Path, help="also write the result here")
    parser.add_argument("--smoke", action="store_true", help="size 512, 2 turns: a few seconds")
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.size, arguments.repeats = 512, 2
    os.environ["OMP_NUM_THREADS"] = str(arguments.threads)
    result = measure(arguments.size, arguments.repeats, arguments.threads)
    show(result)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
