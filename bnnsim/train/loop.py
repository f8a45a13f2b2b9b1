"""Training that can stop after any epoch and go on with the same bits."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bnnsim.errors import InputError, message
from bnnsim.train.data import Split, Splits
from bnnsim.train.losses import square_hinge
from bnnsim.train.norm import BatchNorm
from bnnsim.train.optim import BinaryAdam, exponential_rate

OnBatch = Callable[[int, int, float, float], None]
"""Called after each batch with epoch, step (both from 1), mean loss and mean error so far."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train: nothing else than these, the model and the data decides the result.

    ``norm_batches`` is how many batches `settle_norms` reads after each epoch; 0 keeps the moving
    averages of the epoch's last steps.
    """

    epochs: int
    batch_size: int = 250
    lr_start: float = 3e-3
    lr_end: float = 1e-5
    seed: int = 0
    norm_batches: int = 0


def predict(model: nn.Module, images: Tensor, *, batch_size: int = 1000) -> Tensor:
    """Return the eval-mode scores (N, classes); the model's mode is restored."""
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            return torch.cat([model(batch) for batch in images.split(batch_size)])
    finally:
        model.train(was_training)


def evaluate(model: nn.Module, split: Split, *, batch_size: int = 1000) -> float:
    """Return the fraction of ``split`` that the model, in eval mode, classifies wrongly."""
    scores = predict(model, torch.from_numpy(split.images), batch_size=batch_size)
    return float((scores.argmax(1) != torch.from_numpy(split.labels)).double().mean())


def train_epoch(
    model: nn.Module,
    optimizer: BinaryAdam,
    split: Split,
    *,
    batch_size: int,
    on_batch: Callable[[int, float, float], None] | None = None,
) -> tuple[float, float]:
    """Make one pass in random order, dropping the last incomplete batch.

    Returns
    -------
    loss, error : float
        Means over the pass, measured while the weights move.

    Raises
    ------
    InputError
        If there is less than a batch of data, or the loss is not finite.
    """
    steps = len(split.labels) // batch_size
    if steps == 0:
        rule = f"at most the {len(split.labels)} training images"
        raise InputError(message("recipe: batch_size", batch_size, rule))
    images, labels = torch.from_numpy(split.images), torch.from_numpy(split.labels)
    model.train()
    total_loss = total_error = 0.0
    order = torch.randperm(len(labels))[: steps * batch_size]
    for step, rows in enumerate(order.split(batch_size)):
        scores = model(images[rows])
        loss = square_hinge(scores, labels[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total_loss += loss.item()
        total_error += float((scores.argmax(1) != labels[rows]).double().mean())
        if on_batch is not None:
            on_batch(step + 1, total_loss / (step + 1), total_error / (step + 1))
    if not total_loss < float("inf"):
        remedy = "Lower lr_start."
        raise InputError(message("training loss", total_loss, "a finite number", remedy))
    return total_loss / steps, total_error / steps


def settle_norms(model: nn.Module, images: Tensor, *, batch_size: int, batches: int) -> None:
    """Set each batch norm's running statistics to their plain means over the first batches.

    While weights still flip, a moving average lags behind the network that it belongs to: one
    flip in a 3x3 kernel moves a sum over a white background by 510. The weights stay as they are;
    the model is left in training mode.

    Parameters
    ----------
    model : torch.nn.Module
        Its `BatchNorm` modules are changed in place.
    images : Tensor
        (N, ...) as the model takes them.
    batch_size, batches : int
        How many images at once, and how many times; an incomplete batch is left out.

    References
    ----------
    Wu, Johnson, "Rethinking 'Batch' in BatchNorm", 2021, section 3 (PreciseBN).
    """
    norms = [module for module in model.modules() if isinstance(module, BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    model.train()
    whole = images[: len(images) // batch_size * batch_size]
    with torch.no_grad():
        for count, batch in enumerate(whole.split(batch_size)[:batches], start=1):
            for norm in norms:
                norm.momentum = 1 / count
            model(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def fit(
    model: nn.Module,
    splits: Splits,
    recipe: Recipe,
    *,
    checkpoint: Path,
    resume: bool = False,
    stop_after: int | None = None,
    on_batch: OnBatch | None = None,
    on_epoch: Callable[[dict[str, float]], None] | None = None,
) -> list[dict[str, float]]:
    """Train for ``recipe.epochs`` epochs, saving a checkpoint after each.

    Build the model after `torch.manual_seed`; its initial weights are not part of the recipe. The
    held-out and test errors are logged only: nothing is selected by them.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place; maps a batch of ``splits.train.images`` to class scores.
    splits : Splits
        What to train on and what to log.
    recipe : Recipe
        Must equal the checkpoint's when resuming.
    checkpoint : Path
        Written atomically after each epoch.
    resume : bool
        Go on from ``checkpoint``; the result has the same bits as an uninterrupted run on the
        same machine, library versions and thread count.
    stop_after : int, optional
        Return early once this many epochs are done.
    on_batch, on_epoch
        Progress reports.

    Returns
    -------
    list of dict
        One per epoch: epoch, lr, train_loss, train_error, heldout_error, test_error, seconds.

    Raises
    ------
    InputError
        As `load_checkpoint` and `train_epoch`.
    """
    optimizer = BinaryAdam(model, lr=recipe.lr_start)
    history: list[dict[str, float]] = []
    if resume:
        history = load_checkpoint(checkpoint, model, optimizer, recipe)
    else:
        torch.manual_seed(recipe.seed)
    for epoch in range(len(history), min(recipe.epochs, stop_after or recipe.epochs)):
        lr = exponential_rate(epoch, recipe.epochs, start=recipe.lr_start, end=recipe.lr_end)
        optimizer.set_learning_rate(lr)
        history.append(_epoch(model, optimizer, splits, recipe, epoch + 1, lr, on_batch))
        save_checkpoint(checkpoint, model, optimizer, recipe, history)
        if on_epoch is not None:
            on_epoch(history[-1])
    return history


def _epoch(
    model: nn.Module,
    optimizer: BinaryAdam,
    splits: Splits,
    recipe: Recipe,
    epoch: int,
    lr: float,
    on_batch: OnBatch | None,
) -> dict[str, float]:
    started = time.perf_counter()

    def report(step: int, loss: float, error: float) -> None:
        if on_batch is not None:
            on_batch(epoch, step, loss, error)

    loss, error = train_epoch(
        model, optimizer, splits.train, batch_size=recipe.batch_size, on_batch=report
    )
    images = torch.from_numpy(splits.train.images)
    settle_norms(model, images, batch_size=recipe.batch_size, batches=recipe.norm_batches)
    return {
        "epoch": epoch,
        "lr": lr,
        "train_loss": loss,
        "train_error": error,
        "heldout_error": evaluate(model, splits.heldout),
        "test_error": evaluate(model, splits.test),
        "seconds": time.perf_counter() - started,
    }


def save_checkpoint(
    path: Path,
    model: nn.Module,
    optimizer: BinaryAdam,
    recipe: Recipe,
    history: list[dict[str, float]],
) -> None:
    """Write everything that the next epoch depends on; a crash leaves the old file whole."""
    state: dict[str, Any] = {
        "architecture": str(model),
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "recipe": asdict(recipe),
        "history": history,
        "rng": torch.get_rng_state(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    torch.save(state, partial)
    partial.replace(path)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return a checkpoint's content; keys as in `save_checkpoint`. Runs no code from the file.

    Raises
    ------
    InputError
        If there is no such file.
    """
    if not path.is_file():
        remedy = "Start without resuming."
        raise InputError(message("checkpoint", str(path), "an existing file", remedy))
    state: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    return state


def load_checkpoint(
    path: Path, model: nn.Module, optimizer: BinaryAdam, recipe: Recipe
) -> list[dict[str, float]]:
    """Restore model, optimizer and random state; return the history.

    Raises
    ------
    InputError
        If the file is missing or was written for another model or recipe.
    """
    state = read_checkpoint(path)
    remedy = "Resume with the settings of the first run, or start anew."
    if state["recipe"] != asdict(recipe):
        rule = f"{state['recipe']}, as saved"
        raise InputError(message(f"checkpoint {path.name}: recipe", asdict(recipe), rule, remedy))
    layers = zip_longest(str(model).splitlines(), state["architecture"].splitlines())
    for given, saved in layers:
        if given != saved:
            where = f"checkpoint {path.name}: architecture"
            raise InputError(message(where, given, f"{saved!r}, as saved", remedy))
    model.load_state_dict(state["model"])
    optimizer.load_state_dict(state["optimizer"])
    torch.set_rng_state(state["rng"])
    history: list[dict[str, float]] = state["history"]
    return history
