"""Training is repeatable, resumable to the bit, learns, and records itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from bnnsim.errors import InputError
from bnnsim.train.data import Split, Splits
from bnnsim.train.loop import (
    Recipe,
    evaluate,
    fit,
    predict,
    read_checkpoint,
    settle_norms,
    train_epoch,
)
from bnnsim.train.models import digit_convnet, float_twin, mlp
from bnnsim.train.norm import BatchNorm
from bnnsim.train.optim import BinaryAdam

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


def build_convnet(seed=1):
    torch.manual_seed(seed)
    model = digit_convnet(channels=(3, 5, 4, 3), dense=9)
    return model.to(memory_format=torch.channels_last)


def build_twin(seed=1):
    return float_twin(build_convnet(seed))


def digits(count, seed):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 1, 28, 28)).astype(np.uint8)
    return Split(images, rng.integers(0, 10, count))


DIGITS = Splits(digits(50, 1), digits(12, 2), digits(13, 3))


def without_time(history):
    return [{key: row[key] for key in row if key != "seconds"} for row in history]


@pytest.mark.parametrize("norm_batches", [0, 2])
@pytest.mark.parametrize(
    ("make", "splits"), [(build, SPLITS), (build_convnet, DIGITS), (build_twin, DIGITS)]
)
def test_resumed_run_equals_uninterrupted_run_bit_for_bit(tmp_path, make, splits, norm_batches):
    recipe = replace(RECIPE, norm_batches=norm_batches)
    whole, first, second = make(), make(), make(seed=77)
    uninterrupted = fit(whole, splits, recipe, checkpoint=tmp_path / "whole.pt")
    part = tmp_path / "part.pt"
    assert len(fit(first, splits, recipe, checkpoint=part, stop_after=2)) == 2
    torch.manual_seed(12345)
    resumed = fit(second, splits, recipe, checkpoint=part, resume=True)
    assert without_time(resumed) == without_time(uninterrupted)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(second.state_dict()[name], tensor), name
    kept = [read_checkpoint(path)["optimizer"]["state"] for path in (part, tmp_path / "whole.pt")]
    for index, moments in kept[0].items():
        assert all(torch.equal(moments[key], kept[1][index][key]) for key in moments)


def test_settled_norms_hold_the_means_over_the_first_whole_batches():
    model = build_convnet()
    images = torch.from_numpy(DIGITS.train.images)
    weights = {name: value.clone() for name, value in model.named_parameters()}
    settle_norms(model, images, batch_size=16, batches=9)
    assert all(torch.equal(value, weights[name]) for name, value in model.named_parameters())
    norms = [module for module in model if isinstance(module, BatchNorm)]
    assert {norm.momentum for norm in norms} == {0.1}
    with torch.no_grad():
        sums = model[:2](images[:48]).double()  # three whole batches of 16; the last two are left
    per_batch = sums.view(3, 16, *sums.shape[1:]).movedim(2, 0).flatten(2)
    mean, var = per_batch.mean((1, 2)), per_batch.var(2).mean(1)
    torch.testing.assert_close(norms[0].running_mean.double(), mean, rtol=1e-5, atol=1e-2)
    torch.testing.assert_close(norms[0].running_var.double(), var, rtol=1e-4, atol=0)


def test_no_batches_leave_the_norms_alone():
    model = build_convnet()
    before = {name: value.clone() for name, value in model.named_buffers()}
    settle_norms(model, torch.from_numpy(DIGITS.train.images), batch_size=16, batches=0)
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())


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
