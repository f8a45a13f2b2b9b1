"""Command line, progress bar and record of an MNIST training run."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import yaml
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from torch import nn

from bnnsim.data.digits import load_digits
from bnnsim.errors import BnnsimError, InputError, message
from bnnsim.train.data import Split, Splits, mnist_hashes, mnist_splits
from bnnsim.train.loop import OnBatch, Recipe, fit, read_checkpoint
from bnnsim.train.models import float_twin

SMOKE_IMAGES = 5000


@dataclass(frozen=True, slots=True)
class Experiment:
    """What distinguishes one training experiment from another.

    Attributes
    ----------
    name : str
        Of its folder, its checkpoint and, in the record, itself.
    packaged : str
        Stem of its files in bnnsim/data.
    build : callable
        Makes the network from the keyword arguments in config.yaml.
    image_shape : tuple of int
        What the network takes, without the batch axis; 784 pixels in all.
    smoke : dict
        Keyword arguments of ``build`` that --smoke replaces.
    """

    name: str
    packaged: str
    build: Callable[..., nn.Sequential]
    image_shape: tuple[int, ...]
    smoke: dict[str, Any]

    @property
    def folder(self) -> Path:
        """Where its config, results and checkpoints lie."""
        return Path(__file__).parents[1] / self.name

    def splits(self, data: Path) -> Splits:
        """Read MNIST from a folder, in the network's shape."""
        splits = mnist_splits(data, load_digits())
        parts = (splits.train, splits.heldout, splits.test)
        return Splits(*(Split(p.images.reshape(-1, *self.image_shape), p.labels) for p in parts))


def read_config(path: Path) -> tuple[dict[str, Any], Recipe]:
    """Return the model's keyword arguments and the recipe."""
    config = yaml.safe_load(path.read_text())
    try:
        model = dict(config["model"])
        recipe = Recipe(**config["recipe"])
    except (TypeError, KeyError) as error:
        rule = "the sections 'model' and 'recipe' with the keys of the packaged config.yaml"
        raise InputError(message(path.name, str(error), rule)) from error
    return model, recipe


def parse(experiment: Experiment, argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog=f"experiments.{experiment.name}", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of MNIST's IDX files")
    parser.add_argument("--config", type=Path, default=experiment.folder / "config.yaml")
    parser.add_argument("--twin", choices=("binary", "float"), default="binary",
                        help="float: real weights, hardtanh for sign, all else equal")  # fmt: skip
    parser.add_argument("--epochs", type=int, help="instead of the config's")
    parser.add_argument(
        "--out", type=Path, default=experiment.folder, help="gets checkpoints/ and results/"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    parser.add_argument("--smoke", action="store_true", help="a small run of under a minute")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args(argv)


def shrink(splits: Splits) -> Splits:
    """Keep a strided tenth or so of each part, for --smoke."""

    def part(split: Split) -> Split:
        stride = max(1, len(split.labels) // SMOKE_IMAGES)
        return Split(split.images[::stride], split.labels[::stride])

    return Splits(part(splits.train), part(splits.heldout), part(splits.test))


@contextmanager
def progress_bar(recipe: Recipe, images: int) -> Iterator[OnBatch]:
    """Show epoch, loss, training error and remaining time; plain lines come from `log_epoch`."""
    steps = images // recipe.batch_size
    columns = (
        TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
        BarColumn(),
        TextColumn("loss {task.fields[loss]:.4f} error {task.fields[error]:.2%}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(
            "train", total=recipe.epochs * steps, epoch=0, epochs=recipe.epochs, loss=0.0, error=0.0
        )

        def advance(epoch: int, step: int, loss: float, error: float) -> None:
            done = (epoch - 1) * steps + step
            progress.update(task, completed=done, epoch=epoch, loss=loss, error=error)

        yield advance


def log_epoch(row: dict[str, float]) -> None:
    print(
        f"epoch {row['epoch']:3.0f}  lr {row['lr']:.2e}  loss {row['train_loss']:.5f}  "
        f"train {row['train_error']:.2%}  heldout {row['heldout_error']:.2%}  "
        f"test {row['test_error']:.2%}  {row['seconds']:.1f} s",
        flush=True,
    )


def record(
    experiment: Experiment,
    args: argparse.Namespace,
    model: dict[str, Any],
    recipe: Recipe,
    history: list[dict[str, float]],
) -> dict[str, Any]:
    """Return what a reader needs to judge and repeat the run."""
    return {
        "schema": 1,
        "experiment": experiment.name,
        "twin": args.twin,
        "smoke": args.smoke,
        "model": model,
        "recipe": asdict(recipe),
        "threads": args.threads,
        "data_sha256": mnist_hashes(args.data),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "libraries": {name: version(name) for name in ("torch", "numpy", "mlxtend")},
        "train_seconds": sum(row["seconds"] for row in history),
        "heldout_accuracy": 1.0 - history[-1]["heldout_error"],
        "test_accuracy": 1.0 - history[-1]["test_error"],
        "history": history,
    }


def trained(experiment: Experiment, checkpoint: Path, *, config: Path) -> nn.Sequential:
    """Return the network of ``config`` with the weights of ``checkpoint``, in eval mode."""
    model_args, _ = read_config(config)
    model = experiment.build(**model_args)
    model.load_state_dict(read_checkpoint(checkpoint)["model"])
    return model.eval()


def run_name(experiment: Experiment, args: argparse.Namespace) -> tuple[str, str]:
    """Return the stems of the checkpoint and of the record."""
    twin = "" if args.twin == "binary" else f"_{args.twin}"
    checkpoint, result = ("smoke", "smoke") if args.smoke else (experiment.name, "record")
    return checkpoint + twin, result + twin


def run(experiment: Experiment, args: argparse.Namespace) -> dict[str, Any]:
    """Train as the arguments say; write the checkpoint and the record; return the record."""
    model_args, recipe = read_config(args.config)
    splits = experiment.splits(args.data)
    if args.smoke:
        splits, recipe = shrink(splits), replace(recipe, epochs=2)
        model_args = {**model_args, **experiment.smoke}
    if args.epochs is not None:
        recipe = replace(recipe, epochs=args.epochs)
    torch.set_num_threads(args.threads)
    torch.manual_seed(recipe.seed)
    model = experiment.build(**model_args)
    if args.twin == "float":
        model = float_twin(model)
    checkpoint, stem = run_name(experiment, args)
    with progress_bar(recipe, len(splits.train.labels)) as advance:
        history = fit(
            model.to(memory_format=torch.channels_last),  # faster convolutions
            splits,
            recipe,
            checkpoint=args.out / "checkpoints" / f"{checkpoint}.pt",
            resume=args.resume,
            on_batch=advance,
            on_epoch=log_epoch,
        )
    result = record(experiment, args, model_args, recipe, history)
    target = args.out / "results" / f"{stem}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(result, indent=1) + "\n")
    return result


def main(experiment: Experiment, argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    try:
        result = run(experiment, parse(experiment, argv))
    except BnnsimError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2
    print(f"held-out {result['heldout_accuracy']:.2%}, test {result['test_accuracy']:.2%}")
    return 0
