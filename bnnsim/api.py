"""The library in one page: load, inspect, lower, run, verify, estimate, compare.

Every function takes a model graph as :func:`load` returns it and rewrites it for the mode that is
asked for. The engine and the cost model do not know each other; they meet here.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bnnsim.execution import Engine, RunResult, decide, run
from bnnsim.graph.io import save
from bnnsim.graph.ir import Graph
from bnnsim.graph.summary import Inspection, summarize
from bnnsim.passes.layers import DEFAULT, Layers
from bnnsim.passes.precision import to_mode
from bnnsim.record import record
from bnnsim.sources import load, load_module
from bnnsim.verification import Verification, verify

if TYPE_CHECKING:
    from bnnsim.cost.compare import Comparison
    from bnnsim.cost.estimate import CostReport
    from bnnsim.cost.hardware import HardwareProfile

__all__ = [
    "Engine", "Layers", "RunResult", "Verification", "compare", "decide", "estimate", "inspect",
    "load", "load_module", "load_profile", "lower", "run", "save", "verify",
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
) -> CostReport:
    """Return energy, latency and memory of one batch on a profile, in a mode.

    ``binary-stochastic`` draws as many bits as the profile's generator gives for one draw, 8 where
    it has none; ``preact_scale`` is for its sources with integer thresholds.
    ``layers`` says which operands single layers of a float network get in a what-if twin.

    Raises
    ------
    InputError, ProfileError, GraphError
        Unknown mode, malformed profile, or an op that the profile has no price for.
    """
    from bnnsim.cost.estimate import estimate as price

    chip = load_profile(profile)
    bits = 8 if chip.rng is None else chip.rng.bits
    twin = to_mode(
        graph, mode, keep_bn=keep_bn, layers=layers, rng_bits=bits, preact_scale=preact_scale
    )
    return price(
        twin,
        chip,
        batch=batch,
        mode=twin.meta["mode"],
        synthetic=twin.meta["synthetic"],
        allow_unpriced=allow_unpriced,
        record=record().to_dict(),
    )


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
    """Return one column per graph, profile and mode, and the ratios between them."""
    from bnnsim.cost.compare import compare as join

    return join(
        [
            estimate(
                graph,
                profile,
                batch=batch,
                mode=mode,
                keep_bn=keep_bn,
                layers=layers,
                allow_unpriced=allow_unpriced,
                preact_scale=preact_scale,
            )
            for graph in graphs
            for profile in [load_profile(p) for p in profiles]
            for mode in modes
        ]
    )
