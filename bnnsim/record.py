"""The record of a run: what produced a result, so that it can be produced again."""

from __future__ import annotations

import hashlib
import platform
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

_LIBRARIES = ("numpy", "scipy", "torch", "safetensors", "pyyaml")


@dataclass(frozen=True, slots=True)
class RunRecord:
    """Version, machine and inputs behind a saved result.

    Parameters
    ----------
    version, commit : str
        Of bnnsim; the commit is empty outside a git checkout.
    python, cpu, isa : str
    libraries : mapping of str to str
    seed : int, optional
    argv : tuple of str
    input_hashes : mapping of str to str
        SHA-256 of every input, by name.
    """

    version: str
    commit: str
    python: str
    libraries: Mapping[str, str]
    cpu: str
    isa: str = ""
    seed: int | None = None
    argv: tuple[str, ...] = ()
    input_hashes: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        return {**asdict(self), "argv": list(self.argv)}


def record(
    *, isa: str = "", seed: int | None = None, inputs: Mapping[str, np.ndarray] | None = None
) -> RunRecord:
    """Return the record of the running process.

    Parameters
    ----------
    isa : str, optional
        The instruction set that kernels used.
    seed : int, optional
    inputs : mapping of str to ndarray, optional
        Arrays to hash.
    """
    return RunRecord(
        version=installed_version("bnnsim"),
        commit=_commit(),
        python=platform.python_version(),
        libraries={name: installed_version(name) for name in _LIBRARIES if _is_installed(name)},
        cpu=_cpu(),
        isa=isa,
        seed=seed,
        argv=tuple(Path(a).name if i == 0 else a for i, a in enumerate(sys.argv)),
        input_hashes={name: array_hash(array) for name, array in (inputs or {}).items()},
    )


def array_hash(array: np.ndarray) -> str:
    """Return the SHA-256 of an array's dtype, shape and elements."""
    digest = hashlib.sha256(f"{array.dtype.str}|{array.shape}|".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


@cache
def installed_version(name: str) -> str:
    """Return the installed version of a distribution, or an empty string."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _is_installed(name: str) -> bool:
    return bool(installed_version(name))


@cache
def _cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in text.splitlines() if "model name" in line]
    return names[0] if names else platform.machine()


@cache
def _commit() -> str:
    """Return the commit of the checkout that this package runs from, or an empty string."""
    git = Path(__file__).resolve().parent.parent / ".git"
    try:
        head = (git / "HEAD").read_text(encoding="ascii").strip()
        if not head.startswith("ref: "):
            return head
        reference = head.removeprefix("ref: ")
        loose = git / reference
        if loose.is_file():
            return loose.read_text(encoding="ascii").strip()
        packed = (git / "packed-refs").read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    return next((line.split()[0] for line in packed if line.endswith(reference)), "")
