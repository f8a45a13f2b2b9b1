"""Check a result against the JSON Schema of its verb before anything is drawn from it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from bnnsim.errors import InputError, message

_MOST_PROBLEMS = 10
_HUGE = 1e300  # also false for NaN
_TYPES: Mapping[str, Callable[[Any], bool]] = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "null": lambda v: v is None,
    "integer": lambda v: _is_number(v) and v == int(v),
    "number": lambda v: _is_number(v),
}
SHOWN = ("estimate", "compare", "simulate", "demo")
# By verb, keys that its JSON alone has together.
KINDS: Mapping[str, frozenset[str]] = {
    "demo": frozenset({"comparison"}),
    "compare": frozenset({"columns"}),
    "simulate": frozenset({"counts", "agreement"}),
    "run": frozenset({"kernels", "seconds"}),
    "verify": frozenset({"against", "equal"}),
    "lower": frozenset({"input", "layers", "output"}),
    "inspect": frozenset({"input", "layers"}),
    "tables": frozenset({"operations", "accesses"}),
    "profiles": frozenset({"profile", "constants"}),
    "profiles list": frozenset({"profiles"}),
    "zoo list": frozenset({"networks"}),
    "report": frozenset({"result", "output", "bytes"}),
    "calibrate": frozenset({"device", "output"}),
    "check": frozenset({"device", "nets", "layers"}),
    "sweep": frozenset({"spec", "points", "kept"}),
    "estimate": frozenset({"model", "profile"}),
}
KEYWORDS = {
    "$schema", "$id", "$defs", "$ref", "title", "description", "type", "const", "enum",
    "properties", "required", "additionalProperties", "items", "minItems", "minLength", "minimum",
    "exclusiveMinimum", "maximum",
}  # fmt: skip


def checked(result: Any, *, where: str) -> dict[str, Any]:
    """Return ``result`` if it is what a page can be made of.

    Parameters
    ----------
    result : JSON value
        Of `estimate`, `compare`, `simulate`, or `demo`, whose comparison is on the page.
    where : str
        The file's name, for the message.

    Raises
    ------
    InputError
        Naming the first problems: place, value and rule; or what else the file is.
    """
    kind = kind_of(result)
    if kind not in SHOWN:
        got = f"the result of {kind!r}" if kind else _brief(result)
        rule = f"the JSON of {', '.join(SHOWN[:-1])} or {SHOWN[-1]}"
        remedy = "Make one with `bnnsim estimate SOURCE --profile P --json FILE`."
        raise InputError(message(where, got, rule, remedy))
    problems = list(violations(result, load_schema(kind), where))
    compared = result
    if kind == "demo" and not problems:
        compared, where = result["comparison"], f"{where}: comparison"
        problems = list(violations(compared, load_schema("compare"), where))
    if not problems and not compared.get("columns", [compared]):
        problems = [message(f"{where}: columns", [], "at least one column")]
    if kind == "simulate" and not problems:
        problems = list(_unpredicted(result["counts"]["layers"], f"{where}: counts: layers"))
    if problems:
        raise InputError("\n".join(problems[:_MOST_PROBLEMS]))
    found: dict[str, Any] = result
    return found


def _unpredicted(layers: list[Any], where: str) -> Iterator[str]:
    """Yield a message for every count of a kernel that has none of the model beside it."""
    for index, layer in enumerate(layers):
        for what in layer["done"]:
            if what not in layer["predicted"]:
                place = f"{where}[{index}]: predicted"
                yield message(place, f"no key {what!r}", "every key of 'done' beside it")


def kind_of(result: Any) -> str:
    """Return the verb whose JSON this is, by its keys; damaged results too. Empty if of none."""
    if not isinstance(result, dict):
        return ""
    marks = (name for name, keys in KINDS.items() if keys <= result.keys())
    return next(marks, "")


@cache
def load_schema(name: str) -> dict[str, Any]:
    """Return the packaged schema of a verb."""
    text = files("bnnsim").joinpath("schemas", f"{name}.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def violations(
    value: Any, schema: Mapping[str, Any], where: str, root: Mapping[str, Any] | None = None
) -> Iterator[str]:
    """Yield a message for every rule of ``schema`` that ``value`` breaks.

    Knows the keywords in `KEYWORDS`, which is what the packaged schemas use.
    """
    root = schema if root is None else root
    if "$ref" in schema:
        target, base = _resolve(schema["$ref"], root)
        yield from violations(value, target, where, base)
        return
    kinds = schema.get("type", list(_TYPES))
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if not any(_TYPES[kind](value) for kind in kinds):
        yield message(where, _brief(value), " or ".join(kinds))
        return
    yield from _scalar(value, schema, where)
    if isinstance(value, dict):
        yield from _members(value, schema, where, root)
    if isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            yield message(where, f"{len(value)} items", f"at least {schema['minItems']}")
        for index, item in enumerate(value):
            yield from violations(item, schema.get("items", {}), f"{where}[{index}]", root)


def _resolve(ref: str, root: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return what ``#/$defs/x``, or ``estimate.schema.json#/$defs/x``, refers to, and its root."""
    file, _, path = ref.partition("#")
    base = load_schema(file.removesuffix(".schema.json")) if file else root
    target: Any = base
    for key in filter(None, path.split("/")):
        target = target[key]
    return target, base


def _scalar(value: Any, schema: Mapping[str, Any], where: str) -> Iterator[str]:
    allowed = [schema["const"]] if "const" in schema else schema.get("enum")
    if allowed is not None and value not in allowed:
        yield message(where, _brief(value), " or ".join(map(repr, allowed)))
    if isinstance(value, str) and len(value) < schema.get("minLength", 0):
        yield message(where, value, f"at least {schema['minLength']} characters")
    if not _is_number(value):
        return
    if value < schema.get("minimum", value):
        yield message(where, value, f"at least {schema['minimum']}")
    if value > schema.get("maximum", value):
        yield message(where, value, f"at most {schema['maximum']}")
    if "exclusiveMinimum" in schema and value <= schema["exclusiveMinimum"]:
        yield message(where, value, f"above {schema['exclusiveMinimum']}")


def _members(
    value: Mapping[str, Any], schema: Mapping[str, Any], where: str, root: Mapping[str, Any]
) -> Iterator[str]:
    known = schema.get("properties", {})
    for key in schema.get("required", ()):
        if key not in value:
            yield message(where, "no key " + repr(key), "every key of the result's schema")
    extra = schema.get("additionalProperties", True)
    for key, item in value.items():
        rule = known.get(key, extra)
        if rule is False:
            yield message(where, f"the key {_brief(key)}", f"only {', '.join(known)}")
        elif rule is not True:
            yield from violations(item, rule, f"{where}: {_brief(key)}", root)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _HUGE


def _brief(value: Any) -> str:
    text = value if isinstance(value, str) else type(value).__name__
    return text if len(text) <= 60 else f"{text[:57]}..."
