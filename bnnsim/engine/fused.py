"""Steps of two nodes: sums of bits, and the thresholds that alone read them, in one kernel."""

from __future__ import annotations

import numpy as np

from bnnsim.engine import _kernels
from bnnsim.engine.dispatch import select
from bnnsim.engine.step import Recipe, Step, constant, fan_in, product_fields
from bnnsim.graph import bits
from bnnsim.graph.dtypes import BIT
from bnnsim.graph.ir import Graph, Node
from bnnsim.graph.ops import normal_attrs


def compared_sums(graph: Graph, node: Node, isa: str) -> Node | None:
    """Return the bit product that only ``node``, a threshold to bits, reads; else None."""
    sums = graph.producer(node.inputs[0]) if node.op == "Threshold" else None
    if sums is None or sums.op not in ("Dense", "Conv2d") or graph.result(node).dtype != BIT:
        return None
    x, weight = (graph.tensor(name) for name in sums.inputs)
    readers = [other for other in graph.nodes if sums.output in other.inputs]
    if len(readers) > 1 or sums.output in graph.outputs or not x.dtype == weight.dtype == BIT:
        return None
    plain, fused = (select(bit_kernel(sums) + end, isa).isa for end in ("", "_threshold"))
    return sums if plain == fused != "ref" else None


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
    """Compare bit products with thresholds where they are formed."""
    limits, direction = constant(graph, node, 1), constant(graph, node, 2)
    terms = fan_in(graph.tensor(sums.inputs[1]))
    packed = _kernels.pack_thresholds(np.ascontiguousarray(limits[:, 0]), direction, terms)
    kernel = f"{bit_kernel(sums)}_threshold"
    recipe = Recipe(graph, node, isa, first=sums)
    fields = product_fields(graph, sums) | {"weights": bit_weights(graph, sums, isa)}
    recipe.call(kernel, recipe.read(), recipe.output, limits=packed, **fields)
    return recipe.step(kernel)
