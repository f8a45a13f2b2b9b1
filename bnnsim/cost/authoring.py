"""A profile to start from: commented YAML that extends another one and shows all its values.

Lines that begin with ``##`` explain; lines that begin with ``#`` and one space are YAML that says
what the base profile says. Taking away that ``# `` changes nothing until the value is changed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from bnnsim.cost.hardware import Constant, HardwareProfile
from bnnsim.cost.profile import SCHEMA, load_profile
from bnnsim.cost.profile_keys import MEANINGS, SECTIONS
from bnnsim.cost.profile_yaml import MERGED, NAME, find_profile, list_profiles, read_profile
from bnnsim.errors import ProfileError, message
from bnnsim.units import format_si

_ACTIVE = ("schema", "name", "extends", "description")
_OPEN = ("node", "array", "pipeline", "kernels", "kernels.tile", "kernels.macs",
         "kernels.depthwise", "kernels.operations", "kernels.energies", "array.unroll",
         "array.ops_per_pe", "datapath", "actions", "static", "sources", "overhead", "io", "rng",
         "structural")  # fmt: skip
_NOTE = 34  # column of the notes behind values


def profile_text(name: str, base: str | Path, folder: str | Path = ".") -> str:
    """Return the YAML of a new profile that equals ``base`` in all but its name.

    Parameters
    ----------
    name : str
        Of the new profile: a to z, 0 to 9, '.', '_', '-', and no packaged profile's.
    base : str or Path
        A packaged name, or the path of a .yaml file in ``folder``.
    folder : str or Path
        Where the new file will stand: ``extends`` looks there first.

    Raises
    ------
    ProfileError
        If the name or the base cannot be used, or the base is malformed.
    """
    _check_name(name)
    path, stem = _base(base, Path(folder))
    profile, raw = load_profile(path), read_profile(path)
    if stem == name:
        raise ProfileError(message("profile name", name, "another name than its base's"))
    lines = [*_head(name, stem, profile)]
    for section in SECTIONS:
        if section not in _ACTIVE:
            lines += ["", *_section(section, raw, profile)]
    return "\n".join(lines) + "\n"


def _check_name(name: str) -> None:
    if not NAME.match(name):
        rule = "1 to 64 of a to z, 0 to 9, '.', '_', '-', beginning with a letter or a digit"
        raise ProfileError(message("profile name", name, rule))
    if name in list_profiles():
        rule = "a name that no packaged profile has"
        raise ProfileError(message("profile name", name, rule, f"Write '{name}-2'."))


def _base(base: str | Path, folder: Path) -> tuple[Path, str]:
    """Return the file of the base and the name by which ``extends`` finds it from ``folder``."""
    path = find_profile(base)
    read_profile(path)  # a missing or malformed file is named before the rules of its place
    if str(base) == path.stem:
        hiding = folder / path.name
        if hiding.exists() and hiding.resolve() != path.resolve():
            rule = f"a base that no file beside the new one hides ({hiding} does)"
            raise ProfileError(message("--from", str(base), rule, "Choose another folder."))
        return path, path.stem
    if path.resolve().parent != folder.resolve() or path.suffix != ".yaml":
        rule = f"a packaged name, or a .yaml file in {folder}, where the new one goes"
        raise ProfileError(message("--from", str(base), rule, "Copy it there, or choose -o."))
    if not NAME.match(path.stem):
        raise ProfileError(message("--from", str(base), "a file with a plain name to extend"))
    return path, path.stem


def _head(name: str, base: str, profile: HardwareProfile) -> Iterator[str]:
    yield f"## A chip of your own, made from {base}: it passes `bnnsim profiles check` as it is and"
    yield f"## costs what {base} costs. To change a value take the '# ' from its line and from the"
    yield "## lines that it stands under (`# node:`). An entry in { }, a mapping inside a section"
    yield "## and a section marked 'as a whole' need all their lines. Every price has a unit, a"
    yield "## status, a source and a place in it; docs/authoring.md explains every key."
    yield f"schema: {SCHEMA}"
    yield f"name: {_flow(name)}"
    yield f"extends: {_flow(base)}"
    yield f"description: {_flow(f'from {base}: {profile.description}')}"


def _section(section: str, raw: Mapping[str, Any], profile: HardwareProfile) -> Iterator[str]:
    whole = section == "memories" or (section not in MERGED and isinstance(raw.get(section), dict))
    yield f"## {section}: {MEANINGS[section]}{' (as a whole)' if whole else ''}"
    if section in raw:
        yield from (f"# {line}" for line in _lines(section, raw[section], section, 0))
    elif section == "scope":
        yield f"# scope: {profile.scope}"
    else:
        yield "## (left out by the base)"
    defaults = [c for c in profile.constants() if c.derived and _of(c, section, profile)]
    for constant in defaults:
        yield f"## {_default(constant)}"


def _of(constant: Constant, section: str, profile: HardwareProfile) -> bool:
    """Whether a default belongs to this section."""
    name = constant.name
    if section == "memories":
        return any(name.startswith(f"{memory.name}.") for memory in profile.memories)
    return (section == "actions" and name in profile.actions) or name.startswith(f"{section}.")


def _default(constant: Constant) -> str:
    origin = constant.derived
    assert origin is not None  # only defaults come here
    value = format_si(constant.value_si, constant.dimension)
    return (
        f"default {constant.name}: {value}, band {constant.band:.3g}, from {origin.profile} "
        f"{origin.constant} x {origin.factor:.3g}"
    )


def _lines(key: str, value: Any, path: str, depth: int) -> Iterator[str]:
    """Return the YAML lines of one key; mappings of ``_OPEN`` and memories go one key a line."""
    pad = "  " * depth
    if path == "memories" and value:
        yield f"{pad}memories:"
        for memory in value:
            for i, (inner, item) in enumerate(memory.items()):
                start = "  - " if i == 0 else "    "
                yield _noted(f"{pad}{start}{_flow(inner)}: {_flow(item)}", f"memories[].{inner}")
    elif path in _OPEN and value:
        yield f"{pad}{_flow(key)}:"
        for inner, item in value.items():
            yield from _lines(inner, item, f"{path}.{inner}", depth + 1)
    else:
        yield _noted(f"{pad}{_flow(key)}: {_flow(value)}", path if depth else "")


def _noted(line: str, path: str) -> str:
    """Add what the key means, where there is room."""
    meaning = MEANINGS.get(path, MEANINGS.get(f"*.{path.rpartition('.')[2]}"))
    return line if meaning is None or len(line) > _NOTE else f"{line:<{_NOTE}}  # {meaning}"


def _flow(value: Any) -> str:
    """Return a value on one line of YAML."""
    text = str(yaml.safe_dump(value, default_flow_style=True, width=1 << 30, sort_keys=False,
                              allow_unicode=True))  # fmt: skip
    text = text.removesuffix("...\n").strip()
    return text if "\n" not in text else json.dumps(value)
