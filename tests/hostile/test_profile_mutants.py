"""Damaged hardware profiles: every leaf, and files that are no plain YAML."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hostile.profile_leaves import LEAVES, Leaf, holder, sound, spoilt, text
from hostile.refusals import Mutant, check_refused, each

from bnnsim.cost.profile import build_profile
from bnnsim.errors import ProfileError

LEAF = {leaf.path: leaf for leaf in LEAVES}
SPOILT = [(leaf, name, value) for leaf in LEAVES for name, value in spoilt(leaf)]
# What is missed where a leaf decides over others: without `kind` a dram is an SRAM without a size.
MISSED = {
    "memories[2].kind": "memories[2].size",
    "rng.energy": "rng.generator",
    "memories[0].points.8 KiB": "memories[0].points",
    "memories[0].points.32 KiB": "memories[0].points",
    "array.ops_per_pe.int8 x int8": "array.ops_per_pe",
}


def refused(profile) -> str:
    with pytest.raises(ProfileError) as caught:
        build_profile(profile, "chip.yaml")
    return str(caught.value)


@pytest.mark.parametrize("path", [p for p, leaf in LEAF.items() if not leaf.default])
def test_a_leaf_that_is_gone_is_missed(path):
    profile = sound()
    where, key = holder(profile, path)
    del where[key]
    assert f"chip.yaml: {MISSED.get(path, path)}: got " in refused(profile)


@pytest.mark.parametrize("path", [p for p, leaf in LEAF.items() if leaf.default])
def test_a_leaf_that_equals_its_default_may_go(path):
    profile = sound()
    where, key = holder(profile, path)
    del where[key]
    assert build_profile(profile, "chip.yaml") == build_profile(sound(), "chip.yaml")


@pytest.mark.parametrize("path", [p for p, leaf in LEAF.items() if not leaf.free])
def test_a_misspelt_key_is_named_with_the_right_one(path):
    profile = sound()
    where, key = holder(profile, path)
    where[f"{key}z"] = where.pop(key)
    line = next(x for x in refused(profile).split("\n") if f"chip.yaml: {path}z: got " in x)
    assert f"Did you mean '{key}'?" in line


@pytest.mark.parametrize(
    ("leaf", "value"),
    [(leaf, value) for leaf, _, value in SPOILT],
    ids=[f"{leaf.path} {name}" for leaf, name, _ in SPOILT],
)
def test_a_wrong_value_is_refused_where_it_stands(leaf: Leaf, value):
    profile = sound()
    where, key = holder(profile, leaf.path)
    where[key] = value
    assert f"chip.yaml: {leaf.path}: got " in refused(profile)


# --- files, through the command ------------------------------------------------------------------


def write(content: str | bytes) -> None:
    data = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    Path("chip.yaml").write_bytes(data)


def test_the_sound_profile_is_sound(bnnsim, work):
    write(text(sound()))
    assert bnnsim("profiles", "check", "chip.yaml").status == 0


@pytest.mark.parametrize("verb", ["profiles check", "profiles show", "tables", "estimate", "new"])
def test_every_verb_that_reads_a_profile_refuses_it(bnnsim, work, verb):
    profile = sound()
    profile["node"]["vdd"] = "0.9 W"
    write(text(profile))
    argv = {
        "estimate": "estimate zoo:tfc --profile chip.yaml",
        "new": "profiles new mine --from chip.yaml",
    }.get(verb, f"{verb} chip.yaml")
    said = bnnsim(*argv.split())
    check_refused(said, "chip.yaml", ("node.vdd: got '0.9 W', expected a unit of voltage",))
    assert [path.name for path in work.iterdir()] == ["chip.yaml"]


def test_all_problems_are_said_at_once(bnnsim, work):
    profile = sound()
    profile["memories"] += [{"name": f"m{i}", "kind": "tape"} for i in range(30)]
    for leaf in ("node.vdd", "node.clock"):
        where, key = holder(profile, leaf)
        where[key] = "-1"
    write(text(profile))
    said = bnnsim("profiles", "check", "chip.yaml")
    check_refused(said, "chip.yaml", ("node.vdd", "node.clock"))
    assert said.err.count(".kind: got 'tape'") == 30


TOP = "schema: bnnsim/profile/1\nname: chip\n"
LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
FILES = [
    Mutant("empty", "", ("chip.yaml: got 'NoneType', expected a mapping",)),
    Mutant("a list", "- 1\n", ("chip.yaml: got 'list', expected a mapping",)),
    Mutant("a word", "profile\n", ("chip.yaml: got 'str', expected a mapping",)),
    Mutant("two documents", f"{TOP}---\n{TOP}", ("found another document, line 3",)),
    Mutant("billion laughs", LAUGHS, ("an alias is not allowed, line 2",)),
    Mutant("an alias of itself", "a: &a [*a]\n", ("an alias is not allowed, line 1",)),
    Mutant("an alias for a price", f"{TOP}x: &p 1 pJ/op\ny: *p\n",
           ("alias is not allowed, line 4",)),
    Mutant("a merge key", f"{TOP}<<: {{kind: asic}}\n", ("tag:yaml.org,2002:merge', line 3",)),
    Mutant("a tag that runs code", f"{TOP}kind: !!python/object/apply:os.system ['id']\n",
           ("a tag is not allowed (tag:yaml.org,2002:python/object/apply:os.system), line 3",)),
    Mutant("a tag for a type", f"{TOP}kind: !!str 5\n", ("a tag is not allowed", "line 3")),
    Mutant("a tag of its own", f"{TOP}kind: !mine 5\n", ("a tag is not allowed (!mine), line 3",)),
    Mutant("a key twice", f"{TOP}kind: asic\nkind: fpga\n", ("key 'kind' appears twice, line 4",)),
    Mutant("a nested key twice", f"{TOP}node: {{vdd: 1 V, vdd: 2 V}}\n",
           ("key 'vdd' appears twice, line 3",)),
    Mutant("a key that is a number", f"{TOP}5: 6\n", ("key 5 is not text, line 3",)),
    Mutant("a key that is a list", f"{TOP}? [a]\n: 6\n", ("key ['a'] is not text, line 3",)),
    Mutant("a key that is null", f"{TOP}~: 6\n", ("key None is not text, line 3",)),
    Mutant("a tab", f"{TOP}node:\n\tvdd: 1 V\n", ("line 4",)),
    Mutant("a quote that does not end", f"{TOP}kind: 'asic\n", ("line 4",)),
    Mutant("a bracket that does not end", f"{TOP}kind: [asic\n", ("line 4",)),
    Mutant("two colons", f"{TOP}kind: asic: fpga\n", ("line 3",)),
    Mutant("nested too deep", "[" * 5_000, ("chip.yaml: not readable as YAML", "deep")),
    Mutant("maps nested too deep", "{a: " * 5_000, ("chip.yaml: not readable as YAML", "deep")),
    Mutant("bytes that are no UTF-8", TOP.encode() + b"note: \xff\xfe\n",
           ("not readable as YAML", "position 42")),
    Mutant("Latin-1", f"{TOP}kind: asíc\n".encode("latin-1"),
           ("not readable as YAML", "position 44")),
    Mutant("a byte 0", f"{TOP}kind: as\0ic\n", ("not readable as YAML", "position 44")),
    Mutant("a bell", f"{TOP}kind: as\x07ic\n", ("not readable as YAML", "position 44")),
    Mutant("a surrogate", f'{TOP}kind: "\\ud800"\n', ("chip.yaml: kind: got '\\ud800'",)),
    Mutant("a name that acts on a terminal", 'schema: bnnsim/profile/1\nname: "\\e[31m"\nkind: 3\n',
           ("chip.yaml: kind: got 3",)),
    Mutant("a key that acts on a terminal", f'{TOP}"\\e[31m": 3\n',
           ("chip.yaml: \\x1b[31m: got 3",)),
    Mutant("a directive", "%YAML 9.9\n---\na: 1\n", ("line 1",)),
    Mutant("a date that is none", f"{TOP}kind: 2024-13-45\n", ("not readable", "month must be")),
    Mutant("a number of 5000 digits", f"{TOP}kind: {'9' * 5000}\n",
           ("not readable", "5000 digits")),
    Mutant("a name of 100,000 letters", f"{TOP}kind: {'k' * 100_000}\n",
           ("chip.yaml: kind: got 'kkk",)),
    Mutant("a file of a megabyte and a byte", f"{TOP}#{' ' * 999_970}",
           ("got 'a larger file', expected at most 1000000 bytes",)),
    Mutant("memories that are a mapping", f"{TOP}memories: {{name: dram}}\n",
           ("chip.yaml: memories: got 'dict', expected a list",)),
    Mutant("a memory that is a word", f"{TOP}memories: [dram]\n",
           ("chip.yaml: memories[0]: got 'dram', expected a mapping",)),
    Mutant("sources that are a list", f"{TOP}sources: [book]\n",
           ("chip.yaml: sources: got ['book'], expected a mapping",)),
    Mutant("extends itself", f"{TOP}extends: chip\n", ("extends: got 'chip', expected another",)),
    Mutant("extends what is not there", f"{TOP}extends: cmos54\n",
           ("profile: got 'cmos54'", "Did you mean 'cmos45'?")),
    Mutant("extends a path", f"{TOP}extends: ../chip\n", ("chip.yaml: extends: got '../chip'",)),
    Mutant("extends a file", f"{TOP}extends: /etc/passwd\n", ("extends: got '/etc/passwd'",)),
    Mutant("extends a number", f"{TOP}extends: 45\n", ("chip.yaml: extends: got 45",)),
    Mutant("extends a list", f"{TOP}extends: [cmos45]\n", ("chip.yaml: extends: got ['cmos45']",)),
]  # fmt: skip


@each(FILES)
def test_files(bnnsim, work, mutant):
    write(mutant.change)
    said = bnnsim("profiles", "check", "chip.yaml")
    check_refused(said, "", mutant.says)
    assert "chip.yaml" in said.err or "profile: got 'cmos54'" in said.err
    assert len(said.err) < 10_000
    assert "\x1b" not in said.err


def test_profiles_that_extend_in_a_circle(bnnsim, work):
    for name, base in (("one", "two"), ("two", "three"), ("three", "one")):
        Path(f"{name}.yaml").write_text(f"{TOP}extends: {base}\n")
    said = bnnsim("profiles", "check", "one.yaml")
    check_refused(said, "one.yaml", ("extends: got 'one -> two -> three -> one'", "cycle"))


def test_profiles_that_extend_without_end(bnnsim, work):
    for index in range(12):
        Path(f"d{index}.yaml").write_text(f"{TOP}extends: d{index + 1}\n")
    check_refused(bnnsim("profiles", "check", "d0.yaml"), "d0.yaml", ("extends: got 8",))


SPELLINGS = {
    "as JSON": lambda _: json.dumps(sound()),
    "with a byte order mark": lambda t: b"\xef\xbb\xbf" + t.encode(),
    "as UTF-16": lambda t: t.encode("utf-16"),
    "with Windows line ends": lambda t: t.replace("\n", "\r\n"),
    "with comments and an end": lambda t: f"# mine\n---\n{t}...\n",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_other_spellings_of_one_profile_are_the_same(bnnsim, work, spelling):
    write(text(sound()))
    plain = bnnsim("profiles", "show", "chip.yaml", "--json", "-")
    write(SPELLINGS[spelling](text(sound())))
    assert bnnsim("profiles", "show", "chip.yaml", "--json", "-") == plain
    assert plain.status == 0
