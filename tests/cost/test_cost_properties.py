"""Properties of estimates over random nets and random array profiles."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
from cost_nets import convnet, mlp
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnsim.cost.estimate import estimate
from bnnsim.cost.hardware import HardwareProfile
from bnnsim.cost.profile import load_profile
from bnnsim.cost.sensitivity import scaled_constant
from bnnsim.graph.ir import Graph

MODES = ("float32", "int8", "binary")


@cache
def net(kind: str, mode: str, width: int) -> Graph:
    return convnet(mode, width) if kind == "conv" else mlp(mode, width)


nets = st.builds(net, st.sampled_from(["conv", "mlp"]), st.sampled_from(MODES),
                 st.sampled_from([4, 13]))  # fmt: skip


@st.composite
def chips(draw: st.DrawFn) -> HardwareProfile:
    """A chip without static power: one pool or two, any array, prices within a decade."""
    chip = load_profile("cmos45")
    scale = {m.name: draw(st.sampled_from([0.3, 1.0, 3.0])) for m in chip.memories}
    array = replace(
        chip.array,
        rows=draw(st.sampled_from([7, 16])),
        columns=draw(st.sampled_from([16, 64])),
        accumulators=draw(st.sampled_from([1, 4, 64])),
    )
    memories = []
    for m in chip.memories:
        dearer = replace(m, read=replace(m.read, value_si=m.read.value_si * scale[m.name]),
                         write=replace(m.write, value_si=m.write.value_si * scale[m.name]),
                         power=())  # fmt: skip
        if m.name == "gb" and draw(st.booleans()):
            memories += [replace(dearer, holds=("activations",)),
                         replace(dearer, name="weights", holds=("weights",))]  # fmt: skip
        else:
            memories.append(dearer)
    return replace(chip, array=array, memories=tuple(memories), static=())


def sized(chip: HardwareProfile, size: int) -> HardwareProfile:
    """Return the chip with homes of ``size`` bytes, at the same energies per access."""
    memories = tuple(replace(m, size_bytes=size) if m.name in ("gb", "weights") else m
                     for m in chip.memories)  # fmt: skip
    return replace(chip, memories=memories)


sizes = st.integers(200, 200_000)


@settings(max_examples=6, deadline=None, derandomize=True)
@given(nets, chips(), sizes, sizes, st.sampled_from([1, 2]))
def test_more_memory_never_costs_more_energy_nor_more_traffic_for_nothing(
    graph, chip, one, other, batch
):
    small, large = (
        estimate(graph, sized(chip, size), batch=batch) for size in sorted((one, other))
    )
    assert large.energy.value <= small.energy.value * (1 + 1e-12)
    if large.off_chip_bytes > small.off_chip_bytes:
        assert large.energy.value < small.energy.value


def far(chip: HardwareProfile) -> HardwareProfile:
    """Return the chip with off-chip bursts so dear that one outweighs all that happens on chip."""
    memories = tuple(
        replace(m, read=replace(m.read, value_si=1e-2), write=replace(m.write, value_si=1e-2))
        if m.off_chip else m for m in chip.memories
    )  # fmt: skip
    return replace(chip, memories=memories)


@settings(max_examples=3, deadline=None, derandomize=True)
@given(nets, chips(), sizes, sizes, st.sampled_from([1, 2]))
def test_where_the_edge_is_what_counts_more_memory_never_costs_more_off_chip_traffic(
    graph, chip, one, other, batch
):
    # Energy is what is searched for; here it is traffic, to which all else is small change.
    small, large = (
        estimate(graph, sized(far(chip), size), batch=batch) for size in sorted((one, other))
    )
    assert large.off_chip_bytes <= small.off_chip_bytes


@settings(max_examples=4, deadline=None, derandomize=True)
@given(nets, chips(), sizes, st.integers(1, 2), st.integers(2, 3))
def test_where_the_edge_is_what_counts_a_larger_batch_never_raises_traffic_per_image(
    graph, chip, size, batch, times
):
    chip = sized(far(chip), size)
    one, many = (estimate(graph, chip, batch=b) for b in (batch, batch * times))
    assert many.off_chip_bytes <= times * one.off_chip_bytes


@settings(max_examples=4, deadline=None, derandomize=True)
@given(nets, chips(), sizes, st.sampled_from([1, 3]))
def test_totals_are_sums(graph, chip, size, batch):
    report = estimate(graph, sized(chip, size), batch=batch)
    rows = report.layers
    assert report.energy.value == pytest.approx(sum(row.energy_j for row in rows), rel=1e-12)
    assert report.latency.value == pytest.approx(sum(row.latency_s for row in rows), rel=1e-12)
    for category, joules in report.energy_by.items():
        parts = sum(row.energy_by.get(category, 0.0) for row in rows)
        assert joules == pytest.approx(parts, rel=1e-12)
    counted = sum(
        n * report.action_joules[name] for row in rows for name, n in row.physical_actions.items()
    )
    assert report.energy.value == pytest.approx(counted, rel=1e-12)  # these chips draw no power
    bursts = sum(n for row in rows for name, n in row.physical_actions.items()
                 if name.startswith("dram."))  # fmt: skip
    assert report.off_chip_bytes == bursts * 512 // 8


@settings(max_examples=4, deadline=None, derandomize=True)
@given(nets, chips(), sizes, st.sampled_from(["gb", "dram", "local"]), st.floats(0.5, 4))
def test_at_one_mapping_energy_is_linear_in_every_price_of_memory(graph, chip, size, name, times):
    before = estimate(graph, sized(chip, size))
    memory = next(m for m in chip.memories if m.name == name)
    row = next((s for s in before.sensitivity if s.constant == memory.read.name), None)
    share = row.percent_per_10_percent / 10 if row else 0.0
    reads = sum(layer.physical_actions.get(f"{name}.read", 0) for layer in before.layers)
    part = reads * before.action_joules[f"{name}.read"] / before.energy.value
    assert share == pytest.approx(part, rel=1e-9, abs=1e-12)
    dear = scaled_constant(sized(chip, size), memory.read, times)
    after = estimate(graph, dear)
    # Searched again, energy is a minimum of lines: never above the one through the choice here.
    line = before.energy.value * (1 + share * (times - 1))
    assert after.energy.value <= line * (1 + 1e-9)


@settings(max_examples=4, deadline=None, derandomize=True)
@given(nets, chips(), sizes, st.sampled_from([2]))
def test_a_multiple_of_a_batch_costs_no_more_per_image(graph, chip, size, times):
    chip = sized(chip, size)
    one, many = (estimate(graph, chip, batch=b) for b in (2, 2 * times))
    assert many.energy.value <= times * one.energy.value * (1 + 1e-12)


@settings(max_examples=4, deadline=None, derandomize=True)
@given(nets, chips(), st.sampled_from([1, 5]))
def test_with_everything_on_chip_no_weight_crosses_the_edge(graph, chip, batch):
    roomy = estimate(graph, sized(chip, 2**32), batch=batch)
    dear = replace(chip, memories=tuple(
        replace(m, read=replace(m.read, value_si=m.read.value_si * 1e4)) if m.off_chip else m
        for m in chip.memories))  # fmt: skip
    kept = estimate(graph, sized(dear, 2**32), batch=batch)
    inputs = sum(-(-graph.tensor(n).bits * batch // 512) for n in graph.inputs)
    reads = sum(layer.physical_actions.get("dram.read", 0) for layer in kept.layers)
    assert reads == inputs
    assert roomy.energy.value <= kept.energy.value


@settings(max_examples=4, deadline=None, derandomize=True)
@given(nets, chips(), sizes)
def test_the_nominal_value_lies_inside_its_interval(graph, chip, size):
    report = estimate(graph, sized(chip, size))
    for q in (report.energy, report.latency, report.power, report.throughput):
        assert q.low <= q.value <= q.high


@settings(max_examples=4, deadline=None, derandomize=True)
@given(nets, chips(), st.sampled_from(["add.bit", "add.float32", "mul.float32", "gate.bit"]))
def test_doubling_a_constant_doubles_what_it_adds(graph, chip, name):
    action = chip.actions[name]
    twice = replace(action, value_si=2 * action.value_si)
    before = estimate(graph, chip)
    after = estimate(graph, replace(chip, actions={**chip.actions, name: twice}))
    part = sum(n for row in before.layers for key, n in row.physical_actions.items() if key == name)
    added = part * before.action_joules[name]
    assert after.energy.value - before.energy.value == pytest.approx(
        added, rel=1e-9, abs=1e-9 * before.energy.value
    )
    share = next((a.share_of_energy for a in before.assumptions if a.constant == action.name), 0.0)
    bare = added / (before.action_joules[name] / action.value_si) if added else 0.0
    assert share == pytest.approx(bare / before.energy.value, abs=1e-9)


@pytest.mark.parametrize("size", [3_000, 30_000, 300_000, 2**31])
def test_fewer_bits_cost_no_more(size):
    chip = sized(load_profile("cmos45"), size)
    joules = [estimate(net("conv", mode, 13), chip).energy.value for mode in
              ("binary", "int8", "float32")]  # fmt: skip
    assert joules == sorted(joules)
