"""Binarize the latent weights of a source whose file holds the floats that training moves.

Some training code binarizes weights outside of the forward pass, so that neither the module nor
its checkpoint says that they are binary. Whoever knows it names the layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

import numpy as np

from bnnsim.errors import InputError, SourceError, message, nearest
from bnnsim.graph.dtypes import BIT, FLOAT32
from bnnsim.graph.ir import Graph, Node, Tensor
from bnnsim.graph.ops import infer
from bnnsim.graph.verify import verify

_LINEAR = ("Dense", "Conv2d")


def binarize_latent(
    graph: Graph, patterns: Sequence[str], *, centered: bool = False, sign_zero: str = "plus"
) -> Graph:
    """Return a graph whose named layers have the weights sign(w) * alpha.

    Parameters
    ----------
    graph : Graph
        As a front end returns it.
    patterns : sequence of str
        Names of Dense and Conv2d nodes, with shell wildcards; those that hold floats are taken.
    centered : bool
        Take the mean over input channels away first, and clamp the rest to [-1, 1].
    sign_zero : str
        ``plus``: a weight of 0 becomes +1, and is counted in the note; ``error``: it is refused.

    Returns
    -------
    Graph
        ``alpha`` is the mean magnitude per output channel, after the centring; it multiplies the
        sums in a Scale of its own. ``meta["notes"]`` has a line per layer.

    Raises
    ------
    InputError, SourceError
        If a pattern fits no layer of float weights, or a weight is 0 or has no data.

    References
    ----------
    Rastegari et al., "XNOR-Net", ECCV 2016, section 3.1; XNOR-Net-PyTorch, ``util.py``, ``BinOp``
    (mean over dim 1, clamp, sign times the mean of the magnitudes).
    """
    named, notes = _named(graph, patterns), []
    for node in named:
        graph, note = _with_bits(graph, node, centered=centered, sign_zero=sign_zero)
        notes.append(note)
    return verify(graph.with_meta(notes=[*graph.meta.get("notes", ()), *notes]))


def _named(graph: Graph, patterns: Sequence[str]) -> list[Node]:
    """Return the layers of float weights that the patterns name."""
    floats = [
        node
        for node in graph.nodes
        if node.op in _LINEAR and graph.tensor(node.inputs[1]).dtype.is_float
    ]
    names = [node.name for node in floats]
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            rule = (
                f"a pattern that fits a layer of float weights: {', '.join(names) or 'none here'}"
            )
            raise InputError(message("--latent", pattern, rule, nearest(pattern, names)))
    return [node for node in floats if any(fnmatchcase(node.name, p) for p in patterns)]


def _with_bits(graph: Graph, node: Node, *, centered: bool, sign_zero: str) -> tuple[Graph, str]:
    weight = graph.tensor(node.inputs[1])
    if weight.data is None:
        raise SourceError(message(f"{graph.name}: {node.name}", "no weights", "latent floats"))
    latent = np.asarray(weight.data, np.float32)
    if centered:
        mean = latent.mean(axis=-1, keepdims=True, dtype=np.float64).astype(np.float32)
        latent = np.clip(latent - mean, np.float32(-1), np.float32(1))
    zeros = int((latent == 0).sum())
    if zeros and sign_zero == "error":
        remedy = "Allow sign_zero='plus', which makes them +1."
        got = f"{zeros} latent weights of 0"
        raise SourceError(message(f"{graph.name}: {node.name}", got, "weights but 0", remedy))
    size = np.abs(latent.astype(np.float64)).reshape(len(latent), -1)
    bits = np.where(latent >= 0, np.int8(1), np.int8(-1))
    how = " after the mean over input channels was taken away and the rest clamped" * centered
    note = (
        f"{node.name}: latent floats in file; binarized as sign*alpha{how}; {zeros} zeros"
        f"{', made +1' if zeros else ''}."
    )
    alpha = size.mean(axis=1).astype(np.float32)
    return _scaled(graph, node, replace(weight, dtype=BIT, data=bits), alpha), note


def _scaled(graph: Graph, node: Node, weight: Tensor, alpha: np.ndarray) -> Graph:
    """Return a graph in which a layer multiplies by bits, and its sums by alpha."""
    names = {other.name for other in graph.nodes}
    suffixes = (f"alpha{i or ''}" for i in range(len(names) + 1))
    name = next(f"{node.name}.{s}" for s in suffixes if f"{node.name}.{s}" not in names)
    factor = Tensor(f"{name}.scale", alpha.shape, FLOAT32, True, alpha)
    x, cast = node.inputs[0], graph.producer(node.inputs[0])
    if cast is not None and cast.op == "Cast" and graph.activation(cast).dtype.is_integer:
        x = cast.inputs[0]  # it was for the floats only
    linear = replace(node, inputs=(x, *node.inputs[1:]), outputs=(f"{name}.in",))
    sums = Tensor(linear.output, *infer(linear, [graph.tensor(x), weight]))
    new = max(other.id for other in graph.nodes) + 1
    scale = Node(new, name, "Scale", (sums.name, factor.name), node.outputs)
    nodes = [part for other in graph.nodes
             for part in ((linear, scale) if other is node else (other,))]  # fmt: skip
    read = {tensor for other in nodes for tensor in other.inputs} | set(graph.outputs)
    kept = [other for other in nodes if other is not cast or other.output in read]
    result = replace(graph.result(node), dtype=FLOAT32)
    return graph.with_nodes(kept, [weight, factor, sums, result])
