"""Which layers multiply bit by bit, and what their kernels read."""

from __future__ import annotations

import numpy as np

from bnnsim.engine import _kernels
from bnnsim.engine.values import Grid, grid_of
from bnnsim.graph.bits import WORD_BITS, words_for
from bnnsim.graph.dtypes import BIT
from bnnsim.graph.ir import Graph, Node
from bnnsim.graph.ops import normal_attrs

# Time of a pair of planes over that of a product of bytes, per multiply-accumulate: a pair took
# 0.90 and 1.10 of a product of bits, bytes 4.3 to 5.1 of it (AVX-512; docs/kernels.md).
_SIGN_PAIR, _MASKED_PAIR = 0.19, 0.23
_LARGEST = 255  # size of a weight
MAX_BYTE_FAN_IN = 65_793  # sums of byte products stay in int32 up to here (bnnsim.h)


def by_planes(graph: Graph, node: Node) -> bool:
    """Return whether a Dense or Conv2d multiplies its operands as planes of bits.

    Where bytes are possible too, the quicker of the two is chosen, by counting pairs of planes.
    """
    x, weight = (graph.tensor(name) for name in node.inputs)
    grid, data = grid_of(x.dtype), weight.data
    if grid is None or data is None or data.dtype not in (np.int8, np.int16):
        return False
    if x.dtype == weight.dtype == BIT:
        return False
    largest = max(1, int(data.max()), -int(data.min()))
    fan_in, reach = weight.size // weight.shape[0], _reach(grid)
    pad = abs(normal_attrs(node).get("pad_value", 0))
    plane_sum = reach * (2 ** largest.bit_length() - 1) * fan_in
    if largest > _LARGEST or pad > reach or plane_sum >= 2**31:
        return False
    if x.dtype.is_light and weight.dtype.is_light:
        return True
    by_bytes = data.dtype == np.int8 and x.dtype.numpy.itemsize == 1
    if not by_bytes or fan_in > MAX_BYTE_FAN_IN:
        return True
    masked, channels = bool((data % 2 == 0).any()), weight.shape[-1]
    pair = (_MASKED_PAIR if masked else _SIGN_PAIR) * WORD_BITS * words_for(channels)
    return grid[0] * largest.bit_length() * pair < 4 * -(-channels // 4)


def _reach(grid: Grid) -> int:
    """Return the largest size of a value of a grid, or of the difference of two."""
    bits, low, step = grid
    span = step * (2**bits - 1)
    return max(abs(low), abs(low + span), span)


def reads_planes(graph: Graph, name: str) -> bool:
    """Return whether all that reads a tensor multiplies it as planes, and something does."""
    readers = [node for node in graph.nodes if name in node.inputs]
    return (
        name not in graph.outputs
        and bool(readers)
        and all(
            n.op in ("Dense", "Conv2d") and n.inputs[0] == name and by_planes(graph, n)
            for n in readers
        )
    )


def plane_weights(graph: Graph, node: Node, isa: str) -> _kernels.PackedWeights:
    """Return the weights of a layer as planes, in the order of its kernel."""
    data = graph.tensor(node.inputs[1]).data
    assert data is not None  # by_planes
    weight = np.ascontiguousarray(data)
    if node.op == "Dense":
        return _kernels.pack_gemm_plane_weights(weight, isa)
    groups = normal_attrs(node)["groups"]
    return _kernels.pack_conv_plane_weights(weight, groups=groups, isa=isa)
