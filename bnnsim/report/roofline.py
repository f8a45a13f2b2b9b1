"""Rooflines: what each layer with MACs does per byte and per second, and what its machine allows.

A layer has one intensity for each memory that it uses. It is drawn at the memory that would take
longest to move the layer's bytes, and held against the lower of that memory's roof and the array's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bnnsim.report.figure import Figure
from bnnsim.report.numbers import KIBI, count, digits, share
from bnnsim.report.svg import MARKERS, Axis, close_log_axis, shortened
from bnnsim.report.tables import Table, pointer, table
from bnnsim.report.xy import Ceiling, Marker, Slope, roofline_chart
from bnnsim.units import format_si

Result = Mapping[str, Any]
OPS_PER_MAC = 2
_RATES = tuple((10.0**p, f"{s}ops/s") for p, s in
               ((0, ""), (3, "k"), (6, "M"), (9, "G"), (12, "T"), (15, "P")))  # fmt: skip
_INTENSITIES = ((1.0, ""), (1e3, "k"), (1e6, "M"), (1e9, "G"))
_GIGA = 1e9
_DRAWABLE = 1e30  # far beyond any machine: what a file may hold need not have a place on an axis


@dataclass(frozen=True, slots=True)
class Work:
    """What one layer with MACs does, for the whole batch.

    Parameters
    ----------
    index : int
        Its place in the result's ``layers``.
    operations : float
        Two for each MAC.
    memory : mapping
        The one of the result's ``memories`` that would take longest.
    moved_bytes : float
        Through that memory, reads and writes together.
    peak_ops_per_s : float
        Of the array.
    """

    layer: Result
    index: int
    operations: float
    memory: Result
    moved_bytes: float
    peak_ops_per_s: float

    @property
    def bandwidth(self) -> float:
        """Bytes per second of that memory."""
        return float(self.memory["bytes_per_s"])

    @property
    def ops_per_byte(self) -> float:
        """Operational intensity at that memory."""
        return self.operations / self.moved_bytes

    @property
    def ops_per_s(self) -> float:
        """What the layer reaches."""
        return float(self.operations / self.layer["latency_s"])

    @property
    def reachable_ops_per_s(self) -> float:
        """The lower of both roofs at this intensity."""
        return min(self.peak_ops_per_s, self.bandwidth * self.ops_per_byte)


def works(column: Result) -> tuple[Work, ...]:
    """Return a roofline's points: the layers with MACs that use a memory of stated bandwidth."""
    return tuple(filter(None, (_work(column, i) for i in range(len(column["layers"])))))


def _work(column: Result, index: int) -> Work | None:
    layer = column["layers"][index]
    peak = layer.get("peak_macs_per_s", 0.0)
    moved = [
        (moved_bytes(layer, memory) / memory["bytes_per_s"], level)
        for level, memory in enumerate(column.get("memories", ()))
        if memory["bytes_per_s"]
    ]
    seconds, level = max(moved, default=(0.0, 0))
    if not (seconds and peak and layer["macs"] and layer["latency_s"]):
        return None
    memory = column["memories"][level]
    operations = OPS_PER_MAC * float(layer["macs"]) * column["batch"]
    moved_there = moved_bytes(layer, memory)
    work = Work(layer, index, operations, memory, moved_there, OPS_PER_MAC * peak)
    drawn = (work.ops_per_byte, work.ops_per_s, work.peak_ops_per_s, work.bandwidth)
    return work if all(1 / _DRAWABLE < value < _DRAWABLE for value in drawn) else None


def moved_bytes(layer: Result, memory: Result) -> float:
    """Return the bytes of all accesses of a layer to a memory, whole words."""
    actions = layer["physical_actions"]
    accesses = sum(actions.get(f"{memory['name']}.{verb}", 0) for verb in ("read", "write"))
    return float(accesses) * memory["word_bits"] / 8


def memory_styles(columns: Sequence[Result]) -> dict[str, int]:
    """Return the marker of each memory by name: that of its level, the same in all columns."""
    styles: dict[str, int] = {}
    for column in columns:
        names = [memory["name"] for memory in column.get("memories", ())]
        used = {styles[name] for name in names if name in styles}
        for level, name in enumerate(names):
            if name not in styles:
                free = (i for i in (level, *range(len(MARKERS))) if i not in used)
                styles[name] = next(free, level) % len(MARKERS)
                used.add(styles[name])
    return styles


def missing(column: Result) -> str:
    """Say why a column has no roofline, or nothing."""
    if "memories" not in column:
        return "This result does not say what its machine could do: an earlier version made it."
    if not column["memories"]:
        return f"Profile {column['profile']} has operators only, no memories: no roofline."
    if not any(memory["bytes_per_s"] for memory in column["memories"]):
        return f"Profile {column['profile']} states no bandwidth: no roofline."
    return "" if works(column) else "No layer has both MACs and memory traffic: no roofline."


def unstated(column: Result) -> str:
    """Name the memories without a bandwidth, which have no roof."""
    names = [m["name"] for m in column.get("memories", ()) if not m["bytes_per_s"]]
    return f" No bandwidth is stated for {', '.join(names)}." if names else ""


def roofline_figure(column: Result, name: str, styles: Mapping[str, int]) -> Figure:
    """Return the roofline of a column that has one (:func:`missing` says so)."""
    found = works(column)
    stated = [memory for memory in column["memories"] if memory["bytes_per_s"]]
    slopes = [Slope(memory["bytes_per_s"], styles[memory["name"]]) for memory in stated]
    ceilings = _ceilings(found)
    markers = [
        Marker(w.ops_per_byte, w.ops_per_s, styles[w.memory["name"]], _spoken(w)) for w in found
    ]
    axes = _axes(found, slopes, ceilings)
    title = f"Roofline, {column['mode']} on {column['profile']}"
    text = f"{len(found)} layers with MACs; the table below holds the figures."
    caption = (
        "Roofline: each layer with MACs at the memory that takes it longest. "
        f"Sloped roofs are bandwidths, flat roofs the array.{unstated(column)}"
    )
    return Figure(
        name,
        caption,
        roofline_chart((title, text), markers, (slopes, ceilings), axes),
        tuple(
            (f"r{styles[m['name']]}", f"{m['name']}, {format_si(m['bytes_per_s'], 'B/s')}")
            for m in stated
        ),
    )


def _ceilings(found: Sequence[Work]) -> list[Ceiling]:
    """Return one flat roof for each rate, named by the operand types that run at it."""
    pairs: dict[float, dict[str, None]] = {}
    for work in found:
        pairs.setdefault(work.peak_ops_per_s, {})[_pair(work.layer)] = None
    return [
        Ceiling(rate, f"{shortened(', '.join(names))}: {format_si(rate, 'ops/s')}")
        for rate, names in pairs.items()
    ]


def _pair(layer: Result) -> str:
    return f"{layer['act_dtype']} x {layer['weight_dtype']}"


def _axes(
    found: Sequence[Work], slopes: Sequence[Slope], ceilings: Sequence[Ceiling]
) -> tuple[Axis, Axis]:
    """Return axes that hold every point and the ridge of every memory."""
    top = max(c.rate for c in ceilings)
    xs = [w.ops_per_byte for w in found] + [top / s.rate for s in slopes]
    ys = [w.ops_per_s for w in found] + [c.rate for c in ceilings]
    across = "operations per byte moved (1 MAC = 2 operations)"
    return (
        close_log_axis(xs, _INTENSITIES, across),
        close_log_axis(ys, _RATES, "operations per second"),
    )


def _spoken(work: Work) -> str:
    return (
        f"{work.layer['name']}: {format_si(work.ops_per_s, 'ops/s')} at "
        f"{digits(work.ops_per_byte)} ops/B of {work.memory['name']}, "
        f"{share(work.ops_per_s, work.reachable_ops_per_s)} % of its roof, "
        f"bound by {work.layer['bound_by']}"
    )


def roofline_table(column: Result, index: int = 0) -> Table:
    """Return the figures of a roofline, one row per layer."""
    found = works(column)
    rows = [
        (
            w.layer["name"],
            _pair(w.layer),
            count(w.layer["macs"]),
            w.memory["name"],
            digits(w.moved_bytes / KIBI),
            digits(w.ops_per_byte),
            digits(w.ops_per_s / _GIGA),
            digits(w.reachable_ops_per_s / _GIGA),
            share(w.ops_per_s, w.reachable_ops_per_s),
            w.layer["bound_by"],
        )
        for w in found
    ]
    heads = ("layer", "operands", "MACs", "memory", "moved (KiB)", "intensity (ops/B)",
             "rate (Gops/s)", "roof (Gops/s)", "of the roof (%)", "bound by")  # fmt: skip
    return table(
        f"Roofline of {column['mode']} on {column['profile']}, batch {column['batch']}",
        heads,
        rows,
        keys=("", "", "*/macs"),
        at=[pointer("columns", index, "layers", w.index) for w in found],
    )
