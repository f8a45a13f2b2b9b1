"""Count, tensor by tensor, where two executions of a network differ, and which ties explain it.

A binarization, or another quantizer, that meets a threshold exactly or within the rounding of its
input may decide either way. What differs there, and whatever differs later in the same image on a
path from there, is *explained*. A difference without such a cause is what one looks for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from bnnsim.counterparts import Counterpart, largest
from bnnsim.engine.execute import Plan
from bnnsim.engine.reference import apply
from bnnsim.execution import decide, reference_tensors
from bnnsim.graph.ir import Graph, Node
from bnnsim.graph.ops import activations_of, constants_of
from bnnsim.graph.quantizers import SIGN

Array = np.ndarray
_QUANTIZERS = ("Quantize", "Requantize", "Threshold")


@dataclass(slots=True)
class LayerCheck:
    """How one tensor compared: all by ``==``, floats within the tolerance where there is one.

    Parameters
    ----------
    name, tensor : str
        The layer, and what it computes.
    elements, mismatches : int
    max_abs_difference : float
        Of all elements, those within the tolerance too.
    ties : int
        Elements that this layer, a binarization, met at exactly 0, where conventions differ.
    explained : int
        Mismatches that follow from a tie, or from a rounding next to a threshold, here or before.
    """

    name: str
    tensor: str
    elements: int = 0
    mismatches: int = 0
    max_abs_difference: float = 0.0
    ties: int = 0
    explained: int = 0

    def add(self, wrong: np.ndarray, apart: np.ndarray, explained: np.ndarray | None) -> None:
        """Count a batch.

        ``apart`` is how far those elements are that differ at all.
        """
        self.elements += wrong.size
        self.mismatches += int(wrong.sum())
        self.max_abs_difference = max(self.max_abs_difference, float(apart.max(initial=0)))
        if explained is not None:
            self.explained += int((wrong & explained).sum())


def signs_of(model: Graph) -> dict[str, str]:
    """Return what every binarization of a model graph reads, by the binarization's name."""
    quantizers = [node for node in model.nodes if node.op == "Quantize"]
    return {n.name: n.inputs[0] for n in quantizers if n.attrs["quantizer"] == SIGN}


def compared(
    expected: np.ndarray, got: np.ndarray, allowed: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return which elements are more than ``allowed`` apart, and how far those are that differ.

    NaN equals NaN where both are floats.
    """
    differs = expected != got
    if got.dtype.kind == expected.dtype.kind == "f":
        differs &= ~(np.isnan(expected) & np.isnan(got))
    apart = np.abs(expected[differs].astype(np.float64) - got[differs])
    wrong = np.zeros(got.shape, bool)
    wrong[differs] = ~(apart <= allowed)
    return wrong, apart


class ReferenceTally:
    """Counts differences from the reference executor.

    They are those of every tensor of the lowered network, and of its outputs from those of the
    model graph before any pass.
    """

    def __init__(self, model: Graph, engine: Plan, tolerance: float) -> None:
        self.model, self.lowered, self.engine = model, engine.graph, engine
        self.tolerance = tolerance
        self.signs = signs_of(model)
        self.ties_at = dict.fromkeys(self.signs, 0)
        before = LayerCheck("before any pass", "model graph")
        self.checks = [before, *(LayerCheck(n.name, n.output) for n in self.lowered.nodes)]
        self.agreeing = 0

    def add(self, x: np.ndarray, _: slice) -> None:
        """Run both on some images, and count."""
        names = {check.tensor for check in self.checks[1:]}
        got = self.engine.run(x, keep=names - self.engine.unstored)
        if names & self.engine.unstored:
            got = self.engine.run(x, keep=names) | got
        before = reference_tensors(self.model, x, list(self.signs.values()))
        for name, source in self.signs.items():
            self.ties_at[name] += int((before[source] == 0).sum())
        output = self.lowered.outputs[0]
        expected = reference_tensors(self.lowered, x, list(names))
        pairs = [(before[self.model.outputs[0]], got[output])]
        pairs += [(expected[check.tensor], got[check.tensor]) for check in self.checks[1:]]
        for check, (theirs, mine) in zip(self.checks, pairs, strict=True):
            allowed = self.tolerance * largest(theirs) if mine.dtype.kind == "f" else 0.0
            check.add(*compared(theirs, mine, allowed), None)
        same = decide(self.lowered, expected[output]) == decide(self.lowered, got[output])
        self.agreeing += int(same.sum())

    def layers(self) -> Iterator[LayerCheck]:
        """Return how every tensor compared."""
        for check in self.checks:
            check.ties = self.ties_at.get(check.name, 0)
            yield check


class CounterpartTally:
    """Counts differences from a counterpart.

    They are those of every tensor of the model graph that it has, and of the lowered outputs.
    """

    def __init__(self, model: Graph, engine: Plan, other: Counterpart, tolerance: float) -> None:
        self.model, self.engine, self.other = model, engine, other
        self.tolerance = tolerance
        self.signs = signs_of(model)
        self.ties_at = dict.fromkeys(self.signs, 0)
        quantized = [node.inputs[0] for node in model.nodes if node.op in _QUANTIZERS]
        self.keep = tuple(dict.fromkeys([*other.factors, *quantized]))
        self.every = Plan(model, isa=engine.isa, threads=engine.threads, keep=self.keep,
                          fast_float=engine.fast_float)  # fmt: skip
        found = [node for node in model.nodes if node.output in other.factors]
        self.checks = {node.output: LayerCheck(node.name, node.output) for node in found}
        self.output = LayerCheck("output", engine.graph.outputs[0])
        self.agreeing = 0

    def add(self, x: np.ndarray, rows: slice) -> None:
        """Run both on some images, which are these rows of all, and count."""
        mine = self.every.run(x, keep=self.keep)
        theirs, expected = self.other.values(x, rows)
        caused = {self.model.inputs[0]: np.zeros(len(x), bool)}
        for node in self.model.nodes:
            before = np.any([caused[name] for name in activations_of(node)], axis=0)
            caused[node.output] = before | self._met(node, before, mine, theirs)
        for name, source in self.signs.items():
            self.ties_at[name] += int((mine[source] == 0).sum())
        got = self.engine.run(x)[self.engine.graph.outputs[0]]
        is_float = got.dtype.kind == expected.dtype.kind == "f"
        allowed = self._allowed(expected, is_float=is_float, level=1.0)
        wrong, apart = compared(expected, got, allowed)
        self.output.add(wrong, apart, _by_image(caused[self.model.outputs[0]], wrong))
        same = decide(self.engine.graph, expected) == decide(self.engine.graph, got)
        self.agreeing += int(same.sum())

    def _met(
        self, node: Node, before: np.ndarray, mine: Mapping[str, Array], theirs: Mapping[str, Array]
    ) -> np.ndarray:
        """Count one layer; return in which images it met a tie that changed something, (N,)."""
        name = node.output
        ends = self._ends(node, mine) if node.op in _QUANTIZERS else None
        if name not in theirs:
            unsure = np.zeros((len(before), 1), bool) if ends is None else ends[0] != ends[1]
            return np.asarray(unsure.reshape(len(before), -1).any(axis=1))
        expected, factor = theirs[name], self.other.factors[name]
        is_float = self.model.tensor(name).dtype.is_float
        allowed = self._allowed(expected, is_float=is_float, level=factor)
        got = mine[name].astype(np.float32) * np.float32(factor)
        wrong, apart = compared(expected, got, allowed)
        either = np.zeros(wrong.shape, bool)
        if ends is not None:
            low, high = (end.astype(np.float64) * factor for end in ends)
            either = wrong & (expected >= low - allowed) & (expected <= high + allowed)
        self.checks[name].add(wrong, apart, either | _by_image(before, wrong))
        return np.asarray(either.reshape(len(before), -1).any(axis=1))

    def _allowed(self, expected: np.ndarray, *, is_float: bool, level: float) -> float:
        """Return by how much elements may be apart: integers by a share of their step at most."""
        share = self.tolerance * max(self.other.peak, largest(expected))
        return share if is_float else min(share, self.other.whole * abs(level))

    def _ends(self, node: Node, mine: Mapping[str, Array]) -> tuple[np.ndarray, np.ndarray]:
        """Return the least and the greatest level within the rounding of a quantizer's input.

        A sign at 0 may give either.
        """
        x, dtype = mine[node.inputs[0]], self.model.result(node).dtype
        held: list[Any] = [self.model.tensor(name).data for name in constants_of(node)]
        rounding = np.float32(self.tolerance * largest(x)) if x.dtype.kind == "f" else 0
        with np.errstate(over="ignore", invalid="ignore"):
            one, two = (apply(node, [x + d, *held], dtype) for d in (-rounding, rounding))
        low, high = np.minimum(one, two), np.maximum(one, two)
        if node.name in self.signs:
            low, high = np.where(x == 0, -1, low), np.where(x == 0, 1, high)
        return low, high

    def layers(self) -> Iterator[LayerCheck]:
        """Return how every tensor compared."""
        for check in (*self.checks.values(), self.output):
            check.ties = self.ties_at.get(check.name, 0)
            yield check


def _by_image(images: np.ndarray, like: np.ndarray) -> np.ndarray:
    """Return (N,) so that it goes with all elements of an image."""
    return images.reshape(-1, *[1] * (like.ndim - 1))
