"""Quantizers of k bits: their rounding, their thresholds, and the twins of the modes wKaM."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import Builder, bit_residual, convnet, float_residual, mlp

from bnnsim.engine.reference import execute
from bnnsim.errors import GraphError, InputError
from bnnsim.graph.dtypes import BIT, FLOAT32, INT8, INT16, TERNARY, DType
from bnnsim.graph.elementwise import ELEMENTWISE
from bnnsim.graph.ir import Graph
from bnnsim.graph.ranges import INT32_MAX, INT32_MIN
from bnnsim.passes.precision import to_mode
from bnnsim.passes.thresholds import fold_thresholds

REACH = 300
QUANTIZERS = [
    *({"quantizer": "dorefa", "bits": bits} for bits in range(1, 9)),
    *({"quantizer": "bipolar", "bits": bits} for bits in range(2, 9)),
    {"quantizer": "ternary"},
    {"quantizer": "sign"},
]
SLACK = 1e-5  # float32 rounding of scales over a few layers


def outputs(graph: Graph, x: np.ndarray) -> np.ndarray:
    return execute(graph, x, keep=())[graph.outputs[0]]


def quantized(values: list[float], **attrs) -> list[int]:
    net = Builder((len(values),), dtype=FLOAT32).add("Quantize", **attrs)
    return outputs(net.graph(), np.array([values], np.float32))[0].tolist()


def scaled(factor: float, **attrs) -> Graph:
    """Return one channel of int16 times a factor, quantized."""
    net = Builder((1,), dtype=INT16)
    net.add("Affine", {"scale": (np.full(1, factor), FLOAT32), "bias": (np.zeros(1), FLOAT32)})
    return net.add("Quantize", **attrs).graph()


def steps(folded: Graph) -> tuple[np.ndarray, np.ndarray]:
    """Return thresholds and directions of the one Threshold of a graph."""
    thresholds, direction = (folded.tensor(name).data for name in folded.nodes[-1].inputs[1:])
    return thresholds, direction


def test_levels_by_hand() -> None:
    third = 1 / 3
    assert quantized([-1, 0, 0.1, 0.5, 2 * third, 0.9, 7], quantizer="dorefa", bits=2) == [
        0, 0, 0, 2, 2, 3, 3,
    ]  # fmt: skip
    assert quantized([-9, -1, -third, 0, third, 1, 9], quantizer="bipolar", bits=2) == [
        -3, -3, -1, 1, 1, 3, 3,
    ]  # fmt: skip
    assert quantized([-9, -0.51, -0.5, -0.0, 0.5, 0.51, 9], quantizer="ternary") == [
        -1, -1, 0, 0, 0, 1, 1,
    ]  # fmt: skip
    assert quantized([0.5, 0.51, 3], quantizer="dorefa", bits=1) == [0, 1, 1]


@pytest.mark.parametrize(
    ("factor", "attrs", "thresholds"),
    [
        # acc / 6 * 3 is 0.5, 1.5, 2.5 at 1, 3, 5: to 0 (excluded), to 2 (included), to 2 (excluded)
        (1 / 6, {"quantizer": "dorefa", "bits": 2}, [2, 3, 6]),
        (-1 / 6, {"quantizer": "dorefa", "bits": 2}, [-2, -3, -6]),
        # acc / 14 * 7: the odd sums go to 0, 2, 2, 4, 5, 6, 6: float32 has 9 / 14 * 7 above 4.5
        (1 / 14, {"quantizer": "dorefa", "bits": 3}, [2, 3, 6, 7, 9, 11, 14]),
        # (acc / 3 / 2 + 1/2) * 3 = (acc + 3) / 2: halves at -2, 0, 2 go to levels 0, 2, 2
        (1 / 3, {"quantizer": "bipolar", "bits": 2}, [-1, 0, 3]),
        (0.5, {"quantizer": "ternary"}, [-1, 2]),
        (0.5, {"quantizer": "dorefa", "bits": 1}, [2]),
    ],
)
def test_halves_go_to_the_even_level(factor: float, attrs: dict, thresholds: list[int]) -> None:
    graph = scaled(factor, **attrs)
    folded = fold_thresholds(graph)
    assert [node.op for node in folded.nodes] == ["Threshold"]
    found, direction = steps(folded)
    assert found.tolist() == [thresholds]
    assert direction.tolist() == [1 if factor > 0 else -1]
    x = np.arange(-40, 41, dtype=np.int16)[:, None]
    assert (outputs(folded, x) == outputs(graph, x)).all()


@pytest.mark.parametrize("attrs", QUANTIZERS, ids=lambda a: "-".join(map(str, a.values())))
@pytest.mark.parametrize("between", ["plain", "relu", "clip"])
def test_folded_steps_equal_the_chain_on_every_accumulator(attrs: dict, between: str) -> None:
    net = Builder((40,), seed=1, dtype=INT16).batch_norm(60, ties=True)
    if between == "relu":
        net.add("Relu")
    if between == "clip":
        net.add("Clip", low=-0.4, high=0.6)
    graph = net.add("Quantize", **attrs).graph()
    values = np.arange(-REACH, REACH + 1, dtype=np.int16)
    x = np.repeat(values[:, None], 40, axis=1)
    folded = fold_thresholds(graph)
    assert [node.op for node in folded.nodes] == ["Threshold"]
    assert str(folded.result(folded.nodes[0]).dtype) == str(graph.result(graph.nodes[-1]).dtype)
    assert (outputs(folded, x) == outputs(graph, x)).all()
    assert set(steps(folded)[1].tolist()) == {-1, 1} or between == "relu"


def test_channels_that_never_change_use_the_ends_of_int32() -> None:
    net = Builder((2,), dtype=INT16)
    pair = {"scale": (np.zeros(2), FLOAT32), "bias": (np.array([0.4, -5]), FLOAT32)}
    graph = net.add("Affine", pair).add("Quantize", quantizer="dorefa", bits=2).graph()
    found, direction = steps(fold_thresholds(graph))
    assert found.tolist() == [[INT32_MIN, INT32_MAX, INT32_MAX], [INT32_MAX] * 3]
    assert direction.tolist() == [1, 1]


def test_steps_that_a_falling_channel_does_not_reach_use_the_other_end() -> None:
    net = Builder((1,), dtype=INT8)
    pair = {"scale": (np.array([-1 / 384]), FLOAT32), "bias": (np.array([0.5]), FLOAT32)}
    graph = net.add("Affine", pair).add("Quantize", quantizer="dorefa", bits=2).graph()
    folded = fold_thresholds(graph)
    found, direction = steps(folded)
    assert (found[0, 0], found[0, 2], direction[0]) == (INT32_MAX, INT32_MIN, -1)
    x = np.arange(-128, 128, dtype=np.int8)[:, None]
    assert (outputs(folded, x) == outputs(graph, x)).all()


@pytest.mark.parametrize("mode", ["w1a2", "w2a2", "w3a5", "w8a8", "ternary"])
@pytest.mark.parametrize("make", [mlp, convnet, bit_residual, float_residual])
def test_lowering_a_twin_keeps_its_outputs(make, mode: str) -> None:
    source = make(3)
    spec = source.tensor("input")
    x = Builder(spec.shape, seed=1).batch(6).astype(spec.dtype.numpy)
    plain, lowered = (to_mode(source, mode, lowered=end) for end in (False, True))
    if make is not float_residual:  # whose chains start from float sums
        assert {n.op for n in lowered.nodes if n.op in ("Quantize", "Threshold")} >= {"Threshold"}
    assert (outputs(plain, x) == outputs(lowered, x)).all()
    assert lowered.meta["what_if"]


@pytest.mark.parametrize("make", [mlp, convnet, bit_residual])
def test_w1a1_is_the_binary_source_itself(make) -> None:
    source = make(2)
    twin, binary = to_mode(source, "w1a1"), to_mode(source, "binary")
    assert twin.nodes == binary.nodes
    assert not twin.meta["what_if"]


def test_bits_become_the_ends_of_the_grid_and_signs_its_levels() -> None:
    twin = to_mode(mlp(), "w3a2", lowered=False)
    first, second = (n for n in twin.nodes[:6] if n.op == "Dense")
    assert twin.tensor(first.inputs[1]).dtype == twin.tensor(second.inputs[1]).dtype
    weight = twin.tensor(second.inputs[1])
    source = mlp().tensor(second.inputs[1])
    assert (weight.dtype, set(np.unique(weight.data))) == (DType("bipolar", 3), {-7, 7})
    assert (weight.data == 7 * source.data).all()
    assert twin.tensor(second.inputs[0]).dtype == DType("bipolar", 2)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("make", [mlp, convnet, bit_residual])
def test_levels_of_more_bits_approach_the_clipped_floats(make, seed: int) -> None:
    source = make(seed)
    x = Builder(source.tensor("input").shape, seed=seed).batch(8)
    exact = outputs(to_mode(source, "float32", keep_bn=True), x)
    error = {
        mode: np.abs(outputs(to_mode(source, mode), x) - exact).mean() / np.abs(exact).max()
        for mode in ("w1a1", "w1a3", "w1a8", "w8a8")
    }
    assert error["w1a8"] < 0.01
    assert error["w1a8"] < error["w1a3"] < error["w1a1"]
    assert abs(error["w1a8"] - error["w8a8"]) < SLACK  # bits stay bits on any grid


@pytest.mark.parametrize("seed", range(2))
def test_what_if_of_floats_computes_levels_of_weights_and_activations(seed: int) -> None:
    net = Builder((8,), seed=seed, dtype=FLOAT32)
    for width in (6, 7, 5):
        net.add("Dense", {"weight": (net.rng.normal(size=(width, net.shape[0])), FLOAT32)})
        net.add("Relu") if width != 5 else None
    graph = net.graph()
    x = np.random.default_rng(seed).normal(size=(9, 8)).astype(np.float32)
    w1, w2, w3 = (np.asarray(t.data, np.float64) for t in graph.constants())
    hidden = np.clip(x @ w1.T, 0, 1)
    top = np.abs(w2).max()
    for mode, act, weight in (
        ("w2a4", np.rint(hidden * 15) / 15, (2 * np.rint((w2 / top / 2 + 0.5) * 3) - 3) / 3 * top),
        ("w1a2", np.rint(hidden * 3) / 3, np.where(w2 >= 0, 1, -1) * np.abs(w2).mean()),
    ):
        expected = np.maximum(act @ weight.T, 0) @ w3.T
        found = outputs(to_mode(graph, mode), x)
        assert np.abs(found - expected).max() < SLACK * np.abs(expected).max(), mode
    size, share = np.abs(w2), 0.7 * np.abs(w2).mean()
    weight = np.sign(w2) * (size > share) * size[size > share].mean()
    expected = np.maximum(np.rint(np.clip(x @ w1.T, -1, 1)) @ weight.T, 0) @ w3.T
    found = outputs(to_mode(graph, "ternary"), x)
    assert np.abs(found - expected).max() < SLACK * np.abs(expected).max()


def levels_net(seed: int = 0) -> Graph:
    """Return a net as one trained with w3a2 comes in: float ends, scales after the sums."""
    net = Builder((6, 5, 3), seed=seed, dtype=FLOAT32).float_conv(5, pads=(1, 1, 1, 1))
    net.batch_norm(1.0).add("Quantize", quantizer="dorefa", bits=2)
    weight = net.rng.choice(np.arange(-7, 8, 2), (9, 3, 3, 5))
    net.add("Conv2d", {"weight": (weight, DType("bipolar", 3))}, pads=(1, 0, 1, 2))
    scale = {"scale": (np.full(9, 1 / 21), FLOAT32), "bias": (np.zeros(9), FLOAT32)}
    net.add("Affine", scale).batch_norm(2.0).pool().add("Quantize", quantizer="dorefa", bits=2)
    net.add("Flatten").add("Cast", dtype="float32")
    net.add("Dense", {"weight": (net.rng.normal(size=(4, net.shape[0])), FLOAT32)})
    return net.graph("levels")


def test_a_source_of_levels_keeps_them_and_gets_twins() -> None:
    graph = levels_net()
    x = np.random.default_rng(0).normal(size=(8, 6, 5, 3)).astype(np.float32)
    exact = outputs(graph, x)
    assert (outputs(to_mode(graph, "native"), x) == exact).all()
    same = to_mode(graph, "w3a2")
    assert not same.meta["what_if"]
    assert (outputs(same, x) == exact).all()
    # Unrounded activations are within half a level of the rounded ones.
    spread = np.abs(exact).max()
    for mode in ("float32", "float16", "bfloat16", "weight-only", "w3a8", "w8a8", "int8"):
        twin = to_mode(graph, mode)
        assert twin.meta["what_if"]
        if mode != "int8":
            assert np.abs(outputs(twin, x) - exact).mean() < 0.3 * spread, mode
    fine, floats = (outputs(to_mode(graph, mode), x) for mode in ("w8a8", "float32"))
    assert np.abs(fine - floats).mean() < 0.01 * np.abs(floats).max()


def test_a_source_that_requantizes_gets_twins() -> None:
    net = Builder((8,), seed=3).encode(np.arange(256) - 128, INT16)
    x = net.batch(30)
    rounded = clipped = x.astype(np.float64) - 128
    for width in (24, 16, 5):
        weight = net.rng.integers(-7, 8, (width, net.shape[0]))
        net.add("Dense", {"weight": (weight, DType("signed", 4))})
        rounded, clipped = rounded @ weight.T, clipped @ weight.T
        if width != 5:
            scale = net.rng.uniform(0.002, 0.01, width).astype(np.float32)
            pair = {"scale": (scale, FLOAT32), "bias": (np.full(width, 0.25), FLOAT32)}
            net.add("Requantize", pair, dtype="uint4")
            rounded = np.clip(np.rint(rounded * scale + 0.25), 0, 15)
            clipped = np.clip(clipped * scale + 0.25, 0, 15)
    graph, top = net.graph(), np.abs(rounded).max()
    assert (outputs(to_mode(graph, "native"), x) == rounded).all()
    for mode, expected, allowed in (
        ("float32", clipped, SLACK), ("weight-only", clipped, SLACK), ("bfloat16", clipped, 0.02),
        ("w8a8", rounded, 0.03), ("int8", rounded, 0.03),  # weights moved to another grid
    ):  # fmt: skip
        twin = to_mode(graph, mode)
        assert np.abs(outputs(twin, x) - expected).mean() < allowed * top, mode
        assert twin.meta["what_if"]


def test_thresholds_of_a_source_become_cost_only_steps() -> None:
    net = Builder((6, 6, 3), seed=1).encode(np.arange(256) - 128, INT8)
    net.conv(8).thresholds(1, "bit", 0, 200).pool().add("Flatten").dense(12)
    graph = net.thresholds(2, "ternary", -1, 6).dense(4).graph("fpga")
    twin = to_mode(graph, "w2a3")
    assert twin.meta["synthetic"]
    steps = [n for n in twin.nodes if n.op == "Threshold"]
    assert [twin.tensor(n.inputs[1]).shape for n in steps] == [(8, 7), (12, 7)]
    assert [twin.tensor(n.inputs[1]).data for n in steps] == [None, None]


def test_padding_values_move_with_the_levels() -> None:
    twin = to_mode(convnet(), "w2a3")
    pads = [n.attrs.get("pad_value", 0) for n in twin.nodes if n.op == "Conv2d"]
    assert pads == [0, -7, 7, 0]


@settings(max_examples=30)
@given(bits=st.integers(1, 8), act=st.integers(1, 8), C=st.integers(1, 9), seed=st.integers(0, 99))
def test_ternary_and_grid_weights_of_a_layer(bits: int, act: int, C: int, seed: int) -> None:
    net = Builder((5,), seed=seed, dtype=FLOAT32)
    for width in (4, C, 2):
        net.add("Dense", {"weight": (net.rng.normal(size=(width, net.shape[0])), FLOAT32)})
    graph = net.graph()
    twin = to_mode(graph, f"w{bits}a{act}")
    layer = [n for n in twin.nodes if n.op == "Dense"][1]
    weight = twin.tensor(layer.inputs[1])
    assert weight.dtype == DType("bipolar", bits)
    assert weight.dtype.valid(weight.data).all()
    assert twin.tensor(layer.inputs[0]).dtype == DType("unsigned", act)
    ternary = to_mode(graph, "ternary")
    assert ternary.tensor(layer.inputs[1]).dtype == TERNARY


@pytest.mark.parametrize("name", ["w0a1", "w9a2", "w2a9", "w2", "wKaM", "w22a1"])
def test_modes_outside_the_family_are_refused(name: str) -> None:
    with pytest.raises(InputError, match=r"wKaM with K and M from 1 to 8"):
        to_mode(mlp(), name)


def test_quantizers_without_such_bits_are_refused() -> None:
    with pytest.raises(GraphError, match=r"'bits': got 9, expected one of 1, 2, 3, 4, 5, 6, 7, 8"):
        Builder((3,)).add("Quantize", quantizer="dorefa", bits=9)
    said = r"'bipolar': attribute 'bits': got 1, expected .*One bit is the quantizer 'sign'"
    with pytest.raises(GraphError, match=said):
        Builder((3,)).add("Quantize", quantizer="bipolar", bits=1)
    with pytest.raises(GraphError, match=r"nan, expected numbers"):
        ELEMENTWISE["Quantize"]([np.array([np.nan])], {"quantizer": "dorefa"}, DType("unsigned", 2))


def test_grids_have_no_zero_to_average_pad_or_clip_to() -> None:
    def grid() -> Builder:
        return Builder((2, 2, 3), dtype=FLOAT32).add("Quantize", quantizer="bipolar", bits=2)

    for op, attrs in (
        ("AvgPool", {"kernel": (2, 2), "stride": (2, 2)}), ("PadChannels", {"after": 1}),
        ("Relu", {}),
    ):  # fmt: skip
        with pytest.raises(GraphError, match="the input is bipolar2, which has no"):
            grid().add(op, **attrs)
    constants = {
        "thresholds": (np.zeros((3, 2)), DType("signed", 32)),
        "direction": (np.ones(3), INT8),
    }
    with pytest.raises(GraphError, match="2 thresholds per channel cannot give bipolar2: 3"):
        Builder((3,)).add("Threshold", constants, dtype="bipolar2")
    weight = {"weight": (np.ones((1, 1, 1, 3)), BIT)}
    with pytest.raises(GraphError, match="pad_value is 2, but bipolar2 is padded by 0 or a value"):
        grid().add("Conv2d", weight, pad_value=2)


def test_averages_of_ternaries_that_become_bits() -> None:
    net = Builder((4, 4, 3), seed=5).encode_bits().conv(9).batch_norm()
    net.add("Quantize", quantizer="ternary")
    source = net.add("GlobalAvgPool").add("Flatten").dense(3).graph()
    twin = to_mode(source, "w3a1")
    values = execute(twin, net.batch(6))
    pool = next(node for node in twin.nodes if node.op == "GlobalAvgPool")
    bits = next(node for node in twin.nodes if twin.result(node).dtype == BIT and node.id > 1)
    mean = values[bits.output].astype(np.float64).mean(axis=(1, 2), keepdims=True)
    assert (values[pool.output] == mean.astype(np.float32)).all()


@pytest.mark.parametrize(
    ("pad", "mode", "padded"),
    [(-1, "w4a4", -3), (5, "w4a4", 11), (-7, "w4a4", -15), (1, "w1a8", 37), (3, "w1a1", 0)],
)
def test_a_pad_between_levels_goes_to_the_next_one(pad: int, mode: str, padded: int) -> None:
    net = Builder((5, 4, 3), seed=6).encode().conv(4).batch_norm(300)
    net.add("Quantize", quantizer="bipolar", bits=3).conv(2, pads=(1, 1, 1, 1), pad_value=pad)
    twin = to_mode(net.graph(), mode)
    layer = [node for node in twin.nodes if node.op == "Conv2d"][1]
    assert layer.attrs["pad_value"] == padded


@pytest.mark.parametrize("mode", ["float32", "weight-only:fp32"])
@pytest.mark.parametrize("pad", [0, 1, 3])
def test_float_layers_over_levels_read_their_sums(pad: int, mode: str) -> None:
    net = Builder((5, 4, 3), seed=6, dtype=FLOAT32).float_conv(4, 1)
    net.add("Quantize", quantizer="dorefa", bits=2).add("Cast", dtype="float32")
    net.float_conv(6, pads=(1, 1, 1, 1), pad_value=pad).add("Quantize", quantizer="dorefa", bits=2)
    source = net.add("Cast", dtype="float32").float_conv(2, 1).graph()
    twin = to_mode(source, mode)
    values = execute(twin, net.rng.normal(size=(3, 5, 4, 3)).astype(np.float32))
    real = 3 * np.clip(values["conv2d0.out"], 0, 1).astype(np.float64)  # in levels, unrounded
    weight = source.tensor("conv2d3.weight").data.astype(np.float64)
    if mode != "float32":
        alpha = np.abs(weight).mean(axis=(1, 2, 3), keepdims=True)
        weight = np.where(weight >= 0, alpha, -alpha)
    padded = np.pad(real, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=pad)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    levels = 3 * np.clip(np.einsum("nijcrs,orsc->nijo", windows, weight), 0, 1)
    last = source.tensor("conv2d6.weight").data[:, 0, 0].astype(np.float64)
    assert np.allclose(values[twin.outputs[0]], levels @ last.T, atol=SLACK * 10)
