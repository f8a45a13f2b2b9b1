"""How much memory a run takes at its peak, beside the least that it needs: a process per run."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from experiments.bench_engine.sampling import Row, quartiles

REPOSITORY = Path(__file__).resolve().parents[2]
CLEAR, STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")
CASES = (("mlp-3x4096", 10_000), ("cifar10-convnet", 64))
FACTOR, SLACK = 1.2, 8 * 2**20  # of the least bytes, and beside them


def measure_memory(cases: tuple[tuple[str, int], ...], threads: int, runs: int) -> Iterator[Row]:
    """Yield for each case and for one and several threads: bytes of growth and of the bound."""
    if not CLEAR.exists():
        return
    for name, batch in cases:
        for count in (1, threads):
            told = [run_alone(name, batch, count) for _ in range(runs)]
            yield {
                "work": f"{name}, batch {batch}",
                "threads": count,
                "growth": quartiles([float(run["growth"]) for run in told]),
                "least": told[0]["least"],
                "bound": FACTOR * told[0]["least"] + SLACK,
            }


def run_alone(name: str, batch: int, threads: int) -> dict[str, int]:
    """Return what :func:`grown` finds in a process of its own."""
    child = [sys.executable, "-m", __name__, name, str(batch), str(threads)]
    done = subprocess.run(child, cwd=REPOSITORY, check=True, capture_output=True)
    found: dict[str, int] = json.loads(done.stdout)
    return found


def grown(name: str, batch: int, threads: int) -> dict[str, int]:
    """Run a network once in this process: how it grows, weights packed before, and the least."""
    from bnnsim.engine.execute import Plan
    from bnnsim.passes.lower import lower
    from bnnsim.sources import load

    plan = Plan(lower(load(f"zoo:{name}:random,1")), threads=threads)
    given = plan.graph.tensor(plan.graph.inputs[0])
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, (batch, *given.shape)).astype(given.dtype.numpy)
    CLEAR.write_text("5")  # the peak starts anew
    before = _kibibytes("VmRSS")
    plan.run(x)
    growth = 1024 * (_kibibytes("VmHWM") - before)
    return {"growth": growth, "least": plan.least_bytes(batch)}


def _kibibytes(field: str) -> int:
    line = next(line for line in STATUS.read_text().splitlines() if line.startswith(field))
    return int(line.split()[1])


if __name__ == "__main__":
    print(json.dumps(grown(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
