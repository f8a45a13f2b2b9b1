"""Strict reading of a profile's YAML: small, no aliases, no duplicate keys, ``extends`` merged."""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from bnnsim.errors import ProfileError, message, nearest
from bnnsim.graph.io import read_limited

MAX_BYTES = 1_000_000
MAX_DEPTH = 8
NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}\Z")
MERGED = ("node", "array", "pipeline", "kernels", "datapath", "actions", "sources", "static")


TWINS = "validation"  # folder of profiles that only published points ask for: not listed


class _StrictLoader(yaml.SafeLoader):  # type: ignore[misc]
    """A safe loader that refuses aliases, tags, duplicate keys and keys that are not text."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if self.check_event(yaml.AliasEvent):
            raise yaml.MarkedYAMLError(None, None, "an alias is not allowed", event.start_mark)
        if event.tag is not None:
            problem = f"a tag is not allowed ({event.tag})"
            raise yaml.MarkedYAMLError(None, None, problem, event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                problem = f"key {key!r} is not text"
                raise yaml.MarkedYAMLError(None, None, problem, key_node.start_mark)
            if key in seen:
                problem = f"key {key!r} appears twice"
                raise yaml.MarkedYAMLError(None, None, problem, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep=deep)


def read_yaml(path: Path, what: str = "profile") -> dict[str, Any]:
    """Return the mapping in the YAML file of a profile, or of ``what`` else.

    Raises
    ------
    ProfileError
        If the file is missing, larger than 1 MB, malformed, or no mapping.
    """
    text = read_limited(path, MAX_BYTES, what, ProfileError)
    try:
        raw = deepcopy(_parsed(text))
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise ProfileError(f"{path}: not readable as YAML: {_where(error)}.") from None
    if not isinstance(raw, dict):
        rule = f"a mapping that begins with 'schema: bnnsim/{what}/1'"
        raise ProfileError(message(str(path), type(raw).__name__, rule))
    return raw


def yaml_lines(path: Path) -> dict[str, int]:
    """Return the line of every place of a file that `read_yaml` takes, as in ``points[2].mode``."""
    found: dict[str, int] = {}
    text = read_limited(path, MAX_BYTES, "YAML file", ProfileError)
    below = [("", yaml.compose(text, Loader=_StrictLoader))]
    while below:
        place, node = below.pop()
        found.setdefault(place, node.start_mark.line + 1)
        if isinstance(node, yaml.SequenceNode):
            below += [(f"{place}[{i}]", item) for i, item in enumerate(node.value)]
        elif isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                name = f"{place}.{key.value}" if place else key.value
                found[name] = key.start_mark.line + 1
                below.append((name, value))
    return found


@lru_cache(maxsize=64)
def _parsed(text: str) -> Any:
    """Return the plain data in a text, parsed once: that takes longer than an estimate."""
    # _StrictLoader is a SafeLoader: only plain data can come out of it.
    return yaml.load(text, Loader=_StrictLoader)


def _where(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem and error.problem_mark:
        return f"{error.problem}, line {error.problem_mark.line + 1}"
    if isinstance(error, yaml.reader.ReaderError):
        return f"{str(error).splitlines()[0]}, position {error.position}"
    if isinstance(error, RecursionError):
        return "nested too deep"
    return (str(error) or type(error).__name__).splitlines()[0]


def profile_folder() -> Path:
    """Return the folder of the packaged profiles, installed or in a source tree."""
    from importlib.resources import files

    try:
        return Path(str(files("bnnsim.hw_profiles")))
    except ModuleNotFoundError:
        return Path(__file__).resolve().parents[2] / "hw_profiles"


def list_profiles() -> tuple[str, ...]:
    """Return the names of the packaged profiles, sorted."""
    return tuple(sorted(path.stem for path in profile_folder().glob("*.yaml")))


def find_profile(name: str | Path) -> Path:
    """Return the file of a packaged profile, or the path itself if ``name`` is one.

    Raises
    ------
    ProfileError
        If there is no such profile; the message names the nearest.
    """
    text = str(name)
    if isinstance(name, Path) or text.endswith((".yaml", ".yml")) or "/" in text:
        return Path(text)
    known = list_profiles()
    twin = profile_folder() / TWINS / f"{text}.yaml"
    if text not in known and NAME.match(text) and twin.exists():
        return twin
    if text not in known:
        rule = f"one of {', '.join(known)}, or the path of a .yaml file"
        raise ProfileError(message("profile", text, rule, nearest(text, known)))
    return profile_folder() / f"{text}.yaml"


def read_profile(path: Path) -> dict[str, Any]:
    """Return the raw profile in ``path`` with everything that it extends merged in.

    ``node``, ``array``, ``pipeline``, ``kernels``, ``datapath``, ``actions``, ``sources`` and
    ``static`` are merged key by key, an entry as a whole; any other key replaces the one below.
    """
    merged = dict(read_steps(path)[-1][2])
    merged.pop("extends", None)
    return merged


def read_steps(path: Path) -> list[tuple[str, Mapping[str, Any], Mapping[str, Any]]]:
    """Return (name, own keys, merged keys) by file, from the end of ``extends`` to ``path``."""
    layers, seen = [read_yaml(path)], [path.resolve()]
    while layers[-1].get("extends") is not None:
        base = _base_path(seen[-1], layers[-1]["extends"])
        if base in seen:
            chain = " -> ".join(p.stem for p in (*seen, base))
            raise ProfileError(message(f"{path}: extends", chain, "a chain without a cycle"))
        if len(seen) >= MAX_DEPTH:
            raise ProfileError(message(f"{path}: extends", len(seen), f"at most {MAX_DEPTH} files"))
        layers.append(read_yaml(base))
        seen.append(base)
    steps: list[tuple[str, Mapping[str, Any], Mapping[str, Any]]] = []
    merged: dict[str, Any] = {}
    for layer, file in zip(reversed(layers), reversed(seen), strict=True):
        merged = _merge(merged, layer)
        steps.append((file.stem, layer, merged))
    return steps


def _base_path(path: Path, name: object) -> Path:
    where = f"{path}: extends"
    if not isinstance(name, str) or not NAME.match(name):
        rule = "the name of a profile (a to z, 0 to 9, '.', '_', '-')"
        raise ProfileError(message(where, name, rule))
    beside = path.parent / f"{name}.yaml"
    if beside.exists() and beside.resolve() != path:
        return beside.resolve()
    if name == path.stem:
        raise ProfileError(message(where, name, "another profile than itself"))
    return find_profile(name).resolve()


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = {**base, **over}
    for key in MERGED:
        below, above = base.get(key), over.get(key)
        if isinstance(below, dict) and isinstance(above, dict):
            merged[key] = {**below, **above}
    return merged
