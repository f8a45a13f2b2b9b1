"""One self-contained page from an estimate or a comparison: no scripts, nothing fetched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from bnnsim.report import costs, figures, ledgers, memory, roofline, simulation, waterfalls
from bnnsim.report.figure import chart_css
from bnnsim.report.numbers import JOULES, RATES, bounds, digits, interval, unit_of, visible
from bnnsim.report.tables import pointer
from bnnsim.units import format_bytes, format_si

Result = Mapping[str, Any]
_MOST_RATIOS = 15


def render(result: Result, *, findings: Sequence[str] = ()) -> str:
    """Return the page of a result.

    Parameters
    ----------
    result : mapping
        What `estimate` or `compare` gives as JSON values; `check.checked` accepts it.
    findings : sequence of str
        Sentences to stand above the summary.
    """
    columns = result.get("columns", [result])
    built = ((name, title, build(columns, result)) for name, title, build in SECTIONS)
    page: str = environment().get_template("report.html").render(
        title=costs.heading(columns),
        marks=[mark.text for mark in costs.marks(columns)],
        findings=findings,
        chart_css=chart_css(),
        sections=[
            {"name": name, "title": title, "data": data}
            for name, title, data in built if data is not None
        ],
    )  # fmt: skip
    return page


@cache
def environment() -> Any:
    """Return the templates' environment: everything shown is escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("bnnsim.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown_safely,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _shown_safely(value: Any) -> Any:
    """Escape control characters in what the template shows; markup passes as it is."""
    return visible(value) if isinstance(value, str) and not hasattr(value, "__html__") else value


# --- sections: (columns, result) -> what templates/sections/NAME.html shows, or None -------------


def _summary(columns: Sequence[Result], result: Result) -> dict[str, Any]:
    every = result.get("ratios", [])
    tables = costs.ratio_tables(every)
    tabled = sum(len(found.rows) for found in tables)
    drawn = _drawn(every)
    note = f" {len(drawn)} of {tabled}; the rest is in the tables." if len(drawn) < tabled else ""
    names = costs.column_names(columns)
    priced = any(map(costs.has_energy, columns))
    cards = map(_card, range(len(columns)), columns, names, _against(columns, names[0], every))
    return {
        "cards": list(cards),
        "figure": figures.totals_figure(columns) if priced else None,
        "table": costs.summary_table(columns),
        "ratios_figure": figures.ratios_figure(drawn, note) if drawn and priced else None,
        "ratios": tables,
        "ratios_left_out": len(every) - tabled,
    }


def _drawn(every: Sequence[Result]) -> list[Result]:
    """Return the ratios of a chart: all in the tables; those of the first column if many."""
    ratios = costs.comparable(every)
    few = len(ratios) <= _MOST_RATIOS
    return [ratio for ratio in ratios if few or ratio["of"] == ratios[0]["of"]]


def _card(index: int, column: Result, name: str, against: str) -> dict[str, str]:
    totals, known = column["totals"], costs.has_energy(column)
    energy, latency = totals["energy_per_inference_j"], totals["latency_s"]
    size, unit = unit_of(energy["value"], JOULES)
    return {
        "name": name,
        "energy": format_si(energy["value"], "J") if known else "",
        "bounds": f"{bounds(energy, size)} {unit}" if known else f"energy {costs.NO_ENERGY}",
        "latency": format_si(latency["value"], "s"),
        "latency_of": " of the batch" if column["batch"] > 1 else "",
        "throughput": _per_second(totals["throughput_per_s"]["value"]),
        "memory": format_bytes(costs.memory_bytes(column)),
        "against": against,
        "at": pointer("columns", index, "totals"),
    }


def _per_second(rate: float) -> str:
    size, unit = unit_of(rate, RATES)
    return f"{digits(rate / size)}{unit.removeprefix('1') if size == 1 else ' ' + unit}"


def _against(columns: Sequence[Result], first_name: str, ratios: Sequence[Result]) -> Iterator[str]:
    """Say for each column how many times its energy the first column of that model takes."""
    first, *others = (_side(c["model"], c) for c in columns)
    found = {_side(r["over"]["source"], r["over"]): r["energy"]
             for r in reversed(ratios) if _side(r["of"]["source"], r["of"]) == first}  # fmt: skip
    yield ""
    for side in others:
        known = side in found and side[0] == first[0] and found[side]["value"]
        yield f"{first_name} takes {interval(found[side])} x its energy" if known else ""


def _side(model: str, of: Result) -> tuple[str, str, str]:
    return model, of["profile"], of["mode"]


def _accuracy(_: Sequence[Result], result: Result) -> dict[str, Any] | None:
    if "counts" not in result:
        return None
    return {
        "run": simulation.run_line(result),
        "lines": list(simulation.accuracy_lines(result)),
        "confused": simulation.confused_tables(result),
    }


def _counts(_: Sequence[Result], result: Result) -> dict[str, Any] | None:
    if "counts" not in result:
        return None
    return {"verdict": simulation.counts_line(result), "table": simulation.counts_table(result)}


def _activity(_: Sequence[Result], result: Result) -> dict[str, Any] | None:
    if not result.get("activity"):
        return None
    *tables, scaling = simulation.activity_blocks(result)
    return {"scaling": scaling, "tables": tables}


def _components(columns: Sequence[Result], _: Result) -> dict[str, Any]:
    priced = any(map(costs.has_energy, columns))
    figure = figures.shares_figure(columns) if priced else None
    return {"figure": figure, "table": costs.components_table(columns)}


def _latency(columns: Sequence[Result], _: Result) -> dict[str, Any]:
    styles = figures.limits(columns)
    return {
        "figure": figures.bounds_figure(columns, styles),
        "table": costs.bounds_table(columns),
    }


def _waterfalls(_: Sequence[Result], result: Result) -> dict[str, Any] | None:
    items = [
        {"figure": figures.waterfall_figure(w, i), "table": waterfalls.waterfall_table(w)}
        for i, w in enumerate(waterfalls.shown(result))
    ]
    return {"items": items} if items else None


def _layers(columns: Sequence[Result], _: Result) -> dict[str, Any]:
    styles = figures.limits(columns)
    return {
        "columns": [
            {
                "name": name,
                "figures": [
                    *([figures.layer_energy_figure(column, f"e{i}")] * costs.has_energy(column)),
                    figures.layer_latency_figure(column, f"t{i}", styles),
                ],
                "table": costs.layers_table(column, i),
            }
            for i, (column, name) in enumerate(
                zip(columns, costs.column_names(columns), strict=True)
            )
        ]
    }


def _rooflines(columns: Sequence[Result], _: Result) -> dict[str, Any]:
    found, styles = [], roofline.memory_styles(columns)
    for i, (column, name) in enumerate(zip(columns, costs.column_names(columns), strict=True)):
        missing = roofline.missing(column)
        drawn = {} if missing else {
            "figure": roofline.roofline_figure(column, f"r{i}", styles),
            "table": roofline.roofline_table(column, i),
        }  # fmt: skip
        found.append({"name": name, "missing": missing, **drawn})
    return {"columns": found}


def _memory(columns: Sequence[Result], _: Result) -> dict[str, Any]:
    return {
        "figure": figures.memory_figure(columns),
        "table": memory.memory_table(columns),
        "levels": memory.levels_table(columns),
        "macs": ledgers.macs_table(columns),
    }


def _assumptions(columns: Sequence[Result], _: Result) -> dict[str, Any]:
    return {"table": ledgers.assumptions_table(columns)}


def _record(columns: Sequence[Result], _: Result) -> dict[str, Any]:
    return {"table": ledgers.record_table(columns[0]["record"])}


SECTIONS = (
    ("summary", "Summary", _summary),
    ("accuracy", "Accuracy", _accuracy),
    ("counts", "Counts", _counts),
    ("activity", "Activity", _activity),
    ("components", "Where the energy goes", _components),
    ("latency", "What bounds the latency", _latency),
    ("waterfalls", "Between profiles", _waterfalls),
    ("layers", "Layers", _layers),
    ("roofline", "Roofline", _rooflines),
    ("memory", "Memory and operations", _memory),
    ("assumptions", "Assumptions", _assumptions),
    ("record", "Record", _record),
)
