"""Functions of a graph that keep their results for as long as the graph lives."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

from bnnsim.graph.ir import Graph

P = ParamSpec("P")
R = TypeVar("R")
MOST = 32


def by_graph(function: Callable[Concatenate[Graph, P], R]) -> Callable[Concatenate[Graph, P], R]:
    """Remember what ``function`` returned, for each graph the last 32 of its other arguments.

    Graphs do not change, and none is kept alive: results must not refer to their graph.
    """
    known: WeakKeyDictionary[Graph, dict[Any, R]] = WeakKeyDictionary()

    @wraps(function)
    def remembered(graph: Graph, /, *args: P.args, **kwargs: P.kwargs) -> R:
        results = known.setdefault(graph, {})
        key = (args, *kwargs.items())
        if key not in results:
            found = function(graph, *args, **kwargs)
            while len(results) >= MOST:
                del results[next(iter(results))]
            results[key] = found
        return results[key]

    remembered.cache_clear = known.clear  # type: ignore[attr-defined]
    return remembered
