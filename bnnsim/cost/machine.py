"""What a profile's machine could do at best: memory levels and MAC rates, for rooflines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from bnnsim.cost.actions import Operands
from bnnsim.cost.datapath import execution
from bnnsim.cost.hardware import HardwareProfile, Memory


@dataclass(frozen=True, slots=True)
class Level:
    """One memory of a machine.

    Parameters
    ----------
    name, kind : str
    size_bytes : int or None
        None for off-chip memory, which holds everything.
    word_bits : int
        Bits of one access, so that ``physical_actions`` give the bytes that a layer moves.
    bytes_per_s, read_bytes_per_s, write_bytes_per_s : float or None
        With every port busy in every cycle: reads and writes together, reads alone, writes alone.
        All three are equal where both use the same ports, and off chip, where they are what the
        profile states; None where it states nothing.
    holds : tuple of str
        Which of ``weights`` and ``activations`` may live here.
    """

    name: str
    kind: str
    size_bytes: int | None
    word_bits: int
    bytes_per_s: float | None
    read_bytes_per_s: float | None
    write_bytes_per_s: float | None
    holds: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form of a level."""
        return {name: getattr(self, name) for name in self.__slots__} | {"holds": list(self.holds)}


def levels(profile: HardwareProfile) -> tuple[Level, ...]:
    """Return the memories of a profile, nearest to the array first."""
    if profile.kernels is not None:
        return tuple(
            Level(n.name, n.kind, n.size_bytes, n.line_bits, rate, rate, rate, n.holds)
            for n in profile.kernels.levels
            for rate in [n.bandwidth.value_si]
        )
    return tuple(
        Level(m.name, m.kind, m.size_bytes, m.word_bits, *bytes_per_s(m, profile.clock_hz), m.holds)
        for m in profile.memories
    )


def bytes_per_s(memory: Memory, clock_hz: float) -> tuple[float | None, float | None, float | None]:
    """Return the bytes that a memory moves in a second: both ways together, read, written."""
    if memory.off_chip:
        stated = None if memory.bandwidth is None else memory.bandwidth.value_si
        return stated, stated, stated
    read, written = (p * memory.banks * memory.word_bits / 8 * clock_hz
                     for p in (memory.shared_ports or memory.read_ports,
                               memory.shared_ports or memory.write_ports))  # fmt: skip
    return (read if memory.shared_ports else read + written), read, written


def peak_macs_per_s(profile: HardwareProfile, operands: Operands, fan_in: int) -> float:
    """Return the MACs of these operands in a second with every processing element or unit busy."""
    run = execution(profile, operands, fan_in, "peak")
    array = profile.array
    if profile.kernels is not None:
        return profile.kernels.units * run.rate * profile.clock_hz
    return array.rows * array.columns * run.lanes / run.cycles * profile.clock_hz
