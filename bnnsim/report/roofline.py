"""Rooflines: what each layer with MACs does per byte and per second, and what its machine allows.

A layer has one intensity for each way in or out of a memory that it uses: reads and writes are two
ways where they have ports of their own. It is drawn at the way that would take longest for the
layer's bytes, and held against the lower of that way's roof and that of the MACs.
"""

from __future__ import annotations

import re
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
_NAMED, _NAME = 4, 16  # markers with a name beside them, letters
_VERBS = ("read", "write")
_STAGE = re.compile(r"PE \d+ x SIMD \d+")  # how a stage of a pipeline is folded
_DRAWABLE = 1e30  # far beyond any machine: what a file may hold need not have a place on an axis


@dataclass(frozen=True, slots=True)
class Way:
    """What goes through the same ports of a memory: reads, writes, or both.

    Parameters
    ----------
    memory : mapping
        One of the result's ``memories``.
    verbs : tuple of str
        ``read``, ``write`` or both.
    bytes_per_s : float
        With those ports busy in every cycle.
    """

    memory: Result
    verbs: tuple[str, ...]
    bytes_per_s: float

    @property
    def name(self) -> str:
        """The memory's name, and the direction where there are two ways."""
        return " ".join((self.memory["name"], *(self.verbs if len(self.verbs) == 1 else ())))


def ways(memory: Result) -> tuple[Way, ...]:
    """Return the ways in and out of a memory; none where the result states no bandwidth."""
    both = memory["bytes_per_s"]
    alone = [memory.get(f"{verb}_bytes_per_s") or 0.0 for verb in _VERBS]
    if not (both and all(alone)):
        return ()
    if alone == [both, both]:
        return (Way(memory, _VERBS, both),)
    return tuple(Way(memory, (verb,), rate) for verb, rate in zip(_VERBS, alone, strict=True))


@dataclass(frozen=True, slots=True)
class Work:
    """What one layer with MACs does, for the whole batch.

    Parameters
    ----------
    index : int
        Its place in the result's ``layers``.
    operations : float
        Two for each MAC.
    way : Way
        The one that would take longest.
    moved_bytes : float
        That way.
    peak_ops_per_s : float
        Of the array or the units.
    """

    layer: Result
    index: int
    operations: float
    way: Way
    moved_bytes: float
    peak_ops_per_s: float

    @property
    def bandwidth(self) -> float:
        """Bytes per second of that way."""
        return float(self.way.bytes_per_s)

    @property
    def ops_per_byte(self) -> float:
        """Operations per byte that goes that way."""
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
    found = [way for memory in column.get("memories", ()) for way in ways(memory)]
    seconds = [moved_bytes(layer, way.memory, way.verbs) / way.bytes_per_s for way in found]
    if not (any(seconds) and peak and layer["macs"] and layer["latency_s"]):
        return None
    way = found[seconds.index(max(seconds))]
    operations = OPS_PER_MAC * float(layer["macs"]) * column["batch"]
    moved = moved_bytes(layer, way.memory, way.verbs)
    work = Work(layer, index, operations, way, moved, OPS_PER_MAC * peak)
    drawn = (work.ops_per_byte, work.ops_per_s, work.peak_ops_per_s, work.bandwidth)
    return work if all(map(_drawable, drawn)) else None


def _drawable(value: float) -> bool:
    return 1 / _DRAWABLE < value < _DRAWABLE


def moved_bytes(layer: Result, memory: Result, verbs: Sequence[str] = _VERBS) -> float:
    """Return the bytes of a layer's accesses to a memory, whole words."""
    actions = layer["physical_actions"]
    accesses = sum(actions.get(f"{memory['name']}.{verb}", 0) for verb in verbs)
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
    profile, memories = column["profile"], column.get("memories")
    if memories is None or any(m["bytes_per_s"] and "read_bytes_per_s" not in m for m in memories):
        return ("No roofline: an earlier version made this result, which does not say what its "
                "machine could do.")  # fmt: skip
    if not memories and streams(column):
        return (f"No roofline: {profile} is a streaming pipeline. Each stage keeps its weights at "
                "its lanes and passes results on: it has no memories to wait for.")  # fmt: skip
    if not memories:
        return f"No roofline: profile {profile} has operators only, no memories."
    if not any(map(ways, memories)):
        return f"No roofline: profile {profile} states no bandwidth."
    return "" if works(column) else "No roofline: no layer has both MACs and memory traffic."


def streams(column: Result) -> bool:
    """Return whether a column is of a streaming pipeline, as the mapping of its layers says."""
    return any(_STAGE.match(layer["mapping"]) for layer in column["layers"])


def unstated(column: Result) -> str:
    """Name the memories without a bandwidth, which have no roof."""
    names = [m["name"] for m in column.get("memories", ()) if not ways(m)]
    return f" No bandwidth is stated for {', '.join(names)}." if names else ""


def roofline_figure(column: Result, name: str, styles: Mapping[str, int]) -> Figure:
    """Return the roofline of a column that has one (:func:`missing` says so)."""
    found = works(column)
    roofs = _roofs(column)
    slopes = [Slope(rate, styles[memory]) for memory, rate, _ in roofs]
    ceilings = _ceilings(found)
    named = {w.index for w in sorted(found, key=lambda w: -w.operations)[:_NAMED]}
    markers = [
        Marker(
            w.ops_per_byte,
            w.ops_per_s,
            styles[w.way.memory["name"]],
            _spoken(w),
            shortened(w.layer["name"], _NAME) if w.index in named else "",
        )
        for w in found
    ]
    axes = _axes(found, slopes, ceilings)
    title = f"Roofline, {column['mode']} on {column['profile']}"
    text = f"{len(found)} layers with MACs; the table below holds the figures."
    caption = (
        "Roofline: each layer with MACs at the memory that takes it longest. "
        f"Sloped roofs are bandwidths, flat roofs are rates of MACs.{unstated(column)}"
    )
    return Figure(
        name,
        caption,
        roofline_chart((title, text), markers, (slopes, ceilings), axes),
        tuple((f"r{styles[memory]}", text) for memory, _, text in roofs),
    )


def _roofs(column: Result) -> list[tuple[str, float, str]]:
    """Return the sloped roofs: memory, bytes per second, text; two that coincide are one."""
    found = []
    for memory in column["memories"]:
        names: dict[float, list[str]] = {}
        for way in ways(memory):
            names.setdefault(way.bytes_per_s, []).append(way.name)
        for rate, known in ((r, k) for r, k in names.items() if _drawable(r)):
            name = known[0] if len(known) == 1 else f"{memory['name']} read or write"
            found.append((memory["name"], rate, f"{name}, {format_si(rate, 'B/s')}"))
    return found


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
        f"{digits(work.ops_per_byte)} ops/B of {work.way.name}, "
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
            w.way.name,
            digits(w.moved_bytes / KIBI),
            digits(w.ops_per_byte),
            digits(w.ops_per_s / _GIGA),
            digits(w.reachable_ops_per_s / _GIGA),
            share(w.ops_per_s, w.reachable_ops_per_s),
            w.layer["bound_by"],
        )
        for w in found
    ]
    heads = ("layer", "operands", "MACs", "through", "moved (KiB)", "intensity (ops/B)",
             "rate (Gops/s)", "roof (Gops/s)", "of the roof (%)", "bound by")  # fmt: skip
    return table(
        f"Roofline of {column['mode']} on {column['profile']}, batch {column['batch']}",
        heads,
        rows,
        keys=("", "", "*/macs"),
        at=[pointer("columns", index, "layers", w.index) for w in found],
    )
