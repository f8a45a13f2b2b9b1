"""Energy of the chip alone: published figures often leave out the DRAM and the pins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from bnnsim.cost.hardware import HardwareProfile
from bnnsim.cost.intervals import Interval, constant_factor, interval
from bnnsim.cost.memory import off_chip
from bnnsim.cost.pricing import prices
from bnnsim.cost.result import CostReport


def chip_energy(reports: Sequence[CostReport], profile: HardwareProfile) -> Interval:
    """Return what batches take together without off-chip memory, its standby and the pins.

    Parameters
    ----------
    reports : sequence of CostReport
        Of estimates on ``profile``; their mappings stay as they were chosen, off-chip energy
        included.
    profile : HardwareProfile

    Returns
    -------
    Interval
        Joules. Every draw of the whole less the same draw of what is outside, summed draw by draw.
    """
    return interval(*chip_draws(reports, profile))


def chip_draws(reports: Sequence[CostReport], profile: HardwareProfile) -> tuple[float, np.ndarray]:
    """Return the nominal joules of :func:`chip_energy` and their draws, shape (DRAWS,)."""
    parts = [_inside(report, profile) for report in reports]
    return sum(value for value, _ in parts), np.sum([d for _, d in parts], axis=0)


def _inside(report: CostReport, profile: HardwareProfile) -> tuple[float, np.ndarray]:
    number: Counter[str] = Counter()
    for layer in report.layers:
        number.update(layer.physical_actions)
    outside: float = 0.0
    drawn: Any = 0.0
    for name, price in prices(profile).items():
        if price.outside and number[name]:
            outside += number[name] * price.joules
            drawn = drawn + number[name] * price.joules * constant_factor(price.constant)
    outer = off_chip(profile)
    for power in outer.power if outer is not None else ():
        outside += power.value_si * report.latency.value
        drawn = drawn + power.value_si * constant_factor(power) * report.samples.latency_s
    return report.energy.value - outside, report.samples.energy_j - drawn
