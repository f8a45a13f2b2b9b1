"""Predicted beside measured, for networks and layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bnnsim.report.numbers import MICRO, SECONDS, digits, interval, share, unit_for
from bnnsim.report.tables import Block, table


def check_blocks(result: Mapping[str, Any]) -> list[Block]:
    """Return the blocks of a `check` result."""
    found, nets = result["summary"], len(result["nets"])
    return [
        f"on {result['device']}, one thread; a tenth of the samples are below the measured times",
        _table("Networks", result["nets"], "net"),
        _table("Layers, run one step at a time", result["layers"], "name"),
        f"error of networks: median {share(found['median_abs_error'], 1)} %, "
        f"worst {share(found['worst_net_abs_error'], 1)} %; of layers: worst "
        f"{share(found['worst_layer_abs_error'], 1)} %; {found['inside']} of {nets} networks lie "
        "in their 90 % interval",
    ]


def _table(title: str, rows: Sequence[Mapping[str, Any]], label: str) -> Block:
    unit, name = unit_for((row["measured_s"] for row in rows), MICRO, SECONDS)
    heads = ["net", "batch", f"measured ({name})", f"predicted ({name})", "predicted / measured"]
    if label != "net":
        heads.insert(1, "layer")
    cells = []
    for row in rows:
        ratio = row["predicted_s"]["value"] / row["measured_s"]
        cell = [row["net"], row["batch"], digits(row["measured_s"] / unit),
                interval(row["predicted_s"], unit), digits(ratio)]  # fmt: skip
        if label != "net":
            cell.insert(1, row[label])
        cells.append(cell)
    return table(title, heads, cells)
