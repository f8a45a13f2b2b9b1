"""Run networks: the planned engine, the reference beside it, decisions and accuracy."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from bnnsim.display import Displayed
from bnnsim.engine.dispatch import available_isas
from bnnsim.engine.execute import Plan, Traced, Watch, tile_size
from bnnsim.engine.profile import Profile, profile
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
from bnnsim.graph.ir import WHAT_IF, Graph
from bnnsim.passes.lower import lower
from bnnsim.passes.modes import STOCHASTIC_MODE
from bnnsim.passes.precision import to_mode
from bnnsim.passes.stochastic import stochastic as make_stochastic
from bnnsim.record import RunRecord, record

ENGINES = ("compiled", "reference")
REFERENCE_TILE = 250
_REFERENCE_BYTES = 2**27
Progress = Callable[[int], object]
NO_DRAWS: Mapping[str, int] = MappingProxyType({"rng_draws": 0, "rng_bits": 0})


@dataclass(frozen=True, slots=True, eq=False)
class RunResult(Displayed):
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
    mode : str
    notes : tuple of str
        What must be known before the rest is read.
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
    mode: str = "native"
    notes: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return :meth:`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=1)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, without the arrays."""
        return {
            "schema": 1,
            "model": self.model,
            "mode": self.mode,
            "notes": list(self.notes),
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


def executable(graph: Graph, mode: str = "native") -> Graph:
    """Return ``graph`` lowered in ``mode``; a twin that was made already as it is.

    Raises
    ------
    InputError
        If there is no such mode, or ``graph`` is a twin of another one.
    """
    made = graph.meta.get("mode")
    if made is None:
        return to_mode(graph, mode)
    if mode not in ("native", made):
        place = f"{graph.name}: mode {mode!r}"
        raise InputError(message(place, f"a twin in mode {made!r}", "the model graph"))
    return graph


FAST_FLOAT = "float layers in single precision: sums may differ in their last bits"


def notes_on(lowered: Graph, kernels: Sequence[Traced] = ()) -> tuple[str, ...]:
    """Return what a reader of results of a lowered graph, run by some kernels, must know first."""
    what_if = (WHAT_IF,) if lowered.meta.get("what_if") else ()
    return (*what_if, FAST_FLOAT) if any("_single" in k.kernel for k in kernels) else what_if


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

    def lowered(self, graph: Graph, mode: str = "native") -> Graph:
        """Return ``graph`` as it runs: signs drawn, all else lowered; a stochastic twin as it is.

        Raises
        ------
        InputError
            If ``mode`` or ``graph`` is another twin's, or there is nothing that can be drawn.
        """
        if mode not in ("native", STOCHASTIC_MODE):
            rule = f"native or {STOCHASTIC_MODE}"
            raise InputError(message("mode of a stochastic run", mode, rule))
        if "mode" not in graph.meta:
            twin = make_stochastic(graph, bits=self.bits, preact_scale=self.preact_scale)
            trained = any(map(is_stochastic, graph.nodes))
            return lower(twin).with_meta(mode=STOCHASTIC_MODE, what_if=not trained)
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
    fast_float : bool
        Form the sums of float layers in float32: faster, and may differ in their last bits.
    mode : str
        A name of the mode table: the twin of the network that is executed.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        threads: int = 1,
        isa: str = "auto",
        fast_float: bool = False,
        mode: str = "native",
    ) -> None:
        self.plan = Plan(executable(graph, mode), isa=isa, threads=threads, fast_float=fast_float)

    def run(self, x: np.ndarray) -> np.ndarray:
        """Return the outputs for a batch of shape (N, features) or (N, H, W, C)."""
        return self.plan.run(x)[self.plan.graph.outputs[0]]

    def profile(self, x: np.ndarray, *, rounds: int = 5) -> Profile:
        """Return where the time of a batch goes, step by step; see :class:`Profile`."""
        return profile(self.plan, x, rounds=rounds)


def run(
    graph: Graph,
    x: np.ndarray,
    *,
    mode: str = "native",
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
    watch: Watch | None = None,
    fast_float: bool = False,
) -> RunResult:
    """Execute a network on a batch.

    Parameters
    ----------
    graph : Graph
    x : ndarray, shape (N, features) or (N, H, W, C)
        In the dtype of the network's input, NHWC.
    mode : str
        A name of the mode table: the twin of the network that is executed.
    engine : str
        ``compiled`` or ``reference``; they agree bit for bit.
    isa, threads, fast_float
        See :class:`Engine`.
    keep : collection of str
        Nodes or tensors whose values to return as well.
    labels : ndarray of shape (N,), optional
        Gives an accuracy; refused for weights that were not trained in ``mode``.
    progress : callable, optional
        Called with the number of images done since the last call, in every sample.
    stochastic : bool
        Draw every sign of the model graph with a hard sigmoid's probability of +1 instead of
        taking it, and return means over the samples. Of a network whose signs were not drawn in
        training this is a what-if twin. The options below are for this only.
    seed : int, optional
        0 to 2^64 - 1; default 0. Equal seeds give equal results on any machine.
    samples : int, optional
        Runs over each image; default 1.
    bits : int, optional
        Random bits per draw: 1, 2, 4, 8 (default) or 16.
    preact_scale : float, optional
        For sources with integer thresholds and no batch norms: see
        :func:`bnnsim.passes.stochastic.stochastic`.
    watch : callable, optional
        Sees every step of the compiled engine: see :class:`bnnsim.engine.execute.Plan`.

    Raises
    ------
    InputError, GraphError, KernelError
    """
    options = {"seed": seed, "samples": samples, "bits": bits, "preact_scale": preact_scale}
    sampling = _sampling(stochastic, {k: v for k, v in options.items() if v is not None})
    lowered = executable(graph, mode) if sampling is None else sampling.lowered(graph, mode)
    check_input(lowered, x)
    truth = None if labels is None else _truth(lowered, labels, len(x))
    names = {name: _tensor_name(lowered, name) for name in keep}
    runner = _runner(engine, lowered, x, names.values(), isa, threads, progress, watch, fast_float)
    start = time.perf_counter()
    values = runner.once() if sampling is None else sampling.mean(runner.once)
    seconds = time.perf_counter() - start
    outputs = values[lowered.outputs[0]]
    _check_numbers(graph, outputs)
    return RunResult(
        model=graph.name,
        engine=engine,
        isa=runner.isa,
        outputs=outputs,
        tensors={name: values[tensor] for name, tensor in names.items()},
        kernels=runner.kernels,
        seconds=seconds,
        accuracy=None if truth is None else accuracy(lowered, outputs, truth),
        record=record(
            isa=runner.isa, seed=sampling.seed if sampling else None, inputs={"input": x}
        ),
        samples=sampling.samples if sampling else None,
        counts=sampling.counts(lowered, len(x)) if sampling else NO_DRAWS,
        mode=str(lowered.meta.get("mode", "native")),
        notes=notes_on(lowered, runner.kernels),
    )


def _truth(lowered: Graph, labels: np.ndarray, images: int) -> np.ndarray:
    """Return checked labels; an accuracy belongs to weights that were trained in this precision."""
    if notes_on(lowered):
        rule = "weights that were trained in this precision, whose accuracy means something"
        remedy = "`simulate` says how often such a twin decides as its source does."
        got = f"a what-if twin in {lowered.meta['mode']}"
        raise InputError(message("labels", got, rule, remedy))
    return check_labels(labels, images)


class _Runner(NamedTuple):
    """What runs a batch once, for the draws that it is given if any, and what it consists of."""

    once: Callable[..., dict[str, np.ndarray]]
    isa: str
    kernels: tuple[Traced, ...]


def _runner(
    engine: str,
    lowered: Graph,
    x: np.ndarray,
    keep: Collection[str],
    isa: str,
    threads: int,
    progress: Progress | None,
    watch: Watch | None,
    fast_float: bool,
) -> _Runner:
    """Return what runs ``lowered`` on ``x`` and returns its outputs and the tensors to keep."""

    def reference(draws: Draws | None = None) -> dict[str, np.ndarray]:
        return reference_tensors(lowered, x, keep, progress, draws)

    if engine == "reference":
        if fast_float:
            rule = "the compiled engine, whose float layers alone have single precision"
            remedy = "Leave out fast_float (--fast-float), or use the compiled engine."
            raise InputError(message("engine", engine, rule, remedy))
        if watch is not None:
            rule = "the compiled engine, whose steps alone can be watched"
            raise InputError(message("engine", engine, rule))
        return _Runner(reference, "numpy", ())
    if engine != "compiled":
        rule = f"one of {', '.join(ENGINES)}"
        raise InputError(message("engine", engine, rule, nearest(engine, ENGINES)))
    stored = keep if watch is None else list(lowered.tensors)  # a watch sees every node
    plan = Plan(lowered, isa=isa, threads=threads, keep=stored, fast_float=fast_float)

    def compiled(draws: Draws | None = None) -> dict[str, np.ndarray]:
        return plan.run(x, keep=keep, progress=progress, draws=draws, watch=watch)

    return _Runner(compiled, _isa_used(plan.trace), plan.trace)


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
    classes: np.ndarray = np.argmax(_merits(graph, outputs), axis=1)
    return classes


def ranked(graph: Graph, outputs: np.ndarray, count: int = 2) -> np.ndarray:
    """Return for every image the ``count`` best classes or all, best first: (N, count) int64.

    The first is that of :func:`decide`; of equal ones the first comes first.
    """
    order: np.ndarray = np.argsort(-_merits(graph, outputs), axis=1, kind="stable")[:, :count]
    return order


def _merits(graph: Graph, outputs: np.ndarray) -> np.ndarray:
    """Return numbers (N, classes), exact in float64, the first largest of which is the class."""
    flat = outputs.reshape(len(outputs), -1)
    if graph.meta.get("decision") != "last-set-bit":
        return flat.astype(np.float64)
    return np.where(flat > 0, np.arange(1.0, flat.shape[1] + 1), 0.0)


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
