"""The two layers in every precision, and what bnnsim says of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bnnsim
from bnnsim.cost.overrides import with_changes
from bnnsim.graph.dtypes import DType
from bnnsim.graph.growing import GrowingGraph
from bnnsim.graph.ir import Graph, Tensor

FOLDER = Path(__file__).resolve().parent
LAYERS = ("dense", "conv")
TYPES = {
    "float32": ("float32", "float32"),
    "int8": ("int8", "int8"),
    "1w8a": ("int8", "bit"),
    "binary": ("bit", "bit"),
}  # activation and weight of each precision


def layer(name: str, precision: str, *, narrow: bool = False) -> Graph:
    """Return ``dense`` (4096 to 4096) or ``conv`` (3x3, 28x28x128 to 128), without weights.

    Parameters
    ----------
    name, precision : str
        Of `LAYERS` and `TYPES`.
    narrow : bool
        Whether the result goes back to the type of the activations, instead of its sums.
    """
    act, weight = (DType.parse(dtype) for dtype in TYPES[precision])
    shape, filters = ((4096,), (4096, 4096)) if name == "dense" else ((28, 28, 128), (128, 3, 3, 128))
    graph = GrowingGraph(shape, act)
    pads = {} if name == "dense" else {"pads": (1, 1, 1, 1), "pad_value": 0}
    op = "Dense" if name == "dense" else "Conv2d"
    out = graph.append(op, name, ["input"], [Tensor(f"{name}.weight", filters, weight, True)], pads)
    if narrow:
        out = _narrow(graph, out, act)
    return graph.graph(f"{name} {precision}", out, {})


def _narrow(graph: GrowingGraph, sums: str, act: DType) -> str:
    """Append what makes activations of sums: a threshold for bits, else a rescaling."""
    channels = graph.tensors[sums].shape[-1]
    if str(act) == "bit":
        held = [("thresholds", (channels, 1), "int32"), ("direction", (channels,), "int8")]
        op, attrs = "Threshold", {"dtype": "bit"}
    else:
        held = [("scale", (channels,), "float32"), ("shift", (channels,), "float32")]
        op, attrs = "Requantize", {"dtype": str(act)}
    constants = [Tensor(f"out.{n}", shape, DType.parse(t), True) for n, shape, t in held]
    return graph.append(op, "out", [sums], constants, attrs)


def profile(name: str) -> Path | str:
    """Return a profile of this folder, else a packaged one by its name."""
    path = FOLDER / f"{name}.yaml"
    return path if path.is_file() else name


def ours(name: str, precision: str, chip: str) -> dict[str, Any]:
    """Return what bnnsim says of a layer: picojoules by part and by component, and cycles.

    ``chip`` is a profile; ``zigzag`` stores results as activations, as its tool does.
    """
    report = bnnsim.estimate(layer(name, precision, narrow=chip == "zigzag"), profile(chip))
    prices = report.action_joules
    parts = {"compute": 0.0, "on chip": 0.0, "dram": 0.0}
    levels = {level.name for level in report.memories}
    for row in report.layers:
        for action, count in row.physical_actions.items():
            unit = action.partition(".")[0]
            part = unit if unit == "dram" else "on chip" if unit in levels else "compute"
            parts[part] += 1e12 * prices[action] * count
    return {
        "layer": name, "precision": precision, "energy": 1e12 * report.energy.value,
        "parts": parts, "by": {k: 1e12 * v for k, v in report.energy_by.items() if v},
        "seconds": report.latency.value,
    }  # fmt: skip


CHIPS = {
    "qtools": tuple(TYPES),
    "qtools-sram": ("int8", "1w8a", "binary"),
    "zigzag": ("int8", "1w8a", "binary"),
    "cmos45": tuple(TYPES),
}  # profiles, and what each has constants for


def all_ours() -> dict[str, Any]:
    """Return every estimate of ours by profile, and cycles where no bandwidth holds them up."""
    rows = {
        chip: [ours(name, precision, chip) for name in LAYERS for precision in precisions]
        for chip, precisions in CHIPS.items()
    }
    free = with_changes(profile("zigzag"), {"memories.dram.bandwidth": "100 TB/s"})
    cycles = {
        name: bnnsim.estimate(layer(name, "int8", narrow=True), free).latency.value * 1e9
        for name in LAYERS
    }
    return {"version": bnnsim.__version__, "rows": rows, "free_cycles": cycles}
