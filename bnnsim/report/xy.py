"""Rooflines as SVG: logarithmic axes, roofs, and one marker per layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bnnsim.report.svg import AXIS, AXIS_TITLE, MARKERS, Axis, Drawing, axis_title, safe

HEIGHT, _TOP, _LABEL = 340, 36, 14
_LETTER = 2.1  # per cent of 340 pixels


@dataclass(frozen=True, slots=True)
class Marker:
    """One layer: operations per byte, per second, its text, and a name to stand beside it."""

    x: float
    y: float
    style: int
    detail: str
    label: str = ""


@dataclass(frozen=True, slots=True)
class Slope:
    """The roof of a memory: ``rate`` operations per second for one operation per byte."""

    rate: float
    style: int


@dataclass(frozen=True, slots=True)
class Ceiling:
    """The roof of the array for one pair of operand types."""

    rate: float
    label: str


def roofline_chart(
    texts: tuple[str, str],
    markers: Sequence[Marker],
    roofs: tuple[Sequence[Slope], Sequence[Ceiling]],
    axes: tuple[Axis, Axis],
) -> Drawing:
    """Return the drawing.

    Parameters
    ----------
    texts : (str, str)
        Title and description.
    roofs : (slopes, ceilings)
    axes : (Axis, Axis)
        Logarithmic: operations per byte, operations per second.
    """
    slopes, ceilings = roofs
    parts = [
        *_grid(axes),
        *_slopes(slopes, ceilings, axes),
        *_ceilings(slopes, ceilings, axes),
        *_tick_texts(axes),
        *(_marker(m, axes) for m in markers),
        *_names(markers, ceilings, axes),
        axis_title(axes[0], _TOP + HEIGHT + AXIS),
        f'<text class="axis" x="0" y="12">{safe(axes[1].title)}</text>',
    ]
    return Drawing(*texts, "".join(parts), _TOP + HEIGHT + AXIS + AXIS_TITLE)


def _y(axis: Axis, value: float) -> float:
    return _TOP + HEIGHT * (1 - axis.place(value) / 100)


def _grid(axes: tuple[Axis, Axis]) -> Iterator[str]:
    across, up = axes
    bottom = _TOP + HEIGHT
    for value, _ in up.ticks:
        y = _y(up, value)
        yield f'<line class="grid" x1="0" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>'
    for value, _ in across.ticks:
        for place, top, end in ((value, _TOP, bottom + 4), *_minor(value, across, bottom)):
            x = f"{across.place(place):.2f}%"
            yield f'<line class="grid" x1="{x}" x2="{x}" y1="{top}" y2="{end}"/>'


def _minor(value: float, axis: Axis, bottom: int) -> Iterator[tuple[float, int, int]]:
    """Yield the short marks at 2 and 5 after a tick, as (value, from, to)."""
    yield from ((m * value, bottom - 5, bottom) for m in (2, 5) if m * value < axis.high)


def _tick_texts(axes: tuple[Axis, Axis]) -> Iterator[str]:
    across, up = axes
    for value, text in up.ticks:
        yield f'<text class="tick" x="2" y="{_y(up, value) - 4:.1f}">{safe(text)}</text>'
    for value, text in across.ticks:
        x = across.place(value)
        anchor = "start" if x < 4 else "end" if x > 96 else "middle"
        yield (
            f'<text class="tick" x="{x:.2f}%" y="{_TOP + HEIGHT + 17}" text-anchor="{anchor}">'
            f"{safe(text)}</text>"
        )


def _slopes(
    slopes: Sequence[Slope], ceilings: Sequence[Ceiling], axes: tuple[Axis, Axis]
) -> Iterator[str]:
    across, up = axes
    top = max((c.rate for c in ceilings), default=up.high)
    for slope in slopes:
        low = max(across.low, up.low / slope.rate)
        high = min(across.high, top / slope.rate)
        if low < high:
            yield (
                f'<line class="roof r{slope.style}" x1="{across.place(low):.2f}%" '
                f'x2="{across.place(high):.2f}%" y1="{_y(up, low * slope.rate):.1f}" '
                f'y2="{_y(up, high * slope.rate):.1f}"/>'
            )


def _ceilings(
    slopes: Sequence[Slope], ceilings: Sequence[Ceiling], axes: tuple[Axis, Axis]
) -> Iterator[str]:
    across, up = axes
    fastest = max((s.rate for s in slopes), default=0.0)
    for ceiling, last in _lettered(ceilings, up):
        y = _y(up, ceiling.rate)
        start = across.place(ceiling.rate / fastest) if fastest else 0.0
        yield f'<line class="roof flat" x1="{start:.2f}%" x2="100%" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="roof-label" x="100%" y="{last:.1f}">{safe(ceiling.label)}</text>'


def _lettered(ceilings: Sequence[Ceiling], up: Axis) -> Iterator[tuple[Ceiling, float]]:
    """Yield the flat roofs from above with the height of their text."""
    last = 0.0
    for ceiling in sorted(ceilings, key=lambda c: -c.rate):
        last = max(_y(up, ceiling.rate) - 5, last + _LABEL)
        yield ceiling, last


def _names(
    markers: Sequence[Marker], ceilings: Sequence[Ceiling], axes: tuple[Axis, Axis]
) -> Iterator[str]:
    """Yield the names that have room on the narrowest window, where letters are widest."""
    taken = [(0.0, 24.0, _y(axes[1], value) - 4) for value, _ in axes[1].ticks]
    taken += [(100 - len(c.label) * _LETTER, 100.0, y) for c, y in _lettered(ceilings, axes[1])]
    for marker in markers:
        x, width = axes[0].place(marker.x), (len(marker.label) + 2) * _LETTER
        side, start = ("start", x) if x + width < 100 else ("end", x - width)
        y = _y(axes[1], marker.y) + 4
        free = all(
            start > right or start + width < left or abs(y - at) > _LABEL
            for left, right, at in taken
        )
        if marker.label and free and start >= 0:
            taken.append((start, start + width, y))
            dx = 9 if side == "start" else -9
            yield (f'<text class="mark-label" x="{x:.2f}%" y="{y:.1f}" dx="{dx}" '
                   f'text-anchor="{side}">{safe(marker.label)}</text>')  # fmt: skip


def _marker(marker: Marker, axes: tuple[Axis, Axis]) -> str:
    x, y = axes[0].place(marker.x), _y(axes[1], marker.y)
    return (
        f'<svg class="row" x="{x:.2f}%" y="{y:.1f}">'
        f'<path class="mark-edge r{marker.style}" d="{MARKERS[marker.style]}">'
        f"<title>{safe(marker.detail)}</title></path></svg>"
    )
