"""The memory ledger: what a network needs at once, against what its machine holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bnnsim.report.costs import MEMORY_NAMES, column_names, memory_bytes
from bnnsim.report.numbers import KIBI, digits
from bnnsim.report.roofline import moved_bytes
from bnnsim.report.tables import Table, pointer, table
from bnnsim.units import format_si

Result = Mapping[str, Any]
_WEIGHTS = ("weights_bytes", "parameters_bytes")
_RATES = ("read_bytes_per_s", "write_bytes_per_s", "bytes_per_s")
_ACTIVATIONS = ("peak_activation_bytes",)


def memory_table(columns: Sequence[Result]) -> Table:
    """Return the memory ledger: one row per use, one column per estimate."""
    heads = ["memory", *(f"{name} (KiB)" for name in column_names(columns))]
    ledgers = [column["totals"]["memory"] for column in columns]
    rows = [
        (name, *(digits(ledger[key] / KIBI) for ledger in ledgers))
        for key, name in MEMORY_NAMES.items()
    ]
    rows.append(("all", *(digits(memory_bytes(c) / KIBI) for c in columns)))
    off_chip = (digits(c["totals"]["off_chip_bytes"] / KIBI) for c in columns)
    rows.append(("off-chip traffic of the batch", *off_chip))
    keys = ("", *(pointer("columns", i, "totals") + "/*" for i in range(len(columns))))
    at = [*(f"memory/{key}" for key in MEMORY_NAMES), "memory", "off_chip_bytes"]
    title = "Memory that the network needs at once, and traffic off the chip"
    return table(title, heads, rows, keys=keys, at=at)


def levels_table(columns: Sequence[Result]) -> Table | None:
    """Return what each memory holds, needs to hold and moves; None if no result says."""
    rows, at = [], []
    for i, (column, name) in enumerate(zip(columns, column_names(columns), strict=True)):
        for j, level in enumerate(column.get("memories", ())):
            rows.append((name, *_level(column, level)))
            at.append(pointer("columns", i, "memories", j))
    heads = ("column", "memory", "kind", "holds", "reads", "writes", "both",
             "capacity (KiB)", "to hold (KiB)", "of capacity (%)",
             "moved by the batch (KiB)")  # fmt: skip
    keys = ("", "*/name", "*/kind", "", *(f"*/{key}" for key in _RATES), "*/size_bytes")
    title = "Memories of the machine, nearest to the array first"
    return table(title, heads, rows, keys=keys, at=at) if rows else None


def _level(column: Result, level: Result) -> tuple[str, ...]:
    size, rates = level["size_bytes"], map(level.get, _RATES)
    wanted = sum(column["totals"]["memory"][key] for key in _kept(column, level))
    moved = sum(moved_bytes(layer, level) for layer in column["layers"])
    return (
        level["name"],
        level["kind"],
        ", ".join(level["holds"]),
        *(format_si(rate, "B/s") if rate else "not stated" for rate in rates),
        "-" if size is None else digits(size / KIBI),
        digits(wanted / KIBI) if wanted else "-",
        f"{100 * wanted / size:.1f}" if wanted and size else "-",
        digits(moved / KIBI),
    )


def _kept(column: Result, level: Result) -> tuple[str, ...]:
    """Return the uses that a memory is for: the largest on chip for an operand holds all of it.

    Tiles (scratch) stand where weights and activations share a memory; nearer memories are
    buffers, refilled all the time, and off chip there is room for everything.
    """
    weights = home(column, "weights") is level
    activations = home(column, "activations") is level
    if weights and activations:
        return tuple(MEMORY_NAMES)
    return _WEIGHTS * weights + _ACTIVATIONS * activations


def home(column: Result, operand: str) -> Result | None:
    """Return the on-chip memory farthest from the array that may hold ``operand``, or None."""
    found = [
        level
        for level in column.get("memories", ())
        if level["size_bytes"] is not None and operand in level["holds"]
    ]
    return found[-1] if found else None


def on_chip_bytes(column: Result) -> int:
    """Return the capacity of the memories that keep weights and activations on chip."""
    homes = {level["name"]: level for operand in ("weights", "activations")
             for level in [home(column, operand)] if level is not None}  # fmt: skip
    return sum(level["size_bytes"] for level in homes.values())
