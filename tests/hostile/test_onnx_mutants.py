"""Damaged and hostile ``.onnx`` files: one message that names the file and the place, no traceback.

None may make memory of the size that it claims: sizes are checked before anything is allocated.
"""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from hostile.refusals import Mutant, check_refused, each  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

BREVITAS, QONNX = "onnx.brevitas", "qonnx.custom_op.general"
F = np.float32


def node(op: str, inputs: list[str], output: str, domain: str = "", **attrs: Any) -> Any:
    return helper.make_node(op, inputs, [output], name=f"the {op}", domain=domain, **attrs)


def sound() -> Any:
    """Return a model of a convolution, a pool and a dense layer between QONNX quantizers."""
    rng = np.random.default_rng(0)
    held = {
        "w": rng.choice(np.array([-1, 1], F), (4, 2, 3, 3)),
        "w2": rng.normal(size=(3, 16)).astype(F),
        "one": F(1), "zero": F(0), "two": F(2), "shape": np.array([1, -1]),
        **{k: np.ones(4, F) for k in ("g", "b", "m", "v")}, "t": np.zeros((4, 3), F),
    }  # fmt: skip
    nodes = [
        node("Quant", ["x", "one", "zero", "two"], "q", QONNX, signed=1, narrow=1),
        node("Conv", ["q", "w"], "c", pads=[1, 1, 1, 1]),
        node("BatchNormalization", ["c", "g", "b", "m", "v"], "n"),
        node("MultiThreshold", ["n", "t"], "s", QONNX, out_dtype="UINT2"),
        node("MaxPool", ["s"], "p", kernel_shape=[2, 2], strides=[2, 2]),
        node("Reshape", ["p", "shape"], "f"),
        node("Gemm", ["f", "w2"], "y", transB=1),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "net", [value("x", TensorProto.FLOAT, [1, 2, 4, 4])],
        [value("y", TensorProto.FLOAT, [1, 3])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in held.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(QONNX, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def find(model: Any, op: str) -> Any:
    return next(n for n in model.graph.node if n.op_type == op)


def put(name: str, values: Any) -> Any:
    """Return a change that gives an initializer other values."""

    def change(model: Any) -> None:
        held = next(t for t in model.graph.initializer if t.name == name)
        held.CopyFrom(numpy_helper.from_array(np.asarray(values), name))

    return change


def tensor(name: str, **fields: Any) -> Any:
    """Return a change of an initializer's own fields."""

    def change(model: Any) -> None:
        held = next(t for t in model.graph.initializer if t.name == name)
        for key, value in fields.items():
            if key == "dims":
                held.dims[:] = value
            elif key == "external":
                held.data_location = TensorProto.EXTERNAL
                held.ClearField("raw_data")
                for entry, text in value.items():
                    held.external_data.add(key=entry, value=text)
            else:
                setattr(held, key, value)

    return change


def attr(op: str, **attrs: Any) -> Any:
    """Return a change of a node's attributes."""

    def change(model: Any) -> None:
        target = find(model, op)
        kept = [a for a in target.attribute if a.name not in attrs]
        del target.attribute[:]
        made = [helper.make_attribute(key, value) for key, value in attrs.items()]
        target.attribute.extend([*kept, *made])

    return change


def reads(op: str, index: int, name: str) -> Any:
    def change(model: Any) -> None:
        find(model, op).input[index] = name

    return change


def before(target: str, *nodes: Any, **held: Any) -> Any:
    """Return a change that puts nodes before the first node; ``target`` then reads output z."""

    def change(model: Any) -> None:
        for key, value in held.items():
            model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), key))
        if target:
            find(model, target).input[0] = "z"
        model.graph.node.extend(nodes)

    return change


def dims(*sizes: Any) -> Any:
    def change(model: Any) -> None:
        kind = model.graph.input[0].type.tensor_type.elem_type
        model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", kind, list(sizes)))

    return change


def opset(version: int) -> Any:
    def change(model: Any) -> None:
        model.opset_import[0].version = version

    return change


def subgraph(model: Any) -> None:
    inner = helper.make_graph([], "inner", [], [])
    find(model, "Conv").attribute.append(helper.make_attribute("body", inner))


def nested(model: Any) -> bytes:
    """Return a file whose messages nest deeper than any parser should follow."""
    inner = b""
    for _ in range(2000):
        size = len(inner)
        length = b""
        while size > 127:
            length += bytes([size & 127 | 128])
            size >>= 7
        inner = b"\x3a" + length + bytes([size]) + inner  # field 7, the graph, again and again
    return inner


def twice(what: str) -> Any:
    def change(model: Any) -> None:
        held = getattr(model.graph, what)
        held.append(held[0])

    return change


def renamed_output(model: Any) -> None:
    model.graph.output[0].name = "nowhere"


def element_type(number: int) -> Any:
    def change(model: Any) -> None:
        model.graph.input[0].type.tensor_type.elem_type = number

    return change


def second_input(model: Any) -> None:
    model.graph.input.append(helper.make_tensor_value_info("x2", TensorProto.FLOAT, [1, 2]))


def sequence_input(model: Any) -> None:
    model.graph.input[0].type.sequence_type.elem_type.tensor_type.elem_type = 1


def sparse(model: Any) -> None:
    model.graph.sparse_initializer.add()


def function(model: Any) -> None:
    model.functions.add(name="f", domain="own")


def typed(model: Any) -> None:
    """Values of an int8 tensor that no int8 holds."""
    held = next(t for t in model.graph.initializer if t.name == "one")
    held.CopyFrom(helper.make_tensor("one", TensorProto.FLOAT, [], [1.0]))
    held.data_type = TensorProto.INT8
    held.ClearField("float_data")
    held.int32_data.append(4000)


def cut(part: float) -> Any:
    return lambda model: model.SerializeToString()[: int(part * len(model.SerializeToString()))]


def grow(times: int) -> Any:
    """Double a constant again and again: a small file of a huge tensor."""

    def change(model: Any) -> None:
        last = "w"
        for i in range(times):
            model.graph.node.append(
                helper.make_node("Concat", [last, last], [f"d{i}"], name=f"double{i}", axis=0)
            )
            last = f"d{i}"
        find(model, "Conv").input[1] = last

    return change


CONV, GEMM = "node 'the Conv' (Conv)", "node 'the Gemm' (Gemm)"
THR = f"node 'the MultiThreshold' (MultiThreshold, {QONNX})"
QUANT = f"node 'the Quant' (Quant, {QONNX})"
W = "initializer 'w'"
MUTANTS = [
    Mutant("empty", lambda m: b"", ("no graph",)),
    Mutant("text", lambda m: b"this is no model", ("net.onnx: got",)),
    Mutant("zeros", lambda m: bytes(100), ("expected an ONNX model",)),
    Mutant("an eighth", cut(1 / 8), ("net.onnx",)),
    Mutant("half", cut(1 / 2), ("net.onnx",)),
    Mutant("without the end", cut(0.99), ("net.onnx",)),
    Mutant("nested too deep", nested, ("net.onnx: g",)),
    Mutant("no nodes", lambda m: m.graph.ClearField("node"), ("no nodes or no output",)),
    Mutant("no output", lambda m: m.graph.ClearField("output"), ("no nodes or no output",)),
    Mutant("no input", lambda m: m.graph.ClearField("input"), ("input: got 'x'",)),
    Mutant("second input", second_input, ("inputs: got ['x', 'x2'], expected one input",)),
    Mutant("input is a sequence", sequence_input, ("input 'x': got 'no tensor'",)),
    Mutant("input without shape", lambda m: m.graph.input[0].type.tensor_type.ClearField("shape"),
           ("input 'x': got 'no shape'",)),
    Mutant("input of rank 6", dims(1, 2, 2, 2, 2, 2), ("expected (N, features) or",)),
    Mutant("input of 2^40", dims(1, 2**20, 2**10, 2**10), ("at most 67108864 elements",)),
    Mutant("input of 2^62", dims(1, 2**62, 4, 4), ("at most 67108864 elements",)),
    Mutant("input of -3", dims(1, -3, 4, 4), ("a dimension of -3",)),
    Mutant("open sizes", dims("N", 2, "H", "W"), ("Give --input-shape",)),
    Mutant("input of text", element_type(8), ("input 'x': got",)),
    Mutant("input of float64", element_type(11), ("got 'float64', expected float32 or uint8",)),
    Mutant("input of type 99", element_type(99), ("got 'element type 99'",)),
    Mutant("output of nothing", renamed_output, ("output: got 'nowhere'",)),
    Mutant("opset 3", opset(3), ("opset: got 3, expected 7 to 23",)),
    Mutant("opset 99", opset(99), ("opset: got 99",)),
    Mutant("opset below zero", opset(-1), ("opset: got -1",)),
    Mutant("no opset", lambda m: m.ClearField("opset_import"), ("opset: got 0",)),
    Mutant("subgraph", subgraph, (CONV, "attribute 'body'", "Control flow")),
    Mutant("functions", function, ("functions: got '1', expected none",)),
    Mutant("sparse", sparse, ("sparse initializers: got '1'",)),
    Mutant("initializer twice", twice("initializer"), (f"{W}: got",)),
    Mutant("node twice", twice("node"), (QUANT, "output: got 'q'")),
    Mutant("missing tensor", reads("Conv", 1, "gone"), (CONV, "input: got 'gone'")),
    Mutant("cycle", reads("Conv", 0, "s"), ("a cycle through",)),
    Mutant("reads itself", reads("Conv", 0, "c"), (CONV, "a cycle through 'c'")),
    Mutant("too few bytes", tensor("w", dims=[4, 2, 3, 4]), (W, "288 bytes", "384 bytes of f")),
    Mutant("2^60 of them", tensor("w", dims=[2**30, 2**30]), (W, "bytes of float32 for shape")),
    Mutant("2^63 bytes", tensor("w", dims=[2**31, 2**31, 2**31]), (W, "bytes of float32")),
    Mutant("negative size", tensor("w", dims=[-4, 2, 3, 3]), (f"{W}: shape: got (-4, 2, 3, 3)",)),
    Mutant("nine axes", tensor("w", dims=[1] * 9), (f"{W}: shape", "at most 8 sizes")),
    Mutant("no axes", tensor("w", dims=[]), (W, "288 bytes", "4 bytes of float32")),
    Mutant("other type", tensor("w", data_type=7), (W, "bytes of int64")),
    Mutant("text type", tensor("w", data_type=8), (W, "got")),
    Mutant("type 77", tensor("w", data_type=77), (W, "element type 77")),
    Mutant("outside its type", typed, ("initializer 'one'", "a value outside its type")),
    Mutant("absolute path", tensor("w", external={"location": "/etc/passwd"}), (W, "location")),
    Mutant("parent", tensor("w", external={"location": "../w.bin"}), (W, "location: got '../w")),
    Mutant("folder", tensor("w", external={"location": "a/w.bin"}), (W, "without folders")),
    Mutant("no location", tensor("w", external={}), (W, "location: got ''")),
    Mutant("backslash", tensor("w", external={"location": "..\\w.bin"}), (W, "location")),
    Mutant("zero byte", tensor("w", external={"location": "w\0.bin"}), (W, "location")),
    Mutant("no such file", tensor("w", external={"location": "none.bin"}), ("none.bin", "got")),
    Mutant("link", tensor("w", external={"location": "link.bin"}), (W, "link.bin")),
    Mutant("pipe", tensor("w", external={"location": "pipe"}), ("a pipe or device",)),
    Mutant("short file", tensor("w", external={"location": "short.bin"}), (W, "288 bytes inside")),
    Mutant("past the end", tensor("w", external={"location": "data.bin", "offset": "999"}),
           (W, "288 bytes at 999")),
    Mutant("offset below zero", tensor("w", external={"location": "data.bin", "offset": "-8"}),
           (W, "offset: got '-8'")),
    Mutant("length of 2^70", tensor("w", external={"location": "data.bin", "length": str(2**70)}),
           (W, "length: got")),
    Mutant("sound external data", tensor("w", external={"location": "data.bin"})),
    Mutant("weight of nan", put("w", np.full((4, 2, 3, 3), np.nan, F)), (CONV, "not finite")),
    Mutant("weight of float64", put("w", np.ones((4, 2, 3, 3)))),
    Mutant("weight of int64", put("w", np.ones((4, 2, 3, 3), int)), (CONV, "int64")),
    Mutant("weight of rank 3", put("w", np.ones((4, 2, 9), F)), (CONV, "3 axes")),
    Mutant("other channels", put("w", np.ones((4, 7, 3, 3), F)), (CONV, "7 channels")),
    Mutant("no filters", put("w", np.ones((0, 2, 3, 3), F)), (CONV,)),
    Mutant("kernel of 0", put("w", np.ones((4, 2, 0, 0), F)), (CONV,)),
    Mutant("stride 0", attr("Conv", strides=[0, 1]), (f"{CONV}: strides: got [0, 1]",)),
    Mutant("one stride", attr("Conv", strides=[1]), (f"{CONV}: strides",)),
    Mutant("pads of -1", attr("Conv", pads=[-1, 0, 0, 0]), (f"{CONV}: pads",)),
    Mutant("pads of 2^40", attr("Conv", pads=[2**40, 0, 0, 0]), (CONV, "limit of 65536")),
    Mutant("dilation 2^40", attr("Conv", dilations=[2**40, 1]), (CONV, "does not fit")),
    Mutant("groups 0", attr("Conv", group=0), (CONV, "0 group")),
    Mutant("auto_pad", attr("Conv", auto_pad="MAYBE"), (f"{CONV}: auto_pad: got 'MAYBE'",)),
    Mutant("pads of text", attr("Conv", pads="all"), (CONV,)),
    Mutant("kernel_shape", attr("Conv", kernel_shape=[5, 5]), (f"{CONV}: kernel_shape",)),
    Mutant("pool kernel 2^31", attr("MaxPool", kernel_shape=[2**31, 2]), ("node 'the MaxPool'",)),
    Mutant("one pool side", attr("MaxPool", kernel_shape=[2]), ("kernel_shape: got [2]",)),
    Mutant("short statistics", put("m", np.ones(3, F)), ("BatchNormalization", "running_mean")),
    Mutant("negative variance", put("v", np.full(4, -1, F)), ("variances of at least 0",)),
    Mutant("nan in gamma", put("g", np.full(4, np.nan, F)), ("BatchNormalization", "finite")),
    Mutant("computed mean", reads("BatchNormalization", 3, "c"), ("got 'a computed tensor'",)),
    Mutant("bits of 1e9", put("two", F(1e9)), (QUANT, "bit width")),
    Mutant("bits of 2.5", put("two", F(2.5)), (QUANT, "bit width of 2.5")),
    Mutant("bits of nan", put("two", F(np.nan)), (QUANT, "bit width")),
    Mutant("scale 0", put("one", F(0)), (f"{QUANT}: scale",)),
    Mutant("scale of inf", put("one", F(np.inf)), (f"{QUANT}: scale",)),
    Mutant("half a zero point", put("zero", F(0.5)), (f"{QUANT}: zero point",)),
    Mutant("rounding", attr("Quant", rounding_mode="UPSIDE"), (QUANT, "upside")),
    Mutant("thresholds of nan", put("t", np.full((4, 3), np.nan, F)), (f"{THR}: thresholds",)),
    Mutant("thresholds of another", put("t", np.zeros((5, 3), F)), (f"{THR}: thresholds",)),
    Mutant("no thresholds", put("t", np.zeros((4, 0), F)), (f"{THR}: thresholds",)),
    Mutant("3,000 thresholds", put("t", np.zeros((4, 3000), F)), (f"{THR}: thresholds",)),
    Mutant("reshape to rank 1", put("shape", np.array([-1])), ("Reshape", "keeps the batch")),
    Mutant("reshape to 17", put("shape", np.array([1, 17])), ("Reshape", "does not become")),
    Mutant("reshape twice -1", put("shape", np.array([-1, -1])), ("does not become [-1, -1]",)),
    Mutant("reshape of float", put("shape", np.array([1.5, np.nan], F)), ("Reshape",)),
    Mutant("dense of 15", put("w2", np.ones((3, 15), F)), (GEMM, "expected 15 features")),
    Mutant("transA", attr("Gemm", transA=1), (GEMM, "transposed")),
    Mutant("unknown operator", before("Quant", node("Frobnicate", ["x"], "z")),
           ("node 'the Frobnicate' (Frobnicate)", "of the standard domain")),
    Mutant("unknown domain", before("Quant", node("Relu", ["x"], "z", "acme.ops")),
           ("Relu of domain 'acme.ops'",)),
    Mutant("ConstantOfShape 2^40", before("Conv", node("ConstantOfShape", ["k9"], "z"),
           k9=np.array([2**20, 2**20])), ("ConstantOfShape", "too much memory")),
    Mutant("Expand to 2^50", before("Conv", node("Expand", ["one", "k9"], "z"),
           k9=np.array([2**25, 2**25])), ("Expand", "too much memory")),
    Mutant("Tile to 2^40", before("Conv", node("Tile", ["g", "k9"], "z"), k9=np.array([2**40])),
           ("Tile", "too much memory")),
    Mutant("outer product", before("Conv", node("Add", ["r", "c2"], "z"),
           r=np.ones((2**15, 1), F), c2=np.ones((1, 2**15), F)), ("too much memory",)),
    Mutant("doubled 40 times", grow(40), ("(Concat)", "too much memory")),
    Mutant("Gather outside", before("Conv", node("Gather", ["g", "k9"], "z"), k9=np.array([99])),
           ("Gather", "IndexError")),
    Mutant("Transpose of one axis", before("Conv", node("Transpose", ["w", ], "z", perm=[0])),
           ("Transpose",)),
    Mutant("Cast to type 99", before("Quant", node("Cast", ["x"], "z", to=99)), ("(Cast)",)),
    Mutant("a constant output", lambda m: (setattr(m.graph.output[0], "name", "k"),
           m.graph.node.append(node("Neg", ["g"], "k")))[1], ("got 'a constant'",)),
]  # fmt: skip


@pytest.fixture(scope="module")
def whole() -> bytes:
    return sound().SerializeToString()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = np.random.default_rng(0).choice(np.array([-1, 1], F), (4, 2, 3, 3)).tobytes()
    (tmp_path / "data.bin").write_bytes(data)
    (tmp_path / "short.bin").write_bytes(data[:-1])
    (tmp_path / "link.bin").symlink_to(tmp_path / "data.bin")
    os.mkfifo(tmp_path / "pipe")
    return tmp_path


@each(MUTANTS)
def test_damaged_files_are_refused(mutant, folder, whole, bnnsim) -> None:
    model = onnx.ModelProto.FromString(whole)
    made = mutant.change(model)
    data = made if isinstance(made, bytes) else model.SerializeToString()
    (folder / "net.onnx").write_bytes(data)
    start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    said = bnnsim("inspect", folder / "net.onnx")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - start < 2**20, "1 GiB more"
    if not mutant.says:
        assert (said.status, said.err) == (0, "")
        return
    check_refused(said, "net.onnx", mutant.says)


def test_there_are_enough() -> None:
    assert sum(bool(mutant.says) for mutant in MUTANTS) >= 60


def test_the_sound_file_is_read(folder, whole, bnnsim) -> None:
    (folder / "net.onnx").write_bytes(whole)
    assert bnnsim("inspect", folder / "net.onnx").status == 0
