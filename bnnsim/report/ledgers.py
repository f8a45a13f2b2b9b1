"""Tables that only the page has: operations, constants, the record of the run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bnnsim.report import costs
from bnnsim.report.numbers import count, digits, share
from bnnsim.report.profiles import amount
from bnnsim.report.tables import Table, pointer, table

Result = Mapping[str, Any]
_MOST_SHARE_COLUMNS = 6


def macs_table(columns: Sequence[Result]) -> Table:
    """Return multiply-accumulates by operand types; those inside the image where they differ.

    A network in one mode has the same on every profile, and one column here.
    """
    distinct = {(c["model"], c["mode"], c["batch"]): i for i, c in reversed([*enumerate(columns)])}
    chosen = sorted(distinct.values())
    heads, ledgers, keys = ["operands"], [], [""]
    names = costs.column_names([columns[i] for i in chosen])
    for i, name in zip(chosen, names, strict=True):
        column = columns[i]
        totals = column["totals"]
        heads.append(name)
        ledgers.append(totals["macs"])
        keys.append(pointer("columns", i, "totals", "macs", "*"))
        if totals["macs_valid"] != totals["macs"]:
            heads.append(f"{name}, in image")
            ledgers.append(totals["macs_valid"])
            keys.append(pointer("columns", i, "totals", "macs_valid", "*"))
    pairs = list(dict.fromkeys(pair for ledger in ledgers for pair in ledger))
    rows = [(pair, *(count(ledger.get(pair, 0)) for ledger in ledgers)) for pair in pairs]
    title = "Multiply-accumulates of one inference by operand types"
    return table(title, heads, rows, keys=keys, at=[pointer(pair)[1:] for pair in pairs])


def assumptions_table(columns: Sequence[Result]) -> Table:
    """Return every constant once, the one with the largest share of any column's energy first."""
    known: dict[tuple[str, str], tuple[Result, dict[int, float], str]] = {}
    for i, column in enumerate(columns):
        for j, item in enumerate(column["assumptions"]):
            key = (column["profile"], item["constant"])
            place = pointer("columns", i, "assumptions", j)
            known.setdefault(key, (item, {}, place))[1][i] = item["share_of_energy"]
    ordered = sorted(known.items(), key=lambda entry: -max(entry[1][1].values()))
    several = len({profile for profile, _ in known}) > 1
    many = len(columns) > _MOST_SHARE_COLUMNS
    names = ["largest"] if many else costs.column_names(columns)
    heads = ["constant", "value", "status", "band (x)", *(f"share, {name} (%)" for name in names),
             "source"]  # fmt: skip
    rows = [
        (f"{item['constant']} of {profile}" if several else item["constant"],
         amount(item["value"], item["unit"]), item["status"], digits(item["band"]),
         *(share(s, 1.0) for s in ([max(shares.values())] if many else
                                   [shares.get(i, 0.0) for i in range(len(columns))])),
         item["source"])
        for (profile, _), (item, shares, _) in ordered
    ]  # fmt: skip
    keys = ("", "*/value", "*/status", "*/band")
    at = [place for _, (_, _, place) in ordered]
    return table("Constants by share of energy", heads, rows, keys=keys, at=at)


def record_table(record: Result) -> Table:
    """Return what has to be known to repeat the run, whatever the record holds."""
    rows = [(str(key).replace("_", " "), _plain(value)) for key, value in record.items()]
    return table("Record of the run", ("what", "value"), rows)


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        value = [f"{key} {item}" for key, item in value.items()]
        return ", ".join(value) or "-"
    if isinstance(value, list):
        return " ".join(map(str, value)) or "-"
    return "-" if value in (None, "") else str(value)
