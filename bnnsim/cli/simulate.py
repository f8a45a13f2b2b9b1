"""The verb simulate: run a network on data, price it, and show both side by side."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from bnnsim.cli.arguments import add_engine, add_samples, add_source, add_verb
from bnnsim.cli.costs import add_estimate_options, estimate_options
from bnnsim.cli.files import write_array, write_bytes
from bnnsim.cli.networks import DIFFERS, HELD, load_source, read_inputs, read_labels
from bnnsim.cli.output import check_outputs, emit
from bnnsim.cli.progress import progress_bar
from bnnsim.report.simulation import simulate_blocks


def simulate(args: Namespace) -> int:
    """Run and price one twin of a network; 1 if counts of the model and the kernels differ."""
    from bnnsim import api

    check_outputs(args, args.output, args.html)
    graph = load_source(args, args.source)
    inputs = read_inputs(args.input, graph)
    labels = read_labels(args.labels, graph, len(inputs)) if args.labels else None
    own = args.mode != "native"  # a what-if twin is held against the source's own precision
    runs = len(inputs) * ((args.samples or 1) + own)
    with progress_bar("compiled engine", runs) as advance:
        found = api.simulate(
            graph,
            args.profile,
            inputs,
            labels,
            **estimate_options(args),
            threads=args.threads,
            isa=args.isa,
            fast_float=args.fast_float,
            seed=args.seed,
            samples=args.samples,
            progress=advance,
        )
    result = found.to_dict()
    if args.output:
        write_array(args.output, found.outputs)
    if args.html:
        from bnnsim.report.html import render

        write_bytes(args.html, render(result).encode())
    written = [f"wrote {path}" for path in (args.output, args.html) if path]
    emit(args, result, [*simulate_blocks(result), *written])
    return HELD if found.counts_equal else DIFFERS


def _add_simulate(verbs: Any) -> None:
    help = "run and price a network: estimate, accuracy, observed counts and activity"
    parser = add_verb(verbs, "simulate", simulate, help)
    add_source(parser)
    parser.add_argument("--input", metavar="X.npy", required=True, help="NHWC or (N, features)")
    parser.add_argument("--labels", metavar="L.npy", help="classes, for the accuracy")
    parser.add_argument("-o", "--output", metavar="Y.npy", help="gets the network's outputs")
    parser.add_argument("--html", metavar="FILE", help="gets the report as one page")
    add_estimate_options(parser)
    add_engine(parser, choose=False)
    add_samples(parser.add_argument_group("draws of --mode binary-stochastic"))


VERBS = (_add_simulate,)
