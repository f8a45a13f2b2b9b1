"""Tables and lines as data, before they become text or HTML."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bnnsim.report.numbers import visible

_FIGURE = re.compile(r"(?:[-<]?\d.*|\[.*|inf|-|)\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Column:
    """A column's heading, the unit of its figures, and whether it holds words (left) or figures."""

    name: str
    unit: str = ""
    left: bool = False

    @property
    def head(self) -> str:
        """Return the heading with its unit: ``energy (uJ)``."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


@dataclass(frozen=True, slots=True)
class Table:
    """A captioned table of cells that are already text."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True)
class Mark:
    """A line that has to be seen first: what a result must not be taken for."""

    text: str


Block = str | Mark | Table


def table(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Build a table from headings such as ``"energy (uJ)"`` and rows of values.

    Parameters
    ----------
    title : str
    heads : sequence of str
        A heading, its unit in parentheses.
    rows : iterable of sequence of object
        As many cells as headings; shown with ``str``, control characters escaped.

    Returns
    -------
    Table
        Its first column and those that hold words are set left, columns of figures right.
    """
    cells = tuple(tuple(visible(cell) for cell in row) for row in rows)
    columns = []
    for index, head in enumerate(heads):
        name, _, rest = head.partition(" (")
        left = index == 0 or not all(_FIGURE.match(row[index]) for row in cells)
        columns.append(Column(visible(name), visible(rest.removesuffix(")")), left))
    return Table(visible(title), tuple(columns), cells)
