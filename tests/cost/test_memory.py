"""Stages, liveness, residency: what is stored, what stays on chip, what a capacity step does."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cost_nets import FLOATS, Builder, convnet, mlp

from bnnsim.cost.actions import count_actions
from bnnsim.cost.context import Context
from bnnsim.cost.estimate import estimate
from bnnsim.cost.nests import run_of
from bnnsim.cost.profile import load_profile
from bnnsim.cost.residency import search
from bnnsim.cost.stages import build_stages, lay_out
from bnnsim.errors import ProfileError
from bnnsim.graph.dtypes import BIT, INT8, INT32
from bnnsim.graph.ir import Graph, Node, Tensor

F32 = FLOATS["float32"]


@pytest.fixture(scope="module")
def chip():
    return load_profile("cmos45")


def sized(profile, **sizes):
    memories = [replace(m, size_bytes=sizes.get(m.name, m.size_bytes)) for m in profile.memories]
    return replace(profile, memories=tuple(m for m in memories if sizes.get(m.name) != 0))


def residency(graph, profile, images=1):
    counts = {c.node.id: c for c in count_actions(graph)}
    context = Context(graph, profile, counts, lay_out(graph), None, images, 1)
    return search(context, [run_of(context, stage) for stage in context.layout.stages])


def test_a_conv_takes_its_pool_and_threshold_into_its_output_stage():
    stages = build_stages(convnet("binary", 8))
    ops = [[n.op for n in stage.nodes] for stage in stages]
    assert ops[:3] == [["Conv2d", "Threshold"], ["Conv2d", "MaxPool", "Threshold"],
                       ["Conv2d", "Threshold"]]  # fmt: skip
    assert ops[-1] == ["Dense"]
    assert stages[0].reads[0].name == "x"  # Encode happens on the way: pixels are stored as uint8
    assert stages[1].writes.shape == (16, 16, 8)
    assert [t.shape for t in stages[0].parameters] == [(8, 1), (8,)]


def test_overlapping_pools_and_shared_tensors_end_a_stage():
    build = Builder("pool", (8, 8, 2), F32).add("Relu")
    build.add("MaxPool", kernel=(3, 3), stride=(2, 2), pads=(1, 1, 1, 1))
    build.add("Clip", low=-1, high=1)
    assert [[n.op for n in s.nodes] for s in build_stages(build.graph())] == [
        ["Relu"], ["MaxPool", "Clip"]
    ]  # fmt: skip
    nodes = [Node(0, "a", "Relu", ("x",), ("t0",)), Node(1, "b", "Relu", ("t0",), ("t1",)),
             Node(2, "c", "Relu", ("t0",), ("t2",))]  # fmt: skip
    tensors = {n: Tensor(n, (4,), F32) for n in ("x", "t0", "t1", "t2")}
    fork = Graph("fork", tuple(nodes), tensors, ("x",), ("t1", "t2"))
    assert [len(s.nodes) for s in build_stages(fork)] == [1, 1, 1]


def test_the_peak_is_the_largest_set_of_tensors_alive_together():
    # x (100) -> a (40) -> b (60), and c = f(a) afterwards: a must live while b is made and kept.
    nodes = [Node(0, "a", "Relu", ("x",), ("a",)), Node(1, "b", "Relu", ("a",), ("b",)),
             Node(2, "c", "Relu", ("a",), ("c",))]  # fmt: skip
    sizes = {"x": 100, "a": 40, "b": 60, "c": 40}
    tensors = {n: Tensor(n, (s,), INT8) for n, s in sizes.items()}
    graph = Graph("live", tuple(nodes), tensors, ("x",), ("b", "c"))
    layout = lay_out(graph)
    assert [set(live) for live in layout.live] == [{"x", "a"}, {"a", "b"}, {"a", "b", "c"}]
    assert layout.peak_bytes == 140


def test_the_ledger_of_the_cifar_net():
    report = estimate(convnet("binary", 128), "cmos45")
    # 14,022,016 weights of one bit; the widest pair of maps is pixels and 32 x 32 x 128 bits, or
    # two maps of 32 x 32 x 128 and 16 x 16 x 128 bits.
    assert report.memory["weights_bytes"] == 14_022_016 // 8
    assert report.memory["peak_activation_bytes"] == 32 * 32 * 128 // 8 + 16 * 16 * 128 // 8
    float_ = estimate(convnet("float32", 128), "cmos45")
    assert float_.memory["weights_bytes"] == 14_022_016 * 4
    assert float_.memory["weights_bytes"] == 32 * report.memory["weights_bytes"]


def test_one_bit_weights_stay_on_chip_where_float_ones_do_not(chip):
    binary, floats = (estimate(convnet(m, 128), chip) for m in ("binary", "float32"))
    edge = 32 * 32 * 3 + 64  # pixels in, scores out (10 x 4 bytes, one burst)
    assert binary.off_chip_bytes == edge
    assert floats.off_chip_bytes > 0.98 * 14_022_016 * 4  # some small layers stay
    ratio = floats.energy_by["weights_memory"] / binary.energy_by["weights_memory"]
    assert ratio > 32  # the capacity step adds to the 32 of the width


def test_weights_from_off_chip_are_read_once_for_the_batch(chip):
    one, many = (estimate(mlp("float32", 2048), chip, batch=b) for b in (1, 16))
    weights = (784 + 2 * 2048) * 2048 * 4  # the last layer, 80 KiB, stays on chip
    parameters = 3 * 2048 * 4
    assert one.off_chip_bytes == pytest.approx(weights + parameters + 785 * 4, abs=6 * 64)
    assert many.off_chip_bytes == pytest.approx(weights + parameters + 16 * 785 * 4, abs=800)
    assert many.energy.value / 16 < one.energy.value / 5


def test_weights_that_fit_together_are_kept_and_no_others(chip):
    graph = mlp("binary", 4096)  # 392 KiB, 2 MiB, 2 MiB, 5 KiB on a chip of 2 MiB
    where = residency(graph, chip)
    assert where.pinned == {0, 3}
    assert min(where.free_weights) >= 0
    everything = residency(graph, sized(chip, gb=8 * 2**20))
    assert everything.pinned == {0, 1, 2, 3}


def test_large_maps_leave_the_chip_first(chip):
    small = sized(chip, gb=40_000)
    graph = convnet("float32", 8)
    layout = lay_out(graph)
    stages, where = layout.stages, residency(graph, small)
    assert stages[0].writes.name in where.spilled  # 32 x 32 x 8 x 4 = 32 KiB beside the pixels
    assert stages[-1].writes.name not in where.spilled
    tight, roomy = estimate(graph, small), estimate(graph, chip)
    assert tight.off_chip_bytes > roomy.off_chip_bytes
    assert tight.energy_by["activations_memory"] > roomy.energy_by["activations_memory"]


def test_without_off_chip_memory_a_net_that_does_not_fit_is_an_error(chip):
    sealed = replace(chip, memories=tuple(m for m in chip.memories if not m.off_chip))
    report = estimate(convnet("binary", 64), sealed)
    assert report.off_chip_bytes == 0
    assert any("no off-chip memory and no io" in hole for hole in report.unpriced)
    with pytest.raises(ProfileError, match="no room on chip for the weights of 'conv2d"):
        estimate(convnet("float32", 64), sealed)
    with pytest.raises(ProfileError, match="no room on chip for tensor"):
        estimate(convnet("float32", 64), sized(sealed, gb=1000))


def test_a_chip_without_on_chip_memory_works_from_dram(chip):
    naked = replace(chip, memories=tuple(m for m in chip.memories if m.off_chip))
    report = estimate(mlp("binary", 64), naked)
    assert report.energy.value > estimate(mlp("binary", 64), chip).energy.value
    assert report.memory["scratch_bytes"] == 0


def test_separate_memories_for_weights_and_maps_have_separate_room(chip):
    gb = next(m for m in chip.memories if m.name == "gb")
    maps = replace(gb, name="maps", holds=("activations",), size_bytes=2**14)
    kernels = replace(gb, name="kernels", holds=("weights",), size_bytes=2**17)
    split = replace(chip, memories=(chip.memories[0], maps, kernels, chip.memories[-1]))
    report = estimate(mlp("binary", 512), split)
    reads = [layer.physical_actions for layer in report.layers if layer.op == "Dense"]
    assert all("kernels.read" in r and "maps.read" in r for r in reads)
    assert "kernels.write" not in reads[0]


def test_thresholds_are_parameters():
    build = Builder("t", (64,), BIT).add("Dense", [((32, 64), BIT)])
    graph = build.add("Threshold", [((32, 1), INT32), ((32,), INT8)]).graph()
    assert lay_out(graph).parameters_bytes == 32 * 4 + 32
    assert lay_out(graph).weights_bytes == 32 * 64 // 8


def test_bits_are_packed_without_gaps():
    build = Builder("b", (9,), BIT).add("Dense", [((3, 9), BIT)])
    layout = lay_out(build.graph())
    assert layout.weights_bytes == 4  # 27 bits
    assert layout.peak_bytes == 2 + 12  # 9 bits and three int32 scores
