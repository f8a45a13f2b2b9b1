"""The command line: arguments in, public API called, tables or JSON out."""

from bnnsim.cli.entry import main

__all__ = ["main"]
