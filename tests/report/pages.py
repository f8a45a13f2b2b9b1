"""Read a page back: its tables by caption, its charts as XML."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

SVG = "{http://www.w3.org/2000/svg}"
VOID = {"meta", "link", "br"}


class Page(HTMLParser):
    """Collects tables (caption to rows of cells) and checks that every tag is closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self._open: list[str] = []
        self._rows: list[list[str]] = []
        self._cell: list[str] | None = None
        self._caption = ""
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "table":
            self._rows, self._caption = [], ""
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th", "caption"):
            self._cell = []

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        if tag == "caption":
            self._caption = "".join(self._cell or [])
        elif tag in ("td", "th"):
            self._rows[-1].append("".join(self._cell or []))
        elif tag == "table":
            self.tables.setdefault(self._caption, self._rows)
        if tag in ("td", "th", "caption"):
            self._cell = None

    def handle_data(self, data: str) -> None:
        self.text.append(data)
        if self._cell is not None:
            self._cell.append(data)


def charts(text: str) -> dict[str, ET.Element]:
    """Return every chart of a page by its title; each must be well-formed XML."""
    found = re.findall(r'<svg class="chart".*?</svg>\n', text, re.DOTALL)
    roots = [ET.fromstring(svg) for svg in found]
    return {root.find(f"{SVG}title").text: root for root in roots}


def stacks(chart: ET.Element) -> list[list[tuple[str, float]]]:
    """Return CSS class and width in per cent of the parts of every bar."""
    rows = [g.find(f"{SVG}svg") for g in chart.findall(f"{SVG}g")]
    return [
        [(r.get("class"), float(r.get("width").rstrip("%"))) for r in row.findall(f"{SVG}rect")]
        for row in rows
    ]


def ticks(chart: ET.Element) -> list[tuple[float, str]]:
    """Return place in per cent and text of every tick."""
    texts = [t for t in chart.findall(f"{SVG}text") if t.get("class") == "tick"]
    return [(float(t.get("x").rstrip("%")), t.text) for t in texts]
