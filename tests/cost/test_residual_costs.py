"""Costs of residual networks: counts, stages, reads of the shortcut, what lives with what."""

from __future__ import annotations

import numpy as np
import pytest
from cost_nets import FLOATS, Builder
from counting_executor import execute

from bnnsim.cost.actions import count_actions
from bnnsim.cost.estimate import estimate
from bnnsim.cost.profile import load_profile
from bnnsim.cost.stages import build_stages, lay_out
from bnnsim.graph.dtypes import BIT, INT8, INT32

F32 = FLOATS["float32"]
RAGGED = [
    {"kernel": (2, 2), "stride": (2, 2)},
    {"kernel": (3, 2), "stride": (1, 2), "pads": (2, 1, 0, 0)},
    {"kernel": (3, 3), "stride": (2, 1), "pads": (1, 1, 1, 1), "count_include_pad": True},
]


def ops(graph):
    return [[node.op for node in stage.nodes] for stage in build_stages(graph)]


def block(shape=(8, 8, 4), channels=4):
    """x -> relu (the stream) -> conv -> bias -> relu -> conv -> bias -> add stream -> relu."""
    build = Builder("block", shape, F32).add("Relu")
    stream = build.last
    for last in (False, True):
        build.add("Conv2d", [((channels, 3, 3, build.shape[2]), F32)], pads=(1,) * 4)
        build.add("Bias", [((channels,), F32)])
        if last:
            build.add("Add", also=(stream,))
        build.add("Relu")
    return build.graph()


# --- counts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("attrs", RAGGED)
def test_float_counts_equal_those_of_the_counting_executor(attrs, rng):
    build = Builder("float", (6, 7, 3), F32).add("Relu")
    stream = build.last
    build.add("AvgPool", **attrs).add("Add", also=(build.last,))
    build.add("Slice", stop=build.shape, step=(2, 1, 2)).add("PadChannels", before=1, after=2)
    build.add("GlobalAvgPool")
    graph = build.graph()
    ways = {0: ["compare.float32"], 1: ["add.float32", "mul.float32"], 2: ["add.float32"],
            5: ["add.float32", "mul.float32"]}  # fmt: skip
    tallies = execute(graph, rng, {n: {"kinds": kinds} for n, kinds in ways.items()})
    for counts in count_actions(graph):
        found = {str(action): number for action, number in counts.actions.items()}
        assert found == dict(tallies[counts.node.id].counts), counts.node.describe()
    assert stream == "t0"


def test_integer_counts_equal_those_of_the_counting_executor(rng):
    build = Builder("integers", (5, 4, 6), INT8)
    build.add("Conv2d", [((6, 1, 1, 6), BIT)]).add("Add", also=("x",))
    build.add("AvgPool", kernel=(2, 3), stride=(1, 1)).add("GlobalAvgPool")
    graph = build.graph()
    # conv: 8 + ceil(log2 6) = 11 bits; its sum with int8 takes 12; a window of 6 adds 3 bits; the
    # average of 4 x 2 elements of 12 bits adds 3 again.
    ways = {0: {"kind": ("add.int11",), "planes": 0}, 1: {"kinds": ["add.int12"]},
            2: {"kinds": ["add.int15", "mul.int15"]},
            3: {"kinds": ["add.int15", "mul.int15"]}}  # fmt: skip
    tallies = execute(graph, rng, ways)
    for counts in count_actions(graph):
        found = {str(action): number for action, number in counts.actions.items()}
        assert found == dict(tallies[counts.node.id].counts), counts.node.describe()


def test_hand_counts_of_averages():
    # 8 x 8 x 64: 63 additions and one product for each of 64 channels.
    counts = count_actions(Builder("gap", (8, 8, 64), F32).add("GlobalAvgPool").graph())[0]
    assert {str(a): n for a, n in counts.actions.items()} == {
        "add.float32": 63 * 64,
        "mul.float32": 64,
    }
    # 3 x 3 with a border of 1 over 4 x 4: taps inside are (2 + 3 + 3 + 2)^2 = 100 for 16 windows.
    build = Builder("pool", (4, 4, 2), F32)
    graph = build.add("AvgPool", kernel=(3, 3), stride=(1, 1), pads=(1,) * 4).graph()
    assert {str(a): n for a, n in count_actions(graph)[0].actions.items()} == {
        "add.float32": (100 - 16) * 2,
        "mul.float32": 16 * 2,
    }


def test_energy_of_a_sum_by_hand():
    arith = load_profile("cmos45-arith")
    graph = Builder("sum", (10, 10, 3), F32).add("Add", also=("x",)).graph()
    report = estimate(graph, arith, allow_unpriced=True)
    assert report.energy_by["elementwise"] == pytest.approx(300 * 0.9e-12)
    # int8 + int8: 9 bits, which run on the table's next wider adder: 0.05 pJ for 16 bits
    graph = Builder("sum", (10, 10, 3), INT8).add("Add", also=("x",)).graph()
    report = estimate(graph, arith, allow_unpriced=True)
    assert report.energy_by["elementwise"] == pytest.approx(300 * 0.05e-12)


def test_sums_of_int32_tensors_are_priced_as_32_bits():
    build = Builder("wide", (4, 4, 2), INT32).add("Add", also=("x",))
    graph = build.add("AvgPool", kernel=(2, 2), stride=(2, 2)).graph()
    assert [{str(a) for a in counts.actions} for counts in count_actions(graph)] == [
        {"add.int32"},
        {"add.int32", "mul.int32"},
    ]
    assert estimate(graph, "cmos45").unpriced == ()


# --- stages ------------------------------------------------------------------------------------


def test_a_sum_joins_the_output_stage_of_the_layer_that_ends_last():
    graph = block()
    assert ops(graph) == [["Relu"], ["Conv2d", "Bias", "Relu"], ["Conv2d", "Bias", "Add", "Relu"]]
    last = build_stages(graph)[-1]
    assert [t.name for t in last.reads] == ["t3", "t0"]
    assert [t.name for t in last.operands] == ["t0"]


def test_of_two_branches_the_later_takes_the_sum():
    build = Builder("fork", (6, 6, 4), F32).add("Relu")
    stream = build.last
    build.add("Conv2d", [((4, 1, 1, 4), F32)])
    first = build.last
    build.last = stream
    build.add("Conv2d", [((4, 1, 1, 4), F32)]).add("Add", also=(first,)).add("Relu")
    assert ops(build.graph()) == [["Relu"], ["Conv2d"], ["Conv2d", "Add", "Relu"]]
    build = Builder("fork", (6, 6, 4), F32).add("Conv2d", [((4, 1, 1, 4), F32)])
    build.add("Add", also=("x",)).add("Add", also=("t0",))  # t0 has two readers: it is stored
    assert ops(build.graph()) == [["Conv2d"], ["Add", "Add"]]


def test_a_tensor_added_to_itself_and_one_that_the_layer_reads_too():
    build = Builder("twice", (6, 6, 4), F32).add("Conv2d", [((4, 1, 1, 4), F32)])
    assert ops(build.add("Add", also=("t0",)).graph()) == [["Conv2d", "Add"]]
    assert build_stages(build.graph())[0].operands == ()
    build = Builder("again", (6, 6, 4), F32).add("Conv2d", [((4, 1, 1, 4), F32)])
    (stage,) = build_stages(build.add("Add", also=("x",)).graph())
    assert [t.name for t in stage.reads] == ["x"]
    assert [t.name for t in stage.operands] == ["x"]  # the layer's loop nest and the sum read it


def test_averages_and_channel_pads():
    build = Builder("pool", (8, 8, 4), F32).add("Conv2d", [((4, 1, 1, 4), F32)])
    build.add("AvgPool", kernel=(2, 2), stride=(2, 2)).add("Relu").add("GlobalAvgPool")
    assert ops(build.graph()) == [["Conv2d", "AvgPool", "Relu"], ["GlobalAvgPool"]]
    build = Builder("pad", (8, 8, 4), F32).add("Conv2d", [((4, 1, 1, 4), F32)])
    assert ops(build.add("PadChannels", after=3).graph()) == [["Conv2d"], ["PadChannels"]]
    build = Builder("cut", (8, 8, 4), F32).add("Slice", stop=(8, 8, 4), step=(2, 2, 1))
    assert ops(build.add("PadChannels", after=3).graph()) == [["Slice", "PadChannels"]]


def narrowing():
    """x -> relu -> strided conv -> conv -> + a slice of the stream with zero channels."""
    build = Builder("narrowing", (8, 8, 4), F32).add("Relu")
    for stride in (2, 1):
        weight = ((8, 3, 3, build.shape[2]), F32)
        build.add("Conv2d", [weight], pads=(1,) * 4, stride=(stride,) * 2)
    branch, build.last = build.last, "t0"
    build.add("Slice", stop=(8, 8, 4), step=(2, 2, 1)).add("PadChannels", before=2, after=2)
    return build.add("Add", also=(branch,)).add("Relu").graph()


def test_a_shortcut_is_cut_before_the_layers_that_it_passes_by():
    graph = narrowing()
    moves = ["Slice", "PadChannels"]
    assert ops(graph) == [["Relu"], moves, ["Conv2d"], ["Conv2d", "Add", "Relu"]]
    x, half = 8 * 8 * 4 * 4, 4 * 4 * 8 * 4
    # x + t0; t0 + shortcut; t0 + shortcut + conv 1; shortcut + conv 1 + result
    expected = [2 * x, x + half, x + 2 * half, 3 * half]
    assert [sum(live.values()) for live in lay_out(graph).live] == expected


def test_what_is_added_to_a_slice_is_read_whole():
    chip = load_profile("cmos45")
    build = Builder("cut", (6, 6, 4), F32).add("AvgPool", kernel=(2, 2), stride=(2, 2))
    pooled, build.last = build.last, "x"
    build.add("Slice", stop=(6, 6, 4), step=(2, 2, 1)).add("Relu").add("Add", also=(pooled,))
    graph = build.add("Add", also=(pooled,)).graph()
    assert ops(graph) == [["Slice", "Relu"], ["AvgPool"], ["Add", "Add"]]
    large = [m for m in chip.chain("activations") if not m.off_chip][-1]
    found = reads(estimate(graph, chip), "slice1")[f"{large.name}.read"]
    assert found == 9 * (4 * 32 // large.word_bits)
    build = Builder("cut", (6, 6, 4), F32).add("Slice", stop=(6, 6, 4), step=(2, 2, 1))
    stage = build_stages(build.add("Add", also=(build.last,)).graph())[0]
    assert [t.name for t in stage.reads] == ["x"]


def test_the_stream_lives_until_it_is_added():
    layout = lay_out(block())
    size = 8 * 8 * 4 * 4  # bytes of each tensor
    # relu: x and stream; conv 1: stream and its result; conv 2: its input, the stream, its result
    assert [sum(live.values()) for live in layout.live] == [2 * size, 2 * size, 3 * size]
    assert layout.peak_bytes == 3 * size


# --- memory traffic ----------------------------------------------------------------------------


def reads(report, name):
    (layer,) = (layer for layer in report.layers if layer.name == name)
    return layer.physical_actions


def test_a_sum_in_an_output_stage_costs_one_more_read_of_the_stream():
    chip = load_profile("cmos45")
    with_sum = estimate(block(), chip)
    build = Builder("plain", (8, 8, 4), F32).add("Relu")
    for _ in range(2):
        build.add("Conv2d", [((4, 3, 3, 4), F32)], pads=(1,) * 4)
        build.add("Bias", [((4,), F32)]).add("Relu")
    without = estimate(build.graph(), chip)
    more = {
        key: number - reads(without, "conv2d4").get(key, 0)
        for key, number in reads(with_sum, "conv2d4").items()
    }
    large = [m for m in chip.chain("activations") if not m.off_chip][-1]
    words = 8 * 8 * 4 * 32 // large.word_bits
    assert {k: n for k, n in more.items() if n} == {f"{large.name}.read": words}


@pytest.mark.parametrize(
    ("stop", "step", "runs"),
    [
        ((6, 5, 7), (2, 2, 1), (3 * 3, 7)),  # pixels: every second of every second row
        ((6, 5, 7), (2, 1, 1), (3, 5 * 7)),  # whole rows
        ((6, 5, 4), (1, 1, 1), (6 * 5, 4)),  # the first channels of each pixel
        ((6, 5, 7), (1, 1, 3), (6, 5 * 7)),  # channels 0, 3, 6: what lies between is read too
        ((6, 5, 7), (1, 1, 4), (6 * 5, 5)),  # channels 0 and 4
    ],
)
def test_a_slice_reads_the_words_of_what_lies_together(stop, step, runs):
    chip = load_profile("cmos45")
    graph = Builder("cut", (6, 5, 7), F32).add("Relu").add("Slice", stop=stop, step=step).graph()
    large = [m for m in chip.chain("activations") if not m.off_chip][-1]
    found = reads(estimate(graph, chip), "slice1")
    number, elements = runs
    # the copy of the net's output across the chip's edge reads the large memory once more
    out = graph.tensor(graph.outputs[0])
    edge = -(-out.bits // large.word_bits)
    assert found[f"{large.name}.read"] == number * -(-elements * 32 // large.word_bits) + edge


def test_every_op_is_priced_on_every_chip():
    build = Builder("all", (9, 8, 4), INT8).add("Add", also=("x",)).add("Cast", dtype="float32")
    build.add("AvgPool", kernel=(2, 2), stride=(2, 2)).add("Slice", stop=(4, 4, 4), step=(2, 2, 1))
    build.add("PadChannels", before=1, after=1).add("GlobalAvgPool").add("Flatten")
    graph = build.add("Dense", [((3, 6), F32)]).graph()
    for name in ("cmos45", "cmos45-dram", "asic-example"):
        report = estimate(graph, name, batch=3)
        assert not report.unpriced
        assert sum(layer.energy_j for layer in report.layers) == pytest.approx(report.energy.value)
        assert all(np.isfinite(layer.energy_j) for layer in report.layers)
    assert graph.tensor("t0").dtype == INT32
