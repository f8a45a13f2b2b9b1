"""When each row of each tensor is there: one image through a streaming dataflow, in whole cycles.

The rules, which a simulator in the tests that ticks cycle by cycle follows too:

1. A token is one row of an image; a vector is one row.
2. The input stage brings row r complete at cycle ceil((r + 1) x bits of a row / bus).
3. A Dense or Conv2d computes its output rows in order, one at a time, each in columns x folds
   cycles. It starts a row when the one before is finished and every input row down to the lower
   end of this row's windows, as far as the image goes, has arrived; the row leaves when it is
   finished.
4. Elementwise ops, pools and slices take no time: a row is there when the last row that it needs
   is. A Flatten and a global average need all rows.
5. Rows between stages wait in FIFOs that are never full, so no stage ever holds up the one before.
6. Rows of the result leave over the bus, in order, each in ceil(bits / bus) cycles.

References
----------
Xilinx/BNN-PYNQ, bnn/src/library/hls/slidingwindow.h: the window generator reads as many rows as
the kernel has before its first window, and the next ones while a row of windows leaves;
maxpool.h: a pooled row leaves when its last row has arrived.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bnnsim.errors import ProfileError, message
from bnnsim.graph.ir import Graph, Node
from bnnsim.graph.ops import activations_of, normal_attrs

_PASSING = frozenset(
    {"Encode", "FromGrid", "Bias", "Affine", "BatchNorm", "Relu", "Clip", "Quantize", "Threshold",
     "Requantize", "IntegerAffine", "Cast", "Add", "PadChannels", "Scale", "Mul", "PRelu",
     "Sigmoid", "Softmax", "Concat", "ChannelShuffle"}
)  # fmt: skip
_WHOLE = frozenset({"Flatten", "Reshape", "GlobalAvgPool"})


def served(ready: np.ndarray, cycles: int) -> np.ndarray:
    """Return when rows are finished that are served in order, ``cycles`` each.

    Parameters
    ----------
    ready : ndarray of int64, shape (rows,)
        When what each row needs is there.
    cycles : int

    Returns
    -------
    ndarray of int64, shape (rows,)
        ``finish[r] = max(finish[r - 1], ready[r]) + cycles``, solved: the largest over q <= r of
        ``ready[q] + (r - q + 1) cycles``.
    """
    rows = np.arange(len(ready), dtype=np.int64)
    done: np.ndarray = np.maximum.accumulate(ready - rows * cycles) + (rows + 1) * cycles
    return done


def arrivals(
    graph: Graph, bits: Mapping[str, int], bus: int, row_cycles: Mapping[str, int]
) -> dict[str, np.ndarray]:
    """Return for each activation the cycles at which its rows are there.

    Parameters
    ----------
    graph : Graph
    bits : mapping of str to int
        Per graph input: what the stream carries of one image.
    bus : int
        Bits per cycle.
    row_cycles : mapping of str to int
        By name of a Dense or Conv2d: cycles of one output row.

    Raises
    ------
    ProfileError
        If an op has no rule.
    """
    times: dict[str, np.ndarray] = {}
    for name in graph.inputs:
        rows = rows_of(graph, name)
        whole = np.arange(1, rows + 1, dtype=np.int64) * bits[name]
        times[name] = -(-whole // (rows * bus))
    for node in graph.nodes:
        ready = _ready(graph, node, times)
        cycles = row_cycles.get(node.name)
        times[node.output] = ready if cycles is None else served(ready, cycles)
    return times


def departures(graph: Graph, arrived: np.ndarray, name: str, bus: int) -> np.ndarray:
    """Return when the rows of a graph output have left over the bus."""
    row_bits = graph.tensor(name).bits // rows_of(graph, name)
    return served(arrived, -(-row_bits // bus))


def rows_of(graph: Graph, name: str) -> int:
    """Return the rows of an activation: 1 for a vector."""
    shape = graph.tensor(name).shape
    return shape[0] if len(shape) == 3 else 1


def _ready(graph: Graph, node: Node, times: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return when everything is there that each output row of a node needs."""
    source = times[node.inputs[0]]
    rows = np.arange(rows_of(graph, node.output))
    if node.op in _PASSING:
        # A factor of one row waits for that row only.
        together = np.broadcast_arrays(*(times[name] for name in activations_of(node)))
        joined: np.ndarray = np.max(together, axis=0)
        return joined
    if node.op in _WHOLE:
        return source[-1:]
    if node.op == "Dense":
        return source
    attrs = normal_attrs(node)
    if node.op == "Slice":
        return source[attrs["start"][0] + attrs["step"][0] * rows]
    if node.op in ("Conv2d", "MaxPool", "AvgPool", "InputScale"):
        is_conv = node.op == "Conv2d"
        kernel = graph.tensor(node.inputs[1]).shape[1] if is_conv else attrs["kernel"][0]
        reach = (kernel - 1) * attrs.get("dilation", (1, 1))[0]
        last = rows * attrs["stride"][0] - attrs["pads"][0] + reach
        there: np.ndarray = source[np.clip(last, 0, len(source) - 1)]
        return np.where(last < 0, 0, there)
    rule = "an op with a rule for its rows in a pipeline"
    raise ProfileError(message(node.describe(), node.op, rule))
