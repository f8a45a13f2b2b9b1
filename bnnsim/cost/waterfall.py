"""Waterfall: which constants make the difference between two profiles.

Energy is a sum of products, count x price x overhead for each action and power x time for what is
always drawn. The difference of one product between two columns is shared among its factors by the
mean over all orders in which they could be changed one at a time (Shapley's value): for factors
x, y, z that go from 0 to 1,

    share of x = (x1 - x0) [(y0 z0 + y1 z1) / 3 + (y0 z1 + y1 z0) / 6],

so that the shares of x, y and z add up to x1 y1 z1 - x0 y0 z0. With z = 1 it is the familiar
(x1 - x0) (y0 + y1) / 2. What only one column has is a step of its own.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from bnnsim.cost.profile import ACTIONS
from bnnsim.cost.result import CostReport

_ROUNDING = 1e-14  # a step below this part of the energies is a rounding error
_EACH = "1/inference"


@dataclass(frozen=True, slots=True)
class Step:
    """What one constant, or how often it counts, adds to the energy of one inference.

    Parameters
    ----------
    constant : str
        An action, ``overhead``, or a power.
    cause : str
        ``price`` (the constant's value), ``count`` (how often it is needed), ``time`` (for how
        long), ``added`` or ``removed`` (only the later or only the earlier column has it).
    unit : str
        Of ``before`` and ``after``.
    before, after : float
        The factor in the earlier and in the later column.
    energy_j : float
    """

    constant: str
    cause: str
    unit: str
    before: float
    after: float
    energy_j: float

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form of a step."""
        return {
            "constant": self.constant, "cause": self.cause, "unit": self.unit,
            "from": self.before, "to": self.after, "energy_j": self.energy_j,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Waterfall:
    """From the energy of one inference in one column to that in another, largest step first."""

    start: CostReport
    end: CostReport
    steps: tuple[Step, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form of a waterfall."""
        ends = {
            side: {"source": report.model, "profile": report.profile, "mode": report.mode}
            for side, report in (("from", self.start), ("to", self.end))
        }
        return {
            **ends,
            "start_j": _energy(self.start),
            "end_j": _energy(self.end),
            "steps": [step.to_dict() for step in self.steps],
        }


def waterfalls(columns: Sequence[CostReport]) -> tuple[Waterfall, ...]:
    """Return one waterfall for each pair of columns that differ in the profile alone."""
    return tuple(
        waterfall(a, b)
        for a, b in combinations(columns, 2)
        if (a.model, a.mode, a.batch) == (b.model, b.mode, b.batch) and a.profile != b.profile
    )


def waterfall(start: CostReport, end: CostReport) -> Waterfall:
    """Return the steps from one column to another; their sum is the difference, exactly.

    Parameters
    ----------
    start, end : CostReport
        Of one network in one mode.
    """
    before, after = _terms(start), _terms(end)
    steps: list[Step] = []
    overhead = 0.0
    for name in dict.fromkeys((*before, *after)):
        if name in before and name in after:
            shares = shapley(before[name].factors, after[name].factors)
            overhead += shares[2]
            steps += _changed(name, before[name], after[name], shares)
        else:
            steps.append(_alone(name, before.get(name), after.get(name)))
    factors = _overhead(start), _overhead(end)
    steps.append(Step("overhead", "price", "1", *factors, overhead))
    rests = _rest(start, before), _rest(end, after)
    steps.append(Step("other", "added", "J", *rests, rests[1] - rests[0]))
    least = _ROUNDING * (_energy(start) + _energy(end))
    found = sorted(steps, key=lambda s: (-abs(s.energy_j), s.constant))
    return Waterfall(start, end, tuple(s for s in found if abs(s.energy_j) > least))


def shapley(
    before: tuple[float, float, float], after: tuple[float, float, float]
) -> tuple[float, float, float]:
    """Return what each of three factors adds to their product when all three change."""

    def share(x: int, y: int, z: int) -> float:
        together = before[y] * before[z] + after[y] * after[z]
        crossed = before[y] * after[z] + after[y] * before[z]
        return (after[x] - before[x]) * (together / 3 + crossed / 6)

    return share(0, 1, 2), share(1, 2, 0), share(2, 0, 1)


@dataclass(frozen=True, slots=True)
class _Term:
    """One product: a count, a price and an overhead, or a time and a power."""

    factors: tuple[float, float, float]
    power: bool

    @property
    def energy_j(self) -> float:
        return math.prod(self.factors)


def _terms(report: CostReport) -> Mapping[str, _Term]:
    """Return the products of one inference by constant, those that are not zero."""
    numbers: Counter[str] = Counter()
    for layer in report.layers:
        numbers.update(layer.physical_actions)
    factor = _overhead(report)
    terms = {}
    for name, number in numbers.items():
        extra = factor if name in ACTIONS else 1.0
        joules = report.action_joules[name] / extra
        terms[name] = _Term((number / report.batch, joules, extra), power=False)
    for known in report.assumptions:
        if known.unit == "W":
            seconds = report.latency.value / report.batch
            terms[known.constant] = _Term((seconds, known.value, 1.0), power=True)
    return {name: term for name, term in terms.items() if term.energy_j}


def _overhead(report: CostReport) -> float:
    return next((a.value for a in report.assumptions if a.constant == "overhead"), 1.0)


def _changed(name: str, before: _Term, after: _Term, shares: tuple[float, ...]) -> list[Step]:
    causes = (("time", "s"), ("price", "W")) if before.power else (("count", _EACH), ("price", "J"))
    return [
        Step(name, cause, unit, before.factors[i], after.factors[i], shares[i])
        for i, (cause, unit) in enumerate(causes)
    ]


def _alone(name: str, before: _Term | None, after: _Term | None) -> Step:
    if after is None:
        assert before is not None  # the name came from one of the two
        return Step(name, "removed", "J", before.energy_j, 0.0, -before.energy_j)
    return Step(name, "added", "J", 0.0, after.energy_j, after.energy_j)


def _energy(report: CostReport) -> float:
    return report.energy.value / report.batch


def _rest(report: CostReport, terms: Mapping[str, _Term]) -> float:
    return _energy(report) - math.fsum(term.energy_j for term in terms.values())
