"""The argument parser of the whole command."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from functools import cache
from typing import Any

from bnnsim.cli import costs, demo, measure, networks, simulate, sweep, validate
from bnnsim.cli.arguments import Parser
from bnnsim.errors import InputError, message, nearest


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """Return the arguments; ``command`` is the function that runs them.

    Raises
    ------
    InputError
        If the verb or an argument is unknown, missing or malformed.
    """
    parser, verbs = _build()
    if argv and not argv[0].startswith("-") and argv[0] not in verbs:
        rule = f"one of {', '.join(verbs)}"
        raise InputError(message("bnnsim: verb", argv[0], rule, nearest(argv[0], verbs)))
    args, unknown = parser.parse_known_args(argv)
    if unknown:
        known = args.parser._option_string_actions
        near = " ".join(filter(None, (nearest(u, known) for u in unknown if u[0] == "-")))
        hint = near or f"Run `{args.parser.prog} --help`."
        raise InputError(f"{args.parser.prog}: unrecognized arguments: {' '.join(unknown)}. {hint}")
    return args


@cache
def _build() -> tuple[Parser, list[str]]:
    parser = Parser(
        prog="bnnsim",
        description="Simulate binarized neural networks bit-exactly and estimate what they cost.",
    )
    parser.set_defaults(parser=parser)
    parser.add_argument("--version", action=_Version, help="print the version and exit")
    verbs = parser.add_subparsers(metavar="VERB", required=True, parser_class=Parser)
    groups = (networks, costs, simulate, sweep, measure, validate, demo)
    for build in (build for group in groups for build in group.VERBS):
        build(verbs)
    return parser, list(verbs.choices)


class _Version(argparse.Action):
    """Look the version up only when it is asked for."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        print(f"bnnsim {version('bnnsim')}")
        parser.exit()
