"""The printed mode table is the one in the code."""

from __future__ import annotations

import os
from pathlib import Path

from bnnsim.passes.modes import mode_rows

PAGE = Path(__file__).resolve().parent.parent.parent / "docs" / "modes.md"
START, END = "<!-- modes -->\n", "<!-- end -->"


def printed() -> str:
    lines = []
    for row in mode_rows():
        lines += [f"## {row['name']}", "", "| part | becomes |", "|---|---|"]
        lines += [f"| {k.replace('_', ' ')} | {v} |" for k, v in row.items() if k != "name"]
        lines.append("")
    return "\n".join(lines)


def test_the_page_holds_the_table() -> None:
    text = PAGE.read_text(encoding="utf-8")
    before, rest = text.split(START)
    held, after = rest.split(END)
    if os.environ.get("BNNSIM_UPDATE_DOCS") == "1":
        PAGE.write_text(f"{before}{START}{printed()}{END}{after}", encoding="utf-8")
    assert held == printed(), "BNNSIM_UPDATE_DOCS=1 writes it anew"
