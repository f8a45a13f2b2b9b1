"""Random processors and random nets: what must hold whatever the numbers are."""

from __future__ import annotations

import copy
import random

import pytest
from cost_nets import Builder

from bnnsim.cost.estimate import estimate
from bnnsim.cost.profile import build_profile
from bnnsim.graph.dtypes import BIT, FLOAT32, INT8, INT16, UINT8
from bnnsim.graph.ir import Graph

PAIRS = ("bit x bit", "int8 x int8", "float32 x float32")
SEEDS = range(60)


def sourced(rng: random.Random) -> dict[str, object]:
    return {"status": "assumed", "source": "me", "at": "here", "band": rng.uniform(1, 4)}


def random_profile(rng: random.Random) -> dict:
    sizes = sorted(rng.randint(256, 2**20) for _ in range(rng.randint(0, 2)))
    levels = [
        {"name": f"L{i}", "size": f"{size} B", "bytes_per_cycle": rng.uniform(1, 64),
         "line": f"{rng.choice([1, 32, 64])} B", **sourced(rng)}
        for i, size in enumerate(sizes)
    ]  # fmt: skip
    levels.append({"name": "dram", "kind": "dram", "bandwidth": f"{rng.uniform(1, 99)} GB/s",
                   "line": "64 B", **sourced(rng)})  # fmt: skip
    names = [*PAIRS, "int32", "float32", "launch", *(level["name"] for level in levels)]
    return {
        "schema": "bnnsim/profile/1", "name": "mine", "kind": "cpu", "latency_model": "kernels",
        "node": {"process": "7 nm", "vdd": "1 V", "clock": f"{rng.uniform(0.1, 4)} GHz"},
        "sources": {"me": {"cite": "a choice", "kind": "choice"}},
        "static": {"idle": {"power": f"{rng.uniform(0, 9)} W", **sourced(rng)}},
        "kernels": {
            "units": rng.randint(1, 130), "energy": "actions",
            "tile": {"pixels": rng.randint(1, 64), "channels": rng.randint(1, 64)},
            "first_layer": rng.choice(["planes", "wider"]),
            "bit_products": rng.choice(["xor", "and"]),
            "convolution": rng.choice(["direct", "im2col"]),
            "epilogue": rng.choice(["fused", "separate"]),
            "batching": rng.choice(["together", "single"]),
            "launch": {"time": f"{rng.uniform(0.1, 9)} us", **sourced(rng)},
            "macs": {pair: {"per_cycle": rng.uniform(0.1, 999), "granule": rng.choice([1, 7, 64]),
                            **sourced(rng)} for pair in PAIRS},
            "operations": {dtype: {"per_cycle": rng.uniform(0.1, 99), **sourced(rng)}
                           for dtype in ("int32", "float32")},
            "levels": levels,
            "energies": {
                name: {"energy": f"{rng.uniform(0.1, 9)} pJ/"
                                 f"{'bit' if name[:2] in ('L0', 'L1', 'dr') else 'op'}",
                       **sourced(rng)} for name in names},
        },
    }  # fmt: skip


def random_net(rng: random.Random) -> Graph:
    side, channels = rng.choice([1, 5, 8, 13]), rng.choice([1, 3, 63, 64, 65])
    net = Builder("net", (side, side, channels), rng.choice([BIT, UINT8, INT8, FLOAT32]))
    for _ in range(rng.randint(1, 3)):
        dtype = net.tensors[net.last].dtype
        weight = BIT if dtype in (BIT, UINT8) else dtype
        out, kernel = rng.choice([1, 10, 64, 129]), rng.choice([1, 3])
        pad = (kernel // 2,) * 4
        net.add("Conv2d", [((out, kernel, kernel, net.shape[-1]), weight)], pads=pad)
        if weight == FLOAT32:
            net.add("Relu")
        else:
            net.add("Threshold", [((out, 1), INT16), ((out,), BIT)], dtype="bit")
    return net.graph()


@pytest.mark.parametrize("seed", SEEDS)
def test_totals_are_sums_and_lie_in_their_intervals(seed):
    rng = random.Random(seed)
    net, raw, batch = random_net(rng), random_profile(rng), rng.choice([1, 2, 7])
    report = estimate(net, build_profile(raw, "mine"), batch=batch)
    for found in (report.energy, report.latency, report.power, report.throughput):
        assert 0 < found.low <= found.value <= found.high
    assert sum(layer.latency_s for layer in report.layers) == pytest.approx(report.latency.value)
    assert sum(layer.energy_j for layer in report.layers) == pytest.approx(report.energy.value)
    shares = [a.share_of_energy for a in report.assumptions if a.constant != "structure"]
    assert sum(shares) == pytest.approx(1)


@pytest.mark.parametrize("seed", SEEDS)
def test_twice_an_energy_is_twice_its_share_and_twice_a_rate_half_its_time(seed):
    rng = random.Random(seed)
    net, raw = random_net(rng), random_profile(rng)
    before = estimate(net, build_profile(raw, "mine"))
    joules = {a.constant: a.share_of_energy * before.energy.value for a in before.assumptions}
    name = rng.choice([n for n in raw["kernels"]["energies"] if joules.get(f"energies.{n}")])
    dear = copy.deepcopy(raw)
    entry = dear["kernels"]["energies"][name]
    number, _, unit = entry["energy"].partition(" ")
    entry["energy"] = f"{2 * float(number)!r} {unit}"
    after = estimate(net, build_profile(dear, "mine"))
    own = joules[f"energies.{name}"]
    assert after.energy.value - before.energy.value == pytest.approx(own, rel=1e-6)
    fast = copy.deepcopy(raw)
    del fast["kernels"]["launch"]
    slow = estimate(net, build_profile(fast, "mine")).latency.value
    for table in ("macs", "operations"):
        for entry in fast["kernels"][table].values():
            entry["per_cycle"] *= 2
    for level in fast["kernels"]["levels"]:
        if "bytes_per_cycle" in level:
            level["bytes_per_cycle"] *= 2
        else:
            level["bandwidth"] = f"{2 * float(level['bandwidth'].split()[0])!r} GB/s"
    assert estimate(net, build_profile(fast, "mine")).latency.value == pytest.approx(slow / 2)


@pytest.mark.parametrize("seed", SEEDS)
def test_larger_caches_never_cost_more_traffic_off_chip(seed):
    rng = random.Random(seed)
    net, raw, batch = random_net(rng), random_profile(rng), rng.choice([1, 2, 7])
    before = estimate(net, build_profile(raw, "mine"), batch=batch)
    factor = rng.uniform(1, 8)
    for level in raw["kernels"]["levels"][:-1]:
        level["size"] = f"{int(factor * int(level['size'].split()[0]))} B"
    after = estimate(net, build_profile(raw, "mine"), batch=batch)
    assert after.off_chip_bytes <= before.off_chip_bytes
    assert after.latency.value <= before.latency.value * (1 + 1e-12)
    assert after.energy.value <= before.energy.value * (1 + 1e-12)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_larger_batch_never_takes_longer_an_image(seed):
    rng = random.Random(seed)
    net, raw = random_net(rng), random_profile(rng)
    raw["kernels"] |= {"batching": "single"}
    machine = build_profile(raw, "mine")
    one = estimate(net, machine)
    many = estimate(net, machine, batch=5)
    assert many.latency.value == pytest.approx(5 * one.latency.value)
    assert many.off_chip_bytes == 5 * one.off_chip_bytes
