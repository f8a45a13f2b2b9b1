"""The verb sweep: many estimates into one file that a killed run goes on with."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from bnnsim.cli.arguments import add_verb, positive
from bnnsim.cli.output import check_outputs, emit
from bnnsim.cli.progress import progress_bar
from bnnsim.errors import InputError, message
from bnnsim.report.sweeps import frontiers, sweep_blocks

DONE = 0


def sweep(args: Namespace) -> int:
    """Estimate every point of a sweep that its output lacks, and show the best of all."""
    from bnnsim.sweep import read_spec, run_sweep

    check_outputs(args, args.output)
    path = Path(args.output)
    if path.exists() and not path.is_file():
        raise InputError(message(args.output, "a device", "a regular file, which can be resumed"))
    points = read_spec(args.spec)
    with progress_bar("points", len(points)) as advance:
        found = run_sweep(points, path, jobs=args.jobs, scheduler=args.scheduler, progress=advance)
    refused = [row for row in found.rows if "error" in row]
    result = {
        "schema": 1,
        "spec": args.spec,
        "output": args.output,
        "points": len(found.rows),
        "kept": found.kept,
        "without_estimate": refused,
        "frontiers": frontiers(found.rows),
    }
    emit(args, result, sweep_blocks(result))
    return DONE


def _add_sweep(verbs: Any) -> None:
    help = "many points of network, profile, mode and batch into a file of JSON lines"
    parser = add_verb(verbs, "sweep", sweep, help)
    parser.add_argument("spec", metavar="SPEC.yaml", help="lists of models, profiles, modes, ...")
    parser.add_argument("-o", "--output", metavar="OUT.jsonl", required=True,
                        help="a line per point; those there are not estimated again")  # fmt: skip
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--jobs", type=positive, metavar="N", help="processes, default one per core")
    where.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster to run on")


VERBS = (_add_sweep,)
