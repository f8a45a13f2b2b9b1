"""Modes xnor-alpha and xnor-k: the paper's formula in float64, and what stays of a source."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nets import Builder, bit_residual, convnet, float_residual, mlp
from xnor_formula import assert_rounded, paper_conv

from bnnsim.engine.execute import Plan
from bnnsim.engine.reference import execute
from bnnsim.errors import GraphError, InputError
from bnnsim.graph.dtypes import FLOAT32, INT8, TERNARY, DType
from bnnsim.graph.ir import Graph
from bnnsim.passes.layers import Layers
from bnnsim.passes.precision import to_mode
from bnnsim.zoo import build

EDGES = st.sampled_from([1, 2, 5, 63, 64, 65, 127, 128, 129])
SMALL, STEP = st.integers(1, 3), st.integers(1, 3)


def outputs(graph: Graph, x: np.ndarray) -> np.ndarray:
    """Return the output, which engine and reference must agree on, tensor by tensor."""
    names = [node.output for node in graph.nodes]
    expected, found = execute(graph, x), Plan(graph, threads=2).run(x, keep=names)
    for name in names:
        assert (found[name] == expected[name]).all(), name
    return expected[graph.outputs[0]]


def only_layer(graph: Graph, mode: str) -> Graph:
    """Return the twin of a graph of one layer, which is binarized although it is first and last."""
    return to_mode(graph, mode, layers=Layers(binarize=("*",)))


# --- the formula -------------------------------------------------------------------------------


@given(
    channels=st.sampled_from([1, 3, 5, 64, 65]),
    filters=st.integers(1, 4),
    groups=st.sampled_from([1, 1, 3]),
    kernel=st.tuples(SMALL, SMALL),
    stride=st.tuples(STEP, STEP),
    dilation=st.tuples(SMALL, SMALL),
    pads=st.tuples(*[st.integers(0, 4)] * 4),
    seed=st.integers(0, 99),
)
def test_conv_layers_equal_the_formula_in_float64(
    channels, filters, groups, kernel, stride, dilation, pads, seed
) -> None:
    window = {"stride": stride, "dilation": dilation, "pads": pads, "groups": groups}
    net = Builder((7, 8, channels * groups), seed=seed, dtype=FLOAT32)
    weight = net.rng.normal(size=(filters * groups, *kernel, channels)).astype(np.float32)
    graph = net.add("Conv2d", {"weight": (weight, FLOAT32)}, **window).graph()
    x = net.rng.normal(size=(2, 7, 8, channels * groups)).astype(np.float32)
    x[0, 2:4] = 0  # sign(0) = +1
    assert_rounded(outputs(only_layer(graph, "xnor-k"), x), paper_conv(x, weight, **window))
    alone = paper_conv(x, weight, k=False, **window)
    assert_rounded(outputs(only_layer(graph, "xnor-alpha"), x), alone)


@given(inputs=EDGES, neurons=EDGES, seed=st.integers(0, 99))
def test_dense_layers_equal_the_formula_in_float64(inputs: int, neurons: int, seed: int) -> None:
    net = Builder((inputs,), seed=seed, dtype=FLOAT32)
    weight = net.rng.normal(size=(neurons, inputs)).astype(np.float32)
    graph = net.add("Dense", {"weight": (weight, FLOAT32)}).graph()
    x = net.rng.normal(size=(4, inputs)).astype(np.float32)
    wide, signs = weight.astype(np.float64), np.where(x >= 0, 1.0, -1.0)
    exact = signs @ np.where(wide >= 0, 1.0, -1.0).T * np.abs(wide).mean(axis=1)
    if np.abs(exact).max() == 0:
        return
    assert_rounded(outputs(only_layer(graph, "xnor-alpha"), x), exact)
    exact = exact * np.abs(x.astype(np.float64)).mean(axis=1, keepdims=True)
    assert_rounded(outputs(only_layer(graph, "xnor-k"), x), exact)


def test_the_relu_before_a_layer_goes_and_k_is_of_what_it_cut() -> None:
    net = Builder((6, 5, 3), seed=4, dtype=FLOAT32).float_conv(7, 1).add("Relu")
    weight = net.rng.normal(size=(4, 3, 3, 7)).astype(np.float32)
    net.add("Conv2d", {"weight": (weight, FLOAT32)}, pads=(1,) * 4).float_conv(2, 1)
    twin = to_mode(net.graph(), "xnor-k")
    x = net.rng.normal(size=(3, 6, 5, 3)).astype(np.float32)
    found = execute(twin, x)
    (scaled,) = (node for node in twin.nodes if node.op == "Scale")
    window = {"stride": (1, 1), "dilation": (1, 1), "pads": (1,) * 4, "groups": 1}
    assert_rounded(found[scaled.output], paper_conv(found["conv2d0.out"], weight, **window))
    assert "Relu" not in [node.op for node in twin.nodes]


# --- whole networks ----------------------------------------------------------------------------


@pytest.mark.parametrize("keep_bn", [False, True])
@pytest.mark.parametrize("mode", ["xnor-alpha", "xnor-k"])
@pytest.mark.parametrize("make", [mlp, convnet, bit_residual, float_residual])
def test_engine_equals_reference_on_every_tensor(make, mode: str, keep_bn: bool) -> None:
    source = make(3)
    x = Builder(source.tensor("input").shape, seed=1).batch(5)
    dtype = source.tensor("input").dtype
    twin = to_mode(source, mode, keep_bn=keep_bn)
    assert np.isfinite(outputs(twin, x.astype(dtype.numpy))).all()
    assert (twin.meta["mode"], twin.meta["what_if"], twin.meta["synthetic"]) == (mode, True, False)


@pytest.mark.parametrize("keep_bn", [False, True])
@pytest.mark.parametrize("make", [mlp, convnet, bit_residual])
def test_alpha_of_bits_is_one_and_changes_nothing(make, keep_bn: bool) -> None:
    source = make(2)
    x = Builder(source.tensor("input").shape, seed=1).batch(8)
    binary = to_mode(source, "native", keep_bn=keep_bn)
    twin = to_mode(source, "xnor-alpha", keep_bn=keep_bn)
    assert (outputs(twin, x) == outputs(binary, x)).all()
    layers = sum(node.op in ("Dense", "Conv2d") for node in source.nodes)
    scales = [node for node in twin.nodes if node.op == "Scale"]
    assert len(scales) == (layers if keep_bn else make is bit_residual)  # a layer that is added
    ops = [node.op for node in twin.nodes if node.op != "Scale"]
    assert [op for op in ops if op != "Cast"] == [node.op for node in binary.nodes]


@pytest.mark.parametrize("reader", ["thresholds", "average"])
def test_sums_that_are_added_and_counted_stay_integers(reader: str) -> None:
    net = Builder((6, 5, 3), seed=4).encode_bits().conv(8, (1, 1))
    stream = net.last
    net.sign().conv(8, (1, 1)).add("Add", also=(stream,))
    if reader == "average":
        net.add("AvgPool", kernel=(3, 3), stride=(1, 1)).sign()
    else:
        net.pool().thresholds(1, "bit", 0, 5)
    source, x = net.add("Flatten").dense(4).graph(), net.batch(20)
    for keep_bn in (False, True):
        twin = to_mode(source, "xnor-alpha", keep_bn=keep_bn)
        assert (outputs(twin, x) == outputs(source, x)).all()


@pytest.mark.parametrize("seed", range(3))
def test_alpha_of_a_float_source_is_that_of_binary(seed: int) -> None:
    graph = float_residual(seed)
    x = np.random.default_rng(seed).normal(size=(4, 7, 6, 3)).astype(np.float32)
    for keep_bn in (False, True):
        twins = [to_mode(graph, mode, keep_bn=keep_bn) for mode in ("binary", "xnor-alpha")]
        assert (outputs(twins[0], x) == outputs(twins[1], x)).all()
        assert [n.op for n in twins[0].nodes] == [n.op for n in twins[1].nodes]


def test_k_is_taken_before_the_sign_and_once_per_window() -> None:
    twin = to_mode(convnet(), "xnor-k")
    ops = [node.op for node in twin.nodes]
    assert ops.count("Mul") == 5  # all layers but the first, whose input are pixels
    assert ops.count("InputScale") == 5
    assert ops.count("Threshold") == 0
    for node in twin.nodes:
        if node.op == "InputScale":
            assert twin.activation(node).dtype.is_float
    net = Builder((6, 6, 4), dtype=FLOAT32).float_conv(4, 1)
    stream = net.last
    net.float_conv(4, 1)
    branch = net.last
    net.go_to(stream).float_conv(4, 1).add("Add", also=(branch,)).float_conv(3, 1)
    shared = [node.op for node in to_mode(net.graph(), "xnor-k").nodes]
    assert (shared.count("InputScale"), shared.count("Quantize"), shared.count("Mul")) == (1, 1, 2)


def test_moved_signs_lead_back_to_what_they_were_taken_of() -> None:
    net = Builder((7, 6, 3), seed=5).encode().conv(8).batch_norm(200).sign().pool(3, 2)
    net.add("Slice", stop=net.shape, step=(1, 1, 2)).add("Flatten")
    graph = net.dense(5).batch_norm().sign().dense(4).batch_norm().graph()
    twin, x = to_mode(graph, "xnor-k"), net.batch(6)
    found = execute(twin, x)
    (first, _) = (node for node in twin.nodes if node.op == "InputScale")
    real = execute(graph, x)["batchnorm2.out"].astype(np.float64)
    pooled = np.max([real[:, i : i + 1, j : j + 1] for i in range(3) for j in range(3)], axis=0)
    expected = np.abs(pooled[:, :, :, ::2]).mean(axis=(1, 2, 3))
    assert np.abs(found[first.output][:, 0] - expected).max() < 1e-5 * expected.max()
    assert np.isfinite(outputs(twin, x)).all()


def test_bits_that_never_were_numbers_have_no_scale() -> None:
    net = Builder((40,), seed=5).encode_bits().dense(20).batch_norm(6).sign().dense(4).batch_norm()
    twin = to_mode(net.graph(), "xnor-k")
    assert [node.op for node in twin.nodes].count("Mul") == 1
    assert outputs(twin, net.batch(5)).shape == (5, 4)


@pytest.mark.parametrize("mode", ["xnor-alpha", "xnor-k"])
def test_alpha_goes_through_pools_and_stands_alone_when_kept(mode: str) -> None:
    net = Builder((9, 8, 3), seed=5, dtype=FLOAT32).float_conv(6).float_conv(7).pool()
    net.batch_norm(1.0).add("Relu").float_conv(5, 1).batch_norm(1.0).add("Flatten")
    weight = net.rng.normal(size=(4, net.shape[0]))
    graph = net.add("Dense", {"weight": (weight, FLOAT32)}).graph()
    folded, kept = to_mode(graph, mode), to_mode(graph, mode, keep_bn=True)
    assert "Scale" not in [node.op for node in folded.nodes]
    assert [node.op for node in kept.nodes].count("Scale") == 2
    x = net.rng.normal(size=(3, 9, 8, 3)).astype(np.float32)
    scale = np.abs(outputs(kept, x)).max()
    same = np.abs(outputs(folded, x) - outputs(kept, x)).max(axis=1) < 1e-5 * scale
    assert same.any()  # where no sign meets a rounding


def test_layers_kept_in_float_get_no_scales() -> None:
    twin = to_mode(float_residual(), "xnor-k", layers=Layers(keep_float=("conv2d3",)))
    assert [node.name for node in twin.nodes if node.op == "Mul"] == [
        f"conv2d{n}.scaled" for n in (6, 10, 13)
    ]


# --- sources with thresholds, refusals ---------------------------------------------------------


def thresholded() -> Graph:
    net = Builder((6, 6, 3), seed=1).encode(np.arange(256) - 128, INT8)
    net.conv(8).thresholds(1, "bit", 0, 200).conv(7).thresholds(1, "bit", 0, 9).add("Flatten")
    return net.dense(4).add("IntegerAffine", add=28, div=2).graph("fpga")


def test_thresholds_take_alpha_in_and_make_k_cost_only() -> None:
    source, x = thresholded(), np.zeros((1, 6, 6, 3), np.uint8)
    for keep_bn in (False, True):
        alpha = to_mode(source, "xnor-alpha", keep_bn=keep_bn)
        assert [node.op for node in alpha.nodes].count("Threshold") == 2
        assert (outputs(alpha, x) == outputs(source, x)).all()
    twin = to_mode(source, "xnor-k")
    assert twin.meta["synthetic"]
    assert "Threshold" not in [node.op for node in twin.nodes]
    assert [node.op for node in twin.nodes].count("Mul") == 2
    with pytest.raises(GraphError, match="cost-only twin: it can be estimated, not run"):
        outputs(twin, x)


def test_levels_after_k_are_refused() -> None:
    net = Builder((9,), seed=1).encode(np.arange(256) - 128, INT8).dense(8)
    net.thresholds(1, "bit", 0, 200).dense(12).thresholds(2, "ternary", -1, 6).dense(4)
    text = r"mode 'xnor-k': node 'threshold4' \(Threshold\): got 'ternary levels', expected bits"
    with pytest.raises(InputError, match=text + r" after a layer that K.*Use native or xnor"):
        to_mode(net.graph(), "xnor-k")
    assert to_mode(net.graph(), "xnor-alpha").meta["mode"] == "xnor-alpha"


def test_float_layers_of_a_binarized_source_stay() -> None:
    net = Builder((8,), seed=3).add("Cast", dtype="float32")
    net.add("Dense", {"weight": (net.rng.normal(size=(6, 8)), FLOAT32)}).sign().dense(5).sign()
    net.add("Cast", dtype="float32")
    graph = net.add("Dense", {"weight": (net.rng.normal(size=(3, 5)), FLOAT32)}).graph()
    for mode in ("xnor-alpha", "xnor-k"):
        twin = to_mode(graph, mode)
        kinds = [
            str(twin.tensor(node.inputs[1]).dtype) for node in twin.nodes if node.op == "Dense"
        ]
        assert kinds == ["float32", "bit", "float32"]
        outputs(twin, net.batch(4))
    with pytest.raises(InputError, match="got 'a binarized source', expected a source without bit"):
        to_mode(graph, "xnor-k", layers=Layers(first="binary"))


@pytest.mark.parametrize(
    ("name", "layers"), [("cifar10-convnet", 8), ("cnv", 8), ("lfc", 3), ("resnet20", 18)]
)
def test_networks_of_the_zoo_have_twins(name: str, layers: int) -> None:
    twins = {mode: to_mode(build(name), mode) for mode in ("xnor-alpha", "xnor-k")}
    products = {m: [n.op for n in twin.nodes].count("Mul") for m, twin in twins.items()}
    assert products == {"xnor-alpha": 0, "xnor-k": layers}  # lfc reads bits: its first has no K


# --- a source that has scales of its own -------------------------------------------------------


def test_every_mode_of_a_source_with_scales() -> None:
    net = Builder((9, 8, 3), seed=2).encode().conv(6).batch_norm(200)
    real = net.last
    net.add("InputScale", kernel=(3, 3), pads=(1,) * 4)
    scale = net.last
    net.go_to(real).sign().conv(5, pads=(1,) * 4).add("Mul", also=(scale,))
    net.add("Scale", {"scale": (net.rng.uniform(0.5, 2, 5), FLOAT32)}).batch_norm().sign()
    graph = net.add("Flatten").dense(4).batch_norm().graph()
    x = net.batch(4)
    expected = outputs(graph, x)
    assert (outputs(to_mode(graph, "binary"), x) == expected).all()
    for keep_bn in (False, True):
        assert (outputs(to_mode(graph, "xnor-alpha", keep_bn=keep_bn), x) == expected).all()
        twin = to_mode(graph, "xnor-k", keep_bn=keep_bn)
        assert [n.name for n in twin.nodes if n.op == "Mul"] == ["mul6", "dense11.scaled"]
        assert np.isfinite(outputs(twin, x)).all()
    drawn = to_mode(graph, "binary-stochastic")
    assert [n.op for n in drawn.nodes].count("Mul") == 1
    kept = outputs(to_mode(graph, "float32", keep_bn=True), x)
    folded = outputs(to_mode(graph, "float32"), x)
    assert np.abs(folded - kept).max() < 1e-5 * np.abs(kept).max()
    for mode in ("weight-only:fp32", "weight-only:fp16", "int8", "weight-only:int8"):
        error = np.abs(outputs(to_mode(graph, mode), x) - kept).max() / np.abs(kept).max()
        assert error < 0.1, mode


def test_layers_of_other_levels_than_bits_stay_as_they_are() -> None:
    net = Builder((6, 5, 3), seed=3).encode()
    trits = net.rng.integers(-1, 2, (5, 3, 3, 3))
    net.add("Conv2d", {"weight": (trits, TERNARY)}, pads=(1,) * 4)
    net.thresholds(15, "bipolar4", -15, 30).conv(7)
    net.thresholds(3, "uint2", 0, 90)
    odd = 2 * net.rng.integers(0, 4, (9, 3, 3, 7)) - 3
    net.add("Conv2d", {"weight": (odd, DType("bipolar", 2))})
    net.thresholds(1, "bit", -1, 30).add("Flatten").dense(4)
    graph = net.graph()
    twin = to_mode(graph, "xnor-alpha")
    assert [node.op for node in twin.nodes if node.op in ("Cast", "Affine")] == []
    assert twin.has_weights
    x = net.batch(3)
    assert (outputs(twin, x) == outputs(to_mode(graph, "native"), x)).all()
