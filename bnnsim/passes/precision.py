"""Carry out the mode table: rewrite a model graph into its twin of another precision.

Layers keep names, ids, shapes and order; operand types and what stands between the layers change
as ``modes.py`` says. A twin of trained weights computes what its types mean, but it was not
trained for them, so no accuracy belongs to it. Where the source has thresholds instead of a batch
norm, the affine that replaces them has no data: a cost-only twin, marked synthetic.
"""

from __future__ import annotations

from dataclasses import replace

from bnnsim.errors import InputError, message
from bnnsim.graph.draws import DEFAULT_BITS, is_stochastic
from bnnsim.graph.dtypes import BIT, FLOAT32, DType
from bnnsim.graph.elementwise import to_dtype
from bnnsim.graph.ir import Graph, Node, Tensor
from bnnsim.graph.verify import verify
from bnnsim.passes.affine import affine_of, fold_affine
from bnnsim.passes.lower import lower
from bnnsim.passes.modes import STOCHASTIC_MODE, Mode, mode_named
from bnnsim.passes.requantize import integer_twin
from bnnsim.passes.rewriter import Rewriter
from bnnsim.passes.stochastic import deterministic, stochastic

LINEAR = ("Dense", "Conv2d")


def to_mode(
    graph: Graph,
    mode: str,
    *,
    keep_bn: bool = False,
    rng_bits: int = DEFAULT_BITS,
    preact_scale: float | None = None,
) -> Graph:
    """Return the lowered twin of ``graph`` in ``mode``.

    Parameters
    ----------
    graph : Graph
        A model graph as a front end made it.
    mode : str
        A name of the mode table.
    keep_bn : bool, optional
        Keep batch norms as ops of their own instead of folding them, to price them. Integer modes
        requantize all the same.
    rng_bits, preact_scale
        Of ``binary-stochastic``: see :func:`bnnsim.passes.stochastic.stochastic`. In every other
        mode a stochastic sign of the source is the sign.

    Returns
    -------
    Graph
        ``meta`` has ``mode``, ``what_if`` (a precision that the source was not trained in) and
        ``synthetic`` (parts have no data, so that it can be costed but not run).

    Raises
    ------
    InputError
        If the mode is unknown or the source has nothing that it applies to.
    """
    row = mode_named(mode)
    binarized = _has_bits(graph)
    if row.weight == BIT and not binarized:
        remedy = "Use native, float32 or int8, or a source with binarized layers."
        rule = "a source with bit weights for this mode"
        raise InputError(message(f"{graph.name}: mode", mode, rule, remedy))
    if row.name in ("binary", STOCHASTIC_MODE):
        _check_binary(graph, mode)
    if row.name == STOCHASTIC_MODE:
        trained = any(is_stochastic(node) for node in graph.nodes)
        twin = stochastic(graph, bits=rng_bits, preact_scale=preact_scale)
        return _marked(lower(twin, keep_bn=keep_bn), row, what_if=not trained)
    graph = deterministic(graph)
    if row.activation is None:
        return _marked(lower(graph, keep_bn=keep_bn), row, what_if=False)
    if row.activation.is_integer:
        twin = integer_twin(graph, row)
    else:
        twin = _float_twin(graph, row, keep_bn)
    if row.batch_norm == "fold" and not keep_bn:
        twin = fold_affine(twin)
    return _marked(
        lower(verify(twin, known=graph)),
        row,
        what_if=binarized or row.activation != FLOAT32,
        synthetic=_has_thresholds(graph) or graph.has_weights,
    )


def _has_bits(graph: Graph) -> bool:
    weights = [graph.tensor(node.inputs[1]) for node in graph.nodes if node.op in LINEAR]
    return any(weight.dtype.kind in ("bipolar", "ternary") for weight in weights)


def _has_thresholds(graph: Graph) -> bool:
    return any(node.op == "Threshold" for node in graph.nodes)


def _marked(graph: Graph, row: Mode, *, what_if: bool, synthetic: bool = False) -> Graph:
    hollow = what_if and synthetic and not graph.has_weights
    return graph.with_meta(mode=row.name, what_if=what_if, synthetic=hollow)


def _check_binary(graph: Graph, mode: str) -> None:
    """Refuse to call a network binary whose inner layers multiply anything but bits by bits."""
    layers = [node for node in graph.nodes if node.op in LINEAR]
    if _has_thresholds(graph):
        return  # as the hardware has it
    for node in layers[1:-1]:
        x, weight = (graph.tensor(name).dtype for name in node.inputs[:2])
        if not x == weight == BIT:
            rule = "bit x bit in every layer between the first and the last"
            remedy = "Use native, or a source that was trained with binary activations."
            place = f"{graph.name}: mode {mode!r}: {node.describe()}"
            raise InputError(message(place, f"{x} x {weight}", rule, remedy))


def _float_twin(graph: Graph, row: Mode, keep_bn: bool) -> Graph:
    """Return the twin whose activations are of the float type ``row.activation``."""
    assert row.activation is not None
    out = Rewriter(graph)
    for node in graph.nodes:
        _float_node(out, node, row, row.activation, keep_bn=keep_bn)
    return out.graph()


def _float_node(out: Rewriter, node: Node, row: Mode, dtype: DType, *, keep_bn: bool) -> None:
    if node.op == "Encode":
        table = out.source.tensor(node.inputs[1])
        data = None if table.data is None else to_dtype(table.data, dtype)
        out.emit(node, constants=[replace(table, dtype=dtype, data=data)])
    elif node.op in LINEAR:
        out.cast(node, dtype)
        out.emit(node, constants=[_float_weight(out.source.tensor(node.inputs[1]), row)])
    elif (node.op == "BatchNorm" and not keep_bn) or node.op == "IntegerAffine":
        out.emit(node, op="Affine", attrs={}, constants=list(affine_of(out.source, node)))
    elif node.op == "Quantize":
        out.emit(node, op="Clip", attrs={"low": -1.0, "high": 1.0})
    elif node.op == "Threshold":
        scale, bias = out.unknown(node, "scale"), out.unknown(node, "bias")
        out.insert(node, f"{node.name}.affine", "Affine", [scale, bias])
        out.emit(node, op="Clip", attrs={"low": -1.0, "high": 1.0}, constants=[])
    elif node.op == "Cast":
        out.alias(node)
    else:
        out.emit(node)


def _float_weight(weight: Tensor, row: Mode) -> Tensor:
    """Return the weight in the mode's type; a weight-only mode keeps bits and ternaries."""
    assert row.activation is not None
    if row.weight == BIT and weight.dtype.is_integer:
        return weight
    dtype = row.activation
    data = None if weight.data is None else to_dtype(weight.data, dtype)
    return replace(weight, dtype=dtype, data=data)
