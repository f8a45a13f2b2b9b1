"""Print blocks: rich tables on a terminal, aligned plain text in a pipe or a file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, TextIO

from bnnsim.report.numbers import visible
from bnnsim.report.tables import Block, Mark, Table

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod

_WIDEST_WORD = 18
_GAP = 2  # padding and divider
_EDGES = 1  # before the first column


def write_blocks(blocks: Iterable[Block], stream: TextIO) -> None:
    """Write ``blocks`` to ``stream`` in the form that suits it, and flush."""
    blocks = list(blocks)
    if stream.isatty():
        _write_rich(blocks, stream)
    else:
        text = plain(blocks)
        encoding = stream.encoding or "utf-8"
        stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()


def plain(blocks: Iterable[Block]) -> str:
    """Return the blocks as text without colour; no cell is ever cut or wrapped."""
    parts: list[str] = []
    for block in blocks:
        apart = parts and (isinstance(block, Table) or parts[-1].count("\n") > 1)
        parts += ["\n"] if apart else []
        parts.append(_plain_table(block) if isinstance(block, Table) else _line(block))
    return "".join(parts)


def _line(block: str | Mark) -> str:
    return visible(block.text if isinstance(block, Mark) else block) + "\n"


def _plain_table(table: Table) -> str:
    heads = [column.head for column in table.columns]
    widths = [max(map(len, cells)) for cells in _cells(table)]
    rule = "  ".join("-" * width for width in widths)

    def row(cells: Iterable[str]) -> str:
        padded = (
            cell.ljust(width) if column.left else cell.rjust(width)
            for cell, width, column in zip(cells, widths, table.columns, strict=True)
        )
        return "  ".join(padded).rstrip()

    title = [table.title] if table.title else []
    return "\n".join([*title, row(heads), rule, *map(row, table.rows)]) + "\n"


def _cells(table: Table) -> Iterable[tuple[str, ...]]:
    """Return the cells of every column, its heading first."""
    return zip([column.head for column in table.columns], *table.rows, strict=True)


def _least_widths(table: Table) -> list[int]:
    """Return the columns' least widths on a terminal, gaps included: no shorter word is split."""
    longest = (max(len(w) for c in cells for w in c.split(" ")) for cells in _cells(table))
    return [min(_WIDEST_WORD, width) + _GAP for width in longest]


def _widths(table: Table, room: int) -> list[int]:
    """Return widths that fill at most ``room``: what the least ones leave goes where most lacks."""
    widths = _least_widths(table)
    wanted = [max(map(len, cells)) + _GAP for cells in _cells(table)]
    for _ in range(room - sum(widths)):
        index = max(range(len(widths)), key=lambda i: wanted[i] - widths[i])
        widths[index] += wanted[index] > widths[index]
    return [width - _GAP for width in widths]


def _parts(table: Table, width: int) -> list[Table]:
    """Return the table in parts that fit a terminal, the first column again in each."""
    first, *others = _least_widths(table)
    groups: list[list[int]] = []
    left = 0
    for index, needed in enumerate(others, 1):
        if not groups or needed > left:
            groups.append([])
            left = width - first - _EDGES
        groups[-1].append(index)
        left -= needed
    return [_part(table, (0, *group), i) for i, group in enumerate(groups)] or [table]


def _part(table: Table, chosen: Sequence[int], number: int) -> Table:
    title = f"{table.title} (continued)" if number and table.title else table.title
    rows = tuple(tuple(row[i] for i in chosen) for row in table.rows)
    return Table(title, tuple(table.columns[i] for i in chosen), rows)


def _print_table(table: Table, console: Console) -> None:
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    if sum(_least_widths(table)) + _EDGES > console.width:
        # Too narrow for two columns: the terminal wraps whole lines, and nothing is cut.
        console.print(Text(_plain_table(table)), soft_wrap=True)
        return
    shown = RichTable(
        title=Text(table.title) if table.title else None,
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for column, width in zip(table.columns, _widths(table, console.width - _EDGES), strict=True):
        justify: JustifyMethod = "left" if column.left else "right"
        shown.add_column(Text(column.head), justify=justify, overflow="fold", width=width)
    for row in table.rows:
        shown.add_row(*map(Text, row))
    console.print(shown)


def _write_rich(blocks: list[Block], stream: TextIO) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(file=stream, highlight=False)
    for index, block in enumerate(blocks):
        if isinstance(block, Table):
            for part in _parts(block, console.width):
                _print_table(part, console)
        else:
            style = "bold yellow" if isinstance(block, Mark) else "bold" if index == 0 else ""
            console.print(Text(_line(block).rstrip("\n"), style=style))
