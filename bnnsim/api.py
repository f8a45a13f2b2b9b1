"""The library in one page: load, inspect, lower, run, verify, estimate, compare, simulate.

Every function takes a model graph as :func:`load` returns it and rewrites it for the mode that is
asked for. The engine and the cost model do not know each other; they meet here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from bnnsim.errors import ProfileError
from bnnsim.execution import Engine, Progress, RunResult, decide, ranked, run
from bnnsim.graph.io import save
from bnnsim.graph.ir import Graph
from bnnsim.graph.summary import Inspection, summarize
from bnnsim.passes.layers import DEFAULT, Layers
from bnnsim.passes.precision import to_mode
from bnnsim.record import record
from bnnsim.sources import load, load_executor, load_module
from bnnsim.verification import Verification, verify

if TYPE_CHECKING:
    from bnnsim.cost.compare import Comparison
    from bnnsim.cost.estimate import CostReport
    from bnnsim.cost.hardware import HardwareProfile
    from bnnsim.exporting import Exported
    from bnnsim.simulation import Activity, SimulateResult
    from bnnsim.validate import Validation

__all__ = [
    "Engine", "Layers", "RunResult", "Verification", "compare", "decide", "estimate", "export",
    "inspect", "load", "load_executor", "load_module", "load_profile", "lower", "ranked", "run",
    "save", "simulate", "validate", "verify",
]  # fmt: skip


def lower(graph: Graph, mode: str = "native") -> Graph:
    """Return what the engine executes: thresholds folded, pools on bits."""
    return to_mode(graph, mode)


def inspect(graph: Graph, mode: str = "native") -> Inspection:
    """Return, layer by layer, what the network lowered in a mode is and why."""
    return summarize(lower(graph, mode))


def load_profile(profile: str | Path | HardwareProfile) -> HardwareProfile:
    """Return a hardware profile by packaged name or path; a profile is returned as it is."""
    from bnnsim.cost.profile import load_profile as from_yaml

    return from_yaml(profile) if isinstance(profile, (str, Path)) else profile


def estimate(
    graph: Graph,
    profile: str | Path | HardwareProfile,
    *,
    batch: int = 1,
    mode: str = "native",
    keep_bn: bool = False,
    layers: Layers = DEFAULT,
    allow_unpriced: bool = False,
    preact_scale: float | None = None,
    activity: np.ndarray | None = None,
    flip: bool = False,
    progress: Progress | None = None,
) -> CostReport:
    """Return energy, latency and memory of one batch on a profile, in a mode.

    ``binary-stochastic`` draws as many bits as the profile's generator gives for one draw, 8 where
    it has none; ``preact_scale`` is for its sources with integer thresholds.
    ``layers`` says which operands single layers of a float network get in a what-if twin.
    ``activity`` are inputs to run the twin on: the report then holds how often its bits toggle, and
    a profile that states its ``reference_activity`` prices the logic by it. With ``flip`` the
    mapping is searched again with each constant at the ends of its band.

    Raises
    ------
    InputError, ProfileError, GraphError
        Unknown mode, malformed profile, or an op that the profile has no price for.
    """
    chip = load_profile(profile)
    twin = twin_for(graph, chip, mode, keep_bn=keep_bn, layers=layers, preact_scale=preact_scale)
    seen = None
    if activity is not None:
        from bnnsim.simulation import observe

        _price(
            twin, chip, batch, allow_unpriced, None
        )  # refuses ops without a price before they run
        seen = observe(twin, activity, progress=progress).activity
    return _price(twin, chip, batch, allow_unpriced, seen, flip=flip, progress=progress)


def twin_for(
    graph: Graph,
    chip: HardwareProfile,
    mode: str,
    *,
    keep_bn: bool = False,
    layers: Layers = DEFAULT,
    preact_scale: float | None = None,
) -> Graph:
    """Return the graph that :func:`estimate` prices on a profile, in a mode."""
    bits = 8 if chip.rng is None else chip.rng.bits
    return to_mode(
        graph, mode, keep_bn=keep_bn, layers=layers, rng_bits=bits, preact_scale=preact_scale
    )


def _price(
    twin: Graph, chip: HardwareProfile, batch: int, allow_unpriced: bool,
    activity: Activity | None, *, flip: bool = False, progress: Progress | None = None,
) -> CostReport:  # fmt: skip
    from bnnsim.cost.estimate import estimate as price

    return price(
        twin,
        chip,
        batch=batch,
        allow_unpriced=allow_unpriced,
        toggles=None if activity is None else activity.toggles,
        activity={} if activity is None else activity.to_dict(),
        record=record().to_dict(),
        flip=flip,
        progress=progress,
    )


def export(
    graph: Graph,
    path: str | Path,
    *,
    to: str,
    mode: str = "native",
    profile: str | Path | HardwareProfile | None = None,
    batch: int = 1,
) -> Exported:
    """Write a network for other tools.

    Parameters
    ----------
    graph : Graph
        A model graph with weights, as :func:`load` returns it.
    path : path
        A file ``NET.onnx`` for ``qonnx``, a folder for ``pynq``.
    to : str
        ``qonnx``: the model graph in QONNX operators, which qonnx's own executor runs with equal
        integers. ``pynq``: weights and thresholds as the FPGA tool flow packs them.
    mode : str
        A name of the mode table.
    profile : optional
        Of a QONNX file: what each node costs there, as ``metadata_props`` of the node.
    batch : int
        Of the costs.

    Raises
    ------
    InputError, GraphError, ProfileError, SourceError
        Naming the node that the format cannot express.
    """
    from bnnsim.exporting import write

    report = None if profile is None else estimate(graph, profile, batch=batch, mode=mode)
    return write(graph, path, to=to, mode=mode, report=report)


def simulate(
    graph: Graph,
    profile: str | Path | HardwareProfile,
    x: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    mode: str = "native",
    batch: int = 1,
    threads: int = 1,
    isa: str = "auto",
    seed: int | None = None,
    samples: int | None = None,
    keep_bn: bool = False,
    layers: Layers = DEFAULT,
    allow_unpriced: bool = False,
    preact_scale: float | None = None,
    progress: Progress | None = None,
    fast_float: bool = False,
) -> SimulateResult:
    """Run a network on data and estimate what it costs: one twin, executed and priced.

    Parameters
    ----------
    graph : Graph
        A model graph, as :func:`load` returns it.
    profile : str, Path or HardwareProfile
    x : ndarray, shape (N, features) or (N, H, W, C)
        At least one image, as for :func:`run`.
    labels : ndarray of integers, shape (N,), optional
        Give an accuracy, where the weights were trained for the mode. The twin of another
        precision has none: its agreement with the source's own decisions is returned instead.
    mode : str
        One whose twin can be executed.
    batch : int
        Images per call in the estimate; the run takes all of ``x``.
    threads, isa, seed, samples, progress, fast_float
        Of the run: see :func:`run`. Seed and samples are for ``binary-stochastic``.
    keep_bn, layers, allow_unpriced, preact_scale
        See :func:`estimate`.

    Raises
    ------
    InputError, ProfileError, GraphError, KernelError
    """
    from bnnsim.accuracy import accuracy, check_classes, share
    from bnnsim.simulation import SimulateResult, counted, observe

    checked = None if labels is None else check_classes(graph, labels, len(x))
    chip = load_profile(profile)
    twin = twin_for(graph, chip, mode, keep_bn=keep_bn, layers=layers, preact_scale=preact_scale)
    _price(twin, chip, batch, allow_unpriced, None)  # refuses ops without a price before they run
    seen = observe(twin, x, isa=isa, threads=threads, seed=seed, samples=samples,
                   progress=progress, fast_float=fast_float)  # fmt: skip
    cost = _price(twin, chip, batch, allow_unpriced, seen.activity)
    right = same = None
    if not twin.meta["what_if"]:
        right = None if checked is None else accuracy(twin, seen.run.outputs, checked)
    else:
        own = run(
            graph, x, isa=isa, threads=threads, progress=progress, fast_float=fast_float
        ).outputs
        agree = decide(graph, own) == decide(graph, seen.run.outputs)
        same = share(int(agree.sum()), len(x))
    counts = counted(seen.work, cost.layers, seen.activity)
    return SimulateResult(cost, seen.run, counts, seen.activity, right, same)


def compare(
    graphs: Sequence[Graph],
    profiles: Sequence[str | Path | HardwareProfile],
    modes: Sequence[str],
    *,
    batch: int = 1,
    keep_bn: bool = False,
    layers: Layers = DEFAULT,
    allow_unpriced: bool = False,
    preact_scale: float | None = None,
) -> Comparison:
    """Return one column per graph, profile and mode, and the ratios between them.

    A second network of one name is called ``NAME (2)``.

    Raises
    ------
    InputError, ProfileError, GraphError
        As :func:`estimate`; a column without a price is named by graph, mode and profile.
    """
    from bnnsim.cost.compare import compare as join

    def column(graph: Graph, profile: HardwareProfile, mode: str) -> CostReport:
        try:
            return estimate(graph, profile, batch=batch, mode=mode, keep_bn=keep_bn, layers=layers,
                            allow_unpriced=allow_unpriced, preact_scale=preact_scale)  # fmt: skip
        except ProfileError as error:
            where = f"column {graph.name} {mode} on {profile.name}"
            raise ProfileError(f"{where}: {error}") from None

    chips = [load_profile(p) for p in profiles]
    found = [column(g, chip, m) for g in _named_apart(graphs) for chip in chips for m in modes]
    return join(found)


def _named_apart(graphs: Sequence[Graph]) -> Iterator[Graph]:
    seen: Counter[str] = Counter()
    for graph in graphs:
        seen[graph.name] += 1
        number = seen[graph.name]
        yield graph if number == 1 else replace(graph, name=f"{graph.name} ({number})")


def validate(points: str | Path | None = None, *, progress: Progress | None = None) -> Validation:
    """Return predictions of published figures, with the profiles as they are.

    Raises
    ------
    InputError, ProfileError, GraphError
    """
    from bnnsim.validate import validate as predicted

    return predicted(None if points is None else Path(points), progress=progress)
