"""Two layers in other estimators and in bnnsim: energies and cycles, part by part.

Each tool runs in a process of the interpreter that has it; one that is not there is skipped by
name, with what installs it. ``--out`` records what the tools said; docs/estimators.md has the
tables of it, beside what bnnsim says now.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from experiments.vs_estimators.peers import TOOLS, ask
from experiments.vs_estimators.tables import TABLES
from experiments.vs_estimators.work import FOLDER

RESULTS = FOLDER / "results"


def main() -> None:
    """Print the tables, and write the JSON where asked."""
    parser = argparse.ArgumentParser(
        prog="python -m experiments.vs_estimators", description=__doc__
    )
    for name, tool in TOOLS.items():
        parser.add_argument(f"--{name}", metavar="PYTHON", help=f"interpreter with {tool.title}")
    parser.add_argument("--out", type=Path, help="folder for bench.json")
    arguments = parser.parse_args()
    tools = {}
    for name, tool in TOOLS.items():
        print(f"{tool.title} (minutes: {tool.minutes})", file=sys.stderr, flush=True)
        tools[name] = ask(name, getattr(arguments, name))
    told = {"tools": tools}
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        (arguments.out / "bench.json").write_text(json.dumps(told, indent=1) + "\n")
    for name, table in TABLES.items():
        print(f"{name}\n\n{table(told)}")


if __name__ == "__main__":
    main()
