"""The verbs about cost: estimate, compare, profiles, tables, report."""

from __future__ import annotations

import contextlib
from argparse import Namespace
from pathlib import Path
from typing import Any

from bnnsim.cli.arguments import (
    add_mode,
    add_preact_scale,
    add_source,
    add_verb,
    one_of,
    positive,
    words,
)
from bnnsim.cli.demo import findings
from bnnsim.cli.files import read_json, write_bytes
from bnnsim.cli.networks import load_source, read_inputs
from bnnsim.cli.output import check_outputs, emit
from bnnsim.cli.progress import progress_bar
from bnnsim.errors import InputError, message
from bnnsim.report import constants
from bnnsim.report import costs as blocks
from bnnsim.report import profiles as profile_blocks
from bnnsim.report.simulation import activity_blocks
from bnnsim.report.tables import Mark

DONE = 0


def estimate(args: Namespace) -> int:
    """Estimate energy, latency and memory of one network in one mode on one profile."""
    from bnnsim import api
    from bnnsim.cost.sensitivity import searched_constants

    check_outputs(args)
    graph = load_source(args, args.source)
    inputs = read_inputs(args.activity, graph) if args.activity else None
    steps = len(inputs) if inputs is not None else 0
    if args.flip:
        steps += 2 * len(searched_constants(api.load_profile(args.profile)))
    bar = progress_bar("estimate", steps) if steps else contextlib.nullcontext()
    with bar as advance:
        result = api.estimate(
            graph,
            args.profile,
            **estimate_options(args),
            activity=inputs,
            flip=args.flip,
            progress=advance,
        ).to_dict()
    shown = blocks.estimate_blocks(result)
    if args.sensitivity:
        shown += constants.sensitivity_blocks(result)
    emit(args, result, [*shown, *constants.flip_blocks(result), *activity_blocks(result)])
    return DONE


def estimate_options(args: Namespace) -> dict[str, Any]:
    """Return what the options of `add_estimate_options` say."""
    return {
        "batch": args.batch,
        "mode": args.mode,
        "keep_bn": args.keep_bn,
        "layers": chosen_layers(args),
        "allow_unpriced": args.allow_unpriced,
        "preact_scale": args.preact_scale,
    }


def chosen_layers(args: Namespace) -> Any:
    """Return which operands the options of `add_layers` give to single layers."""
    from bnnsim import api

    return api.Layers(tuple(args.keep_float), tuple(args.binarize), args.first, args.last)


def compare(args: Namespace) -> int:
    """Estimate several networks, modes and profiles side by side."""
    from bnnsim import api

    check_outputs(args)
    graphs = [load_source(args, source) for source in args.sources]
    result = api.compare(
        graphs,
        args.profile,
        args.modes,
        batch=args.batch,
        layers=chosen_layers(args),
        preact_scale=args.preact_scale,
    ).to_dict()
    emit(args, result, blocks.compare_blocks(result))
    return DONE


def profiles_list(args: Namespace) -> int:
    """List the packaged profiles."""
    from bnnsim import api
    from bnnsim.cost.profile import list_profiles

    check_outputs(args)
    found = [api.load_profile(name) for name in list_profiles()]
    result = {"schema": 1, "profiles": [profile_blocks.profile_summary(p) for p in found]}
    emit(args, result, profile_blocks.list_blocks(result))
    return DONE


def profiles_show(args: Namespace) -> int:
    """Show every constant of a profile with its unit, status, band and source."""
    from bnnsim import api

    check_outputs(args)
    result = profile_blocks.profile_dict(api.load_profile(args.profile))
    emit(args, result, profile_blocks.show_blocks(result))
    return DONE


def profiles_check(args: Namespace) -> int:
    """Check a profile's YAML: keys, units, bands, sources and places."""
    from bnnsim import api

    check_outputs(args)
    profile = api.load_profile(Path(args.file))
    summary = profile_blocks.profile_summary(profile)
    result = {"schema": 1, "file": args.file, **summary, "notes": list(profile.notes)}
    line = f"{args.file}: profile {result['name']} ({result['kind']}) holds: "
    said = [f"{line}{result['constants']} constants, each with a unit and a source"]
    emit(args, result, [*said, *(Mark(f"warning: {note}") for note in profile.notes)])
    return DONE


def profiles_new(args: Namespace) -> int:
    """Write a commented profile that extends another one and shows all its values."""
    from bnnsim import api
    from bnnsim.cost.authoring import profile_text

    path = Path(args.output or f"{args.name}.yaml")
    check_outputs(args, str(path))
    if path.suffix != ".yaml":
        raise InputError(message(str(path), path.suffix, "a file that ends in .yaml"))
    text = profile_text(args.name, args.base, path.parent)
    if path.stem == Path(args.base).stem:
        raise InputError(message(str(path), path.name, "another file name than its base's"))
    if path.exists() and not args.force:
        remedy = "Pass --force to replace it, or -o FILE to write another."
        raise InputError(message(str(path), "a file that exists", "a new file", remedy))
    write_bytes(path, text.encode())
    profile = api.load_profile(path)
    summary = profile_blocks.profile_summary(profile)
    result = {"schema": 1, "file": str(path), "extends": Path(args.base).stem, **summary}
    emit(args, result, [f"wrote {path}: profile {args.name}, from {args.base}; every value of it "
                        "is there to change"])  # fmt: skip
    return DONE


def tables(args: Namespace) -> int:
    """Show a profile's energy tables with units, sources and an estimate worked out from them."""
    from bnnsim import api
    from bnnsim.cost.tables import energy_tables

    check_outputs(args)
    profile = api.load_profile(args.profile)
    report = api.estimate(load_source(args, args.source), profile, mode=args.mode)
    result = {"schema": 1, **energy_tables(profile, report).to_dict()}
    emit(args, result, profile_blocks.tables_blocks(result))
    return DONE


def report(args: Namespace) -> int:
    """Turn the JSON of estimate, compare, simulate or demo into one self-contained page."""
    from bnnsim.report.check import checked
    from bnnsim.report.html import render

    check_outputs(args, args.output)
    result = checked(read_json(args.result), where=args.result)
    if "comparison" in result:
        page = render(result["comparison"], findings=findings(result))
    else:
        page = render(result)
    write_bytes(args.output, page.encode())
    size = len(page.encode())
    emit(
        args,
        {"schema": 1, "result": args.result, "output": args.output, "bytes": size},
        [f"wrote {args.output} ({size / 1024:.0f} KiB)"],
    )
    return DONE


def _add_estimate(verbs: Any) -> None:
    parser = add_verb(verbs, "estimate", estimate, "energy, latency and memory with intervals")
    add_source(parser)
    add_estimate_options(parser)
    parser.add_argument(
        "--activity", metavar="X.npy", help="inputs to observe how often bits toggle; see docs"
    )
    parser.add_argument(
        "--sensitivity", action="store_true", help="show how far each constant moves the energy"
    )
    parser.add_argument(
        "--flip", action="store_true", help="search the mapping again at the ends of bands"
    )


def add_estimate_options(parser: Any) -> None:
    """Add what one estimate of one network needs."""
    parser.add_argument("--profile", metavar="P", required=True, help="a packaged name or a .yaml")
    parser.add_argument("--batch", type=positive, default=1, metavar="N", help="of the estimate")
    add_mode(parser)
    parser.add_argument("--keep-bn", action="store_true", help="price batch norms, do not fold")
    parser.add_argument(
        "--allow-unpriced", action="store_true", help="name ops without a cost instead of refusing"
    )
    add_preact_scale(parser)
    add_layers(parser)


def add_layers(parser: Any) -> None:
    """Add which operands single layers get in a what-if twin."""
    group = parser.add_argument_group("what-if twins of a source without bit weights")
    for option, what in (("--keep-float", "stay float"), ("--binarize", "get the mode's bits")):
        group.add_argument(
            option, metavar="PATTERN", action="append", default=[], help=f"layers that {what}"
        )
    for option in ("--first", "--last"):
        group.add_argument(
            option, type=one_of("float", "int8", "binary"), metavar="float|int8|binary",
            help=f"operands of the {option[2:]} layer; default float, int8 in int8 modes",
        )  # fmt: skip


def _add_compare(verbs: Any) -> None:
    parser = add_verb(verbs, "compare", compare, "columns of estimates, and their ratios")
    add_source(parser, many=True)
    parser.add_argument(
        "--profile", metavar="P[,P2]", required=True, type=words, help="packaged names or .yaml"
    )
    parser.add_argument(
        "--modes", metavar="M1,M2,...", type=words, default=["native"], help="default native"
    )
    parser.add_argument("--batch", type=positive, default=1, metavar="N")
    add_preact_scale(parser)
    add_layers(parser)


def _add_profiles(verbs: Any) -> None:
    profiles = verbs.add_parser("profiles", help="hardware profiles: list, show, check, new")
    profiles.set_defaults(parser=profiles)
    actions = profiles.add_subparsers(metavar="list|show|check|new", required=True)
    add_verb(actions, "list", profiles_list, "list the packaged profiles")
    show = add_verb(actions, "show", profiles_show, "every constant, its unit, status and source")
    show.add_argument("profile", metavar="P", help="a packaged name or a .yaml")
    check = add_verb(actions, "check", profiles_check, "check a profile's YAML")
    check.add_argument("file", metavar="FILE.yaml")
    new = add_verb(actions, "new", profiles_new, "a commented YAML to make a chip of your own from")
    new.add_argument("name", metavar="NAME", help="of the new profile")
    new.add_argument("--from", dest="base", metavar="P", required=True, help="a name or a .yaml")
    new.add_argument("-o", "--output", metavar="FILE.yaml", help="default NAME.yaml")
    new.add_argument("--force", action="store_true", help="replace a file that exists")


def _add_tables(verbs: Any) -> None:
    help = "energy per operation and per access, with units, sources and a worked example"
    parser = add_verb(verbs, "tables", tables, help)
    parser.add_argument("profile", metavar="P", help="a packaged name or a .yaml")
    add_source(parser, default="zoo:mlp-3x2048")
    parser.add_argument("--mode", default="native", metavar="M", help="of the example")


def _add_report(verbs: Any) -> None:
    parser = add_verb(verbs, "report", report, "a self-contained HTML page of a result")
    parser.add_argument(
        "result", metavar="RESULT.json", help="from estimate, compare, simulate or demo"
    )
    parser.add_argument("-o", "--output", metavar="FILE.html", required=True)


VERBS = (_add_estimate, _add_compare, _add_profiles, _add_tables, _add_report)
