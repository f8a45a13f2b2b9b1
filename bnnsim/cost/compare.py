"""Compare: reports side by side, and ratios with intervals of their own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from bnnsim.cost.intervals import Interval, interval
from bnnsim.cost.result import SCHEMA, CostReport
from bnnsim.cost.waterfall import Waterfall, waterfalls
from bnnsim.display import Displayed
from bnnsim.errors import InputError, message


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times the cost of one column that of another is.

    Parameters
    ----------
    of, over : CostReport
        Above and below the fraction bar.
    energy, latency : Interval
        Per inference, sample by sample: constants that both rest on cancel. An energy of 0 says
        that one of them has none that could be estimated.
    memory : float
        All bytes that the networks need at once.
    """

    of: CostReport
    over: CostReport
    energy: Interval
    latency: Interval
    memory: float

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form of a ratio."""
        return {
            "of": _key(self.of),
            "over": _key(self.over),
            "energy": self.energy.to_dict(),
            "latency": self.latency.to_dict(),
            "memory": self.memory,
        }


@dataclass(frozen=True, slots=True)
class Comparison(Displayed):
    """Reports in the order given, and the ratio of each to every later one.

    ``waterfalls`` holds one for each pair of columns that differ in the profile alone.
    """

    columns: tuple[CostReport, ...]
    ratios: tuple[Ratio, ...]
    waterfalls: tuple[Waterfall, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the comparison in the form of schemas/compare.schema.json."""
        found: dict[str, Any] = {
            "schema": SCHEMA,
            "columns": [column.to_dict() for column in self.columns],
            "ratios": [ratio.to_dict() for ratio in self.ratios],
        }
        if self.waterfalls:
            found["waterfalls"] = [waterfall.to_dict() for waterfall in self.waterfalls]
        return found

    def to_json(self, *, indent: int | None = None) -> str:
        """Return the comparison as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)


def compare(reports: Sequence[CostReport]) -> Comparison:
    """Return the reports with the ratio of each to every later one.

    Raises
    ------
    InputError
        If there is no report.
    """
    if not reports:
        raise InputError(message("compare", "no report", "at least one report"))
    columns = tuple(reports)
    ratios = tuple(_ratio(a, b) for a, b in combinations(columns, 2))
    return Comparison(columns, ratios, waterfalls(columns))


def _ratio(of: CostReport, over: CostReport) -> Ratio:
    each = over.batch / of.batch
    latency = of.samples.latency_s / over.samples.latency_s * each
    return Ratio(
        of,
        over,
        _energy_ratio(of, over, each),
        interval(of.latency.value / over.latency.value * each, latency),
        sum(of.memory.values()) / sum(over.memory.values()),
    )


def _energy_ratio(of: CostReport, over: CostReport, each: float) -> Interval:
    """Return 0 where one side has no energy: such a column names it among what is not priced."""
    if not (of.energy.value and over.energy.value):
        return Interval(0.0, 0.0, 0.0)
    samples = of.samples.energy_j / over.samples.energy_j * each
    return interval(of.energy.value / over.energy.value * each, samples)


def _key(report: CostReport) -> dict[str, str]:
    return {"source": report.model, "profile": report.profile, "mode": report.mode}
