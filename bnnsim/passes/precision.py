"""Carry out the mode table: rewrite a model graph into its twin of another precision.

Layers keep names, ids, shapes and order; operand types and what stands between the layers change
as ``modes.py`` says. A twin of trained weights computes what its types mean, but it was not
trained for them, so no accuracy belongs to it. Where the source has thresholds instead of a batch
norm, the affine that replaces them has no data: a cost-only twin, marked synthetic. A source
without bit weights gets what-if twins: weights become their signs times a scale per channel.
"""

from __future__ import annotations

from bnnsim.graph.dtypes import FLOAT32
from bnnsim.graph.ir import Graph
from bnnsim.graph.verify import verify
from bnnsim.passes.affine import fold_affine
from bnnsim.passes.float_twin import float_twin
from bnnsim.passes.layers import DEFAULT, SOURCE, Layers, has_bits, operands_by_layer
from bnnsim.passes.lower import lower
from bnnsim.passes.modes import Mode, mode_named
from bnnsim.passes.requantize import integer_twin


def to_mode(graph: Graph, mode: str, *, keep_bn: bool = False, layers: Layers = DEFAULT) -> Graph:
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
    layers : Layers, optional
        Of a source without bit weights: operands of single layers in its what-if twins.

    Returns
    -------
    Graph
        ``meta`` has ``mode``, ``what_if`` (a precision that the source was not trained in) and
        ``synthetic`` (parts have no data, so that it can be costed but not run).

    Raises
    ------
    InputError
        If the mode is unknown, or ``layers`` does not fit the source.
    """
    row = mode_named(mode)
    trained_bits = has_bits(graph)
    operands = operands_by_layer(graph, row, layers)
    chosen = any(how != SOURCE for how in operands.values())
    if row.activation is None and not chosen:
        return _marked(lower(graph, keep_bn=keep_bn), row, what_if=False)
    if row.activation is not None and row.activation.is_integer:
        twin = integer_twin(graph, row, operands)
    else:
        twin = float_twin(graph, row, operands, keep_bn=keep_bn)
    if row.batch_norm == "fold" and not keep_bn:
        twin = fold_affine(twin)
    return _marked(
        lower(verify(twin, known=graph), keep_bn=keep_bn and row.activation is None),
        row,
        what_if=trained_bits or chosen or row.activation != FLOAT32,
        thresholds=any(node.op == "Threshold" for node in graph.nodes),
    )


def _marked(graph: Graph, row: Mode, *, what_if: bool, thresholds: bool = False) -> Graph:
    return graph.with_meta(mode=row.name, what_if=what_if, synthetic=what_if and thresholds)
