"""Graphs written as QONNX and read back, and run by other executors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from bnnsim import api  # noqa: E402
from bnnsim.engine.reference import execute  # noqa: E402
from bnnsim.errors import GraphError, InputError  # noqa: E402
from bnnsim.exports.qonnx import to_qonnx  # noqa: E402
from bnnsim.frontends.builder import GraphBuilder  # noqa: E402
from bnnsim.graph.dtypes import BIT, FLOAT32, INT8, INT32, TERNARY, UINT8, DType  # noqa: E402
from bnnsim.graph.ir import Graph  # noqa: E402
from bnnsim.passes.precision import to_mode  # noqa: E402

FLOAT64, UINT1 = DType("float", 64), DType("unsigned", 1)


def back(graph: Graph, folder: Path) -> Graph:
    path = folder / "net.onnx"
    path.write_bytes(to_qonnx(graph))
    onnx.checker.check_model(onnx.load(path))
    return api.load(path)


def inputs(graph: Graph, rng, n: int = 8) -> np.ndarray:
    tensor = graph.tensor("input")
    if tensor.dtype.is_integer:
        return rng.integers(0, 256, (n, *tensor.shape)).astype(np.uint8)
    return (rng.integers(-40, 41, (n, *tensor.shape)) / 8).astype(np.float32)


def assert_round_trip(graph: Graph, folder: Path, rng, n: int = 8) -> Graph:
    again = back(graph, folder)
    x = inputs(graph, rng, n)
    mine = execute(graph, x, keep=())[graph.outputs[0]]
    got = api.run(again, x).outputs
    assert (got == mine).all()
    assert len(np.unique(mine)) > 1, "the case shows nothing"
    return again


@pytest.mark.parametrize(
    ("source", "mode"),
    [
        ("zoo:mlp-3x2048:trained", "native"),
        ("zoo:mnist-convnet:trained", "native"),
        ("zoo:mnist-convnet:trained", "xnor-alpha"),
        ("zoo:mnist-convnet:trained", "xnor-k"),
        ("zoo:mnist-convnet:trained", "ternary"),
        ("zoo:mnist-convnet:trained", "w2a2"),
        ("zoo:mnist-convnet:trained", "w3a4"),
        ("zoo:tfc:random,3", "native"),
        ("zoo:resnet20:random", "native"),
    ],
)
def test_networks_come_back_with_equal_outputs(source, mode, tmp_path, rng) -> None:
    assert_round_trip(to_mode(api.load(source), mode, lowered=False), tmp_path, rng)


def vectors(rng, op: str, channels: int, **constants) -> dict:
    kinds = {"thresholds": INT32, "direction": INT8, "minimum": UINT1}
    return {key: (value, kinds.get(key, FLOAT32)) for key, value in constants.items()}


def chain(shape, dtype, steps) -> Graph:
    """Return a graph of (op, constants, attributes), each of which reads the one before."""
    builder = GraphBuilder(shape, dtype)
    x = "input"
    for op, constants, attrs in steps:
        x = builder.add(op, x, constants, label=op.lower(), **attrs)
    return builder.graph("chain", x, {"decision": "argmax"})


def random_weight(rng, dtype: DType, shape) -> np.ndarray:
    if dtype.is_float:
        return rng.integers(-8, 9, shape) / 8
    if dtype.kind == "bipolar":
        return 2 * rng.integers(0, 2**dtype.bits, shape) - dtype.high
    return rng.integers(dtype.low, dtype.high + 1, shape)


@pytest.mark.parametrize("weights", ["bit", "ternary", "int4", "int8", "bipolar2", "float32"])
@pytest.mark.parametrize("features", [1, 63, 65])
def test_weights_of_every_kind(weights, features, tmp_path, rng) -> None:
    dtype = DType.parse(weights)
    held = random_weight(rng, dtype, (5, features))
    first = ("Quantize", None, {"quantizer": "sign"})
    steps = [first, ("Dense", {"weight": (held, dtype)}, {})]
    if dtype.is_float:
        steps.insert(1, ("Cast", None, {"dtype": "float32"}))
    assert_round_trip(chain((features,), FLOAT32, steps), tmp_path, rng, n=20)


STEPS = {
    "affine": lambda r: [("Affine", vectors(r, "", 5, scale=_eighths(r), bias=_eighths(r)), {})],
    "division": lambda r: [("Scale", {"scale": (1 / np.float64(0.1) + np.zeros(5), FLOAT64)}, {})],
    "clip": lambda r: [("Clip", None, {"low": -1.5, "high": 2.0})],
    "grid": lambda r: [("Quantize", None, {"quantizer": "bipolar", "bits": 3})],
    "dorefa": lambda r: [("Quantize", None, {"quantizer": "dorefa", "bits": 2})],
    "ternary": lambda r: [("Quantize", None, {"quantizer": "ternary"})],
    "float thresholds": lambda r: [
        ("Threshold", {"thresholds": (np.sort(_eighths(r, 5, 3)), FLOAT32),
                       "direction": (r.choice([-1, 1], 5), INT8)}, {"dtype": "int3", "base": -2}),
    ],
    "requantize": lambda r: [
        ("Requantize", vectors(r, "", 5, scale=_eighths(r), bias=_eighths(r)),
         {"dtype": "int4", "rounding": "ceil", "limits": (-2, 5), "zero_point": -2}),
    ],
    "relu": lambda r: [("Relu", None, {})],
    "input scale": lambda r: [("InputScale", None, {})],
    "prelu": lambda r: [("PRelu", {"slope": (_eighths(r), FLOAT32)}, {})],
    "sigmoid": lambda r: [("Sigmoid", None, {})],
    "softmax": lambda r: [("Softmax", None, {}), ("Relu", None, {})],
    "its logarithm": lambda r: [
        ("Softmax", None, {"log": True}), ("Clip", None, {"low": -2.0, "high": 0.0})
    ],
    "shuffle by one": lambda r: [("Relu", None, {}), ("ChannelShuffle", None, {"groups": 5})],
}  # fmt: skip


def _eighths(rng, *shape) -> np.ndarray:
    return rng.integers(-16, 17, shape or (5,)) / 8


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("image", [False, True])
def test_elementwise_ops(name, image, tmp_path, rng) -> None:
    shape = (3, 4, 5) if image else (5,)
    assert_round_trip(chain(shape, FLOAT32, STEPS[name](rng)), tmp_path, rng, n=30)


IMAGES = {
    "pads of -1": [("Conv2d", {"pad_value": -1, "pads": (1, 0, 2, 1)})],
    "pads of +1": [("Conv2d", {"pad_value": 1, "pads": (1, 1, 1, 1), "stride": (2, 1)})],
    "pads of 0": [("Conv2d", {"pads": (1, 0, 0, 1), "dilation": (2, 1)})],
    "minimum": [("MaxPool", {"kernel": (2, 2), "stride": (2, 2)})],
    "slice": [("Slice", {"start": (0, 1, 2), "stop": (5, 4, 6), "step": (2, 1, 3)})],
    "shuffle": [("ChannelShuffle", {"groups": 3})],
    "channels of zeros": [("PadChannels", {"before": 1, "after": 2})],
}


@pytest.mark.parametrize("name", IMAGES)
def test_ops_of_images(name, tmp_path, rng) -> None:
    ((op, attrs),) = IMAGES[name]
    constants = None
    if op == "Conv2d":
        constants = {"weight": (rng.choice([-1, 1], (4, 3, 3, 6)), BIT)}
    if op == "MaxPool":
        constants = {"minimum": (rng.integers(0, 2, 6), UINT1)}
    quantizer = "ternary" if op == "PadChannels" else "sign"
    steps = [("Quantize", None, {"quantizer": quantizer}), (op, constants, attrs)]
    steps.append(("Flatten", None, {}))
    assert_round_trip(chain((7, 6, 6), FLOAT32, steps), tmp_path, rng)


@pytest.mark.parametrize("shape", [(3, 4, 5), (5,)])
def test_joins_and_gates(shape, tmp_path, rng) -> None:
    """Bits, levels and floats side by side, and a gate of one pixel per image."""
    builder = GraphBuilder(shape, FLOAT32)
    signs = builder.add("Quantize", "input", None, label="sign", quantizer="sign")
    turned = builder.add("Relu", "input", None, label="relu")
    bits = builder.add("Concat", signs, None, label="bits", also=(signs, signs))
    wide = builder.add("Cast", bits, None, label="wide", dtype="float32")
    x = builder.add("Concat", wide, None, label="all", also=(turned,))
    channels = 4 * shape[-1]
    if len(shape) == 3:
        pooled = builder.add("GlobalAvgPool", x, None, label="pool")
        flat = builder.add("Flatten", pooled, None, label="flatten")
        weight = {"weight": (rng.standard_normal((channels, channels)), FLOAT32)}
        gate = builder.add("Dense", flat, weight, label="dense")
        gate = builder.add("Sigmoid", gate, None, label="gate")
        gate = builder.add("Reshape", gate, None, label="pixel", shape=(1, 1, channels))
        x = builder.add("Mul", x, None, label="gated", also=(gate,))
    shuffled = builder.add("ChannelShuffle", x, None, label="shuffle", groups=2)
    graph = builder.graph("joins", shuffled, {"decision": "argmax"})
    again = assert_round_trip(graph, tmp_path, rng, n=20)
    assert [n.op for n in again.nodes].count("Concat") == 2
    assert {n.op for n in again.nodes} == {n.op for n in graph.nodes}


def test_a_softmax_at_the_end_is_left_out_when_read_back(tmp_path, rng) -> None:
    steps = [("Relu", None, {}), ("Softmax", None, {})]
    again = back(chain((5,), FLOAT32, steps), tmp_path)
    assert [n.op for n in again.nodes] == ["Relu"]
    assert "left out at the end" in again.meta["notes"][0]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["bireal18", "reactnet-a", "quicknet", "densenet28", "meliusnet22", "real2binary", "googlenet"],
)
def test_networks_of_224_pixels_come_back_with_equal_outputs(name, tmp_path, rng) -> None:
    """The engine runs both, which the reference equals on every tensor; it would take minutes."""
    graph = api.load(f"zoo:{name}:random,3")
    again = back(graph, tmp_path)
    x = rng.standard_normal((1, 224, 224, 3)).astype(np.float32)
    mine = api.run(graph, x).outputs
    assert (api.run(again, x).outputs == mine).all()
    assert len(np.unique(mine)) > 100


def test_pixels_by_a_table_and_by_a_line(tmp_path, rng) -> None:
    weight = {"weight": (rng.choice([-1, 0, 1], (4, 9)), TERNARY)}
    for table, dtype in ((np.arange(256) % 7 - 3, INT8), (2 * np.arange(256) - 255, INT32)):
        steps = [("Encode", {"table": (table, dtype)}, {}), ("Dense", weight, {})]
        steps.append(("IntegerAffine", None, {"mul": 3, "add": 6, "div": 3}))
        assert_round_trip(chain((9,), UINT8, steps), tmp_path, rng)


@pytest.mark.parametrize(
    ("steps", "text"),
    [
        ([("Quantize", None, {"quantizer": "stochastic_sign"})],
         r"node 'quantize' \(Quantize\): got 'a stochastic sign', expected what QONNX has"),
        ([("Cast", None, {"dtype": "float16"})],
         r"node 'cast' \(Cast\): got 'float16', expected float32 or integers"),
        ([("Quantize", None, {"quantizer": "dorefa", "bits": 8}), ("GlobalAvgPool", None, {})],
         r"node 'globalavgpool' \(GlobalAvgPool\): got 'an average rounded to integers'"),
        ([("Reshape", None, {"shape": (4, 3, 5)})],
         r"node 'reshape' \(Reshape\): got 'a reshape of \(3, 4, 5\) to \(4, 3, 5\), other"),
        ([("Requantize", {"scale": (np.ones(5), FLOAT32), "bias": (np.ones(5), FLOAT32)},
           {"dtype": "int30"})],
         r"node 'requantize' \(Requantize\): got 'integers in .*2\^24"),
    ],
)  # fmt: skip
def test_what_cannot_be_expressed_is_refused_by_name(steps, text) -> None:
    with pytest.raises(GraphError, match=text):
        to_qonnx(chain((3, 4, 5), FLOAT32, steps))


def test_costs_stand_beside_the_nodes(tmp_path) -> None:
    graph = api.load("zoo:mnist-convnet:trained")
    exported = api.export(graph, tmp_path / "net.onnx", to="qonnx", profile="cmos45", batch=4)
    report = api.estimate(graph, "cmos45", batch=4)
    nodes = onnx.load(tmp_path / "net.onnx").graph.node
    found = {n.name: {p.key: p.value for p in n.metadata_props} for n in nodes}
    for layer in report.layers:
        beside = found[layer.name]
        assert float(beside["bnnsim.energy_j"]) == layer.energy_j
        assert beside["bnnsim.profile"] == exported.profile == "cmos45"
    assert exported.nodes == len(graph.nodes)


def test_wrong_arguments_are_refused(tmp_path) -> None:
    graph = api.load("zoo:tfc:random")
    with pytest.raises(InputError, match=r"to: got 'qonx', expected one of qonnx, pynq\. Did you"):
        api.export(graph, tmp_path / "net.onnx", to="qonx")
    with pytest.raises(GraphError, match=r"got .*net\.txt', expected a file name that ends in"):
        api.export(graph, tmp_path / "net.txt", to="qonnx")
    with pytest.raises(GraphError, match="tfc: got 'no weights', expected a network with weights"):
        api.export(api.load("zoo:tfc"), tmp_path / "net.onnx", to="qonnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("mode", ["native", "ternary", "w2a2"])
def test_qonnx_runs_the_file_with_equal_integers(mode, tmp_path, rng) -> None:
    pytest.importorskip("qonnx")
    path = tmp_path / "net.onnx"
    api.export(api.load("zoo:mnist-convnet:trained"), path, to="qonnx", mode=mode)
    graph = api.load(path)
    result = api.verify(graph, inputs(graph, rng, 4), against=api.load_executor(path))
    assert result.against == "qonnx"
    assert result.argmax_agreement == 1
    apart = [layer.name for layer in result.layers if layer.mismatches]
    assert apart == [] if mode == "native" else len(apart) < 6
