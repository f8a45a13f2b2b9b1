"""Text blocks of the constants that an estimate rests on, and how it moves with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bnnsim.report.numbers import JOULES, MICRO, digits, share, unit_for
from bnnsim.report.profiles import amount
from bnnsim.report.tables import Block, Table, table

Result = Mapping[str, Any]
_SHOWN_ASSUMPTIONS = 8
_NONE = "-"


def assumptions_table(result: Result, *, known: bool) -> Table:
    """Return the constants by share of energy, or, if none is ``known``, in the order of use."""
    listed = sorted(result["assumptions"], key=lambda a: -a["share_of_energy"])
    rows = [_assumption(a, known=known) for a in listed[:_SHOWN_ASSUMPTIONS]]
    more = len(listed) - len(rows)
    rest = f" ({more} more in --json and the page)" if more > 0 else ""
    title = "Constants by share of energy" if known else "Constants (energy not estimated)"
    heads = ("constant", "value", "share (%)", "status", "band (x)", "source")
    return table(f"{title}{rest}", heads, rows)


def _assumption(assumption: Result, *, known: bool) -> tuple[str, ...]:
    return (
        assumption["constant"],
        amount(assumption["value"], assumption["unit"]),
        share(assumption["share_of_energy"], 1.0) if known else _NONE,
        assumption["status"],
        digits(assumption["band"]),
        assumption["source"],
    )


def sensitivity_blocks(result: Result) -> list[Block]:
    """Return the table of sensitivities of an `estimate` result."""
    rows = [
        (
            row["constant"],
            f"{row['percent_per_10_percent']:+.2f}",
            f"{row['low_percent']:+.1f}",
            f"{row['high_percent']:+.1f}",
            digits(row["band"]),
            row["status"],
        )
        for row in result["sensitivity"]
    ]
    if not rows:
        return ["sensitivity: none, no energy was estimated"]
    heads = ("constant", "energy per +10 % (%)", "at value / band (%)", "at value x band (%)",
             "band (x)", "status")  # fmt: skip
    return [table("Sensitivity of the energy, mapping kept", heads, rows)]


def flip_blocks(result: Result) -> list[Block]:
    """Return what the searches at the ends of bands found, those that flip in a table."""
    flips = result.get("flips", [])
    if not flips:
        return []
    found = [flip for flip in flips if flip["flips"]]
    said = f"searches at the ends of bands: {len(flips)}, of which {len(found)} flip the mapping"
    if not found:
        return [said]
    size, unit = unit_for((flip["kept_j"] for flip in found), MICRO, JOULES)
    rows = [
        (
            flip["constant"],
            digits(flip["factor"]),
            str(flip["layers"]),
            digits(flip["kept_j"] / size),
            digits(flip["searched_j"] / size),
            f"{100 * (flip['searched_j'] / flip['kept_j'] - 1):+.2f}",
        )
        for flip in found
    ]
    heads = ("constant", "times", "layers that differ", f"mapping kept ({unit})",
             f"searched again ({unit})", "moves (%)")  # fmt: skip
    return [said, table("Choices that flip", heads, rows)]
