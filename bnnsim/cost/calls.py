"""A kernel call: what it asks of each resource, and the seconds that this takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from bnnsim.cost.hardware import Constant
from bnnsim.cost.intervals import constant_factor

LAUNCH = "launch"


@dataclass(frozen=True, slots=True)
class Call:
    """One kernel, called ``times`` times.

    Parameters
    ----------
    work : mapping of str to tuple of (Constant, float)
        By resource: amounts to be divided by their rates; they follow one another.
    launch : Constant or None
        Seconds before it begins.
    """

    work: Mapping[str, tuple[tuple[Constant, float], ...]]
    launch: Constant | None
    times: int

    def resources(self) -> Iterator[tuple[str, float]]:
        """Yield each resource with the seconds that all its calls are busy, launch last."""
        for name, work in self.work.items():
            yield name, self.times * sum(amount / c.value_si for c, amount in work)
        if self.launch is not None:
            yield LAUNCH, self.times * self.launch.value_si

    @property
    def seconds(self) -> float:
        """Launch and then the longest resource."""
        busy = dict(self.resources())
        return busy.pop(LAUNCH, 0.0) + max(busy.values())

    def draws(self) -> np.ndarray:
        """Return the seconds in every draw of the constants, (4096,)."""
        busy = [
            sum((amount / (c.value_si * constant_factor(c)) for c, amount in work), np.zeros(1))
            for work in self.work.values()
        ]
        seconds = np.max(np.stack(np.broadcast_arrays(*busy)), axis=0)
        if self.launch is not None:
            seconds = seconds + self.launch.value_si * constant_factor(self.launch)
        return np.asarray(self.times * seconds)


def bound_of(calls: tuple[Call, ...]) -> str:
    """Return the resource or the launch on which the calls of a node spend most time."""
    spent: dict[str, float] = {}
    for call in calls:
        busy = dict(call.resources())
        launch = busy.pop(LAUNCH, 0.0)
        slowest = max(busy, key=lambda name: busy[name])
        spent[slowest] = spent.get(slowest, 0.0) + busy[slowest]
        spent[LAUNCH] = spent.get(LAUNCH, 0.0) + launch
    return max(spent, key=lambda name: spent[name])
