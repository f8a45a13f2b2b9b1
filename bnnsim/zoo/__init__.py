"""Networks from the literature, built from their published geometry; some come trained.

Without a seed the trained constants have no data: such a graph can be costed, not executed. With
a seed they are random, which exercises every kernel and says nothing about accuracy. `trained`
reads the weights that ship with bnnsim.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import as_file, files
from math import prod

import numpy as np

from bnnsim.errors import SourceError, message, nearest
from bnnsim.graph.folding import with_folding
from bnnsim.graph.io import load
from bnnsim.graph.ir import Graph
from bnnsim.zoo.networks import NETWORKS, Network

__all__ = ["Description", "build", "describe", "names", "trained"]


@dataclass(frozen=True, slots=True)
class Description:
    """What ``zoo list`` shows of a network.

    Parameters
    ----------
    name : str
    input_shape : tuple of int
        (features,) or (H, W, C): uint8, or float32 where images come normalised.
    parameters : int
        Weights of Dense and Conv2d, without batch norms and thresholds.
    macs : int
        Multiply-accumulates per input; taps that meet padding are counted.
    trained : bool
        Whether `trained` has weights for it.
    source : str
        Where the geometry stands.
    """

    name: str
    input_shape: tuple[int, ...]
    parameters: int
    macs: int
    trained: bool
    source: str


def names() -> tuple[str, ...]:
    """Return the names that `build` knows."""
    return tuple(NETWORKS)


def describe() -> tuple[Description, ...]:
    """Return a description of every network."""
    found = []
    for name, network in NETWORKS.items():
        graph = build(name)
        linear = [node for node in graph.nodes if node.op in ("Dense", "Conv2d")]
        sizes = [graph.tensor(node.inputs[1]).size for node in linear]
        places = [prod(graph.result(node).shape[:-1]) for node in linear]
        macs = sum(size * count for size, count in zip(sizes, places, strict=True))
        shape, parameters = network.input_shape, sum(sizes)
        found.append(Description(name, shape, parameters, macs, network.trained, network.source))
    return tuple(found)


def build(name: str, seed: int | None = None) -> Graph:
    """Build a network.

    Parameters
    ----------
    name : str
        One of `names`.
    seed : int, optional
        Of numpy's PCG64, not negative; None leaves the trained constants without data.

    Raises
    ------
    SourceError
        If there is no such network, or the seed is no seed.
    """
    network = _known(name)
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int) or seed < 0):
        raise SourceError(message(f"zoo:{name}: seed", seed, "an integer, not negative"))
    rng = None if seed is None else np.random.Generator(np.random.PCG64(seed))
    chain = network.chain(network.input_shape, rng)
    network.layers(chain)
    notes = [] if seed is None else [f"Random weights (seed {seed}): there is no accuracy."]
    meta = {
        "source": f"zoo:{name}" if seed is None else f"zoo:{name}:random,{seed}",
        "source_kind": "zoo",
        "decision": "argmax",
        "notes": notes,
        "citation": network.source,
    }
    graph = chain.graph(name, meta)
    if not network.folding:
        return graph
    keys = ("PE", "SIMD", "MH", "MW")
    table = {f"L{i}": dict(zip(keys, row, strict=True)) for i, row in enumerate(network.folding)}
    return with_folding(graph, table, f"zoo:{name}: folding")


def trained(name: str) -> Graph:
    """Return a network with the weights that ship with bnnsim.

    Parameters
    ----------
    name : str
        One of `names` whose description says that it is trained.

    Raises
    ------
    SourceError
        If there is no such network, it does not come trained, or the installation lacks its file.
    """
    place = f"zoo:{name}:trained"
    if not _known(name).trained:
        rule = f"one of {', '.join(n for n, network in NETWORKS.items() if network.trained)}"
        remedy = f"zoo:{name}:random has random weights."
        raise SourceError(message(place, "a network without weights", rule, remedy))
    resource = files("bnnsim.data").joinpath(f"{name}.bnn")
    if not resource.is_file():
        remedy = "Install bnnsim again from a complete copy."
        raise SourceError(message(place, "no file", f"bnnsim/data/{name}.bnn", remedy))
    with as_file(resource) as path:
        return load(path)


def _known(name: str) -> Network:
    network = NETWORKS.get(name)
    if network is None:
        rule = f"one of {', '.join(NETWORKS)}"
        raise SourceError(message("zoo", name, rule, nearest(name, NETWORKS)))
    return network
