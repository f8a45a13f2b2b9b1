"""Between signs and stochastic signs: which of the two the binarizations of a graph are.

Inference takes the sign unless stochastic binarization is asked for, whatever a source was trained
with.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from bnnsim.errors import InputError, message
from bnnsim.graph.draws import DEFAULT_BITS, check_bits, is_stochastic
from bnnsim.graph.dtypes import BIT, FLOAT32
from bnnsim.graph.ir import Graph, Node, Tensor
from bnnsim.graph.quantizers import SIGN, STOCHASTIC
from bnnsim.graph.verify import verify
from bnnsim.passes.rewriter import Rewriter


def deterministic(graph: Graph) -> Graph:
    """Return ``graph`` with the sign in the place of every stochastic sign."""
    if not any(map(is_stochastic, graph.nodes)):
        return graph
    nodes = [
        replace(node, attrs={"quantizer": SIGN}) if is_stochastic(node) else node
        for node in graph.nodes
    ]
    return graph.with_nodes(nodes)


def stochastic(
    graph: Graph, *, bits: int = DEFAULT_BITS, preact_scale: float | None = None
) -> Graph:
    """Return a model graph with a stochastic sign in the place of every sign.

    Parameters
    ----------
    graph : Graph
        Not lowered: the probability needs what stands before the sign.
    bits : int
        Random bits per draw; a stochastic sign of the source keeps its own number.
    preact_scale : float, optional
        What turns the integer thresholds of a source without batch norms into pre-activations:
        ``(acc - t) * preact_scale`` where +1 means ``acc >= t``, and its negative elsewhere.

    Returns
    -------
    Graph
        Ids and names as they were; a stochastic sign in the place of a threshold has the
        threshold's.

    Raises
    ------
    InputError
        If there is no binarization, or thresholds and no ``preact_scale``, or a value is not
        allowed.
    """
    check_bits(bits)
    scale = None if preact_scale is None else _checked_scale(preact_scale)
    thresholds = [node for node in graph.nodes if _gives_bits(graph, node)]
    if thresholds and scale is None:
        rule = "a batch norm before the sign, whose result gives the probability"
        remedy = (
            "Give the scale of a pre-activation (acc - t) * scale: --preact-scale VALUE of run, "
            "simulate, estimate and compare."
        )
        place = f"{graph.name}: {thresholds[0].describe()}: stochastic binarization"
        raise InputError(message(place, "an integer threshold", rule, remedy))
    if not thresholds and not any(map(_is_sign, graph.nodes)):
        place = f"{graph.name}: stochastic binarization"
        raise InputError(message(place, "no binarization", "at least one sign or threshold"))
    out = Rewriter(graph)
    for node in graph.nodes:
        if node.op == "Quantize" and node.attrs["quantizer"] == SIGN:
            out.emit(node, attrs={"quantizer": STOCHASTIC, "bits": bits})
        elif node in thresholds and scale is not None:
            preact = out.derive(out.current(node).name, f"{node.name}.preact", "BatchNorm",
                                _shift(graph, node, scale), {"eps": 0.0})  # fmt: skip
            attrs = {"quantizer": STOCHASTIC, "bits": bits}
            out.emit(node, op="Quantize", attrs=attrs, constants=[], reads=preact)
        else:
            out.emit(node)
    return verify(out.graph(), known=graph)


def _is_sign(node: Node) -> bool:
    return node.op == "Quantize" and node.attrs["quantizer"] in (SIGN, STOCHASTIC)


def _checked_scale(value: float) -> np.float32:
    scale = np.float32(value)
    if not (math.isfinite(scale) and scale > 0):
        raise InputError(message("preact scale", value, "a number above 0 that float32 holds"))
    return scale


def _gives_bits(graph: Graph, node: Node) -> bool:
    return node.op == "Threshold" and graph.result(node).dtype == BIT


def _shift(graph: Graph, node: Node, scale: np.float32) -> list[Tensor]:
    """Return a batch norm's constants for ``direction * (acc - t) * scale``, exactly in float32."""
    thresholds, direction = (graph.tensor(name).data for name in node.inputs[1:])
    channels = graph.activation(node).shape[-1]
    values: dict[str, np.ndarray | None] = {
        "gamma": None if direction is None else direction * scale,
        "beta": np.zeros(channels),
        "mean": None if thresholds is None else thresholds[:, 0],
        "var": np.ones(channels),
    }
    return [
        Tensor(f"{node.name}.preact.{role}", (channels,), FLOAT32, True,
               None if data is None else data.astype(np.float32))
        for role, data in values.items()
    ]  # fmt: skip
