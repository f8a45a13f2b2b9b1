"""Damaged graphs and weights in a ``.bnn`` whose hash was made to fit them."""

from __future__ import annotations

import numpy as np
import pytest
from hostile import bnn_files
from hostile.bnn_files import check, run
from hostile.refusals import Mutant, check_refused, each


def top(**change):
    return lambda g: g.update(change)


def node(name: str, /, **change):
    return lambda g: next(n for n in g["nodes"] if n["name"] == name).update(change)


def attr(name: str, /, **change):
    return lambda g: next(n for n in g["nodes"] if n["name"] == name)["attrs"].update(change)


def tensor(name: str, /, **change):
    return lambda g: next(t for t in g["tensors"] if t["name"] == name).update(change)


def without(kind: str, index: int, key: str):
    return lambda g: g[kind][index].pop(key)


def nodes_swapped(g):
    g["nodes"][1], g["nodes"][2] = g["nodes"][2], g["nodes"][1]


def node_twice(g):
    g["nodes"].append(g["nodes"][-1])


def node_gone(g):
    del g["nodes"][4]


CONV = "node 'conv2d1' (Conv2d)"
TABLE = "tensor 'encode0.table'"
GRAPHS = [
    *(Mutant(f"graph without {key}", lambda g, key=key: g.pop(key), (f"{key}: got 'nothing'",))
      for key in ("name", "inputs", "outputs", "meta", "nodes", "tensors")),
    *(Mutant(f"graph whose {key} is a number", top(**{key: 7}), (f"{key}: got 7, expected {rule}",))
      for key, rule in (("name", "a string"), ("inputs", "a list"), ("outputs", "a list"),
                        ("meta", "an object"), ("nodes", "a list"), ("tensors", "a list"))),
    *(Mutant(f"node without {key}", without("nodes", 1, key), (f"nodes[1]: {key}: got 'nothing'",))
      for key in ("id", "name", "op", "inputs", "outputs", "attrs")),
    *(Mutant(f"tensor without {key}", without("tensors", 2, key), (f"{key}: got 'nothing'",
             "tensors[2]" if key == "name" else "tensor 'encode0.out'"))
      for key in ("name", "shape", "dtype", "constant")),
    Mutant("graph is a list", "[]", ("graph: got [], expected an object",)),
    Mutant("graph is no JSON", "{", ("graph: got", "JSON")),
    Mutant("graph is empty", "", ("graph: got", "JSON")),
    Mutant("graph nested too deep", "[" * 50_000, ("graph: got", "JSON")),
    Mutant("a number of 5000 digits", '{"name": ' + "9" * 5000 + "}",
           ("graph: got", "5000 digits")),
    Mutant("a node that is a word", lambda g: g["nodes"].insert(2, "relu"),
           ("nodes[2]: got 'relu', expected an object",)),
    Mutant("a tensor that is null", lambda g: g["tensors"].insert(3, None),
           ("tensors[3]: got None, expected an object",)),
    Mutant("id is a float", node("conv2d1", id=1.0), ("nodes[1]: id: got 1.0",)),
    Mutant("id is negative", node("conv2d1", id=-1), ("nodes[1]: id: got -1",)),
    Mutant("id is true", node("conv2d1", id=True), ("nodes[1]: id: got True",)),
    Mutant("id is huge", node("conv2d1", id=2**31), ("nodes[1]: id: got 2147483648",)),
    Mutant("id of another node", node("conv2d1", id=0), ("node id 0 occurs 2 times",)),
    Mutant("name of another node", node("conv2d1", name="encode0"),
           ("node name 'encode0' occurs 2 times",)),
    Mutant("node name is a list", node("conv2d1", name=[]), ("nodes[1]: name: got []",)),
    Mutant("unknown op", node("conv2d1", op="Conv2D"),
           ("node 'conv2d1': got 'Conv2D'", "Did you mean 'Conv2d'?")),
    Mutant("another op", node("maxpool3", op="Relu"), ("node 'maxpool3' (Relu): got 'kernel'",)),
    Mutant("inputs are a word", node("conv2d1", inputs="encode0.out"),
           ("nodes[1]: inputs: got 'encode0.out', expected a list",)),
    Mutant("an input that is a number", node("conv2d1", inputs=["encode0.out", 5]),
           ("nodes[1]: inputs: got 5, expected a string",)),
    Mutant("an input too few", node("conv2d1", inputs=["encode0.out"]),
           (f"{CONV}: got '1 inputs', expected inputs (x, weight)",)),
    Mutant("an input too many", node("flatten5", inputs=["quantize4.out", "dense6.weight"]),
           ("node 'flatten5' (Flatten): got '2 inputs'",)),
    Mutant("no inputs", node("flatten5", inputs=[]),
           ("node 'flatten5' (Flatten): got '0 inputs'",)),
    Mutant("a constant for an activation",
           node("dense6", inputs=["dense6.weight", "dense6.weight"]),
           ("node 'dense6' (Dense): input 'x' ('dense6.weight') is a constant",)),
    Mutant("two outputs", node("conv2d1", outputs=["conv2d1.out", "encode0.out"]),
           (f"{CONV}: 2 outputs; one is needed",)),
    Mutant("no outputs", node("conv2d1", outputs=[]), (f"{CONV}: 0 outputs; one is needed",)),
    Mutant("output of another node", node("conv2d1", outputs=["encode0.out"]),
           ("output 'encode0.out' occurs 2 times",)),
    Mutant("an input that nobody gives", node("conv2d1", inputs=["nowhere", "conv2d1.weight"]),
           ("tensor 'nowhere' is used but not described",)),
    Mutant("a cycle", node("conv2d1", inputs=["maxpool3.out", "conv2d1.weight"]),
           (CONV, "reads 'maxpool3.out' before any node computes it")),
    Mutant("nodes swapped", nodes_swapped, ("node 'batchnorm2' (BatchNorm): reads 'conv2d1.out'",)),
    Mutant("node twice", node_twice, ("node name 'batchnorm9' occurs 2 times",)),
    Mutant("node gone", node_gone, ("node 'flatten5' (Flatten): reads 'quantize4.out'",)),
    Mutant("no nodes", top(nodes=[]), ("no nodes",)),
    Mutant("two graph inputs", top(inputs=["input", "input"]), ("2 inputs and 1 outputs",)),
    Mutant("no graph outputs", top(outputs=[]), ("1 inputs and 0 outputs",)),
    Mutant("an output that nobody gives", top(outputs=["y"]), ("tensor 'y' is used but not desc",)),
    Mutant("attrs are a list", node("conv2d1", attrs=[]),
           ("nodes[1]: attrs: got [], expected an",)),
    Mutant("attribute misspelt", attr("conv2d1", stride_=[1, 1]),
           (f"{CONV}: got 'stride_'", "Did you mean 'stride'?")),
    Mutant("stride 0", attr("conv2d1", stride=[0, 1]),
           (f"{CONV}: attribute 'stride': got (0, 1)",)),
    Mutant("stride of words", attr("conv2d1", stride=["a", 1]), (f"{CONV}: attribute 'stride'",)),
    Mutant("pads too few", attr("conv2d1", pads=[1, 1]),
           (f"{CONV}: attribute 'pads': got (1, 1)",)),
    Mutant("pads huge", attr("conv2d1", pads=[2**30] * 4), (f"{CONV}: pads",)),
    Mutant("negative pads", attr("conv2d1", pads=[-1] * 4), (f"{CONV}: attribute 'pads'",)),
    Mutant("dilation past the image", attr("conv2d1", dilation=[9, 9]),
           (f"{CONV}: a window of 19 does not fit",)),
    Mutant("groups that do not divide", attr("conv2d1", groups=2), (f"{CONV}: weight has C=2",)),
    Mutant("groups 0", attr("conv2d1", groups=0), (f"{CONV}: attribute 'groups': got 0",)),
    Mutant("pad value 2 of bits", attr("conv2d1", pad_value=2**40),
           (f"{CONV}: attribute 'pad_value'",)),
    Mutant("no eps", lambda g: g["nodes"][2]["attrs"].pop("eps"),
           ("node 'batchnorm2' (BatchNorm): attribute 'eps': got None, expected a number",)),
    Mutant("eps is a word", attr("batchnorm2", eps="1e-4"), ("attribute 'eps': got '1e-4'",)),
    Mutant("eps is negative", attr("batchnorm2", eps=-1e9),
           ("node 'batchnorm2' (BatchNorm): var + eps: got -99999",)),
    Mutant("eps is infinite", attr("batchnorm2", eps=float("inf")),
           ("graph: got", "Infinity is no JSON number")),
    Mutant("kernel 0", attr("maxpool3", kernel=[0, 2]),
           ("node 'maxpool3' (MaxPool): attribute 'ke",)),
    Mutant("kernel past the image", attr("maxpool3", kernel=[99, 2]),
           ("node 'maxpool3' (MaxPool): a window of 99 does not fit",)),
    Mutant("pads past the kernel", attr("maxpool3", pads=[2, 2, 2, 2]),
           ("node 'maxpool3' (MaxPool): pads (2, 2, 2, 2) leave windows",)),
    Mutant("unknown quantizer", attr("quantize4", quantizer="tanh"),
           ("node 'quantize4' (Quantize): attribute 'quantizer': got 'tanh', expected one of",)),
    Mutant("threshold to 2 bits", attr("threshold7", dtype="int2"),
           ("node 'threshold7' (Threshold)", "int2")),
    Mutant("threshold to nothing", attr("threshold7", dtype="float99"),
           ("node 'threshold7' (Threshold): attribute 'dtype'", "float99")),
    Mutant("name of a tensor twice", tensor("conv2d1.out", name="encode0.out"),
           ("tensors: got 'encode0.out', expected unique names",)),
    Mutant("tensor's name is a number", tensor("conv2d1.out", name=4),
           ("tensors[4]: name: got 4",)),
    Mutant("unknown dtype of a tensor", tensor("encode0.table", dtype="int99"),
           (f"{TABLE}: dtype signed.bits: got 99",)),
    Mutant("dtype of a tensor is a number", tensor("encode0.table", dtype=16),
           (f"{TABLE}: dtype: got 16",)),
    Mutant("dtype without a name", tensor("encode0.table", dtype={"scale": 1, "zero_point": 0}),
           (f"{TABLE}: dtype: name: got 'nothing'",)),
    Mutant("dtype without a scale", tensor("encode0.table", dtype={"name": "int16"}),
           (f"{TABLE}: dtype: scale: got 'nothing'",)),
    Mutant("scale 0", tensor("encode0.table", dtype={"name": "int16", "scale": 0, "zero_point": 0}),
           (TABLE, "scale: got 0")),
    Mutant("scale is a word",
           tensor("encode0.table", dtype={"name": "int16", "scale": "1", "zero_point": 0}),
           (f"{TABLE}: dtype: scale: got '1'",)),
    Mutant("fractional zero point",
           tensor("encode0.table", dtype={"name": "int16", "scale": 1, "zero_point": 0.5}),
           (f"{TABLE}: dtype: zero_point: got 0.5",)),
    Mutant("another dtype of a constant", tensor("encode0.table", dtype="int8"),
           (f"{TABLE}: got 'int16 (256,)', expected int8 (256,)",)),
    Mutant("another dtype of an activation", tensor("conv2d1.out", dtype="int16"),
           (f"{CONV}: got 'int16', expected an output of dtype int32",)),
    Mutant("another shape of an activation", tensor("conv2d1.out", shape=[6, 5, 6]),
           (f"{CONV}: got (6, 5, 6), expected an output of shape (6, 5, 5)",)),
    Mutant("another shape of the input", tensor("input", shape=[6, 5, 3]),
           ("node 'encode0' (Encode): got (6, 5, 2), expected an output of shape (6, 5, 3)",)),
    Mutant("shape is a number", tensor("input", shape=60), ("tensor 'input': shape: got 60",)),
    Mutant("a side of 0", tensor("input", shape=[0, 5, 2]),
           ("tensor 'input': shape: got (0, 5, 2)",)),
    Mutant("a side that is negative", tensor("input", shape=[-6, 5, 2]),
           ("tensor 'input': shape: got -6",)),
    Mutant("a side that is true", tensor("input", shape=[True, 5, 2]),
           ("tensor 'input': shape: got True",)),
    Mutant("a side of 2^31", tensor("input", shape=[2**31]), ("tensor 'input': shape: got 21474",)),
    Mutant("nine sides", tensor("input", shape=[1] * 9), ("tensor 'input': shape", "at most 8")),
    Mutant("no sides", tensor("input", shape=[]),
           ("tensor 'input': got (), expected one to three",)),
    Mutant("an image of 2^60 elements", lambda g: [t.update(shape=[2**30, 2**30, 1]) for t in
           g["tensors"] if t["name"] in ("input", "encode0.out")],
           ("node 'encode0' (Encode): got (1073741824, 1073741824, 1), expected at most",)),
    Mutant("an input that is constant", tensor("input", constant=True),
           ("tensor 'input': got 'no array'",)),
    Mutant("weights that are none", tensor("conv2d1.weight", constant=False),
           ("tensors: got 'conv2d1.weight', expected arrays that the graph describes",)),
    Mutant("constant is a word", tensor("input", constant="no"),
           ("tensor 'input': constant: got 'no', expected true or false",)),
    Mutant("notes are a number", lambda g: g["meta"].update(notes=5), ("meta.notes: got 5",)),
    Mutant("a note of 1 MB", lambda g: g["meta"].update(notes=[["x" * 2**20]]),
           ("meta.notes: go",)),
    Mutant("unknown decision", lambda g: g["meta"].update(decision="largest"),
           ("meta.decision: got 'largest', expected one of argmax, last-set-bit",)),
    Mutant("a twin that was saved", lambda g: g["meta"].update(mode="int8"),
           ("meta.mode: got 'int",)),
    Mutant("classes are a number", lambda g: g["meta"].update(classes=7), ("meta.classes: got 7",)),
    Mutant("a note that is added", lambda g: g["meta"].update(notes=["mine"])),
    Mutant("a key that nobody reads", top(comment="mine")),
    Mutant("tensors in another order", lambda g: g["tensors"].reverse()),
    Mutant("constant activations said to be none", tensor("input", constant=False)),
]  # fmt: skip


@each(GRAPHS)
def test_graphs(bnnsim, kept, work, mutant):
    file = bnn_files.with_graph((kept / "net.bnn").read_bytes(), mutant.change)
    check(bnnsim, kept, work, file, mutant.says)


def test_messages_of_huge_values_are_short(bnnsim, kept, work):
    change = tensor("input", shape="x" * 2**20)
    said = run(bnnsim, kept, bnn_files.with_graph((kept / "net.bnn").read_bytes(), change))
    check_refused(said, "net.bnn: ", ("tensor 'input': shape: got 'xxx",))
    assert len(said.err) < 1000


# --- weights -----------------------------------------------------------------------------------


def put(value: float, place: int = 0):
    def change(array):
        array.reshape(-1)[place] = value
        return array

    return change


def high_bit(array):
    return array | np.uint64(2**63)


ARRAYS = [
    ("batchnorm2.mean", Mutant("nan", put(np.nan, 2), ("'batchnorm2.mean'[2]: got nan",))),
    ("batchnorm2.mean", Mutant("inf", put(np.inf), ("'batchnorm2.mean'[0]: got inf",))),
    ("batchnorm2.gamma", Mutant("nan gamma", put(np.nan, 4), ("'batchnorm2.gamma'[4]: got nan",))),
    ("batchnorm2.var", Mutant("negative variance", put(-3, 1),
     ("node 'batchnorm2' (BatchNorm): var + eps: got -2.99",))),
    ("batchnorm2.mean", Mutant("mean gone", lambda a: None,
     ("'batchnorm2.mean': got 'no array'",))),
    ("batchnorm2.mean", Mutant("mean too long", lambda a: np.append(a, a),
     ("'batchnorm2.mean': got 'float32 (10,)', expected float32 (5,)",))),
    ("batchnorm2.mean", Mutant("mean of float64", lambda a: a.astype(np.float64),
     ("'batchnorm2.mean': got 'float64 (5,)', expected float32 (5,)",))),
    ("batchnorm2.mean", Mutant("mean in a column", lambda a: a[:, None],
     ("'batchnorm2.mean': got 'float32 (5, 1)'",))),
    ("encode0.table", Mutant("table too short", lambda a: a[:255],
     ("'encode0.table': got 'int16 (255,)', expected int16 (256,)",))),
    ("encode0.table", Mutant("table unsigned", lambda a: a.astype(np.uint16),
     ("'encode0.table': got 'uint16 (256,)'",))),
    ("conv2d1.weight", Mutant("bits unpacked", lambda a: a.astype(np.int8),
     ("'conv2d1.weight': got 'int8 (5, 3, 3, 1)', expected uint64 words",))),
    ("conv2d1.weight", Mutant("bits past the end", high_bit,
     ("'conv2d1.weight': got 'set bits past the end', expected zero tail bits",))),
    ("dense6.weight", Mutant("words transposed", lambda a: a.T,
     ("'dense6.weight': got 'uint64 (1, 7)",))),
    ("dense6.weight", Mutant("a row short", lambda a: a[:-1],
     ("'dense6.weight': got 'uint64 (6, 1)'",))),
    ("threshold7.direction", Mutant("direction 0", put(0, 3),
     ("node 'threshold7' (Threshold): direction: got 0, expected -1 or 1",))),
    ("threshold7.thresholds", Mutant("thresholds of int64", lambda a: a.astype(np.int64),
     ("'threshold7.thresholds': got 'int64 (7, 1)', expected int32 (7, 1)",))),
]  # fmt: skip


@pytest.mark.parametrize(("name", "mutant"), ARRAYS, ids=[m.name for _, m in ARRAYS])
def test_arrays(bnnsim, kept, work, name, mutant):
    file = bnn_files.with_array((kept / "net.bnn").read_bytes(), name, mutant.change)
    check(bnnsim, kept, work, file, mutant.says)


def test_two_weights_of_one_shape_swapped_is_another_network_not_a_damaged_one(bnnsim, kept, work):
    """Under a hash that fits nothing is wrong: the result differs, so the hash is what guards."""
    file = (kept / "net.bnn").read_bytes()
    gamma = bnn_files.load(file)["batchnorm2.gamma"]
    other = bnn_files.with_array(file, "batchnorm2.beta", lambda _: gamma)
    assert run(bnnsim, kept, other).status == 0
    assert (work / "y.npy").read_bytes() != (kept / "y.npy").read_bytes()
