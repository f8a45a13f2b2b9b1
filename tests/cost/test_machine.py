"""What a machine could do at best: no layer of any estimate is faster, and hand-computed levels."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bnnsim import api
from bnnsim.cost.machine import bytes_per_s, levels, peak_macs_per_s
from bnnsim.report.roofline import works

CASES = [
    ("cmos45", "zoo:cifar10-convnet", "float32"),
    ("cmos45", "zoo:resnet20", "int8"),
    ("cmos45", "zoo:resnet20", "binary"),
    ("cmos45", "zoo:mlp-3x2048", "binary-stochastic"),
    ("cmos45-dram", "zoo:mlp-3x2048", "weight-only:fp32"),
    ("asic-example", "zoo:cnv", "native"),
    ("asic-example", "zoo:tfc", "float32"),
    ("binareye", "zoo:cnv", "native"),
]


def test_levels_of_the_reference_profile_by_hand():
    local, gb, dram = levels(api.load_profile("cmos45"))
    # 64-bit words at 500 MHz: 32 of them a cycle, then 64.
    assert (local.bytes_per_s, gb.bytes_per_s) == (32 * 8 * 500e6, 64 * 8 * 500e6)
    # Of the 64, reads and writes have 32 each.
    assert (gb.read_bytes_per_s, gb.write_bytes_per_s) == (32 * 8 * 500e6, 32 * 8 * 500e6)
    assert (local.size_bytes, gb.size_bytes, dram.size_bytes) == (8 << 10, 2 << 20, None)
    assert dram.bytes_per_s == 12.8e9
    assert gb.to_dict()["holds"] == ["weights", "activations"]


def test_a_memory_without_bandwidth_has_none():
    dram = api.load_profile("cmos45").memories[-1]
    assert dram.off_chip
    assert bytes_per_s(replace(dram, bandwidth=None), 500e6) == (None, None, None)


def test_shared_ports_serve_either_way():
    own = api.load_profile("cmos45").memories[1]
    gb = replace(own, shared_ports=1, read_ports=0, write_ports=0)
    assert bytes_per_s(gb, 500e6) == (32 * 8 * 500e6,) * 3


@pytest.mark.parametrize("banks", [1, 32])
@pytest.mark.parametrize("mode", ["float32", "binary"])
def test_a_layer_that_a_memory_bounds_stands_on_its_roof(mode, banks):
    """But for cycles that are not full, and what fills and drains the array."""
    graph, machine = api.load("zoo:cifar10-convnet"), api.load_profile("cmos45")
    local, gb, dram = machine.memories
    machine = replace(machine, memories=(local, replace(gb, banks=banks), dram))
    column = api.estimate(graph, machine, mode=mode, batch=7).to_dict()
    names = [memory["name"] for memory in column["memories"]]
    bound = [work for work in works(column) if work.layer["bound_by"] in names]
    assert bound or banks > 1
    edge = (machine.array.rows + machine.array.columns + 1) * 7 / machine.clock_hz
    for work in bound:
        assert work.way.memory["name"] == work.layer["bound_by"]
        at_roof = work.operations / work.reachable_ops_per_s
        assert at_roof <= work.layer["latency_s"] * (1 + 1e-9)
        assert work.layer["latency_s"] <= at_roof + edge


def test_peak_of_the_reference_array_by_hand():
    layers = {
        mode: next(
            layer
            for layer in api.estimate(api.load("zoo:mlp-3x2048"), "cmos45", mode=mode).layers
            if layer.name == "dense2"
        )
        for mode in ("float32", "binary")
    }
    # 16 rows x 64 columns, one float MAC or 64 bit-MACs a cycle each, 500 MHz.
    assert layers["float32"].peak_macs_per_s == 16 * 64 * 500e6
    assert layers["binary"].peak_macs_per_s == 16 * 64 * 64 * 500e6
    assert layers["binary"].to_dict()["peak_macs_per_s"] == layers["binary"].peak_macs_per_s


@pytest.mark.parametrize("batch", [1, 7])
@pytest.mark.parametrize(("profile", "source", "mode"), CASES)
def test_no_layer_is_faster_than_its_roofs(profile, source, mode, batch):
    report = api.estimate(api.load(source), profile, mode=mode, batch=batch)
    column = report.to_dict()
    macs = [layer for layer in report.layers if layer.macs]
    assert all(layer.peak_macs_per_s > 0 for layer in macs)
    assert all(layer.peak_macs_per_s == 0 for layer in report.layers if not layer.macs)
    found = works(column)
    assert len(found) == len(macs)
    for work in found:
        assert work.ops_per_s <= work.reachable_ops_per_s * (1 + 1e-9)
        for memory in column["memories"]:
            actions = work.layer["physical_actions"]
            number = sum(actions.get(f"{memory['name']}.{v}", 0) for v in ("read", "write"))
            least = number * memory["word_bits"] / 8 / memory["bytes_per_s"]
            assert work.layer["latency_s"] >= least * (1 - 1e-9)


def test_off_chip_bytes_are_those_of_the_ledger():
    column = api.estimate(api.load("zoo:resnet20"), "asic-example", mode="float32").to_dict()
    (dram,) = [m for m in column["memories"] if m["size_bytes"] is None]
    moved = sum(
        layer["physical_actions"].get(f"dram.{verb}", 0) * dram["word_bits"] // 8
        for layer in column["layers"]
        for verb in ("read", "write")
    )
    assert moved == column["totals"]["off_chip_bytes"] > 0


def test_peak_is_that_of_the_pair_that_runs():
    from bnnsim.cost.actions import operands_of
    from bnnsim.graph.dtypes import DType

    profile = api.load_profile("cmos45")
    bit = operands_of(DType.parse("bit"), DType.parse("bit"), 64)
    planes = operands_of(DType.parse("uint8"), DType.parse("bit"), 64, pixel=True)
    assert peak_macs_per_s(profile, bit, 64) == 8 * peak_macs_per_s(profile, planes, 64)
