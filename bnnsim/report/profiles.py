"""Hardware profiles as plain data and as text blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from bnnsim.report.machine import machine_blocks, machine_dict
from bnnsim.report.numbers import count, digits
from bnnsim.report.tables import Block, Mark, Table, table
from bnnsim.units import format_si

if TYPE_CHECKING:
    from bnnsim.cost.hardware import Constant, HardwareProfile

Result = Mapping[str, Any]
_LINE = 78
_DERIVED = ("profile", "constant", "from_node", "to_node", "factor", "band_factor", "rule")


def profile_summary(profile: HardwareProfile) -> dict[str, Any]:
    """Return what `profiles list` says of one profile; SI units."""
    return {
        "name": profile.name,
        "kind": profile.kind,
        "scope": profile.scope,
        "description": profile.description,
        "process_m": profile.process_m,
        "vdd_v": profile.vdd_v,
        "clock_hz": profile.clock_hz,
        "constants": len(profile.constants()),
    }


def profile_dict(profile: HardwareProfile) -> dict[str, Any]:
    """Return what `profiles show` says: the summary, the machine, every constant; SI units."""
    known = profile.constants()
    return {
        "schema": 1,
        "profile": {
            **profile_summary(profile),
            "latency_model": profile.latency_model,
            "structural_band": profile.structural_band,
            "calibrated_on": list(profile.calibrated_on),
            "notes": list(profile.notes),
        },
        "machine": machine_dict(profile),
        "constants": [_constant(constant) for constant in known],
        "sources": dict(profile.sources),
    }


def _constant(constant: Constant) -> dict[str, Any]:
    origin = constant.derived
    known = {} if origin is None else {"derived": {k: getattr(origin, k) for k in _DERIVED}}
    return {
        "constant": constant.name,
        "value": constant.value_si,
        "unit": constant.dimension,
        "status": constant.status,
        "band": constant.band,
        "group": constant.group,
        "source": constant.source,
        "at": constant.at,
        **known,
    }


def list_blocks(result: Result) -> list[Block]:
    """Return the blocks of `profiles list`."""
    rows = [
        (
            profile["name"],
            profile["kind"],
            digits(profile["process_m"] * 1e9),
            digits(profile["vdd_v"]),
            digits(profile["clock_hz"] / 1e6),
            profile["constants"],
            profile["description"],
        )
        for profile in result["profiles"]
    ]
    heads = ("profile", "kind", "process (nm)", "supply (V)", "clock (MHz)", "constants",
             "description")  # fmt: skip
    return [table("Packaged profiles", heads, rows)]


def show_blocks(result: Result) -> list[Block]:
    """Return the blocks of `profiles show`."""
    profile = result["profile"]
    head = (
        f"{profile['name']} ({profile['kind']}): {profile['description']}; "
        f"{digits(profile['process_m'] * 1e9)} nm, {digits(profile['vdd_v'])} V, "
        f"{digits(profile['clock_hz'] / 1e6)} MHz, {profile['latency_model']} latency, "
        f"structural band x{digits(profile['structural_band'])}"
    )
    rows = [
        (
            constant["constant"],
            amount(constant["value"], constant["unit"]),
            constant["status"],
            digits(constant["band"]),
            constant["source"],
            constant["at"],
        )
        for constant in result["constants"]
    ]
    heads = ("constant", "value", "status", "band (x)", "source", "place")
    return [
        *(Mark(f"warning: {note}") for note in profile["notes"]),
        head,
        *machine_blocks(result["machine"]),
        *([table("Constants", heads, rows)] if rows else []),
        *derived_blocks(result["constants"]),
    ]


def derived_blocks(constants: Sequence[Result]) -> list[Block]:
    """Return a table of the defaults: from which table and node, by what factor; or nothing."""
    rows = [
        (
            constant["constant"],
            f"{origin['profile']} {origin['constant']}",
            origin["from_node"],
            origin["to_node"],
            digits(origin["factor"]),
            digits(origin["band_factor"]),
            origin["rule"],
        )
        for constant in constants
        for origin in [constant.get("derived")]
        if origin is not None
    ]
    heads = ("constant", "taken from", "node there", "node here", "factor (x)",
             "band widened (x)", "rule")  # fmt: skip
    return [table("Defaults from the node table", heads, rows)] if rows else []


def tables_blocks(result: Result) -> list[Block]:
    """Return the blocks of `tables`: operations, accesses, their notes, an estimate added up."""
    notes = list(
        dict.fromkeys(row["source"] for row in (*result["operations"], *result["accesses"]))
    )
    operations = [
        (row["operation"], _pico(row["multiply_j"]), _pico(row["add_j"]), _mark(notes, row))
        for row in result["operations"]
    ]
    accesses = [
        (row["memory"], _pico(row["access_j"]), row["status"], _mark(notes, row))
        for row in result["accesses"]
    ]
    head = f"{result['profile']}: energy of single operations and accesses, not of a network"
    heads = ("operation", "multiply (pJ/op)", "add (pJ/op)", "note")
    blocks: list[Block] = [head, table("Operations (the paper's Table 2)", heads, operations)]
    if accesses:
        heads = ("memory", "energy (pJ/access)", "status", "note")
        blocks.append(table("64-bit accesses (the paper's Table 3)", heads, accesses))
    for number, note in enumerate(notes, 1):
        blocks += _hanging(f"[{number}] ", note)
    blocks += _hanging("Overhead on operations: ", result["overhead"])
    return [*blocks, _example(result)]


def _example(result: Result) -> Table:
    rows = [
        (
            row["constant"], count(row["count"]), _pico(row["each_j"]),
            digits(row["energy_j"] / 1e-6), row["basis"],
        )
        for row in result["example"]
    ]  # fmt: skip
    total = digits(sum(row["energy_j"] for row in result["example"]) / 1e-6)
    title = f"Worked example: {result['example_title']}; all lines together {total} uJ"
    return table(title, ("constant", "count", "each (pJ)", "energy (uJ)", "each is"), rows)


def _mark(notes: Sequence[str], row: Result) -> str:
    return f"[{notes.index(row['source']) + 1}]"


def _hanging(first: str, text: str) -> list[str]:
    """Return text as lines that fit the narrowest usual terminal."""
    return wrap(text, _LINE, initial_indent=first, subsequent_indent="    ", break_on_hyphens=False)


def _pico(joules: float | None) -> str:
    return "-" if joules is None else f"{joules / 1e-12:.5g}"


def amount(value: float, unit: str) -> str:
    """Return an SI value with a readable prefix: ``900 fJ/op``, ``3``."""
    return digits(value) if unit in ("", "1") else format_si(value, unit)
