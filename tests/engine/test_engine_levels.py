"""Levels of k bits in the engine: every tensor equals the reference, and that int64 products."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import Builder, bit_residual, convnet, float_residual, mlp
from test_engine import assert_same

from bnnsim.engine.dispatch import available_isas
from bnnsim.engine.execute import Plan
from bnnsim.engine.reference import execute
from bnnsim.graph.dtypes import FLOAT32, TERNARY, DType
from bnnsim.passes.lower import lower
from bnnsim.passes.precision import to_mode

BITS = range(1, 9)
TYPES = st.builds(DType, st.sampled_from(("unsigned", "signed", "bipolar")), st.integers(1, 8))
WIDTHS = st.sampled_from((1, 2, 63, 64, 65, 127, 128, 129, 131))


def drawn(rng: np.random.Generator, dtype: DType, *shape: int) -> np.ndarray:
    step = 2 if dtype.kind == "bipolar" else 1
    values = np.arange(int(dtype.low), int(dtype.high) + 1, step)
    return rng.choice(values, shape).astype(dtype.numpy)


def quantizer(dtype: DType) -> dict:
    if dtype.kind == "bipolar" and dtype.bits == 1:
        return {"quantizer": "sign"}
    return {"quantizer": "dorefa" if dtype.kind == "unsigned" else "bipolar", "bits": dtype.bits}


@pytest.mark.parametrize("isa", available_isas())
@settings(max_examples=40)
@given(act=TYPES, weight=TYPES, K=WIDTHS, N=st.integers(1, 70), M=st.integers(1, 5))
def test_dense_over_levels_is_the_int64_product(isa, act, weight, K, N, M) -> None:
    net = Builder((K,), seed=K + N, dtype=act)
    w = drawn(net.rng, weight, N, K)
    graph = net.add("Dense", {"weight": (w, weight)}).graph()
    x = drawn(net.rng, act, M, K)
    exact = x.astype(np.int64) @ w.astype(np.int64).T
    if act == DType("bipolar", 1):  # the engine packs bits that a node computes, not inputs
        assert (execute(graph, x)[graph.outputs[0]] == exact).all()
        return
    assert (Plan(graph, isa=isa).run(x)[graph.outputs[0]] == exact).all()
    assert (execute(graph, x)[graph.outputs[0]] == exact).all()


@pytest.mark.parametrize("isa", available_isas())
@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("kind", ["unsigned", "bipolar"])
def test_conv_pool_and_thresholds_over_levels(kind: str, bits: int, isa: str) -> None:
    act, weight = DType(kind, bits), DType("bipolar", 9 - bits)
    net = Builder((7, 6, 3), seed=bits).encode().conv(33, pads=(1, 1, 0, 1)).batch_norm(300)
    net.pool(2, 1, (1, 0, 0, 1)).add("Quantize", **quantizer(act))
    w = drawn(net.rng, weight, 12, 3, 2, 11)
    pad = int(act.high)
    net.add("Conv2d", {"weight": (w, weight)}, groups=3, pads=(1, 0, 2, 1), pad_value=pad)
    net.batch_norm(40.0 * 2**bits, ties=True).add("Quantize", **quantizer(act)).add("Flatten")
    ternary = net.rng.integers(-1, 2, (9, net.shape[0]))
    graph = net.add("Dense", {"weight": (ternary, TERNARY)}).graph()
    x = net.batch(5)
    assert_same(graph, x, isa=isa)
    lowered = lower(graph)
    assert [n.op for n in lowered.nodes].count("Threshold") == 2
    assert_same(lowered, x, isa=isa, threads=2)


@pytest.mark.parametrize("isa", available_isas())
@pytest.mark.parametrize("mode", ["w2a2", "w4a7", "w8a8", "w1a8", "ternary"])
@pytest.mark.parametrize("make", [mlp, convnet, bit_residual, float_residual])
def test_twins_equal_the_reference_on_any_isa_and_threads(make, mode: str, isa: str) -> None:
    twin = to_mode(make(3), mode)
    spec = twin.tensor("input")
    x = Builder(spec.shape, seed=4).batch(5).astype(spec.dtype.numpy)
    assert_same(twin, x, isa=isa, threads=3)


@pytest.mark.parametrize("mode", ["float16", "bfloat16"])
@pytest.mark.parametrize("make", [bit_residual, float_residual])
def test_half_precision_twins_equal_the_reference(make, mode: str) -> None:
    twin = to_mode(make(1), mode)
    spec = twin.tensor("input")
    x = Builder(spec.shape, seed=4).batch(5).astype(spec.dtype.numpy)
    assert_same(twin, x, threads=2)
    values = execute(twin, x)
    floats = [t for t in twin.tensors.values() if t.name in values and t.name != "input"]
    assert {str(t.dtype) for t in floats} == {mode}
    for tensor in (*floats, *(t for t in twin.constants() if str(t.dtype) == mode)):
        held = tensor.data if tensor.constant else values[tensor.name]
        if mode == "bfloat16":  # the low half of the float32 is zero
            assert not (held.view(np.uint32) & 0xFFFF).any(), tensor.name
        assert held.dtype == tensor.dtype.numpy


def test_levels_by_float_weights_and_floats_by_levels() -> None:
    net = Builder((5, 4, 3), seed=6, dtype=FLOAT32)
    weight = drawn(net.rng, DType("bipolar", 4), 8, 3, 3, 3)
    net.add("Conv2d", {"weight": (weight, DType("bipolar", 4))}, pads=(1, 1, 1, 1))
    net.batch_norm(30.0).add("Quantize", quantizer="dorefa", bits=3).add("Flatten")
    net.add("Cast", dtype="float32")
    net.add("Dense", {"weight": (net.rng.normal(size=(4, net.shape[0])), FLOAT32)})
    assert_same(net.graph(), net.rng.normal(size=(5, 5, 4, 3)).astype(np.float32), threads=2)


def chain(x_dtype: DType, weight: DType):
    """Return a net of levels: a convolution whose thresholds are read by another convolution."""
    net = Builder((6, 5, 3), seed=x_dtype.bits).encode().conv(64, pads=(1, 1, 1, 1))
    net.batch_norm(50).add("Quantize", **quantizer(x_dtype))
    w = drawn(net.rng, weight, 64, 3, 3, 64)
    net.add("Conv2d", {"weight": (w, weight)}, pads=(1, 0, 2, 1), pad_value=int(x_dtype.low))
    net.batch_norm(9.0 * 2**x_dtype.bits, ties=True).add("Quantize", **quantizer(x_dtype))
    w = drawn(net.rng, weight, 20, 3, 3, 64)
    net.add("Conv2d", {"weight": (w, weight)}, pads=(1, 1, 1, 1), pad_value=0)
    return lower(net.graph()), net.batch(3)


PRODUCTS = {
    ("uint2", "bit"): "planes_threshold", ("uint2", "ternary"): "planes_threshold",
    ("bipolar2", "bipolar2"): "planes_threshold", ("uint4", "bit"): "planes_threshold",
    ("uint2", "int3"): "byte", ("uint8", "bit"): "byte", ("uint4", "int4"): "byte",
    ("bipolar8", "bipolar2"): "planes",
}  # fmt: skip


@pytest.mark.parametrize("isa", available_isas())
@pytest.mark.parametrize("names", PRODUCTS)
def test_levels_stay_planes_where_planes_are_quicker(names: tuple[str, str], isa: str) -> None:
    graph, x = chain(*(DType.parse(name) for name in names))
    expected = PRODUCTS[names].removesuffix("_threshold" if isa == "ref" else "")
    exact = execute(graph, x)
    for threads in (1, 2):
        plan = Plan(graph, isa=isa, threads=threads)
        kernels = [t.kernel.rsplit("_", 1)[0] for t in plan.trace if t.op == "Conv2d"]
        if (names[1], expected, isa) == ("bit", "byte", "avx2"):
            assert kernels[1:] == ["byte_bit", "byte_bit"]  # sums are looked up
        else:
            plain = expected.removesuffix("_threshold")
            assert kernels[1:] == [f"conv2d_{expected}", f"conv2d_{plain}"]
        out = plan.run(x)  # without the sums that no step stores
        assert all((out[name] == exact[name]).all() for name in graph.outputs)
        assert_same(graph, x, isa=isa, threads=threads)


def test_few_channels_and_depthwise_layers_stay_bytes() -> None:
    for channels, groups in ((3, 1), (66, 66)):
        net = Builder((6, 5, 3), seed=channels).encode().conv(channels)
        net.batch_norm(50).add("Quantize", **quantizer(DType("unsigned", 2)))
        w = drawn(net.rng, TERNARY, 66, 3, 3, channels // groups)
        net.add("Conv2d", {"weight": (w, TERNARY)}, groups=groups)
        graph, x = lower(net.graph()), net.batch(2)
        assert Plan(graph).trace[-1].kernel.startswith("conv2d_byte")
        assert_same(graph, x)
