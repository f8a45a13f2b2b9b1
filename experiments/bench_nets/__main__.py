"""Time nets with residual streams beside torch's float twins, in turns; print ratios and shares."""

from __future__ import annotations

import argparse
import json
import os
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import bnnsim
from experiments.bench_engine.sampling import OURS, Work, measure
from experiments.bench_nets.twin import Twin, images

RESULTS = Path(__file__).parent / "results"
NETWORKS = ("bireal18", "quicknet", "reactnet-a")
FAST, TORCH, TORCH_NHWC = "bnnsim --fast-float", "torch float32", "torch float32, channels last"
SEED = 20161205
LEAST_ROUNDS = 5
SHARE_RUNS = 5


def work(name: str) -> Work:
    """Return a network's calls on one image and one thread, float32 image in to logits out."""
    graph = bnnsim.load(f"zoo:{name}:random")
    exact, fast = bnnsim.Engine(graph), bnnsim.Engine(graph, fast_float=True)
    x, twin = images(graph.tensor(graph.inputs[0]).shape, SEED), Twin(graph).eval()
    planes = torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))
    last = planes.to(memory_format=torch.channels_last)

    def run(image: torch.Tensor) -> torch.Tensor:
        with torch.inference_mode():
            return twin(image)

    torch.set_num_threads(1)
    calls = {OURS: partial(exact.run, x), FAST: partial(fast.run, x)}
    calls |= {TORCH: partial(run, planes), TORCH_NHWC: partial(run, last)}
    return Work(name, 0.0, calls)


def shares(name: str, *, fast: bool) -> dict[str, float]:
    """Return the share of each kernel in a run whose steps are watched one by one."""
    graph = bnnsim.load(f"zoo:{name}:random")
    plan = bnnsim.Engine(graph, fast_float=fast).plan
    x = images(graph.tensor(graph.inputs[0]).shape, SEED)
    spent: Counter[str] = Counter()
    last = 0.0

    def watch(_: int, step: Any, __: object, ___: object) -> None:
        nonlocal last
        spent[f"{step.node.op}: {step.kernel}"] += time.perf_counter() - last
        last = time.perf_counter()

    for i in range(SHARE_RUNS + 1):
        if i == 1:
            spent.clear()  # the first run warms up
        last = time.perf_counter()
        plan.run(x, watch=watch)
    total = sum(spent.values())
    return {kind: seconds / total for kind, seconds in spent.most_common()}


def ratio_table(told: dict[str, Any]) -> str:
    """Return milliseconds and how many times quicker the engine is, in Markdown."""
    lines = [
        "| network | bnnsim, ms | --fast-float, ms | torch, ms | torch over bnnsim "
        "| over --fast-float |",
        "|---|---|---|---|---|---|",
    ]
    for row in told["rows"]:
        of = row["contenders"]
        ms = [f"{1e3 * of[name]['seconds']['median']:.1f}" for name in (OURS, FAST, TORCH)]
        over = of[TORCH]["ours_over"]
        fast = over["median"] / of[FAST]["ours_over"]["median"]
        spread = f"{over['median']:.1f} ({over['low']:.1f} to {over['high']:.1f})"
        lines.append(f"| {row['work']} | {' | '.join(ms)} | {spread} | {fast:.1f} |")
    return "\n".join(lines) + "\n"


def share_table(row: dict[str, Any]) -> str:
    """Return a network's shares of time by kernel, in Markdown."""
    exact, fast = row["shares"]["exact"], row["shares"]["fast"]
    lines = ["| op: kernel | exact | --fast-float |", "|---|---|---|"]
    for kind in dict.fromkeys([*exact, *fast]):
        cells = [f"{100 * of[kind]:.1f} %" if kind in of else "" for of in (exact, fast)]
        lines.append(f"| {kind} | {cells[0]} | {cells[1]} |")
    return "\n".join(lines) + "\n"


def draw(told: dict[str, Any], path: Path) -> None:
    """Draw the ratios with their quartiles."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
    names = [row["work"] for row in told["rows"]]
    for shift, contender in ((-0.15, TORCH), (0.15, TORCH_NHWC)):
        over = [row["contenders"][contender]["ours_over"] for row in told["rows"]]
        middle = [o["median"] for o in over]
        ends = [[o["median"] - o["low"] for o in over], [o["high"] - o["median"] for o in over]]
        axes.bar(np.arange(len(names)) + shift, middle, 0.3, yerr=ends, capsize=3, label=contender)
    axes.axhline(5, color="black", linewidth=0.8, linestyle=":")
    axes.set(ylabel="time over bnnsim's (exact sums)", xticks=range(len(names)))
    axes.set_xticklabels(names)
    axes.legend()
    figure.savefig(path)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m experiments.bench_nets", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of timing, for each network")
    parser.add_argument("--out", type=Path, help="folder for bench.json and ratios.svg")
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS)
    arguments = parser.parse_args()
    told: dict[str, Any] = {
        "torch": torch.__version__,
        "isa": bnnsim.Engine(bnnsim.load("zoo:tfc:random")).plan.isa,
        "load_before": os.getloadavg()[0],
        "rows": [],
    }
    for name in arguments.networks:
        row = measure(work(name), arguments.seconds, LEAST_ROUNDS)
        row["shares"] = {"exact": shares(name, fast=False), "fast": shares(name, fast=True)}
        told["rows"].append(row)
        print(f"{name}: {row['rounds']} rounds\n\n{share_table(row)}")
    print(ratio_table(told))
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "bench.json").write_text(json.dumps(told, indent=1) + "\n")
        draw(told, arguments.out / "ratios.svg")


if __name__ == "__main__":
    main()
