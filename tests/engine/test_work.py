"""Work counted from the shapes of the calls, against sums written out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from nets import Builder, float_residual, mlp

from bnnsim.engine.execute import Plan
from bnnsim.engine.work import WorkCounter
from bnnsim.graph.draws import Draws
from bnnsim.graph.dtypes import DType
from bnnsim.passes.lower import lower
from bnnsim.passes.stochastic import stochastic


def work(graph, x, *, tile=None, threads=1, draws=None):
    """Return the work of a run by op; later nodes of one op are left out."""
    plan = Plan(graph, threads=threads, keep=graph.tensors)
    plan._tile = tile or plan._tile
    counter = WorkCounter(graph)
    plan.run(x, watch=counter, draws=draws)
    found = {}
    for item in counter.result():
        found.setdefault(item.op, item)
    return found


def test_a_convolution_by_hand():
    net = Builder((3, 4, 5)).encode_bits().conv(6, (2, 3), pads=(1, 0, 0, 2), stride=(1, 2))
    graph = lower(net.thresholds(1, "bit", -1, 20).pool(2, 1, (0, 1, 0, 0)).graph())
    found = work(graph, net.batch(7), tile=3)
    conv = found["Conv2d"]
    # Output 3 x 2. Rows: 3 outputs x 2 taps, the first one of them above the image: 5 inside.
    # Columns from 0 and 2: taps 0, 1, 2 and 2, 3, 4, of which 4 is outside: 5 inside.
    assert conv.done == {"mac": 7 * 3 * 2 * 6 * 2 * 3 * 5, "mac_valid": 7 * 5 * 5 * 6 * 5}
    assert conv.calls == 3
    assert conv.kernel.startswith("conv2d_bit_")
    assert (conv.bytes_read, conv.bytes_written) == (7 * 3 * 4 * 8, 7 * 3 * 2 * 6 * 4)
    assert found["Threshold"].done == {"compare": 7 * 36, "pack": 7 * 36}
    # Pool 2 x 2 over 3 x 2 with one column of pad: 2 x 2 outputs; columns read 1 and 2 inside.
    assert found["MaxPool"].done == {"gate": 7 * 6 * (2 * 2 * 3 - 4)}
    assert found["Encode"].done == {}


def test_a_dilated_convolution_by_hand():
    net = Builder((5, 4, 2)).encode_bits().conv(3, (2, 2), pads=(1, 1, 1, 0), dilation=(3, 2))
    # Output 4 x 3. Rows read i - 1 and i + 2 for i = 0 to 3: all but -1 and 5 are inside, 6.
    # Columns read j - 1 and j + 1 for j = 0 to 2: all but -1, 5.
    conv = work(lower(net.graph()), net.batch(2))["Conv2d"]
    assert conv.done == {"mac": 2 * 4 * 3 * 3 * 2 * 2 * 2, "mac_valid": 2 * 6 * 5 * 3 * 2}


@pytest.mark.parametrize(("threads", "tile"), [(1, 1), (2, 4), (3, 100)])
def test_tiles_and_threads_change_only_the_calls(threads, tile):
    graph, x = lower(mlp(0)), np.zeros((9, 63), np.uint8)
    whole, parts = work(graph, x), work(graph, x, threads=threads, tile=tile)
    assert {op: w.done for op, w in parts.items()} == {op: w.done for op, w in whole.items()}
    assert parts["Dense"].bytes_read == whole["Dense"].bytes_read == 9 * 63
    assert whole["Dense"].done == {"mac": 9 * 63 * 65, "mac_valid": 9 * 63 * 65}
    assert (whole["Dense"].calls, parts["Dense"].calls) == (1, -(-9 // tile))


def test_draws_are_counted_where_they_are_drawn():
    graph = lower(stochastic(mlp(0), bits=4))
    found = work(graph, np.zeros((5, 63), np.uint8), draws=Draws(1))["Quantize"]
    elements = 5 * 65
    assert found.done == {
        "compare": elements, "draw": elements, "random_bits": 4 * elements, "pack": elements
    }  # fmt: skip


def test_steps_of_thresholds_and_additions_count():
    net = Builder((5, 6, 4), seed=3)
    weight = net.rng.integers(-7, 8, (3, 2, 2, 4))
    net.add("Conv2d", {"weight": (weight, DType("signed", 4))}).thresholds(3, "uint2", 0, 4000)
    found = work(lower(net.graph()), net.batch(2))
    assert found["Threshold"].done == {"compare": 2 * 3 * 4 * 5 * 3}
    graph = float_residual()
    x = np.zeros((2, 7, 6, 3), np.float32)
    assert work(graph, x)["Add"].done == {"add": 2 * 7 * 6 * 5}
