"""Hold the compiled engine against the reference, a torch module, or stored outputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from bnnsim.counterparts import counterpart
from bnnsim.differences import CounterpartTally, LayerCheck, ReferenceTally
from bnnsim.display import Displayed
from bnnsim.engine.execute import Plan
from bnnsim.engine.reference import check_input
from bnnsim.errors import InputError, message
from bnnsim.execution import REFERENCE_TILE, Progress, executable, notes_on
from bnnsim.graph.ir import Graph
from bnnsim.passes.precision import to_mode
from bnnsim.passes.stochastic import deterministic
from bnnsim.record import RunRecord, record

FLOATS_OF_OTHERS = 1e-5  # of the largest of a tensor: float32 sums in another order, with room
_KEPT_ELEMENTS = 2**26  # of tensors that are held at once, all images together


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
    def finding(self) -> str | None:
        """The first layer with differences that no tie or rounding upstream explains."""
        return next((at.name for at in self.layers if at.mismatches > at.explained), None)

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
            "finding": self.finding,
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
        of the model graph before any pass; an array compares the outputs. A module or an exported
        program gets images as (N, C, H, W); in the native mode of the network that was imported
        from it, it compares every tensor of the model graph that is a value of its program. An
        executor (:func:`bnnsim.api.load_executor`) does the same for an ONNX file. Signs are
        taken, never drawn.
    isa, threads, progress, fast_float
        See :func:`bnnsim.run`.
    tolerance : float, optional
        Of floats a against those b of an array, a module or a file: abs(a - b) may be up to
        ``tolerance`` x the largest finite abs(b) of the tensor. Integers and bits are compared by
        ``==``; what torch has for an integer, a float, may miss it by a hundredth. Default:
        `FLOATS_OF_OTHERS` for a module or a file, which round sums and batch norms in an order of
        their own, 0 for the reference and stored outputs.

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
    held = sum(graph.result(node).size for node in graph.nodes)
    images = min(REFERENCE_TILE, max(1, _KEPT_ELEMENTS // max(1, held)))
    tally: ReferenceTally | CounterpartTally = ReferenceTally(graph, engine, tolerance)
    name, notes = "reference", notes_on(lowered, engine.trace)
    if not (isinstance(against, str) and against == name):
        other = counterpart(graph, lowered, against, x, images)
        tally = CounterpartTally(graph, engine, other, tolerance)
        name, notes = other.name, (*other.notes, *notes)
    for start in range(0, len(x), images):
        rows = slice(start, start + images)
        tally.add(x[rows], rows)
        if progress is not None:
            progress(len(x[rows]))
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
        notes=notes,
        tolerance=float(tolerance),
    )


def _check_tolerance(tolerance: float, against: Any, fast_float: bool) -> None:
    number = isinstance(tolerance, (int, float)) and not isinstance(tolerance, bool)
    if not number or not 0 <= tolerance < 1:
        raise InputError(message("tolerance", tolerance, "a number from 0 to below 1"))
    if tolerance and isinstance(against, str) and not fast_float:
        rule = "0: the engine equals the reference exactly"
        raise InputError(message("tolerance", tolerance, rule, "Give it with a torch source."))
