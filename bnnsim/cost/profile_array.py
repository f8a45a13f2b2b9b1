"""The part of a profile that says what its array runs, how fast, and how its sums are priced."""

from __future__ import annotations

from collections.abc import Mapping

from bnnsim.cost.hardware import Array, Constant, Datapath
from bnnsim.cost.profile_fields import Fields
from bnnsim.errors import nearest
from bnnsim.graph.dtypes import DTYPE_NAMES

ACTIONS = (
    "add.bit", "add.int8", "add.int16", "add.int32", "add.float16", "add.bfloat16", "add.float32",
    "mul.int8", "mul.int16", "mul.int32", "mul.float16", "mul.bfloat16", "mul.float32",
    "gate.bit", "register.bit",
)  # fmt: skip
_ADDERS = tuple(name.removeprefix("add.") for name in ACTIONS if name.startswith("add."))
_SHOWN_DTYPES = ("bit", "ternary", "intN", "uintN", "bipolarN", "float16", "bfloat16", "float32")


def read_array(fields: Fields) -> Array:
    """Return the array with its rates; a rate of a pair that no layer can have is a problem."""
    unroll = fields.child("unroll")
    rows = unroll.text("rows", choices=("K", "C_in"), default="K")
    unroll.text("columns", choices=("C_out",), default="C_out")
    unroll.close()
    pairs = fields.child("ops_per_pe")
    rates = {}
    for pair in pairs.raw:
        rates[pair] = pairs.number(pair)
        if rates[pair] <= 0:
            pairs.note(pair, pairs.raw[pair], "a rate above 0")
        check_pair(pairs, pair)
    if not rates:
        fields.note("ops_per_pe", None, "MACs per cycle and PE by dtype pair")
    array = Array(
        rows=fields.integer("rows"),
        columns=fields.integer("columns"),
        unroll_rows=rows,
        accumulators=fields.integer("accumulators", 1),
        emulate=fields.text("emulate", choices=("wider", "error"), default="wider"),
        planes=fields.text("first_layer", choices=("planes", "wider"), default="wider") == "planes",
        ops_per_pe=rates,
        reference_activity=_reference_activity(fields),
    )
    fields.close()
    return array


def _reference_activity(array: Fields) -> Constant | None:
    if not array.has("reference_activity"):
        return None
    fields = array.child("reference_activity")
    toggles = fields.number("toggles", high=1.0)
    if toggles == 0:
        fields.note("toggles", 0, "a share of product bits above 0")
    constant = fields.provenance("array.reference_activity", toggles, "1")
    fields.close()
    return constant


def read_datapath(fields: Fields) -> Datapath:
    """Return how arithmetic is priced."""
    fixed = fields.raw.get("accumulator")
    if isinstance(fixed, dict):
        table = fields.child("accumulator")
        widths = {pair: table.text(pair, choices=_ADDERS) for pair in table.raw}
        for pair in sorted(widths.keys() - {"default"}):
            check_pair(table, pair)
        if "default" not in widths:
            table.note("default", None, "a dtype for the pairs not listed", "Add 'default: int32'.")
        accumulator: str | Mapping[str, str] = widths
    else:
        accumulator = fields.text("accumulator", choices=("exact",), default="exact")
    bit_mac = fields.text("bit_mac", choices=("tree", "single", "serial"), default="tree")
    fields.close()
    return Datapath(accumulator, bit_mac)


def check_pair(table: Fields, pair: str) -> None:
    """Note a key that is not two dtypes as `DType` writes them: no layer would ever match it."""
    words = pair.split(" x ")
    wrong = [word for word in words if word not in DTYPE_NAMES]
    if len(words) == 2 and not wrong:
        return
    rule = f"a key 'act x weight' of two dtypes among {', '.join(_SHOWN_DTYPES)}"
    remedy = nearest(wrong[0], DTYPE_NAMES) if len(words) == 2 else "Write '\"int8 x int8\"'."
    table.note(pair, pair, rule, remedy)
