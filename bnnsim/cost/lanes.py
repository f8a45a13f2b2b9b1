"""How each stage of a pipeline is folded: as the graph states, or derived from a budget of lanes.

Derived foldings start with one lane a stage. Then, again and again, the stage that takes the most
cycles per image (the first of equals) gets more lanes: the next divisor of its columns for SIMD
while SIMD is not above PE or PE is at its end, else the next divisor of its rows for PE. It ends
when the lanes of all stages would exceed the budget, when the slowest stage has every lane that it
can use, or when the input or the output takes as long as the slowest stage.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from bnnsim.errors import ProfileError, message
from bnnsim.graph.folding import Folding, layers_of, matrix_of, stated_folding
from bnnsim.graph.ir import Graph


def foldings(
    graph: Graph, repeats: Mapping[str, int], lanes: int, floor: int, profile: str
) -> tuple[dict[str, Folding], bool]:
    """Return the folding of each layer by node name, and whether it was derived.

    Parameters
    ----------
    graph : Graph
    repeats : mapping of str to int
        How often a layer's matrix is passed per image: pixels x groups x serial bits.
    lanes : int
        The largest sum of PE x SIMD.
    floor : int
        Cycles per image below which more lanes gain nothing.
    profile : str
        For messages.

    Raises
    ------
    GraphError, ProfileError
        If the graph states a folding that does not fit, or has more layers than there are lanes.
    """
    stated = stated_folding(graph)
    if stated:
        return stated, False
    found = {n.name: Folding(1, 1, *matrix_of(graph, n)) for n in layers_of(graph)}
    if len(found) > lanes:
        rule = f"at most {lanes} layers: each needs a lane"
        raise ProfileError(message(f"profile {profile!r}: pipeline.lanes", len(found), rule))
    used = len(found)
    while found:
        name = max(found, key=lambda n: cycles(found[n], repeats[n]))
        wider = _wider(found[name])
        done = wider is None or cycles(found[name], repeats[name]) <= floor
        if wider is None or done or used + wider.lanes - found[name].lanes > lanes:
            break
        used += wider.lanes - found[name].lanes
        found[name] = wider
    return found, True


def cycles(folding: Folding, repeats: int) -> int:
    """Return the cycles that a stage takes per image."""
    return folding.row_folds * folding.column_folds * repeats


def _wider(folding: Folding) -> Folding | None:
    """Return the folding with the next number of lanes, or None if it has all."""
    simd, pe = (_next_divisor(n, at) for n, at in
                ((folding.columns, folding.simd), (folding.rows, folding.pe)))  # fmt: skip
    if simd and (folding.simd <= folding.pe or not pe):
        return replace(folding, simd=simd)
    return replace(folding, pe=pe) if pe else None


def _next_divisor(number: int, at: int) -> int:
    """Return the smallest divisor of ``number`` above ``at``, 0 if there is none."""
    low = (d for d in range(1, math.isqrt(number) + 1) if number % d == 0)
    return min((d for pair in ((d, number // d) for d in low) for d in pair if d > at), default=0)
