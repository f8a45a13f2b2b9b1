"""Keras and larq files: every layer, quantizer and padding against their written meaning."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from cli.commands import Command
from frontends.keras_writer import Net, keras_bytes, numbered_bytes, quantizer, write_named

import bnnsim
from bnnsim.engine.reference import execute
from bnnsim.frontends.keras import from_keras
from bnnsim.frontends.keras_uses import HANDLERS

SIGN = {"input_quantizer": quantizer("SteSign"), "kernel_quantizer": quantizer("SteSign")}
CLOSE = 2e-6  # of the largest output: float32 rounding, in another order


def images(seed: int = 0, shape: tuple[int, ...] = (9, 8, 3)) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(0, 1.5, (4, *shape)).astype(np.float32)
    x[0] = np.rint(x[0])  # whole numbers: zeros, and sums at a threshold
    return x


def check(net: Net, path: Path, **how: Any) -> bnnsim.Graph:
    """Load a net, compare every layer with its meaning, and the engine with the reference."""
    graph = from_keras(net.save(path, **how))
    values = execute(graph, net.x)
    assert graph.meta["layers"]
    for layer, node in graph.meta["layers"].items():
        ours, theirs = values[f"{node}.out"], net.outputs[layer]
        assert ours.shape == theirs.shape, layer
        if ours.dtype.kind in "iu":
            assert (ours == theirs).all(), layer
        else:
            assert np.abs(ours - theirs).max() <= CLOSE * max(np.abs(theirs).max(), 1), layer
    assert bnnsim.verify(graph, net.x).ok
    assert bnnsim.estimate(graph, "cmos45").unpriced == ()
    return graph


def same_graph(a: bnnsim.Graph, b: bnnsim.Graph) -> bool:
    constants = {t.name: t.data for t in a.constants()}
    others = {t.name: t.data for t in b.constants()}
    equal = all(np.array_equal(data, others[name]) for name, data in constants.items())
    return a.nodes == b.nodes and constants.keys() == others.keys() and equal


# --- nets that together have every layer -------------------------------------------------------


def mlp() -> Net:
    net = Net(images(1, (19,)))
    net.add("QuantDense", units=33, kernel_quantizer=quantizer("SteSign"), use_bias=False)
    net.add("BatchNormalization", axis=[1], scale=False)
    net.add("QuantDense", units=65, use_bias=False, **SIGN)
    net.add("BatchNormalization", center=False)
    net.add("Dropout")
    net.add("QuantDense", units=17, **SIGN)
    net.add("BatchNormalization", scale=False, center=False, epsilon=0.02)
    net.add("Dense", units=10, activation="sigmoid")
    return net


def windows() -> Net:
    net = Net(images(2, (12, 11, 3)))
    net.add("Rescaling", scale=1 / 127.5, offset=-1)
    net.add("ZeroPadding2D", padding=[[1, 0], [2, 1]])
    net.add("Conv2D", filters=6, strides=[2, 2], activation="relu")
    net.add("MaxPooling2D", pool_size=[3, 3], strides=[1, 1], padding="same")
    net.add("AveragePooling2D", padding="same")
    net.add("SpatialDropout2D")
    net.add("GaussianNoise")
    net.add("BatchNormalization", axis=[3])
    net.add("SteSign")
    net.add("ZeroPadding2D")
    net.add("QuantConv2D", filters=7, kernel_quantizer="ste_sign", use_bias=False)
    net.add("ReLU", max_value=6.0)
    net.add("Cropping2D", cropping=[[1, 0], [0, 1]])
    net.add("Reshape", target_shape=[-1])
    net.add("Activation", activation="hard_tanh")
    net.add("Dense", units=8)
    net.add("Reshape", target_shape=[2, 2, 2])
    return net


def depthwise() -> Net:
    net = Net(images(3))
    net.add("DepthwiseConv2D", padding="same", depth_multiplier=2)
    net.add("BatchNormalization")
    net.add(
        "QuantDepthwiseConv2D", strides=[2, 2], padding="same", pad_values=1.0, depth_multiplier=2,
        input_quantizer="ste_sign", depthwise_quantizer=quantizer("MagnitudeAwareSign"),
    )  # fmt: skip
    net.add("BatchNormalization")
    net.add(
        "QuantSeparableConv2D", filters=7, padding="same", depth_multiplier=2,
        **dict.fromkeys(("input_quantizer", "depthwise_quantizer", "pointwise_quantizer"),
                        "ste_sign"),
    )  # fmt: skip
    net.add("BatchNormalization")
    net.add("QuantConv2D", filters=14, groups=7, activation="relu", **SIGN)
    net.add("SeparableConv2D", filters=2, kernel_size=[1, 1])
    net.add("GlobalMaxPooling2D")
    return net


def quicknet() -> Net:
    """Blocks as in QuickNet: residual, ReLU before batch norm, +1 padding, blur pool."""
    net = Net(images(4, (16, 14, 3)))
    net.add("Conv2D", filters=8, strides=[2, 2], padding="same", use_bias=False)
    x = net.add("BatchNormalization", epsilon=1e-5)
    for filters in (8, 12):
        if filters != 8:
            net.add("Activation", activation="relu")
            net.add("MaxPooling2D", pool_size=[3, 3], strides=[1, 1])
            net.add("DepthwiseConv2D", strides=[2, 2], padding="same", use_bias=False)
            net.add("Conv2D", filters=filters, kernel_size=[1, 1], use_bias=False)
            x = net.add("BatchNormalization", epsilon=1e-5)
        for _ in range(2):
            net.add("QuantConv2D", x, filters=filters, activation="relu", padding="same",
                    pad_values=1.0, use_bias=False, **SIGN)  # fmt: skip
            y = net.add("BatchNormalization", epsilon=1e-5)
            x = net.add("Add", x, y)
    net.add("Activation", activation="relu")
    net.add("GlobalAveragePooling2D")
    net.add("Dense", units=10)
    return net


def densenet() -> Net:
    """Blocks as in BinaryDenseNet: concatenations, a transition of floats."""
    net = Net(images(5))
    x = net.add("Conv2D", filters=6, padding="same", use_bias=False)
    for _ in range(2):
        net.add("BatchNormalization", x)
        y = net.add("QuantConv2D", filters=5, padding="same", use_bias=False, **SIGN)
        x = net.add("Concatenate", x, y)
    net.add("BatchNormalization")
    net.add("MaxPooling2D")
    net.add("Activation", activation="relu")
    net.add("Conv2D", filters=7, kernel_size=[1, 1])
    net.add("GlobalAveragePooling2D")
    net.add("Dense", units=6)
    return net


def gates() -> Net:
    """A gate as in Real-to-Binary nets, and slopes per channel."""
    net = Net(images(6))
    net.add("Conv2D", filters=6)
    net.add("PReLU")
    x = net.add("Conv2D", filters=6, kernel_size=[1, 1])
    y = net.add("QuantConv2D", filters=6, kernel_size=[1, 1], **SIGN)
    x = net.add("Add", x, y, x)
    net.add("GlobalAveragePooling2D", keepdims=True)
    net.add("Dense", units=6, activation="sigmoid")
    net.add("Multiply", x, net.layers[-1]["name"])
    net.add("LeakyReLU", alpha=0.1)
    net.add("Softmax")
    net.add("Conv2D", filters=2, kernel_size=[2, 2])
    return net


def borders() -> Net:
    """Zeros around an image: +1 after a sign, 0 after other quantizers; pools that count them."""
    net = Net(images(7))
    net.add("BatchNormalization")
    net.add("ZeroPadding2D")
    net.add("ZeroPadding2D", padding=[[0, 0], [1, 0]])
    net.add("QuantConv2D", filters=5, **SIGN)
    net.add("BatchNormalization")
    net.add("ZeroPadding2D", padding=[[0, 1], [0, 1]])
    net.add("QuantConv2D", filters=4, input_quantizer=quantizer("DoReFa", k_bit=3),
            kernel_quantizer="ste_sign")  # fmt: skip
    net.add("Activation", activation="relu")
    net.add("ZeroPadding2D")
    net.add("MaxPooling2D", pool_size=[3, 3], strides=[2, 2])
    net.add("ZeroPadding2D")
    net.add("AveragePooling2D", strides=[1, 1])
    net.add("DoReFa", k_bit=4)
    net.add("MaxPooling2D", strides=[1, 1])
    net.add("Activation", activation="relu")
    net.add("Flatten")
    net.add("QuantDense", units=5, kernel_quantizer="ste_sign")
    return net


def pixels() -> Net:
    rng = np.random.default_rng(8)
    net = Net(rng.integers(0, 256, (4, 9, 8, 3)).astype(np.uint8))
    net.add("Rescaling", scale=2.0, offset=-255)
    net.add("QuantConv2D", filters=6, kernel_quantizer="ste_sign", use_bias=False)
    net.add("BatchNormalization")
    net.add("Flatten")
    net.add("QuantDense", units=5, **SIGN)
    return net


NETS = (mlp, windows, depthwise, quicknet, densenet, gates, borders, pixels)


@pytest.mark.parametrize("build", NETS, ids=lambda build: build.__name__)
def test_every_layer_gives_what_its_source_states(build, tmp_path):
    net = build()
    check(net, tmp_path / "net.h5")
    check(net, tmp_path / "net.keras")


def test_the_nets_have_every_layer():
    aliases = {"MaxPool2D", "AvgPool2D", "GlobalAvgPool2D", "GlobalMaxPool2D"}
    same = {"GaussianDropout", "AlphaDropout", "ActivityRegularization"}  # as Dropout
    used = {layer["class_name"] for build in NETS for layer in build().layers}
    assert set(HANDLERS) - aliases - same <= used


@pytest.mark.parametrize("build", [mlp, windows])
def test_forms_of_one_model_give_one_graph(build, tmp_path):
    net = build()
    graphs = [
        from_keras(net.save(tmp_path / f"{how}.{suffix}", functional=how == "functional"))
        for how in ("functional", "sequential")
        for suffix in ("h5", "keras")
    ]
    assert all(same_graph(graphs[0], other) for other in graphs[1:])


# --- quantizers --------------------------------------------------------------------------------

PAIRS = {
    "approx": ("approx_sign", "approx_sign"),
    "swish": (quantizer("SwishSign", beta=4.0), "swish_sign"),
    "magnitude": ("ste_sign", "magnitude_aware_sign"),
    "magnitude of floats": (None, quantizer("Larq>MagnitudeAwareSign", clip_value=None)),
    "heaviside": ("ste_heaviside", "ste_sign"),
    "heaviside weights": ("ste_sign", quantizer("SteHeaviside")),
    "ternary": ("ste_tern", "ste_tern"),
    "ternary wide": (
        quantizer("SteTern", threshold_value=0.5), quantizer("SteTern", threshold_value=0.4),
    ),
    "ternary at 0": tuple(quantizer("SteTern", threshold_value=t) for t in (0.0, 0)),
    "ternary weight networks": ("ste_sign", quantizer("SteTern", ternary_weight_networks=True)),
    "dorefa": ("dorefa_quantizer", quantizer("DoReFa", mode="weights")),
    "dorefa clipped": ("dorefa_quantizer", "dorefa_quantizer"),
    "dorefa 1": (quantizer("DoReFa", k_bit=1), quantizer("DoReFa", k_bit=1, mode="weights")),
    "dorefa 4, 3": (
        quantizer("DoReFaQuantizer", k_bit=4), quantizer("DoReFa", k_bit=3, mode="weights"),
    ),
    "dorefa 8": (quantizer("DoReFa", k_bit=8), quantizer("DoReFa", k_bit=8, mode="weights")),
    "no-op": (None, quantizer("NoOp", precision=1)),
    "function": ({"class_name": "function", "config": "ste_sign"}, "ste_sign"),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_quantizers(name, tmp_path):
    """Of floats, and of whole sums that stand right at the quantizers' thresholds."""
    pair = PAIRS[name]
    both = dict(zip(("input_quantizer", "kernel_quantizer"), pair, strict=True))
    net = Net(images(9), seed=3, ties="dorefa" not in name and "magn" not in name)
    net.add("QuantConv2D", filters=6, kernel_quantizer="ste_sign", use_bias=False)
    net.add("QuantConv2D", filters=5, padding="same", **both)
    net.add("BatchNormalization")
    net.add("QuantConv2D", filters=5, **SIGN, use_bias=False)
    net.add("QuantConv2D", filters=4, activation=pair[0] or "linear", **both)
    net.add("Flatten")
    net.add("QuantDense", units=4, **both)
    check(net, tmp_path / "net.h5")


def test_a_threshold_is_met_from_both_sides_and_at_it(tmp_path):
    values = np.array([-0.5, 0.5, 0.0, -0.0, np.nextafter(F(0.5), F(0)), 0.6, -0.6, 1e-45], F)
    net = Net(values[None], seed=1)
    wide = quantizer("SteTern", threshold_value=0.5)
    net.add("QuantDense", units=3, input_quantizer=wide, kernel_quantizer="ste_sign")
    graph = from_keras(net.save(tmp_path / "net.h5"))
    (levels,) = (n.output for n in graph.nodes if n.op == "Threshold")
    assert execute(graph, net.x)[levels].tolist() == [[-1, 1, 0, 0, 0, 1, -1, 0]]
    for kind, expected in (("SteSign", [-1, 1, 1, 1, 1, 1, -1, 1]),
                           ("SteHeaviside", [0, 1, 0, 0, 1, 1, 0, 1])):  # fmt: skip
        net.layers[-1]["config"]["input_quantizer"] = quantizer(kind)
        graph = from_keras(net.save(tmp_path / "net.h5"))
        read = next(n.inputs[0] for n in graph.nodes if n.op == "Dense")
        assert execute(graph, net.x)[read].tolist() == [expected], kind


F = np.float32


def test_layers_that_take_the_sign_of_one_tensor_share_it(tmp_path):
    net = Net(images())
    net.add("QuantConv2D", filters=4, padding="same", name="left", **SIGN)
    net.add("QuantConv2D", "input_1", filters=4, padding="same", name="right", **SIGN)
    net.add("Add", "left", "right", name="sum")
    graph = check(net, tmp_path / "net.h5")
    assert [node.op for node in graph.nodes if node.op != "Bias"] == [
        "Quantize", "Conv2d", "Conv2d", "Add",
    ]  # fmt: skip


def test_latent_weights_of_zero_are_counted(tmp_path):
    net = Net(images())
    name = net.add("QuantConv2D", filters=4, **SIGN)
    net.weights[name]["kernel"][...] = 0.25
    net.weights[name]["kernel"][0, 0, 0, :3] = (0, -0.0, -1e-30)
    graph = from_keras(net.save(tmp_path / "net.h5"))
    place = "layer 'quant_conv2d_1' (QuantConv2D)"
    text = f"{place}: 108 latent weights become their sign; 2 of them are 0 and become +1."
    assert text in graph.meta["notes"]
    assert graph.tensor("conv1.weight").data[:, 0, 0, 0].tolist() == [1, 1, -1, 1]


# --- padding -----------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0])
@pytest.mark.parametrize(
    ("kernel", "stride", "dilation"),
    [((3, 3), 2, 1), ((2, 2), 1, 1), ((4, 4), 3, 1), ((3, 3), 1, 2), ((1, 1), 2, 1),
     ((5, 5), 2, 1), ((3, 1), (1, 2), 1), ((2, 3), (2, 1), 1), ((7, 5), 4, 1)],
)  # fmt: skip
def test_padding(kernel, stride, dilation, value, tmp_path):
    net = Net(images(10), seed=2)
    net.add("BatchNormalization")
    net.add(
        "QuantConv2D", filters=5, kernel_size=list(kernel), padding="same", pad_values=value,
        strides=list(np.broadcast_to(stride, 2).tolist()), dilation_rate=[dilation] * 2, **SIGN,
    )  # fmt: skip
    check(net, tmp_path / "net.h5")


def test_a_border_value_is_counted_in_levels(tmp_path):
    net = Net(images(11))
    three = quantizer("DoReFa", k_bit=3)
    net.add("QuantConv2D", filters=2, padding="same", pad_values=1.0, input_quantizer=three)
    net.add("QuantConv2D", filters=3, padding="same", pad_values=1.0, input_quantizer=three,
            kernel_quantizer="ste_sign")  # fmt: skip
    graph = check(net, tmp_path / "net.h5")
    assert [n.attrs["pad_value"] for n in graph.nodes if n.op == "Conv2d"] == [7, 7]


# --- weights in other files, open sizes, other versions ----------------------------------------


def test_weights_of_another_file(tmp_path):
    net, other = quicknet(), Net(quicknet().x)
    other.layers, other.weights = (
        net.layers,
        {
            layer: {name: array + 1 for name, array in arrays.items()}
            for layer, arrays in net.weights.items()
        },
    )
    source, expected = other.save(tmp_path / "net.json"), from_keras(net.save(tmp_path / "a.h5"))
    with h5py.File(tmp_path / "named.h5", "w") as file:
        write_named(file, net.weights)
    (tmp_path / "net.weights.h5").write_bytes(numbered_bytes(net.config(), net.weights))
    net.save(tmp_path / "whole.keras")
    for name in ("named.h5", "net.weights.h5", "whole.keras", "a.h5"):
        assert same_graph(from_keras(source, tmp_path / name), expected), name
    whole = other.save(tmp_path / "other.h5")
    assert not same_graph(from_keras(whole), expected)
    assert same_graph(bnnsim.load(whole, weights=tmp_path / "named.h5"), expected)


def test_open_sizes_are_given(tmp_path):
    net = Net(images(12))
    net.layers[0]["config"]["batch_input_shape"] = [None, None, None, 3]
    net.add("Conv2D", filters=2)
    path = net.save(tmp_path / "net.keras")
    assert bnnsim.load(path, input_shape=(9, 8, 3)).tensor("input").shape == (9, 8, 3)
    with pytest.raises(bnnsim.SourceError, match=r"input_1.*shape: got \[None, None, None, 3\]"):
        from_keras(path)
    with pytest.raises(bnnsim.SourceError, match=r"input_shape: got \(9, 8, 4\), expected a shape"):
        from_keras(path, input_shape=(9, 8, 4))


def test_older_sequential_models_have_no_input_layer(tmp_path):
    net = mlp()
    config = net.config(functional=False)
    first, *layers = config["config"]["layers"]
    layers[0]["config"]["batch_input_shape"] = first["config"]["batch_input_shape"]
    path = tmp_path / "net.json"
    net.save(tmp_path / "net.h5")
    for inner in (layers, {"name": "net", "layers": layers}):
        path.write_text(json.dumps({"class_name": "Sequential", "config": inner}))
        graph = from_keras(path, tmp_path / "net.h5")
        assert same_graph(graph, from_keras(tmp_path / "net.h5"))


def test_links_and_names_of_keras_3(tmp_path):
    net = quicknet()
    expected = from_keras(net.save(tmp_path / "net.keras"))
    config = json.loads(json.dumps(net.config()))
    policy = {"module": "keras", "class_name": "DTypePolicy", "config": {"name": "float32"}}
    for layer in config["config"]["layers"]:
        layer["inbound_nodes"] = [_node_of_keras_3(node) for node in layer["inbound_nodes"]]
        if layer["class_name"] == "InputLayer":
            layer["config"]["batch_shape"] = layer["config"].pop("batch_input_shape")
        else:
            layer["config"]["dtype"] = policy
    for key in ("input_layers", "output_layers"):
        (config["config"][key],) = config["config"][key]
    (tmp_path / "three.keras").write_bytes(keras_bytes(config, net.weights))
    assert same_graph(from_keras(tmp_path / "three.keras"), expected)
    source = tmp_path / "three.json"
    source.write_text(json.dumps(config))
    with h5py.File(tmp_path / "w.h5", "w") as file:  # its names have no :0, and the model's before
        file.attrs["layer_names"] = list(net.weights)
        for layer, arrays in net.weights.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = [f"net/{layer}/{name}" for name in arrays]
            for name, array in arrays.items():
                group.create_dataset(f"net/{layer}/{name}", data=array)
    assert same_graph(from_keras(source, tmp_path / "w.h5"), expected)


def _node_of_keras_3(node):
    tensors = [
        {"class_name": "__keras_tensor__",
         "config": {"shape": [None], "dtype": "float32", "keras_history": [name, 0, 0]}}
        for name, _, _, _ in node
    ]  # fmt: skip
    return {"args": [tensors if len(tensors) > 1 else tensors[0]], "kwargs": {"mask": None}}


def test_long_lists_of_names_are_split(tmp_path):
    net = mlp()
    path = net.save(tmp_path / "net.h5")
    expected = from_keras(path)
    with h5py.File(path, "r+") as file:
        for name, group in file["model_weights"].items():
            names = list(group.attrs.pop("weight_names"))
            group.attrs["weight_names0"] = np.array(names[:1], "S40")
            group.attrs["weight_names1"] = np.array(names[1:], "S40")
            assert name
    assert same_graph(from_keras(path), expected)


def test_a_layer_that_is_called_twice_has_one_set_of_weights(tmp_path):
    net = Net(images(13))
    first = net.add("Conv2D", filters=3, kernel_size=[1, 1])
    net.layers[-1]["inbound_nodes"].append([[first, 0, 0, {}]])
    net.add("Activation", activation="relu")
    net.layers[-1]["inbound_nodes"] = [[[first, 1, 0, {}]]]
    graph = from_keras(net.save(tmp_path / "net.keras"))
    assert [n.op for n in graph.nodes] == ["Conv2d", "Bias", "Conv2d", "Bias", "Relu"]
    a, b = (graph.tensor(f"conv{i}.weight").data for i in (1, 2))
    assert (a == b).all()


def test_layers_that_nothing_reads_are_left_out(tmp_path):
    net = Net(images())
    x = net.add("Conv2D", filters=3, name="used")
    net.add("Conv2D", filters=3, name="stray")
    net.add("Activation", x, activation="relu")
    graph = from_keras(net.save(tmp_path / "net.h5"))
    assert [n.op for n in graph.nodes] == ["Conv2d", "Bias", "Relu"]


# --- notes, command line -----------------------------------------------------------------------


def test_notes(tmp_path):
    net = Net(images())
    clip = {"class_name": "WeightClip", "config": {"clip_value": 1}}
    net.add("QuantConv2D", filters=4, kernel_constraint=clip, dtype="mixed_float16", **SIGN)
    net.add("Flatten")
    logits = net.add("Dense", units=3)
    net.add("Activation", activation="softmax")
    graph = from_keras(net.save(tmp_path / "net.h5"))
    assert [text for text in graph.meta["notes"] if "left out" in text] == [
        "Constraints of weights act in training only and are left out.",
        "The softmax at the output is left out: outputs are what it was taken of.",
    ]
    assert "Layers of the policy mixed_float16 are computed in float32 here." in graph.meta["notes"]
    out = execute(graph, net.x)[graph.outputs[0]]
    assert np.abs(out - net.outputs[logits]).max() < 1e-5
    assert graph.meta["layers"][logits] == graph.meta["layers"]["activation_4"] == "bias2"


@pytest.mark.parametrize("suffix", ["h5", "keras"])
def test_the_command_line_reads_it(bnnsim_command, suffix, tmp_path):
    net = quicknet()
    path = net.save(tmp_path / f"net.{suffix}")
    np.save(tmp_path / "x.npy", net.x)
    shown = bnnsim_command.json("inspect", path, schema="inspect")
    assert [x["kind"] for x in shown["layers"] if x["weight_dtype"]].count("binary") == 4
    assert bnnsim_command("verify", path, "--input", tmp_path / "x.npy").status == 0
    said = bnnsim_command("lower", path, "-o", tmp_path / "net.bnn")
    assert said.status == 0
    assert same_graph(bnnsim.load(tmp_path / "net.bnn"), from_keras(path))


@pytest.fixture
def bnnsim_command(capsys):
    return Command(capsys)


def test_h5py_missing_is_said(tmp_path, monkeypatch):
    path = mlp().save(tmp_path / "net.h5")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(bnnsim.SourceError, match=r"got 'no h5py'.*pip install 'bnnsim\[keras\]'"):
        from_keras(path)
