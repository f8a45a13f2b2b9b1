"""Time the engine, other libraries and the raw loop in turns, and hold ratios to the targets."""

from __future__ import annotations

import argparse
import json
import os
import platform
from collections.abc import Iterable
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

from bnnsim.engine import dispatch
from experiments.bench_engine import peers
from experiments.bench_engine.kernel_work import convolutions, products
from experiments.bench_engine.net_work import networks
from experiments.bench_engine.pictures import draw
from experiments.bench_engine.roofline import LAYERS, measure_layers
from experiments.bench_engine.sampling import Work, measure, raw_scaling
from experiments.bench_engine.tables import TABLES, spread, target_table, work_text
from experiments.bench_engine.targets import THREADS, judge

RESULTS = Path(__file__).parent / "results"
ROWS = (1, 100, 4096)
SIDES = ((56, 64), (28, 128), (14, 256), (7, 512))
NETWORKS = {"tfc": (1,), "mlp-3x4096": (1, 100, 10_000), "cifar10-convnet": (1, 64)}


def cpu_name() -> str:
    """Return the CPU's model name where the system tells it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def all_work(smoke: bool) -> Iterable[Work]:
    if smoke:
        return chain(
            products((1, 100), 512, THREADS),
            convolutions(((14, 64),), THREADS),
            networks({"tfc": (1,)}, THREADS),
        )
    return chain(
        products(ROWS, 4096, THREADS), convolutions(SIDES, THREADS), networks(NETWORKS, THREADS)
    )


def timed(smoke: bool, budget: float) -> dict[str, Any]:
    """Time everything, printing as it goes, and return what the JSON holds."""
    told: dict[str, Any] = {
        "cpu": cpu_name(),
        "kernel": dispatch.select("gemm_bit").symbol,
        "load_before": os.getloadavg(),
        "versions": peers.installed(),
        "skipped": peers.skipped(),
    }
    print(f"{told['cpu']}, {told['kernel']}, load {told['load_before'][0]:.1f}; {told['versions']}")
    for name, why in told["skipped"].items():
        print(f"skipped {name}: {why}")
    budget, rounds = (0.05, 2) if smoke else (budget, 3)
    told["raw_two_threads_over_one"] = raw_scaling(THREADS, 2 if smoke else 40)
    print(f"raw loop, two threads over one: {spread(told['raw_two_threads_over_one'])}")
    told["results"] = []
    for work in all_work(smoke):
        told["results"].append(measure(work, budget, rounds))
        print(work_text(told["results"][-1]), flush=True)
    told["roofline"] = measure_layers(LAYERS[::9] if smoke else LAYERS, 3 if smoke else 40)
    told["targets"] = judge(told["results"])
    told["load_after"] = os.getloadavg()
    return told


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.bench_engine", description=__doc__)
    parser.add_argument(
        "--seconds", type=float, default=15.0, help="per workload, at 3 rounds or more"
    )
    parser.add_argument("--out", type=Path, help="folder of bench.json and the pictures")
    parser.add_argument("--smoke", action="store_true", help="small work, 2 rounds: some seconds")
    parser.add_argument("--table", choices=TABLES, help="print a table of --out and time nothing")
    arguments = parser.parse_args()
    if arguments.table:
        told = json.loads(((arguments.out or RESULTS) / "bench.json").read_text())
        print(TABLES[arguments.table](told), end="")
        return
    told = timed(arguments.smoke, arguments.seconds)
    print("\n" + target_table(told), end="")
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "bench.json").write_text(json.dumps(told, indent=1) + "\n")
        if find_spec("matplotlib") is None:
            print("skipped the pictures: matplotlib is not installed")
        else:
            draw(told, arguments.out)


if __name__ == "__main__":
    main()
