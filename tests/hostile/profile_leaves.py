"""A profile leaf by leaf, so that each can be damaged: a flat table, and the YAML it stands for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import yaml


class Leaf(NamedTuple):
    """One value of the profile.

    ``form`` says what kind of value stands there: text, choice, integer, number, flag, bits, or
    the SI unit of a quantity. ``free`` keys are the author's names, which cannot be misspelt.
    ``default`` holds where the value is what would hold without it.
    """

    path: str
    value: Any
    form: str
    default: bool = False
    free: bool = False


def _sourced(path: str, status: str = "published", band: float = 1.3) -> list[Leaf]:
    return [
        Leaf(f"{path}.status", status, "choice"),
        Leaf(f"{path}.source", "book", "choice"),
        Leaf(f"{path}.at", "table 1", "text"),
        Leaf(f"{path}.band", band, "number", default=True),
    ]


LEAVES = [
    Leaf("schema", "bnnsim/profile/1", "choice"),
    Leaf("name", "chip", "text"),
    Leaf("description", "-", "text", default=True),
    Leaf("kind", "asic", "choice"),
    Leaf("scope", "chip", "choice", default=True),
    Leaf("latency_model", "array", "choice", default=True),
    Leaf("calibrated_on", [], "list", default=True),
    Leaf("node.process", "28 nm", "m"),
    Leaf("node.vdd", "0.9 V", "V"),
    Leaf("node.clock", "200 MHz", "Hz"),
    Leaf("sources.book.cite", "A Book, 1999", "text"),
    Leaf("sources.book.kind", "published", "choice"),
    Leaf("array.rows", 8, "integer"),
    Leaf("array.columns", 4, "integer"),
    Leaf("array.accumulators", 1, "integer", default=True),
    Leaf("array.unroll.rows", "K", "choice", default=True),
    Leaf("array.unroll.columns", "C_out", "choice", default=True),
    Leaf("array.first_layer", "wider", "choice", default=True),
    Leaf("array.emulate", "wider", "choice", default=True),
    Leaf("array.ops_per_pe.int8 x int8", 1, "number", free=True),
    Leaf("datapath.accumulator", "exact", "choice", default=True),
    Leaf("datapath.bit_mac", "tree", "choice", default=True),
    Leaf("overhead.factor", 3, "number"),
    *_sourced("overhead", "derived", 2.0),
    Leaf("actions.add.int32.energy", "0.1 pJ/op", "J/op"),
    *_sourced("actions.add.int32"),
    Leaf("memories[0].name", "buffer", "text"),
    Leaf("memories[0].kind", "sram", "choice", default=True),
    Leaf("memories[0].size", "8 KiB", "bits"),
    Leaf("memories[0].word", "64 bit", "bits"),
    Leaf("memories[0].ports", "1RW", "choice", default=True),
    Leaf("memories[0].banks", 1, "integer", default=True),
    Leaf("memories[0].holds", ["weights", "activations"], "list", default=True),
    Leaf("memories[0].points.8 KiB", "10 pJ/access", "J/access", free=True),
    Leaf("memories[0].points.32 KiB", "20 pJ/access", "J/access", free=True),
    Leaf("memories[0].points_word", "64 bit", "bits", default=True),
    *_sourced("memories[0]"),
    Leaf("memories[1].name", "big", "text"),
    Leaf("memories[1].size", "1 MiB", "bits"),
    Leaf("memories[1].word", "64 bit", "bits"),
    Leaf("memories[1].law.a", "1 pJ/bit", "J/bit"),
    Leaf("memories[1].law.at_size", "8 KiB", "bits"),
    Leaf("memories[1].law.exponent", 0.5, "number"),
    Leaf("memories[1].leakage.power", "1 mW", "W"),
    *_sourced("memories[1].leakage", "measured", 1.1),
    *_sourced("memories[1]"),
    Leaf("memories[2].name", "dram", "text"),
    Leaf("memories[2].kind", "dram", "choice"),
    Leaf("memories[2].type", "LPDDR4", "text", default=True),
    Leaf("memories[2].burst", "512 bit", "bits"),
    Leaf("memories[2].read", "8 pJ/bit", "J/bit"),
    Leaf("memories[2].write", "8 pJ/bit", "J/bit", default=True),
    Leaf("memories[2].bandwidth.rate", "6.4 GB/s", "B/s"),
    *_sourced("memories[2].bandwidth", "assumed", 3.0),
    *_sourced("memories[2]"),
    Leaf("static.logic.power", "5 mW", "W"),
    *_sourced("static.logic", "scaled", 2.0),
    Leaf("rng.generator", "mine", "text"),
    Leaf("rng.bits", 8, "integer", default=True),
    Leaf("rng.lazy", False, "flag", default=True),
    Leaf("rng.energy", "0.02 pJ/randbit", "J/randbit"),
    Leaf("rng.skip_saturated", False, "flag", default=True),
    *_sourced("rng"),
    Leaf("structural.band", 1.5, "number", default=True),
]
_STEP = re.compile(r"memories|\[(\d)\]|add\.int32|[^.\[]+")


def steps(path: str) -> list[str | int]:
    """Return the keys and indices that lead to a leaf; ``add.int32`` is one key."""
    return [int(m[1]) if m[1] else m[0] for m in _STEP.finditer(path)]


def holder(profile: Any, path: str) -> tuple[Any, str]:
    """Return the mapping in which the leaf stands, and its key there."""
    *way, key = steps(path)
    for step in way:
        profile = profile[step]
    return profile, str(key)


def sound() -> dict[str, Any]:
    """Return the profile that the leaves make up."""
    profile: dict[str, Any] = {"memories": [{}, {}, {}]}
    for leaf in LEAVES:
        here: Any = profile
        *way, key = steps(leaf.path)
        for step in way:
            here = here[step] if isinstance(step, int) else here.setdefault(step, {})
        here[key] = leaf.value
    return profile


def text(profile: dict[str, Any]) -> str:
    return yaml.safe_dump(profile, sort_keys=False)


def spoilt(leaf: Leaf) -> Iterator[tuple[str, Any]]:
    """Yield names of wrong values for a leaf, and the values."""
    yield (
        "a mapping" if leaf.form in ("list", "flag") else "a list",
        ({"a": 1} if leaf.form in ("list", "flag") else [1]),
    )
    if leaf.form == "choice":
        yield "an unknown word", "xyzzy"
        yield "a number", 3
    elif leaf.form == "text":
        yield "blank", "  "
        yield "a number", 3
    elif leaf.form == "list":
        yield "of numbers", [1]
    elif leaf.form == "flag":
        yield "a word", "maybe"
    elif leaf.form in ("integer", "number"):
        yield "negative", -1
        yield "a word", "many"
        yield "infinite", float("inf")
        yield "nan", float("nan")
        yield "huge", 10**40
        yield "true", True
    else:
        figure, _, unit = str(leaf.value).partition(" ")
        yield "without a unit", float(figure)
        yield "of another unit", f"{figure} {'s' if unit != 's' else 'V'}"
        yield "of an unknown unit", f"{figure} parsec"
        yield "negative", f"-{figure} {unit}"
        yield "huge", f"1e300 {unit}"
        yield "of a word", f"some {unit}"
