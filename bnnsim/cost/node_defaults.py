"""Defaults from the node: what a profile leaves out, scaled from the 45 nm table and marked so.

Three rules, one per kind of constant, each with the factor that `profiles show` prints:
operators, registers and the random number generator follow the energy polynomials of logic; SRAM
follows (feature size x supply)^2, size^0.47 and the word; DRAM is taken as it is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bnnsim.cost.hardware import Constant, Derivation, HardwareProfile, Memory
from bnnsim.cost.scaling import logic_factor, scaling_band, sram_factor

SRAM_EXPONENT = 0.47
DERIVED_BAND = 1.5
DEFAULT_DRAM = "LPDDR4"
LOGIC_RULE = "logic: ratio of the energy polynomials at node and supply"
SRAM_RULE = "SRAM: (feature size x supply)^2 x size^0.47 x word"
REGISTER_RULE = "registers: word bits x register.bit, logic factor"
DRAM_RULE = "DRAM: not scaled"


@dataclass(frozen=True, slots=True)
class _Step:
    """From the table's node to the profile's: two factors, the wider band, and two labels."""

    table: HardwareProfile
    here: str
    there: str
    logic: float
    sram: float
    band: float

    def take(self, model: Constant, name: str, factor: float, rule: str) -> Constant:
        """Return ``model`` times ``factor`` as a derived constant called ``name``."""
        scaled = rule != DRAM_RULE
        wider = self.band if scaled else DERIVED_BAND
        how = f"scaled to {self.here}" if scaled else "as it is"
        origin = Derivation(self.table.name, model.name, self.there,
                            self.here if scaled else self.there, factor, wider, rule)  # fmt: skip
        return replace(
            model, name=name, value_si=model.value_si * factor, band=model.band * wider,
            group=f"node {self.here}" if scaled else model.group, status="derived",
            at=f"{self.table.name} {model.name} ({model.at}) {how}", derived=origin,
        )  # fmt: skip


def is_bare(memory: Memory) -> bool:
    """Whether a memory states no energy of its own."""
    return memory.read.source == "" and memory.read.value_si == 0


def needs_defaults(profile: HardwareProfile) -> bool:
    """Whether the operators or a memory's energy are left to the node table."""
    return not profile.actions or any(is_bare(m) for m in profile.memories)


def with_node_defaults(profile: HardwareProfile, table: HardwareProfile) -> HardwareProfile:
    """Return the profile with what it leaves out filled in from ``table``.

    A profile that states any operator gets none: a table is of one library or of another.

    Raises
    ------
    ProfileError
        If node or supply are outside what the scaling table can tell.
    """
    step = _step(profile, table)
    memories = tuple(_memory(m, step) if is_bare(m) else m for m in profile.memories)
    if profile.actions:
        return replace(profile, memories=memories)
    rng = profile.rng
    if rng is None and table.rng is not None:
        energy = step.take(table.rng.energy, table.rng.energy.name, step.logic, LOGIC_RULE)
        rng = replace(table.rng, energy=energy)
    return replace(
        profile,
        actions={k: step.take(c, k, step.logic, LOGIC_RULE) for k, c in table.actions.items()},
        memories=memories,
        overhead=profile.overhead or table.overhead,
        rng=rng,
    )


def _step(profile: HardwareProfile, table: HardwareProfile) -> _Step:
    here = (_nanometres(profile), profile.vdd_v)
    start = {"from_nm": _nanometres(table), "from_vdd": table.vdd_v}
    # A chip of any node may take the DRAM alone: that is not scaled.
    inside = not profile.actions or any(is_bare(m) and not m.off_chip for m in profile.memories)
    return _Step(
        table=table,
        here=f"{here[0]:g} nm, {here[1]:g} V",
        there=f"{start['from_nm']:g} nm, {start['from_vdd']:g} V",
        logic=logic_factor(*here, **start) if inside else 1.0,
        sram=sram_factor(*here, **start) if inside else 1.0,
        band=scaling_band(here[0], start["from_nm"]) * DERIVED_BAND,
    )


def _nanometres(profile: HardwareProfile) -> float:
    return round(profile.process_m * 1e9, 6)


def _memory(memory: Memory, step: _Step) -> Memory:
    if memory.off_chip:
        return _dram(memory, step)
    if memory.kind == "registers":
        bit = step.table.actions["register.bit"]
        factor = step.logic * memory.word_bits
        read = step.take(bit, f"{memory.name}.read", factor, REGISTER_RULE)
        read = replace(read, dimension="J/access")
    else:
        model = next(m for m in step.table.memories if not m.off_chip)
        size = (memory.size_bytes or 1) / (model.size_bytes or 1)
        law = size**SRAM_EXPONENT * memory.word_bits / model.word_bits
        read = step.take(model.read, f"{memory.name}.read", law * step.sram, SRAM_RULE)
    return replace(memory, read=read, write=replace(read, name=f"{memory.name}.write"))


def _dram(memory: Memory, step: _Step) -> Memory:
    model = next(m for m in step.table.memories if m.off_chip)
    assert model.bandwidth is not None  # every DRAM has one

    def take(constant: Constant) -> Constant:
        name = f"{memory.name}.{constant.name.rpartition('.')[2]}"
        return step.take(constant, name, 1.0, DRAM_RULE)

    return replace(
        memory,
        read=take(model.read),
        write=take(model.write),
        bandwidth=memory.bandwidth or take(model.bandwidth),
        power=memory.power or tuple(take(c) for c in model.power),
    )
