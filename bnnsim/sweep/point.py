"""One point of a sweep: what it is, its key, and the line of JSON that it becomes.

A process keeps the networks, twins and profiles that it met last, so points that follow each
other in a sweep's order share them, and layers of one shape share their mapping.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bnnsim import api
from bnnsim.cost.estimate import estimate
from bnnsim.cost.hardware import HardwareProfile
from bnnsim.cost.overrides import with_changes
from bnnsim.cost.profile_yaml import find_profile, read_steps
from bnnsim.errors import BnnsimError
from bnnsim.graph.ir import Graph
from bnnsim.sources import load

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Point:
    """One estimate of a sweep.

    Parameters
    ----------
    model, profile : str
        As the file of the sweep names them.
    mode : str
    batch : int
    changes : mapping of str to JSON value
        Values of the profile that differ, by place.
    folder : str
        What relative names of files start from.
    """

    model: str
    profile: str
    mode: str = "native"
    batch: int = 1
    changes: Mapping[str, Any] = field(default_factory=dict)
    folder: str = "."

    @property
    def source(self) -> str:
        """Return the model's source, a relative file below the sweep's folder."""
        kind, colon, rest = self.model.partition(":")
        if colon and kind == "pynq":
            return f"pynq:{Path(self.folder, rest)}"
        return self.model if colon else str(Path(self.folder, self.model))

    @property
    def chip(self) -> str:
        """Return the profile's name, or its file below the sweep's folder."""
        is_file = self.profile.endswith((".yaml", ".yml")) or "/" in self.profile
        return str(Path(self.folder, self.profile)) if is_file else self.profile

    def stated(self) -> dict[str, Any]:
        """Return what the point is, as it stands in its line."""
        return {"model": self.model, "profile": self.profile, "mode": self.mode,
                "batch": self.batch, "set": dict(self.changes)}  # fmt: skip

    @property
    def key(self) -> str:
        """Return 32 hexadecimal digits: of the point, and of what its files hold."""
        text = json.dumps([self.stated(), _file_digest(self.source), _profile_digest(self.chip),
                           _version()], sort_keys=True)  # fmt: skip
        return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@lru_cache(maxsize=1)
def _version() -> str:
    return version("bnnsim")


@lru_cache(maxsize=256)
def _file_digest(source: str) -> str:
    path = Path(source.removeprefix("pynq:"))
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    digest = hashlib.sha256()
    for file in (file for file in files if file.is_file()):
        digest.update(file.read_bytes())
    return digest.hexdigest()


@lru_cache(maxsize=256)
def _profile_digest(name: str) -> str:
    merged = read_steps(find_profile(name))[-1][2]
    return hashlib.sha256(json.dumps(merged, sort_keys=True, default=str).encode()).hexdigest()


def evaluate(points: Sequence[Point]) -> list[str]:
    """Return a line of JSON for each point (schemas/sweep_line.schema.json).

    A point that has no estimate (a mode that its source cannot have, a network that a memory
    cannot hold) becomes a line with the reason under ``error``.
    """
    return [json.dumps(_row(point), allow_nan=False) for point in points]


def _row(point: Point) -> dict[str, Any]:
    head = {"schema": SCHEMA, "key": point.key, **point.stated()}
    try:
        chip = _chip(point.chip, json.dumps(dict(point.changes)))
        bits = None if chip.rng is None else chip.rng.bits
        report = estimate(_twin(point.source, point.mode, bits, chip), chip, batch=point.batch)
    except BnnsimError as error:
        return {**head, "error": str(error)}
    return {
        **head,
        "totals": report.totals(),
        "energy_by": dict(report.energy_by),
        "synthetic": report.synthetic,
        "unpriced": list(report.unpriced),
        "notes": list(report.notes),
    }


@lru_cache(maxsize=512)
def _chip(name: str, changes: str) -> HardwareProfile:
    return with_changes(name, json.loads(changes))


@lru_cache(maxsize=4)
def _graph(source: str) -> Graph:
    return load(source)


_TWINS: dict[tuple[str, str, int | None], Graph] = {}


def _twin(source: str, mode: str, bits: int | None, chip: HardwareProfile) -> Graph:
    """Return the network in a mode; of a profile, only the bits per draw matter."""
    key = source, mode, bits
    if key not in _TWINS:
        while len(_TWINS) >= 4:
            del _TWINS[next(iter(_TWINS))]
        _TWINS[key] = api.twin_for(_graph(source), chip, mode)
    return _TWINS[key]
