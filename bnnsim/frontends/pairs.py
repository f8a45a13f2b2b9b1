"""Which value of its source each tensor of a graph equals, so that the two can be compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bnnsim.errors import GraphError, message
from bnnsim.frontends.importer import Activation, Importer, Scaled
from bnnsim.graph.ir import Graph


class Pairs:
    """Collects pairs while a source is walked; they end as JSON values in the graph's meta.

    ``found`` maps a tensor of the graph to the ``tensor`` of the source, to the ``factor`` that
    makes the graph's integers the source's numbers, and, where a flattened image has its features
    in another order, to the ``channels`` of that image. The first value that equals it counts:
    what a source writes to later, or rounds again, does not.
    """

    def __init__(self) -> None:
        self.found: dict[str, dict[str, Any]] = {}

    def add(self, name: str, value: Any) -> None:
        """Remember that the source's ``name`` is ``value``, unless that is no tensor yet."""
        factor = value.factor if isinstance(value, Scaled) else 1.0
        inner = value.inner if isinstance(value, Scaled) else value
        if not isinstance(inner, Activation):
            return
        pair: dict[str, Any] = {"tensor": name, "factor": factor}
        if inner.order is not None:
            pixels = int(inner.order[1])
            channels = len(inner.order) // max(1, pixels)
            plain = np.arange(channels * pixels).reshape(channels, -1).T.reshape(-1)
            if not np.array_equal(inner.order, plain):
                return  # of several images side by side
            pair["channels"] = channels
        self.found.setdefault(inner.tensor, pair)

    def finish(self, im: Importer, values: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Return all pairs, with values that became tensors when something read them."""
        for name, pending in values.items():
            if id(pending) in im.made and not isinstance(pending, Scaled):
                self.add(name, im.made[id(pending)][1])
        return self.found


def pairs_of(graph: Graph, source: str) -> dict[str, dict[str, Any]]:
    """Return what the graph's meta entry ``source`` says of tensors that its nodes compute.

    Raises
    ------
    GraphError
        If that is none of what `Pairs` writes: a file may say anything.
    """
    held: Any = graph.meta.get(source)
    for name, pair in held.items() if isinstance(held, dict) else [("", held)]:
        entries = pair if isinstance(pair, dict) else {}
        factor, channels = entries.get("factor"), entries.get("channels", 1)
        sound = isinstance(entries.get("tensor"), str) and isinstance(factor, (int, float))
        if not sound or not isinstance(channels, int) or channels < 1:
            place = f"{graph.name}: meta.{source}[{name!r}]"
            rule = "a tensor, a factor and perhaps channels of the source"
            raise GraphError(message(place, pair, rule, "Import the source again."))
    return {node.output: held[node.output] for node in graph.nodes if node.output in held}


def in_graph_order(
    value: np.ndarray, shape: tuple[int, ...], channels: int | None = None
) -> np.ndarray:
    """Return a source's value of n images, channels first, as a graph's tensor has it.

    Parameters
    ----------
    value : ndarray, n x the elements of an image
    shape : tuple of int
        Of the graph's tensor: (H, W, C), (features,) or another that the source has as well.
    channels : int, optional
        Of the image that a tensor of (features,) is flattened from.
    """
    images = len(value)
    if len(shape) == 3:
        height, width, depth = shape
        return value.reshape(images, depth, height, width).transpose(0, 2, 3, 1)
    if channels is not None:
        return value.reshape(images, channels, -1).transpose(0, 2, 1).reshape(images, -1)
    return value.reshape(images, *shape)
