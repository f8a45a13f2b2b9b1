"""Time estimates of a network in four modes, cold and cached, and points of a sweep, in turns."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from bnnsim.cost.actions import count_actions
from bnnsim.cost.estimate import estimate
from bnnsim.cost.profile import load_profile
from bnnsim.cost.schedule import found as found_schedules
from bnnsim.cost.stages import lay_out
from bnnsim.graph.ir import Graph
from bnnsim.passes.precision import to_mode
from bnnsim.sweep.point import Point, evaluate
from bnnsim.zoo import build

MODES = ("binary", "weight-only:fp32", "int8", "float32")
SWEPT = "cifar10-convnet"
POINTS = 64
TARGETS_MS = {
    "cold": 300,
    "shapes cached": 100,
    "same graphs": 100,
    "64 points": 1e3 * POINTS / 500,
}


def forget() -> None:
    """Clear every memo of the cost model, so that the next estimate is the first of its process."""
    for name, module in list(sys.modules.items()):
        if name.startswith("bnnsim.cost"):
            for found in list(vars(module).values()):
                if clear := getattr(found, "cache_clear", None):
                    clear()


def seconds(work: Callable[[], Any]) -> dict[str, float]:
    """Return the wall time and the processor's time of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def forget_graphs() -> None:
    """Clear what is remembered of whole graphs; that of the shapes of their layers stays."""
    for memo in (count_actions, lay_out, found_schedules):
        memo.cache_clear()  # type: ignore[union-attr]


def points(profile: str, turn: int) -> list[Point]:
    """Return 64 points with overhead factors that no other turn has: their mappings are known."""
    factors = (1 + (turn * POINTS + i) / 4096 for i in range(POINTS // 8))
    changed = [{"overhead.factor": factor} for factor in factors]
    batches = (1, 16)
    return [
        Point(f"zoo:{SWEPT}", profile, mode, batch, changes)
        for mode in MODES for changes in changed for batch in batches
    ]  # fmt: skip


def rounds_of(graphs: list[Graph], profile: str, rounds: int) -> dict[str, list[dict[str, float]]]:
    """Return samples of cold and of cached estimates of all graphs, and of points, in turns."""

    def run() -> None:
        chip = load_profile(profile)
        for graph in graphs:
            estimate(graph, chip)

    found: dict[str, list[dict[str, float]]] = {name: [] for name in TARGETS_MS}
    for turn in range(rounds):
        forget()
        found["cold"].append(seconds(run))
        forget_graphs()
        found["shapes cached"].append(seconds(run))
        found["same graphs"].append(seconds(run))
        evaluate(points(profile, 0))
        swept = points(profile, turn + 1)
        found["64 points"].append(seconds(partial(evaluate, swept)))
    return found


def spread(samples: list[float]) -> dict[str, float]:
    """Return least, quartiles and median in milliseconds."""
    low, median, high = (1e3 * q for q in statistics.quantiles(samples, n=4, method="inclusive"))
    return {"least": 1e3 * min(samples), "low": low, "median": median, "high": high}


def table(told: dict[str, Any]) -> str:
    """Return a run in Markdown: median [quartiles] in milliseconds."""
    lines = [
        "| estimates | wall (ms) | processor (ms) | least (ms) | target (ms) |",
        "|---|---|---|---|---|",
    ]
    for name, row in told["rows"].items():
        wall, cpu = (
            f"{q['median']:.0f} [{q['low']:.0f}, {q['high']:.0f}]"
            for q in (row["wall"], row["cpu"])
        )
        least = row["cpu"]["least"]
        lines.append(f"| {name} | {wall} | {cpu} | {least:.0f} | {TARGETS_MS[name]:.0f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the table, and write the JSON where asked."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.bench_estimator", description=__doc__
    )
    parser.add_argument("--model", default="resnet18", help="of the zoo")
    parser.add_argument("--profile", default="cmos45")
    parser.add_argument("--rounds", type=int, default=25, help="each is one of every row")
    parser.add_argument("--out", type=Path, help="file for the JSON")
    parser.add_argument("--smoke", action="store_true", help="a small network, 2 rounds")
    arguments = parser.parse_args()
    model, rounds = ("tfc", 2) if arguments.smoke else (arguments.model, arguments.rounds)
    source = build(model)
    graphs = [to_mode(source, mode) for mode in MODES] if not arguments.smoke else [source]
    samples = rounds_of(graphs, arguments.profile, rounds)
    told = {
        "model": model,
        "profile": arguments.profile,
        "modes": list(MODES) if not arguments.smoke else ["native"],
        "rounds": rounds,
        "load_before": os.getloadavg()[0],
        "rows": {
            name: {kind: spread([one[kind] for one in ones]) for kind in ("wall", "cpu")}
            for name, ones in samples.items()
        },
    }
    modes = ", ".join(told["modes"])
    print(f"{model} in {modes} on {arguments.profile}, {rounds} rounds\n\n{table(told)}")
    if arguments.out:
        arguments.out.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
