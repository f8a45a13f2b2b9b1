"""Whole networks and their layers on this machine: predicted beside measured."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from bnnsim.cost.estimate import estimate
from bnnsim.cost.hardware import HardwareProfile
from bnnsim.cost.result import CostReport
from bnnsim.engine.execute import Plan
from bnnsim.engine.step import Step
from bnnsim.errors import InputError, ProfileError, message
from bnnsim.graph.ir import Graph
from bnnsim.measure.timing import Sampler, seconds_of, undisturbed
from bnnsim.passes.precision import to_mode
from bnnsim.record import record

SCHEMA = 1
DEFAULT_NETS = ("zoo:mlp-3x2048:random", "zoo:cnv:random", "zoo:cifar10-convnet:random")
LAYER_RUNS = 20
_INPUTS: dict[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = {
    "uint8": lambda rng, shape: rng.integers(0, 256, shape, dtype=np.uint8),
    "float32": lambda rng, shape: rng.standard_normal(shape).astype(np.float32),
}


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Rows of layers and of whole networks; the JSON form is :meth:`to_dict`."""

    device: str
    layers: tuple[dict[str, Any], ...]
    nets: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the result in the form of schemas/check.schema.json."""
        nets, layers = list(map(_error, self.nets)), list(map(_error, self.layers))
        return {
            "schema": SCHEMA,
            "device": self.device,
            "layers": list(self.layers),
            "nets": list(self.nets),
            "summary": {
                "median_abs_error": statistics.median(nets),
                "worst_net_abs_error": max(nets),
                "worst_layer_abs_error": max(layers),
                "inside": sum(map(_inside, self.nets)),
            },
        }


def _error(row: dict[str, Any]) -> float:
    """Return |predicted / measured - 1|."""
    return float(abs(row["predicted_s"]["value"] / row["measured_s"] - 1))


def _inside(row: dict[str, Any]) -> bool:
    return bool(row["predicted_s"]["low"] <= row["measured_s"] <= row["predicted_s"]["high"])


def check_cpu(
    graphs: Sequence[Graph],
    profile: HardwareProfile,
    *,
    batches: Sequence[int] = (1, 16),
    isa: str = "auto",
    sample: Sampler = seconds_of,
    clock: Callable[[], float] = time.perf_counter,
    progress: Callable[[int], None] | None = None,
) -> CheckResult:
    """Predict and measure networks on one core of this machine.

    A network's time is that of one run of the engine, undisturbed. Its layers are
    measured in a run of one step at a time, so they add up to more than the network. A layer's
    interval has the relative width of its network's, as the report states it for totals alone.

    Parameters
    ----------
    graphs : sequence of Graph
        With weights; none that ``calibrate`` timed.
    profile : HardwareProfile
        With ``latency_model: kernels``.
    batches : sequence of int
    isa : str
    sample, clock : callable
        What times a run, and the steps inside one.
    progress : callable, optional
        Called with 1 after each network and batch.

    Raises
    ------
    ProfileError, InputError
        If the profile is none of a processor, or a network has no weights.
    """
    if profile.latency_model != "kernels":
        where = f"profile {profile.name}: latency_model"
        remedy = "Make one with `bnnsim calibrate cpu -o FILE.yaml`."
        raise ProfileError(message(where, profile.latency_model, "kernels", remedy))
    layers: list[dict[str, Any]] = []
    nets: list[dict[str, Any]] = []
    for graph in graphs:
        twin = to_mode(graph, "native")
        plan = Plan(twin, isa=isa, threads=1)
        for batch in batches:
            report = estimate(twin, profile, batch=batch)
            x = _inputs(twin, batch)
            head = {"net": graph.name, "batch": batch, "threads": 1}
            seconds = undisturbed(sample(partial(plan.run, x)))
            nets.append({**head, "measured_s": seconds, "predicted_s": report.latency.to_dict()})
            layers += [{**head, **row} for row in _layers(plan, x, report, clock)]
            if progress is not None:
                progress(1)
    return CheckResult(record().cpu, tuple(layers), tuple(nets))


def _inputs(graph: Graph, batch: int) -> np.ndarray:
    tensor = graph.tensor(graph.inputs[0])
    kind = str(tensor.dtype)
    if kind not in _INPUTS:
        rule = " or ".join(_INPUTS)
        raise InputError(message(f"{graph.name}: dtype of the input", kind, rule))
    return _INPUTS[kind](np.random.default_rng(0), (batch, *tensor.shape))


def _layers(
    plan: Plan, x: np.ndarray, report: CostReport, clock: Callable[[], float]
) -> list[dict[str, Any]]:
    """Return a row for every layer that takes time of its own in the report."""
    heads: dict[int, int] = {}
    head = report.layers[0].id
    for layer in report.layers:
        head = layer.id if layer.latency_s > 0 else head
        heads[layer.id] = head
    runs: dict[int, list[float]] = defaultdict(list)
    for _ in range(LAYER_RUNS):
        for node, seconds in _step_seconds(plan, x, heads, clock).items():
            runs[node].append(seconds)
    low, high = (end / report.latency.value for end in (report.latency.low, report.latency.high))
    return [
        {
            "name": layer.name,
            "measured_s": undisturbed(runs[layer.id]),
            "predicted_s": {"value": layer.latency_s, "low": layer.latency_s * low,
                            "high": layer.latency_s * high},
        }
        for layer in report.layers
        if layer.latency_s > 0 and layer.id in runs
    ]  # fmt: skip


def _step_seconds(
    plan: Plan, x: np.ndarray, heads: dict[int, int], clock: Callable[[], float]
) -> dict[int, float]:
    """Return the seconds of a run by the layer in whose kernel the model has each node."""
    found: dict[int, float] = defaultdict(float)
    last = clock()

    def watch(first: int, step: Step, operands: Sequence[Any], made: Any) -> None:
        nonlocal last
        now = clock()
        found[heads[step.node.id]] += now - last
        last = now

    plan.run(x, watch=watch)
    return dict(found)
