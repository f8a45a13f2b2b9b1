"""SOURCE.onnx, export, and verify against onnx, as a user types them."""

from __future__ import annotations

import builtins
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from bnnsim import api  # noqa: E402
from bnnsim.errors import SourceError  # noqa: E402


@pytest.fixture(scope="module")
def net(tmp_path_factory) -> Path:
    """Return a folder with a ConvNet as net.onnx of standard operators, and images for it."""
    from onnx import TensorProto, helper, numpy_helper

    folder = tmp_path_factory.mktemp("onnx")
    rng = np.random.default_rng(5)
    held = {
        "w": rng.choice(np.array([-1, 1], np.float32), (4, 2, 3, 3)),
        "w2": rng.normal(size=(3, 16)).astype(np.float32), "zero": np.float32(0),
        "one": np.float32(1), "minus": np.float32(-1),
    }  # fmt: skip
    ops = [
        ("Conv", ["x", "w"], "c", {"pads": [1, 1, 1, 1], "strides": [2, 2]}),
        ("GreaterOrEqual", ["c", "zero"], "t", {}),
        ("Where", ["t", "one", "minus"], "s", {}),
        ("MaxPool", ["s"], "p", {"kernel_shape": [1, 1]}),
        ("Flatten", ["p"], "f", {}),
        ("Gemm", ["f", "w2"], "l", {"transB": 1}),
        ("Softmax", ["l"], "y", {}),
    ]
    nodes = [helper.make_node(op, read, [made], **attrs) for op, read, made, attrs in ops]
    graph = helper.make_graph(
        nodes, "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2, "H", "W"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in held.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "net.onnx")
    np.save(folder / "x.npy", (rng.integers(-2, 3, (6, 4, 4, 2)) / 2).astype(np.float32))
    return folder


def test_verify_against_onnx_compares_every_tensor(bnnsim, net) -> None:
    source = (net / "net.onnx", "--input-shape", "2,4,4", "--input", net / "x.npy")
    result = bnnsim.json("verify", *source, "--against", "onnx", schema="verify")
    assert result["tolerance"] == 1e-5
    assert result["against"] in ("onnx", "onnxruntime")
    assert [layer["tensor"] for layer in result["layers"]] == [
        "conv1.out", "sign1.out", "pool1.out", "flatten1.out", "dense2.out", "dense2.out",
    ]  # fmt: skip
    assert result["layers"][-1]["name"] == "output"
    assert (result["equal"], result["argmax_agreement"]) == (True, 1.0)
    assert result["ties_at"] == {"sign1": result["ties"]}
    assert result["ties"] > 0


def test_verify_counts_what_differs(bnnsim, net, tmp_path) -> None:
    """A Sign is 0 at ties where the graph has +1: the differences are the ties, and no others."""
    model = onnx.load(net / "net.onnx")
    signs = [n for n in model.graph.node if n.op_type in ("GreaterOrEqual", "Where")]
    for node in signs:
        model.graph.node.remove(node)
    model.graph.node.insert(1, onnx.helper.make_node("Sign", ["c"], ["s"]))
    onnx.save(model, tmp_path / "sign.onnx")
    source = (tmp_path / "sign.onnx", "--input-shape", "2,4,4", "--input", net / "x.npy")
    result = bnnsim.json("verify", *source, "--against", "onnx", schema="verify", status=1)
    wrong = {layer["tensor"]: layer["mismatches"] for layer in result["layers"]}
    assert wrong["conv1.out"] == 0
    assert wrong["sign1.out"] == result["ties"] > 0
    assert result["finding"] is None
    assert all(layer["explained"] == layer["mismatches"] for layer in result["layers"])
    text = bnnsim.refused("inspect", *source[:3], "--sign-zero", "error")
    assert "expected sign(0) = +1" in text


def test_verify_against_onnx_says_what_it_needs(bnnsim, net, tmp_path) -> None:
    text = bnnsim.refused("verify", "zoo:tfc:random", "--input", net / "x.npy", "--against", "onnx")
    assert "verify against onnx: got 'zoo:tfc:random', expected an .onnx source" in text
    assert "Give --input-shape" in bnnsim.refused("inspect", net / "net.onnx")


def test_without_qonnx_its_operators_are_named(net, tmp_path, monkeypatch) -> None:
    path = tmp_path / "tfc.onnx"
    api.export(api.load("zoo:tfc:random"), path, to="qonnx")
    found = __import__("importlib.util").util.find_spec
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name == "qonnx" else found(name)
    )
    with pytest.raises(SourceError, match="got 'no qonnx', expected the package qonnx, for the"):
        api.load_executor(path)


def test_export_to_qonnx_and_to_a_folder(bnnsim, tmp_path, rng) -> None:
    path = tmp_path / "net.onnx"
    argv = ("export", "zoo:tfc:random", "--to", "qonnx", "-o", path)
    result = bnnsim.json(*argv, "--profile", "cmos45", schema="export")
    assert (result["to"], result["files"], result["profile"]) == ("qonnx", ["net.onnx"], "cmos45")
    said = bnnsim(*argv)
    assert said.status == 0
    assert f"wrote {path}" in said.out
    np.save(tmp_path / "x.npy", rng.integers(0, 256, (5, 784)).astype(np.uint8))
    outputs = []
    for source in ("zoo:tfc:random", path):
        run = ("run", source, "--input", tmp_path / "x.npy", "-o", tmp_path / "y.npy")
        assert bnnsim(*run).status == 0
        outputs.append(np.load(tmp_path / "y.npy"))
    assert (outputs[0] == outputs[1]).all()


def test_export_refuses_what_it_cannot_do(bnnsim, tmp_path) -> None:
    source = ("export", "zoo:mnist-convnet:trained")
    text = bnnsim.refused(*source, "--to", "pynq", "-o", tmp_path / "folder")
    assert "node 'encode' (Encode): got 'another table'" in text
    text = bnnsim.refused(*source, "--to", "onyx", "-o", tmp_path / "net.onnx")
    assert "got 'onyx', expected one of qonnx, pynq" in text
    text = bnnsim.refused(*source, "--to", "qonnx", "-o", tmp_path / "net.pb")
    assert "expected a file name that ends in .onnx" in text
    text = bnnsim.refused(*source, "--to", "qonnx", "-o", tmp_path / "no" / "net.onnx")
    assert "no such folder" in text
    assert not list(tmp_path.iterdir())


def test_without_onnx_the_extra_is_named(net, monkeypatch) -> None:
    real = builtins.__import__

    def lacking(name: str, *args, **options):
        if name == "onnx" or name.startswith("onnx."):
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(
        SourceError, match=r"onnx: got 'not installed'.*pip install 'bnnsim\[onnx\]'"
    ):
        api.load(net / "net.onnx")


def test_onnx_is_imported_only_when_it_is_needed() -> None:
    code = "import sys, bnnsim, bnnsim.cli; sys.exit('onnx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
