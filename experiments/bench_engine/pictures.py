"""Two pictures of a run: how many times faster we are, and the roofline of every layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.bench_engine.sampling import OURS

MARKS = {"cifar10-convnet": "o", "resnet-18 body": "s"}


def draw(told: dict[str, Any], folder: Path) -> None:
    """Write ratios.svg and roofline.svg."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams |= {"svg.hashsalt": "bnnsim", "font.size": 8}
    _ratios(told["results"]).savefig(folder / "ratios.svg", metadata={"Date": None})
    _roofline(told["roofline"]).savefig(folder / "roofline.svg", metadata={"Date": None})


def _ratios(results: list[dict[str, Any]]) -> Any:
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(n for r in results for n in r["contenders"] if n[:6] != OURS))
    figure = Figure(figsize=(7, 1.2 + 0.42 * len(results)), layout="constrained")
    axes = figure.subplots()
    for k, name in enumerate(names):
        rows = [(i, r["contenders"][name]["ours_over"]) for i, r in enumerate(results)
                if name in r["contenders"]]  # fmt: skip
        at = [i + 0.8 * ((k + 0.5) / len(names) - 0.5) for i, _ in rows]
        middle = [f["median"] for _, f in rows]
        spread = [
            [f["median"] - f["low"] for _, f in rows],
            [f["high"] - f["median"] for _, f in rows],
        ]
        axes.errorbar(middle, at, xerr=spread, fmt="o", markersize=3, linewidth=1, label=name)
    axes.set_yticks(range(len(results)), [r["work"] for r in results])
    axes.set_xscale("log")
    axes.axvline(1, color="grey", linewidth=0.8)
    axes.invert_yaxis()
    axes.set_xlabel("their time / bnnsim's on one thread (median and quartiles)")
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _roofline(told: dict[str, Any]) -> Any:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    raw = told["raw_mac_per_s"]["median"] / 1e9
    reach = [min(0.5, *(r["mac_per_byte"] for r in told["layers"])),
             2 * max(r["mac_per_byte"] for r in told["layers"])]  # fmt: skip
    for level, rate in told["bytes_per_s"].items():
        knee = raw / (rate / 1e9)
        label = f"{level}: {rate / 1e9:.0f} GB/s copied"
        axes.plot([reach[0], knee], [reach[0] * rate / 1e9, raw], linewidth=0.8, label=label)
    axes.plot(reach, [raw, raw], color="black", linewidth=1, label=f"raw loop: {raw:.0f} GMAC/s")
    for net, mark in MARKS.items():
        rows = [r for r in told["layers"] if r["net"] == net]
        x = [r["mac_per_byte"] for r in rows]
        axes.plot(x, [r["mac_per_s"]["median"] / 1e9 for r in rows], mark, markersize=4, label=net)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("multiply-accumulates per byte of packed operands")
    axes.set_ylabel("GMAC/s, one thread, one image")
    axes.legend()
    return figure
