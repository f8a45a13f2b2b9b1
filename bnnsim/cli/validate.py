"""The verb validate: predicted against published silicon."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bnnsim.cli.arguments import add_verb
from bnnsim.cli.output import check_outputs, emit
from bnnsim.cli.progress import progress_bar
from bnnsim.report.numbers import digits
from bnnsim.report.tables import Block, table
from bnnsim.units import format_si

DONE = 0
_ENDS = ("value", "low", "high")


def validate(args: Namespace) -> int:
    """Predict published figures with the profiles as they are."""
    from importlib.metadata import version

    from bnnsim import api
    from bnnsim.validate.points import packaged_points, read_points

    check_outputs(args, args.first)
    path = Path(args.points) if args.points is not None else packaged_points()
    with progress_bar("points", len(read_points(path)[0])) as advance:
        found = api.validate(path, progress=advance)
    result = found.to_dict()
    blocks = validate_blocks(result)
    if args.first is not None:
        from bnnsim.validate.first import keep_first

        number = keep_first(found, Path(args.first), version("bnnsim"))
        blocks.append(f"{number} first predictions appended to {args.first}")
    emit(args, result, blocks)
    return DONE


def validate_blocks(result: Any) -> list[Block]:
    """Return the blocks of a `validate` result."""
    roles = {
        "scored": "Predicted against published",
        "fit": "Fit, not scored: a constant of the profile rests on this figure",
        "unconfirmed": "Not scored: figures that were not found in a document",
    }
    blocks: list[Block] = []
    for role, title in roles.items():
        rows = [row for row in result["points"] if row["role"] == role]
        if rows:
            blocks.append(_points(title, rows))
    blocks.append(_summary(result["summary"]))
    holes = [(hole["id"], hole["reason"]) for hole in result["unmodelled"]]
    blocks.append(table("Not modelled", ("point", "reason"), holes))
    blocks.extend(_coverage(result["coverage"]))
    return blocks


def _points(title: str, rows: Sequence[Any]) -> Block:
    heads = ("point", "chip", "quantity", "published", "predicted [90 % interval]",
             "error (octaves)", "error (%)", "inside")  # fmt: skip
    cells = [
        (
            row["id"],
            row["chip"],
            row["quantity"],
            _amount(row["published"], row["unit"]),
            _predicted(row),
            f"{row['log2_error']:+.2f}",
            f"{100 * (row['predicted']['value'] / row['published'] - 1):+.1f}",
            "yes" if row["inside"] else "no",
        )
        for row in rows
    ]
    return table(title, heads, cells)


def _predicted(row: Any) -> str:
    value, low, high = (_amount(row["predicted"][end], row["unit"]) for end in _ENDS)
    return f"{value} [{low}, {high}]"


def _amount(value: float, unit: str) -> str:
    """Return a value with its unit, or a ratio as a plain number."""
    return f"{value:.4g}" if unit == "1" else format_si(value, unit, 4)


def _summary(summary: Any) -> Block:
    heads = ("kind", "chips", "median error (octaves)", "worst (octaves)",
             "interval score (octaves)", "median width (octaves)")  # fmt: skip
    keys = ("median_abs_log2", "worst_abs_log2", "interval_score", "median_width")
    rows = [(kind, row["chips"], *(digits(row[k]) for k in keys)) for kind, row in summary.items()]
    return table("By kind, one vote for each chip", heads, rows)


def _coverage(found: Any) -> list[Block]:
    text = f"{found['inside']} of {found['n']} scored figures lie in their 90 % interval"
    if found["p_value"] is None:
        return [text]
    return [
        f"{text} (binomial test against 90 %: p = {digits(found['p_value'])})",
        f"One vote for each chip, its share inside: {digits(found['chips_inside'])} of "
        f"{found['chips']} chips (p = {digits(found['p_value_by_chip'])}); median width a factor "
        f"of {digits(found['median_width'])}",
    ]


def _add_validate(verbs: Any) -> None:
    parser = add_verb(verbs, "validate", validate, "predictions against published silicon")
    parser.add_argument("--points", metavar="FILE.yaml", help="default: those of the package")
    parser.add_argument(
        "--first", metavar="FILE.jsonl", help="append predictions of points that it lacks"
    )


VERBS = (_add_validate,)
