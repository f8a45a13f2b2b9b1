"""Tables and lines as data, before they become text or HTML."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bnnsim.report.numbers import visible

_FIGURE = re.compile(r"(?:[-<]?\d.*|\[.*|inf|-|not estimated|)\Z", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Column:
    """A column's heading, the unit of its figures, and whether it holds words (left) or figures.

    ``key`` is where its figures stand in the JSON result: a pointer in which ``*`` is the row's.
    """

    name: str
    unit: str = ""
    left: bool = False
    key: str = ""

    @property
    def head(self) -> str:
        """Return the heading with its unit: ``energy (uJ)``."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


@dataclass(frozen=True, slots=True)
class Table:
    """A captioned table of cells that are already text; ``at`` holds the rows' JSON pointers."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[str, ...], ...]
    at: tuple[str, ...] = ()

    @property
    def marked(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """The rows with their pointers, empty where there is none."""
        return tuple(zip(self.at or ("",) * len(self.rows), self.rows, strict=True))


@dataclass(frozen=True, slots=True)
class Mark:
    """A line that has to be seen first: what a result must not be taken for."""

    text: str


Block = str | Mark | Table


def pointer(*keys: object) -> str:
    """Return a JSON pointer (RFC 6901) below the result."""
    return "".join("/" + str(key).replace("~", "~0").replace("/", "~1") for key in keys)


def table(
    title: str,
    heads: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    keys: Sequence[str] = (),
    at: Iterable[str] = (),
) -> Table:
    """Build a table from headings such as ``"energy (uJ)"`` and rows of values.

    Parameters
    ----------
    title : str
    heads : sequence of str
        A heading, its unit in parentheses.
    rows : iterable of sequence of object
        As many cells as headings; shown with ``str``, control characters escaped.
    keys, at : sequence of str, optional
        Where figures stand in the JSON result, by column (the last may be left out) and by row.

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
        key = keys[index] if index < len(keys) else ""
        columns.append(Column(visible(name), visible(rest.removesuffix(")")), left, key))
    return Table(visible(title), tuple(columns), cells, tuple(at))
