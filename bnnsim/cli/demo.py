"""The main job on the packaged network: run, check, price, and write a page."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bnnsim.accuracy import wilson
from bnnsim.cli.arguments import add_verb, positive
from bnnsim.cli.files import to_json, write_bytes
from bnnsim.cli.networks import DIFFERS, HELD, sample_shape
from bnnsim.cli.output import check_outputs, emit
from bnnsim.cli.progress import progress_bar
from bnnsim.errors import InputError, message
from bnnsim.report import costs, network
from bnnsim.report.numbers import count
from bnnsim.report.tables import Block, Mark

NETWORK = "zoo:mlp-3x2048:trained"
PROFILE = "cmos45"
TRAINED = "binary"
MODES = ("float32", "int8", "weight-only:fp32", "weight-only:int8", "binary",
         "binary-stochastic")  # fmt: skip


def demo(args: Namespace) -> int:
    """Run the packaged network on held-out digits, check it, price it, and write the page."""
    from bnnsim import api
    from bnnsim.report.html import render

    folder = Path(args.out)
    page, data = folder / "demo.html", folder / "demo.json"
    check_outputs(args, str(page), str(data))
    graph = api.load(NETWORK)
    images, labels = held_out(args.images)
    result = measure(graph, images.reshape(len(images), *sample_shape(graph)), labels)
    found = findings(result)
    write_bytes(page, render(result["comparison"], findings=found).encode())
    write_bytes(data, to_json(result).encode())
    emit(args, result, [*demo_blocks(result, found), f"wrote {page} and {data}"])
    return HELD if result["verify"]["equal"] else DIFFERS


def held_out(wanted: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return that many digits and labels, evenly spread over the file, which is sorted by class.

    Raises
    ------
    InputError
        If there are not that many.
    """
    from bnnsim.data.digits import load_digits

    images, labels = load_digits()
    wanted = len(labels) if wanted is None else wanted
    if wanted > len(labels):
        raise InputError(message("--images", wanted, f"at most {len(labels)}"))
    chosen = np.arange(wanted) * len(labels) // wanted
    return images[chosen], labels[chosen]


def measure(graph: Any, images: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """Run, verify, inspect and compare; return the result as JSON values."""
    from bnnsim import api

    with progress_bar("compiled engine", len(images)) as advance:
        run = api.run(graph, images, labels=labels, progress=advance)
    with progress_bar("engine against reference", len(images)) as advance:
        verification = api.verify(graph, images, progress=advance)
    return {
        "schema": 1,
        "run": run.to_dict(),
        "verify": verification.to_dict(),
        "inspect": api.inspect(graph).to_dict(),
        "comparison": api.compare([graph], [PROFILE], MODES).to_dict(),
        "constants": sorted(api.load_profile(PROFILE).sources.values()),
    }


def findings(result: Mapping[str, Any]) -> list[str]:
    """Return in sentences what was measured, and what it holds for."""
    run, checked = result["run"], result["verify"]
    images, accuracy = run["images"], run["accuracy"]
    low, high = wilson(accuracy, images)
    elements = sum(layer["elements"] for layer in checked["layers"])
    wrong = sum(layer["mismatches"] for layer in checked["layers"])
    return [
        f"Accuracy {100 * accuracy:.2f} % [{100 * low:.2f}, {100 * high:.2f}] on {count(images)} "
        "MNIST digits held out from training (95 % interval). It belongs to the binary column "
        "only: the other columns are what-if twins, not trained in their precision.",
        f"Engine against reference: {count(wrong)} of {count(elements)} elements differ, over "
        f"every intermediate tensor of {count(images)} images ({run['isa']} kernels).",
        f"Energy and latency are estimates on {PROFILE}, a model of a chip, not a measurement. "
        f"Its constants: {'; '.join(result['constants'])}.",
    ]


def demo_blocks(result: Mapping[str, Any], found: list[str]) -> list[Block]:
    """Return the text of the demo: findings, layers, costs."""
    comparison = result["comparison"]
    equal = result["verify"]["equal"]
    said: list[Block] = [*costs.marks(comparison["columns"]), *found]
    if not equal:
        said.insert(0, Mark("engine and reference DIFFER"))
    with_binary = [
        r for r in comparison["ratios"] if TRAINED in (r["of"]["mode"], r["over"]["mode"])
    ]
    return [
        *said,
        *network.inspect_blocks(result["inspect"]),
        costs.summary_table(comparison["columns"]),
        costs.components_table(comparison["columns"]),
        *costs.ratio_tables(with_binary),
    ]


def _add_demo(verbs: Any) -> None:
    parser = add_verb(verbs, "demo", demo, "the main job on the packaged network, with a page")
    parser.add_argument("--images", type=positive, metavar="N", help="of 5,000; default all")
    parser.add_argument("--out", metavar="DIR", default=".", help="gets demo.html and demo.json")


VERBS = (_add_demo,)
