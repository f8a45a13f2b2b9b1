"""The energy tables behind a profile, with the unit and the source of every cell.

Tables 2 and 3 of the BNN paper (Hubara et al., NIPS 2016) reprint a table of Horowitz. What their
columns count is: joules per one operation of that width, and joules per one access of 64 bits to
a memory of that size. The paper has no row for 1-bit operations; here it is, with its derivation.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from bnnsim.cost.datapath import popcount_adders
from bnnsim.cost.hardware import Constant, HardwareProfile, Memory
from bnnsim.cost.result import CostReport
from bnnsim.errors import ProfileError, message
from bnnsim.units import format_bytes, format_si

ACCESS_BITS = 64
_WIDTHS = (
    ("int8", "8-bit integer"), ("int16", "16-bit integer"), ("int32", "32-bit integer"),
    ("float16", "16-bit float"), ("float32", "32-bit float"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class OperationRow:
    """Energy of one multiplication and one addition of a width, in joules per operation."""

    operation: str
    multiply_j: float | None
    add_j: float | None
    source: str


@dataclass(frozen=True, slots=True)
class AccessRow:
    """Energy of one 64-bit access to a memory of a size, in joules."""

    memory: str
    access_j: float
    status: str
    source: str


@dataclass(frozen=True, slots=True)
class ExampleRow:
    """One line of the worked example: count x joules each = joules; `basis` is what one is."""

    constant: str
    count: int
    each_j: float
    energy_j: float
    basis: str
    text: str


@dataclass(frozen=True, slots=True)
class EnergyTables:
    """The two tables of a profile and, for a given report, how its energy adds up.

    Parameters
    ----------
    overhead : str
        What multiplies every operation in an estimate but not in these tables.
    """

    profile: str
    operations: tuple[OperationRow, ...]
    accesses: tuple[AccessRow, ...]
    overhead: str
    example_title: str
    example: tuple[ExampleRow, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the tables as JSON values."""
        return asdict(self)


def energy_tables(profile: HardwareProfile, report: CostReport | None = None) -> EnergyTables:
    """Return the tables of a profile, with a worked example if a report on it is given.

    Raises
    ------
    ProfileError
        If the profile has no operators: a pipeline's energy is power x time.
    """
    if not profile.actions:
        rule = "a profile that prices operators: latency_model array"
        raise ProfileError(message(f"profile {profile.name!r}: actions", None, rule))
    factor = profile.overhead
    overhead = "none" if factor is None else f"x {factor.value_si:g} ({factor.source}: {factor.at})"
    rows = [r for d, name in _WIDTHS if (r := _operation(profile, d, name)) is not None]
    rows.append(_bit_row(profile))
    title = f"{report.model}, mode {report.mode}, batch {report.batch}" if report else ""
    return EnergyTables(
        profile=profile.name,
        operations=tuple(rows),
        accesses=tuple(dict.fromkeys(r for m in profile.memories for r in _accesses(m))),
        overhead=overhead,
        example_title=title,
        example=_example(profile, report) if report else (),
    )


def _operation(profile: HardwareProfile, dtype: str, name: str) -> OperationRow | None:
    found = [profile.actions.get(f"{verb}.{dtype}") for verb in ("mul", "add")]
    if not any(found):
        return None
    multiply, add = (c.value_si if c is not None else None for c in found)
    sources = "; ".join(dict.fromkeys(_place(c) for c in found if c is not None))
    return OperationRow(name, multiply, add, sources)


def _place(constant: Constant) -> str:
    return f"{constant.source}, {constant.at} ({constant.status})"


def _bit_row(profile: HardwareProfile) -> OperationRow:
    gate, adder = profile.actions["gate.bit"], profile.actions["add.bit"]
    one = format_si(adder.value_si, "J", 4)
    if profile.datapath.bit_mac == "single":
        add, how = adder.value_si, f"one full adder ({one})"
    elif profile.datapath.bit_mac == "serial":
        add = adder.value_si
        how = f"one full adder ({one}) of an adder with ceil(log2 K) more"
    else:
        width = max(1, round(profile.array.ops_per_pe.get("bit x bit", ACCESS_BITS)))
        full, half = popcount_adders(width)
        add = (full + -(-half // 2)) * adder.value_si / width
        tree = f"a compressor tree over {width} bits: {full} full and {half} half adders"
        how = f"share of {tree} x {one} / {width}; a word adds one accumulation of the sum's width"
    text = f"multiply = one XNOR, {_place(gate)}; add = {how}, {_place(adder)}"
    return OperationRow("1 bit", gate.value_si, add, text)


def _accesses(memory: Memory) -> list[AccessRow]:
    if memory.off_chip:
        per_bit = memory.read.dimension == "J/bit"
        each = memory.read.value_si / (1 if per_bit else memory.word_bits)
        name = f"{memory.name}, off chip"
        return [AccessRow(name, each * ACCESS_BITS, memory.read.status, _place(memory.read))]
    scale = ACCESS_BITS / memory.points_word
    rows = [
        AccessRow(format_bytes(size), point.value_si * scale, point.status, _place(point))
        for size, point in memory.points
    ]
    if (memory.size_bytes or 0) not in {size for size, _ in memory.points}:
        joules = memory.read.value_si * ACCESS_BITS / memory.word_bits
        name = f"{memory.name}, {format_bytes(memory.size_bytes or 0)}"
        rows.append(AccessRow(name, joules, memory.read.status, _place(memory.read)))
    return rows


def _example(profile: HardwareProfile, report: CostReport) -> tuple[ExampleRow, ...]:
    """Return count x price = energy by constant over all layers; static power comes last."""
    counts: dict[str, int] = {}
    for layer in report.layers:
        for name, number in layer.physical_actions.items():
            counts[name] = counts.get(name, 0) + number
    rows = [
        _line(name, number, report.action_joules[name], _basis(profile, name))
        for name, number in counts.items()
    ]
    rows.sort(key=lambda row: -row.energy_j)
    static = report.energy_by["static"]
    if static:
        basis = f"static power x {format_si(report.latency.value, 's')}"
        rows.append(ExampleRow("static", 1, static, static, basis, basis))
    return tuple(rows)


def _basis(profile: HardwareProfile, name: str) -> str:
    """Return how the price of one action comes from the tables; empty if it is no row of them."""
    if name in profile.actions and profile.overhead is not None:
        each = profile.actions[name].value_si / 1e-12
        return f"{each:.5g} pJ x overhead {profile.overhead.value_si:g}"
    words = [m.word_bits for m in profile.memories if name in (f"{m.name}.read", f"{m.name}.write")]
    return f"one word of {words[0]} bits" if words else ""


def _line(name: str, count: int, each: float, basis: str) -> ExampleRow:
    text = f"{count:,} x {format_si(each, 'J', 4)} = {format_si(each * count, 'J', 4)}"
    return ExampleRow(name, count, each, each * count, basis, text)
