"""Run networks: the planned engine, the reference beside it, decisions and accuracy."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bnnsim.engine.dispatch import available_isas
from bnnsim.engine.execute import Plan, Traced, tile_size
from bnnsim.engine.reference import check_input
from bnnsim.engine.reference import execute as execute_reference
from bnnsim.errors import InputError, message, nearest
from bnnsim.graph.ir import Graph
from bnnsim.passes.precision import to_mode
from bnnsim.record import RunRecord, record

ENGINES = ("compiled", "reference")
REFERENCE_TILE = 250
_REFERENCE_BYTES = 2**27
Progress = Callable[[int], object]


@dataclass(frozen=True, slots=True, eq=False)
class RunResult:
    """What a run gave.

    Parameters
    ----------
    model, engine, isa : str
    outputs : ndarray, shape (N, ...)
        Logits: integers where the network's are.
    tensors : mapping of str to ndarray
        The tensors that were asked for by name.
    kernels : tuple of Traced
        What ran each node; empty for the reference.
    seconds : float
        Wall time of the execution alone.
    accuracy : float or None
        Share of images whose decision equals the label; None without labels.
    record : RunRecord
    """

    model: str
    engine: str
    isa: str
    outputs: np.ndarray
    tensors: Mapping[str, np.ndarray]
    kernels: tuple[Traced, ...]
    seconds: float
    accuracy: float | None
    record: RunRecord = field(repr=False)

    def to_json(self) -> str:
        """Return :meth:`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=1)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, without the arrays."""
        return {
            "schema": 1,
            "model": self.model,
            "engine": self.engine,
            "isa": self.isa,
            "images": len(self.outputs),
            "seconds": self.seconds,
            "kernels": [{"node": t.node, "op": t.op, "kernel": t.kernel} for t in self.kernels],
            "accuracy": self.accuracy,
            "record": self.record.to_dict(),
        }


def executable(graph: Graph) -> Graph:
    """Return ``graph`` lowered in its own precision, unless it is a twin that was made already."""
    return graph if "mode" in graph.meta else to_mode(graph, "native")


class Engine:
    """A network planned once and run many times.

    Parameters
    ----------
    graph : Graph
    threads : int
    isa : str
        ``auto`` (or what BNNSIM_ISA names), ``ref``, ``avx2``, ``avx512`` or ``neon``.
    """

    def __init__(self, graph: Graph, *, threads: int = 1, isa: str = "auto") -> None:
        self.plan = Plan(executable(graph), isa=isa, threads=threads)

    def run(self, x: np.ndarray) -> np.ndarray:
        """Return the outputs for a batch of shape (N, features) or (N, H, W, C)."""
        return self.plan.run(x)[self.plan.graph.outputs[0]]


def run(
    graph: Graph,
    x: np.ndarray,
    *,
    engine: str = "compiled",
    isa: str = "auto",
    threads: int = 1,
    keep: Collection[str] = (),
    labels: np.ndarray | None = None,
    progress: Progress | None = None,
) -> RunResult:
    """Execute a network on a batch.

    Parameters
    ----------
    graph : Graph
    x : ndarray, shape (N, features) or (N, H, W, C)
        In the dtype of the network's input, NHWC.
    engine : str
        ``compiled`` or ``reference``; they agree bit for bit.
    isa, threads
        See :class:`Engine`.
    keep : collection of str
        Nodes or tensors whose values to return as well.
    labels : ndarray of shape (N,), optional
        Gives an accuracy.
    progress : callable, optional
        Called with the number of images done since the last call.

    Raises
    ------
    InputError, GraphError, KernelError
    """
    if engine not in ENGINES:
        rule = f"one of {', '.join(ENGINES)}"
        raise InputError(message("engine", engine, rule, nearest(engine, ENGINES)))
    lowered = executable(graph)
    check_input(lowered, x)
    checked = None if labels is None else check_labels(labels, len(x))
    names = {name: _tensor_name(lowered, name) for name in keep}
    start = time.perf_counter()
    if engine == "compiled":
        plan = Plan(lowered, isa=isa, threads=threads)
        start = time.perf_counter()
        values = plan.run(x, keep=names.values(), progress=progress)
        used, kernels = _isa_used(plan.trace), plan.trace
    else:
        values = reference_tensors(lowered, x, names.values(), progress)
        used, kernels = "numpy", ()
    seconds = time.perf_counter() - start
    outputs = values[lowered.outputs[0]]
    _check_numbers(graph, outputs)
    return RunResult(
        model=graph.name,
        engine=engine,
        isa=used,
        outputs=outputs,
        tensors={name: values[tensor] for name, tensor in names.items()},
        kernels=kernels,
        seconds=seconds,
        accuracy=None if checked is None else accuracy(lowered, outputs, checked),
        record=record(isa=used, inputs={"input": x}),
    )


def reference_tensors(
    graph: Graph, x: np.ndarray, keep: Collection[str], progress: Progress | None = None
) -> dict[str, np.ndarray]:
    """Run the reference in tiles; return outputs and kept tensors by name."""
    parts = []
    images = min(REFERENCE_TILE, tile_size(graph, _REFERENCE_BYTES))
    for start in range(0, max(len(x), 1), images):
        tile = x[start : start + images]
        with np.errstate(over="ignore", invalid="ignore"):  # see _check_numbers
            parts.append(execute_reference(graph, tile, keep=keep))
        if progress is not None:
            progress(len(tile))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def decide(graph: Graph, outputs: np.ndarray) -> np.ndarray:
    """Return the class of every image, (N,) int64, by the network's own rule.

    ``argmax`` takes the first largest output; ``last-set-bit`` the highest index that is +1, or 0
    where none is (how FPGA nets without logits decide).
    """
    flat = outputs.reshape(len(outputs), -1)
    if graph.meta.get("decision") != "last-set-bit":
        return np.argmax(flat, axis=1)
    last = flat.shape[1] - 1 - np.argmax(flat[:, ::-1] > 0, axis=1)
    classes: np.ndarray = np.where((flat > 0).any(axis=1), last, 0)
    return classes


def accuracy(graph: Graph, outputs: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of images whose decision equals the label."""
    return float((decide(graph, outputs) == labels).mean()) if len(labels) else 0.0


def check_labels(labels: np.ndarray, images: int) -> np.ndarray:
    """Return integer labels of shape (N,), or raise InputError."""
    if labels.shape != (images,):
        raise InputError(message("labels", labels.shape, f"shape ({images},), one per image"))
    if labels.dtype.kind not in "iu":
        remedy = "Convert with labels.astype('int64')."
        raise InputError(message("labels", str(labels.dtype), "an integer dtype", remedy))
    return labels


def _check_numbers(graph: Graph, outputs: np.ndarray) -> None:
    """Raise if an output is NaN: somewhere before it float32 overflowed."""
    bad = np.argwhere(np.isnan(outputs)) if outputs.dtype.kind == "f" else np.empty((0, 1), int)
    if len(bad):
        rule = "numbers"
        remedy = "The input or the weights overflow float32; scale them down."
        raise InputError(message(f"{graph.name}: output of image {bad[0][0]}", "nan", rule, remedy))


def _tensor_name(graph: Graph, name: str) -> str:
    """Return the tensor that a node's or tensor's name stands for."""
    by_node = {node.name: node.output for node in graph.nodes}
    if name in by_node:
        return by_node[name]
    known = {t for t, tensor in graph.tensors.items() if not tensor.constant}
    if name not in known:
        rule = f"a layer of the lowered network: {', '.join(by_node)}"
        raise InputError(message("layer", name, rule, nearest(name, [*by_node, *known])))
    return name


def _isa_used(trace: tuple[Traced, ...]) -> str:
    """Return the highest instruction set among the kernels that ran."""
    used = {t.kernel.rsplit("_", 1)[-1] for t in trace}
    ranked = [isa for isa in available_isas() if isa in used]
    return ranked[-1] if ranked else "numpy"
