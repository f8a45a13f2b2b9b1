"""The file that a sweep is written in: every problem of it at once, each with its line.

schema: bnnsim/sweep/1
models: [zoo:cifar10-convnet, net.bnn]
profiles: [cmos45]
modes: [int8, binary]                          # default: native
batches: [1, 64]                               # default: 1
set: {memories.gb.size: [64 KiB, 128 KiB]}     # values of the profile, default: as they are
points:                                        # more points, each with its own keys
  - {model: zoo:tfc, profile: pynq-z1, batch: 100}
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from itertools import product
from pathlib import Path
from typing import Any

from bnnsim.cost.estimate import MAX_BATCH
from bnnsim.cost.overrides import with_changes
from bnnsim.cost.profile_fields import Fields
from bnnsim.cost.profile_yaml import read_yaml, yaml_lines
from bnnsim.errors import BnnsimError, InputError, ProfileError
from bnnsim.passes.modes import mode_named
from bnnsim.sources import load
from bnnsim.sweep.point import Point

SCHEMA = "bnnsim/sweep/1"
MAX_POINTS = 1_000_000
_GRID = ("models", "profiles", "modes", "batches")


def read_spec(path: str | Path) -> list[Point]:
    """Return the points of a sweep, the product first, each once.

    Order: by model, mode, changed values, profile and batch, so that points which share a
    network's twin follow each other.

    Raises
    ------
    InputError
        With a line for each problem: file, line, place, value, rule, remedy.
    """
    path = Path(path)
    try:
        raw, lines = read_yaml(path, "sweep"), yaml_lines(path)
    except ProfileError as error:
        raise InputError(str(error)) from None
    problems: list[str] = []
    points = _points(Fields(raw, str(path), problems, {}), _Checks(path.parent))
    if problems:
        raise InputError("\n".join(dict.fromkeys(_placed(str(path), p, lines) for p in problems)))
    return points


def _placed(file: str, problem: str, lines: Mapping[str, int]) -> str:
    """Return the problem with the line of the longest part of its place that has one."""
    rest = problem.removeprefix(f"{file}: ")
    place = rest.partition(": got ")[0]
    while place and place not in lines:
        place = place[: max(place.rfind("."), place.rfind("["), place.rfind(": "), 0)]
    return f"{file}: line {lines.get(place, 1)}: {rest}"


class _Checks:
    """What a value is checked with, each value once."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)
        self.by_key: Mapping[str, Callable[[Any], object]] = {
            "model": lru_cache(None)(lambda name: load(Point(name, "", folder=self.folder).source)
                                     and None),
            "profile": lru_cache(None)(lambda name: with_changes(self.chip(name), {}) and None),
            "mode": mode_named,
        }  # fmt: skip

    def chip(self, name: str) -> str:
        """Return the name of a profile, or its file below the folder."""
        return Point("", name, folder=self.folder).chip

    def text(self, fields: Fields, place: str, key: str, value: object) -> bool:
        """Whether ``value`` names a model, profile or mode; notes it if not."""
        if not isinstance(value, str) or not value.strip():
            fields.note(place, value, "a text")
            return False
        try:
            self.by_key[key](value)
        except BnnsimError as error:
            said = str(error).splitlines()
            fields.problems.extend(_said(fields.path(place), value, line) for line in said)
            return False
        return True


def _said(place: str, value: object, line: str) -> str:
    return f"{place}: got {str(value)[:80]!r}: {line}"


def _points(top: Fields, checks: _Checks) -> list[Point]:
    if top.raw.get("schema") != SCHEMA:
        top.note("schema", top.raw.get("schema"), SCHEMA)
    top.known.add("schema")
    before = len(top.problems)
    found = _product(top, checks) if any(map(top.has, ("models", "profiles"))) else []
    found += _listed(top, checks)
    top.close()
    if len(top.problems) == before and not found:
        top.note("models", None, "models and profiles, or points", "Add 'models: [zoo:tfc]'.")
    return list({point.key: point for point in found}.values()) if not top.problems else []


def _product(top: Fields, checks: _Checks) -> list[Point]:
    lists = {key: _values(top, key) for key in _GRID}
    fine = {
        key: [value for i, value in enumerate(lists[key])
              if checks.text(top, f"{key}[{i}]", key.removesuffix("s"), value)]
        for key in ("models", "profiles", "modes")
    }  # fmt: skip
    for i, value in enumerate(lists["batches"]):
        _check_batch(top, f"batches[{i}]", value)
    varied = _varied(top)
    count = 1
    for values in (*lists.values(), *varied.values()):
        count *= len(values)
    if count > MAX_POINTS:
        top.note("", f"{count} points", f"at most {MAX_POINTS} points")
    _check_changes(top, fine["profiles"], varied, checks)
    if top.problems:
        return []
    changes = [dict(zip(varied, values, strict=True)) for values in product(*varied.values())]
    models, profiles, modes, batches = lists.values()
    return [
        Point(model, profile, mode, batch, change, checks.folder)
        for model, mode, change, profile, batch in product(models, modes, changes, profiles,
                                                           batches)
    ]  # fmt: skip


def _values(top: Fields, key: str) -> list[Any]:
    default: Mapping[str, list[Any]] = {"modes": ["native"], "batches": [1]}
    if not top.has(key) and key in default:
        return default[key]
    value = top.raw.get(key)
    if not isinstance(value, list) or not value:
        top.note(key, value, "a list with at least one entry", f"Write '{key}: [...]'.")
        return []
    return value


def _check_batch(fields: Fields, place: str, value: object) -> bool:
    fine = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_BATCH
    if not fine:
        fields.note(place, value, f"an integer from 1 to {MAX_BATCH}")
    return fine


def _varied(top: Fields) -> dict[str, list[Any]]:
    fields = top.child("set")
    fields.known.update(fields.raw)
    for place, values in fields.raw.items():
        if not isinstance(values, list) or not values:
            fields.note(place, values, "a list of values", "Write [64 KiB, 128 KiB].")
    return {place: v for place, v in fields.raw.items() if isinstance(v, list) and v}


def _check_changes(
    top: Fields, profiles: list[str], varied: Mapping[str, list[Any]], checks: _Checks
) -> None:
    """Try each value on each profile, the other places at their first."""
    first = {place: values[0] for place, values in varied.items()}
    for profile in profiles:
        for place, values in varied.items():
            for i, value in enumerate(values):
                where = f"set.{place}[{i}]"
                _try(top, where, checks.chip(profile), {**first, place: value}, value)


def _try(fields: Fields, where: str, chip: str, changes: Mapping[str, Any], got: object) -> None:
    try:
        with_changes(chip, changes)
    except ProfileError as error:
        fields.problems.extend(_said(fields.path(where), got, e) for e in str(error).splitlines())


def _listed(top: Fields, checks: _Checks) -> list[Point]:
    if not top.has("points"):
        return []
    listed = top.raw["points"]
    if not isinstance(listed, list):
        top.note("points", type(listed).__name__, "a list of points")
        return []
    found = [_point(Fields(item, top.path(f"points[{i}]"), top.problems, {}), checks)
             for i, item in enumerate(listed)]  # fmt: skip
    return [point for point in found if point is not None]


def _point(fields: Fields, checks: _Checks) -> Point | None:
    stated = {"mode": "native", "batch": 1, "set": {}, **fields.raw}
    fields.known.update(("model", "profile", "mode", "batch", "set"))
    fields.close()
    named = [checks.text(fields, k, k, stated.get(k)) for k in ("model", "profile", "mode")]
    fine = _check_batch(fields, "batch", stated["batch"])
    if not isinstance(stated["set"], dict):
        fields.note("set", stated["set"], "a mapping of places to values")
    elif named[1]:
        _try(fields, "set", checks.chip(stated["profile"]), stated["set"], stated["set"])
    if not (all(named) and fine and isinstance(stated["set"], dict)):
        return None
    return Point(
        stated["model"], stated["profile"], stated["mode"], stated["batch"], stated["set"],
        checks.folder,
    )  # fmt: skip
