"""Run networks: the planned engine, the reference beside it, decisions and accuracy."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import MappingProxyType
from typing import Any

import numpy as np

from bnnsim.engine.dispatch import available_isas
from bnnsim.engine.execute import Plan, Traced, tile_size
from bnnsim.engine.reference import check_input
from bnnsim.engine.reference import execute as execute_reference
from bnnsim.errors import InputError, message, nearest
from bnnsim.graph.draws import (
    DEFAULT_BITS,
    Draws,
    check_bits,
    check_range,
    check_seed,
    is_stochastic,
    rng_bits,
)
from bnnsim.graph.ir import Graph
from bnnsim.passes.lower import lower
from bnnsim.passes.precision import to_mode
from bnnsim.passes.stochastic import stochastic as make_stochastic
from bnnsim.record import RunRecord, record

ENGINES = ("compiled", "reference")
REFERENCE_TILE = 250
_REFERENCE_BYTES = 2**27
Progress = Callable[[int], object]
NO_DRAWS: Mapping[str, int] = MappingProxyType({"rng_draws": 0, "rng_bits": 0})


@dataclass(frozen=True, slots=True, eq=False)
class RunResult:
    """What a run gave.

    Parameters
    ----------
    model, engine, isa : str
    outputs : ndarray, shape (N, ...)
        Logits: integers where the network's are; float32 means over the samples of a stochastic
        run.
    tensors : mapping of str to ndarray
        The tensors that were asked for by name; means as well in a stochastic run.
    kernels : tuple of Traced
        What ran each node; empty for the reference.
    seconds : float
        Wall time of the execution alone.
    accuracy : float or None
        Share of images whose decision equals the label; None without labels.
    record : RunRecord
    samples : int or None
        Runs over each image that the outputs are the mean of; None for a deterministic run.
    counts : mapping of str to int
        ``rng_draws`` and ``rng_bits`` that were drawn, all samples together.
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
    samples: int | None = None
    counts: Mapping[str, int] = field(default_factory=lambda: dict(NO_DRAWS))

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
            "samples": self.samples,
            "counts": dict(self.counts),
            "record": self.record.to_dict(),
        }


def executable(graph: Graph) -> Graph:
    """Return ``graph`` lowered in its own precision, unless it is a twin that was made already."""
    return graph if "mode" in graph.meta else to_mode(graph, "native")


@dataclass(frozen=True, slots=True)
class Sampling:
    """How binarization is drawn: ``samples`` runs with bits of ``bits``-bit words of a seed.

    Raises
    ------
    InputError
        If a value is outside its range.
    """

    seed: int = 0
    samples: int = 1
    bits: int = DEFAULT_BITS
    preact_scale: float | None = None

    def __post_init__(self) -> None:
        check_seed(self.seed)
        check_bits(self.bits)
        check_range("samples", self.samples, 2**32)
        if self.samples == 0:
            raise InputError(message("samples", 0, "at least 1"))

    def lowered(self, graph: Graph) -> Graph:
        """Return ``graph`` as it runs: signs drawn, all else lowered; a stochastic twin as it is.

        Raises
        ------
        InputError
            If ``graph`` is a twin of another mode, or has nothing that can be drawn.
        """
        if "mode" not in graph.meta:
            twin = make_stochastic(graph, bits=self.bits, preact_scale=self.preact_scale)
            return lower(twin)
        if not any(map(is_stochastic, graph.nodes)):
            rule = "a model graph, whose signs can be drawn"
            place = f"{graph.name}: stochastic run"
            raise InputError(message(place, f"a twin in mode {graph.meta['mode']!r}", rule))
        return graph

    def counts(self, lowered: Graph, images: int) -> dict[str, int]:
        """Return how much is drawn: once per element that a stochastic node reads, eagerly."""
        runs = images * self.samples
        stochastic = [node for node in lowered.nodes if is_stochastic(node)]
        drawn = [(lowered.activation(node).size, rng_bits(node)) for node in stochastic]
        return {
            "rng_draws": runs * sum(size for size, _ in drawn),
            "rng_bits": runs * sum(size * bits for size, bits in drawn),
        }

    def mean(self, run_once: Callable[[Draws], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
        """Return the mean of every tensor: summed in float64 in order, divided, to float32."""
        totals: dict[str, np.ndarray] = {}
        for sample in range(self.samples):
            for name, value in run_once(Draws(self.seed, sample)).items():
                so_far = totals.get(name)
                totals[name] = value.astype(np.float64) if so_far is None else so_far + value
        return {name: (total / self.samples).astype(np.float32) for name, total in totals.items()}


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
    stochastic: bool = False,
    seed: int | None = None,
    samples: int | None = None,
    bits: int | None = None,
    preact_scale: float | None = None,
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
        Called with the number of images done since the last call, in every sample.
    stochastic : bool
        Draw every sign of the model graph with a hard sigmoid's probability of +1 instead of
        taking it, and return means over the samples. The options below are for this only.
    seed : int, optional
        0 to 2^64 - 1; default 0. Equal seeds give equal results on any machine.
    samples : int, optional
        Runs over each image; default 1.
    bits : int, optional
        Random bits per draw: 1, 2, 4, 8 (default) or 16.
    preact_scale : float, optional
        For sources with integer thresholds and no batch norms: see
        :func:`bnnsim.passes.stochastic.stochastic`.

    Raises
    ------
    InputError, GraphError, KernelError
    """
    if engine not in ENGINES:
        rule = f"one of {', '.join(ENGINES)}"
        raise InputError(message("engine", engine, rule, nearest(engine, ENGINES)))
    options = {"seed": seed, "samples": samples, "bits": bits, "preact_scale": preact_scale}
    sampling = _sampling(stochastic, {k: v for k, v in options.items() if v is not None})
    lowered = executable(graph) if sampling is None else sampling.lowered(graph)
    check_input(lowered, x)
    checked = None if labels is None else check_labels(labels, len(x))
    names = {name: _tensor_name(lowered, name) for name in keep}
    used, kernels = "numpy", tuple[Traced, ...]()
    run_once = partial(reference_tensors, lowered, x, names.values(), progress)
    if engine == "compiled":
        plan = Plan(lowered, isa=isa, threads=threads, keep=list(names.values()))
        used, kernels = _isa_used(plan.trace), plan.trace
        run_once = partial(plan.run, x, keep=names.values(), progress=progress)
    start = time.perf_counter()
    values = run_once() if sampling is None else sampling.mean(lambda draws: run_once(draws=draws))
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
        record=record(
            isa=used, seed=None if sampling is None else sampling.seed, inputs={"input": x}
        ),
        samples=None if sampling is None else sampling.samples,
        counts=NO_DRAWS if sampling is None else sampling.counts(lowered, len(x)),
    )


def _sampling(stochastic: bool, options: Mapping[str, Any]) -> Sampling | None:
    if stochastic:
        return Sampling(**options)
    for name, value in options.items():
        rule = "no such option in a deterministic run"
        raise InputError(message(name, value, rule, "Ask for stochastic=True (--stochastic)."))
    return None


def reference_tensors(
    graph: Graph,
    x: np.ndarray,
    keep: Collection[str],
    progress: Progress | None = None,
    draws: Draws | None = None,
) -> dict[str, np.ndarray]:
    """Run the reference in tiles; return outputs and kept tensors by name."""
    parts = []
    images = min(REFERENCE_TILE, tile_size(graph, _REFERENCE_BYTES))
    for start in range(0, max(len(x), 1), images):
        tile = x[start : start + images]
        at = None if draws is None else draws.at(start)
        with np.errstate(over="ignore", invalid="ignore"):  # see _check_numbers
            parts.append(execute_reference(graph, tile, keep=keep, draws=at))
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
