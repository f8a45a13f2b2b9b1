"""Hold the compiled engine against the reference, a torch module, or stored outputs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from bnnsim.display import Displayed
from bnnsim.engine.execute import Plan
from bnnsim.engine.reference import check_input
from bnnsim.errors import InputError, message
from bnnsim.execution import (
    REFERENCE_TILE,
    Progress,
    decide,
    executable,
    notes_on,
    reference_tensors,
)
from bnnsim.frontends.onnx_execute import OnnxExecutor
from bnnsim.graph.ir import Graph
from bnnsim.graph.quantizers import SIGN
from bnnsim.passes.precision import to_mode
from bnnsim.passes.stochastic import deterministic
from bnnsim.record import RunRecord, record

FLOATS_OF_OTHERS = 1e-5  # of the largest of a tensor: float32 sums in another order, with room


@dataclass(frozen=True, slots=True)
class LayerCheck:
    """How one tensor compared: all by ``==``, floats within the tolerance where there is one."""

    name: str
    tensor: str
    elements: int
    mismatches: int
    max_abs_difference: float


@dataclass(frozen=True, slots=True)
class Verification(Displayed):
    """Result of a comparison; ``ok`` means not one element differs by more than the tolerance.

    Parameters
    ----------
    model, against : str
    images : int
    layers : tuple of LayerCheck
    argmax_agreement : float
        Share of images on which both sides decide for the same class.
    ties : int
        Elements that met a binarization at exactly 0, where sign conventions differ.
    record : RunRecord
    mode : str
        In which precision the network was executed.
    notes : tuple of str
        What must be known before the rest is read.
    tolerance : float
        By how much floats may differ, as a share of the largest; 0 is ``==``.
    ties_at : mapping of str to int
        The ties, by the binarization that met them.
    """

    model: str
    against: str
    images: int
    layers: tuple[LayerCheck, ...]
    argmax_agreement: float
    ties: int
    record: RunRecord = field(repr=False)
    mode: str = "native"
    notes: tuple[str, ...] = ()
    tolerance: float = 0.0
    ties_at: Mapping[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every element of every compared tensor is equal, floats within the tolerance."""
        return all(layer.mismatches == 0 for layer in self.layers)

    def to_json(self) -> str:
        """Return :meth:`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=1)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "schema": 1,
            "model": self.model,
            "mode": self.mode,
            "notes": list(self.notes),
            "against": self.against,
            "images": self.images,
            "tolerance": self.tolerance,
            "equal": self.ok,
            "layers": [asdict(layer) for layer in self.layers],
            "argmax_agreement": self.argmax_agreement,
            "ties": self.ties,
            "ties_at": dict(self.ties_at),
            "record": self.record.to_dict(),
        }


def verify(
    graph: Graph,
    x: np.ndarray,
    *,
    mode: str = "native",
    against: Any = "reference",
    isa: str = "auto",
    threads: int = 1,
    tolerance: float | None = None,
    progress: Progress | None = None,
    fast_float: bool = False,
) -> Verification:
    """Compare the compiled engine with another executor on every image of ``x``.

    Parameters
    ----------
    graph : Graph
    x : ndarray, shape (N, features) or (N, H, W, C)
    mode : str
        A name of the mode table; its model graph is the twin before any pass.
    against : str, ndarray, torch.nn.Module or the executor of an ONNX source
        ``"reference"`` compares every intermediate tensor of the lowered network, and the outputs
        of the model graph before any pass; an array or a module compares the outputs. A module
        gets images as (N, C, H, W). An executor (:func:`bnnsim.api.load_executor`) compares every
        tensor that the file and the model graph have in common. Signs are taken, never drawn.
    isa, threads, progress, fast_float
        See :func:`bnnsim.run`.
    tolerance : float, optional
        Of floats a against those b of an array, a module or a file: abs(a - b) may be up to
        ``tolerance`` x the largest finite abs(b) of the tensor. Integers and bits are compared by
        ``==``. Default: `FLOATS_OF_OTHERS` for a module or a file, which round sums and batch
        norms in an order of their own, 0 for the reference and stored outputs.

    Raises
    ------
    InputError
        If ``x`` does not fit, is empty, stored outputs have another shape, or ``tolerance`` is no
        share or is given for the reference, which the engine equals exactly without
        ``fast_float``.
    """
    lowered = executable(graph, mode)
    if "mode" not in graph.meta:
        graph = to_mode(graph, mode, lowered=False)
    graph = deterministic(graph)
    check_input(lowered, x)
    if len(x) == 0:
        raise InputError(message("input", "0 images", "at least one image to compare"))
    engine = Plan(lowered, isa=isa, threads=threads, fast_float=fast_float)
    if tolerance is None:
        is_own = isinstance(against, (str, np.ndarray))
        tolerance = 0.0 if is_own else FLOATS_OF_OTHERS
    _check_tolerance(tolerance, against, fast_float)
    tally: _Tally | _FileTally
    if isinstance(against, OnnxExecutor):
        name, other = against.name, None
        tally = _FileTally(graph, lowered, engine, against, tolerance)
    else:
        name, other = _other_side(against, x)
        if other is not None:
            _check_outputs(lowered, other, len(x))
        tally = _Tally(graph, lowered, engine, other, tolerance)
    for start in range(0, len(x), REFERENCE_TILE):
        tile = slice(start, start + REFERENCE_TILE)
        tally.add(x[tile], None if other is None else other[tile])
        if progress is not None:
            progress(len(x[tile]))
    return Verification(
        model=graph.name,
        against=name,
        images=len(x),
        layers=tuple(tally.layers()),
        argmax_agreement=tally.agreeing / len(x),
        ties=sum(tally.ties_at.values()),
        ties_at={name: count for name, count in tally.ties_at.items() if count},
        record=record(isa=isa, inputs={"input": x}),
        mode=str(lowered.meta.get("mode", "native")),
        notes=notes_on(lowered, engine.trace),
        tolerance=float(tolerance),
    )


def _check_tolerance(tolerance: float, against: Any, fast_float: bool) -> None:
    number = isinstance(tolerance, (int, float)) and not isinstance(tolerance, bool)
    if not number or not 0 <= tolerance < 1:
        raise InputError(message("tolerance", tolerance, "a number from 0 to below 1"))
    if tolerance and isinstance(against, str) and not fast_float:
        rule = "0: the engine equals the reference exactly"
        raise InputError(message("tolerance", tolerance, rule, "Give it with a torch source."))


def _other_side(against: Any, x: np.ndarray) -> tuple[str, np.ndarray | None]:
    """Return what to call the other executor, and its outputs unless it is the reference."""
    if isinstance(against, np.ndarray):
        return "stored outputs", against
    if not isinstance(against, str):
        return "torch", _torch_outputs(against, x)
    if against != "reference":
        rule = "'reference', an array or a torch module"
        raise InputError(message("against", against, rule))
    return "reference", None


class _Tally:
    """Counts differences tile by tile."""

    def __init__(
        self,
        model: Graph,
        lowered: Graph,
        engine: Plan,
        other: np.ndarray | None,
        tolerance: float,
    ) -> None:
        self.model, self.lowered, self.engine = model, lowered, engine
        self.tolerance = tolerance
        # Of what floats may be apart by a share: of all outputs, or of a tile of each tensor.
        self.largest = None if other is None else _largest(other)
        nodes = lowered.nodes if other is None else lowered.nodes[-1:]
        self.tensors = {node.output: node.name for node in nodes}
        if other is not None:
            self.tensors = {lowered.outputs[0]: "output"}
        quantizers = [node for node in model.nodes if node.op == "Quantize"]
        self.signs = {n.name: n.inputs[0] for n in quantizers if n.attrs["quantizer"] == SIGN}
        self.counts: dict[str, list[float]] = {}
        self.ties_at = dict.fromkeys(self.signs, 0)
        self.agreeing = 0

    def add(self, x: np.ndarray, other: np.ndarray | None) -> None:
        got = self.engine.run(x, keep=self.tensors.keys() - self.engine.unstored)
        if self.tensors.keys() & self.engine.unstored:
            got = self.engine.run(x, keep=self.tensors) | got
        before = reference_tensors(self.model, x, list(self.signs.values()))
        self._count_ties(before)
        output = self.lowered.outputs[0]
        if other is None:
            expected = reference_tensors(self.lowered, x, list(self.tensors))
            self._compare("model graph", before[self.model.outputs[0]], got[output])
        else:
            expected = {output: other}
        for tensor in self.tensors:
            self._compare(tensor, expected[tensor], got[tensor])
        same = decide(self.lowered, expected[output]) == decide(self.lowered, got[output])
        self.agreeing += int(same.sum())

    def _count_ties(self, tensors: Mapping[str, np.ndarray]) -> None:
        for name, source in self.signs.items():
            self.ties_at[name] += int((tensors[source] == 0).sum())

    def _compare(
        self, key: str, expected: np.ndarray, got: np.ndarray, *, exact: bool = False
    ) -> None:
        differs, allowed = expected != got, 0.0
        if got.dtype.kind == expected.dtype.kind == "f":
            differs &= ~(np.isnan(expected) & np.isnan(got))
            largest = _largest(expected) if self.largest is None else self.largest
            allowed = 0.0 if exact else self.tolerance * largest
        apart = np.abs(expected[differs].astype(np.float64) - got[differs])
        totals = self.counts.setdefault(key, [0, 0, 0.0])
        totals[0] += got.size
        totals[1] += int((~(apart <= allowed)).sum())
        totals[2] = max(totals[2], float(apart.max(initial=0)))

    def layers(self) -> Iterator[LayerCheck]:
        """Return how every tensor compared."""
        for tensor, (elements, mismatches, worst) in self.counts.items():
            name = self.tensors.get(tensor, "before any pass")
            yield LayerCheck(name, tensor, int(elements), int(mismatches), worst)


def _largest(values: np.ndarray) -> float:
    """Return the largest finite magnitude, 0 where there is none."""
    return float(np.abs(values[np.isfinite(values)].astype(np.float64)).max(initial=0.0))


def _check_outputs(graph: Graph, outputs: np.ndarray, images: int) -> None:
    shape = (images, *graph.tensor(graph.outputs[0]).shape)
    if outputs.shape != shape:
        raise InputError(message("outputs to compare with", outputs.shape, f"shape {shape}"))
    if outputs.dtype.kind not in "iuf":
        raise InputError(message("outputs to compare with", str(outputs.dtype), "numbers"))


def _torch_outputs(module: Any, x: np.ndarray) -> np.ndarray:
    """Return a module's outputs in eval mode for NHWC images or vectors."""
    import torch

    from bnnsim.frontends.torch_trace import legacy_functions

    images = x.transpose(0, 3, 1, 2) if x.ndim == 4 else x
    if not isinstance(module, torch.fx.GraphModule):  # exported programs have one mode only
        module = module.eval()
    parts = []
    with torch.no_grad(), legacy_functions():
        for start in range(0, len(images), REFERENCE_TILE):
            tile = np.array(images[start : start + REFERENCE_TILE], order="C")  # writable
            try:
                parts.append(module(torch.from_numpy(tile)).numpy())
            except (RuntimeError, TypeError, ValueError, AssertionError) as error:
                rule = f"a module that takes images of shape {tile.shape}"
                remedy = "Export with a dynamic batch size, or compare with stored outputs."
                raise InputError(message("torch", _first_line(error), rule, remedy)) from error
    return np.concatenate(parts)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


class _FileTally(_Tally):
    """Counts differences from what an ONNX file computes, in every tensor they have in common."""

    def __init__(
        self, model: Graph, lowered: Graph, engine: Plan, file: OnnxExecutor, tolerance: float
    ) -> None:
        super().__init__(model, lowered, engine, None, tolerance)
        if model.meta.get("source_kind") != "onnx" or str(lowered.meta.get("mode")) != "native":
            rule = "the native mode of a network that was read from that file"
            raise InputError(message("against", file.path, rule))
        self.file, self.pairs = file, model.meta["onnx"]
        self.every = Plan(model, isa=engine.isa, threads=engine.threads, keep=tuple(self.pairs),
                          fast_float=engine.fast_float)  # fmt: skip
        self.tensors = {n.output: n.name for n in model.nodes if n.output in self.pairs}

    def add(self, x: np.ndarray, _: np.ndarray | None) -> None:
        """Run both on some images, and count."""
        theirs = self.file.tensors(x, channels_first=bool(self.model.meta["channels_first"]))
        got = self.every.run(x, keep=(*self.tensors, *self.signs.values()))
        self._count_ties(got)
        for name in self.tensors:
            pair = self.pairs[name]
            mine = got[name].astype(np.float32) * np.float32(pair["factor"])
            mine = mine.transpose(0, 3, 1, 2) if mine.ndim == 4 else mine
            expected = theirs[pair["tensor"]].reshape(mine.shape)
            integers = self.model.tensor(name).dtype.is_integer
            self._compare(name, expected, mine, exact=integers)
        output = self.lowered.outputs[0]
        final = self.engine.run(x)[output]
        logits = theirs[self.pairs[self.model.outputs[0]]["tensor"]].reshape(len(x), -1)
        self.agreeing += int((logits.argmax(axis=1) == decide(self.lowered, final)).sum())
