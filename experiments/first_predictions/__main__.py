"""Predict the published points with the profiles as committed; print and keep the misses."""

from __future__ import annotations

import argparse
import json
import math
import statistics
from pathlib import Path
from typing import Any

from bnnsim import __version__
from bnnsim.units import format_si
from experiments.first_predictions.points import UNMODELLED, Point, all_points

_ENDS = ("value", "low", "high")


def row(point: Point) -> dict[str, Any]:
    """Return one point with its error in octaves: above 0 the prediction is too high."""
    q = point.predicted
    return {
        "id": point.id,
        "chip": point.chip,
        "quantity": point.quantity,
        "unit": point.unit,
        "scope": point.scope,
        "confirmed": point.confirmed,
        "published": point.published,
        "predicted": q.to_dict(),
        "log2_error": math.log2(q.value / point.published),
        "inside": q.low <= point.published <= q.high,
    }


def result() -> dict[str, Any]:
    """Return all points, what could not be asked, and the median error of the energies."""
    rows = [row(point) for point in all_points()]
    energies = [r for r in rows if r["unit"] == "J"]
    return {
        "schema": 1,
        "version": __version__,
        "points": rows,
        "unmodelled": [{"id": name, "reason": reason} for name, reason in UNMODELLED],
        "summary": {
            "energies": len(energies),
            "median_abs_log2": statistics.median(abs(r["log2_error"]) for r in energies),
            "worst_abs_log2": max(abs(r["log2_error"]) for r in energies),
            "inside": sum(r["inside"] for r in energies),
        },
    }


def line(r: dict[str, Any]) -> str:
    value, low, high = (format_si(r["predicted"][k], r["unit"]) for k in _ENDS)
    published = format_si(r["published"], r["unit"])
    inside = "inside" if r["inside"] else "outside"
    return (
        f"{r['id']:<20} {published:>10} {value:>10}  [{low}, {high}]".ljust(70)
        + f" {r['log2_error']:+.2f}  {inside}"
    )


def markdown(found: dict[str, Any]) -> str:
    """Return the table of the README."""
    lines = [
        "| point | quantity | scope | published | predicted [90 %] | log2 error | inside |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in found["points"]:
        value, low, high = (format_si(r["predicted"][k], r["unit"]) for k in _ENDS)
        published = format_si(r["published"], r["unit"]) + ("" if r["confirmed"] else " *")
        lines.append(
            f"| {r['id']} | {r['quantity']} | {r['scope']} | {published} | {value} [{low}, {high}] "
            f"| {r['log2_error']:+.2f} | {'yes' if r['inside'] else 'no'} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Print predicted against published and write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, default=None, help="write the result here")
    parser.add_argument("--smoke", action="store_true", help="the same: it takes seconds")
    parser.add_argument("--table", type=Path, default=None, help="print a kept result and stop")
    args = parser.parse_args()
    if args.table is not None:
        print(markdown(json.loads(args.table.read_text(encoding="utf-8"))))
        return
    found = result()
    print("point                 published  predicted  [90 % interval]".ljust(70) + " log2 error")
    for r in found["points"]:
        print(line(r))
    for hole in found["unmodelled"]:
        print(f"{hole['id']:<20} not modelled: {hole['reason']}")
    summary = found["summary"]
    print(
        f"{summary['energies']} energies: median |log2 error| {summary['median_abs_log2']:.2f}, "
        f"worst {summary['worst_abs_log2']:.2f}, {summary['inside']} inside their interval"
    )
    if args.json is not None:
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
