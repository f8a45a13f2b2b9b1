"""The verbs calibrate and check: this machine as a profile, and a profile on this machine."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from bnnsim.cli.arguments import ISAS, add_verb, one_of, positive, words
from bnnsim.cli.files import write_bytes
from bnnsim.cli.output import check_outputs, emit
from bnnsim.cli.progress import progress_bar
from bnnsim.errors import InputError, message
from bnnsim.report.measured import check_blocks
from bnnsim.report.profiles import profile_summary

DONE = 0
_DEVICES = ("cpu", "gpu")


def calibrate(args: Namespace) -> int:
    """Measure this machine into a profile."""
    from bnnsim import api
    from bnnsim.measure import calibrate_cpu, measurements

    check_outputs(args, args.output)
    _only_cpu(args, "calibrate")
    path = Path(args.output)
    if path.suffix != ".yaml":
        raise InputError(message(args.output, path.suffix, "a file that ends in .yaml"))
    if path.exists() and not args.force:
        raise InputError(message(args.output, "a file that exists", "a new file, or --force"))
    with progress_bar("measurements", measurements(args.isa, small=args.smoke)) as advance:
        text = calibrate_cpu(path.stem, isa=args.isa, small=args.smoke, progress=advance)
    write_bytes(path, text.encode())
    summary = profile_summary(api.load_profile(path))
    result = {"schema": 1, "device": args.device, "output": args.output, **summary}
    emit(args, result, [f"wrote {args.output}: {summary['description']}"])
    return DONE


def check(args: Namespace) -> int:
    """Predict and measure networks that calibration never saw."""
    from bnnsim import api
    from bnnsim.measure import DEFAULT_NETS, check_cpu

    check_outputs(args)
    _only_cpu(args, "check")
    profile = api.load_profile(args.profile)
    graphs = [api.load(source) for source in args.sources or DEFAULT_NETS]
    with progress_bar("networks", len(graphs) * len(args.batches)) as advance:
        found = check_cpu(graphs, profile, batches=args.batches, isa=args.isa, progress=advance)
    result = found.to_dict()
    emit(args, result, check_blocks(result))
    return DONE


def _only_cpu(args: Namespace, verb: str) -> None:
    if args.device == "cpu":
        return
    rule = "cpu: a GPU needs the CUDA kernels, which this version does not have"
    remedy = f"Run `bnnsim {verb} cpu`; GPU profiles such as h100 come with the package."
    raise InputError(message(f"bnnsim {verb}", args.device, rule, remedy))


def _batches(text: str) -> list[int]:
    return [positive(part) for part in words(text)]


def _add_device(parser: Any) -> None:
    parser.add_argument("device", type=one_of(*_DEVICES), metavar="cpu|gpu", help="what to measure")
    parser.add_argument("--isa", type=one_of(*ISAS), default="auto", help=" | ".join(ISAS))


def _add_calibrate(verbs: Any) -> None:
    parser = add_verb(verbs, "calibrate", calibrate, "measure this machine into a profile")
    _add_device(parser)
    parser.add_argument("-o", "--output", metavar="FILE.yaml", required=True)
    parser.add_argument("--force", action="store_true", help="replace a file that exists")
    parser.add_argument("--smoke", action="store_true", help="tiny shapes; the rates mean nothing")


def _add_check(verbs: Any) -> None:
    help = "predicted and measured times of networks on this machine"
    parser = add_verb(verbs, "check", check, help)
    _add_device(parser)
    parser.add_argument("sources", metavar="SOURCE", nargs="*", help="default: three of the zoo")
    parser.add_argument("--profile", metavar="P", required=True, help="a packaged name or a .yaml")
    parser.add_argument("--batches", metavar="N1,N2,...", type=_batches, default=[1, 16],
                        help="default 1,16")  # fmt: skip


VERBS = (_add_calibrate, _add_check)
