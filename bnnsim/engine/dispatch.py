"""Which kernel an op gets: detection, the override by name or BNNSIM_ISA, and what really runs."""

from __future__ import annotations

import os
from dataclasses import dataclass

from bnnsim.engine import _kernels


@dataclass(frozen=True, slots=True)
class Kernel:
    """One compiled implementation of an op.

    Parameters
    ----------
    op : str
        The operation, such as ``gemm_bit``.
    isa : str
        The instruction set of this implementation; ``ref`` where the one asked for has none.
    symbol : str
        The C function; traces name it.
    tile : tuple of int
        Rows (or pixels) and output channels that one inner tile computes.
    """

    op: str
    isa: str
    symbol: str
    tile: tuple[int, int]

    @property
    def name(self) -> str:
        """Operation and instruction set, such as ``gemm_bit_avx512``."""
        return f"{self.op}_{self.isa}"


def available_isas() -> tuple[str, ...]:
    """Return the instruction sets with a kernel that this machine can run, lowest first."""
    return _kernels.available_isas()


def resolve(isa: str) -> str:
    """Return the instruction set that ``auto`` stands for now, or a known one as it is.

    Raises
    ------
    KernelError
        If the instruction set is unknown or cannot run here.
    """
    select("gemm_bit", isa)  # raises
    named = (os.environ.get("BNNSIM_ISA") or "auto") if isa == "auto" else isa
    return available_isas()[-1] if named == "auto" else named


def select(op: str, isa: str = "auto") -> Kernel:
    """Return the kernel that ``op`` gets for an instruction set.

    Parameters
    ----------
    op : str
        An operation of ``csrc/kernels.def``.
    isa : str
        ``ref``, ``neon``, ``avx2`` or ``avx512``: the best kernel of the op up to that
        instruction set. ``auto``: what the environment variable ``BNNSIM_ISA`` names, else the
        best that the machine can run.

    Returns
    -------
    Kernel
        The kernel that will run; its ``isa`` is lower than the one asked for where the op has no
        such variant.

    Raises
    ------
    KernelError
        If the op is unknown, or the instruction set is unknown or cannot run here.
    """
    name, chosen, symbol, tile_m, tile_n = _kernels.select(op, isa)
    return Kernel(name, chosen, symbol, (tile_m, tile_n))
