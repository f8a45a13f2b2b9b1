"""What `simulate` returns: one run and one estimate of the same lowered network, side by side."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from bnnsim.accuracy import Accuracy, Share
from bnnsim.cost.result import CostReport, LayerCost
from bnnsim.display import Displayed
from bnnsim.engine.activity import ActivityCounter, Changes, ProductActivity, TensorActivity
from bnnsim.engine.reference import check_weights
from bnnsim.engine.work import Work, WorkCounter
from bnnsim.errors import InputError, message
from bnnsim.execution import Progress, RunResult, run
from bnnsim.graph.draws import is_stochastic
from bnnsim.graph.ir import WHAT_IF, Graph


@dataclass(frozen=True, slots=True)
class LayerCount:
    """What a node's kernel did, beside what the cost model counts for the same images.

    Parameters
    ----------
    work : Work
    predicted : mapping of str to int
        By the verbs of ``work.done``: the model's logical counts of one image, times images and
        samples.
    """

    work: Work
    predicted: Mapping[str, int]

    @property
    def equal(self) -> bool | None:
        """Whether all counts are equal; None where there is nothing to compare."""
        return dict(self.work.done) == dict(self.predicted) if self.work.done else None

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        plain = {**asdict(self.work), "done": dict(self.work.done)}
        return {**plain, "predicted": dict(self.predicted), "equal": self.equal}


@dataclass(frozen=True, slots=True, eq=False)
class Activity:
    """Ones and changes of bits over the executed images.

    Parameters
    ----------
    images, samples : int
    tensors : tuple of TensorActivity
    products : tuple of ProductActivity
    """

    images: int
    samples: int
    tensors: tuple[TensorActivity, ...]
    products: tuple[ProductActivity, ...]

    @property
    def toggles(self) -> dict[int, float]:
        """Return by node id the share of product bits that change, where any were compared."""
        shares = {p.id: p.changes.fraction for p in self.products}
        return {id_: fraction for id_, fraction in shares.items() if fraction is not None}

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "images": self.images,
            "samples": self.samples,
            "tensors": [_tensor(t) for t in self.tensors],
            "products": [
                {"name": p.name, "id": p.id, **_changes(p.changes)} for p in self.products
            ],
        }


def _tensor(found: TensorActivity) -> dict[str, Any]:
    p_one = found.p_one
    return {
        "name": found.name,
        "tensor": found.tensor,
        "dtype": found.dtype,
        "shape": list(found.shape),
        "bits": found.bits,
        "p_one": {
            "mean": float(p_one.mean()),
            "min": float(p_one.min()),
            "max": float(p_one.max()),
            "by_channel": p_one.tolist(),
        },
        "constant_channels": found.constant_channels,
        "adjacent": _changes(found.adjacent),
        "successive": _changes(found.successive),
    }


def _changes(changes: Changes) -> dict[str, Any]:
    return {**asdict(changes), "fraction": changes.fraction}


@dataclass(frozen=True, slots=True, eq=False)
class SimulateResult(Displayed):
    """What a network did on data and what it would cost.

    Parameters
    ----------
    cost : CostReport
        Of the twin that was executed.
    run : RunResult
        Its outputs, the kernels used, and the time of the execution.
    counts : tuple of LayerCount
    activity : Activity
    accuracy : Accuracy or None
        None without labels, and for a what-if twin: its weights were not trained for its precision.
    agreement : Share or None
        Of a what-if twin: images on which it decides as the source's own precision does.
    """

    cost: CostReport
    run: RunResult
    counts: tuple[LayerCount, ...]
    activity: Activity
    accuracy: Accuracy | None
    agreement: Share | None

    @property
    def outputs(self) -> np.ndarray:
        """The network's outputs, (N, ...)."""
        return self.run.outputs

    @property
    def counts_equal(self) -> bool:
        """Whether the cost model's counts are those of the kernels in every layer compared."""
        return all(layer.equal is not False for layer in self.counts)

    def to_json(self, *, indent: int | None = 1) -> str:
        """Return :meth:`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the form of schemas/simulate.schema.json: an estimate and what was observed."""
        ran, cost = self.run.to_dict(), self.cost.to_dict()
        notes = [note for note in ran["notes"] if note not in cost["notes"] and note != WHAT_IF]
        return {
            **cost,
            "notes": [*notes, *cost["notes"]],
            **{key: ran[key] for key in ("engine", "isa", "images", "samples", "seconds")},
            "kernels": ran["kernels"],
            "counts": {
                **ran["counts"],
                "equal": self.counts_equal,
                "layers": [layer.to_dict() for layer in self.counts],
            },
            "activity": self.activity.to_dict(),
            "accuracy": None if self.accuracy is None else self.accuracy.to_dict(),
            "agreement": None if self.agreement is None else self.agreement.to_dict(),
            "record": ran["record"],
        }


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """A run whose bits and kernels were watched."""

    run: RunResult
    activity: Activity
    work: tuple[Work, ...]


def observe(
    twin: Graph,
    x: np.ndarray,
    *,
    isa: str = "auto",
    threads: int = 1,
    seed: int | None = None,
    samples: int | None = None,
    progress: Progress | None = None,
    fast_float: bool = False,
) -> Observation:
    """Run a lowered twin on at least one image and watch it.

    Raises
    ------
    InputError
        If there is no image, or draws are asked for where the twin has none.
    GraphError
        If the twin cannot be executed.
    """
    if len(x) == 0:
        raise InputError(message("input", "0 images", "at least one image to observe"))
    stochastic = any(map(is_stochastic, twin.nodes))
    _check_executable(twin, {} if stochastic else {"seed": seed, "samples": samples})
    bits, work = ActivityCounter(twin), WorkCounter(twin)

    def watch(*seen: Any) -> None:
        bits(*seen)
        work(*seen)

    ran = run(twin, x, isa=isa, threads=threads, stochastic=stochastic, seed=seed,
              samples=samples, progress=progress, watch=watch, fast_float=fast_float)  # fmt: skip
    activity = Activity(len(x), ran.samples or 1, bits.tensors(), bits.products())
    return Observation(ran, activity, work.result())


def _check_executable(twin: Graph, options: Mapping[str, int | None]) -> None:
    for name, value in options.items():
        if value is not None:
            rule = "no such option where signs are taken, not drawn"
            raise InputError(message(name, value, rule, "Use the mode binary-stochastic."))
    check_weights(twin)


def counted(
    work: Sequence[Work], layers: Sequence[LayerCost], activity: Activity
) -> tuple[LayerCount, ...]:
    """Set what kernels did beside the model's counts for the same images and samples."""
    by_id = {layer.id: layer for layer in layers}
    images = activity.images * activity.samples
    return tuple(LayerCount(w, _predicted(w, by_id[w.id], images)) for w in work)


def _predicted(work: Work, layer: LayerCost, images: int) -> dict[str, int]:
    """Return what the model counts under the names that the engine uses."""
    known = Counter({"mac": layer.macs, "mac_valid": layer.macs_valid})
    for action, number in layer.logical_actions.items():
        verb, _, dtype = action.partition(".")
        if verb != "mac":  # of bit planes, where the engine counts whole products
            known[verb] += number
        if verb == "draw":
            known["random_bits"] += number * int(dtype.removeprefix("uint"))
    return {verb: known[verb] * images for verb in work.done}
