"""Kernels of a processor: every equation by hand, bounds, traffic by level, energy, refusals."""

from __future__ import annotations

import random
import re
from dataclasses import replace

import pytest
import yaml
from cost_nets import Builder

from bnnsim.cost.compare import compare
from bnnsim.cost.estimate import estimate
from bnnsim.cost.kernel_traffic import Homes, Moved, home_of, level_bytes
from bnnsim.cost.profile import build_profile
from bnnsim.errors import ProfileError
from bnnsim.graph.dtypes import BIT, FLOAT32, INT8, INT16, INT32, UINT8
from bnnsim.zoo import build

FROM = {"status": "assumed", "source": "me", "at": "here", "band": 1}
TEXT = """
schema: bnnsim/profile/1
name: mine
kind: cpu
node: {process: 7 nm, vdd: 1 V, clock: 1 GHz}
latency_model: kernels
sources: {me: {cite: a choice, kind: choice}}
structural: {band: 1}
kernels:
  units: 2
  tile: {pixels: 4, channels: 8}
"""


def raw(**changes):
    """Return a processor as YAML gives it; ``kernels`` entries are changed by name."""
    profile = yaml.safe_load(TEXT)
    rates = {"bit x bit": 512, "int8 x int8": 32, "float32 x float32": 8}
    profile["kernels"] |= {
        "macs": {pair: {"per_cycle": rate, **FROM} for pair, rate in rates.items()},
        "operations": {dtype: {"per_cycle": 4, **FROM} for dtype in ("int32", "float32")},
        "launch": {"time": "10 us", **FROM},
        "levels": [
            {"name": "L1", "size": "32 KiB", "bytes_per_cycle": 64, "line": "1 B", **FROM},
            {"name": "L2", "size": "1 MiB", "bytes_per_cycle": 16, "line": "1 B", **FROM},
            {"name": "dram", "kind": "dram", "bandwidth": "4 GB/s", "line": "1 B", **FROM},
        ],
    }
    for key, value in changes.items():
        where = profile["kernels"] if key != "static" else profile
        if value is None:
            del where[key]
        else:
            where[key] = value
    return profile


def chip(**changes):
    return build_profile(raw(**changes), "mine.yaml")


def dense(rows, columns, dtype=INT8):
    return Builder("dense", (columns,), dtype).add("Dense", [((rows, columns), dtype)]).graph()


def only(report):
    (layer,) = (layer for layer in report.layers if layer.op in ("Dense", "Conv2d"))
    return layer


def test_compute_is_whole_tiles_on_the_busiest_unit():
    # 20 channels are 3 tiles of 8, one pixel is one tile of 4: 3 tiles on 2 units are 2 waves.
    report = estimate(dense(20, 64), chip())
    layer = only(report)
    assert layer.physical_actions["macs.int8 x int8"] == 3 * 4 * 8 * 64
    slow = only(estimate(dense(20, 64), chip(launch=None, macs={
        "int8 x int8": {"per_cycle": 0.001, **FROM}})))  # fmt: skip
    assert slow.latency_s == pytest.approx(2 * 4 * 8 * 64 / 0.001 / 1e9)
    assert slow.bound_by == "compute"
    assert layer.bound_by == "launch"
    products, moved = 2 * 4 * 8 * 64 / 32, (64 * 3 + 20 * 64 + 80) / 64  # cycles
    assert layer.latency_s == pytest.approx(10e-6 + max(products, moved) / 1e9)


def test_granules_pad_the_channels_of_each_tap():
    net = Builder("conv", (6, 6, 3), BIT).add("Conv2d", [((8, 3, 3, 3), BIT)]).graph()
    macs = {"bit x bit": {"per_cycle": 512, "granule": 64, **FROM}}
    layer = only(estimate(net, chip(macs=macs)))
    assert layer.physical_actions["macs.bit x bit"] == 4 * 4 * 8 * 9 * 64  # 16 pixels, 4 tiles
    assert layer.macs == 16 * 8 * 27


def test_planes_are_so_many_products_and_and_counts_the_ones():
    net = Builder("d", (96,), UINT8).add("Dense", [((8, 96), BIT)]).graph()
    layer = only(estimate(net, chip(first_layer="planes")))
    assert layer.physical_actions["macs.bit x bit"] == 4 * 8 * 96 * 8
    assert "operations.int32" not in layer.physical_actions
    bits = dense(8, 96, BIT)
    layer = only(estimate(bits, chip(bit_products="and")))
    assert layer.physical_actions["operations.int32"] == 96 / 32
    assert "by AND" in layer.mapping
    slow = chip(bit_products="and", launch=None,
                operations={"int32": {"per_cycle": 0.001, **FROM}})  # fmt: skip
    products = 4 * 8 * 96 / 512  # one tile on one of two units
    assert only(estimate(bits, slow)).latency_s == pytest.approx(
        products / 1e9 + 3 / 0.001 / 2 / 1e9
    )


def test_bits_are_emulated_by_a_wider_pair_and_said_so():
    macs = {"int8 x int8": {"per_cycle": 32, **FROM}}
    report = estimate(dense(8, 96, BIT), chip(bit_products="emulated", macs=macs))
    layer = only(report)
    assert layer.run_as == "int8 x int8"
    assert layer.physical_actions["macs.int8 x int8"] == 4 * 8 * 96
    assert layer.peak_macs_per_s == 2 * 32 * 1e9
    assert any("kernels.macs lacks the pair" in note for note in report.notes)
    with pytest.raises(ProfileError, match=r"kernels.macs: got 'bit x bit', expected a pair among"):
        estimate(dense(8, 96, BIT), chip(bit_products="emulated", macs=macs, emulate="error"))


def test_depthwise_layers_have_a_rate_of_their_own():
    net = Builder("dw", (4, 4, 8), INT8).add("Conv2d", [((8, 3, 3, 1), INT8)], groups=8,
                                             pads=(1,) * 4).graph()  # fmt: skip
    rates = {"int8 x int8": {"per_cycle": 0.01, **FROM}}
    tile = {"pixels": 1, "channels": 1}
    layer = only(estimate(net, chip(depthwise=rates, launch=None, tile=tile)))
    assert layer.latency_s == pytest.approx(16 * 8 * 9 / 2 / 0.01 / 1e9)


def test_the_epilogue_is_in_the_kernel_or_a_kernel_each():
    net = Builder("d", (96,), BIT).add("Dense", [((40, 96), BIT)])
    net.add("Threshold", [((40, 1), INT16), ((40,), BIT)], dtype="bit")
    graph = net.graph()
    fused = estimate(graph, chip())
    apart = estimate(graph, chip(epilogue="separate"))
    assert [layer.physical_actions.get("launch", 0) for layer in fused.layers] == [1, 0]
    assert [layer.physical_actions["launch"] for layer in apart.layers] == [1, 1]
    assert fused.layers[1].latency_s == 0
    # 40 sums of int32 out of one kernel and into the next, 5 bytes of bits out of that.
    assert apart.layers[0].physical_actions["L1.write"] == 160
    assert fused.layers[0].physical_actions["L1.write"] == 5
    assert apart.layers[1].physical_actions["L1.read"] == 160 + 40 * 2 + 5
    assert apart.layers[1].physical_actions["L1.write"] == 5
    compares = {k: v for k, v in fused.layers[1].physical_actions.items() if "operations" in k}
    assert compares == {"operations.int32": 40 + 40}  # a compare and a packed bit each


def test_im2col_writes_the_windows_in_a_kernel_before():
    net = Builder("c", (6, 6, 8), INT8).add("Conv2d", [((8, 3, 3, 8), INT8)]).graph()
    direct = only(estimate(net, chip()))
    unrolled = only(estimate(net, chip(convolution="im2col")))
    assert (direct.physical_actions["launch"], unrolled.physical_actions["launch"]) == (1, 2)
    windows = 16 * 72
    assert unrolled.physical_actions["L1.write"] - direct.physical_actions["L1.write"] == windows
    assert unrolled.physical_actions["L1.read"] - direct.physical_actions["L1.read"] == windows
    assert "windows written first" in unrolled.mapping
    one = Builder("c", (6, 6, 8), INT8).add("Conv2d", [((8, 1, 1, 8), INT8)]).graph()
    assert only(estimate(one, chip(convolution="im2col"))).physical_actions["launch"] == 1


def test_batches_go_together_or_one_by_one():
    graph = dense(8, 64)
    together = only(estimate(graph, chip(), batch=8))
    single = only(estimate(graph, chip(batching="single"), batch=8))
    assert (together.physical_actions["launch"], single.physical_actions["launch"]) == (1, 8)
    # Two tiles of 4 images read the weights twice; 8 calls read them 8 times.
    assert together.physical_actions["L1.read"] == 8 * 64 + 2 * 8 * 64
    assert single.physical_actions["L1.read"] == 8 * 64 + 8 * 8 * 64
    assert single.latency_s == pytest.approx(8 * only(estimate(graph, chip())).latency_s)


# --- traffic -------------------------------------------------------------------------------------


def levels_of(*sizes):
    names = ("L1", "L2", "L3")
    listed = [{"name": n, "size": f"{s} B", "bytes_per_cycle": 1, **FROM}
              for n, s in zip(names, sizes, strict=False)]  # fmt: skip
    last = {"name": "dram", "kind": "dram", "bandwidth": "1 GB/s", **FROM}
    return chip(levels=[*listed, last]).kernels


def test_a_level_keeps_what_fits_with_what_comes_between():
    kernels = levels_of(1000, 10_000)
    homes = Homes(600, 300, 5000, 4000)
    assert home_of(kernels, "activations", homes, "mine").name == "L1"  # 900 of 1000
    assert home_of(kernels, "weights", homes, "mine").name == "L2"  # 9000 of 10000
    homes = Homes(600, 500, 7000, 4000)
    assert home_of(kernels, "activations", homes, "mine").name == "L2"
    assert home_of(kernels, "weights", homes, "mine").name == "dram"


def test_bytes_of_each_level_by_hand():
    kernels = levels_of(1000, 10_000)
    moved = Moved(inputs=3000, window_inputs=9000, weights=2000, outputs=100, parameters=10,
                  operands=20, input_passes=7, weight_passes=50)  # fmt: skip
    far = Homes(10_001, 0, 10_001, 10_001)
    found = level_bytes(kernels, moved, far, "mine")
    assert found["L1"] == (9000 * 7 + 20, 2000 * 50 + 10, 100)
    # L1 holds 500 of either: 4 blocks of weights, so inputs pass 4 times (14,000 in all), or 6
    # blocks of inputs, so weights pass 6 times (15,000).
    assert found["L2"] == (3000 * 4 + 20, 2000 + 10, 100)
    # L2 holds 5,000: both pass once.
    assert found["dram"] == (3000 + 20, 2000 + 10, 100)
    near = Homes(5000, 2000, 5000, 2000)
    assert level_bytes(kernels, moved, near, "mine")["dram"] == (0, 0, 0)


def test_apart_memories_for_weights_and_activations():
    levels = [
        {"name": "sram", "kind": "sram", "size": "8 KiB", "holds": ["activations"],
         "bytes_per_cycle": 4, **FROM},
        {"name": "flash", "kind": "flash", "size": "64 KiB", "holds": ["weights"],
         "bytes_per_cycle": 2, "line": "16 B", **FROM},
    ]  # fmt: skip
    report = estimate(dense(8, 64), chip(levels=levels, launch=None))
    layer = only(report)
    assert layer.physical_actions["flash.read"] == 8 * 64 / 16
    assert layer.physical_actions["sram.read"] == 1  # 64 bytes, a line of 64
    assert report.off_chip_bytes == 0
    assert layer.bound_by == "flash"
    assert layer.latency_s == pytest.approx(8 * 64 / 2 / 1e9)
    with pytest.raises(ProfileError, match=r"kernels\.levels: got '73728 bytes', expected weights"):
        estimate(dense(72, 1024), chip(levels=levels))


@pytest.mark.parametrize("seed", range(40))
def test_larger_levels_never_cost_more_traffic_off_chip(seed):
    rng = random.Random(seed)
    size = [rng.choice([1, 7, 64, 500, 4096, 40_000, 10**6]) for _ in range(4)]
    moved = Moved(size[0], size[0] * rng.randint(1, 9), size[1], size[2], rng.randint(0, 99), 0,
                  rng.choice([1, 4]), rng.randint(1, 60), rng.randint(1, 60))  # fmt: skip
    homes = Homes(sum(size), size[1], 2 * sum(size), size[1] + size[3])
    caches = sorted(rng.randint(64, 10**6) for _ in range(2))
    before = level_bytes(levels_of(*caches), moved, homes, "mine")
    grown = [int(cache * rng.uniform(1, 4)) for cache in caches]
    after = level_bytes(levels_of(*sorted(grown)), moved, homes, "mine")
    assert sum(after["dram"]) <= sum(before["dram"])
    assert sum(after["L2"]) <= sum(before["L2"])
    assert sum(before["L1"]) >= sum(before["L2"]) >= sum(before["dram"])


# --- intervals, energy, refusals -----------------------------------------------------------------


def test_the_interval_holds_the_value_and_follows_the_bands():
    exact = estimate(dense(20, 64), chip())
    assert exact.latency.low == pytest.approx(exact.latency.value)
    launch = {"time": "10 us", **FROM, "band": 2}
    report = estimate(dense(20, 64), chip(launch=launch))
    assert report.latency.low < report.latency.value < report.latency.high
    assert report.latency.high / report.latency.value == pytest.approx(2, rel=0.2)


@pytest.mark.parametrize("name", ["L1", "L2", "dram"])
def test_a_bound_moves_with_its_rate(name):
    graph = Builder("d", (512,), FLOAT32).add("Dense", [((4096, 512), FLOAT32)]).graph()
    machine = raw(launch=None)
    for level in machine["kernels"]["levels"]:
        level.pop("bytes_per_cycle", None)
        level["bandwidth"] = "1 GB/s" if level["name"] == name else "1 TB/s"
    slow = only(estimate(graph, build_profile(machine, "x")))
    for level in machine["kernels"]["levels"]:
        level["bandwidth"] = "2 GB/s" if level["name"] == name else "1 TB/s"
    fast = only(estimate(graph, build_profile(machine, "x")))
    assert slow.bound_by == fast.bound_by == name
    assert slow.latency_s == pytest.approx(2 * fast.latency_s)


def test_energy_is_named_as_not_estimated_unless_it_has_a_source():
    report = estimate(dense(8, 64), chip())
    assert report.energy.value == 0
    assert report.unpriced[0].startswith("energy: not estimated (profile 'mine'")
    assert compare([report, report]).ratios[0].energy.value == 0
    assert {a.constant for a in report.assumptions} >= {"macs.int8 x int8", "L1.bandwidth"}


def test_energy_from_power_is_power_times_time():
    power = {"run": {"power": "2 W", **FROM}}
    report = estimate(dense(8, 64), chip(energy="power", static=power))
    assert report.unpriced == ()
    assert report.energy.value == pytest.approx(2 * report.latency.value)
    assert report.energy_by["static"] == report.energy.value


ENERGIES = {
    "int8 x int8": {"energy": "1 pJ/op", **FROM},
    "L1": {"energy": "1 pJ/bit", **FROM},
    "L2": {"energy": "2 pJ/bit", **FROM},
    "dram": {"energy": "10 pJ/bit", **FROM},
}


def test_energy_from_actions_by_hand():
    report = estimate(dense(8, 64), chip(energy="actions", energies=ENERGIES))
    nearby = 64 + 8 * 64 + 8 * 4  # bytes of inputs, weights and sums, all at home in L1
    assert report.energy.value == pytest.approx(4 * 8 * 64 * 1e-12 + nearby * 8 * 1e-12)
    power = {"idle": {"power": "1 W", **FROM}}
    both = estimate(dense(8, 64), chip(energy="actions", energies=ENERGIES, static=power))
    assert both.energy.value == pytest.approx(report.energy.value + report.latency.value)
    twice = {k: {**v, "energy": v["energy"].replace("1 pJ/op", "2 pJ/op")}
             for k, v in ENERGIES.items()}  # fmt: skip
    doubled = estimate(dense(8, 64), chip(energy="actions", energies=twice))
    assert doubled.energy_by["compute"] == pytest.approx(2 * report.energy_by["compute"])


def test_an_action_without_an_energy_is_refused_by_name():
    part = {key: value for key, value in ENERGIES.items() if key != "L1"}
    machine = chip(energy="actions", energies=part)
    with pytest.raises(ProfileError, match=r"kernels.energies: got None, expected an energy of L1"):
        estimate(dense(8, 64), machine)
    report = estimate(dense(8, 64), machine, allow_unpriced=True)
    assert "an energy of L1" in report.unpriced[0]


def test_random_bits_need_a_rate():
    net = Builder("s", (64,), FLOAT32)
    net.add("Quantize", quantizer="stochastic_sign", dtype="bit", rng_bits=8)
    with pytest.raises(ProfileError, match=r"kernels.randbits: got None, expected random bits"):
        estimate(net.graph(), chip())
    report = estimate(net.graph(), chip(randbits={"per_cycle": 2, **FROM}))
    assert report.rng_bits == 64 * 8


def test_a_type_without_a_rate_is_named():
    machine = chip(operations={"int32": {"per_cycle": 1, **FROM}})
    with pytest.raises(ProfileError, match=r"kernels.operations: got 'int32', expected a rate for"):
        estimate(Builder("r", (64,), FLOAT32).add("Relu").graph(), machine)


@pytest.mark.parametrize("mode", ["native", "binary"])
def test_layers_add_up_and_levels_are_told(mode):
    report = estimate(build("cifar10-convnet"), chip(), batch=3, mode=mode)
    assert sum(layer.latency_s for layer in report.layers) == pytest.approx(report.latency.value)
    assert [level.name for level in report.memories] == ["L1", "L2", "dram"]
    bounds = {layer.bound_by for layer in report.layers}
    assert bounds <= {"", "compute", "launch", "L1", "L2", "dram"}
    assert replace(report, record={}).to_json()
    assert re.search("tiles of 4 x 8 on 2 units", report.layers[1].mapping)


def test_a_first_layer_of_integers_runs_as_the_narrowest_listed():
    net = Builder("d", (64,), INT32).add("Dense", [((8, 64), INT8)]).graph()
    assert only(estimate(net, chip())).run_as == "float32 x float32"
