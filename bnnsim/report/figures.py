"""The page's figures: which numbers become which bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bnnsim.report.costs import (
    COMPONENT_NAMES,
    MEMORY_NAMES,
    NO_ENERGY,
    column_names,
    has_energy,
    memory_bytes,
    ratio_names,
    seconds_by_bound,
)
from bnnsim.report.figure import Figure
from bnnsim.report.memory import on_chip_bytes
from bnnsim.report.numbers import JOULES, KIBI, MICRO, SECONDS, digits, interval, share, unit_of
from bnnsim.report.roofline import memory_styles
from bnnsim.report.svg import Bar, bar_chart, linear_axis, log_axis, point_chart
from bnnsim.report.waterfalls import name as waterfall_name
from bnnsim.report.waterfalls import signed
from bnnsim.units import format_bytes, format_si

Result = Mapping[str, Any]
_BYTES = ((1.0, "B"), (KIBI, "KiB"), (KIBI**2, "MiB"), (KIBI**3, "GiB"))
_LOG_FROM = 8.0
_LEAST_SHARE = 0.001
_MOST_BARS = 24
_BOUND_STYLES = 6
_STEPS = 10
_WATERFALL_LEGEND = (("w-end", "energy of a column"), ("w-up", "adds"), ("w-down", "saves"))


def totals_figure(columns: Sequence[Result]) -> Figure:
    """Energy per inference of each column with its interval; logarithmic over a wide range."""
    names, priced = _priced(columns)
    found = [column["totals"]["energy_per_inference_j"] for column in priced]
    lows = [min(q["low"], q["value"]) for q in found]
    high = max(max(q["high"], q["value"]) for q in found)
    wide = min(lows) > 0 and max(q["value"] for q in found) > _LOG_FROM * min(
        q["value"] for q in found
    )
    size, unit = unit_of(high, JOULES)
    title = "energy per inference, logarithmic" if wide else "energy per inference"
    axis = (
        log_axis(min(lows), high, JOULES, title) if wide else linear_axis(high / size, unit, title)
    )
    scale = 1.0 if wide else size
    bars = [
        Bar(
            name,
            _with_bounds(energy, JOULES),
            (("point", energy["value"] / scale),),
            (energy["low"] / scale, energy["high"] / scale),
        )
        for name, energy in zip(names, found, strict=True)
    ]
    caption = f"Energy per inference; whiskers are 90 % intervals.{_unpriced(columns)}"
    chart = point_chart("Energy per inference", _read_out(bars), bars, axis)
    return Figure("totals", caption, chart)


def ratios_figure(every: Sequence[Result], note: str = "") -> Figure:
    """How many times the energy of one column another's is, with intervals, logarithmic."""
    ratios = [ratio for ratio in every if ratio["energy"]["value"]] or every
    bars = [
        Bar(
            name,
            f"{digits(ratio['energy']['value'])} x",
            (("point", ratio["energy"]["value"]),),
            (ratio["energy"]["low"], ratio["energy"]["high"]),
            f"{name}: {interval(ratio['energy'])} x",
        )
        for ratio, name in zip(ratios, ratio_names(ratios), strict=True)
    ]
    found = [v for ratio in ratios for v in ratio["energy"].values() if v > 0] or [1.0]
    axis = log_axis(min(found), max(found), ((1.0, "x"),), "ratio of energies, logarithmic")
    caption = f"Ratios of energy per inference, the first over the second; whiskers are 90 %.{note}"
    chart = point_chart("Ratios of energy", _read_out(bars), bars, axis)
    return Figure("ratios", caption, chart)


def shares_figure(columns: Sequence[Result]) -> Figure:
    """Each column's energy split into components, its own total being 100 %."""
    bars, reach = [], 100.0
    for name, column in zip(*_priced(columns), strict=True):
        energy = column["totals"]["energy_j"]
        total = energy["value"] or 1.0
        ends = (100 * energy["low"] / total, 100 * energy["high"] / total)
        reach = max(reach, ends[1])
        bars.append(
            Bar(
                name,
                format_si(column["totals"]["energy_per_inference_j"]["value"], "J"),
                _parts(column["energy_by"], 100 / total),
                ends,
                f"{name}: {_spoken(column['energy_by'], total)}",
            )
        )
    axis = linear_axis(reach, "%", "part of the column's own total")
    chart = bar_chart("Energy by component", _read_out(bars), bars, axis)
    caption = (
        "Energy by component, each total being 100 %; "
        f"whiskers are the total's 90 % interval on the same scale.{_unpriced(columns)}"
    )
    legend = _component_legend([column["energy_by"] for column in columns])
    return Figure("shares", caption, chart, legend)


def _priced(columns: Sequence[Result]) -> tuple[list[str], list[Result]]:
    """Return names and columns whose energy was estimated; all if it was for none."""
    chosen = [i for i, c in enumerate(columns) if has_energy(c)] or range(len(columns))
    names = column_names(columns)
    return [names[i] for i in chosen], [columns[i] for i in chosen]


def _unpriced(columns: Sequence[Result]) -> str:
    names = column_names(columns)
    left_out = [n for n, c in zip(names, columns, strict=True) if not has_energy(c)]
    return f" Energy {NO_ENERGY} for {', '.join(left_out)}." if left_out else ""


def layer_energy_figure(column: Result, name: str) -> Figure:
    """Energy per inference by layer and component; all bars together are the total."""
    batch, total = column["batch"], column["totals"]["energy_j"]["value"]
    layers, rest = _largest(column["layers"], "energy_j")
    by_rest = {key: sum(x["energy_by"].get(key, 0.0) for x in rest) for key in COMPONENT_NAMES}
    found = [(x["name"], f"{x['name']} ({x['op']})", x["energy_by"]) for x in layers]
    found += [(_all_of(rest), _all_of(rest), by_rest)] if rest else []
    joules = [sum(energy_by.values()) for _, _, energy_by in found]
    size, unit = unit_of(max(joules, default=0) / batch, JOULES)
    bars = [
        Bar(
            label,
            f"{format_si(energy / batch, 'J')}, {share(energy, total)} %",
            _parts(energy_by, 1 / batch / size),
            None,
            f"{spoken}: {_spoken(energy_by, energy)}",
        )
        for (label, spoken, energy_by), energy in zip(found, joules, strict=True)
    ]
    axis = linear_axis(max(map(_length, bars), default=0), unit, "energy per inference")
    whole = interval(column["totals"]["energy_per_inference_j"], size)
    caption = f"Energy per inference by layer, all together {whole} {unit}."
    title = f"Energy by layer, {column['mode']}"
    chart = bar_chart(title, _elsewhere(len(column["layers"])), bars, axis)
    return Figure(name, caption, chart, _component_legend([by for _, _, by in found]))


def _largest(layers: Sequence[Result], key: str) -> tuple[list[Result], list[Result]]:
    """Return the layers that get a bar of their own, in the network's order, and the others."""
    total = sum(layer[key] for layer in layers)
    known = sorted(range(len(layers)), key=lambda i: -layers[i][key])[:_MOST_BARS]
    own = {i for i in known if layers[i][key] and layers[i][key] >= _LEAST_SHARE * total}
    split: tuple[list[Result], list[Result]] = ([], [])
    for i, layer in enumerate(layers):
        split[i not in own].append(layer)
    return split if len(split[1]) > 1 else (list(layers), [])


def _all_of(rest: Sequence[Result]) -> str:
    return f"{len(rest)} others together"


def _elsewhere(layers: int) -> str:
    return f"{layers} layers; the table below holds the figures."


def _read_out(bars: Sequence[Bar]) -> str:
    return "; ".join(bar.detail or f"{bar.label}: {bar.value}" for bar in bars)


def limits(columns: Sequence[Result]) -> dict[str, str]:
    """Return a CSS class for everything that bounds a layer, the same in all columns.

    Memories have the colour of their roof in the roofline.
    """
    levels = memory_styles(columns)
    found = {"compute": "b0", "elementwise": "b1"} | {m: f"l{i}" for m, i in levels.items()}
    for column in columns:
        for layer in column["layers"]:
            bound = layer["bound_by"]
            found.setdefault(bound, f"b{min(len(found), _BOUND_STYLES - 1)}")
    return found


def layer_latency_figure(column: Result, name: str, styles: Mapping[str, str]) -> Figure:
    """Latency of the batch by layer, coloured by what bounds it; bars together are the total."""
    timed = [layer for layer in column["layers"] if layer["latency_s"] > 0]
    inside = len(column["layers"]) - len(timed)
    layers, rest = _largest(timed, "latency_s")
    found = [(x["name"], x["bound_by"], {x["bound_by"]: x["latency_s"]}) for x in layers]
    if rest:
        by_rest = seconds_by_bound(rest)
        found.append((_all_of(rest), ", ".join(by_rest), by_rest))
    seconds = [sum(by.values()) for _, _, by in found]
    size, unit = unit_of(max(seconds, default=0), SECONDS)
    bars = [
        Bar(
            label,
            f"{format_si(whole, 's')}, {bound}",
            tuple((styles[key], value / size) for key, value in by.items()),
        )
        for (label, bound, by), whole in zip(found, seconds, strict=True)
    ]
    axis = linear_axis(max(map(_length, bars), default=0), unit, "latency of the batch")
    whole = interval(column["totals"]["latency_s"], size)
    hidden = f"; {inside} run inside another's pass" if inside else ""
    caption = f"Latency of the batch by layer and what bounds it, all {whole} {unit}{hidden}."
    chart = bar_chart(f"Latency by layer, {column['mode']}", _elsewhere(len(timed)), bars, axis)
    return Figure(name, caption, chart, _limit_legend(styles, [by for _, _, by in found]))


def bounds_figure(columns: Sequence[Result], styles: Mapping[str, str]) -> Figure:
    """Each column's latency split by what bounds its layers, its own total being 100 %."""
    found = [seconds_by_bound(column["layers"]) for column in columns]
    bars = []
    for column, name, by in zip(columns, column_names(columns), found, strict=True):
        total = sum(by.values()) or 1.0
        parts = tuple((styles[bound], 100 * part / total) for bound, part in by.items())
        said = ", ".join(f"{bound} {share(part, total)} %" for bound, part in by.items()) or "none"
        bars.append(
            Bar(
                name,
                format_si(column["totals"]["latency_s"]["value"], "s"),
                parts,
                None,
                f"{name}: {said}",
            )
        )
    axis = linear_axis(100.0, "%", "part of the column's own latency")
    caption = "Latency of the batch by what bounds the layer that runs, each total being 100 %."
    chart = bar_chart("Latency by bound", _read_out(bars), bars, axis)
    return Figure("bounds", caption, chart, _limit_legend(styles, found))


def _limit_legend(
    styles: Mapping[str, str], found: Sequence[Mapping[str, float]]
) -> tuple[tuple[str, str], ...]:
    present = {bound for by in found for bound in by}
    return tuple((style, bound) for bound, style in styles.items() if bound in present)


def memory_figure(columns: Sequence[Result]) -> Figure:
    """Memory by use, one bar per column."""
    size, unit = unit_of(max(memory_bytes(column) for column in columns), _BYTES)
    bars = []
    for column, name in zip(columns, column_names(columns), strict=True):
        ledger = column["totals"]["memory"]
        parts = tuple((f"m-{key.split('_')[0]}", ledger[key] / size) for key in MEMORY_NAMES)
        said = ", ".join(f"{n} {format_bytes(ledger[k])}" for k, n in MEMORY_NAMES.items())
        whole = format_bytes(memory_bytes(column))
        room = on_chip_bytes(column)
        bars.append(Bar(name, whole, parts, None, f"{name}: {said}", room / size if room else None))
    axis = linear_axis(max(map(_length, bars)), unit, "memory that the network needs at once")
    legend = [(f"m-{key.split('_')[0]}", name) for key, name in MEMORY_NAMES.items()]
    if any(bar.limit is not None and bar.limit <= axis.high for bar in bars):
        legend.append(("limit", "largest memories on chip"))
    chart = bar_chart("Memory by use", _read_out(bars), bars, axis)
    caption = "Memory that the network needs at once, by use."
    return Figure("memory-chart", caption, chart, tuple(legend))


def waterfall_figure(waterfall: Result, index: int) -> Figure:
    """Return the running total as bars: what adds first, then what saves, largest first."""
    steps = list(waterfall["steps"][:_STEPS])
    rest = sum(s["energy_j"] for s in waterfall["steps"][_STEPS:])
    drawn = [(f"{s['constant']} ({s['cause']})", s["energy_j"]) for s in steps]
    drawn += [(f"{len(waterfall['steps']) - _STEPS} more", rest)] if rest else []
    drawn.sort(key=lambda step: (step[1] < 0, -abs(step[1])))
    start, end = waterfall["start_j"], waterfall["end_j"]
    total, bars = start, [_end(waterfall["from"]["profile"], start)]
    for label, energy in drawn:
        low, total = min(total, total + energy), total + energy
        style = "w-up" if energy > 0 else "w-down"
        parts = (("gap", max(low, 0.0) / MICRO), (style, abs(energy) / MICRO))
        bars.append(Bar(label, f"{signed(energy)} uJ", parts))
    bars.append(_end(waterfall["to"]["profile"], end))
    reach = max(sum(length for _, length in bar.parts) for bar in bars)
    caption = f"{waterfall_name(waterfall)}: energy of one inference, step by step."
    axis = linear_axis(reach, "uJ", "energy per inference")
    chart = bar_chart(caption, _read_out(bars), bars, axis)
    return Figure(f"waterfall{index}", caption, chart, _WATERFALL_LEGEND)


def _end(profile: str, joules: float) -> Bar:
    return Bar(profile, format_si(joules, "J"), (("w-end", joules / MICRO),))


def _parts(energy_by: Result, scale: float) -> tuple[tuple[str, float], ...]:
    return tuple((f"c-{key}", energy_by.get(key, 0.0) * scale) for key in COMPONENT_NAMES)


def _length(bar: Bar) -> float:
    return sum(length for _, length in bar.parts)


def _spoken(energy_by: Result, total: float) -> str:
    present = ((name, energy_by.get(key, 0.0)) for key, name in COMPONENT_NAMES.items())
    return ", ".join(f"{name} {share(part, total)} %" for name, part in present if part) or "none"


def _component_legend(found: Sequence[Result]) -> tuple[tuple[str, str], ...]:
    present = {key for energy_by in found for key, value in energy_by.items() if value}
    return tuple((f"c-{key}", name) for key, name in COMPONENT_NAMES.items() if key in present)


def _with_bounds(quantity: Result, scale: Sequence[tuple[float, str]]) -> str:
    size, unit = unit_of(quantity["value"], scale)
    return f"{interval(quantity, size)} {unit}"
