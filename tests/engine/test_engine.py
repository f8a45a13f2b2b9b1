"""The compiled engine equals the reference on every tensor, for every ISA, thread and tile."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from nets import Builder, convnet, mlp

from bnnsim.engine import execute as execute_module
from bnnsim.engine.dispatch import available_isas
from bnnsim.engine.execute import Plan
from bnnsim.engine.reference import execute
from bnnsim.errors import GraphError, InputError, KernelError
from bnnsim.graph.draws import Draws
from bnnsim.graph.dtypes import BIT, FLOAT16, FLOAT32, INT8, TERNARY, UINT8, DType
from bnnsim.graph.ir import Graph
from bnnsim.passes.lower import lower
from bnnsim.passes.modes import MODES
from bnnsim.passes.precision import to_mode


def assert_same(graph: Graph, x: np.ndarray, *, isa: str = "auto", threads: int = 1) -> Plan:
    """Assert that engine and reference agree on every activation tensor, dtype included."""
    names = [node.output for node in graph.nodes]
    plan, draws = Plan(graph, isa=isa, threads=threads), Draws(7, sample=1, first_image=2)
    expected = execute(graph, x, draws=draws)
    stored = set(names) - plan.unstored
    got = plan.run(x, keep=names, draws=draws)
    fused = plan.run(x, keep=stored, draws=draws)
    assert fused.keys() == stored | {*graph.outputs}
    assert all((fused[name] == expected[name]).all() for name in fused)
    for name in names:
        assert got[name].dtype == expected[name].dtype, name
        assert (got[name] == expected[name]).all(), name
    return plan


@pytest.mark.parametrize("isa", available_isas())
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("make", [mlp, convnet])
def test_every_tensor_equals_the_reference(make, seed: int, isa: str) -> None:
    graph = make(seed)
    x = Builder(graph.tensor("input").shape, seed=seed + 50).batch(7)
    assert_same(graph, x, isa=isa)
    assert_same(lower(graph), x, isa=isa, threads=2)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("make", [mlp, convnet])
def test_every_mode_equals_the_reference(make, mode: str) -> None:
    graph = to_mode(make(2), mode)
    assert_same(graph, Builder(graph.tensor("input").shape, seed=3).batch(5))


@pytest.mark.parametrize("inputs", [1, 63, 64, 65, 127, 128, 129])
@pytest.mark.parametrize("isa", available_isas())
def test_edge_widths(inputs: int, isa: str) -> None:
    graph = lower(mlp(inputs, inputs=inputs, widths=(inputs, 129 - inputs // 2, 3)))
    assert_same(graph, Builder((inputs,), seed=inputs).batch(3), isa=isa)


@pytest.mark.parametrize("isa", available_isas())
def test_ternary_levels_and_integers(isa: str) -> None:
    net = Builder((9, 8, 5), seed=4).encode(np.arange(256) - 128, INT8)
    net.conv(66, pads=(1, 1, 0, 1)).thresholds(2, "ternary", -1, 300)
    ternary = net.rng.integers(-1, 2, (40, 3, 3, 66))
    net.add("Conv2d", {"weight": (ternary, TERNARY)}, pads=(1, 0, 1, 1)).pool()
    net.thresholds(2, "ternary", -1, 20)
    net.conv(12, groups=2).thresholds(3, "uint2", 0, 20)
    net.add("Flatten").dense(31).thresholds(1, "bit", 0, 9)
    weight = net.rng.integers(-5, 6, (11, 31))
    net.add("Dense", {"weight": (weight, INT8)}).add("IntegerAffine", mul=4, add=-6, div=2)
    assert_same(net.graph(), net.batch(6), isa=isa)


def test_ternary_pools_and_pads_by_one() -> None:
    net = Builder((9, 8, 3), seed=5).encode(np.arange(256) % 3 - 1, TERNARY)
    net.pool(3, 2, (1, 1, 0, 1)).conv(20, pads=(1, 2, 0, 1), pad_value=-1)
    net.thresholds(1, "bit", 0, 5).conv(7, pads=(2, 1, 1, 0), pad_value=1)
    assert_same(net.graph(), net.batch(4))


def test_float_input_and_weights() -> None:
    net = Builder((6, 5, 3), seed=6, dtype=FLOAT32)
    weight = net.rng.normal(size=(8, 3, 3, 3))
    net.add("Conv2d", {"weight": (weight, FLOAT32)}, pads=(1, 1, 1, 1)).batch_norm(3.0).sign()
    net.pool().add("Flatten").dense(70).batch_norm().add("Relu").add("Cast", dtype="float16")
    net.add("Dense", {"weight": (net.rng.normal(size=(4, 70)), FLOAT16)})
    assert_same(net.graph(), net.rng.normal(size=(5, 6, 5, 3)).astype(np.float32))


@pytest.mark.parametrize("dtype", ["int16", "int20", "uint16", "uint8"])
def test_integer_inputs(dtype: str) -> None:
    kind = DType.parse(dtype)
    net = Builder((70,), seed=7, dtype=kind).dense(9).batch_norm(500).sign().dense(3)
    x = net.rng.integers(max(kind.low, -3000), min(kind.high, 3000), (4, 70)).astype(kind.numpy)
    assert_same(net.graph(), x)


@pytest.mark.parametrize("isa", available_isas())
@pytest.mark.parametrize("dtype", ["bit", "ternary"])
@pytest.mark.parametrize("channels", [5, 64, 65])
def test_inputs_without_magnitude(channels: int, dtype: str, isa: str) -> None:
    kind = DType.parse(dtype)
    net = Builder((4, 3, channels), seed=9, dtype=kind).pool(2, 1)
    net.conv(7, (2, 2)).batch_norm().sign()
    values = np.array([-1, 1] if kind == BIT else [-1, 0, 1], np.int8)
    x = net.rng.choice(values, (5, 4, 3, channels))
    assert_same(net.add("Flatten").dense(9).graph(), x, isa=isa, threads=2)


def test_no_images_give_empty_results_in_reference_and_engine() -> None:
    net = Builder((4, 3, 6), seed=9).encode().conv(4).batch_norm()
    source = net.last
    net.add("InputScale", groups=2)
    scale = net.last
    net.go_to(source).add("Mul", also=(scale,), groups=2)
    graph = net.sign().add("Flatten").dense(5).batch_norm().add("InputScale").graph()
    plan = assert_same(graph, net.batch(0))
    assert plan.run(net.batch(0))[graph.outputs[0]].shape == (0, 1)


def test_results_do_not_depend_on_tiles_threads_or_batch_split(monkeypatch) -> None:
    graph = lower(convnet(1))
    x = Builder((13, 11, 3), seed=8).batch(9)
    whole = Plan(graph).run(x)[graph.outputs[0]]
    for tile_bytes in (1, 4000, 10**6):
        monkeypatch.setattr(execute_module, "TILE_BYTES", tile_bytes)
        for threads in (1, 2, 3):
            assert (Plan(graph, threads=threads).run(x)[graph.outputs[0]] == whole).all()
    one_by_one = [Plan(graph).run(x[i : i + 1])[graph.outputs[0]][0] for i in range(9)]
    assert (np.stack(one_by_one) == whole).all()


@pytest.mark.parametrize("isa", available_isas())
@pytest.mark.parametrize("make", [mlp, convnet])
def test_every_batch_and_thread_count_gives_the_reference(make, isa: str, monkeypatch) -> None:
    monkeypatch.setattr(execute_module, "_SPLIT_IMAGES", 4)
    for seed, graph in enumerate((lower(make(5)), make(6))):
        x = Builder(graph.tensor("input").shape, seed=seed).batch(200)
        whole = execute(graph, x)[graph.outputs[0]]
        for threads in (1, 2, 3):
            plan = Plan(graph, isa=isa, threads=threads)
            for batch in (0, 1, 2, 3, 5, 17, 200):
                assert (plan.run(x[:batch])[graph.outputs[0]] == whole[:batch]).all()


def test_results_are_not_overwritten_by_the_next_run() -> None:
    graph = lower(convnet(1))
    x, plan = Builder((13, 11, 3), seed=8).batch(4), Plan(graph, threads=2)
    names = [node.output for node in graph.nodes if node.output not in plan.unstored]
    first = plan.run(x, keep=names)
    copies = {name: value.copy() for name, value in first.items()}
    plan.run(x[::-1].copy(), keep=names)
    plan.run(x[:1])
    assert all((first[name] == copies[name]).all() for name in first)


def test_a_kernel_that_refuses_its_values_is_named() -> None:
    net = Builder((70,), seed=1, dtype=FLOAT32).sign().dense(5)
    x = np.ones((3, 70), np.float32)
    x[1, 69] = np.nan
    plan = Plan(net.graph())
    message = r"bnn_pack_sign_\w+: got '3 images', expected numbers only, found NaN"
    with pytest.raises(KernelError, match=message):
        _run_unchecked(plan, x)


def _run_unchecked(plan: Plan, x: np.ndarray) -> dict[str, np.ndarray]:
    """Run on an input that is not looked at first."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execute_module, "check_input", lambda *_: None)
        return plan.run(x)


def test_results_never_share_memory_with_the_input() -> None:
    graph = lower(mlp(1))
    x = Builder((63,), seed=2).batch(3)
    kept = Plan(graph).run(x, keep=["input"])["input"]
    assert (kept == x).all()
    assert not np.may_share_memory(kept, x)


def test_one_plan_serves_many_threads() -> None:
    graph = lower(convnet(1))
    x, plan = Builder((13, 11, 3), seed=8).batch(40), Plan(graph, threads=2)
    whole = execute(graph, x)[graph.outputs[0]]

    def same(start: int) -> bool:
        part = slice(start, start + start % 7 + 1)
        return bool((plan.run(x[part])[graph.outputs[0]] == whole[part]).all())

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(same, list(range(30)) * 3))


def test_the_environment_is_read_when_a_plan_is_made(monkeypatch) -> None:
    monkeypatch.setenv("BNNSIM_ISA", "ref")
    plan = Plan(lower(mlp(1)))
    assert plan.isa == "ref"
    monkeypatch.setenv("BNNSIM_ISA", "auto")
    assert Plan(lower(mlp(1))).isa == available_isas()[-1]
    monkeypatch.setenv("BNNSIM_ISA", "sse9")
    plan.run(Builder((63,), seed=2).batch(3))
    with pytest.raises(KernelError, match="BNNSIM_ISA='sse9': unknown instruction set"):
        Plan(lower(mlp(1)))


def test_an_empty_batch_gives_empty_outputs() -> None:
    graph = lower(convnet(1))
    assert Plan(graph).run(np.zeros((0, 13, 11, 3), np.uint8))[graph.outputs[0]].shape == (0, 7)


def test_adversarial_inputs() -> None:
    graph = lower(convnet(2))
    for value in (0, 255, 127, 128):
        assert_same(graph, np.full((2, 13, 11, 3), value, np.uint8))
    checker = (np.indices((13, 11, 3)).sum(axis=0) % 2 * 255).astype(np.uint8)
    assert_same(graph, np.stack([checker, 255 - checker]))


def test_non_contiguous_input_is_accepted() -> None:
    graph = lower(mlp(1))
    x = Builder((63,), seed=2).batch(8)
    reversed_view = x[::-2]
    expected = execute(graph, np.ascontiguousarray(reversed_view))[graph.outputs[0]]
    assert (Plan(graph).run(reversed_view)[graph.outputs[0]] == expected).all()


def test_the_trace_names_the_kernels_that_ran() -> None:
    trace = {t.node: t.kernel for t in Plan(lower(mlp(1)), isa="ref").trace}
    assert trace["dense1"] == "gemm_byte_ref"
    assert trace["dense4"] == "gemm_bit_ref"
    assert trace["quantize3"] == "threshold_pack_ref"
    if "avx512" in available_isas():
        fast = {t.node: t.kernel for t in Plan(lower(mlp(1)), isa="avx512").trace}
        assert fast["dense4"] == "gemm_bit_threshold_avx512"


@pytest.mark.parametrize("isa", available_isas())
def test_thresholds_of_bit_sums_are_fused_and_traced(isa: str) -> None:
    graph = lower(convnet(1))
    plan = Plan(graph, isa=isa)
    fused = {step.first.name: step.node for step in plan.steps if step.first is not None}
    trace = {t.node: t.kernel for t in plan.trace}
    assert list(trace) == [node.name for node in graph.nodes]
    assert bool(fused) == (isa in ("avx2", "avx512"))
    for name, node in fused.items():
        assert trace[name] == trace[node.name]
        assert trace[name].endswith(f"_bit_threshold_{isa}")
    assert plan.unstored == {node.inputs[0] for node in fused.values()}
    kept = Plan(graph, isa=isa, keep=plan.unstored)
    assert not kept.unstored
    assert not any("bit_threshold" in t.kernel for t in kept.trace)


def test_sums_that_are_an_output_are_not_fused() -> None:
    net = Builder((70,), seed=3).encode_bits().dense(66)
    sums = net.last
    graph = net.thresholds(1, "bit", 0, 9).graph()
    assert Plan(graph).unstored == ({sums} if "avx2" in available_isas() else set())
    assert not Plan(replace(graph, outputs=(*graph.outputs, sums))).unstored


def test_unknown_isa_and_threads_are_refused() -> None:
    with pytest.raises(KernelError, match="'sse9'"):
        Plan(lower(mlp()), isa="sse9")
    with pytest.raises(InputError, match="threads: got 0, expected at least 1"):
        Plan(lower(mlp()), threads=0)


def test_a_graph_without_weights_is_refused() -> None:
    graph = mlp()
    weight = graph.tensor("dense1.weight")
    hollow = replace(graph, tensors={**graph.tensors, weight.name: replace(weight, data=None)})
    with pytest.raises(GraphError, match=r"'dense1.weight': got 'no data'"):
        Plan(hollow)


@pytest.mark.parametrize("encoded", [False, True])
def test_fan_ins_beyond_the_byte_kernels_take_others(encoded: bool) -> None:
    net = Builder((70_001,), seed=3)
    graph = (net.encode() if encoded else net).dense(2).graph()
    assert_same(graph, net.batch(2))
    assert "byte" not in Plan(graph).trace[-1].kernel


@pytest.mark.parametrize("pad_value", [-1, 0, 1, 300])
@pytest.mark.parametrize("dtype", [UINT8, INT8])
def test_pads_of_bytes_may_lie_outside_the_byte(dtype: DType, pad_value: int) -> None:
    net = Builder((6, 5, 3), seed=4, dtype=dtype)
    net.conv(4, pads=(1, 2, 0, 1), pad_value=pad_value)
    x = net.rng.integers(dtype.low, dtype.high, (2, 6, 5, 3)).astype(dtype.numpy)
    assert_same(net.graph(), x)


def test_pixels_that_meet_a_batch_norm_or_a_threshold_first() -> None:
    net = Builder((9,), seed=5).encode().batch_norm(90).sign().dense(4)
    assert_same(net.graph(), net.batch(6))
    assert_same(lower(net.graph()), net.batch(6))
    levels = Builder((9,), seed=6).encode().thresholds(2, "ternary", -1, 200)
    assert_same(levels.graph(), levels.batch(6))
    image = Builder((4, 5, 3), seed=6).encode().conv(2, pad_value=300)
    assert_same(image.graph(), image.batch(2))


def test_flattened_pixels_stay_bytes_until_sums_are_formed() -> None:
    graph = Builder((4, 5, 3), seed=6).encode().add("Flatten").dense(66).batch_norm().graph()
    plan = assert_same(graph, Builder((4, 5, 3), seed=6).batch(5))
    kernels = [t.kernel.rpartition("_")[0] or t.kernel for t in plan.trace]
    assert kernels == ["view", "view", "gemm_byte", "affine"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_plan_runs_in_the_child_of_a_fork() -> None:
    graph = lower(convnet(1))
    x, plan = Builder((13, 11, 3), seed=8).batch(60), Plan(graph, threads=3)
    expected = plan.run(x)[graph.outputs[0]]
    child = os.fork()
    if child == 0:
        os._exit(0 if (plan.run(x)[graph.outputs[0]] == expected).all() else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert (plan.run(x)[graph.outputs[0]] == expected).all()


@pytest.mark.parametrize("dtype", ["bit", "ternary", "int4", "float32"])
@pytest.mark.parametrize("all_signs", [False, True])
def test_cancelling_float_convolutions_equal_the_reference(dtype: str, all_signs: bool) -> None:
    """Opposite halves of values leave only what the order of additions makes of them."""
    net, held = Builder((5, 6, 24), seed=11, dtype=FLOAT32), DType.parse(dtype)
    half = net.rng.normal(size=(14, 3, 2, 6))
    if all_signs or dtype == "bit":
        half = np.where(half < 0, -1, 1)
    elif dtype != "float32":
        half = np.clip(np.rint(2 * half), held.low, held.high)
    weight = np.concatenate([half, -half[..., ::-1]], axis=-1)
    graph = net.add("Conv2d", {"weight": (weight, held)}, groups=2, pads=(1, 0, 1, 1)).graph()
    left = net.rng.normal(size=(3, 5, 6, 12)).astype(np.float32)
    x = np.repeat(left, 2, axis=-1) * np.float32(1.1)
    assert_same(graph, x)
    assert_same(Builder.sign(net).graph(), x)


def test_cancelling_float_sums_do_not_depend_on_batch_or_threads() -> None:
    net = Builder((64,), seed=7, dtype=FLOAT32)
    half = net.rng.normal(size=(28, 32))
    weight = np.concatenate([half, -half[:, ::-1]], axis=1)
    graph = net.add("Dense", {"weight": (weight, FLOAT32)}).sign().graph()
    left = net.rng.normal(size=(37, 32)).astype(np.float32)
    x = np.concatenate([left, left[:, ::-1]], axis=1)
    whole = assert_same(graph, x).run(x)[graph.outputs[0]]
    for threads in (2, 3, 7):
        assert (Plan(graph, threads=threads).run(x)[graph.outputs[0]] == whole).all()
    for i in range(len(x)):
        assert (Plan(graph).run(x[i : i + 1])[graph.outputs[0]] == whole[i]).all()
