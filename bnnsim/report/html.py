"""One self-contained page from an estimate, comparison or simulation: no scripts, no fetching."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bnnsim.report import costs, figures
from bnnsim.report.numbers import KIBI, MICRO, bounds, count, digits, interval, share, visible
from bnnsim.report.profiles import amount
from bnnsim.report.simulation import observed
from bnnsim.report.tables import Table, table
from bnnsim.report.waterfalls import waterfall_table
from bnnsim.units import format_si

Result = Mapping[str, Any]
_MOST_SHARE_COLUMNS, _MOST_RATIOS = 6, 15


def render(result: Result, *, findings: Sequence[str] = ()) -> str:
    """Return the page of a result.

    Parameters
    ----------
    result : mapping
        What `estimate`, `compare` or `simulate` gives as JSON values; `check.checked` accepts it.
    findings : sequence of str
        Sentences to stand above the summary.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("bnnsim.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown_safely,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    columns = result.get("columns", [result])
    page: str = environment.get_template("report.html").render(
        **_page(columns, result), findings=findings
    )
    return page


def _shown_safely(value: Any) -> Any:
    """Escape control characters in what the template shows; markup passes as it is."""
    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


def _page(columns: Sequence[Result], result: Result) -> dict[str, Any]:
    every = result.get("ratios", [])
    ratios = _shown(costs.comparable(every))
    names = costs.column_names(columns)
    against = _against(columns, names[0], every)
    styles = figures.limits(columns)
    return {
        "title": costs.heading(columns),
        "marks": [mark.text for mark in costs.marks(columns)],
        "cards": list(map(_card, columns, names, against)),
        "totals_figure": figures.totals_figure(columns),
        "summary": costs.summary_table(columns),
        "observed": observed(result),
        "ratios": costs.ratios_table(ratios) if ratios else None,
        "ratios_left_out": len(every) - len(ratios),
        "waterfalls": [
            {"figure": figures.waterfall_figure(w, i), "table": waterfall_table(w)}
            for i, w in enumerate(result.get("waterfalls", []))
        ],
        "shares_figure": figures.shares_figure(columns),
        "components": costs.components_table(columns),
        "layers": [
            _layers(i, column, name, styles)
            for i, (column, name) in enumerate(zip(columns, names, strict=True))
        ],
        "memory_figure": figures.memory_figure(columns),
        "memory": memory_table(columns),
        "macs": macs_table(columns),
        "assumptions": assumptions_table(columns),
        "record": record_table(columns[0]["record"]),
    }


def _shown(ratios: Sequence[Result]) -> Sequence[Result]:
    """Return all ratios of a few columns, those of the first column of many."""
    few = len(ratios) <= _MOST_RATIOS
    return ratios if few else [ratio for ratio in ratios if ratio["of"] == ratios[0]["of"]]


def _card(column: Result, name: str, against: str) -> dict[str, str]:
    totals = column["totals"]
    energy, latency = totals["energy_per_inference_j"], totals["latency_s"]
    batch = " for the batch" if column["batch"] > 1 else ""
    return {
        "name": name,
        "energy": format_si(energy["value"], "J"),
        "bounds": f"{bounds(energy, MICRO)} uJ",
        "latency": f"{format_si(latency['value'], 's')}{batch}",
        "throughput": f"{digits(totals['throughput_per_s']['value'])}/s",
        "memory": f"{digits(costs.memory_bytes(column) / KIBI)} KiB",
        "against": against,
    }


def _against(columns: Sequence[Result], first_name: str, ratios: Sequence[Result]) -> Iterator[str]:
    """Say for each column how many times its energy the first column of that model takes."""
    first, *others = (_side(c["model"], c) for c in columns)
    found = {_side(r["over"]["source"], r["over"]): r["energy"]
             for r in reversed(ratios) if _side(r["of"]["source"], r["of"]) == first}  # fmt: skip
    yield ""
    for side in others:
        known = side in found and side[0] == first[0]
        yield f"{first_name} takes {interval(found[side])} x its energy" if known else ""


def _side(model: str, of: Result) -> tuple[str, str, str]:
    return model, of["profile"], of["mode"]


def _layers(index: int, column: Result, name: str, styles: Mapping[str, str]) -> dict[str, Any]:
    return {
        "name": name,
        "open": index == 0,
        "figures": [
            figures.layer_energy_figure(column, f"e{index}"),
            figures.layer_latency_figure(column, f"t{index}", styles),
        ],
        "table": costs.layers_table(column),
    }


def memory_table(columns: Sequence[Result]) -> Table:
    """Return the memory ledger: one row per use, one column per estimate."""
    heads = ["memory", *(f"{name} (KiB)" for name in costs.column_names(columns))]
    ledgers = [column["totals"]["memory"] for column in columns]
    rows = [
        (name, *(digits(ledger[key] / KIBI) for ledger in ledgers))
        for key, name in costs.MEMORY_NAMES.items()
    ]
    rows.append(("all", *(digits(costs.memory_bytes(c) / KIBI) for c in columns)))
    off_chip = (digits(c["totals"]["off_chip_bytes"] / KIBI) for c in columns)
    rows.append(("off-chip traffic of the batch", *off_chip))
    return table("Memory that the network needs at once, and traffic off the chip", heads, rows)


def macs_table(columns: Sequence[Result]) -> Table:
    """Return multiply-accumulates by operand types; those inside the image where they differ."""
    heads, ledgers = ["operands"], []
    for column, name in zip(columns, costs.column_names(columns), strict=True):
        totals = column["totals"]
        heads.append(name)
        ledgers.append(totals["macs"])
        if totals["macs_valid"] != totals["macs"]:
            heads.append(f"{name}, in image")
            ledgers.append(totals["macs_valid"])
    pairs = dict.fromkeys(pair for ledger in ledgers for pair in ledger)
    rows = [(pair, *(count(ledger.get(pair, 0)) for ledger in ledgers)) for pair in pairs]
    return table("Multiply-accumulates of one inference by operand types", heads, rows)


def assumptions_table(columns: Sequence[Result]) -> Table:
    """Return every constant once, the one with the largest share of any column's energy first."""
    known: dict[tuple[str, str], tuple[Result, dict[int, float]]] = {}
    for i, column in enumerate(columns):
        for item in column["assumptions"]:
            key = (column["profile"], item["constant"])
            shares = known.setdefault(key, (item, {}))[1]
            shares[i] = item["share_of_energy"]
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
        for (profile, _), (item, shares) in ordered
    ]  # fmt: skip
    return table("Constants by share of energy", heads, rows)


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
