"""Logical counts: closed forms against an executor that loops and counts."""

from __future__ import annotations

import numpy as np
import pytest
from cost_nets import FLOATS, Builder, mlp
from counting_executor import execute
from hypothesis import given
from hypothesis import strategies as st

from bnnsim.cost.actions import count_actions, operands_of, taps_inside
from bnnsim.graph.dtypes import BIT, INT8, INT32, TERNARY, DType

F32 = FLOATS["float32"]
UINT8, INT16 = DType("unsigned", 8), DType("signed", 16)
UINT2, GRID2 = DType("unsigned", 2), DType("bipolar", 2)
RAGGED = [
    {"stride": (1, 1), "pads": (1, 1, 1, 1)},
    {"stride": (2, 1), "pads": (0, 2, 1, 0), "dilation": (1, 2)},
    {"stride": (3, 2), "pads": (2, 0, 0, 1), "pad_value": 1},
    {"stride": (1, 1), "pads": (0, 0, 0, 0), "groups": 3},
]


def by_text(counts):
    return {str(action): number for action, number in counts.actions.items()}


def binary_net(attrs):
    """Pixels -> Encode -> conv (int16 x bit) -> Threshold -> conv (bit x bit) -> pool -> ..."""
    build = Builder("ragged", (7, 5, 3), UINT8).add("Encode", [((256,), INT16)])
    groups = attrs.get("groups", 1)
    build.add("Conv2d", [((6, 3, 2, 3 // groups), BIT)], **attrs)
    build.add("Threshold", [((6, 1), INT32), ((6,), INT8)])
    build.add("Conv2d", [((5, 1, 2, 6), BIT)], pads=(0, 1, 0, 0), pad_value=-1)
    build.add("MaxPool", kernel=(2, 2), stride=(1, 2), pads=(1, 0, 0, 1))
    build.add("Threshold", [((5, 3), INT32), ((5,), INT8)], dtype="uint2")
    build.add("Flatten")
    build.add("Dense", [((4, build.shape[0]), BIT)])
    return build.add("IntegerAffine", mul=-1, add=7, div=2).graph()


def binary_ways(graph):
    """What one element takes in each node of ``binary_net``, from the definitions."""
    fan_in = graph.tensor("c7_0").shape[1]
    last = 2 + int(np.ceil(np.log2(fan_in)))
    first = 8 + int(np.ceil(np.log2(np.prod(graph.tensor("c1_0").shape[1:]))))
    return {
        0: {"kinds": ["lookup.int16"]},
        1: {"kind": (), "planes": 8},
        2: {"kinds": [f"compare.int{first}", "pack.bit"]},
        3: {"kind": (), "planes": 1},
        4: {"kind": "compare.int5"},  # 1 + ceil(log2(1 * 2 * 6 = 12)) = 5 bits
        5: {"kinds": ["compare.int5"] * 3 + ["add.int2"] * 2 + ["pack.bit"] * 2},
        7: {"kind": (), "planes": 2},  # uint2 x bit: two planes
        8: {"kinds": [f"mul.int{last}", f"mul.int{last}", f"add.int{last}"]},
    }


@pytest.mark.parametrize("attrs", RAGGED)
def test_binary_counts_equal_those_of_the_counting_executor(attrs, rng):
    graph = binary_net(attrs)
    tallies = execute(graph, rng, binary_ways(graph))
    for counts in count_actions(graph):
        tally = tallies[counts.node.id]
        assert by_text(counts) == dict(tally.counts), counts.node.describe()
        assert (counts.macs, counts.macs_valid) == (tally.macs, tally.macs_valid)


def test_float_and_integer_counts_equal_those_of_the_counting_executor(rng):
    build = Builder("float", (6, 7, 2), F32)
    build.add("Conv2d", [((3, 3, 3, 2), F32)], pads=(1, 0, 2, 1), stride=(2, 3))
    build.add("BatchNorm", [((3,), F32)] * 4, eps=1e-4).add("Relu").add("Clip", low=-1, high=1)
    build.add("Conv2d", [((4, 2, 2, 3), BIT)], pads=(1, 1, 0, 0))
    build.add("Affine", [((4,), F32)] * 2).add("Quantize", quantizer="sign")
    build.add("MaxPool", kernel=(2, 1), stride=(1, 1)).add("Cast", dtype="int8").add("Flatten")
    build.add("Dense", [((3, build.shape[0]), INT8)])
    build.add("Requantize", [((3,), F32)] * 2).add("Cast", dtype="float32")
    graph = build.add("Bias", [((3,), F32)]).graph()
    width = 16 + int(np.ceil(np.log2(graph.tensor("c10_0").shape[1])))
    float_mac = ("mul.float32", "add.float32")
    ways = {
        0: {"kind": float_mac, "planes": 0},
        1: {"kinds": list(float_mac)},
        2: {"kinds": ["compare.float32"]},
        3: {"kinds": ["compare.float32"] * 2},
        4: {"kind": ("add.float32",), "planes": 0},
        5: {"kinds": list(float_mac)},
        6: {"kinds": ["compare.float32", "pack.bit"]},
        7: {"kind": "gate.bit"},
        8: {"kinds": ["convert.int8"]},
        10: {"kind": ("mul.int8", f"add.int{width}"), "planes": 0},
        11: {"kinds": [f"mul.int{width}", f"add.int{width}"] + [f"compare.int{width}"] * 2},
        12: {"kinds": ["convert.float32"]},
        13: {"kinds": ["add.float32"]},
    }
    tallies = execute(graph, rng, ways)
    for counts in count_actions(graph):
        tally = tallies[counts.node.id]
        assert by_text(counts) == dict(tally.counts), counts.node.describe()
        assert (counts.macs, counts.macs_valid) == (tally.macs, tally.macs_valid)


@pytest.mark.parametrize(
    ("quantizer", "kinds"),
    [
        # clip with two compares, one product (and one sum), one rounding; one register per bit
        ({"quantizer": "dorefa", "bits": 3},
         ["compare.float32"] * 2 + ["mul.float32", "convert.uint3"] + ["pack.bit"] * 3),
        ({"quantizer": "bipolar", "bits": 2},
         ["compare.float32"] * 2 + ["mul.float32", "add.float32", "convert.bipolar2"]
         + ["pack.bit"] * 2),
        ({"quantizer": "ternary"}, ["compare.float32"] * 2 + ["pack.bit"] * 2),
    ],
)  # fmt: skip
def test_quantizers_cost_what_their_steps_are(quantizer, kinds, rng):
    build = Builder("levels", (5,), F32).add("Relu").add("Quantize", **quantizer)
    graph = build.add("Dense", [((3, 5), GRID2)]).graph()
    planes = {"dorefa": 6, "bipolar": 4, "ternary": 4}[quantizer["quantizer"]]
    ways = {
        0: {"kinds": ["compare.float32"]},
        1: {"kinds": kinds},
        2: {"kind": (), "planes": planes},
    }
    tallies = execute(graph, rng, ways)
    for counts in count_actions(graph):
        assert by_text(counts) == dict(tallies[counts.node.id].counts), counts.node.describe()


@given(
    st.integers(1, 12), st.integers(1, 5), st.integers(1, 4), st.integers(1, 3), st.integers(0, 5)
)
def test_taps_inside_equals_a_loop_over_outputs_and_taps(size, kernel, stride, dilation, pad):
    reach = dilation * (kernel - 1) + 1
    out = max(0, (size + 2 * pad - reach) // stride + 1)
    looped = sum(
        0 <= i * stride + r * dilation - pad < size for i in range(out) for r in range(kernel)
    )
    assert taps_inside(size, out, kernel, stride, dilation, pad) == looped


@pytest.mark.parametrize(
    ("act", "weight", "fan_in", "planes", "width"),
    [
        (BIT, BIT, 1, 1, 1), (BIT, BIT, 63, 1, 7), (BIT, BIT, 64, 1, 7), (BIT, BIT, 65, 1, 8),
        (INT8, INT8, 128, 0, 23), (INT8, BIT, 129, 0, 16), (TERNARY, BIT, 64, 2, 8),
        (TERNARY, TERNARY, 64, 2, 8), (DType("unsigned", 2), DType("signed", 3), 64, 6, 11),
        (F32, BIT, 64, 0, 0), (UINT8, INT8, 2, 0, 17),
        # 9 x 64 in steps of 2 are 577 sums, 3 x 3 x 64 in both signs 1153; 8 x 5 and 16 planes
        (GRID2, GRID2, 64, 4, 10), (UINT2, GRID2, 64, 4, 11), (UINT8, DType("bipolar", 5), 1, 40,
        14), (BIT, GRID2, 64, 2, 9), (GRID2, BIT, 64, 2, 8), (TERNARY, GRID2, 4, 4, 6),
        (F32, GRID2, 9, 0, 0),
    ],
)  # fmt: skip
def test_accumulator_width_is_product_bits_and_the_log_of_the_fan_in(
    act, weight, fan_in, planes, width
):
    operands = operands_of(act, weight, fan_in)
    assert (operands.planes, operands.accumulator_bits) == (planes, width)


def test_pixels_by_bits_are_eight_planes_whatever_the_encoding():
    assert operands_of(UINT8, BIT, 784, pixel=True).planes == 8
    assert operands_of(INT8, BIT, 784).planes == 0  # weight-only: additions of bytes
    first = count_actions(mlp("binary", 64))[1]
    assert by_text(first) == {"mac.bit": 8 * 784 * 64}
    assert first.operands.pair == "uint8 x bit"


def test_an_op_without_a_rule_has_no_count():
    graph = mlp("float32", 8)
    odd = graph.with_nodes(
        [*graph.nodes[:-1], type(graph.nodes[0])(99, "odd", "Wavelet", (graph.nodes[-1].inputs[0],),
                                                 graph.outputs)]
    )  # fmt: skip
    assert count_actions(odd)[-1].actions is None
