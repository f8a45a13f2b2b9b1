"""A figure: a drawing with its caption and legend, for the page, a notebook or a file."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.resources import files
from pathlib import Path

from bnnsim.graph.io import atomic_write
from bnnsim.report.svg import SVG, Drawing, safe, swatch

WIDTH, _MARGIN, _LINE = 760, 16, 18
_CAPTION_LETTERS, _LETTER, _SWATCH = 105, 7, 34


@dataclass(frozen=True, slots=True)
class Figure:
    """A chart with its caption and legend (CSS class and text).

    A notebook shows it; ``svg`` is a picture of its own and :meth:`save` writes that.
    """

    name: str
    caption: str
    drawing: Drawing
    legend: tuple[tuple[str, str], ...] = ()

    def __html__(self) -> str:
        """Return the chart alone, as markup for the page."""
        return self.drawing.inline(self.name)

    def swatches(self) -> Iterator[tuple[str, str]]:
        """Yield the legend as markup and text."""
        return ((swatch(style), text) for style, text in self.legend)

    @property
    def svg(self) -> str:
        """The figure as one SVG text with caption, legend and styles, 760 pixels wide."""
        caption = textwrap.wrap(self.caption, _CAPTION_LETTERS)
        top = _MARGIN + _LINE * len(caption)
        lower = top + 8 + self.drawing.height
        legend, height = self._placed_legend(lower + 12)
        body = "".join(
            [
                f'<rect class="sheet" width="{WIDTH}" height="{height}"/>',
                *(
                    f'<text class="caption" x="{_MARGIN}" y="{_MARGIN + 4 + _LINE * i}">'
                    f"{safe(line)}</text>"
                    for i, line in enumerate(caption)
                ),
                f'<svg class="chart" x="{_MARGIN}" y="{top + 8}" width="{WIDTH - 2 * _MARGIN}" '
                f'height="{self.drawing.height}">{self.drawing.body}</svg>',
                *legend,
            ]
        )
        name = f"bnnsim-{sha256(body.encode()).hexdigest()[:12]}"  # unique in a notebook
        return (
            f'<svg class="bnnsim" role="img" xmlns="{SVG}" width="{WIDTH}" height="{height}" '
            f'aria-labelledby="{name}-t {name}-d">{self.drawing.labels(name)}'
            f"<style>{chart_css()}</style>{body}</svg>"
        )

    def save(self, path: str | Path) -> None:
        """Write :attr:`svg` to a file, which is replaced only once all is written.

        Raises
        ------
        SourceError
            If the folder does not exist or cannot be written.
        """
        with atomic_write(Path(path)) as part:
            part.write_text(self.svg, encoding="utf-8")

    def _repr_svg_(self) -> str:
        return self.svg

    def _repr_html_(self) -> str:
        return f'<div style="overflow-x:auto">{self.svg}</div>'

    def _placed_legend(self, top: int) -> tuple[list[str], int]:
        """Return the legend's entries, wrapped to the width, and the height of the figure."""
        x, y, found = _MARGIN, top, []
        for markup, text in self.swatches():
            size = _SWATCH + _LETTER * len(text)
            if x > _MARGIN and x + size > WIDTH - _MARGIN:
                x, y = _MARGIN, y + _LINE + 4
            found.append(
                f'<g transform="translate({x} {y})">{markup}'
                f'<text class="label" x="18" y="11">{safe(text)}</text></g>'
            )
            x += size
        return found, (y + _LINE + 8 if found else top)


@cache
def chart_css() -> str:
    """Return the style rules of charts, all of them inside ``.bnnsim``."""
    return files("bnnsim.report").joinpath("templates", "chart.css").read_text(encoding="utf-8")
