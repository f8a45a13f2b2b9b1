"""Steps of two nodes: sums over bits, bytes or planes, and the thresholds that alone read them."""

from __future__ import annotations

import numpy as np

from bnnsim.engine import _kernels
from bnnsim.engine.dispatch import select
from bnnsim.engine.lookups import add_byte_bit, byte_map
from bnnsim.engine.planes import by_planes, plane_weights
from bnnsim.engine.step import Recipe, Step, constant, fan_in, product_fields, tensor_form
from bnnsim.graph import bits
from bnnsim.graph.dtypes import BIT
from bnnsim.graph.ir import Graph, Node
from bnnsim.graph.ops import normal_attrs

_MOST_BITS = 4  # of levels: a tile compares with 2^bits - 1 thresholds, one after the other


def compared_sums(graph: Graph, node: Node, isa: str) -> Node | None:
    """Return the product that only ``node``, a threshold to bits or planes, reads; else None."""
    sums = graph.producer(node.inputs[0]) if node.op == "Threshold" else None
    if sums is None or sums.op not in ("Dense", "Conv2d") or not _counts(graph, node):
        return None
    readers = [other for other in graph.nodes if sums.output in other.inputs]
    kernel = _kernel(graph, sums, node)
    if len(readers) > 1 or sums.output in graph.outputs or kernel is None:
        return None
    plain, fused = (select(kernel + end, isa).isa for end in ("", "_threshold"))
    return sums if plain == fused != "ref" else None


def _counts(graph: Graph, node: Node) -> bool:
    """Return whether the planes of a threshold's levels are those of how many it meets."""
    out, form = graph.result(node).dtype, tensor_form(graph, node.output)
    is_counted = out.kind == "bipolar" or normal_attrs(node)["base"] == out.low
    return form.kind != "array" and out.bits <= _MOST_BITS and is_counted


def _is_of_bits(graph: Graph, sums: Node) -> bool:
    return all(graph.tensor(name).dtype == BIT for name in sums.inputs)


def _kernel(graph: Graph, sums: Node, node: Node) -> str | None:
    """Return the op that forms the sums: levels of more than a bit are made of planes."""
    to_bits, of_bits = graph.result(node).dtype == BIT, _is_of_bits(graph, sums)
    if to_bits and byte_map(graph, sums) is not None:
        return "byte_bit"
    if to_bits and of_bits:
        return bit_kernel(sums)
    if tensor_form(graph, sums.inputs[0]).kind == "pixels":
        return None
    prefix = "gemm" if sums.op == "Dense" else "conv2d"
    return f"{prefix}_planes" if of_bits or by_planes(graph, sums) else None


def bit_kernel(node: Node) -> str:
    """Return the op of the kernel that multiplies bits by bits for a layer."""
    return "gemm_bit" if node.op == "Dense" else "conv2d_bit"


def bit_weights(graph: Graph, node: Node, isa: str) -> _kernels.PackedWeights:
    """Return the weights of a layer of bits in the order of its kernel."""
    words, channels = bits.pack(constant(graph, node, 1)), graph.activation(node).shape[-1]
    if node.op == "Dense":
        return _kernels.pack_gemm_weights(words, channels, isa)
    groups = normal_attrs(node)["groups"]
    return _kernels.pack_conv_weights(words, channels, groups=groups, isa=isa)


def plan_compared(graph: Graph, sums: Node, node: Node, isa: str) -> Step:
    """Compare products with thresholds where they are formed."""
    kernel, recipe = _kernel(graph, sums, node), Recipe(graph, node, isa, first=sums)
    if kernel is not None and kernel.endswith("_planes"):
        return _compare_planes(recipe, sums, kernel)
    t, direction = (np.ascontiguousarray(constant(graph, node, i)) for i in (1, 2))
    terms = fan_in(graph.tensor(sums.inputs[1]))
    limits = _kernels.pack_thresholds(np.ascontiguousarray(t[:, 0]), direction, terms)
    map_ = byte_map(graph, sums)
    if map_ is not None:
        return add_byte_bit(recipe, sums, map_, limits=limits)
    fields = product_fields(graph, sums) | {"weights": bit_weights(graph, sums, isa)}
    recipe.call(f"{kernel}_threshold", recipe.read(), recipe.output, limits=limits, **fields)
    return recipe.step(f"{kernel}_threshold")


def _compare_planes(recipe: Recipe, sums: Node, kernel: str) -> Step:
    graph, node = recipe.graph, recipe.node
    t, direction = (np.ascontiguousarray(constant(graph, node, i)) for i in (1, 2))
    x, weights = recipe.planes(recipe.read()), plane_weights(graph, sums, recipe.isa)
    assert x.form.grid is not None
    depth = graph.result(node).dtype.bits
    limits = _kernels.pack_plane_thresholds(t, direction, weights, x.form.grid, depth)
    fields = product_fields(graph, sums) | {"weights": weights, "grid": x.form.grid}
    recipe.call(f"{kernel}_threshold", x, recipe.output, limits=limits, **fields)
    return recipe.step(f"{kernel}_threshold")
