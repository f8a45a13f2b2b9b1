"""Seconds of each stage and what bounds it, nominal and in 4,096 draws."""

from __future__ import annotations

import numpy as np

from bnnsim.cost.calls import bound_of
from bnnsim.cost.hardware import HardwareProfile
from bnnsim.cost.intervals import DRAWS, constant_factor
from bnnsim.cost.memory import off_chip
from bnnsim.cost.schedule import NodePlan, Schedule


def stage_seconds(profile: HardwareProfile, plan: NodePlan) -> tuple[float, str]:
    """Return the time of a stage's head and what bounds it: (0, "") for nodes inside a stage."""
    if plan.calls:
        return sum(call.seconds for call in plan.calls), bound_of(plan.calls)
    if not plan.cycles and not plan.off_chip_bytes:
        return 0.0, ""
    busy = {name: cycles / profile.clock_hz for name, cycles in plan.cycles.items()}
    outer = off_chip(profile)
    if plan.off_chip_bytes and outer is not None and outer.bandwidth is not None:
        busy[outer.name] = plan.off_chip_bytes / outer.bandwidth.value_si
    if not any(busy.values()):
        return 0.0, ""
    bound = max(busy, key=lambda name: busy[name])
    return busy[bound] + plan.fill_cycles / profile.clock_hz, bound


def latency_draws(profile: HardwareProfile, schedule: Schedule) -> np.ndarray:
    """Return the seconds of a schedule in every draw of the rates, (4096,)."""
    if profile.kernels is not None:
        calls = [call.draws() for plan in schedule.nodes for call in plan.calls]
        return np.asarray(np.broadcast_to(sum(calls, np.zeros(1)), DRAWS))
    outer = off_chip(profile)
    heads = [plan for plan in schedule.nodes if plan.cycles or plan.off_chip_bytes]
    inside = np.array([max(plan.cycles.values(), default=0) for plan in heads], dtype=float)
    fill = sum(plan.fill_cycles for plan in heads) / profile.clock_hz
    inside = inside[:, None] / profile.clock_hz
    if outer is None or outer.bandwidth is None:
        return np.full(DRAWS, float(inside.sum()) + fill)
    moved = np.array([plan.off_chip_bytes for plan in heads], dtype=float)[:, None]
    seconds = 1 / (outer.bandwidth.value_si * constant_factor(outer.bandwidth)[None, :])
    near = (moved * seconds.max() > inside)[:, 0]  # the others wait for the chip in every draw
    edge = np.maximum(inside[near], moved[near] * seconds).sum(axis=0)
    return np.asarray(edge + inside[~near].sum() + fill)
