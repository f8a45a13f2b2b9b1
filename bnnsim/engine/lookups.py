"""Layers whose kernels look sums up or multiply floats: bytes or floats x bits, floats x floats."""

from __future__ import annotations

from typing import Any

import numpy as np

from bnnsim.engine import _kernels
from bnnsim.engine.dispatch import select
from bnnsim.engine.float_sums import are_signs
from bnnsim.engine.planes import by_planes
from bnnsim.engine.step import Recipe, Step, constant, fan_in, product_fields, tensor_form
from bnnsim.engine.values import Array, Value, to_dense, to_value
from bnnsim.graph import bits
from bnnsim.graph.dtypes import BIT, FLOAT32
from bnnsim.graph.elementwise import to_dtype
from bnnsim.graph.ir import Graph, Node
from bnnsim.graph.ops import normal_attrs

_LARGEST_VALUE, _LARGEST_FAN_IN = 511, 2**22 - 1  # of look-ups (bnnsim.h)


def byte_map(graph: Graph, node: Node) -> Array | None:
    """Return what each byte that a layer with bit weights reads stands for: (256,) int16.

    The encoding of pixels is part of it, so that sums need no scale afterwards. None where the
    layer reads no bytes, or reads them as planes, or the kernels do not take what they stand for.
    """
    weight, form = graph.tensor(node.inputs[1]), tensor_form(graph, node.inputs[0])
    byte = np.arange(256).astype(np.uint8)
    if form.kind == "pixels":
        values = form.mul * byte.astype(np.int64) + form.add
    elif form.kind == "array" and form.dtype in (np.uint8, np.int8) and not by_planes(graph, node):
        values = byte.view(form.dtype).astype(np.int64)
    else:
        return None
    largest = max(int(np.abs(values).max()), abs(normal_attrs(node).get("pad_value", 0)))
    if weight.dtype != BIT or largest > _LARGEST_VALUE or fan_in(weight) > _LARGEST_FAN_IN:
        return None
    return values.astype(np.int16)


def add_byte_bit(recipe: Recipe, node: Node, map_: Array, **limits: Any) -> Step:
    """Form the sums of ``node``, or with ``limits`` their thresholds' bits."""
    weights = _bit_weights(recipe.graph, node, "byte_bit", recipe.isa)
    kernel = "byte_bit_threshold" if limits else "byte_bit"
    fields = _image_fields(recipe.graph, node) | {"weights": weights, "weights2": map_} | limits
    recipe.call(kernel, recipe.read(), recipe.output, **fields)
    return recipe.step(kernel)


def _image_fields(graph: Graph, node: Node) -> dict[str, Any]:
    """Return the sizes of a layer, whose rows are images of one pixel where it is a Dense."""
    fields = product_fields(graph, node)
    if node.op == "Conv2d":
        return fields
    pixel = {"image": (1, 1), "kernel": (1, 1), "groups": 1}
    return {"window": pixel | {"channels": fields["K"], "out_channels": fields["N"]}}


def _bit_weights(graph: Graph, node: Node, op: str, isa: str) -> _kernels.PackedWeights:
    weight, groups = constant(graph, node, 1), normal_attrs(node).get("groups", 1)
    words = bits.pack(np.ascontiguousarray(weight.reshape(len(weight), -1)))
    return _kernels.pack_lookup_weights(words, weight.shape, op, groups=groups, isa=isa)


def plan_floats(graph: Graph, node: Node, isa: str, *, fast: bool) -> Step | None:
    """Multiply floats by bits or floats, or return None where the reference's numpy does.

    Sums are formed in float64 and rounded once; in float32 where ``fast``.
    """
    x, weight, out = graph.activation(node), graph.tensor(node.inputs[1]), graph.result(node).dtype
    signs = are_signs(constant(graph, node, 1))
    if node.op == "Dense" and not signs and not fast:
        return None  # the order of the BLAS is part of the meaning
    exact = np.can_cast(x.dtype.numpy, np.float32) and np.can_cast(weight.dtype.numpy, np.float32)
    fits = exact and out.is_float and fan_in(weight) <= _LARGEST_FAN_IN
    op = ("float_bit" if signs else "float_float") + ("_single" if fast else "")
    if not fits or select(op, isa).isa == "ref":
        return None
    attrs = normal_attrs(node)
    if signs:
        weights = _bit_weights(graph, node, op, isa)
    else:
        held = np.ascontiguousarray(constant(graph, node, 1), np.float32)
        groups = attrs.get("groups", 1)
        weights = _kernels.pack_float_weights(held, groups=groups, single=fast, isa=isa)
    recipe = Recipe(graph, node, isa)
    read = recipe.read()
    if read.form.kind == "array" and read.form.dtype == np.float32 and out == FLOAT32:
        fields = _image_fields(graph, node) | {"weights": weights, "out_dtype": np.float32}
        recipe.call(op, read, recipe.output, **fields)
        return recipe.step(op)

    def run(value: Value) -> Value:
        rows = np.ascontiguousarray(to_dense(value, isa), np.float32)
        sums = _kernels.float_linear(rows, weights, dtype=np.float64, isa=isa, **attrs)
        return to_value(to_dtype(sums, out), recipe.output.form, isa)

    return Step(node, select(op, isa).name, run)
