"""The page's figures: which numbers become which bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bnnsim.report.costs import COMPONENT_NAMES, MEMORY_NAMES, column_names, memory_bytes
from bnnsim.report.numbers import KIBI, MICRO, interval, share
from bnnsim.report.svg import Bar, bar_chart, linear_axis, log_axis, point_chart
from bnnsim.report.waterfalls import name as waterfall_name
from bnnsim.report.waterfalls import signed
from bnnsim.units import format_bytes, format_si

Result = Mapping[str, Any]
_JOULES = ((1e-15, "fJ"), (1e-12, "pJ"), (1e-9, "nJ"), (1e-6, "uJ"), (1e-3, "mJ"), (1.0, "J"))
_SECONDS = ((1e-12, "ps"), (1e-9, "ns"), (1e-6, "us"), (1e-3, "ms"), (1.0, "s"))
_BYTES = ((1.0, "B"), (KIBI, "KiB"), (KIBI**2, "MiB"), (KIBI**3, "GiB"))
_LOG_FROM = 8.0
_LEAST_SHARE = 0.001
_BOUND_STYLES = 8
_STEPS = 10
_WATERFALL_LEGEND = (("w-end", "energy of a column"), ("w-up", "adds"), ("w-down", "saves"))


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart with its caption and legend (CSS class and text)."""

    caption: str
    chart: str
    legend: tuple[tuple[str, str], ...]

    def __html__(self) -> str:
        """Return the chart, which is markup already."""
        return self.chart


def totals_figure(columns: Sequence[Result]) -> Figure:
    """Energy per inference of each column with its interval; logarithmic over a wide range."""
    found = [column["totals"]["energy_per_inference_j"] for column in columns]
    lows = [min(q["low"], q["value"]) for q in found]
    high = max(max(q["high"], q["value"]) for q in found)
    wide = min(lows) > 0 and max(q["value"] for q in found) > _LOG_FROM * min(
        q["value"] for q in found
    )
    size, unit = _unit(high, _JOULES)
    axis = log_axis(min(lows), high, _JOULES) if wide else linear_axis(high / size, unit)
    scale = 1.0 if wide else size
    bars = [
        Bar(
            name,
            _with_bounds(energy, _JOULES),
            (("point", energy["value"] / scale),),
            (energy["low"] / scale, energy["high"] / scale),
        )
        for name, energy in zip(column_names(columns), found, strict=True)
    ]
    kind = "logarithmic" if wide else "linear"
    caption = f"Energy per inference ({kind} axis); whiskers are 90 % intervals."
    text = "; ".join(f"{bar.label}: {bar.value}" for bar in bars)
    return Figure(caption, point_chart("totals", "Energy per inference", text, bars, axis), ())


def shares_figure(columns: Sequence[Result]) -> Figure:
    """Each column's energy split into components, its own total being 100 %."""
    bars, reach = [], 100.0
    for column, name in zip(columns, column_names(columns), strict=True):
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
                _spoken(column["energy_by"], total),
            )
        )
    text = "; ".join(f"{bar.label}: {bar.detail}" for bar in bars)
    chart = bar_chart("shares", "Energy by component", text, bars, linear_axis(reach, "%"))
    caption = (
        "Energy by component, each total being 100 %; "
        "whiskers are the total's 90 % interval on the same scale."
    )
    return Figure(caption, chart, _component_legend([column["energy_by"] for column in columns]))


def layer_energy_figure(column: Result, name: str) -> Figure:
    """Energy per inference of each layer that takes a share worth drawing, by component."""
    batch, total = column["batch"], column["totals"]["energy_j"]["value"]
    layers = [layer for layer in column["layers"] if layer["energy_j"] >= _LEAST_SHARE * total]
    less = len(column["layers"]) - len(layers)
    size, unit = _unit(max((layer["energy_j"] for layer in layers), default=0) / batch, _JOULES)
    bars = [
        Bar(
            layer["name"],
            f"{format_si(layer['energy_j'] / batch, 'J')}, {share(layer['energy_j'], total)} %",
            _parts(layer["energy_by"], 1 / batch / size),
            None,
            f"{layer['name']} ({layer['op']}): {_spoken(layer['energy_by'], layer['energy_j'])}",
        )
        for layer in layers
    ]
    axis = linear_axis(max((_length(bar) for bar in bars), default=0), unit)
    whole = interval(column["totals"]["energy_per_inference_j"], size)
    rest = f"; {less} under 0.1 % are in the table only" if less else ""
    caption = f"Energy per inference by layer, all together {whole} {unit}{rest}."
    title = f"Energy by layer, {column['mode']}"
    text = f"{len(bars)} layers; the table below holds the figures."
    chart = bar_chart(name, title, text, bars, axis)
    return Figure(caption, chart, _component_legend([layer["energy_by"] for layer in layers]))


def limits(columns: Sequence[Result]) -> dict[str, str]:
    """Return a CSS class for everything that bounds a layer, the same in all columns."""
    bounds = (layer["bound_by"] for column in columns for layer in column["layers"])
    names = dict.fromkeys(str(bound) for bound in ("compute", *bounds) if bound)
    return {name: f"b{min(i, _BOUND_STYLES - 1)}" for i, name in enumerate(names)}


def layer_latency_figure(column: Result, name: str, styles: Mapping[str, str]) -> Figure:
    """Latency of the batch by layer, coloured by what bounds it."""
    layers = [layer for layer in column["layers"] if layer["latency_s"] > 0]
    inside = len(column["layers"]) - len(layers)
    size, unit = _unit(max((layer["latency_s"] for layer in layers), default=0), _SECONDS)
    bars = [
        Bar(
            layer["name"],
            f"{format_si(layer['latency_s'], 's')}, {layer['bound_by']}",
            ((styles.get(layer["bound_by"], ""), layer["latency_s"] / size),),
        )
        for layer in layers
    ]
    axis = linear_axis(max((_length(bar) for bar in bars), default=0), unit)
    whole = interval(column["totals"]["latency_s"], size)
    rest = f"; {inside} run inside another's pass" if inside else ""
    caption = f"Latency of the batch by layer and what bounds it, all {whole} {unit}{rest}."
    text = f"{len(bars)} layers; the table below holds the figures."
    chart = bar_chart(name, f"Latency by layer, {column['mode']}", text, bars, axis)
    present = {layer["bound_by"] for layer in layers}
    legend = tuple((style, limit) for limit, style in styles.items() if limit in present)
    return Figure(caption, chart, legend)


def memory_figure(columns: Sequence[Result]) -> Figure:
    """Memory by use, one bar per column."""
    size, unit = _unit(max(memory_bytes(column) for column in columns), _BYTES)
    bars = []
    for column, name in zip(columns, column_names(columns), strict=True):
        ledger = column["totals"]["memory"]
        parts = tuple((f"m-{key.split('_')[0]}", ledger[key] / size) for key in MEMORY_NAMES)
        text = ", ".join(f"{n} {format_bytes(ledger[k])}" for k, n in MEMORY_NAMES.items())
        whole = format_bytes(memory_bytes(column))
        bars.append(Bar(name, whole, parts, None, text))
    axis = linear_axis(max(_length(bar) for bar in bars), unit)
    text = "; ".join(f"{bar.label}: {bar.detail}" for bar in bars)
    legend = tuple((f"m-{key.split('_')[0]}", name) for key, name in MEMORY_NAMES.items())
    chart = bar_chart("memory-chart", "Memory by use", text, bars, axis)
    return Figure("Memory that the network needs at once, by use.", chart, legend)


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
    text = "; ".join(f"{bar.label}: {bar.value}" for bar in bars)
    axis = linear_axis(reach, "uJ")
    chart = bar_chart(f"waterfall{index}", caption, text, bars, axis)
    return Figure(caption, chart, _WATERFALL_LEGEND)


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


def _unit(value: float, scale: Sequence[tuple[float, str]]) -> tuple[float, str]:
    """Return the largest unit that is not above ``value``."""
    return next((s for s in reversed(scale) if value >= s[0]), scale[0])


def _with_bounds(quantity: Result, scale: Sequence[tuple[float, str]]) -> str:
    size, unit = _unit(quantity["value"], scale)
    return f"{interval(quantity, size)} {unit}"
