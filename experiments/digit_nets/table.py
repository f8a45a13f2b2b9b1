"""Write the result table of README.md from results/record.json."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from bnnsim.accuracy import wilson

MARKED = re.compile(r"(?<=<!-- table -->\n).*(?=<!-- end -->)", re.DOTALL)
EPOCHS_SHOWN = 8
IMAGES = {"heldout": 5_000, "test": 10_000}


def table(record: dict[str, Any]) -> str:
    """Return some of the epochs, always with the last, as a Markdown table with errors in %."""
    history = record["history"]
    stride = max(1, len(history) // EPOCHS_SHOWN)
    rows = history[::-1][::stride][::-1]
    lines = [
        "| epoch | step size | loss | training error % | held-out error % | test error % |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        errors = (f"{100 * row[f'{part}_error']:.2f}" for part in ("train", "heldout", "test"))
        loss = f"{row['train_loss']:.5f}"
        lines.append(f"| {row['epoch']:.0f} | {row['lr']:.1e} | {loss} | {' | '.join(errors)} |")
    minutes = record["train_seconds"] / 60
    libraries = ", ".join(f"{name} {number}" for name, number in record["libraries"].items())
    dropout = any("dropout" in key and p for key, p in record["model"].items())
    lines.append(
        f"\nAfter the last epoch {accuracy(record, 'heldout')} of the held-out digits and "
        f"{accuracy(record, 'test')} of the test images are right (95 % intervals).\n\n"
        f"{record['recipe']['epochs']} epochs took {minutes:.0f} minutes on {record['threads']} "
        f"thread(s); Python {record['python']}, {libraries}. The training error is measured while "
        f"the weights move{' and with dropout on' if dropout else ''}."
    )
    return "\n".join(lines) + "\n"


def accuracy(record: dict[str, Any], part: str) -> str:
    """Return the accuracy on a part of the data, with its interval."""
    share = record[f"{part}_accuracy"]
    low, high = wilson(share, IMAGES[part])
    return f"{100 * share:.2f} % [{100 * low:.2f}, {100 * high:.2f}]"


def main(folder: Path) -> None:
    """Replace the text between the markers of the experiment folder's README.md."""
    record = json.loads((folder / "results" / "record.json").read_text())
    readme = folder / "README.md"
    readme.write_text(MARKED.sub(lambda _: table(record), readme.read_text()))
