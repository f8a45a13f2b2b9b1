"""How far the energy moves with each constant, and whether the choice of a mapping would flip.

E = A c is linear in every constant, so that a sensitivity is a share of the energy. That holds for
the mapping at hand; with a constant far off another mapping may win, which a new search shows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from bnnsim.cost.hardware import Constant, HardwareProfile
from bnnsim.cost.latency import stage_seconds
from bnnsim.cost.pricing import power_constants, prices
from bnnsim.cost.result import Flip, Sensitivity
from bnnsim.cost.schedule import Schedule
from bnnsim.errors import ProfileError, message


def total_joules(profile: HardwareProfile, schedule: Schedule) -> float:
    """Return the energy of a schedule."""
    joules = {name: price.joules for name, price in prices(profile).items()}
    dynamic = sum(n * joules[name] for plan in schedule.nodes for name, _, n in plan.weighted())
    seconds = sum(stage_seconds(profile, plan)[0] for plan in schedule.nodes)
    return dynamic + seconds * sum(c.value_si for c in power_constants(profile))


def sensitivities(
    profile: HardwareProfile, schedule: Schedule, seconds: float, joules: float
) -> tuple[Sensitivity, ...]:
    """Return how much of the energy each constant multiplies, the most first.

    An operator's constant and the overhead factor multiply the same joules, so these shares may sum
    to more than 1. Energy goes with one over the reference activity.
    """
    priced = prices(profile)
    parts: dict[Constant, float] = {}
    operators = scaled = 0.0
    for (name, follows), number in schedule.totals.items():
        price = priced[name]
        part = number * price.joules
        parts[price.constant] = parts.get(price.constant, 0.0) + part
        operators += part if price.overhead else 0.0
        scaled += part if follows else 0.0
    for power in power_constants(profile):
        parts[power] = parts.get(power, 0.0) + power.value_si * seconds
    if profile.overhead is not None:
        parts[profile.overhead] = operators
    rows = [_row(c, part / joules, 1) for c, part in parts.items() if part]
    reference = profile.array.reference_activity
    if scaled and reference is not None:
        rows.append(_row(reference, scaled / joules, -1))
    return tuple(sorted(rows, key=lambda row: -abs(row.percent_per_10_percent)))


def _row(constant: Constant, share: float, power: int) -> Sensitivity:
    """Return the row of a constant whose ``power`` a share of the energy goes with."""

    def moved(factor: float) -> float:
        return 100 * share * (factor**power - 1)

    band = constant.band
    return Sensitivity(constant.name, constant.status, band,
                       moved(1.1), moved(1 / band), moved(band))  # fmt: skip


def require_search(profile: HardwareProfile) -> None:
    """Raise the error of a profile whose mapping is not searched for."""
    if profile.latency_model != "array" or profile.scope != "chip":
        remedy = "Leave --flip out; the table of sensitivities holds for this profile."
        rule = "a profile with 'latency_model: array' and memories, whose mapping is a search"
        raise ProfileError(message("--flip", f"profile {profile.name!r}", rule, remedy))


def searched_constants(profile: HardwareProfile) -> tuple[Constant, ...]:
    """Return what the choice of a mapping rests on: prices of accesses, and powers.

    Operators do not take part: every mapping does the same operations.
    """
    accesses = [c for memory in profile.memories for c in (memory.read, memory.write)]
    found = dict.fromkeys([*accesses, *power_constants(profile)])
    return tuple(c for c in found if c.value_si and c.band > 1)


def mapping_flips(
    profile: HardwareProfile,
    schedule: Schedule,
    plan: Callable[[HardwareProfile], Schedule],
    progress: Callable[[int], object] | None = None,
) -> Iterator[Flip]:
    """Yield what a search finds with each constant at each end of its band.

    Parameters
    ----------
    schedule : Schedule
        The choice at nominal values.
    plan : callable
        Returns the best schedule on a profile.
    progress : callable, optional
        Told 1 after each search.
    """
    ends = [(c, f) for c in searched_constants(profile) for f in (1 / c.band, c.band)]
    for constant, factor in ends:
        chip = scaled_constant(profile, constant, factor)
        found = plan(chip)
        kept, searched = total_joules(chip, schedule), total_joules(chip, found)
        layers = sum(a.priced != b.priced for a, b in zip(schedule.nodes, found.nodes, strict=True))
        yield Flip(constant.name, factor, bool(layers), layers, kept, searched)
        if progress is not None:
            progress(1)


def scaled_constant(profile: HardwareProfile, constant: Constant, factor: float) -> HardwareProfile:
    """Return a profile with one price of an access, or one power, multiplied."""
    other = replace(constant, value_si=constant.value_si * factor)

    def swap(found: Constant) -> Constant:
        return other if found == constant else found

    memories = tuple(
        replace(m, read=swap(m.read), write=swap(m.write), power=tuple(map(swap, m.power)))
        for m in profile.memories
    )
    return replace(profile, memories=memories, static=tuple(map(swap, profile.static)))
