"""Text blocks of what a network did on data: accuracy, counts, activity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bnnsim.report.costs import estimate_blocks
from bnnsim.report.network import ran, shape
from bnnsim.report.numbers import KIBI, count, digits
from bnnsim.report.tables import Block, Mark, Table, table

Result = Mapping[str, Any]
_SHOWN_PAIRS = 5
_REFERENCE = "array.reference_activity"


def simulate_blocks(result: Result) -> list[Block]:
    """Return the blocks of a `simulate` result: what was observed, then the estimate."""
    costs = estimate_blocks(result)
    marks = [block for block in costs if isinstance(block, Mark)]
    return [
        *marks,
        run_line(result),
        *accuracy_lines(result),
        *confused_tables(result),
        counts_line(result),
        counts_table(result),
        *activity_blocks(result),
        *costs[len(marks) :],
    ]


def run_line(result: Result) -> str:
    """Return what ran, and how fast."""
    return f"{result['model']} {result['mode']}: {ran(result)}"


def accuracy_lines(result: Result) -> Iterator[str]:
    """Yield how often the decisions are right, or agree with those of the source's precision."""
    found, same = result["accuracy"], result["agreement"]
    if found is not None:
        yield (
            f"accuracy {_share(found['top1'])}: {count(found['right'])} of "
            f"{count(found['top1']['images'])} right (95 % Wilson interval)"
        )
        yield f"decision: {found['rule']}; {count(found['tied'])} images tied"
    if same is not None:
        yield (
            f"agreement with the source's own decisions {_share(same)} of {count(same['images'])} "
            "images (95 % Wilson interval); no accuracy: its weights were not trained for this mode"
        )


def _share(found: Result) -> str:
    value, low, high = (100 * found[key] for key in ("value", "low", "high"))
    return f"{value:.2f} % [{low:.2f}, {high:.2f}]"


def confused_tables(result: Result) -> list[Table]:
    """Return the pairs of classes that are taken for each other most often, if any are."""
    entries = result["accuracy"]["confusion"] if result["accuracy"] is not None else ()
    labelled: dict[int, int] = {}
    for e in entries:
        labelled[e["label"]] = labelled.get(e["label"], 0) + e["images"]
    wrong = [e for e in entries if e["label"] != e["decision"]]
    worst = sorted(wrong, key=lambda e: (-e["images"], e["label"], e["decision"]))[:_SHOWN_PAIRS]
    rows = [
        (e["label"], e["decision"], count(e["images"]),
         f"{100 * e['images'] / labelled[e['label']]:.2f}")
        for e in worst
    ]  # fmt: skip
    heads = ("label", "decided", "images", "of the label (%)")
    more = f", {_SHOWN_PAIRS} of {len(wrong)} pairs" if len(wrong) > _SHOWN_PAIRS else ""
    return [table(f"Confused most often{more}", heads, rows)] if rows else []


def counts_line(result: Result) -> str:
    """Return whether the cost model counts what the kernels did."""
    layers = result["counts"]["layers"]
    compared = sum(layer["equal"] is not None for layer in layers)
    wrong = [layer["name"] for layer in layers if layer["equal"] is False]
    verdict = f"NO: {', '.join(wrong)}" if wrong else "yes"
    return (
        "counts predicted by the cost model equal those of the kernels: "
        f"{verdict} ({compared} of {len(layers)} layers have counts to compare)"
    )


def counts_table(result: Result) -> Table:
    """Return what every kernel did beside what the model counts, over all images."""
    rows = []
    for layer in result["counts"]["layers"]:
        moved = (digits(layer[key] / KIBI) for key in ("bytes_read", "bytes_written"))
        head = (layer["name"], layer["kernel"], count(layer["calls"]), *moved)
        for what, number in layer["done"].items():
            rows.append((*head, what, count(number), count(layer["predicted"][what])))
            head = ("",) * len(head)
        if not layer["done"]:
            rows.append((*head, "-", "-", "-"))
    heads = ("layer", "kernel", "calls", "read (KiB)", "written (KiB)", "what", "kernels", "model")
    return table("Work of all images", heads, rows)


def activity_blocks(result: Result) -> list[Block]:
    """Return how bits behaved and whether energies follow it; nothing without activity."""
    found = result.get("activity")
    if not found:
        return []
    tables = [activity_table(found)]
    if found["products"]:
        tables.append(products_table(found))
    return [*tables, activity_line(result)]


def activity_table(activity: Result) -> Table:
    """Return one row per activation of bits."""
    rows = [
        (
            t["name"],
            t["dtype"],
            shape(t["shape"]),
            *(f"{t['p_one'][key]:.4f}" for key in ("mean", "min", "max")),
            count(t["constant_channels"]),
            _fraction(t["adjacent"]),
            _fraction(t["successive"]),
        )
        for t in activity["tensors"]
    ]
    heads = ("activation", "type", "shape", "P(1)", "least of a channel", "most of a channel",
             "constant channels", "next pixel differs", "next image differs")  # fmt: skip
    return table(f"Activity of bits over {_runs(activity)}", heads, rows)


def products_table(activity: Result) -> Table:
    """Return one row per layer of bits by bits."""
    rows = [
        (p["name"], count(p["changed"]), count(p["compared"]), _fraction(p))
        for p in activity["products"]
    ]
    heads = ("layer", "toggles", "of products", "share")
    title = "Product bits that toggle from one output pixel or vector to the next, weights held"
    return table(title, heads, rows)


def _runs(activity: Result) -> str:
    samples = f" x {count(activity['samples'])} samples" if activity["samples"] > 1 else ""
    return f"{count(activity['images'])} images{samples}"


def _fraction(changes: Result) -> str:
    return "-" if changes["fraction"] is None else f"{changes['fraction']:.4f}"


def activity_line(result: Result) -> str:
    """Return whether the energies follow the activity."""
    used = next((a for a in result["assumptions"] if a["constant"] == _REFERENCE), None)
    if used is not None:
        return (
            f"energy of the products of bits scaled by share / {digits(used['value'])}: "
            f"{result['profile']} states the activity that its energies hold at ({used['source']})"
        )
    why = f"{result['profile']} states no reference_activity"
    if all(p["fraction"] is None for p in result["activity"]["products"]):
        why = "no layer multiplies bits by bits from one pixel or image to the next"
    return f"activity is shown as statistics and scales no energy: {why}"
