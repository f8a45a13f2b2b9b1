"""Check a whole graph at once: names, order, shapes, dtypes and constant data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from bnnsim.errors import GraphError, message
from bnnsim.graph.ir import Graph, Node, Tensor
from bnnsim.graph.ops import OPS, infer, normal_attrs
from bnnsim.graph.ranges import value_ranges
from bnnsim.graph.shape_rules import MAX_ELEMENTS


def verify(graph: Graph, *, known: Graph | None = None) -> Graph:
    """Return ``graph`` if it keeps every rule, or raise one error that lists all breaches.

    Parameters
    ----------
    graph : Graph
    known : Graph, optional
        A verified graph; constants that both share are not looked through again.

    Raises
    ------
    GraphError
        Duplicate or missing names, nodes out of order, wrong shapes, dtypes or attributes, and
        constants whose data do not fit their dtype (NaN and infinity included).
    """
    problems = [*_names(graph), *_shapes(graph), *_constants(graph, known)]
    if not problems:
        problems = list(_nodes(graph))
    if problems:
        raise GraphError("\n".join(f"{graph.name}: {text}" for text in problems))
    value_ranges(graph)  # raises where an accumulator could leave int32
    return graph


def _names(graph: Graph) -> Iterator[str]:
    for what, values in (
        ("node id", [node.id for node in graph.nodes]),
        ("node name", [node.name for node in graph.nodes]),
        ("output", [name for node in graph.nodes for name in node.outputs]),
    ):
        for value, count in Counter(values).items():
            if count > 1:
                yield f"{what} {value!r} occurs {count} times; each must be unique."
    for name, tensor in graph.tensors.items():
        if name != tensor.name:
            yield f"tensor {tensor.name!r} is filed under {name!r}."
    referred = [name for node in graph.nodes for name in (*node.inputs, *node.outputs)]
    for name in dict.fromkeys([*graph.inputs, *graph.outputs, *referred]):
        if name not in graph.tensors:
            yield f"tensor {name!r} is used but not described."
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        yield f"{len(graph.inputs)} inputs and {len(graph.outputs)} outputs; one of each is needed."


def _shapes(graph: Graph) -> Iterator[str]:
    if not graph.nodes:
        yield "no nodes; at least one is needed."
    for node in graph.nodes:
        if len(node.outputs) != 1:
            yield f"{node.describe()}: {len(node.outputs)} outputs; one is needed."
    for tensor in graph.tensors.values():
        if not tensor.constant and not 1 <= len(tensor.shape) <= 3:
            yield message(f"tensor {tensor.name!r}", tensor.shape, "one to three dimensions")


def _constants(graph: Graph, known: Graph | None) -> Iterator[str]:
    verified = set() if known is None else {(id(t.data), t.dtype) for t in known.constants()}
    for tensor in graph.constants():
        if tensor.data is not None and (id(tensor.data), tensor.dtype) not in verified:
            yield from _constant(tensor, tensor.data)


def _constant(tensor: Tensor, data: np.ndarray) -> Iterator[str]:
    where = f"constant {tensor.name!r}"
    if data.shape != tensor.shape:
        yield message(where, data.shape, f"data of shape {tensor.shape}")
    elif data.dtype != tensor.dtype.numpy:
        yield message(where, str(data.dtype), f"{tensor.dtype} held as {tensor.dtype.numpy}")
    elif not (valid := tensor.dtype.valid(data)).all():
        bad = tuple(int(i) for i in np.argwhere(~valid)[0])
        rule = f"values that {tensor.dtype} holds (finite ones for floats)"
        remedy = "Check the export or the training."
        yield message(f"{where}{list(bad)}", data[bad].item(), rule, remedy)


def _nodes(graph: Graph) -> Iterator[str]:
    known = set(graph.inputs) | {t.name for t in graph.constants()}
    for node in graph.nodes:
        late = [name for name in node.inputs if name not in known]
        if late:
            yield f"{node.describe()}: reads {late[0]!r} before any node computes it."
            continue
        known.update(node.outputs)
        try:
            shape, dtype = infer(node, [graph.tensor(name) for name in node.inputs])
        except GraphError as error:
            yield str(error)
            continue
        yield from _operands(graph, node)
        out = graph.result(node)
        if out.size > MAX_ELEMENTS:
            yield message(node.describe(), out.shape, f"at most {MAX_ELEMENTS} output elements")
        if out.constant:
            yield f"{node.describe()}: writes the constant {out.name!r}."
        if out.shape != shape:
            yield message(node.describe(), out.shape, f"an output of shape {shape}")
        if (out.dtype.kind, out.dtype.bits) != (dtype.kind, dtype.bits):
            yield message(node.describe(), str(out.dtype), f"an output of dtype {dtype}")
    for name in graph.outputs:
        if name not in known:
            yield f"output {name!r} is computed by no node."


def _operands(graph: Graph, node: Node) -> Iterator[str]:
    """Yield what is wrong with the values of constants, given what the op takes them for."""
    held = {
        role: graph.tensor(name).data
        for role, name in zip(OPS[node.op].inputs, node.inputs, strict=False)
    }
    if (var := held.get("var")) is not None:
        whole = var + var.dtype.type(normal_attrs(node)["eps"])
        if not (whole > 0).all():
            yield message(f"{node.describe()}: var + eps", whole.min().item(), "above 0 everywhere")
    for role, values in (("direction", (-1, 1)), ("minimum", (0, 1))):
        if (data := held.get(role)) is not None and not np.isin(data, values).all():
            bad = data[~np.isin(data, values)][0].item()
            yield message(f"{node.describe()}: {role}", bad, f"{values[0]} or {values[1]}")
