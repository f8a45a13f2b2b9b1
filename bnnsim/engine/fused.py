"""Steps of two nodes: sums of bits, and the thresholds that alone read them, in one kernel."""

from __future__ import annotations

import numpy as np

from bnnsim.engine import _kernels
from bnnsim.engine.dispatch import select
from bnnsim.engine.step import Step, constant, fan_in
from bnnsim.engine.values import Bits
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
    plain, fused = (select(_bit_kernel(sums) + end, isa).isa for end in ("", "_threshold"))
    return sums if plain == fused != "ref" else None


def _bit_kernel(node: Node) -> str:
    return "gemm_bit" if node.op == "Dense" else "conv2d_bit"


def plan_compared(graph: Graph, sums: Node, node: Node, isa: str) -> Step:
    """Compare bit products with thresholds where they are formed."""
    weight, channels = graph.tensor(sums.inputs[1]), graph.activation(sums).shape[-1]
    limits, direction = constant(graph, node, 1), constant(graph, node, 2)
    packed = _kernels.pack_thresholds(np.ascontiguousarray(limits[:, 0]), direction, fan_in(weight))
    words, out_channels = bits.pack(constant(graph, sums, 1)), weight.shape[0]
    kernel = select(f"{_bit_kernel(sums)}_threshold", isa).name
    if sums.op == "Dense":
        rows = _kernels.pack_gemm_weights(words, channels, isa)

        def run_dense(x: Bits) -> Bits:
            out = _kernels.gemm_bit_threshold(x.words, rows, packed, channels, isa=isa)
            return Bits(out, out_channels)

        return Step(node, kernel, run_dense, first=sums)
    options = normal_attrs(sums)
    taps = _kernels.pack_conv_weights(words, channels, groups=options["groups"], isa=isa)

    def run_conv(x: Bits) -> Bits:
        out = _kernels.conv2d_bit_threshold(x.words, taps, packed, channels, isa=isa, **options)
        return Bits(out, out_channels)

    return Step(node, kernel, run_conv, first=sums)
