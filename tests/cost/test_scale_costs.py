"""Costs of XNOR-Net's scales: counts, stages, what is stored, and lines of their own."""

from __future__ import annotations

import pytest
from cost_nets import FLOATS, Builder
from counting_executor import execute
from hypothesis import given
from hypothesis import strategies as st

from bnnsim import api
from bnnsim.cost.actions import Action, count_actions
from bnnsim.cost.datapath import action_prices
from bnnsim.cost.estimate import estimate
from bnnsim.cost.profile import load_profile
from bnnsim.cost.stages import build_stages, lay_out
from bnnsim.cost.windows import outputs_inside, pixels_inside
from bnnsim.graph.dtypes import BIT, INT8, INT32
from bnnsim.passes.precision import to_mode
from bnnsim.zoo import build

F32 = FLOATS["float32"]
CHANNELS = 2 * (128 + 256 + 512) + 2 * 1024 + 10  # of all layers of cifar10-convnet


def by_text(counts):
    return {str(action): number for action, number in counts.actions.items()}


def ops(graph):
    return [[node.op for node in stage.nodes] for stage in build_stages(graph)]


def xnor_block(channels=8):
    """x -> sign -> conv, times K of x -> affine (its real values are read twice) -> sign -> ..."""
    net = Builder("block", (6, 5, channels), F32)
    for _ in range(2):
        real = net.last
        net.add("InputScale", kernel=(3, 3), pads=(1,) * 4)
        scale, net.last = net.last, real
        net.add("Quantize", quantizer="sign")
        net.add("Conv2d", [((channels, 3, 3, channels), BIT)], pads=(1,) * 4)
        net.add("Mul", also=(scale,)).add("Affine", [((channels,), F32)] * 2)
    return net.graph()


# --- counts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("shape", "attrs"),
    [
        ((6, 7, 5), {"kernel": (3, 2), "pads": (1, 0, 1, 1)}),
        ((6, 7, 4), {"kernel": (1, 1), "stride": (2, 3), "groups": 2}),
        ((5, 4, 6), {"kernel": (2, 3), "stride": (1, 2), "pads": (4, 3, 0, 5), "groups": 3}),
        ((7, 6, 1), {"kernel": (3, 3), "dilation": (2, 1), "pads": (2, 2, 2, 2)}),
        ((9,), {}),
        ((1,), {}),
    ],
)
def test_counts_of_input_scales_equal_those_of_the_counting_executor(shape, attrs, rng):
    for dtype in (F32, INT8):
        graph = Builder("scale", shape, dtype).add("InputScale", **attrs).graph()
        (node,) = graph.nodes
        fan_in = shape[-1] // node.attrs["groups"]
        fan_in *= node.attrs["kernel"][0] * node.attrs["kernel"][1]
        width = 8 + (fan_in - 1).bit_length()
        kinds = (["abs.float32", "add.float32", "mul.float32"] if dtype == F32 else
                 ["abs.int8", f"add.int{width}", "convert.float32", "mul.float32"])  # fmt: skip
        (counts,), tallies = count_actions(graph), execute(graph, rng, {0: {"kinds": kinds}})
        assert by_text(counts) == dict(tallies[0].counts)


def test_counts_of_products_equal_those_of_the_counting_executor(rng):
    net = Builder("products", (5, 4, 6), F32).add("Scale", [((6,), F32)])
    net.add("InputScale", kernel=(5, 4)).add("InputScale")
    scale, net.last = net.last, "t0"
    graph = net.add("Mul", also=(scale,)).graph()
    ways = {n: {"kinds": ["mul.float32"]} for n in (0, 3)}
    ways |= {n: {"kinds": ["abs.float32", "add.float32", "mul.float32"]} for n in (1, 2)}
    tallies = execute(graph, rng, ways)
    for counts in count_actions(graph):
        assert by_text(counts) == dict(tallies[counts.node.id].counts), counts.node.describe()


def test_a_product_with_an_accumulator_is_one_multiply_and_one_conversion():
    for op in ("Mul", "Scale"):
        net = Builder("sum", (9,), INT32).add("InputScale")
        scale, net.last = net.last, "x"
        net.add(op, also=(scale,)) if op == "Mul" else net.add(op, [((9,), F32)])
        *_, counts = count_actions(net.graph())
        assert by_text(counts) == {"convert.float32": 9, "mul.float32": 9}


def test_hand_counts_of_a_padded_map():
    # 4 x 4 x 8, 3 x 3, a border of 1: 7 additions at each of 16 pixels; 100 taps are inside for 16
    # windows, so 84 additions; 128 magnitudes; 16 products with 1 / 72.
    net = Builder("map", (4, 4, 8), F32).add("InputScale", kernel=(3, 3), pads=(1,) * 4)
    (counts,) = count_actions(net.graph())
    assert by_text(counts) == {"abs.float32": 128, "add.float32": 112 + 84, "mul.float32": 16}


SMALL = st.integers(1, 4)


@given(size=st.integers(1, 9), out=st.integers(1, 9), kernel=SMALL, stride=SMALL, dilation=SMALL,
       pad=st.integers(0, 9))  # fmt: skip
def test_windows_equal_loops(size, out, kernel, stride, dilation, pad):
    taps = [[i * stride + r * dilation - pad for r in range(kernel)] for i in range(out)]
    inside = [[t for t in window if 0 <= t < size] for window in taps]
    place = (size, out, kernel, stride, dilation, pad)
    assert pixels_inside(*place) == len({t for window in inside for t in window})
    assert outputs_inside(*place) == sum(bool(window) for window in inside)


def test_a_magnitude_is_a_gate_of_a_float_and_an_adder_of_an_integer():
    profile = load_profile("cmos45")
    assert action_prices(profile, Action("abs", "float32")) == (("gate.bit", 1),)
    assert action_prices(profile, Action("abs", "int11")) == (("add.bit", 11),)


# --- stages ------------------------------------------------------------------------------------


def test_scale_maps_are_made_by_the_stage_that_makes_their_input():
    graph = xnor_block()
    assert ops(graph) == [
        ["InputScale"],  # of the network's input
        ["Quantize"],
        ["Conv2d", "Mul", "Affine", "Quantize", "InputScale"],
        ["Conv2d", "Mul", "Affine"],
    ]
    first = build_stages(graph)[2]
    assert [t.name for t in first.maps] == ["t5"]
    assert first.writes.dtype == BIT
    assert [t.name for t in first.operands] == ["t0"]


def test_maps_are_live_until_the_product_and_real_values_are_not_stored():
    layout = lay_out(xnor_block())
    assert dict(layout.live[2]) == {"t1": 30, "t0": 120, "t6": 30, "t5": 120}
    assert dict(layout.live[3]) == {"t6": 30, "t5": 120, "t9": 960}


def test_real_values_that_something_else_reads_are_stored():
    net = Builder("stream", (4, 4, 8), F32).add("Affine", [((8,), F32)] * 2)
    stream = net.last
    net.add("InputScale")
    scale, net.last = net.last, stream
    net.add("Quantize", quantizer="sign").add("Conv2d", [((8, 1, 1, 8), BIT)])
    graph = net.add("Mul", also=(scale,)).add("Add", also=(stream,)).graph()
    assert ops(graph) == [["Affine", "InputScale"], ["Quantize"], ["Conv2d", "Mul", "Add"]]


def test_a_product_with_a_map_of_its_own_stage_waits_for_the_map():
    net = Builder("self", (4, 4, 8), F32).add("Relu")
    real = net.last
    net.add("InputScale", kernel=(3, 3), pads=(1,) * 4)
    scale, net.last = net.last, real
    graph = net.add("Mul", also=(scale,)).graph()
    assert ops(graph) == [["Relu", "InputScale"], ["Mul"]]
    assert [t.name for t in build_stages(graph)[1].reads] == [real, scale]


def test_a_product_that_broadcasts_its_last_operand_is_a_stage_of_its_own():
    net = Builder("gates", (4, 4, 8), F32).add("Relu")
    net.add("GlobalAvgPool").add("Relu")
    gate, net.last = net.last, "t0"
    graph = net.add("Mul", also=(gate,)).add("Relu").graph()
    assert ops(graph) == [["Relu"], ["GlobalAvgPool", "Relu"], ["Mul", "Relu"]]


# --- energy ------------------------------------------------------------------------------------


def test_energy_of_a_product_and_a_map_by_hand():
    net = Builder("hand", (4, 4, 8), F32).add("InputScale", kernel=(3, 3), pads=(1,) * 4)
    scale, net.last = net.last, "x"
    graph = net.add("Mul", also=(scale,)).graph()
    report = estimate(graph, load_profile("cmos45-arith"), allow_unpriced=True)
    # 128 gates of 3.125 fJ, 196 additions of 0.9 pJ and 16 products of 3.7 pJ make the map; each
    # of 128 results is one product.
    assert report.energy_by["scaling"] == pytest.approx(
        128 * 3.125e-15 + 196 * 0.9e-12 + (16 + 128) * 3.7e-12, rel=1e-12
    )


def test_accesses_of_a_map_by_hand():
    rows = {row.name: row.physical_actions for row in estimate(xnor_block(), "cmos45").layers}
    # Written: 8 bits of each of 30 pixels, a word each, and a map of 30 x 32 bits, 15 words.
    assert rows["conv2d2"]["gb.write"] == 30 + 15
    # Read: 576 bits of weights, 2 x 8 x 32 of the affine, 6 rows of 40 bits, the map for the Mul.
    assert rows["conv2d2"]["gb.read"] == 9 + 8 + 6 + 15
    assert {"gb.write", "gb.read"}.isdisjoint(rows["inputscale5"])


@pytest.mark.parametrize("profile", ["cmos45", "cmos45-dram", "asic-example", "eyeriss"])
def test_scales_are_priced_on_their_own_line(profile):
    loaded = load_profile(profile)
    found = {mode: estimate(to_mode(build("cifar10-convnet"), mode), loaded)
             for mode in ("binary", "xnor-alpha", "xnor-k")}  # fmt: skip
    assert all(report.unpriced == () for report in found.values())
    assert found["binary"].energy_by["scaling"] == found["xnor-alpha"].energy_by["scaling"] == 0
    report = found["xnor-k"]
    assert report.energy_by["scaling"] > 0
    layers = [row for row in report.layers if row.energy_by.get("scaling")]
    assert {row.op for row in layers} == {"Mul", "InputScale"}
    assert report.memory["parameters_bytes"] == 2 * 4 * CHANNELS + 2 * 256  # affines, pixel table


def test_kept_alphas_cost_a_product_and_a_parameter_each():
    source = build("cifar10-convnet")
    profile = load_profile("cmos45")
    binary, alpha = (
        estimate(to_mode(source, mode, keep_bn=True), profile) for mode in ("binary", "xnor-alpha")
    )
    assert alpha.memory["parameters_bytes"] - binary.memory["parameters_bytes"] == 4 * CHANNELS
    outputs = 2 * (128 * 32**2 + 256 * 16**2 + 512 * 8**2) + 2 * 1024 + 10
    rows = [row for row in alpha.layers if row.op == "Scale"]
    assert sum(row.logical_actions["mul.float32"] for row in rows) == outputs
    assert alpha.energy_by["scaling"] > binary.energy_by["scaling"] == 0


def test_compare_puts_the_modes_side_by_side():
    modes = ["binary", "xnor-alpha", "xnor-k"]
    columns = api.compare([build("cifar10-convnet")], profiles=["cmos45"], modes=modes).columns
    energy = [column.energy.value for column in columns]
    assert energy[0] == energy[1] < energy[2]
