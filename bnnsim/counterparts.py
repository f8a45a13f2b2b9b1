"""Whatever else can compute a network that the engine runs: torch, an ONNX file, stored outputs."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np

from bnnsim.errors import InputError, message
from bnnsim.frontends.onnx_execute import OnnxExecutor
from bnnsim.frontends.pairs import in_graph_order, pairs_of
from bnnsim.frontends.torch_execute import TorchExecutor
from bnnsim.graph.ir import Graph

_NEAR_INTEGER = 0.01  # of a step: how near torch's sums of integers, which it may round, must come


class Counterpart(ABC):
    """What the engine's tensors are held against.

    ``factors`` has the tensors of the model graph that it knows, each with the number that makes
    the graph's integers its own; ``whole`` is the share of a step by which it may miss an integer,
    ``peak`` the largest magnitude of all its outputs where they are known beforehand; ``notes``
    say what must be known of the comparison.
    """

    name: str
    factors: Mapping[str, float]
    notes: tuple[str, ...] = ()
    whole: float = 0.0
    peak: float = 0.0

    @abstractmethod
    def values(self, x: np.ndarray, rows: slice) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Return those tensors and the outputs for images that are these rows of all.

        All have the images first and the order of axes and features that the graph has.
        """


class Stored(Counterpart):
    """Outputs that were stored."""

    name = "stored outputs"

    def __init__(self, graph: Graph, outputs: np.ndarray, images: int) -> None:
        self.factors = {}
        self.outputs = _checked(graph, outputs, images)
        self.peak = largest(outputs)

    def values(self, x: np.ndarray, rows: slice) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """See `Counterpart`."""
        return {}, self.outputs[rows]


class Torch(Counterpart):
    """A module or program: all tensors of a network that was imported from it, else the outputs."""

    name, whole = "torch", _NEAR_INTEGER

    def __init__(self, model: Graph, source: Any, x: np.ndarray) -> None:
        self.model = model
        self.pairs: Mapping[str, Mapping[str, Any]] = {}
        imported = str(model.meta.get("torch_program", ""))
        native = str(model.meta.get("mode", "native")) == "native"
        self.executor = TorchExecutor(source, x, imported if native else "")
        missing = self.executor.missing
        if not native:
            missing = "the mode is not the source's own"
        elif not imported:
            missing = "the network was not imported from torch"
        if not missing:
            self.pairs = pairs_of(model, "torch")
        self.notes = (f"compared at the outputs only: {missing}",) if missing else ()
        self.factors = {name: float(pair["factor"]) for name, pair in self.pairs.items()}

    def values(self, x: np.ndarray, rows: slice) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """See `Counterpart`."""
        found = {}
        if self.pairs:
            names = {pair["tensor"] for pair in self.pairs.values()}
            found = _arranged(self.model, self.pairs, self.executor.values(x, names)[0])
        outputs = self.executor.outputs(x)
        outputs = outputs.transpose(0, 2, 3, 1) if outputs.ndim == 4 else outputs
        return found, _checked(self.model, outputs, len(x))


class Onnx(Counterpart):
    """An ONNX file, with every tensor that it and the model graph have in common."""

    def __init__(self, model: Graph, executor: OnnxExecutor) -> None:
        if model.meta.get("source_kind") != "onnx" or model.meta.get("mode", "native") != "native":
            rule = "the native mode of a network that was read from that file"
            raise InputError(message("against", executor.path, rule))
        self.name, self.model, self.executor = executor.name, model, executor
        self.pairs = pairs_of(model, "onnx")
        self.factors = {name: float(pair["factor"]) for name, pair in self.pairs.items()}

    def values(self, x: np.ndarray, rows: slice) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """See `Counterpart`."""
        first = bool(self.model.meta.get("channels_first"))
        found = _arranged(self.model, self.pairs, self.executor.tensors(x, channels_first=first))
        return found, found[self.model.outputs[0]]


def largest(values: np.ndarray) -> float:
    """Return the largest finite magnitude, 0 where there is none."""
    return float(np.abs(values[np.isfinite(values)].astype(np.float64)).max(initial=0.0))


def counterpart(
    model: Graph, lowered: Graph, against: Any, x: np.ndarray, images: int
) -> Counterpart:
    """Return what ``against`` of :func:`bnnsim.verify` means, other than the reference.

    It will be asked for so many images of ``x`` at once, or fewer.

    Raises
    ------
    InputError
        If that is nothing to compare with, or does not fit the network.
    """
    if isinstance(against, np.ndarray):
        return Stored(lowered, against, len(x))
    if isinstance(against, str):
        raise InputError(message("against", against, "'reference', an array or a torch module"))
    if isinstance(against, OnnxExecutor):
        return Onnx(model, against)
    return Torch(model, against, x[:images])


def _arranged(
    model: Graph, pairs: Mapping[str, Mapping[str, Any]], values: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return a source's values by the graph's names, as the graph has them."""
    found = {}
    for name, pair in pairs.items():
        value, shape = values.get(pair["tensor"]), model.tensor(name).shape
        elements = 0 if value is None else value[:1].size
        if value is None or elements != model.tensor(name).size:
            rule = f"{shape}, of the network that was imported from it"
            place = f"{model.name}: {name!r} in the source"
            raise InputError(message(place, f"{pair['tensor']!r}, {elements} elements", rule))
        found[name] = in_graph_order(value, shape, pair.get("channels"))
    return found


def _checked(graph: Graph, outputs: np.ndarray, images: int) -> np.ndarray:
    shape = (images, *graph.tensor(graph.outputs[0]).shape)
    if outputs.shape != shape:
        raise InputError(message("outputs to compare with", outputs.shape, f"shape {shape}"))
    if outputs.dtype.kind not in "iuf":
        raise InputError(message("outputs to compare with", str(outputs.dtype), "numbers"))
    return outputs
