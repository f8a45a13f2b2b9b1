"""Predict every point, and say how far off the predictions are.

Errors are in octaves: log2(predicted / published) is -1 for half and +1 for double. Within a kind
each chip has one vote, the median of its points. The score of an interval is its width in octaves
plus 20 times what a published figure lies outside by: 2 / (1 - 0.9), as Gneiting and Raftery have
it for an interval of 90 %. Points that a profile was calibrated on, and figures that were not read
in a document, are shown and not scored.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bnnsim.cost.estimate import estimate
from bnnsim.cost.hardware import HardwareProfile
from bnnsim.cost.intervals import Interval, interval
from bnnsim.cost.profile import load_profile
from bnnsim.cost.result import CostReport
from bnnsim.cost.scope import chip_draws, chip_energy
from bnnsim.validate.nets import NETWORKS
from bnnsim.validate.points import RATIO, Point, check_single, packaged_points, read_points

LEVEL = 0.9
_PENALTY = 2 / (1 - LEVEL)
SCORED, FIT, UNCONFIRMED = "scored", "fit", "unconfirmed"


@dataclass(frozen=True, slots=True)
class Row:
    """One point with its prediction; ``role`` is scored, fit or unconfirmed."""

    point: Point
    predicted: Interval
    role: str

    @property
    def log2_error(self) -> float:
        """Octaves above the published figure."""
        return math.log2(self.predicted.value / self.point.published)

    @property
    def inside(self) -> bool:
        """Whether the published figure lies in the interval."""
        return self.predicted.low <= self.point.published <= self.predicted.high

    @property
    def width(self) -> float:
        """Octaves from one end of the interval to the other."""
        return math.log2(self.predicted.high / self.predicted.low)

    @property
    def interval_score(self) -> float:
        """Width, and a penalty for what the published figure lies outside by; in octaves."""
        below = math.log2(self.predicted.low / self.point.published)
        above = math.log2(self.point.published / self.predicted.high)
        return self.width + _PENALTY * max(below, above, 0.0)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form of a point."""
        plain = asdict(self.point)
        facts = {key: plain[key] for key in ("id", "chip", "kind", "quantity")}
        return {
            **facts,
            "unit": self.point.unit,
            "scope": self.point.scope,
            "profile": self.point.profile,
            "role": self.role,
            "published": self.point.published,
            "predicted": self.predicted.to_dict(),
            "log2_error": self.log2_error,
            "inside": self.inside,
            "source": f"{self.point.cite}, {self.point.at}",
        }


@dataclass(frozen=True, slots=True)
class Validation:
    """Every point with its prediction, and those without one."""

    rows: tuple[Row, ...]
    unmodelled: tuple[tuple[str, str], ...]

    def of(self, role: str) -> tuple[Row, ...]:
        """Return the rows of a role."""
        return tuple(row for row in self.rows if row.role == role)

    def to_dict(self) -> dict[str, Any]:
        """Return the result in the form of schemas/validate.schema.json."""
        scored = self.of(SCORED)
        return {
            "schema": 1,
            "points": [row.to_dict() for row in self.rows],
            "fit": [row.point.id for row in self.of(FIT)],
            "unconfirmed": [row.point.id for row in self.of(UNCONFIRMED)],
            "unmodelled": [{"id": name, "reason": reason} for name, reason in self.unmodelled],
            "summary": summary(scored),
            "coverage": coverage(scored),
        }

    def to_json(self, *, indent: int | None = None) -> str:
        """Return the result as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)


def validate(
    points: Path | None = None, *, progress: Callable[[int], object] | None = None
) -> Validation:
    """Predict the points of a file (default: the packaged ones) with the profiles as they are.

    ``progress`` is called with 1 after each point.

    Raises
    ------
    InputError, ProfileError, GraphError
        If the file or a profile is malformed, or a network does not run on its profile.
    """
    known, holes = read_points(points or packaged_points())
    rows = []
    for point in known:
        rows.append(_row(point))
        if progress is not None:
            progress(1)
    return Validation(tuple(rows), holes)


def _row(point: Point) -> Row:
    profile = load_profile(point.profile)
    role = SCORED if point.confirmed else UNCONFIRMED
    return Row(point, predict(point), FIT if point.id in profile.calibrated_on else role)


def predict(point: Point) -> Interval:
    """Return what the model says of a point, in SI units."""
    check_single(point)
    profile = load_profile(point.profile)
    if point.quantity == RATIO:
        return _ratio(point, profile)
    reports = [estimate(NETWORKS[n](), profile, batch=point.batch) for n in point.networks]
    if point.quantity == "time per image":
        return _each(_sum(reports, "latency"), point.batch)
    if point.scope == "board":
        return _each(_sum(reports, "energy"), point.batch)
    energy = chip_energy(reports, profile)
    if point.quantity == "energy per operation":
        return _each(energy, 2 * _macs(reports[0]) * point.batch)
    return _each(energy, point.batch)


def _ratio(point: Point, profile: HardwareProfile) -> Interval:
    """Return the energy of an operation over that of the network below the line, draw by draw."""
    above, below = (
        estimate(NETWORKS[name](), profile, batch=point.batch)
        for name in (point.networks[0], point.against)
    )
    (value, draws), (unit, unit_draws) = (chip_draws([r], profile) for r in (above, below))
    each = _macs(below) / _macs(above)
    return interval(each * value / unit, each * draws / unit_draws)


def _macs(report: CostReport) -> int:
    return sum(report.macs.values())


def _sum(reports: Sequence[CostReport], what: str) -> Interval:
    """Return the sum of what several reports say, draw by draw."""
    samples = sum(getattr(r.samples, "latency_s" if what == "latency" else "energy_j")
                  for r in reports)  # fmt: skip
    return interval(sum(getattr(r, what).value for r in reports), samples)


def _each(found: Interval, number: int) -> Interval:
    return Interval(found.value / number, found.low / number, found.high / number)


def summary(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Return by kind how far off its chips are, one vote each; octaves."""
    found = {}
    for kind in sorted({row.point.kind for row in rows}):
        mine = [row for row in rows if row.point.kind == kind]
        errors = _by_chip(mine, lambda row: abs(row.log2_error))
        found[kind] = {
            "chips": len(errors),
            "median_abs_log2": statistics.median(errors.values()),
            "worst_abs_log2": max(abs(row.log2_error) for row in mine),
            "interval_score": statistics.fmean(
                _by_chip(mine, lambda row: row.interval_score).values()
            ),
            "median_width": statistics.median(_by_chip(mine, lambda row: row.width).values()),
        }
    return found


def _by_chip(rows: Sequence[Row], value: Callable[[Row], float]) -> Mapping[str, float]:
    return {c: statistics.median(value(r) for r in rows if r.point.chip == c) for c in _chips(rows)}


def _chips(rows: Sequence[Row]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(row.point.chip for row in rows))


def coverage(rows: Sequence[Row]) -> dict[str, float | None]:
    """Return how many figures lie inside, how many chips that makes, and how likely so few are.

    ``p_value`` takes figures for independent; figures of one chip share its profile and are not.
    ``p_value_by_chip`` takes those of one chip for a single observation, its share inside: the
    effective number of trials is that of chips, as if they were correlated by 1. The tails are
    those of Clopper and Pearson, for counts that need not be whole by the incomplete beta
    function, and the smaller one is doubled.

    References
    ----------
    E. L. Korn, B. I. Graubard, "Confidence intervals for proportions with small expected number of
    positive counts estimated from survey data", Survey Methodology 24(2), 1998: effective sample
    size in the Clopper-Pearson tails.
    """
    inside, n = sum(row.inside for row in rows), len(rows)
    shares = {c: [r.inside for r in rows if r.point.chip == c] for c in _chips(rows)}
    chips_inside = sum(statistics.fmean(share) for share in shares.values())
    tests: dict[str, float | None] = {"p_value": None, "p_value_by_chip": None}
    if n:
        from scipy.stats import binomtest

        tests["p_value"] = float(binomtest(inside, n, LEVEL).pvalue)
        tests["p_value_by_chip"] = _two_tails(chips_inside, len(shares))
    widths = _by_chip(rows, lambda row: row.width).values()
    width = 2 ** statistics.median(widths) if widths else None
    return {"inside": inside, "n": n, "chips_inside": chips_inside, "chips": len(shares),
            "median_width": width, **tests}  # fmt: skip


def _two_tails(inside: float, n: int) -> float:
    """Return twice the smaller tail of ``inside`` of ``n`` at ``LEVEL``, at most 1."""
    from scipy.special import betainc

    at_most = 1 - betainc(inside + 1, n - inside, LEVEL) if inside < n else 1.0
    at_least = betainc(inside, n - inside + 1, LEVEL) if inside > 0 else 1.0
    return float(min(1.0, 2 * min(at_most, at_least)))
