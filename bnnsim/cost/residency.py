"""What stays on chip: of all candidates that fit, the one with the least memory energy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from bnnsim.cost.context import Context
from bnnsim.cost.memory import Residency, candidates
from bnnsim.cost.pricing import access_joules
from bnnsim.cost.stages import Stage
from bnnsim.cost.traffic import Accesses

AccessesOf = Callable[[Context, Stage, int], Accesses]
_ENDLESS = 1 << 62


def search(context: Context, accesses_of: AccessesOf) -> Residency:
    """Return the candidate with the least memory energy.

    With endless room for tiles no stage costs more, so that a candidate is given up as soon as what
    is known of its stages and that bound of the others exceed the best.

    Parameters
    ----------
    context : Context
        Its ``where`` is not used.
    accesses_of : callable
        Takes a context with a residency, a stage and its position; returns accesses.

    Raises
    ------
    ProfileError
        If something does not fit and the profile has no off-chip memory.
    """
    found = candidates(context.layout, context.profile, context.images)
    if len(found) == 1:
        return found[0]
    costs = _Costs.of(context, accesses_of)
    bounds = [costs.bounds(where) for where in found]
    order = sorted(range(len(found)), key=lambda i: sum(bounds[i]))
    best, least = found[order[0]], float("inf")
    for i in order:
        if sum(bounds[i]) >= least:
            break
        joules = costs.total(found[i], bounds[i], least)
        if joules < least:
            best, least = found[i], joules
    return best


@dataclass(frozen=True, slots=True)
class _Costs:
    """Memory energy of stages, remembered across candidates.

    It depends on which of a stage's own tensors are on chip and, if some are not, on the room left.
    """

    context: Context
    accesses_of: AccessesOf
    joules: dict[tuple[str, str], float]
    tensors: tuple[frozenset[str], ...]
    known: dict[tuple[object, ...], float] = field(default_factory=dict)

    @classmethod
    def of(cls, context: Context, accesses_of: AccessesOf) -> _Costs:
        """Return costs of which none is known."""
        memories = context.profile.memories
        joules = {(m.name, v): access_joules(m, v) for m in memories for v in ("read", "write")}
        tensors = tuple(
            frozenset(t.name for t in (*stage.reads, stage.writes, *stage.maps))
            for stage in context.layout.stages
        )
        return cls(context, accesses_of, joules, tensors)

    def stage(self, where: Residency, position: int) -> float:
        """Return joules of one stage for a group of images."""
        pinned, out = position in where.pinned, where.spilled & self.tensors[position]
        key: tuple[object, ...] = position, pinned, out
        if not pinned or out:
            key += where.free_weights[position], where.free_activations[position]
        if key not in self.known:
            inside = replace(self.context, where=where)
            stage = self.context.layout.stages[position]
            accesses = self.accesses_of(inside, stage, position)
            joules = sum(n * self.joules[m, verb] for (m, verb, _), n in accesses.items())
            self.known[key] = joules
        return self.known[key]

    def bounds(self, where: Residency) -> list[float]:
        """Return what the stages cost with endless room."""
        endless = (_ENDLESS,) * len(self.tensors)
        roomy = replace(where, free_weights=endless, free_activations=endless)
        return [self.stage(roomy, position) for position in range(len(self.tensors))]

    def total(self, where: Residency, bounds: list[float], least: float) -> float:
        """Return joules of all stages, or a part of them that exceeds ``least``."""
        joules = sum(bounds)
        for position, bound in enumerate(bounds):
            joules += self.stage(where, position) - bound
            if joules >= least:
                break
        return joules
