"""Simulate binarized neural networks bit-exactly and estimate what they cost on hardware."""

from bnnsim.api import (
    Engine,
    Layers,
    compare,
    decide,
    estimate,
    export,
    inspect,
    load,
    load_profile,
    lower,
    run,
    save,
    simulate,
    verify,
)
from bnnsim.errors import (
    BnnsimError,
    GraphError,
    InputError,
    KernelError,
    ProfileError,
    SourceError,
)
from bnnsim.graph.ir import Graph
from bnnsim.record import installed_version

__version__ = installed_version("bnnsim")

__all__ = [
    "BnnsimError", "Engine", "Graph", "GraphError", "InputError", "KernelError", "Layers",
    "ProfileError", "SourceError", "__version__", "compare", "decide", "estimate", "export",
    "inspect", "load", "load_profile", "lower", "run", "save", "simulate", "verify",
]  # fmt: skip
