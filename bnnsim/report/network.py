"""Text blocks of what a network is and what it did: inspect, lower, run, verify, zoo."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bnnsim.report.numbers import KIBI, count, digits
from bnnsim.report.tables import Block, Mark, Table, table

Result = Mapping[str, Any]
_MOST_CLASSES = 20


def operands(layer: Result) -> str:
    """Return a layer's dtypes in one cell, and the pair that it runs as if that is another.

    ``bit x bit -> int32``, ``bit x bit -> int32, run as int8 x int8``.
    """
    read = [str(layer[key]) for key in ("act_dtype", "weight_dtype") if layer.get(key)]
    stands_in = f", run as {layer['run_as']}" if layer.get("run_as") else ""
    return f"{' x '.join(read)} -> {layer['out_dtype']}{stands_in}"


def shape(sizes: Sequence[int]) -> str:
    """Return a shape as ``28x28x64``."""
    return "x".join(map(str, sizes))


def inspect_blocks(result: Result) -> list[Block]:
    """Return the blocks of an `inspect` or `lower` result."""
    rows = [
        (
            layer["name"],
            layer["op"],
            operands(layer),
            layer["kind"],
            shape(layer["shape"]),
            count(layer["macs"]),
            digits(layer["weight_bytes"] / KIBI),
            layer["why"],
        )
        for layer in result["layers"]
    ]
    heads = ("layer", "op", "operands", "kind", "shape", "MACs", "weights (KiB)", "why")
    totals = result["totals"]
    summary = (
        f"{result['model']}: input {shape(result['input']['shape'])} {result['input']['dtype']}, "
        f"{count(totals['macs'])} MACs, {count(totals['parameters'])} parameters, "
        f"weights {digits(totals['weight_bytes'] / KIBI)} KiB"
    )
    return [summary, table("", heads, rows), *map(str, result.get("notes", ()))]


def export_blocks(result: Result) -> list[Block]:
    """Return the blocks of an `export` result."""
    files, costs = len(result["files"]), result["profile"]
    what = f"{result['model']} ({result['mode']}): {count(result['nodes'])} nodes as {result['to']}"
    beside = f", each with its cost on {costs}" if costs else ""
    where = f"wrote {result['output']}" + (f" ({count(files)} files)" if files > 1 else "")
    return [f"{what}{beside}", *map(str, result["notes"]), where]


def run_blocks(result: Result) -> list[Block]:
    """Return the blocks of a `run` result."""
    blocks: list[Block] = [
        *map(Mark, result.get("notes", ())),
        f"{_named(result)}: {ran(result)}",
    ]
    if result.get("accuracy") is not None:
        share = f"{100 * result['accuracy']:.2f} %"
        blocks.append(f"accuracy {share} of {count(result['images'])} images")
    if result.get("samples"):
        counts = result["counts"]
        blocks.append(
            f"stochastic: seed {result['record']['seed']}, mean of {count(result['samples'])} "
            f"samples, {count(counts['rng_draws'])} draws, {count(counts['rng_bits'])} random bits"
        )
    rows = [(k["node"], k["op"], k["kernel"]) for k in result.get("kernels", ())]
    if rows:
        blocks.append(table("Kernels used", ("node", "op", "kernel"), rows))
    return [*blocks, *_profile_blocks(result["profile"])] if "profile" in result else blocks


def _profile_blocks(profile: Result) -> list[Block]:
    """Return the steps of a profile, and the batch as a whole beside their sum."""

    def milliseconds(seconds: float) -> str:
        return f"{digits(seconds * 1e3)} ms"

    steps = profile["steps"]
    rows = [
        (
            " + ".join(s["nodes"]),
            s["kernel"],
            milliseconds(s["seconds"]),
            f"{100 * s['share']:.1f} %",
        )
        for s in steps
    ]
    total = milliseconds(sum(s["seconds"] for s in steps))
    whole = milliseconds(profile["seconds"])
    return [
        table("Steps by themselves", ("nodes", "kernel", "time", "share"), rows),
        f"{count(profile['images'])} images as a whole: {whole}; steps by themselves: {total}",
    ]


def ran(result: Result) -> str:
    """Return what was executed and how fast; the rate is of images, all their samples done."""
    seconds, images = result["seconds"], result["images"]
    rate = f", {digits(images / seconds)} images/s" if seconds > 0 else ""
    sampled = f" x {count(result['samples'])} samples" if result.get("samples") else ""
    return (
        f"{count(images)} images{sampled}, {result['engine']} engine, isa {result['isa']}, "
        f"{digits(seconds * 1e3)} ms{rate}"
    )


def prediction_blocks(result: Result) -> list[Block]:
    """Return the blocks of predictions: the first images, then how often each class was taken.

    Parameters
    ----------
    result : mapping
        ``images``; ``shown``, a list of ``{"best": [[class, output], ...], "label": class or
        None}``; ``taken``, pairs of a class and its number of images, most frequent first.
    """
    labelled = any(found["label"] is not None for found in result["shown"])
    rows = []
    for image, found in enumerate(result["shown"]):
        best, second = [*found["best"], ("-", "-")][:2]
        rows.append([image, *best, *second, *([found["label"]] if labelled else [])])
    heads = ["image", "class", "logit", "runner-up", "its logit", *(["label"] if labelled else [])]
    taken = [f"{name}: {count(number)}" for name, number in result["taken"][:_MOST_CLASSES]]
    more = len(result["taken"]) - len(taken)
    rest = f" and {more} more classes" if more > 0 else ""
    return [
        table(f"First {len(rows)} of {count(result['images'])} images", heads, rows),
        f"images by class: {', '.join(taken)}{rest}",
        "-o Y.npy writes the outputs of all images",
    ]


def verify_blocks(result: Result) -> list[Block]:
    """Return the blocks of a `verify` result: the verdict first."""
    layers = result["layers"]
    wrong = sum(layer["mismatches"] for layer in layers)
    elements = sum(layer["elements"] for layer in layers)
    verdict = "equal" if result["equal"] else "DIFFERENT"
    tolerance = result.get("tolerance", 0)
    rule = "by =="
    if tolerance:
        rule = f"floats within {tolerance:g} x the largest, integers and bits by =="
    head = (
        f"{_named(result)} against {result['against']}: {verdict}; {count(wrong)} of "
        f"{count(elements)} elements differ, {count(result['images'])} images ({rule})"
    )
    agreement = f"argmax agreement {100 * result['argmax_agreement']:.4g} %"
    if result.get("ties") is not None:
        at = ", ".join(f"{name} {n}" for name, n in result.get("ties_at", {}).items())
        agreement += f", ties {result['ties']}{f' ({at})' if at else ''}"
    verdicts = [head] if result["equal"] else [Mark(head), *map(Mark, _cause(result))]
    marks = map(Mark, result.get("notes", ()))
    return [*marks, *verdicts, _mismatches(layers), agreement]


def _cause(result: Result) -> Iterator[str]:
    """Yield where differences from another library begin, or that ties explain all of them."""
    if result["against"] == "reference":
        return
    if result["finding"] is None:
        yield (
            f"every difference follows from a tie: {count(result['ties'])} elements met a sign at "
            "exactly 0, where it is +1 here and may be 0 or -1 there, or came next to a threshold"
        )
        return
    (layer, *_) = (at for at in result["layers"] if at["name"] == result["finding"])
    rest = layer["mismatches"] - layer["explained"]
    yield f"first difference that no tie explains: {layer['name']}, {count(rest)} elements"


def _named(result: Result) -> str:
    """Return the network's name, with its mode where that is not the source's own."""
    mode = result.get("mode", "native")
    return str(result["model"]) if mode == "native" else f"{result['model']} in {mode}"


def _mismatches(layers: Sequence[Result]) -> Table:
    rows = [
        (
            layer["name"],
            layer["tensor"],
            count(layer["elements"]),
            count(layer["mismatches"]),
            count(layer["explained"]),
            count(layer["ties"]),
            digits(layer["max_abs_difference"]),
        )
        for layer in layers
    ]
    heads = (
        "layer", "tensor", "elements", "mismatches", "from ties", "ties here", "largest difference",
    )  # fmt: skip
    return table("", heads, rows)


def zoo_blocks(result: Result) -> list[Block]:
    """Return the blocks of a `zoo list` result."""
    rows = [
        (
            net["name"],
            shape(net["input_shape"]),
            count(net["macs"]),
            count(net["parameters"]),
            "yes" if net["trained"] else "",
            net["source"],
        )
        for net in result["networks"]
    ]
    heads = ("name", "input", "MACs", "weights", "trained", "source")
    title = (
        "Networks that zoo:NAME builds; those trained here come with weights as zoo:NAME:trained"
    )
    return [table(title, heads, rows)]
