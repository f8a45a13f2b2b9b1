"""Time the engine, other libraries and the raw loop in turns, and hold ratios to the targets."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

from bnnsim.engine import dispatch
from experiments.bench_engine import peers
from experiments.bench_engine.kernel_work import convolutions, products
from experiments.bench_engine.larq_peer import NAME, Larq, why_not
from experiments.bench_engine.memory import CASES, measure_memory
from experiments.bench_engine.net_work import networks, profiles
from experiments.bench_engine.pictures import draw
from experiments.bench_engine.roofline import LAYERS, Layer, measure_layers
from experiments.bench_engine.sampling import Work, measure, raw_scaling
from experiments.bench_engine.tables import TABLES, profile_table, spread, target_table, work_text
from experiments.bench_engine.targets import THREADS, judge

RESULTS = Path(__file__).parent / "results"
LCE = Path(__file__).resolve().parents[2] / ".venv-lce" / "bin" / "python"  # of `make lce`


def cpu_name() -> str:
    """Return the CPU's model name where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


@dataclass(frozen=True, slots=True)
class Size:
    """How much is timed: seconds and rounds per workload, and which work."""

    seconds: float
    rounds: int = 3
    samples: int = 40  # of a layer, and of the raw loop on several threads
    runs: int = 3  # of the processes that memory is measured in
    profiled: int = 15  # rounds of the profiles
    rows: tuple[int, ...] = (1, 100, 4096)
    width: int = 4096
    sides: tuple[tuple[int, int], ...] = ((56, 64), (28, 128), (14, 256), (7, 512))
    networks: dict[str, tuple[int, ...]] = field(
        default_factory=lambda: {
            "tfc": (1,), "mlp-3x4096": (1, 100, 10_000), "cifar10-convnet": (1, 64),
        }
    )  # fmt: skip
    layers: tuple[Layer, ...] = LAYERS
    memory: tuple[tuple[str, int], ...] = CASES

    def work(self, larq: Larq | None) -> Iterable[Work]:
        """Return all workloads."""
        return chain(
            products(self.rows, self.width, THREADS),
            convolutions(self.sides, THREADS, larq),
            networks(self.networks, THREADS),
        )


SMOKE = Size(
    seconds=0.05, rounds=2, samples=3, runs=2, profiled=2, rows=(1, 100), width=512,
    sides=((14, 64),), networks={"tfc": (1,)}, layers=LAYERS[::9], memory=(("tfc", 100),),
)  # fmt: skip


def machine(larq: Larq | None, refused: str | None) -> dict[str, Any]:
    """Return, and print, what the figures belong to; ``refused`` is why ``larq`` is not there."""
    told: dict[str, Any] = {
        "cpu": cpu_name(),
        "kernel": dispatch.select("gemm_bit").symbol,
        "load_before": os.getloadavg(),
        "versions": peers.installed() | ({} if larq is None else {NAME: larq.version}),
        "skipped": peers.skipped() | ({} if refused is None else {NAME: refused}),
    }
    print(f"{told['cpu']}, {told['kernel']}, load {told['load_before'][0]:.1f}; {told['versions']}")
    for name, why in told["skipped"].items():
        print(f"skipped {name}: {why}")
    return told


def timed(size: Size, lce: str | None) -> dict[str, Any]:
    """Time everything, printing as it goes, and return what the JSON holds."""
    start, refused = time.perf_counter(), why_not(lce)
    larq = Larq(lce) if lce is not None and refused is None else None
    told = machine(larq, refused)
    told["raw_two_threads_over_one"] = raw_scaling(THREADS, size.samples)
    print(f"raw loop, two threads over one: {spread(told['raw_two_threads_over_one'])}")
    told["results"] = []
    for work in size.work(larq):
        told["results"].append(measure(work, size.seconds, size.rounds))
        print(work_text(told["results"][-1]), flush=True)
    told["roofline"] = measure_layers(size.layers, size.samples)
    told["profiles"] = list(profiles(size.networks, size.profiled))
    print("\nWhere the time goes, one thread:\n" + profile_table(told), flush=True)
    told["memory"] = list(measure_memory(size.memory, THREADS, size.runs))
    told["targets"] = judge(told["results"], told["memory"])
    told["load_after"], told["seconds"] = os.getloadavg(), time.perf_counter() - start
    return told


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.bench_engine", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=8.0, help="per workload, at 3 rounds or more"
    )
    parser.add_argument("--out", type=Path, help="folder of bench.json and the pictures")
    parser.add_argument(
        "--lce", metavar="PYTHON", default=str(LCE) if LCE.exists() else None,
        help="a Python that has larq and larq-compute-engine; default: that of `make lce`",
    )  # fmt: skip
    parser.add_argument("--smoke", action="store_true", help="small work, 2 rounds: some seconds")
    parser.add_argument("--table", choices=TABLES, help="print a table of --out and time nothing")
    arguments = parser.parse_args()
    if arguments.table:
        told = json.loads(((arguments.out or RESULTS) / "bench.json").read_text())
        print(TABLES[arguments.table](told), end="")
        return
    told = timed(SMOKE if arguments.smoke else Size(arguments.seconds), arguments.lce)
    print("\n" + target_table(told), end="")
    print(f"{told['seconds'] / 60:.1f} minutes")
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "bench.json").write_text(json.dumps(told, indent=1) + "\n")
        if find_spec("matplotlib") is None:
            print("skipped the pictures: matplotlib is not installed")
        else:
            draw(told, arguments.out)


if __name__ == "__main__":
    main()
