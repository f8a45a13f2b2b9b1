"""A profile with some of its values changed: what a sweep over constants and sizes varies."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from bnnsim.cost.hardware import HardwareProfile
from bnnsim.cost.profile import build_profile, load_profile
from bnnsim.cost.profile_yaml import find_profile, read_profile
from bnnsim.errors import ProfileError, message, nearest

_SOURCE = "override"
# A changed constant is a choice, whatever stood there came from; a changed size is a size.
_CONSTANTS = {"energy", "power", "read", "write", "per_cycle", "bytes_per_cycle", "bandwidth",
              "factor", "time", "points"}  # fmt: skip


def with_changes(name: str | Path, changes: Mapping[str, Any]) -> HardwareProfile:
    """Return a packaged profile, or that of a ``.yaml`` file, with values changed.

    Parameters
    ----------
    name : str or Path
    changes : mapping of str to JSON value
        By place, such as ``memories.gb.size`` or ``actions.add.int32.energy``: the new value, as
        the YAML would have it. An entry of a list goes by its ``name``.

    Raises
    ------
    ProfileError
        If a place does not exist or a value breaks a rule; the message names both.
    """
    path = find_profile(name)
    base, merged = (
        _read(path, path.stat().st_mtime_ns) if path.is_file() else (load_profile(name), {})
    )
    if not changes:
        return base
    raw = copy.deepcopy(merged)
    said = ", ".join(f"{place} = {value}" for place, value in changes.items())
    for place, value in changes.items():
        _change(raw, place, value, f"profile {base.name}: {place}")
    raw.setdefault("sources", {})[_SOURCE] = {"cite": "the value that was set", "kind": "choice"}
    chip = build_profile(raw, f"profile {base.name} with {said}")
    return replace(chip, notes=(*base.notes, f"changed: {said}"), root=base.root)


@lru_cache(maxsize=32)
def _read(path: Path, changed_ns: int) -> tuple[HardwareProfile, dict[str, Any]]:
    """Return a file's profile and its raw form; ``changed_ns`` tells an edited file apart."""
    return load_profile(path), read_profile(path)


def _change(raw: Any, place: str, value: Any, where: str) -> None:
    """Set ``value`` at ``place``; its last key may be new, which the reader of profiles judges."""
    keys, at = place.split("."), raw
    owner: dict[str, Any] = {}
    while len(keys) > 1 and (taken := _longest(at, keys)) < len(keys):
        if not taken:
            got = ".".join(keys)
            raise ProfileError(message(where, got, "a key that is there", _near(at, keys)))
        at, keys = _below(at, ".".join(keys[:taken])), keys[taken:]
        owner = at if "status" in _names(at) else owner
    key = ".".join(keys)
    if not isinstance(at, dict):
        raise ProfileError(message(where, key, "the place of one value", _near(at, keys)))
    at[key] = value
    if {key, place.split(".")[-2 if "." in place else -1]} & _CONSTANTS and owner:
        owner.update(status="assumed", source=_SOURCE, at="set for this estimate")


def _longest(at: Any, keys: list[str]) -> int:
    """Return how many of ``keys``, joined by dots, name something below ``at``; 0 for none."""
    names = _names(at)
    return next((n for n in range(len(keys), 0, -1) if ".".join(keys[:n]) in names), 0)


def _names(at: Any) -> list[str]:
    if isinstance(at, list):
        return [str(item["name"]) for item in at if isinstance(item, dict) and "name" in item]
    return list(at) if isinstance(at, dict) else []


def _below(at: Any, key: str) -> Any:
    if isinstance(at, list):
        return next(item for item in at if isinstance(item, dict) and item.get("name") == key)
    return at[key]


def _near(at: Any, keys: list[str]) -> str:
    names = _names(at)
    close = nearest(".".join(keys), names) or nearest(keys[0], names)
    return close or (f"There are {', '.join(names)}." if names else "Nothing stands below.")
