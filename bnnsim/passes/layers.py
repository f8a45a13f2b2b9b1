"""Which operands each Conv2d and Dense of a float network gets in a low-precision mode.

A network that was trained in float has no low-precision layers of its own: its twin is a what-if.
Every layer but the first and the last gets the mode's operands, unless the user says other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from bnnsim.errors import InputError, message, nearest
from bnnsim.graph.dtypes import BIT
from bnnsim.graph.ir import Graph, Node
from bnnsim.passes.modes import ALPHA_MODE, K_MODE, Mode

LINEAR = ("Dense", "Conv2d")
ENDS = ("float", "int8", "binary")
SOURCE, FLOAT, INTEGER, BIT_WEIGHTS, LOW = "source", "float", "int8", "bit weights", "low"
LEVELS = "levels"


@dataclass(frozen=True, slots=True)
class Layers:
    """What the user says of single layers of a float network.

    Parameters
    ----------
    keep_float, binarize : tuple of str
        Shell patterns of layer names; they go before ``first`` and ``last``.
    first, last : str or None
        ``float``, ``int8`` or ``binary`` operands of the first and the last layer; None: float,
        or int8 in a mode with int8 activations.
    """

    keep_float: tuple[str, ...] = ()
    binarize: tuple[str, ...] = ()
    first: str | None = None
    last: str | None = None

    def __post_init__(self) -> None:
        for option, value in (("first", self.first), ("last", self.last)):
            if value is not None and value not in ENDS:
                rule = f"one of {', '.join(ENDS)}"
                raise InputError(message(option, value, rule, nearest(value, ENDS)))


DEFAULT = Layers()


def has_bits(graph: Graph) -> bool:
    """Whether a layer of ``graph`` was trained with bits, ternaries or other integer weights."""
    weights = [graph.tensor(node.inputs[1]) for node in _linear(graph)]
    return any(weight.dtype.is_integer for weight in weights)


def fits(graph: Graph, row: Mode) -> bool:
    """Whether a source was trained with the levels of ``row``: its integer weights and activations.

    Layers with float weights, such as the first and the last of a DoReFa net, do not count.
    """
    weights = {graph.tensor(node.inputs[1]).dtype for node in _linear(graph)}
    made = {
        graph.result(node).dtype for node in graph.nodes if node.op in ("Quantize", "Threshold")
    }
    trained = {dtype for dtype in weights if dtype.is_integer}
    return trained == {row.weight} and {dtype.bits for dtype in made} == {row.bits}


def operands_by_layer(graph: Graph, row: Mode, layers: Layers) -> dict[int, str]:
    """Return by node id what the operands of each Dense and Conv2d become.

    ``source`` where the mode alone decides; ``float`` and ``int8`` for both operands;
    ``bit weights`` under activations of the mode's type; ``low`` for the mode's weights under what
    its quantizer gives; ``levels`` for trained weights moved to the levels of another mode.

    Raises
    ------
    InputError
        If the source has bit weights of its own and ``layers`` says anything, if a pattern fits
        no layer, or if a layer is both kept and binarized, or if no layer is left to binarize.
    """
    linear = _linear(graph)
    if has_bits(graph) and layers != DEFAULT:
        rule = (
            "a source without bit weights of its own for --keep-float, --binarize, --first, --last"
        )
        raise InputError(message(graph.name, "a binarized source", rule))
    kept = _matching(linear, layers.keep_float, "--keep-float")
    binarized = _matching(linear, layers.binarize, "--binarize")
    if both := sorted(kept & binarized):
        raise InputError(message("--binarize", both[0], "a layer that --keep-float does not name"))
    if has_bits(graph) and row.name in (ALPHA_MODE, K_MODE):
        return {node.id: _as_trained(graph, node) for node in linear}
    if has_bits(graph) or row.weight is None or row.weight.is_float:
        moved = row.has_levels and not fits(graph, row)
        return {node.id: LEVELS if moved else SOURCE for node in linear}
    low = LOW if row.activation is None else BIT_WEIGHTS
    quantized = row.weight == BIT or row.activation is None
    found = {node.id: low if quantized else INTEGER for node in linear}
    if linear:
        found[linear[-1].id] = _end(row, layers.last, low)
        if len(linear) > 1 or layers.last is None:
            found[linear[0].id] = _end(row, layers.first, BIT_WEIGHTS)
    found |= {node.id: FLOAT for node in linear if node.name in kept}
    found |= {node.id: low for node in linear if node.name in binarized}
    if quantized and low not in found.values():
        remedy = "Name layers with --binarize, or use --first binary or --last binary."
        rule = "a layer to binarize beside the first, the last and those kept"
        raise InputError(message(f"{graph.name}: mode", row.name, rule, remedy))
    return found


def _as_trained(graph: Graph, node: Node) -> str:
    """Return what XNOR-Net's scales take a layer of a binarized source for.

    A layer that the source itself multiplies by a K stays as it is.
    """
    x, weight = (graph.tensor(name).dtype for name in node.inputs[:2])
    factors = [n.inputs[1] for n in graph.consumers(node.output) if n.op == "Mul"]
    makers = [graph.producer(name) for name in factors]
    if weight != BIT or any(maker is not None and maker.op == "InputScale" for maker in makers):
        return SOURCE
    return LOW if x == BIT else BIT_WEIGHTS


def _linear(graph: Graph) -> list[Node]:
    return [node for node in graph.nodes if node.op in LINEAR]


def _end(row: Mode, wanted: str | None, low: str) -> str:
    """Return the operands of the first or last layer; ``low`` is what binary means there."""
    if wanted is None:
        return INTEGER if row.activation is not None and row.activation.is_integer else FLOAT
    return low if wanted == "binary" else wanted


def _matching(linear: Sequence[Node], patterns: Sequence[str], option: str) -> set[str]:
    names = [node.name for node in linear]
    found: set[str] = set()
    for pattern in patterns:
        fits = {name for name in names if fnmatchcase(name, pattern)}
        if not fits:
            rule = f"a pattern that fits a layer: {', '.join(names)}"
            raise InputError(message(option, pattern, rule, nearest(pattern, names)))
        found |= fits
    return found
