"""Waterfalls of a comparison as tables: the constants that make the difference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bnnsim.report.numbers import MICRO, digits, share
from bnnsim.report.tables import Table, table
from bnnsim.units import format_si

Result = Mapping[str, Any]
_SHOWN = 12


def shown(result: Result) -> list[Result]:
    """Return a comparison's waterfalls between columns whose energy was estimated."""
    return [w for w in result.get("waterfalls", ()) if w["start_j"] and w["end_j"]]


def waterfall_table(waterfall: Result) -> Table:
    """Return the largest steps from one column to another, and the rest as one row."""
    change = waterfall["end_j"] - waterfall["start_j"]
    steps = waterfall["steps"]
    rows = [
        (s["constant"], s["cause"], _factor(s["from"], s["unit"]), _factor(s["to"], s["unit"]),
         *_added(s["energy_j"], waterfall))
        for s in steps[:_SHOWN]
    ]  # fmt: skip
    if len(steps) > _SHOWN:
        rest = sum(s["energy_j"] for s in steps[_SHOWN:])
        rows.append((f"{len(steps) - _SHOWN} more", "", "", "", *_added(rest, waterfall)))
    rows.append(("all steps", "", "", "", *_added(change, waterfall)))
    heads = ("constant", "cause", "from", "to", "adds (uJ)", "of the larger energy (%)")
    first, last = (format_si(waterfall[key], "J") for key in ("start_j", "end_j"))
    return table(f"{name(waterfall)}: {first} to {last} per inference", heads, rows)


def name(waterfall: Result) -> str:
    """Return what a waterfall leads from and to."""
    end = waterfall["to"]
    between = f"{waterfall['from']['profile']} to {end['profile']}"
    return f"{end['source']} {end['mode']}, {between}"


def signed(joules: float) -> str:
    """Return microjoules with their sign; nothing is written as 0."""
    return f"{'+' if joules > 0 else ''}{digits(joules / MICRO)}"


def _factor(value: float, unit: str) -> str:
    if unit in ("1", "1/inference"):
        return digits(value) if value < 1e6 else f"{value:.3g}"
    return format_si(value, unit) if value else "0"


def _added(joules: float, waterfall: Result) -> tuple[str, str]:
    """Return microjoules, and their part of the larger of both energies."""
    larger = max(waterfall["start_j"], waterfall["end_j"])
    size = share(abs(joules), larger)
    return digits(joules / MICRO), f"-{size}" if joules < 0 and size[0] != "<" else size
