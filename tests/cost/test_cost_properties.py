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
