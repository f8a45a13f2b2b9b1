"""Random number generators by name: data of ``hw_profiles/generators/rng.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

from bnnsim.cost.hardware import Constant
from bnnsim.cost.profile_fields import Fields
from bnnsim.cost.profile_yaml import profile_folder, read_yaml
from bnnsim.errors import ProfileError

SCHEMA = "bnnsim/generators/1"


@lru_cache(maxsize=1)
def generators() -> Mapping[str, Constant]:
    """Return joules per random bit of every packaged generator, by name.

    Raises
    ------
    ProfileError
        If the packaged file breaks a rule; all problems at once.
    """
    path = profile_folder() / "generators" / "rng.yaml"
    raw = read_yaml(path)
    problems: list[str] = []
    listed = Fields(raw.get("sources"), f"{path}: sources", problems, {})
    cites = {key: listed.child(key).text("cite") for key in listed.raw}
    top = Fields(raw, str(path), problems, cites)
    top.known.add("sources")
    top.text("schema", choices=(SCHEMA,))
    entries = top.child("generators")
    found = {}
    for name in entries.raw:
        entry = entries.child(name)
        found[name] = entry.constant("energy", "J/randbit", "rng.energy")
        entry.close()
    top.close()
    if problems:
        raise ProfileError("\n".join(problems))
    return MappingProxyType(found)
