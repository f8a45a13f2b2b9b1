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
PAD: dict[str, Any] = {"pads": (1, 1, 1, 1), "pad_value": 0}
SHAPES: dict[str, tuple[str, tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "dense": ("Dense", (4096,), (4096, 4096), {}),
    "conv": ("Conv2d", (28, 28, 128), (128, 3, 3, 128), PAD),
}  # op, input, weights, attributes
LAYERS = tuple(SHAPES)
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
    op, shape, filters, attrs = SHAPES[name]
    graph = GrowingGraph(shape, act)
    held = [Tensor(f"{name}.weight", filters, weight, True)]
    out = graph.append(op, name, ["input"], held, attrs)
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
    """Return what bnnsim says of a layer: picojoules by part and by component, and nanoseconds.

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
        "ns": 1e9 * report.latency.value,
    }  # fmt: skip


CHIPS = {
    "qtools": tuple(TYPES),
    "qtools-sram": ("int8", "1w8a", "binary"),
    "zigzag": ("int8", "1w8a", "binary"),
    "cmos45": tuple(TYPES),
}  # profiles, and what each has constants for


def free_cycles(name: str) -> float:
    """Return cycles of 1 ns of an int8 layer on ``zigzag``, with all the bandwidth it wants."""
    free = with_changes(profile("zigzag"), {"memories.dram.bandwidth": "100 TB/s"})
    return 1e9 * bnnsim.estimate(layer(name, "int8", narrow=True), free).latency.value
