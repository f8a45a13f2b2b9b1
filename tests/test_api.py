"""The public functions: loading, running, deciding, verifying, and the record of a run."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from nets import Builder, convnet, mlp

import bnnsim
from bnnsim import execution
from bnnsim.engine.reference import execute
from bnnsim.errors import GraphError, InputError, SourceError
from bnnsim.graph.dtypes import FLOAT32


@pytest.fixture
def images() -> np.ndarray:
    return Builder((13, 11, 3), seed=2).batch(20)


def test_run_gives_the_reference_outputs_and_says_what_ran(images: np.ndarray) -> None:
    graph = convnet(1)
    compiled = bnnsim.run(graph, images, threads=2)
    reference = bnnsim.run(graph, images, engine="reference")
    assert (compiled.outputs == reference.outputs).all()
    assert (compiled.outputs == execute(graph, images)[graph.outputs[0]]).all()
    assert {t.op for t in compiled.kernels} >= {"Conv2d", "Threshold", "Dense"}
    assert reference.kernels == ()
    assert compiled.accuracy is None


def test_kept_layers_are_found_by_node_name(images: np.ndarray) -> None:
    graph = convnet(1)
    result = bnnsim.run(graph, images, keep=["quantize3"])
    assert (result.tensors["quantize3"] == execute(graph, images)["quantize3.out"]).all()
    with pytest.raises(InputError, match=r"layer: got 'quantise3'.*Did you mean 'quantize3'"):
        bnnsim.run(graph, images, keep=["quantise3"])


def test_accuracy_is_the_share_of_equal_decisions(images: np.ndarray) -> None:
    graph = convnet(1)
    classes = bnnsim.run(graph, images).outputs.argmax(axis=1)
    labels = np.where(np.arange(20) < 5, (classes + 1) % 7, classes)
    assert bnnsim.run(graph, images, labels=labels).accuracy == 0.75


def test_classes_are_ranked_by_the_rule_that_decides(images: np.ndarray) -> None:
    graph = convnet(1)
    outputs = np.array([[3, 9, 9, -4], [-(2**31), 2**31 - 1, 0, 0], [0, 0, 0, 0]], np.int32)
    assert execution.ranked(graph, outputs, 3).tolist() == [[1, 2, 0], [1, 2, 3], [0, 1, 2]]
    bits = np.array([[1, -1, 1, -1], [-1, -1, -1, 1], [-1, -1, -1, -1]], np.int8)
    last = graph.with_meta(decision="last-set-bit")
    assert execution.ranked(last, bits).tolist() == [[2, 0], [3, 0], [0, 1]]
    for net, values in ((graph, outputs), (last, bits)):
        assert (execution.ranked(net, values)[:, 0] == bnnsim.decide(net, values)).all()
    assert execution.ranked(graph, outputs[:, :1]).tolist() == [[0], [0], [0]]


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        (np.zeros(19, int), r"labels: got \(19,\), expected shape \(20,\)"),
        (np.zeros(20), "labels: got 'float64', expected an integer dtype"),
    ],
)
def test_labels_that_do_not_fit_are_refused(images: np.ndarray, labels, text: str) -> None:
    with pytest.raises(InputError, match=text):
        bnnsim.run(convnet(1), images, labels=labels)


def test_decide_knows_both_rules() -> None:
    bits = np.array([[-1, 1, -1, 1], [-1, -1, -1, -1], [1, -1, -1, -1]])
    last = mlp().with_meta(decision="last-set-bit")
    assert bnnsim.decide(last, bits).tolist() == [3, 0, 0]
    assert bnnsim.decide(mlp(), np.array([[2, 5, 5], [-1, -3, -1]])).tolist() == [1, 0]


def test_an_engine_is_planned_once_and_equals_run(images: np.ndarray) -> None:
    graph = convnet(2)
    engine = bnnsim.Engine(graph, threads=2, isa="ref")
    assert (engine.run(images) == bnnsim.run(graph, images).outputs).all()


def test_verify_compares_every_tensor_and_counts_ties(images: np.ndarray) -> None:
    graph = convnet(1)
    result = bnnsim.verify(graph, images)
    assert result.ok
    assert result.argmax_agreement == 1
    assert {layer.tensor for layer in result.layers} >= {
        n.output for n in bnnsim.lower(graph).nodes
    }
    values = execute(graph, images)
    signs = [n.inputs[0] for n in graph.nodes if n.op == "Quantize"]
    assert result.ties == sum(int((values[name] == 0).sum()) for name in signs)
    assert result.ties > 0


def test_verify_sees_one_wrong_bit(images: np.ndarray, monkeypatch) -> None:
    graph = convnet(1)
    original = execution.Plan.run

    def flipped(self, x, **options):
        values = original(self, x, **options)
        wrong = values["quantize3.out"].copy()
        wrong.flat[7] *= -1
        return {**values, "quantize3.out": wrong}

    monkeypatch.setattr("bnnsim.engine.execute.Plan.run", flipped)
    result = bnnsim.verify(graph, images)
    assert not result.ok
    assert [layer.tensor for layer in result.layers if layer.mismatches] == ["quantize3.out"]


def test_verify_against_stored_outputs(images: np.ndarray) -> None:
    graph = convnet(1)
    outputs = bnnsim.run(graph, images).outputs
    assert bnnsim.verify(graph, images, against=outputs).ok
    outputs[3, 2] += 1
    result = bnnsim.verify(graph, images, against=outputs)
    assert [layer.mismatches for layer in result.layers] == [1]
    with pytest.raises(InputError, match=r"got \(20, 6\), expected shape \(20, 7\)"):
        bnnsim.verify(graph, images, against=outputs[:, :6])
    with pytest.raises(InputError, match="at least one image"):
        bnnsim.verify(graph, images[:0])


def test_progress_counts_every_image_once(images: np.ndarray) -> None:
    for engine in ("compiled", "reference"):
        seen: list[int] = []
        bnnsim.run(convnet(1), images, engine=engine, progress=seen.append)
        assert sum(seen) == 20


def test_the_record_hashes_inputs_and_is_json(images: np.ndarray) -> None:
    first = bnnsim.run(convnet(1), images).to_dict()
    again = bnnsim.run(convnet(1), images.copy()).to_dict()
    other = bnnsim.run(convnet(1), images[::-1]).to_dict()
    key = first["record"]["input_hashes"]["input"]
    assert key == again["record"]["input_hashes"]["input"]
    assert key != other["record"]["input_hashes"]["input"]
    assert json.loads(json.dumps(first))["record"]["libraries"]["numpy"]


def test_save_and_load(tmp_path: Path, images: np.ndarray) -> None:
    graph = convnet(4)
    bnnsim.save(graph, tmp_path / "net.bnn")
    loaded = bnnsim.load(tmp_path / "net.bnn")
    assert (bnnsim.run(loaded, images).outputs == bnnsim.run(graph, images).outputs).all()
    assert bnnsim.load(loaded) is loaded


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("net.xyz", r"source: got 'net\.xyz', expected NET\.bnn"),
        ("zoo:mlp-3x2049", "mlp-3x2048"),
        ("zoo:lfc:randm", "got 'randm', expected nothing, 'trained', 'random' or 'random,SEED'"),
        ("zoo:lfc:random,x", "expected nothing, 'trained', 'random' or 'random,SEED'"),
        ("pynq:/no/such/folder", "/no/such/folder"),
        ("missing.bnn", "missing.bnn: got 'No such file or directory'"),
    ],
)
def test_unknown_sources_are_refused(source: str, text: str) -> None:
    with pytest.raises(SourceError, match=text):
        bnnsim.load(source)


def test_zoo_nets_without_weights_are_costed_not_run() -> None:
    graph = bnnsim.load("zoo:tfc")
    assert bnnsim.inspect(graph).macs == 784 * 64 + 64 * 64 + 64 * 64 + 64 * 10
    with pytest.raises(GraphError, match="can be estimated, not run"):
        bnnsim.run(graph, np.zeros((1, 784), np.uint8))


def test_read_only_arrays_are_accepted(images: np.ndarray) -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.Linear(5, 4, bias=False)
    module.weight.data = torch.arange(20.0).reshape(4, 5)  # small integers: exact in any order
    x = np.random.default_rng(0).integers(-9, 9, (3, 5)).astype(np.float32)
    for array in (x, images):
        array.setflags(write=False)
    graph = bnnsim.load(module, input_shape=(5,))
    assert bnnsim.verify(graph, x, against=module).ok
    assert bnnsim.verify(convnet(1), images).ok


def test_numbers_that_overflow_are_named_and_compare_equal() -> None:
    net = Builder((2,), dtype=FLOAT32)
    net.add("Dense", {"weight": (np.array([[3e38, -3e38]]), FLOAT32)})
    inf = np.full(1, 3e38)
    net.add("Affine", {"scale": (inf, FLOAT32), "bias": (-inf, FLOAT32)})
    net.add("Affine", {"scale": (np.zeros(1), FLOAT32), "bias": (inf, FLOAT32)})
    graph = net.graph()
    x = np.array([[0, 0], [3e38, 3e37]], np.float32)
    with pytest.raises(InputError, match="output of image 1: got 'nan', expected numbers"):
        bnnsim.run(graph, x)
    assert bnnsim.verify(graph, x).ok


@pytest.mark.parametrize("how", ["", "random,", "random,-1", "random,\u0663", f"random,{2**64}"])
def test_zoo_seeds_have_64_bits(how: str) -> None:
    with pytest.raises(SourceError, match="expected nothing, 'trained', 'random' or 'random,SEED'"):
        bnnsim.load(f"zoo:tfc:{how}")
    assert bnnsim.load(f"zoo:tfc:random,{2**64 - 1}").has_weights


def test_a_pipe_is_no_network(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.bnn")
    with pytest.raises(SourceError, match=r"pipe.bnn: got 'a pipe or device', expected a regular"):
        bnnsim.load(tmp_path / "pipe.bnn")
