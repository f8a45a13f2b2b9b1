"""What-if twins of float networks: which operands each layer gets, and what the twin computes."""

from __future__ import annotations

import numpy as np
import pytest
from nets import Builder, bit_residual, float_residual, mlp

from bnnsim.engine.reference import execute
from bnnsim.errors import GraphError, InputError
from bnnsim.graph.dtypes import FLOAT32, UINT8
from bnnsim.graph.ir import Graph
from bnnsim.passes.layers import Layers
from bnnsim.passes.modes import MODES
from bnnsim.passes.precision import to_mode

KEPT = ("Dense", "Conv2d", "Add", "AvgPool", "GlobalAvgPool", "Slice", "PadChannels", "Flatten")
ROUNDING = 1e-5  # float32 against float64 over a few layers
F, Q, W, B = "float32 x float32", "int8 x int8", "float32 x bit", "bit x bit"
LAYERS = ("conv2d0", "conv2d3", "conv2d6", "conv2d10", "conv2d13", "dense21")


def pairs(graph: Graph) -> list[str]:
    """Return "activation x weight" of each layer."""
    linear = [node for node in graph.nodes if node.op in ("Dense", "Conv2d")]
    return [" x ".join(str(graph.tensor(name).dtype) for name in n.inputs) for n in linear]


def outputs(graph: Graph, x: np.ndarray) -> np.ndarray:
    return execute(graph, x, keep=())[graph.outputs[0]]


def chain(seed: int = 0) -> Graph:
    """Return three dense layers: a relu and a bias around the middle one."""
    net = Builder((8,), seed=seed, dtype=FLOAT32)
    for width in (6, 7, 5):
        weight = net.rng.normal(size=(width, net.shape[0]))
        net.add("Dense", {"weight": (weight, FLOAT32)})
        net.add("Bias", {"bias": (net.rng.normal(size=width), FLOAT32)})
        if width != 5:
            net.add("Relu")
    return net.graph()


def constants(graph: Graph) -> list[np.ndarray]:
    names = [name for node in graph.nodes for name in node.inputs[1:]]
    return [np.asarray(graph.tensor(name).data, np.float64) for name in names]


@pytest.mark.parametrize(
    ("mode", "layers", "expected"),
    [
        ("float32", {}, [F] * 6),
        ("native", {}, [F] * 6),
        ("weight-only", {}, [F, *[W] * 4, F]),
        ("weight-only:fp16", {},
         ["float16 x float16", *["float16 x bit"] * 4, "float16 x float16"]),
        ("weight-only:int8", {}, [Q, *["int8 x bit"] * 4, Q]),
        ("int8", {}, [Q] * 6),
        ("binary", {}, [F, *[B] * 4, F]),
        ("binary", {"first": "binary"}, [W, *[B] * 4, F]),
        ("binary", {"last": "binary"}, [F, *[B] * 5]),
        ("binary", {"first": "int8", "last": "int8"}, [Q, *[B] * 4, Q]),
        ("weight-only", {"first": "binary", "last": "binary"}, [W] * 6),
        ("int8", {"first": "float", "last": "float"}, [F, *[Q] * 4, F]),
        ("int8", {"last": "binary"}, [*[Q] * 5, "int8 x bit"]),
        ("binary", {"keep_float": ("conv2d3", "conv2d1*")}, [F, F, B, F, F, F]),
        ("binary", {"binarize": ("dense*",)}, [F, *[B] * 5]),
        ("int8", {"keep_float": ("conv2d6",), "binarize": ("conv2d3",)},
         [Q, "int8 x bit", F, Q, Q, Q]),
        ("binary", {"first": "int8", "keep_float": ("conv2d0",)}, [F, *[B] * 4, F]),
    ],
)  # fmt: skip
def test_operands_of_each_layer(mode: str, layers: dict, expected: list[str]) -> None:
    twin = to_mode(float_residual(), mode, layers=Layers(**layers))
    assert pairs(twin) == expected
    assert twin.meta["what_if"] == (mode not in ("float32", "native"))


@pytest.mark.parametrize(
    ("make", "mode"),
    [(bit_residual, mode) for mode in MODES]
    + [(float_residual, mode) for mode in MODES if mode != "binary-stochastic"],
)
def test_layers_keep_id_name_and_shape(make, mode: str) -> None:
    source = make()
    twin = to_mode(source, mode)
    before = {n.id: (n.name, n.op, source.result(n).shape) for n in source.nodes if n.op in KEPT}
    after = {n.id: (n.name, n.op, twin.result(n).shape) for n in twin.nodes if n.op in KEPT}
    assert after == before


def test_the_residual_stream_has_the_type_of_the_table() -> None:
    expected = {"weight-only:fp16": ("float16", "float16"), "int8": ("int8", "int32"),
                "binary": ("float32", "float32")}  # fmt: skip
    for mode, (operand, result) in expected.items():
        twin = to_mode(float_residual(), mode)
        for node in (n for n in twin.nodes if n.op == "Add"):
            assert [str(twin.tensor(name).dtype) for name in node.inputs] == [operand] * 2
            assert str(twin.result(node).dtype) == result


@pytest.mark.parametrize("seed", range(3))
def test_weight_only_computes_scaled_signs(seed: int) -> None:
    graph = chain(seed)
    x = np.random.default_rng(seed).normal(size=(9, 8)).astype(np.float32)
    w1, b1, w2, b2, w3, b3 = constants(graph)
    alpha = np.abs(w2).mean(axis=1)
    hidden = np.maximum(x @ w1.T + b1, 0)
    middle = np.maximum(hidden @ np.where(w2 >= 0, 1, -1).T * alpha + b2, 0)
    expected = middle @ w3.T + b3
    found = outputs(to_mode(graph, "weight-only"), x)
    assert np.abs(found - expected).max() < ROUNDING * np.abs(expected).max()


@pytest.mark.parametrize("seed", range(3))
def test_binary_computes_scaled_sums_of_signs_without_the_relu_before(seed: int) -> None:
    graph = chain(seed)
    x = np.random.default_rng(seed).normal(size=(9, 8)).astype(np.float32)
    w1, b1, w2, b2, w3, b3 = constants(graph)
    alpha = np.abs(w2).mean(axis=1)
    bits = np.where(x @ w1.T + b1 >= 0, 1, -1)
    middle = np.maximum(bits @ np.where(w2 >= 0, 1, -1).T * alpha + b2, 0)
    expected = middle @ w3.T + b3
    twin = to_mode(graph, "binary")
    assert [n.op for n in twin.nodes].count("Relu") == 1
    assert np.abs(outputs(twin, x) - expected).max() < ROUNDING * np.abs(expected).max()


@pytest.mark.parametrize("mode", ["weight-only", "binary"])
@pytest.mark.parametrize("dtype", [FLOAT32, UINT8])
def test_folded_scales_equal_kept_batch_norms(mode: str, dtype) -> None:
    graph = float_residual(5, dtype=dtype)
    x = np.random.default_rng(2).integers(0, 256, (4, 7, 6, 3)).astype(dtype.numpy)
    folded, kept = to_mode(graph, mode), to_mode(graph, mode, keep_bn=True)
    assert "BatchNorm" in [n.op for n in kept.nodes]
    assert "BatchNorm" not in [n.op for n in folded.nodes]
    assert [n.op for n in kept.nodes].count("Scale") == 4  # one alpha for each binarized layer
    if mode == "weight-only":  # signs may differ where rounding meets 0
        expected = outputs(kept, x)
        assert np.abs(outputs(folded, x) - expected).max() < ROUNDING * np.abs(expected).max()


def test_binary_layers_that_read_one_tensor_share_its_sign() -> None:
    net = Builder((6, 6, 4), dtype=FLOAT32).float_conv(4, 1)
    stream = net.add("Relu").last
    net.float_conv(4, 1)
    branch = net.last
    net.go_to(stream).float_conv(4, 1).add("Add", also=(branch,)).add("GlobalAvgPool")
    net.add("Flatten").add("Dense", {"weight": (net.rng.normal(size=(3, 4)), FLOAT32)})
    twin = to_mode(net.graph(), "binary")
    assert pairs(twin) == [F, B, B, F]
    assert [n.op for n in twin.nodes].count("Quantize") == 1
    assert [n.op for n in twin.nodes].count("Scale") == 2  # no affine follows to take the scale
    integers = to_mode(net.graph(), "int8")
    with pytest.raises(GraphError, match="This is a cost-only twin"):
        outputs(integers, np.zeros((1, 6, 6, 4), np.float32))
    assert integers.tensor("output.scale.synthetic").data is None


@pytest.mark.parametrize("mode", ["float32", "weight-only", "binary"])
def test_averages_of_cast_integers_are_not_rounded(mode: str) -> None:
    net = Builder((4, 4, 3), seed=3).add("Cast", dtype="float32")
    net.add("AvgPool", kernel=(2, 2), stride=(2, 2))
    for width in (4, 5, 2):
        net.float_conv(width, 1)
    graph = net.graph()
    x = Builder((4, 4, 3), seed=5).batch(6)
    twin = to_mode(graph, mode)
    expected, found = (execute(g, x)["avgpool1.out"] for g in (graph, twin))
    assert found.dtype == np.float32
    assert (found == expected).all()
    assert (found % 1 != 0).any()


def test_a_kept_float_layer_of_an_int8_twin_keeps_its_bias() -> None:
    net = Builder((8,), seed=2).encode(np.arange(256) - 128, FLOAT32)
    net.add("Dense", {"weight": (net.rng.normal(size=(5, 8)), FLOAT32)})
    graph = net.add("Bias", {"bias": (100 * net.rng.normal(size=5), FLOAT32)}).graph()
    x = Builder((8,), seed=5).batch(6)
    exact = outputs(to_mode(graph, "float32"), x)
    for layers in (Layers(), Layers(last="float")):
        twin = to_mode(graph, "int8", layers=layers)
        assert pairs(twin) == [F if layers.last else Q]
        assert np.abs(outputs(twin, x) - exact).max() < 0.02 * np.abs(exact).max()


def test_scales_per_channel_before_a_layer_are_rounded_to_one_in_the_int8_twin() -> None:
    net = Builder((4, 4, 3), seed=1).encode(np.arange(256) - 128, FLOAT32).batch_norm()
    graph, x = net.float_conv(2, 1).graph(), Builder((4, 4, 3), seed=5).batch(6)
    exact, twin = (to_mode(graph, mode) for mode in ("float32", "int8"))
    expected = outputs(exact, x)
    assert twin.tensor("conv2d2.input.scale").data is not None
    assert not twin.meta["synthetic"]
    assert np.abs(outputs(twin, x) - expected).max() < 0.05 * np.abs(expected).max()


def test_a_float_source_gets_no_twin_that_draws() -> None:
    with pytest.raises(InputError, match="got 'binary-stochastic', expected a source with bit"):
        to_mode(float_residual(), "binary-stochastic")


def test_layers_are_refused_for_a_drawn_twin_of_bits() -> None:
    with pytest.raises(InputError, match="got 'a binarized source', expected a source without"):
        to_mode(mlp(), "binary-stochastic", layers=Layers(first="float"))


def test_a_pad_of_an_activation_with_an_offset_makes_the_twin_cost_only() -> None:
    net = Builder((4, 4, 3), seed=1).encode(np.arange(256) - 128, FLOAT32)
    net.add("Affine", {"scale": (np.ones(3), FLOAT32), "bias": (np.ones(3), FLOAT32)})
    net.add("Slice", stop=(4, 4, 3), step=(2, 1, 2)).add("PadChannels", after=2)
    net.float_conv(2, 1)
    twin = to_mode(net.graph(), "int8")
    assert twin.tensor("output.scale.synthetic").data is None


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ({"keep_float": ("conv2d12",)}, r"--keep-float: got 'conv2d12', expected a pattern that "
         r"fits a layer: conv2d0, .*dense21\. Did you mean 'conv2d1"),
        ({"binarize": ("relu*",)}, r"--binarize: got 'relu\*', expected a pattern"),
        ({"keep_float": ("*",), "binarize": ("conv2d3",)}, r"--binarize: got 'conv2d3', expected "
         r"a layer that --keep-float does not name"),
        ({"keep_float": ("*",)}, r"mode: got 'binary', expected a layer to binarize beside the"),
    ],
)  # fmt: skip
def test_choices_that_fit_nothing_are_refused(layers: dict, expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        to_mode(float_residual(), "binary", layers=Layers(**layers))


def test_other_refusals() -> None:
    with pytest.raises(InputError, match=r"first: got 'bit', expected one of float, int8, binary"):
        Layers(first="bit")
    with pytest.raises(InputError, match=r"got 'a binarized source', expected a source without"):
        to_mode(mlp(), "binary", layers=Layers(first="float"))
