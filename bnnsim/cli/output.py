"""Where a command's result goes: text on standard output, JSON to a file, or JSON alone."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterable
from typing import Any

from bnnsim.cli.files import check_output, to_json, write_bytes
from bnnsim.report.tables import Block
from bnnsim.report.text import write_blocks


def check_outputs(args: Namespace, *paths: str | None) -> None:
    """Raise before the work starts if ``--json`` or one of ``paths`` cannot be written."""
    for path in (args.json, *paths):
        check_output(path)


def emit(args: Namespace, result: Any, blocks: Iterable[Block]) -> None:
    """Write ``result`` where ``--json`` says, and ``blocks`` unless standard output holds JSON."""
    text = to_json(result) if args.json else ""
    if args.json == "-":
        sys.stdout.write(text)
        return
    if args.json:
        write_bytes(args.json, text.encode())
    write_blocks(blocks, sys.stdout)
