"""Charts as inline SVG: positions across are percentages, so text keeps its size at any width."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from bnnsim.report.numbers import visible

SVG = "http://www.w3.org/2000/svg"
ROW, BAR_TOP, BAR, AXIS, AXIS_TITLE = 40, 17, 12, 22, 18
_LONGEST_LABEL, _LINE = 34, 44  # letters: of one text, and of label and value on 340 pixels
_THINNEST = 0.02  # per cent of the width: anything thinner cannot be seen
MARKERS = (
    "M-5-5H5V5H-5Z",
    "M0-6 6 5H-6Z",
    "M0-7 7 0 0 7-7 0Z",
    "M-2-6H2V-2H6V2H2V6H-2V2H-6V-2H-2Z",
)


@dataclass(frozen=True, slots=True)
class Drawing:
    """The inside of a chart, for any width, with what stands for it where it cannot be seen.

    Parameters
    ----------
    title, description : str
    body : str
        Markup.
    height : int
        Pixels.
    """

    title: str
    description: str
    body: str
    height: int

    def inline(self, name: str) -> str:
        """Return the chart as an element of a page; ``name`` makes its ids unique there."""
        return (
            f'<svg class="chart" role="img" width="100%" height="{self.height}" '
            f'xmlns="{SVG}" aria-labelledby="{name}-t {name}-d">'
            f"{self.labels(name)}{self.body}</svg>"
        )

    def labels(self, name: str) -> str:
        """Return title and description as elements."""
        return (
            f'<title id="{name}-t">{safe(self.title)}</title>'
            f'<desc id="{name}-d">{safe(self.description)}</desc>'
        )


@dataclass(frozen=True, slots=True)
class Bar:
    """One row of a chart.

    Parameters
    ----------
    label, value : str
        Text above the bar, left and right.
    parts : tuple of (str, float)
        CSS class and length of each part, in axis units, from left to right.
    interval : tuple of (float, float), optional
        Ends of the whisker, in axis units.
    detail : str
        What a pointer resting on the row shows.
    limit : float, optional
        Where a line across the bar stands, in axis units.
    """

    label: str
    value: str
    parts: tuple[tuple[str, float], ...]
    interval: tuple[float, float] | None = None
    detail: str = ""
    limit: float | None = None


@dataclass(frozen=True, slots=True)
class Axis:
    """What an axis shows: title, range, ticks with their text, whether it is logarithmic."""

    low: float
    high: float
    ticks: tuple[tuple[float, str], ...]
    logarithmic: bool = False
    title: str = ""

    def place(self, value: float) -> float:
        """Return where ``value`` stands, in per cent of the width."""
        low, high = self.low, self.high
        if self.logarithmic:
            low, high, value = math.log10(low), math.log10(high), math.log10(max(value, low))
        return 100 * min(1.0, max(0.0, (value - low) / (high - low)))


def linear_axis(high: float, unit: str, title: str = "") -> Axis:
    """Return an axis from 0 to at least ``high`` with at most six round ticks."""
    high = high if high > 0 else 1.0
    magnitude = 10.0 ** math.floor(math.log10(high))
    step = next(m * magnitude for m in (0.2, 0.5, 1.0, 2.0) if high / (m * magnitude) <= 5 + 1e-9)
    steps = math.ceil(high / step - 1e-9)
    ticks = tuple((i * step, f"{i * step:.9g} {unit}") for i in range(steps + 1))
    return Axis(0.0, steps * step, ticks, title=title)


def log_axis(low: float, high: float, scale: Sequence[tuple[float, str]], title: str = "") -> Axis:
    """Return an axis over whole decades; ``scale`` holds the units for the ticks, ascending."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    last = max(last, first + 1)
    every = math.ceil((last - first) / 6)
    ticks = tuple((10.0**e, _tick(10.0**e, scale)) for e in range(first, last + 1, every))
    return Axis(10.0**first, 10.0**last, ticks, True, title)


def close_log_axis(values: Sequence[float], scale: Sequence[tuple[float, str]], title: str) -> Axis:
    """Return an axis that ends a factor of 2 beyond the values, with ticks at whole decades."""
    low, high = min(values) / 2, max(values) * 2
    whole = log_axis(low, high, scale, title)
    inside = tuple(tick for tick in whole.ticks if low <= tick[0] <= high)
    return Axis(low, high, inside, True, title) if len(inside) > 1 else whole


def _tick(value: float, scale: Sequence[tuple[float, str]]) -> str:
    size, unit = next((s for s in reversed(scale) if value >= s[0] * 0.999999), scale[0])
    return f"{value / size:.4g} {unit}".rstrip()


def bar_chart(title: str, description: str, bars: Sequence[Bar], axis: Axis) -> Drawing:
    """Return stacked horizontal bars with whiskers."""
    rows = (_row(i, bar, _stack(bar, axis)) for i, bar in enumerate(bars))
    return _drawing(title, description, rows, len(bars), axis)


def point_chart(title: str, description: str, bars: Sequence[Bar], axis: Axis) -> Drawing:
    """Return one dot per row, at the first part's value, with whiskers."""
    rows = (_row(i, bar, _point(bar, axis)) for i, bar in enumerate(bars))
    return _drawing(title, description, rows, len(bars), axis)


def _drawing(title: str, description: str, rows: Iterable[str], count: int, axis: Axis) -> Drawing:
    body = "".join([*_grid(axis, count * ROW), *rows, axis_title(axis, count * ROW + AXIS)])
    height = count * ROW + AXIS + (AXIS_TITLE if axis.title else 0)
    return Drawing(title, description, body, height)


def axis_title(axis: Axis, top: int) -> str:
    """Return the title of a horizontal axis, under its ticks."""
    if not axis.title:
        return ""
    y = top + AXIS_TITLE - 5
    return f'<text class="axis" x="50%" y="{y}" text-anchor="middle">{safe(axis.title)}</text>'


def _grid(axis: Axis, height: int) -> Iterable[str]:
    for value, text in axis.ticks:
        x = axis.place(value)
        anchor = "start" if x < 4 else "end" if x > 96 else "middle"
        yield f'<line class="grid" x1="{x:.2f}%" x2="{x:.2f}%" y1="0" y2="{height + 4}"/>'
        yield (
            f'<text class="tick" x="{x:.2f}%" y="{height + 17}" text-anchor="{anchor}">'
            f"{safe(text)}</text>"
        )


def _row(index: int, bar: Bar, shapes: str) -> str:
    top = index * ROW
    value = shortened(bar.value)
    label = shortened(bar.label, _LINE - len(value))
    return (
        f"<g><title>{safe(bar.detail or f'{bar.label}: {bar.value}')}</title>"
        f'<rect class="hit" y="{top}" width="100%" height="{ROW}"/>'
        f'<text class="label" y="{top + 12}">{safe(label)}</text>'
        f'<text class="value" x="100%" y="{top + 12}">{safe(value)}</text>'
        f'<svg y="{top + BAR_TOP}" width="100%" height="{BAR}" class="row">{shapes}</svg></g>'
    )


def _stack(bar: Bar, axis: Axis) -> str:
    shapes, start = [], 0.0
    for style, length in bar.parts:
        x, end = axis.place(start), axis.place(start + length)
        if end - x >= _THINNEST:
            shapes.append(
                f'<rect class="{style}" x="{x:.3f}%" width="{end - x:.3f}%" height="{BAR}"/>'
            )
        start += length
    return "".join(shapes) + _whisker(bar, axis) + _limit(bar, axis)


def _limit(bar: Bar, axis: Axis) -> str:
    if bar.limit is None or bar.limit > axis.high:
        return ""
    x = f"{axis.place(bar.limit):.2f}%"
    return "".join(
        f'<line class="{style}" x1="{x}" x2="{x}" y1="-3" y2="{BAR + 3}"/>'
        for style in ("halo", "limit")
    )


def _point(bar: Bar, axis: Axis) -> str:
    style, value = bar.parts[0]
    middle = BAR // 2
    return (
        f'<line class="track" x1="0" x2="100%" y1="{middle}" y2="{middle}"/>'
        f"{_whisker(bar, axis)}"
        f'<circle class="{style}" cx="{axis.place(value):.2f}%" cy="{middle}" r="5"/>'
    )


def _whisker(bar: Bar, axis: Axis) -> str:
    if bar.interval is None:
        return ""
    y = BAR // 2
    low, high = (f"{axis.place(end):.2f}%" for end in bar.interval)
    lines = [(low, high, y, y), (low, low, y - 4, y + 4), (high, high, y - 4, y + 4)]
    return "".join(
        f'<line class="{style}" x1="{x1}" x2="{x2}" y1="{y1}" y2="{y2}"/>'
        for style in ("halo", "whisker")
        for x1, x2, y1, y2 in lines
    )


def swatch(style: str) -> str:
    """Return what stands for a class in a legend: its marker (``r0``), its line, or its colour."""
    if style == "limit":
        return '<line class="limit" x1="6" x2="6" y1="-2" y2="14"/>'
    if style[:1] == "r" and style[1:].isdigit():
        return f'<path class="{style}" d="{MARKERS[int(style[1:])]}" transform="translate(6 6)"/>'
    return f'<rect class="{style}" width="12" height="12"/>'


def shortened(label: str, most: int = _LONGEST_LABEL) -> str:
    """Return a label of at most that many characters, words of its middle left out."""
    text = visible(label)
    if len(text) <= most:
        return text
    half = (most - 1) // 2
    inside = f"{text[:half]}…{text[-half:]}"
    between = _between_words(text.split(" "), most)
    return between if len(between) > half else inside  # one long word has to be cut


def _between_words(words: Sequence[str], most: int) -> str:
    """Return the words that fit, from both ends in turn."""
    first, last = 0, 0  # how many
    for turn in range(2 * len(words)):
        more = (first + 1, last) if turn % 2 == 0 else (first, last + 1)
        if sum(more) < len(words) and len(_without_middle(words, *more)) <= most:
            first, last = more
    return _without_middle(words, first, last)


def _without_middle(words: Sequence[str], first: int, last: int) -> str:
    return f"{' '.join(words[:first])}…{' '.join(words[len(words) - last :])}"


def safe(text: str) -> str:
    """Return text for XML: markup and control characters escaped."""
    return escape(visible(text))
