"""The verbs that read, run and check networks: lower, inspect, run, verify, zoo."""

from __future__ import annotations

import contextlib
import fnmatch
import sys
from argparse import Namespace
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from bnnsim.cli.arguments import (
    add_draws,
    add_engine,
    add_mode,
    add_source,
    add_verb,
    dump,
    one_of,
    positive,
)
from bnnsim.cli.files import read_npy, write_array
from bnnsim.cli.output import check_outputs, emit
from bnnsim.cli.progress import progress_bar
from bnnsim.errors import InputError, message, nearest
from bnnsim.report import network as blocks
from bnnsim.sources import KERAS

HELD, DIFFERS = 0, 1
_SHOWN_FAILURES = 5
_SHOWN_IMAGES = 10


def load_source(args: Namespace, source: Any) -> Any:
    """Return the graph that SOURCE, or the torch module behind it, and its options name.

    What the code of a source prints goes to standard error.

    Raises
    ------
    InputError
        If an option is given that fits none of the command's sources.
    """
    from bnnsim import api

    _check_options(args)
    with contextlib.redirect_stdout(sys.stderr):
        return api.load(
            source,
            folding=args.folding,
            network=args.network,
            weights=args.weights,
            input_shape=args.input_shape,
            trust=args.trust,
            sign_zero=args.sign_zero or "plus",
            latent=args.latent,
            centered=args.centered,
            input_grid=args.input_grid,
        )


_OPTIONS = {
    "network": ("pynq:",),
    "weights": ("py:", *KERAS),
    "input_shape": ("py:", ".onnx", *KERAS),
    "sign_zero": ("py:", ".pt2", ".onnx"),
}


def _check_options(args: Namespace) -> None:
    sources = getattr(args, "sources", None) or [args.source]
    for option, forms in _OPTIONS.items():
        fits = any(s.startswith(forms) or Path(s).suffix.lower() in forms for s in sources)
        fits = fits or (option == "network" and args.folding is not None)
        if getattr(args, option) is not None and not fits:
            name = f"--{option.replace('_', '-')}"
            rule = f"a source of the form {' or '.join(forms)} with {name}"
            raise InputError(message(name, ", ".join(sources), rule))


def sample_dtype(graph: Any) -> str:
    """Return the numpy dtype of the inputs of ``graph``."""
    return str(graph.tensors[graph.inputs[0]].dtype.numpy)


def sample_shape(graph: Any) -> tuple[int, ...]:
    """Return the shape of one input of ``graph``."""
    shape: tuple[int, ...] = graph.tensors[graph.inputs[0]].shape
    return shape


def read_inputs(path: str, graph: Any) -> np.ndarray:
    """Return the inputs for ``graph`` that a file holds."""
    return read_npy(path, dtypes=sample_dtype(graph), sample=sample_shape(graph))


def lower(args: Namespace) -> int:
    """Lower a source, say what each layer became and why, and write the model graph."""
    from bnnsim import api
    from bnnsim.graph.io import save

    check_outputs(args, args.output)
    target = Path(args.output)
    if target.exists() and not target.is_file():
        raise InputError(message(args.output, "a device or pipe", "a file name"))
    graph = load_source(args, args.source)
    result = api.inspect(api.lower(graph)).to_dict()
    for pattern in args.require_binary or ():
        require_binary(result["layers"], pattern)
    save(graph, target.resolve())
    emit(
        args,
        {**result, "source": args.source, "output": args.output},
        [*blocks.inspect_blocks(result), f"wrote {args.output}"],
    )
    return HELD


def require_binary(layers: list[dict[str, Any]], pattern: str) -> None:
    """Raise if a layer with weights whose name matches ``pattern`` is not binary.

    Raises
    ------
    InputError
        Naming the layers and why they are not binary, or if no layer matches.
    """
    weighted = [layer for layer in layers if layer["weight_dtype"]]
    found = [layer for layer in weighted if fnmatch.fnmatchcase(layer["name"], pattern)]
    where = "--require-binary"
    if not found:
        names = [layer["name"] for layer in weighted]
        rule = f"a pattern that matches one of {', '.join(names)}"
        raise InputError(message(where, pattern, rule, nearest(pattern, names)))
    wrong = [layer for layer in found if layer["kind"] != "binary"]
    if wrong:
        listed = "; ".join(
            f"{layer['name']} is {layer['kind']}: {layer['why']}"
            for layer in wrong[:_SHOWN_FAILURES]
        )
        got = f"{len(wrong)} of {len(found)} layers not binary"
        raise InputError(f"{message(f'{where} {pattern}', got, 'binary layers only')} {listed}")


def inspect(args: Namespace) -> int:
    """Show per layer what it is, and why."""
    from bnnsim import api

    check_outputs(args)
    result = api.inspect(load_source(args, args.source), args.mode).to_dict()
    emit(args, result, blocks.inspect_blocks(result))
    return HELD


def read_labels(path: str, graph: Any, images: int) -> np.ndarray:
    """Return one label per image, each a class that ``graph`` has an output for."""
    labels = read_npy(path, dtypes="integers", sample=(), rows=images)
    classes = graph.tensors[graph.outputs[0]].size
    outside = labels[(labels < 0) | (labels >= classes)]
    if outside.size:
        raise InputError(message(f"{path}: label", int(outside[0]), f"0 to {classes - 1}"))
    return labels


def run(args: Namespace) -> int:
    """Run a network on an array of inputs."""
    from bnnsim import api

    dumps = args.dump or []
    check_outputs(args, args.output, *(file for _, file in dumps))
    if args.profile_steps and (args.engine != "compiled" or args.stochastic):
        got = f"--engine {args.engine}" if args.engine != "compiled" else "--stochastic"
        raise InputError(message("--profile-steps", got, "a plain run of the compiled engine"))
    graph = load_source(args, args.source)
    inputs = read_inputs(args.input, graph)
    labels = read_labels(args.labels, graph, len(inputs)) if args.labels else None
    result = api.run(
        graph,
        inputs,
        mode=args.mode,
        engine=args.engine,
        isa=args.isa,
        threads=args.threads,
        fast_float=args.fast_float,
        keep=tuple(dict.fromkeys(layer for layer, _ in dumps)),
        labels=labels,
        stochastic=args.stochastic,
        seed=args.seed,
        samples=args.samples,
        bits=args.rng_bits,
        preact_scale=args.preact_scale,
    )
    written = {args.output: result.outputs} if args.output else {}
    written.update({file: result.tensors[layer] for layer, file in dumps})
    for path, array in written.items():
        write_array(path, array)
    plain = result.to_dict()
    if args.profile_steps:
        plain["profile"] = step_times(graph, inputs, args)
    told = [] if args.output else blocks.prediction_blocks(predictions(graph, result, labels))
    emit(args, plain, [*blocks.run_blocks(plain), *told, *(f"wrote {path}" for path in written)])
    return HELD


def step_times(graph: Any, inputs: np.ndarray, args: Namespace) -> dict[str, Any]:
    """Return where the time of a batch goes, step by step."""
    from bnnsim import api

    options = {"isa": args.isa, "threads": args.threads, "fast_float": args.fast_float}
    found: dict[str, Any] = api.Engine(graph, mode=args.mode, **options).profile(inputs).to_dict()
    return found


def predictions(graph: Any, result: Any, labels: np.ndarray | None) -> dict[str, Any]:
    """Return what `blocks.prediction_blocks` shows of a run: the first images, and all counted."""
    from bnnsim import api

    names = dict(enumerate(graph.meta.get("classes", ())))
    classes = api.decide(graph, result.outputs)
    first = result.outputs[:_SHOWN_IMAGES].reshape(min(_SHOWN_IMAGES, len(classes)), -1)

    def called(index: int) -> str:
        return f"{index} {names[index]}" if index in names else str(index)

    def figure(value: float) -> str:
        return str(value) if isinstance(value, int) else f"{value:.6g}"

    shown = [
        {
            "best": [(called(index), figure(values[index])) for index in order],
            "label": None if labels is None else called(int(labels[image])),
        }
        for image, (values, order) in enumerate(
            zip(first.tolist(), api.ranked(graph, first).tolist(), strict=True)
        )
    ]
    taken = Counter(sorted(classes.tolist())).most_common()
    counted = [(called(index), number) for index, number in taken]
    return {"images": len(classes), "shown": shown, "taken": counted}


def verify(args: Namespace) -> int:
    """Compare the compiled engine with a reference; 1 on any difference."""
    from bnnsim import api

    check_outputs(args)
    against, source = args.against, args.source
    with contextlib.redirect_stdout(sys.stderr):  # what the code of a source prints
        if against == "onnx":
            against = api.load_executor(source)
        elif against == "torch":
            against = api.load_module(source, weights=args.weights, trust=args.trust)
            # A module may be random: what it is compared with must be made from the same one.
            source = against if source.startswith("py:") else source
        graph = load_source(args, source)
        inputs = read_inputs(args.input, graph)
        if isinstance(against, str) and against.endswith(".npy"):
            against = read_npy(against, dtypes="numbers", rows=len(inputs))
        with progress_bar("verify", len(inputs)) as advance:
            result = api.verify(
                graph,
                inputs,
                mode=args.mode,
                against=against,
                isa=args.isa,
                threads=args.threads,
                fast_float=args.fast_float,
                tolerance=args.tolerance,
                progress=advance,
            )
    plain = result.to_dict()
    notes = [] if result.ok else [f"note: {note}" for note in graph.meta.get("notes", ())]
    emit(args, plain, [*blocks.verify_blocks(plain), *notes])
    return HELD if result.ok else DIFFERS


def export(args: Namespace) -> int:
    """Write a network for other tools."""
    from bnnsim import api

    check_outputs(args, args.output if args.to == "qonnx" else None)
    graph = load_source(args, args.source)
    exported = api.export(
        graph, args.output, to=args.to, mode=args.mode, profile=args.profile, batch=args.batch
    )
    result = exported.to_dict()
    emit(args, result, blocks.export_blocks(result))
    return HELD


def zoo_list(args: Namespace) -> int:
    """List the networks that zoo:NAME builds."""
    from bnnsim import zoo

    check_outputs(args)
    networks = [asdict(net) for net in zoo.describe()]
    result = {"schema": 1, "networks": networks}
    emit(args, result, blocks.zoo_blocks(result))
    return HELD


def _add_lower(verbs: Any) -> None:
    parser = add_verb(verbs, "lower", lower, "read a source and write it as a .bnn model graph")
    add_source(parser)
    parser.add_argument("-o", "--output", metavar="NET.bnn", required=True)
    parser.add_argument(
        "--require-binary", metavar="PATTERN", action="append",
        help="fail unless every matching layer is binary; '*' is all, may be repeated",
    )  # fmt: skip


def _add_inspect(verbs: Any) -> None:
    parser = add_verb(verbs, "inspect", inspect, "show per layer what it is, and why")
    add_source(parser)
    add_mode(parser)


def _add_run(verbs: Any) -> None:
    parser = add_verb(verbs, "run", run, "run a network bit-exactly on an array of inputs")
    add_source(parser)
    parser.add_argument("--input", metavar="X.npy", required=True, help="NHWC or (N, features)")
    parser.add_argument("-o", "--output", metavar="Y.npy", help="gets the network's outputs")
    parser.add_argument("--labels", metavar="L.npy", help="classes, for the accuracy")
    parser.add_argument(
        "--dump", metavar="LAYER=FILE", type=dump, action="append",
        help="write a layer's output as .npy; may be repeated",
    )  # fmt: skip
    parser.add_argument(
        "--profile-steps", action="store_true",
        help="time every step of the compiled engine: the batch runs some ten times more",
    )  # fmt: skip
    add_mode(parser)
    add_engine(parser)
    add_draws(parser)


def _add_verify(verbs: Any) -> None:
    help = "compare the compiled engine with a reference, tensor by tensor; exit 1 on a difference"
    parser = add_verb(verbs, "verify", verify, help)
    add_source(parser)
    parser.add_argument("--input", metavar="X.npy", required=True, help="NHWC or (N, features)")
    parser.add_argument(
        "--against", metavar="reference|torch|onnx|Y.npy", default="reference",
        help="reference executor (default), the PyTorch or ONNX source itself, or saved outputs",
    )  # fmt: skip
    parser.add_argument(
        "--tolerance", metavar="REL", type=float,
        help="let floats differ by this share of the largest (default 0; torch, onnx 1e-5)",
    )  # fmt: skip
    add_mode(parser)
    add_engine(parser, choose=False)


def _add_export(verbs: Any) -> None:
    parser = add_verb(verbs, "export", export, "write a network for other tools")
    add_source(parser)
    parser.add_argument(
        "--to", metavar="qonnx|pynq", required=True, type=one_of("qonnx", "pynq"),
        help="an .onnx file that qonnx runs, or a folder as the FPGA tool flow packs it",
    )  # fmt: skip
    parser.add_argument("-o", "--output", metavar="PATH", required=True)
    parser.add_argument("--profile", metavar="P", help="write each node's cost beside it (qonnx)")
    parser.add_argument("--batch", type=positive, default=1, metavar="N", help="of the costs")
    add_mode(parser)


def _add_zoo(verbs: Any) -> None:
    zoo = verbs.add_parser("zoo", help="networks from the literature")
    zoo.set_defaults(parser=zoo)
    add_verb(zoo.add_subparsers(metavar="list", required=True), "list", zoo_list,
             "list the networks that zoo:NAME builds")  # fmt: skip


VERBS = (_add_lower, _add_inspect, _add_run, _add_verify, _add_export, _add_zoo)
