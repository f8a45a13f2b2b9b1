"""Streaming profiles: row times equal a simulator that ticks; folding, memory, errors, totals."""

from __future__ import annotations

import random
import re
from dataclasses import replace

import numpy as np
import pytest
from cost_nets import Builder
from stream_simulator import finish_times

from bnnsim.cost.compare import compare
from bnnsim.cost.estimate import estimate
from bnnsim.cost.lanes import foldings
from bnnsim.cost.pipeline import time_image
from bnnsim.cost.profile import load_profile
from bnnsim.cost.streaming import served
from bnnsim.errors import GraphError, InputError, ProfileError
from bnnsim.graph.dtypes import BIT, FLOAT32, INT8, INT32, TERNARY, UINT8
from bnnsim.graph.folding import layers_of, matrix_of, stated_folding, with_folding
from bnnsim.zoo import build


@pytest.fixture(scope="module")
def board():
    return load_profile("pynq-z1")


def machine(board, **changes):
    return replace(board, pipeline=replace(board.pipeline, **changes))


def thresholds(build: Builder) -> Builder:
    channels = build.shape[-1]
    return build.add("Threshold", [((channels, 1), INT32), ((channels,), INT8)], dtype="bit")


def random_net(rng: random.Random):
    """Return a small convolutional net with strides, pads, dilation, pools, skips, odd sizes."""
    side = rng.choice([5, 7, 8, 11])
    net = Builder("random", (side, rng.choice([4, 6, 9]), rng.choice([1, 3, 5])), BIT)
    for _ in range(rng.randint(1, 3)):
        kernel = rng.choice([1, 2, 3])
        pad, gap = rng.randint(0, 2), rng.randint(1, 2)
        if min(net.shape[:2]) + 2 * pad < (kernel - 1) * gap + 1:
            break
        weight = (rng.choice([1, 3, 6]), kernel, kernel, net.shape[-1])
        stride = rng.randint(1, 2)
        net.add("Conv2d", [(weight, BIT)], stride=(stride, stride), pads=(pad,) * 4,
                dilation=(gap, gap))  # fmt: skip
        thresholds(net)
        if rng.random() < 0.4 and min(net.shape[:2]) >= 2:
            net.add("MaxPool", kernel=(2, 2), stride=(rng.choice([1, 2]),) * 2)
    if rng.random() < 0.6:
        net.add("Flatten")
        for _ in range(rng.randint(1, 3)):
            thresholds(net.add("Dense", [((rng.choice([1, 5, 12]), net.shape[0]), BIT)]))
    return net.graph(mode="binary")


def random_folding(graph, rng):
    table = {}
    for i, node in enumerate(layers_of(graph)):
        rows, columns = matrix_of(graph, node)
        table[f"L{i}"] = {
            "PE": rng.randint(-(-rows // 3), rows + 2),
            "SIMD": rng.randint(-(-columns // 5), columns + 2),
        }
    return with_folding(graph, table, "folding")


def ticked(graph, profile, images=1):
    timing = time_image(graph, profile)
    rows = {n.name: timing.busy[n.name] // (graph.result(n).shape[0] if n.op == "Conv2d" else 1)
            for n in layers_of(graph)}  # fmt: skip
    bits = sum(graph.tensor(name).bits for name in graph.inputs)
    return timing, finish_times(graph, bits, profile.pipeline.bus_bits, rows, images)


@pytest.mark.parametrize("seed", range(30))
def test_one_image_takes_what_a_simulator_counts(seed, board):
    rng = random.Random(seed)
    graph = random_folding(random_net(rng), rng)
    profile = machine(board, bus_bits=rng.choice([1, 7, 64]))
    timing, (found,) = ticked(graph, profile)
    assert timing.last["output"] == found
    report = estimate(graph, profile)
    assert report.latency.value == pytest.approx(found / profile.clock_hz)


@pytest.mark.parametrize("seed", range(8))
def test_images_follow_one_another_at_the_interval(seed, board):
    # The stated latency of a batch is never too low; a long run settles at the interval.
    rng = random.Random(100 + seed)
    graph = random_folding(random_net(rng), rng)
    profile = machine(board, bus_bits=rng.choice([7, 64]))
    timing, found = ticked(graph, profile, images=7)
    stated = [timing.last["output"] + n * timing.interval for n in range(7)]
    assert all(f <= s for f, s in zip(found, stated, strict=True))
    assert found[-1] - found[-2] == timing.interval
    assert found[0] == stated[0]


def test_a_skip_waits_for_the_later_of_its_operands(board):
    net = Builder("skip", (6, 4, 2), BIT)
    net.add("Conv2d", [((3, 1, 1, 2), BIT)])
    first = net.last
    thresholds(net)
    net.add("Conv2d", [((3, 3, 3, 3), BIT)], pads=(1, 1, 1, 1)).add("Add", also=(first,))
    graph = random_folding(net.graph(mode="binary"), random.Random(3))
    timing, (found,) = ticked(graph, board)
    assert timing.last["output"] == found


def test_served_is_the_recurrence():
    rng = np.random.Generator(np.random.PCG64(1))
    for cycles in (1, 5, 40):
        ready = np.sort(rng.integers(0, 300, 37))
        finish, expected = 0, []
        for at in ready:
            finish = max(finish, int(at)) + cycles
            expected.append(finish)
        assert served(ready, cycles).tolist() == expected


def dense(k=64, n=24, meta=None):
    return (
        Builder("one", (k,), BIT).add("Dense", [((n, k), BIT)]).graph(mode="binary", **meta or {})
    )


def test_one_dense_layer_by_hand(board):
    # 64 bits in 1 cycle; 24 rows in 5 folds of PE 5, 64 columns in 6 folds of SIMD 12: 30 cycles;
    # 24 sums of 32 bits leave in 12.
    graph = with_folding(dense(), {"L0": {"PE": 5, "SIMD": 12}}, "f")
    report = estimate(graph, board, batch=10)
    assert report.latency.value == pytest.approx((1 + 30 + 12 + 9 * 30) / 100e6)
    (layer,) = report.layers
    assert layer.bound_by == "stage dense0"
    assert layer.mapping == "PE 5 x SIMD 12: 5 x 6 folds, 30 cycles an image"
    assert report.energy.value == pytest.approx(1.673 * report.latency.value)
    assert report.unpriced == ()
    assert report.off_chip_bytes == 10 * (8 + 96)
    assert report.memory["peak_activation_bytes"] == 8


def test_padded_matrices_and_serial_bits_take_longer(board):
    padded = with_folding(dense(), {"L0": {"PE": 8, "SIMD": 16, "MH": 64, "MW": 128}}, "f")
    assert time_image(padded, board).busy["dense0"] == 8 * 8
    pixels = Builder("p", (64,), UINT8).add("Dense", [((24, 64), BIT)]).graph(mode="binary")
    folded = with_folding(pixels, {"L0": {"PE": 8, "SIMD": 16}}, "f")
    assert time_image(folded, board).busy["dense0"] == 12
    serial = machine(board, operands="serial")
    assert time_image(folded, serial).busy["dense0"] == 12 * 8


def test_the_interval_is_the_input_where_that_is_slowest(board):
    graph = with_folding(dense(640, 2), {"L0": {"PE": 2, "SIMD": 640}}, "f")
    report = estimate(graph, board, batch=3)
    assert report.latency.value == pytest.approx((10 + 1 + 1 + 2 * 10) / 100e6)
    assert report.layers[0].bound_by == "input"


def test_the_host_encodes_or_the_chip_does(board):
    graph = build("tfc")
    assert time_image(graph, board).busy["input"] == 13  # 784 bits
    assert time_image(graph, machine(board, encode="chip")).busy["input"] == 98  # 784 bytes


def test_layers_add_up_and_the_first_result_is_less_certain_than_the_interval(board):
    graph = random_folding(random_net(random.Random(7)), random.Random(7))
    one, many = estimate(graph, board), estimate(graph, board, batch=1000)
    for report in (one, many):
        seconds = sum(layer.latency_s for layer in report.layers)
        assert seconds == pytest.approx(report.latency.value)
        energy = sum(layer.energy_j for layer in report.layers)
        assert energy == pytest.approx(report.energy.value, rel=1e-9)
        assert sum(report.energy_by.values()) == pytest.approx(report.energy.value, rel=1e-9)
    assert one.latency.high / one.latency.value == pytest.approx(1.2, rel=0.05)
    # 999 of 1000 results come at the interval, known within 3 %.
    assert many.latency.high / many.latency.value == pytest.approx(1.03, abs=0.004)
    assert many.latency.low / many.latency.value == pytest.approx(1 / 1.03, abs=0.004)
    row = next(a for a in many.assumptions if a.constant == "interval")
    assert (row.band, row.status, row.share_of_energy) == (1.03, "assumed", 0)
    each = (many.latency.value - one.latency.value) / 999
    assert each == pytest.approx(time_image(graph, board).interval / board.clock_hz)


def test_a_profile_without_power_names_the_hole():
    boards = [load_profile(name) for name in ("ultra96", "zc706", "pynq-z1")]
    reports = [estimate(build("tfc"), board) for board in boards]
    hole = "energy: not estimated (profile 'ultra96' states none that has a source)"
    assert reports[0].unpriced == (hole,)
    assert reports[2].unpriced == ()
    found = compare(reports)
    assert found.to_json()  # finite: a ratio over no energy is 0
    assert [r.energy.value for r in found.ratios] == [0, 0, 0]
    assert found.ratios[0].latency.value > 0


def test_derived_folding_by_hand(board):
    # 24 x 64, one row each: SIMD 2, PE 2, SIMD 4, PE 3, PE 4, SIMD 8, ... while the lanes last.
    graph = dense()
    name = graph.nodes[0].name
    steps = {1: (1, 1), 2: (1, 2), 4: (2, 2), 8: (2, 4), 16: (4, 4), 31: (4, 4), 32: (4, 8)}
    for lanes, (pe, simd) in steps.items():
        found, derived = foldings(graph, {name: 1}, lanes, 1, "p")
        assert derived
        assert (found[name].pe, found[name].simd) == (pe, simd), lanes
    whole, _ = foldings(graph, {name: 1}, 10**6, 1, "p")
    assert (whole[name].pe, whole[name].simd) == (24, 64)
    enough, _ = foldings(graph, {name: 1}, 10**6, 60, "p")  # the bus needs 60 cycles
    assert enough[name].row_folds * enough[name].column_folds <= 60
    assert enough[name].lanes < 24 * 64


def test_derived_folding_stays_within_its_lanes_and_divides():
    for name in ("sfc", "svhn-convnet"):
        graph = build(name)
        for lanes in (10, 100, 5000):
            found, _ = foldings(graph, {n.name: 1 for n in layers_of(graph)}, lanes, 1, "p")
            assert sum(f.lanes for f in found.values()) <= lanes
            assert all(f.rows % f.pe == 0 == f.columns % f.simd for f in found.values())


def test_the_published_foldings_are_those_of_the_config_headers():
    cnv, lfc = (stated_folding(build(name)) for name in ("cnv", "lfc"))
    assert [f.lanes for f in cnv.values()] == [48, 1024, 512, 512, 128, 32, 4, 8, 4]
    assert [f.row_folds * f.column_folds for f in lfc.values()] == [416, 512, 512, 512]
    assert stated_folding(build("sfc")) == {}


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({}, "f: got [], expected L0 to L0, one for each Dense and Conv2d"),
        ({"L0": {"PE": 1, "SIMD": 1}, "L1": {}}, "expected L0 to L0"),
        ({"L0": 3}, "f: L0: got 3, expected an object with PE and SIMD"),
        ({"L0": {"PE": 1, "SIMDD": 1}}, "Did you mean 'SIMD'?"),
        ({"L0": {"PE": 1}}, "f: L0: SIMD: got None, expected an integer from 1"),
        ({"L0": {"PE": 0, "SIMD": 1}}, "f: L0: PE: got 0"),
        ({"L0": {"PE": True, "SIMD": 1}}, "f: L0: PE: got True"),
        ({"L0": {"PE": 1, "SIMD": 1, "MH": 23}}, "f: L0: MH: got 23, expected an integer from 24"),
        ({"L0": {"PE": 1, "SIMD": 1, "K": 3}}, "f: L0: K: got 3, expected no K"),
    ],
)
def test_a_folding_that_does_not_fit_is_refused(table, said):
    with pytest.raises(GraphError, match=re.escape(said)):
        with_folding(dense(), table, "f")


def test_a_folding_of_another_network_is_refused():
    graph = build("cnv")
    table = {f"L{i}": {"PE": 1, "SIMD": 1} for i in range(9)}
    with_folding(graph, table, "f")
    table["L2"] = {"PE": 1, "SIMD": 1, "IFM_CH": 65}
    with pytest.raises(GraphError, match=r"f: L2: IFM_CH: got 65, expected 64, as node 'conv3'"):
        with_folding(graph, table, "f")


@pytest.mark.parametrize(
    "table", [3, {}, {"dense0": 1}, {"dense0": {"PE": 1, "SIMD": "x"}}, {"x": {}}]
)
def test_a_hostile_folding_in_a_file_is_refused(table, board):
    with pytest.raises(GraphError, match=r"one: meta\.folding"):
        estimate(dense(meta={"folding": table}), board)


def test_what_a_stage_cannot_take_is_refused(board):
    floats = Builder("f", (8,), FLOAT32).add("Dense", [((4, 8), FLOAT32)]).graph()
    with pytest.raises(ProfileError, match=r"'dense0'.*'float32', expected integer activations"):
        estimate(floats, board)
    wide = Builder("w", (8,), INT8).add("Dense", [((4, 8), INT8)]).graph()
    with pytest.raises(ProfileError, match=r"integer weights of at most 2 bits \(pipeline.weight"):
        estimate(wide, board)
    ternary = Builder("t", (8,), TERNARY).add("Dense", [((4, 8), TERNARY)]).graph()
    assert estimate(ternary, board).latency.value > 0
    noise = Builder("s", (8,), BIT).add("Dense", [((4, 8), BIT)])
    noise.add("Quantize", quantizer="stochastic_sign", bits=8)
    with pytest.raises(ProfileError, match="this profile has no random numbers"):
        estimate(noise.graph(), board)


def test_a_network_too_large_for_the_chip_is_refused(board):
    with pytest.raises(ProfileError, match=r"pipeline\.memory: got '\d+ bytes', expected weights"):
        estimate(build("mlp-3x2048"), board)
    with pytest.raises(ProfileError, match=r"pipeline\.lanes: got 4, expected at most 3 layers"):
        estimate(build("tfc"), machine(board, lanes=3))
    with pytest.raises(InputError, match="batch"):
        estimate(build("tfc"), board, batch=0)
