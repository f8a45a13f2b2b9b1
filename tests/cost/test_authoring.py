"""A new profile equals its base, shows all its values, and can be changed line by line."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from bnnsim.cost.authoring import profile_text
from bnnsim.cost.estimate import estimate
from bnnsim.cost.profile import ACTIONS, find_profile, list_profiles, load_profile
from bnnsim.cost.profile_keys import KEYS, PROVENANCE_KEYS, SECTIONS
from bnnsim.cost.profile_yaml import read_profile
from bnnsim.errors import ProfileError
from bnnsim.zoo import build

REPOSITORY = Path(__file__).resolve().parents[2]
SCHEMA = json.loads((REPOSITORY / "bnnsim" / "schemas" / "profile.schema.json").read_text())
GUIDE = REPOSITORY / "docs" / "authoring.md"


def written(text: str, folder: Path, name: str = "mine") -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def uncommented(text: str) -> str:
    return re.sub(r"^# ", "", text, flags=re.MULTILINE)


def like(profile, base):
    return replace(profile, name=base.name, description=base.description) == base


@pytest.mark.parametrize("base", list_profiles())
def test_a_new_profile_equals_its_base(base, tmp_path):
    text = profile_text("mine", base, tmp_path)
    new = load_profile(written(text, tmp_path))
    assert new.name == "mine"
    assert like(new, load_profile(base))


@pytest.mark.parametrize("base", list_profiles())
def test_every_value_of_the_base_is_there_to_take(base, tmp_path):
    text = uncommented(profile_text("mine", base, tmp_path))
    path = written(text, tmp_path)
    assert like(load_profile(path), load_profile(base))
    raw = read_profile(path)
    known = {"extends", *read_profile(find_profile(base)), "scope"}
    assert set(raw) | {"extends"} == known
    assert [e.message for e in Draft202012Validator(SCHEMA).iter_errors(raw)] == []
    # All is in the file itself: without the base it says the same.
    alone = written(text.replace(f"extends: {base}\n", ""), tmp_path)
    assert like(load_profile(alone), load_profile(base))


@pytest.mark.parametrize("base", list_profiles())
def test_every_section_is_named_and_explained(base, tmp_path):
    text = profile_text("mine", base, tmp_path)
    for section in SECTIONS:
        assert re.search(rf"^(## )?{section}: ", text, re.MULTILINE), section
    if not load_profile(base).actions:
        return
    for constant in load_profile(base).constants():
        if constant.derived is not None:
            assert f"## default {constant.name}: " in text


@pytest.mark.parametrize("name", ["1", "1e5", "true", "null", "0x1f", "a-b.c_d", "x" * 64])
def test_a_name_that_looks_like_something_else_stays_a_name(name, tmp_path):
    first = written(profile_text(name, "cmos45", tmp_path), tmp_path, name)
    assert load_profile(first).name == name
    second = written(profile_text("mine", first, tmp_path), tmp_path)
    assert like(load_profile(second), load_profile("cmos45"))


def test_one_line_and_its_section_change_one_value(tmp_path):
    text = profile_text("mine", "asic-example", tmp_path)
    for line in ("# node:\n", "#   vdd: 0.9 V"):
        assert line in text
        text = text.replace(line, line[2:])
    text = text.replace("  vdd: 0.9 V", "  vdd: 0.8 V")
    new, base = load_profile(written(text, tmp_path)), load_profile("asic-example")
    assert (new.vdd_v, new.clock_hz) == (0.8, base.clock_hz)
    assert new.actions["add.bit"].value_si < base.actions["add.bit"].value_si  # derived anew


def test_a_section_as_a_whole_says_so(tmp_path):
    text = profile_text("mine", "cmos45", tmp_path)
    whole = re.findall(r"^## (\w+): .*\(as a whole\)$", text, re.MULTILINE)
    assert whole == ["overhead", "memories", "rng"]


def test_a_file_beside_the_new_one_may_be_the_base(tmp_path):
    first = written(profile_text("mine", "cmos45", tmp_path), tmp_path)
    second = written(profile_text("yours", first, tmp_path), tmp_path, "yours")
    assert like(load_profile(second), load_profile("cmos45"))
    with pytest.raises(ProfileError, match=r"--from: got .*mine\.yaml', expected a packaged name"):
        profile_text("yours", first, tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("name", "base", "said"),
    [
        ("Mine", "cmos45", "profile name: got 'Mine', expected 1 to 64 of a to z"),
        ("../x", "cmos45", "profile name: got '../x'"),
        ("a\nb", "cmos45", "profile name: got 'a\\nb'"),
        ("", "cmos45", "profile name: got ''"),
        ("cmos45", "cmos45", "a name that no packaged profile has. Write 'cmos45-2'."),
        ("mine", "cmos54", "Did you mean 'cmos45"),
        ("mine", "nowhere.yaml", "nowhere.yaml: got 'No such file or directory'"),
    ],
)
def test_what_cannot_be_made_is_refused(name, base, said, tmp_path):
    with pytest.raises(ProfileError, match=re.escape(said)):
        profile_text(name, base, tmp_path)


def test_a_base_that_a_local_file_hides_is_refused(tmp_path):
    written("name: other\n", tmp_path, "cmos45")
    with pytest.raises(ProfileError, match="a base that no file beside the new one hides"):
        profile_text("mine", "cmos45", tmp_path)


def test_a_base_with_odd_texts_survives(tmp_path):
    cite = "a: b # c \"d\" 'e' {f} — ü\\n"
    odd = f"{cite}\nsecond line: [x]"
    text = (
        "name: odd\nextends: cmos45\ndescription: " + json.dumps(odd) + "\n"
        "sources: {odd: {cite: " + json.dumps(odd) + ", kind: choice}}\n"
        "overhead: {factor: 2, status: assumed, source: odd, at: " + json.dumps(cite) + "}\n"
    )
    base = written(text, tmp_path, "odd")
    new = written(uncommented(profile_text("mine", base, tmp_path)), tmp_path)
    assert like(load_profile(new), load_profile(base))


def schema_keys(schema: Any, at: str = "") -> Iterator[str]:
    """Yield every key of the schema, provenance as ``*.key``, operators and types as ``*``."""
    provenance = {key.path.removeprefix("*.") for key in PROVENANCE_KEYS}
    for part in (p for word in ("anyOf", "oneOf", "allOf") for p in schema.get(word, [])):
        yield from schema_keys(part, at)
    properties = schema.get("properties", {})
    is_price = {"status", "source", "at"} <= set(properties)
    for key, value in properties.items():
        if is_price and key in provenance:
            yield f"*.{key}"
            continue
        starred = at in ("actions", "kernels.operations")
        path = f"{at}.*" if starred else f"{at}.{key}" if at else key
        yield path
        yield from schema_keys(value, path)
    if isinstance(schema.get("items"), dict):
        yield from schema_keys(schema["items"], f"{at}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield f"{at}.*"
        yield from schema_keys(schema["additionalProperties"], f"{at}.*")


def test_every_key_of_the_schema_is_explained_and_no_other():
    explained = [key.path for key in KEYS]
    assert len(set(explained)) == len(explained)
    assert set(explained) == set(schema_keys(SCHEMA))


def test_required_keys_are_those_of_the_schema():
    by_path = {key.path: key.default for key in KEYS}
    for key in SCHEMA["required"]:
        assert by_path[key] == "required", key
    for key in ("rows", "columns", "ops_per_pe"):
        assert by_path[f"array.{key}"] == "required"
    assert {"sources", "actions", "overhead"}.isdisjoint(SCHEMA["required"])


def test_the_guide_prints_every_key_as_it_stands_in_the_table():
    text = GUIDE.read_text(encoding="utf-8").split("<!-- keys -->")[1].split("<!-- end -->")[0]
    rows = [line.strip("|").split(" | ") for line in text.strip().splitlines()[2:]]
    shown = [tuple(cell.strip() for cell in row) for row in rows]
    assert shown == [(f"`{k.path}`", k.form, k.default, k.meaning) for k in KEYS]


def test_the_guide_names_every_operator():
    text = GUIDE.read_text(encoding="utf-8")
    assert [name for name in ACTIONS if f"`{name}`" not in text] == []


def test_the_chip_of_the_guide_works_as_printed(tmp_path):
    text = GUIDE.read_text(encoding="utf-8")
    block = re.search(r"```yaml\n(.*?)```", text, re.DOTALL)[1]
    assert len(block.splitlines()) <= 20
    path = written(block, tmp_path, "mychip")
    profile = load_profile(path)
    assert profile.name == "mychip"
    assert Draft202012Validator(SCHEMA).is_valid(read_profile(path))
    report = estimate(build("cnv"), profile)
    assert report.unpriced == ()
    value, low, high = (report.energy.to_dict()[k] * 1e6 for k in ("value", "low", "high"))
    assert 0 < low < value < high
    said = f"takes {value:.3g} uJ per image, between {low:.3g} and {high:.3g} uJ"
    if os.environ.get("BNNSIM_UPDATE_DOCS") == "1":
        found = r"takes \S+ uJ per image, between \S+ and \S+ uJ"
        GUIDE.write_text(re.sub(found, said, text), encoding="utf-8")
        return
    assert said in text, f"{said}: BNNSIM_UPDATE_DOCS=1 writes it anew"
