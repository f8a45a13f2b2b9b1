"""What a sweep found: by network, the points that nothing else beats in energy and time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bnnsim.report.numbers import JOULES, MICRO, MILLI, SECONDS, count, interval, unit_for
from bnnsim.report.tables import Block, table

_MOST_REFUSED = 5


def frontiers(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return by network the rows that no other beats in both energy per inference and latency.

    Rows without an estimate, or whose totals leave something out, compete with nothing.
    """
    by_model: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        listed = by_model.setdefault(row["model"], [])
        if "error" not in row and not row["unpriced"]:
            listed.append(row)
    return [{"model": model, "rows": _frontier(listed)} for model, listed in by_model.items()]


def _frontier(rows: list[Mapping[str, Any]]) -> list[dict[str, Any]]:
    best = float("inf")
    found = []
    for row in sorted(rows, key=lambda row: _point(row)):
        if _point(row)[1] < best:
            best = _point(row)[1]
            found.append(dict(row))
    return found


def _point(row: Mapping[str, Any]) -> tuple[float, float]:
    totals = row["totals"]
    return totals["energy_per_inference_j"]["value"], totals["latency_s"]["value"]


def sweep_blocks(result: Mapping[str, Any]) -> list[Block]:
    """Return the blocks of a `sweep` result."""
    refused, total = result["without_estimate"], result["points"]
    done = total - result["kept"]
    said = f"{result['output']}: points: {count(total)}, estimated now: {count(done)}"
    blocks: list[Block] = [f"{said}, without an estimate: {count(len(refused))}"]
    blocks += [_table(found) for found in result["frontiers"] if found["rows"]]
    for row in refused[:_MOST_REFUSED]:
        where = f"{row['model']} {row['mode']} on {row['profile']}, batch {row['batch']}"
        blocks.append(f"no estimate: {where}{_changes(row)}: {row['error']}")
    if len(refused) > _MOST_REFUSED:
        blocks.append(f"no estimate: {count(len(refused) - _MOST_REFUSED)} more, see the file")
    return blocks


def _changes(row: Mapping[str, Any]) -> str:
    return "".join(f", {place} = {value}" for place, value in row["set"].items())


def _table(found: Mapping[str, Any]) -> Block:
    rows = found["rows"]
    energy, energy_unit = unit_for((_point(row)[0] for row in rows), MICRO, JOULES)
    time, time_unit = unit_for((_point(row)[1] for row in rows), MILLI, SECONDS)
    heads = ("mode", "profile", "batch", f"energy per inference ({energy_unit})",
             f"latency of the batch ({time_unit})", "set")  # fmt: skip
    cells = [
        (row["mode"], row["profile"], row["batch"],
         interval(row["totals"]["energy_per_inference_j"], energy),
         interval(row["totals"]["latency_s"], time), _changes(row).removeprefix(", ") or "-")
        for row in rows
    ]  # fmt: skip
    title = f"{found['model']}: points that no other beats in both energy and time"
    return table(title, heads, cells)
