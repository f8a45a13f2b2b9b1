"""The table of options in docs/cli.md is what the parser knows, verb by verb."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from bnnsim.cli.parser import _build

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"
START, END = "<!-- options -->\n", "<!-- end -->"


def verbs(parser: argparse.ArgumentParser, name: str = "") -> Iterator[tuple[str, list]]:
    """Yield every verb, such as ``profiles new``, with its arguments."""
    below = [a for a in parser._actions if isinstance(a, argparse._SubParsersAction)]
    for action in below:
        for word, child in action.choices.items():
            yield from verbs(child, f"{name} {word}".strip())
    if not below:
        yield name, [a for a in parser._actions if a.dest != "help"]


def written(action: argparse.Action) -> str:
    """Return an argument as a user writes it: ``-o Y.npy, --output Y.npy`` is ``-o Y.npy``."""
    value = "" if action.nargs == 0 else action.metavar
    if value is None:
        value = "|".join(action.choices) if action.choices else action.dest.upper()
    option = action.option_strings[0] if action.option_strings else ""
    return f"{option} {value}".strip()


def table() -> str:
    """Return the page's table: an argument, what it is for, the verbs that take it."""
    rows: dict[tuple[str, str], list[str]] = {}
    names = []
    for name, actions in verbs(_build()[0]):
        names.append(name)
        for action in actions:
            needed = action.required and bool(action.option_strings)
            what = f"{action.help or ''}{' (needed)' if needed else ''}"
            rows.setdefault((written(action), what.strip()), []).append(name)
    lines = ["| argument | is | of |", "|---|---|---|"]
    for (argument, what), of in rows.items():
        shown = "every verb" if of == names else ", ".join(f"`{name}`" for name in of)
        argument, what = (text.replace("|", "\\|") for text in (argument, what))
        lines.append(f"| `{argument}` | {what} | {shown} |")
    return "\n".join(lines) + "\n"


def test_the_page_lists_every_argument_of_every_verb():
    before, rest = PAGE.read_text(encoding="utf-8").split(START)
    held, after = rest.split(END)
    if os.environ.get("BNNSIM_UPDATE_DOCS") == "1":
        PAGE.write_text(f"{before}{START}{table()}{END}{after}", encoding="utf-8")
        return
    assert held == table(), "BNNSIM_UPDATE_DOCS=1 writes it anew"


@pytest.mark.parametrize("name", [name for name, _ in verbs(_build()[0])])
def test_the_page_speaks_of_every_verb(name):
    text = PAGE.read_text(encoding="utf-8")
    above = text.split(START)[0]
    assert re.search(rf"`(bnnsim )?{name}\b|^bnnsim {name}\b", above, re.MULTILINE)


def test_help_shows_what_the_table_does(capsys):
    for name, actions in verbs(_build()[0]):
        with pytest.raises(SystemExit):
            _build()[0].parse_args([*name.split(), "--help"])
        shown = " ".join(capsys.readouterr().out.split())
        for action in actions:
            assert all(option in shown for option in action.option_strings)
            assert " ".join((action.help or "").split()) in shown
