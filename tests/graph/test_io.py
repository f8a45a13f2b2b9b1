"""``.bnn`` files: exact round trips, and every kind of damage refused by name."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from nets import Builder, convnet, mlp
from safetensors.numpy import save_file

from bnnsim.engine.reference import execute
from bnnsim.errors import BnnsimError, GraphError, SourceError
from bnnsim.graph.dtypes import TERNARY, DType
from bnnsim.graph.io import SCHEMA, _digest, _read, load, save
from bnnsim.passes.precision import to_mode


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "net.bnn"
    save(convnet(3), path)
    return path


def rewritten(path: Path, change) -> Path:
    """Write ``path`` again with its graph JSON changed and a hash that fits."""
    metadata, arrays = _read(path)
    plain = json.loads(metadata["graph"])
    change(plain, arrays)
    text = json.dumps(plain)
    save_file(arrays, path, {"schema": SCHEMA, "graph": text, "sha256": _digest(text, arrays)})
    return path


def test_round_trip_keeps_every_node_tensor_and_output(saved: Path) -> None:
    before, after = convnet(3), load(saved)
    assert after.nodes == before.nodes
    assert after.meta == before.meta
    for name, tensor in before.tensors.items():
        other = after.tensor(name)
        assert (other.shape, other.dtype, other.constant) == (
            tensor.shape, tensor.dtype, tensor.constant)  # fmt: skip
        if tensor.data is not None:
            assert other.data.dtype == tensor.data.dtype
            assert (other.data == tensor.data).all()
    x = Builder((13, 11, 3), seed=9).batch(5)
    assert (execute(before, x)[before.outputs[0]] == execute(after, x)[after.outputs[0]]).all()


def test_bits_are_stored_as_bits(tmp_path: Path) -> None:
    graph = mlp(widths=(1024, 512), inputs=1024)
    save(graph, tmp_path / "net.bnn")
    assert (tmp_path / "net.bnn").stat().st_size < (1024 * 1024 + 1024 * 512) // 8 + 40_000


@pytest.mark.parametrize("bits", [2, 7, 8])
def test_levels_survive(tmp_path: Path, bits: int) -> None:
    twin = to_mode(mlp(1), f"w{bits}a{bits}", lowered=False)
    graph = replace(twin, meta={})  # as a source that was trained with levels
    save(graph, tmp_path / "net.bnn")
    other = load(tmp_path / "net.bnn")
    assert other.nodes == graph.nodes
    weight = next(t for t in graph.constants() if t.dtype == DType("bipolar", bits))
    assert other.tensor(weight.name).dtype == weight.dtype
    assert (other.tensor(weight.name).data == weight.data).all()

    def make_even(_, arrays) -> None:
        arrays[weight.name] = np.full_like(arrays[weight.name], 2)

    rewritten(tmp_path / "net.bnn", make_even)
    with pytest.raises(SourceError, match=rf"got 2, expected values that bipolar{bits} holds"):
        load(tmp_path / "net.bnn")


def test_scale_and_ternary_survive(tmp_path: Path) -> None:
    net = Builder((6,)).encode(np.arange(256) % 3 - 1, TERNARY)
    net.add("Cast", dtype="float32")
    graph = net.graph()
    scaled = DType("ternary", 2, scale=0.25)
    table = replace(graph.tensor("encode0.table"), dtype=scaled)
    graph = replace(graph, tensors={**graph.tensors, table.name: table})
    save(graph, tmp_path / "net.bnn")
    assert load(tmp_path / "net.bnn").tensor("encode0.table").dtype == scaled


@pytest.mark.parametrize("keep", [0, 5, 8, 100, 0.5, 0.99, -1])
def test_truncated_files_are_refused(saved: Path, keep: float) -> None:
    whole = saved.read_bytes()
    size = int(keep * len(whole)) if isinstance(keep, float) else keep % len(whole)
    saved.write_bytes(whole[:size])
    with pytest.raises(SourceError, match=r"net\.bnn.*(truncated|header length)"):
        load(saved)


def test_a_flipped_byte_anywhere_is_refused(saved: Path) -> None:
    whole = bytearray(saved.read_bytes())
    rng = np.random.default_rng(5)
    for place in rng.integers(0, len(whole), 60):
        damaged = bytearray(whole)
        damaged[place] ^= int(rng.integers(1, 256))
        saved.write_bytes(damaged)
        try:
            after = load(saved)
        except BnnsimError as error:
            assert "net.bnn" in str(error)  # noqa: PT017
        else:  # a flip in the padding of the header changes nothing
            assert after.nodes == convnet(3).nodes


def test_changed_weights_do_not_match_the_hash(saved: Path) -> None:
    whole = bytearray(saved.read_bytes())
    whole[-1] ^= 1
    saved.write_bytes(whole)
    with pytest.raises(SourceError, match=r"net\.bnn: sha256: got .* expected the SHA-256"):
        load(saved)


def test_a_huge_header_length_is_refused_before_allocation(saved: Path) -> None:
    whole = saved.read_bytes()
    saved.write_bytes(struct.pack("<Q", 2**62) + whole[8:])
    with pytest.raises(SourceError, match="header length: got 4611686018427387904"):
        load(saved)


def test_other_schemas_and_files_are_refused(saved: Path, tmp_path: Path) -> None:
    save_file({"a": np.zeros(3)}, tmp_path / "other.bnn", {"schema": "bnnsim/graph/99"})
    with pytest.raises(
        SourceError, match=r"schema: got 'bnnsim/graph/99', expected 'bnnsim/graph/1'"
    ):
        load(tmp_path / "other.bnn")
    with pytest.raises(SourceError, match=r"missing\.bnn: got 'No such file"):
        load(tmp_path / "missing.bnn")
    with pytest.raises(SourceError, match=r"expected a readable \.bnn file"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda g, a: g["tensors"][0].update(shape=[2**31]), "shape: got 2147483648"),
        (lambda g, a: g["tensors"][0].update(shape=[-1, 3]), "shape: got -1"),
        (lambda g, a: g["tensors"][0].update(dtype="float99"), "dtype: got 'float99'"),
        (lambda g, a: g["nodes"][0].update(op="Exec"), "got 'Exec', expected an op among"),
        (lambda g, a: g["nodes"][0].update(id=True), r"nodes\[0\]: id: got True"),
        (
            lambda g, a: g["nodes"][0].update(inputs="input"),
            r"nodes\[0\]: inputs: got 'input', expected a list",
        ),
        (lambda g, a: g.pop("nodes"), "graph: nodes: got 'nothing', expected a list"),
        (lambda g, a: g.update(nodes=7), "graph: nodes: got 7, expected a list"),
        (lambda g, a: g.update(outputs=["nowhere"]), "'nowhere' is used but not described"),
        (lambda g, a: a.update(stray=np.zeros(2)), "got 'stray', expected arrays that the graph"),
        (lambda g, a: a.pop("conv2d1.weight"), "'conv2d1.weight': got 'no array'"),
        (lambda g, a: a.update({"conv2d1.weight": np.zeros(4)}), "expected uint64 words of shape"),
        (
            lambda g, a: a.update({"conv2d1.weight": a["conv2d1.weight"] | np.uint64(2**63)}),
            "got 'set bits past the end', expected zero tail bits",
        ),
        (
            lambda g, a: a.update({"batchnorm2.var": a["batchnorm2.var"] * np.nan}),
            r"'batchnorm2.var'\[0\]: got nan",
        ),
    ],
)
def test_tampered_graphs_with_a_fitting_hash_are_refused(saved: Path, change, text: str) -> None:
    with pytest.raises(SourceError, match=text) as caught:
        load(rewritten(saved, change))
    assert str(caught.value).startswith(str(saved))


def test_a_failed_save_leaves_the_old_file_and_no_part(tmp_path: Path) -> None:
    path = tmp_path / "net.bnn"
    save(mlp(), path)
    before = path.read_bytes()
    graph = mlp(1)
    weight = graph.tensor("dense1.weight")
    broken = replace(graph, tensors={**graph.tensors, weight.name: replace(weight, data=None)})
    with pytest.raises(GraphError, match="got 'no weights'"):
        save(broken, path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["net.bnn"]


def test_saving_into_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="in a folder that exists"):
        save(mlp(), tmp_path / "no" / "net.bnn")


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"notes": 5}, "meta.notes: got 5, expected a list of strings"),
        ({"notes": [float("nan")]}, "NaN is no JSON number"),
        ({"decision": []}, r"meta.decision: got \[\], expected one of argmax, last-set-bit"),
        ({"mode": "native"}, "meta.mode: got 'native', expected a model graph"),
    ],
)
def test_meta_entries_are_checked(saved: Path, entry: dict, text: str) -> None:
    with pytest.raises(SourceError, match=text):
        load(rewritten(saved, lambda g, a: g["meta"].update(entry)))


def test_infinite_zero_points_are_refused(saved: Path) -> None:
    dtype = {"name": "uint8", "scale": 1, "zero_point": 1e999}
    with pytest.raises(SourceError, match="Infinity is no JSON number"):
        load(rewritten(saved, lambda g, a: g["tensors"][0].update(dtype=dtype)))


def test_rewritten_graphs_are_not_saved_as_models(tmp_path: Path) -> None:
    from bnnsim.passes.precision import to_mode

    with pytest.raises(GraphError, match="Save the graph that load"):
        save(to_mode(mlp(), "int8"), tmp_path / "net.bnn")
