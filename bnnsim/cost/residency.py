"""What stays on chip: of all candidates that fit, the one with the least memory energy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bnnsim.cost.context import Context
from bnnsim.cost.memory import Residency, candidates
from bnnsim.cost.nests import Run, choose
from bnnsim.cost.pricing import access_joules
from bnnsim.cost.transfers import other_accesses

_Key = tuple[int, bool, frozenset[str]]
_ENDLESS = 1 << 62


def search(context: Context, runs: Sequence[Run | None]) -> Residency:
    """Return the candidate with the least memory energy.

    With endless room for tiles no stage costs more, so that candidates are taken in the order of
    that bound, and the search ends as soon as the next one exceeds the best.

    Parameters
    ----------
    context : Context
        Its ``where`` is not used.
    runs : sequence of Run or None
        By stage, as ``run_of`` returns them.

    Raises
    ------
    ProfileError
        If something does not fit and the profile has no off-chip memory.
    """
    found = candidates(context.layout, context.profile, context.images)
    if len(found) == 1:
        return found[0]
    costs = _Costs(context, runs)
    bounds = costs.bounds(found)
    best, least = found[0], float("inf")
    for i in np.argsort(bounds, kind="stable"):
        if bounds[i] >= least:
            break
        joules = sum(costs.stage(found[i], position) for position in range(len(runs)))
        if joules < least:
            best, least = found[i], joules
    return best


class _Costs:
    """Memory energy of stages, remembered across candidates.

    Outside a loop nest it depends on which of a stage's own tensors are on chip; inside also on the
    room that is left, if some are not.
    """

    def __init__(self, context: Context, runs: Sequence[Run | None]) -> None:
        self._context = context
        self._layers = [run.layer if run is not None else None for run in runs]
        memories = context.profile.memories
        self._joules = {
            (m.name, v): access_joules(m, v) for m in memories for v in ("read", "write")
        }
        self._tensors = [
            frozenset(t.name for t in (*stage.reads, stage.writes, *stage.maps))
            for stage in context.layout.stages
        ]
        self._known: dict[_Key, float] = {}  # outside loop nests
        self._least: dict[_Key, float] = {}  # with endless room

    def stage(self, where: Residency, position: int) -> float:
        """Return joules of one stage for a group of images."""
        key = self._key(where, position)
        if key not in self._known:
            inside = replace(self._context, where=where)
            found = other_accesses(inside, self._context.layout.stages[position], position)
            joules = (n * self._joules[m, verb] for (m, verb, _), n in found.items())
            self._known[key] = sum(joules)
        layer = self._layers[position]
        nest = choose(self._context, where, position, layer).order.joules if layer else 0.0
        return self._known[key] + nest

    def bounds(self, found: Sequence[Residency]) -> np.ndarray:
        """Return what candidates cost with endless room, the sum of stages kept and not kept."""
        stages = range(len(self._layers))
        kept = {pinned: np.isin(stages, list(pinned)) for pinned in {one.pinned for one in found}}
        either: dict[frozenset[str], np.ndarray] = {}
        for one in found:
            if one.spilled not in either:
                pair = [replace(one, pinned=frozenset(some)) for some in ((), stages)]
                rows = [[self._roomy(w, position) for position in stages] for w in pair]
                either[one.spilled] = np.array(rows)
        return np.array([
            np.where(kept[one.pinned], either[one.spilled][1], either[one.spilled][0]).sum()
            for one in found
        ])  # fmt: skip

    def _roomy(self, where: Residency, position: int) -> float:
        """Return joules of one stage with endless room for its tiles."""
        key = self._key(where, position)
        if key not in self._least:
            endless = (_ENDLESS,) * len(self._layers)
            roomy = replace(where, free_weights=endless, free_activations=endless)
            self._least[key] = self.stage(roomy, position)
        return self._least[key]

    def _key(self, where: Residency, position: int) -> _Key:
        return position, position in where.pinned, where.spilled & self._tensors[position]
