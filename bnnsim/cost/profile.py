"""From a profile's YAML to a ``HardwareProfile``: all problems of a file are raised at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from bnnsim.cost.generators import generators
from bnnsim.cost.hardware import (
    OPERANDS,
    STRUCTURAL_BANDS,
    UNSATURATED,
    Constant,
    HardwareProfile,
    Memory,
    Rng,
)
from bnnsim.cost.inheritance import inherited_energies
from bnnsim.cost.node_defaults import DEFAULT_DRAM, needs_defaults, with_node_defaults
from bnnsim.cost.profile_array import ACTIONS, read_array, read_datapath
from bnnsim.cost.profile_fields import Fields, listed
from bnnsim.cost.profile_kernels import read_kernels
from bnnsim.cost.profile_pipeline import read_pipeline
from bnnsim.cost.profile_yaml import find_profile, list_profiles, read_profile, read_steps
from bnnsim.errors import ProfileError, nearest
from bnnsim.units import format_bytes

__all__ = [
    "ACTIONS", "Constant", "HardwareProfile", "find_profile", "list_profiles", "load_profile",
]  # fmt: skip

SCHEMA = "bnnsim/profile/1"
PORTS = {"1RW": (0, 0, 1), "2RW": (0, 0, 2), "1R1W": (1, 1, 0), "2R1W": (2, 1, 0)}
NODE_TABLE = "cmos45"
LATENCY_MODELS = ("array", "pipeline", "kernels")
_EXTRAPOLATED_BAND = 1.3
_STEEPEST = 8.0  # exponent of energy against size


def load_profile(name: str | Path) -> HardwareProfile:
    """Return the profile of a packaged name or of a ``.yaml`` file.

    Raises
    ------
    ProfileError
        Naming the file, the path to each wrong key, its value, the rule and a remedy.
    """
    path = find_profile(name)
    profile = build_profile(read_profile(path), str(path))
    steps = read_steps(path)
    inherited = inherited_energies(steps)
    notes = (inherited,) if inherited else ()
    return replace(profile, notes=notes, root=str(steps[0][1].get("name", "")))


def build_profile(raw: Mapping[str, Any], where: str) -> HardwareProfile:
    """Return the profile that a merged raw mapping states (see :func:`load_profile`)."""
    problems: list[str] = []
    sources = _sources(raw, where, problems)
    top = Fields(dict(raw), where, problems, sources)
    top.known.add("sources")
    profile = _profile(top)
    below = problems.copy()
    problems.clear()
    top.close()  # a misspelt section comes first: what lacks because of it follows
    problems += below
    if problems:
        raise ProfileError(listed(problems))
    if profile.latency_model == "array" and needs_defaults(profile):
        try:
            return with_node_defaults(profile, load_profile(NODE_TABLE))
        except ProfileError as error:
            raise ProfileError(f"{where}: {error}") from None
    return profile


def _sources(raw: Mapping[str, Any], where: str, problems: list[str]) -> dict[str, str]:
    listed = Fields(dict(raw), where, problems, {}).child("sources")
    cites = {}
    for key in listed.raw:
        entry = listed.child(key)
        cites[key] = entry.text("cite")
        entry.text("kind", choices=("published", "measured", "tool", "derived", "choice"))
        entry.close()
    return cites


def _profile(top: Fields) -> HardwareProfile:
    if top.text("schema") != SCHEMA and top.has("schema"):
        top.note("schema", top.raw["schema"], SCHEMA)
    kind = top.text("kind", choices=tuple(STRUCTURAL_BANDS)) or "asic"
    scope = top.text("scope", choices=("chip", "arithmetic"), default="chip")
    node = top.child("node")
    process = node.within("process", "m", "1 nm", "1 um")
    vdd = node.within("vdd", "V", "0.1 V", "5 V")
    clock = node.within("clock", "Hz", "1 kHz", "20 GHz")
    node.close()
    model = top.text("latency_model", choices=LATENCY_MODELS, default="array")
    if model == "kernels":
        machine = read_kernels(top, clock)
    else:
        machine = read_pipeline(top) if model == "pipeline" else _machine(top, scope)
    return HardwareProfile(
        name=top.text("name"),
        kind=kind,
        description=top.text("description", default="-"),
        scope=scope,
        process_m=process,
        vdd_v=vdd,
        clock_hz=clock,
        latency_model=model,
        calibrated_on=top.texts("calibrated_on", ()),
        sources=top.sources,
        static=_static(top.child("static")),
        structural_band=_structural(top, kind),
        **machine,
    )


def _machine(top: Fields, scope: str) -> dict[str, Any]:
    """Return the parts of a chip with an array."""
    return {
        "array": read_array(top.child("array")), "datapath": read_datapath(top.child("datapath")),
        "overhead": _overhead(top), "actions": _actions(top.child("actions")),
        "memories": _memories(top, scope), "io": _energy(top, "io", "J/bit"), "rng": _rng(top),
    }  # fmt: skip


def _overhead(top: Fields) -> Constant | None:
    if not top.has("overhead"):
        return None
    fields = top.child("overhead")
    factor = fields.number("factor", low=1.0)
    constant = fields.provenance("overhead", factor, "1")
    fields.close()
    return constant


def _actions(fields: Fields) -> dict[str, Constant]:
    actions = {}
    fields.known.update(ACTIONS)
    for name in ACTIONS:
        if fields.has(name):
            entry = fields.child(name)
            actions[name] = entry.constant("energy", "J/op", name)
            entry.close()
    fields.close()
    return actions


def _energy(top: Fields, key: str, unit: str) -> Constant | None:
    if not top.has(key):
        return None
    fields = top.child(key)
    constant = fields.constant("energy", unit, key)
    fields.close()
    return constant


def _static(fields: Fields) -> tuple[Constant, ...]:
    powers = []
    for key in fields.raw:
        entry = fields.child(key)
        powers.append(entry.constant("power", "W", f"static.{key}"))
        entry.close()
    return tuple(powers)


def _rng(top: Fields) -> Rng | None:
    if not top.has("rng"):
        return None
    fields = top.child("rng")
    name = fields.text("generator")
    rng = Rng(
        generator=name,
        bits=fields.integer("bits", 8),
        lazy=fields.flag("lazy", False),
        energy=_rng_energy(fields, name),
        skip_saturated=fields.flag("skip_saturated", False),
        unsaturated=fields.number("unsaturated", UNSATURATED),
    )
    if rng.bits not in (1, 2, 4, 8, 16):
        fields.note("bits", rng.bits, "1, 2, 4, 8 or 16")
    if rng.unsaturated > 1:
        fields.note("unsaturated", rng.unsaturated, "a share from 0 to 1")
    fields.close()
    return rng


def _rng_energy(fields: Fields, name: str) -> Constant:
    """Return the energy that stands here, or else that of the packaged generator."""
    if fields.has("energy"):
        return fields.constant("energy", "J/randbit", "rng.energy")
    known = generators()
    if name and name not in known:
        rule = f"one of {', '.join(known)}, or an 'energy' beside it"
        fields.note("generator", name, rule, nearest(name, known))
    return known.get(name, known["xorshift32"])


def _structural(top: Fields, kind: str) -> float:
    fields = top.child("structural")
    band = fields.number("band", STRUCTURAL_BANDS.get(kind, 1.5), low=1.0)
    fields.close()
    return band


def _memories(top: Fields, scope: str) -> tuple[Memory, ...]:
    top.known.add("memories")
    listed = top.raw.get("memories", [])
    if not isinstance(listed, list):
        top.note("memories", type(listed).__name__, "a list, nearest to the array first")
        return ()
    entries = [
        Fields(item, f"{top.path('memories')}[{i}]", top.problems, top.sources)
        for i, item in enumerate(listed)
    ]
    memories = tuple(_memory(entry) for entry in entries)
    names = [m.name for m in memories]
    if len(set(names)) < len(names):
        top.note("memories", names, "a different name for each memory")
    if scope == "chip":
        for operand in OPERANDS:
            chain = [m for m in memories if operand in m.holds]
            if not chain:
                rule = f"a memory that holds {operand}, or 'scope: arithmetic'"
                top.note("memories", names, rule)
    if any(a.off_chip for a in memories[:-1]):
        top.note("memories", names, "off-chip memory last and only once")
    return memories


def _memory(fields: Fields) -> Memory:
    name = fields.text("name")
    kind = fields.text("kind", choices=("sram", "registers", "dram"), default="sram")
    size = None if kind == "dram" else fields.size("size")
    word = fields.bits("burst") if kind == "dram" else fields.bits("word")
    dram = fields.text("type", default=DEFAULT_DRAM)
    ports = fields.text("ports", choices=tuple(PORTS), default="1RW") or "1RW"
    read, write = _access_energy(fields, name, size, word)
    bare = kind == "dram" and not any(map(fields.has, ("read", "write", "points", "law")))
    has_rate = fields.has("bandwidth") or (kind == "dram" and not bare)
    if bare and dram != DEFAULT_DRAM:
        rule = f"an energy per bit for {dram}"
        fields.note("read", None, rule, f"Only {DEFAULT_DRAM} has a default.")
    rate = fields.nested("bandwidth", "rate", "B/s", f"{name}.bandwidth") if has_rate else None
    memory = Memory(
        name=name,
        kind=kind,
        size_bytes=size,
        word_bits=word,
        read_ports=PORTS.get(ports, (0, 0, 1))[0],
        write_ports=PORTS.get(ports, (0, 0, 1))[1],
        shared_ports=PORTS.get(ports, (0, 0, 1))[2],
        banks=fields.integer("banks", 1),
        holds=fields.texts("holds", OPERANDS, OPERANDS),
        read=read,
        write=write,
        bandwidth=rate,
        power=tuple(
            fields.nested(key, "power", "W", f"{name}.{key}")
            for key in ("leakage", "standby")
            if fields.has(key)
        ),
        points=_points(fields),
        points_word=fields.bits("points_word", word),
    )
    if memory.bandwidth is not None and memory.bandwidth.value_si <= 0:
        fields.note("bandwidth", fields.raw.get("bandwidth"), "a rate above zero")
    fields.close()
    return memory


def _access_energy(
    fields: Fields, name: str, size: int | None, word: int
) -> tuple[Constant, Constant]:
    """Return read and write energy: stated, from points, from a law, or 0 to be derived."""
    if fields.has("points"):
        energy = _from_points(fields, size or 1, word, name)
    elif fields.has("law"):
        energy = _from_law(fields, size or 1, word, name)
    elif fields.has("read"):
        energy = _stated(fields, "read", name)
    elif fields.has("write") and fields.raw.get("kind") == "dram":
        energy = fields.constant("read", "J/bit", f"{name}.read")
    else:
        fields.known.update(("read", "write", "band", "status", "source", "at", "note"))
        blank = Constant(f"{name}.read", 0.0, "J/access", 1.0, "", "derived", "", "")
        return blank, blank
    written = _stated(fields, "write", name) if fields.has("write") else energy
    return energy, replace(written, name=f"{name}.write")


def _stated(fields: Fields, key: str, name: str) -> Constant:
    per_bit = str(fields.raw[key]).rstrip().endswith("/bit")
    return fields.constant(key, "J/bit" if per_bit else "J/access", f"{name}.{key}")


def _from_points(fields: Fields, size: int, word: int, name: str) -> Constant:
    """Interpolate energy per access against size in log-log, in words of ``points_word``."""
    pairs = [(bytes_, max(point.value_si, 1e-30)) for bytes_, point in _points(fields)]
    scale = word / fields.bits("points_word", word)
    if len(pairs) < 2:
        fields.note("points", len(pairs), "at least two sizes")
        return fields.provenance(f"{name}.read", 0.0, "J/access")
    at = next((i for i, p in enumerate(pairs[1:-1], 1) if size <= p[0]), len(pairs) - 1)
    (s0, e0), (s1, e1) = pairs[at - 1], pairs[at]
    slope = math.log(e1 / e0) / math.log(s1 / s0)
    if abs(slope) > _STEEPEST:
        rule = f"energies whose exponent against size is between -{_STEEPEST:g} and {_STEEPEST:g}"
        fields.note("points", f"an exponent of {slope:.3g}", rule)
        return fields.provenance(f"{name}.read", 0.0, "J/access")
    value = e0 * (size / s0) ** slope * scale
    constant = fields.provenance(f"{name}.read", value, "J/access")
    if scale == 1 and any(size == s for s, _ in pairs):
        return constant
    inside = pairs[0][0] <= size <= pairs[-1][0]
    wider = 1.0 if inside else _EXTRAPOLATED_BAND
    how = "interpolated" if inside else "extrapolated"
    place = f"{constant.at}; {how} in log-log to {format_bytes(size)}, {word} bit"
    return replace(constant, status="derived", at=place, band=constant.band * wider)


def _points(fields: Fields) -> tuple[tuple[int, Constant], ...]:
    """Return the table of sizes in bytes and energies, smallest first, equal sizes noted."""
    if not fields.has("points"):
        return ()
    table = fields.child("points")
    found = {}
    for text, energy in table.raw.items():
        size = table.as_bytes(text, text)
        if size in found:
            table.note(text, energy, "each size once")
        found[size] = fields.provenance(text, table.positive(text, energy, "J/access"), "J/access")
    return tuple(sorted(found.items()))


def _from_law(fields: Fields, size: int, word: int, name: str) -> Constant:
    """Return energy per access of the law a * (size / at_size)^exponent per bit."""
    law = fields.child("law")
    a, exponent = law.quantity("a", "J/bit"), law.number("exponent", high=_STEEPEST)
    value = a * (size / (law.bits("at_size") / 8)) ** exponent * word
    law.close()
    return fields.provenance(f"{name}.read", value, "J/access")
