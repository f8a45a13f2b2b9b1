"""Print blocks: rich tables on a terminal, aligned plain text in a pipe or a file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TextIO

from bnnsim.report.numbers import visible
from bnnsim.report.tables import Block, Mark, Table

_WIDEST_WORD = 18
_GAP = 1


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


def _write_rich(blocks: list[Block], stream: TextIO) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = Console(file=stream, highlight=False)
    for index, block in enumerate(blocks):
        if isinstance(block, Table) and sum(_least_widths(block)) > console.width:
            # Too narrow for columns: the terminal wraps whole lines, and nothing is cut.
            console.print(Text(_plain_table(block)), soft_wrap=True)
        elif isinstance(block, Table):
            shown = RichTable(
                title=Text(block.title) if block.title else None,
                title_justify="left",
                box=box.SIMPLE_HEAD,
                padding=(0, 1, 0, 0),
                pad_edge=False,
            )
            for column, width in zip(block.columns, _least_widths(block), strict=True):
                shown.add_column(
                    Text(column.head),
                    justify="left" if column.left else "right",
                    overflow="fold",
                    min_width=width - _GAP,
                )
            for row in block.rows:
                shown.add_row(*map(Text, row))
            console.print(shown)
        else:
            style = "bold yellow" if isinstance(block, Mark) else "bold" if index == 0 else ""
            console.print(Text(_line(block).rstrip("\n"), style=style))
