"""The small schema checker agrees with the full one, and its messages say where and what."""

from __future__ import annotations

import copy
import json
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from report.results import compare, estimate

from bnnsim.errors import InputError
from bnnsim.report.check import KEYWORDS, KINDS, SHOWN, checked, kind_of, load_schema, violations

READ = SHOWN
NAMES = sorted(p.name.split(".")[0] for p in files("bnnsim").joinpath("schemas").iterdir())


def keywords(schema: Any) -> set[str]:
    """Return every keyword that a schema uses."""
    if not isinstance(schema, dict):
        return set()
    found = set(schema)
    for key, value in schema.items():
        if key in ("properties", "$defs"):
            found |= {k for item in value.values() for k in keywords(item)}
        elif key in ("items", "additionalProperties"):
            found |= keywords(value)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_schemas_are_schemas(name):
    jsonschema.Draft202012Validator.check_schema(load_schema(name))


@pytest.mark.parametrize("name", READ)
def test_checker_knows_every_keyword_of_what_it_reads(name):
    assert keywords(load_schema(name)) <= KEYWORDS


@pytest.mark.parametrize("result", [estimate(), compare("float32", "binary")])
def test_samples_are_what_both_checkers_accept(result):
    name = "compare" if "columns" in result else "estimate"
    jsonschema.validate(result, load_schema(name))
    assert checked(result, where="r.json") is result


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path to every value inside a JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    found = [path] if path else []
    for key, item in inside:
        deeper = isinstance(item, dict | list)
        found += places(item, (*path, key)) if deeper else [(*path, key)]
    return found


SAMPLE = estimate(layers=1)
PLACES = places(SAMPLE)
JUNK = st.sampled_from([None, True, -1, 0, 0.5, "", "x", [], {}, [1], {"a": 1}])


@given(st.sampled_from(PLACES), JUNK, st.booleans())
def test_checker_agrees_with_the_full_one_on_damaged_results(path, junk, remove):
    damaged = copy.deepcopy(SAMPLE)
    target = damaged
    for key in path[:-1]:
        target = target[key]
    if remove:
        del target[path[-1]]
    else:
        target[path[-1]] = junk
    full = jsonschema.Draft202012Validator(load_schema("estimate")).is_valid(damaged)
    ours = not list(violations(damaged, load_schema("estimate"), "r"))
    assert ours == full


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"batch": 0}, r"r.json: batch: got 0, expected at least 1\."),
        ({"layers": [{}]}, r"r.json: layers\[0\]: got \"no key 'name'\""),
        ({"mode": 3}, r"r.json: mode: got 'int', expected string\."),
        ({"surprise": 1}, r"got 'the key surprise', expected only schema, model"),
        ({"schema": 2}, r"r.json: schema: got 'int', expected 1\."),
    ],
)
def test_messages_name_place_value_and_rule(change, text):
    with pytest.raises(InputError, match=text):
        checked(estimate(layers=1) | change, where="r.json")


@pytest.mark.parametrize("result", [None, 3, "x", [], {}, {"columns": []}, {"columns": [1]}])
def test_other_json_is_refused(result):
    with pytest.raises(InputError, match=r"^r\.json"):
        checked(result, where="r.json")


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_is_told_by_its_keys_and_refused_by_name(kind):
    found = dict.fromkeys(KINDS[kind])
    assert kind_of(found) == kind
    text = "the result of" if kind not in SHOWN else "no key"
    with pytest.raises(InputError, match=text):
        checked(found, where="r.json")


@pytest.mark.parametrize("name", sorted({k.split()[0] for k in KINDS} - {"profiles"}))
def test_results_have_the_keys_that_tell_them(name):
    wanted = [keys for kind, keys in KINDS.items() if kind.split()[0] == name]
    assert any(keys <= set(load_schema(name)["required"]) for keys in wanted)
    whole = dict.fromkeys(load_schema(name)["required"])
    assert kind_of(whole).split()[0] == name


def test_at_most_ten_problems_are_listed():
    with pytest.raises(InputError) as caught:
        checked(estimate() | {"layers": [{}] * 50}, where="r.json")
    assert len(str(caught.value).splitlines()) == 10


def test_huge_and_missing_numbers_are_refused():
    for value in (float("nan"), float("inf"), 10**400):
        result = estimate()
        result["totals"]["power_w"]["value"] = value
        with pytest.raises(InputError, match="power_w: value"):
            checked(result, where="r.json")


def test_sample_survives_json():
    assert json.loads(json.dumps(SAMPLE)) == SAMPLE
