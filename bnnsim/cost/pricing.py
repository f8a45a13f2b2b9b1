"""Joules of each priced action of a profile, and the power that it always draws."""

from __future__ import annotations

from dataclasses import dataclass

from bnnsim.cost.hardware import Constant, HardwareProfile, Kernels, Memory

NO_ENERGY = Constant("none", 0.0, "J/op", 1.0, "", "derived", "", "")


@dataclass(frozen=True, slots=True)
class Price:
    """One priced action.

    Parameters
    ----------
    constant : Constant
        The number of the profile that it rests on.
    joules : float
        Per action, overhead factor included.
    overhead : float
        The overhead factor in it; 0 where none applies.
    outside : bool
        Whether it happens off chip, beyond what the structural factor covers.
    """

    constant: Constant
    joules: float
    overhead: float
    outside: bool


def access_joules(memory: Memory, verb: str) -> float:
    """Return joules per access; a figure per bit is for every bit of the word."""
    constant = memory.read if verb == "read" else memory.write
    per_bit = constant.dimension == "J/bit"
    return constant.value_si * (memory.word_bits if per_bit else 1)


def prices(profile: HardwareProfile) -> dict[str, Price]:
    """Return the price of every action that a schedule can name."""
    overhead = profile.overhead.value_si if profile.overhead is not None else 0.0
    found = {
        name: Price(c, c.value_si * (overhead or 1.0), overhead, False)
        for name, c in profile.actions.items()
    }
    for memory in profile.memories:
        for verb, constant in (("read", memory.read), ("write", memory.write)):
            joules = access_joules(memory, verb)
            found[f"{memory.name}.{verb}"] = Price(constant, joules, 0.0, memory.off_chip)
    if profile.io is not None:
        found["io"] = Price(profile.io, profile.io.value_si, 0.0, True)
    if profile.rng is not None:
        found["rng.energy"] = Price(profile.rng.energy, profile.rng.energy.value_si, 0.0, False)
    return found | _kernel_prices(profile.kernels) if profile.kernels is not None else found


def _kernel_prices(kernels: Kernels) -> dict[str, Price]:
    """Return the prices of what kernels do; what has no energy of its own counts for nothing."""

    def price(key: str, bits: int = 1) -> Price:
        constant = kernels.energies.get(key, NO_ENERGY)
        return Price(constant, constant.value_si * bits, 0.0, False)

    found = {constant.name: price(pair) for pair, constant in kernels.macs.items()}
    found |= {constant.name: price(dtype) for dtype, constant in kernels.operations.items()}
    for level in kernels.levels:
        for verb in ("read", "write"):
            found[f"{level.name}.{verb}"] = price(level.name, level.line_bits)
    return found | {"rng.energy": price("randbit"), "launch": price("launch")}


def outside_powers(profile: HardwareProfile) -> tuple[Constant, ...]:
    """Return the powers that the structural factor does not cover.

    Off-chip memory's; on a pipeline or a processor all, because they were measured as a whole.
    """
    if profile.latency_model != "array":
        return profile.static
    return tuple(p for memory in profile.memories if memory.off_chip for p in memory.power)


def power_constants(profile: HardwareProfile) -> tuple[Constant, ...]:
    """Return every power that is drawn all the time, in watts."""
    return (*profile.static, *(p for memory in profile.memories for p in memory.power))
