"""Where a command's result goes: text on standard output, JSON to a file, or JSON alone."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bnnsim.cli.files import check_output, to_json, write_bytes
from bnnsim.errors import InputError, message
from bnnsim.report.tables import Block
from bnnsim.report.text import write_blocks

_READ = (
    "source", "sources", "folding", "weights", "input", "labels", "against", "profile", "file",
    "result", "activity", "points", "spec",
)  # fmt: skip


def check_outputs(args: Namespace, *paths: str | None) -> None:
    """Raise before the work starts if ``--json`` or one of ``paths`` cannot be written.

    Raises
    ------
    InputError
        Also if an output is another output or a file that the command reads.
    """
    seen = {Path(text).resolve(): "the command reads it" for text in _files_read(args)}
    for path in (None if args.json == "-" else args.json, *paths):
        if path is None:
            continue
        check_output(path)
        target = Path(path).resolve()
        if target in seen:
            raise InputError(message(path, seen[target], "a file of its own for each output"))
        if target.is_file() or not target.exists():  # a device takes several
            seen[target] = "another output goes there"


def _files_read(args: Namespace) -> Iterator[str]:
    for key in _READ:
        value = getattr(args, key, None) or ()
        yield from filter(_is_file, [value] if isinstance(value, str) else value)


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except OSError:  # such as a name that is too long
        return False


def emit(args: Namespace, result: Any, blocks: Iterable[Block]) -> None:
    """Write ``result`` where ``--json`` says, and ``blocks`` unless standard output holds JSON."""
    text = to_json(result) if args.json else ""
    if args.json == "-":
        sys.stdout.write(text)
        return
    if args.json:
        write_bytes(args.json, text.encode())
    write_blocks(blocks, sys.stdout)
