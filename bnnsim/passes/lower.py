"""The fixed sequence of passes from a model graph to what the engine runs and the model costs."""

from __future__ import annotations

from collections.abc import Callable

from bnnsim.graph.ir import Graph
from bnnsim.graph.verify import verify
from bnnsim.passes.flattens import flatten_last
from bnnsim.passes.pools import pool_on_bits
from bnnsim.passes.thresholds import fold_thresholds

PASSES: tuple[Callable[[Graph], Graph], ...] = (
    flatten_last,
    pool_on_bits,
    fold_thresholds,
    pool_on_bits,
)


def lower(
    graph: Graph,
    *,
    keep_bn: bool = False,
    check: Callable[[Graph, Graph], None] | None = None,
) -> Graph:
    """Return ``graph`` with thresholds folded and pools moved onto bits.

    Parameters
    ----------
    graph : Graph
    keep_bn : bool, optional
        Leave batch norms, and the pools before them, as the source has them.
    check : callable, optional
        Called with (before, after) of every pass; tests compare outputs on a probe input.
    """
    for run_pass in () if keep_bn else PASSES:
        after = verify(run_pass(graph), known=graph)
        if check is not None:
            check(graph, after)
        graph = after
    return graph
