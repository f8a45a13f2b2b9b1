"""Carry out the mode table: rewrite a model graph into its twin of another precision.

Layers keep names, ids, shapes and order; operand types and what stands between the layers change
as ``modes.py`` says. A twin of trained weights computes what its types mean, but it was not
trained for them, so no accuracy belongs to it. Where the source has thresholds instead of a batch
norm, the affine that replaces them has no data: a cost-only twin, marked synthetic. A source
without bit weights gets what-if twins: weights become their signs times a scale per channel.
"""

from __future__ import annotations

from bnnsim.errors import InputError, message
from bnnsim.graph.draws import DEFAULT_BITS, is_stochastic
from bnnsim.graph.dtypes import BIT, FLOAT32
from bnnsim.graph.ir import Graph
from bnnsim.graph.quantizers import SIGN
from bnnsim.graph.verify import verify
from bnnsim.passes.affine import fold_affine
from bnnsim.passes.float_twin import float_twin
from bnnsim.passes.input_grid import sums_of_integers
from bnnsim.passes.layers import DEFAULT, LINEAR, SOURCE, Layers, has_bits, operands_by_layer
from bnnsim.passes.lower import lower
from bnnsim.passes.modes import STOCHASTIC_MODE, Mode, mode_named
from bnnsim.passes.requantize import integer_twin
from bnnsim.passes.stochastic import deterministic, stochastic


def to_mode(
    graph: Graph,
    mode: str,
    *,
    keep_bn: bool = False,
    layers: Layers = DEFAULT,
    rng_bits: int = DEFAULT_BITS,
    preact_scale: float | None = None,
    lowered: bool = True,
) -> Graph:
    """Return the twin of ``graph`` in ``mode``.

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
    rng_bits, preact_scale
        Of ``binary-stochastic``: see :func:`bnnsim.passes.stochastic.stochastic`. In every other
        mode a stochastic sign of the source is the sign.
    lowered : bool, optional
        False leaves thresholds and pools as the rewriting made them, to compare with.

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
    end = lower if lowered else _unlowered
    trained_bits = has_bits(graph)
    if row.quantizer == SIGN or row.name == STOCHASTIC_MODE:
        _check_binary(graph, row)
    operands = operands_by_layer(graph, row, layers)
    if row.name == STOCHASTIC_MODE:
        twin = stochastic(graph, bits=rng_bits, preact_scale=preact_scale)
        trained = any(is_stochastic(node) for node in graph.nodes)
        return _marked(end(twin, keep_bn=keep_bn), row, what_if=not trained)
    graph = deterministic(graph)
    chosen = any(how != SOURCE for how in operands.values())
    if row.activation is None and not chosen:
        return _marked(end(graph, keep_bn=keep_bn), row, what_if=False)
    if row.activation is not None and row.activation.is_integer:
        twin = integer_twin(graph, row, operands)
    else:
        twin = float_twin(graph, row, operands, keep_bn=keep_bn)
        twin = twin if row.activation else sums_of_integers(twin)
    if row.batch_norm == "fold" and not keep_bn:
        twin = fold_affine(twin)
    return _marked(
        end(verify(twin, known=graph), keep_bn=keep_bn and row.activation is None),
        row,
        what_if=trained_bits or chosen or row.activation != FLOAT32,
        synthetic=_has_thresholds(graph) or graph.has_weights,
    )


def _unlowered(graph: Graph, **_: bool) -> Graph:
    return graph


def _has_thresholds(graph: Graph) -> bool:
    return any(node.op == "Threshold" for node in graph.nodes)


def _marked(graph: Graph, row: Mode, *, what_if: bool, synthetic: bool = False) -> Graph:
    hollow = what_if and synthetic and not graph.has_weights
    return graph.with_meta(mode=row.name, what_if=what_if, synthetic=hollow)


def _check_binary(graph: Graph, row: Mode) -> None:
    """Refuse to call a network binary whose inner integer layers multiply more than bits by bits.

    Float layers, such as a projection in a shortcut, stay as the source has them. A source without
    bit weights gets a what-if twin, but none that draws.
    """
    if not has_bits(graph):
        if row.name != STOCHASTIC_MODE:
            return
        remedy = "Use another mode, or a source with binarized layers."
        rule = "a source with bit weights for this mode"
        raise InputError(message(f"{graph.name}: mode", row.name, rule, remedy))
    layers = [node for node in graph.nodes if node.op in LINEAR]
    if _has_thresholds(graph):
        return  # as the hardware has it
    for node in layers[1:-1]:
        x, weight = (graph.tensor(name).dtype for name in node.inputs[:2])
        if weight.is_integer and not x == weight == BIT:
            rule = "bit x bit, or floats, in every layer between the first and the last"
            remedy = "Use native, or a source that was trained with binary activations."
            place = f"{graph.name}: mode {row.name!r}: {node.describe()}"
            raise InputError(message(place, f"{x} x {weight}", rule, remedy))
