"""Profiles: every shipped number has a unit, a source and a place; bad files say what is bad."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft202012Validator

from bnnsim.cost.hardware import STATUSES
from bnnsim.cost.profile import find_profile, list_profiles, load_profile
from bnnsim.cost.profile_yaml import MAX_BYTES, MAX_DEPTH, read_profile
from bnnsim.errors import ProfileError

REPOSITORY = Path(__file__).resolve().parent.parent
SCHEMA = json.loads((REPOSITORY / "bnnsim" / "schemas" / "profile.schema.json").read_text())


@pytest.fixture(scope="module")
def schema():
    Draft202012Validator.check_schema(SCHEMA)
    return Draft202012Validator(SCHEMA)


def test_the_shipped_profiles_are_listed():
    expected = {"asic-example", "cmos45", "cmos45-arith", "cmos45-dram", *CHIPS}
    assert expected <= set(list_profiles())


@pytest.mark.parametrize("name", list_profiles())
def test_every_shipped_constant_has_provenance(name):
    profile = load_profile(name)
    assert profile.name == name
    for constant in profile.constants():
        assert constant.value_si > 0, constant
        assert constant.dimension, constant
        assert constant.band >= 1, constant
        assert constant.status in STATUSES, constant
        assert constant.source, constant
        assert constant.at, constant
    names = [c.name for c in profile.constants()]
    assert len(set(names)) == len(names)


TWINS = sorted((REPOSITORY / "hw_profiles" / "validation").glob("*.yaml"))


@pytest.mark.parametrize("name", [*list_profiles(), *(p.stem for p in TWINS if p.stem != "points")])
def test_what_was_recalled_and_not_read_is_assumed(name):
    for constant in load_profile(name).constants():
        if "recalled" in f"{constant.source} {constant.at}":
            assert constant.status == "assumed", constant
            assert constant.band >= 1.6, constant


CHIPS = ("binareye", "eyeriss", "yodann")


@pytest.mark.parametrize("name", CHIPS)
def test_a_real_chip_names_a_source_behind_every_number_of_its_machine(name):
    path = find_profile(name)
    profile, raw = load_profile(name), read_profile(path)
    assert profile.calibrated_on == ()
    assert "actions" not in raw
    assert "overhead" not in raw
    said = (*raw["sources"], "assumed", "derived")
    numbers = re.compile(
        r"(process|vdd|clock|rows|columns|accumulators|size|word|burst|ports|banks): .*\d"
    )
    for line in path.read_text().splitlines():
        fact, _, comment = line.partition("#")
        if numbers.search(fact) or " x " in fact.partition(":")[0]:
            assert comment.strip().startswith(said), line
    # A price that the file states itself is a guess about what is outside the published scope.
    for constant in profile.constants():
        stated = constant.derived is None and constant.name != "overhead"
        assert not stated or (constant.status, constant.band >= 3) == ("assumed", True), constant


@pytest.mark.parametrize("name", list_profiles())
def test_every_shipped_profile_fits_the_schema(name, schema):
    assert [e.message for e in schema.iter_errors(read_profile(find_profile(name)))] == []


def test_the_example_comments_every_line():
    lines = find_profile("asic-example").read_text().splitlines()
    assert [line for line in lines if line and "#" not in line] == []


GOOD = """
schema: bnnsim/profile/1
name: mine
kind: asic
node: {process: 45 nm, vdd: 0.9 V, clock: 500 MHz}
sources: {me: {cite: "my bench", kind: measured}}
array: {rows: 4, columns: 8, ops_per_pe: {"bit x bit": 64, "int8 x int8": 1}}
overhead: {factor: 2, status: measured, source: me, at: table 1}
actions:
  add.int32: {energy: 0.1 pJ/op, status: measured, source: me, at: table 1}
memories:
  - {name: gb, size: 64 KiB, word: 64 bit, read: 10 pJ/access, status: measured, source: me, at: t}
"""


@pytest.fixture
def write(tmp_path):
    def writer(text, name="mine"):
        path = tmp_path / f"{name}.yaml"
        path.write_text(text)
        return path

    return writer


def change(old, new, text=GOOD):
    assert old in text
    return text.replace(old, new)


def test_a_small_profile_loads_with_defaults(write):
    profile = load_profile(write(GOOD))
    gb = profile.memories[0]
    assert gb.read.value_si == pytest.approx(10e-12)
    assert gb.write.value_si == gb.read.value_si
    assert gb.size_bytes == 65536
    assert gb.read.band == 1.1  # the default of `measured`
    assert gb.holds == ("weights", "activations")
    assert profile.structural_band == 1.5
    assert profile.datapath.bit_mac == "tree"


BAD = [
    ("energy: 0.1 pJ/op", "energy: 0.1 pJ", "actions.add.int32.energy: got '0.1 pJ', expected "
     "a unit of energy per op. Write '0.1 pJ/op'."),
    ("energy: 0.1 pJ/op", "energy: -0.1 pJ/op", "expected a value that is not negative"),
    ("energy: 0.1 pJ/op", "energy: 0.1", "got 0.1, expected a number and a unit"),
    ("energy: 0.1 pJ/op", "enrgy: 0.1 pJ/op", "Did you mean 'energy'?"),
    ("add.int32", "add.int33", "Did you mean 'add.int32'?"),
    ("kind: asic", "kind: asik", "Did you mean 'asic'?"),
    ("kind: asic\n", "", "kind: got None, expected one of asic"),
    ("schema: bnnsim/profile/1", "schema: bnnsim/profile/9", "expected bnnsim/profile/1"),
    ("rows: 4", "rows: 0", "array.rows: got 0, expected an integer of at least 1"),
    ("rows: 4", "rows: 4.5", "expected an integer"),
    ("rows: 4", "rows: true", "expected an integer"),
    ("rows: 4", "rows: 10000000000000000000000000000", "expected an integer"),
    ("factor: 2", "factor: .inf", "expected a finite number"),
    ("factor: 2", "factor: 1" + "0" * 400, "expected a finite number"),
    ("factor: 2", "factor: .nan", "expected a finite number"),
    ("factor: 2", "factor: 0.5", "expected a finite number of at least 1"),
    ("factor: 2", "factor: 2, band: 0.9", "overhead.band: got 0.9"),
    ("source: me, at: table 1}\nactions", "source: me}\nactions", "overhead.at: got None"),
    ("factor: 2, status: measured, ", "factor: 2, ", "overhead.status: got None"),
    ("status: measured, source: me, at: table 1}\nactions", "status: guessed, source: me, at: t}\n"
     "actions", "got 'guessed', expected one of measured"),
    ("factor: 2, status: measured, source: me", "factor: 2, status: measured, source: mee",
     "Did you mean 'me'?"),
    ("size: 64 KiB", "size: 64 KB", "KiB (1024 bytes)"),
    ("size: 64 KiB", "size: 0 KiB", "a positive whole number of bits"),
    ("size: 64 KiB", "size: 64 pJ", "a positive whole number of bits"),
    ("size: 64 KiB, ", "", "memories[0].size: got None"),
    ("read: 10 pJ/access", "read: 10 pJ/word64", "expected a unit of energy per access"),
    ("name: gb, ", "name: gb, ports: 3X, ", "memories[0].ports: got '3X'"),
    ("name: gb, ", "name: gb, holds: [wieghts], ", "Did you mean 'weights'?"),
    ("name: gb, ", "name: gb, holds: [weights], ", "a memory that holds activations"),
    ('"bit x bit": 64', '"bit by bit": 64', "'act x weight'"),
    ('"bit x bit": 64', '"bits x bit": 64', "bits x bit: got 'bits x bit', expected "
     "a key 'act x weight' of two dtypes among bit, ternary, intN, uintN, bipolarN, float16, "
     "bfloat16, float32. Did you mean 'bit'?"),
    ('"bit x bit": 64', '"bit x int65": 64', "ops_per_pe.bit x int65"),
    ('"bit x bit": 64', '"bit x bipolar1": 64', "ops_per_pe.bit x bipolar1"),
    ("actions:", "datapath: {accumulator: {default: int32, \"int8 x bits\": int16}}\nactions:",
     "datapath.accumulator.int8 x bits: got 'int8 x bits', expected a key 'act x weight'"),
    ("add.int32:", "add.int23:", "Did you mean 'add.int32'?"),
    ('"bit x bit": 64', '"bit x bit": 0', "a rate above 0"),
    ("ops_per_pe", "ops_per_pea", "Did you mean 'ops_per_pe'?"),
    ("cite: \"my bench\"", "cite: 3", "sources.me.cite: got 3, expected a text"),
    ("vdd: 0.9 V", "vdd: 900", "node.vdd"),
    ("actions:", "extra: 1\nactions:", "extra: got 1, expected a key among"),
    ("memories:\n  - {", "memories: {a: {", "a list, nearest to the array first"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "said"), BAD)
def test_a_bad_profile_says_file_path_value_and_remedy(old, new, said, write):
    text = change(old, new)
    text = text.replace("at: t}\n", "at: t}}\n") if "memories: {a" in text else text
    path = write(text)
    with pytest.raises(ProfileError, match=re.escape(said)) as caught:
        load_profile(path)
    assert str(path) in str(caught.value)


SCHEMA_KNOWS = [
    case
    for case in BAD
    if case[2]
    not in (
        "Did you mean 'me'?",
        "a memory that holds activations",
        "a positive whole number of bits",
        "expected a finite number",
    )
    and "1000000" not in case[1]
]  # what a JSON Schema cannot tell


@pytest.mark.parametrize(("old", "new", "said"), SCHEMA_KNOWS)
def test_the_schema_refuses_what_the_loader_refuses(old, new, said, schema):
    text = change(old, new)
    text = text.replace("at: t}\n", "at: t}}\n") if "memories: {a" in text else text
    assert not schema.is_valid(yaml.safe_load(text))


def test_the_schema_takes_a_good_profile(schema):
    assert schema.is_valid(yaml.safe_load(GOOD))


STREAM = """
schema: bnnsim/profile/1
name: mine
kind: fpga
node: {process: 28 nm, vdd: 1 V, clock: 100 MHz}
latency_model: pipeline
pipeline: {bus: 64 bit, weight_bits: 2, activation_bits: 8, lanes: 100, memory: 4 KiB}
"""
BAD_STREAM = [
    ("bus: 64 bit, ", "", "pipeline.bus: got None, expected a number of bits"),
    ("bus: 64 bit", "bus: 64 pJ", "pipeline.bus: got '64 pJ'"),
    ("lanes: 100, ", "", "pipeline.lanes: got None, expected an integer of at least 1"),
    ("lanes: 100", "lanse: 100", "Did you mean 'lanes'?"),
    ("memory: 4 KiB", "memory: 0 KiB", "pipeline.memory: got '0 KiB'"),
    ("bus: 64 bit", "bus: 64 bit, encode: hots", "Did you mean 'host'?"),
    ("pipeline: {", "piepline: {", "pipeline: got None, expected the stages' bus"),
    (
        "pipeline: {",
        "array: {rows: 1}\npipeline: {",
        "array: got {'rows': 1}, expected a key among",
    ),
    ("pipeline: {", "memories: []\npipeline: {", "memories: got [], expected a key among"),
    ("kind: fpga", "kind: fpga\nscope: arithmetic", "scope: got 'arithmetic', expected chip"),
    ("latency_model: pipeline\n", "", "pipeline: got {'bus': '64 bit'"),
    ("latency_model: pipeline", "latency_model: pipe", "expected one of array, pipeline"),
]


def test_a_streaming_profile_needs_no_array(write, schema):
    profile = load_profile(write(STREAM))
    assert profile.pipeline.memory_bytes == 4096
    assert (profile.pipeline.encode, profile.pipeline.operands) == ("host", "parallel")
    assert profile.constants() == ()
    assert schema.is_valid(yaml.safe_load(STREAM))
    write(STREAM, "base")
    child = "name: child\nextends: base\npipeline: {lanes: 7}\n"
    assert load_profile(write(child, "child")).pipeline.lanes == 7


@pytest.mark.parametrize(("old", "new", "said"), BAD_STREAM)
def test_a_bad_streaming_profile_says_what_is_bad(old, new, said, write, schema):
    text = change(old, new, STREAM)
    with pytest.raises(ProfileError, match=re.escape(said)):
        load_profile(write(text))
    assert said.startswith("pipeline.memory: got '0") or not schema.is_valid(yaml.safe_load(text))


def test_all_problems_are_raised_at_once(write):
    text = change("0.1 pJ/op", "0.1 pJ")
    text = change("rows: 4", "rows: none", text)
    text = change("kind: asic", "kind: asik", text)
    with pytest.raises(ProfileError) as caught:
        load_profile(write(text))
    assert len(str(caught.value).splitlines()) == 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\na: 2\n", "key 'a' appears twice, line 2"),
        ("a: &x [1]\nb: *x\n", "an alias is not allowed, line 2"),
        ("1: 2\n", "key 1 is not text"),
        ("- 1\n", "expected a mapping"),
        ("a: [", "not readable as YAML"),
        ("a: !!python/object/apply:os.system [ls]\n", "not readable as YAML"),
        ("- " * 5000, "not readable as YAML"),
        ("a: " + "9" * 5000, "not readable as YAML"),
        ("a: 1" + " " * MAX_BYTES, "at most 1000000 bytes"),
    ],
)
def test_hostile_yaml_is_refused(text, said, write):
    with pytest.raises(ProfileError, match=re.escape(said)):
        load_profile(write(text))


def test_extends_merges_tables_and_replaces_entries(write):
    write(GOOD)
    text = (
        "name: child\nextends: mine\nactions:\n"
        "  add.int32: {energy: 0.2 pJ/op, status: assumed, source: me, at: guess}\n"
        "  add.int8: {energy: 0.02 pJ/op, status: assumed, source: me, at: guess}\n"
    )
    child = load_profile(write(text, "child"))
    assert child.name == "child"
    assert child.actions["add.int32"].value_si == pytest.approx(0.2e-12)
    assert child.actions["add.int32"].band == 3.0
    assert child.actions["add.int8"].value_si == pytest.approx(0.02e-12)
    assert child.array.rows == 4
    assert child.overhead is not None


def test_a_null_takes_away_what_a_base_has(write):
    write(GOOD)
    child = load_profile(write("name: child\nextends: mine\noverhead:\n", "child"))
    assert child.overhead is None


def test_extends_must_not_go_round(write):
    write("extends: b\n", "a")
    path = write("extends: a\n", "b")
    with pytest.raises(ProfileError, match="a chain without a cycle"):
        load_profile(path)
    with pytest.raises(ProfileError, match="another profile than itself"):
        load_profile(write("extends: c\n", "c"))


def test_extends_has_a_depth_limit(write):
    for i in range(MAX_DEPTH + 2):
        path = write(f"extends: p{i - 1}\n" if i else GOOD, f"p{i}")
    with pytest.raises(ProfileError, match=f"at most {MAX_DEPTH} files"):
        load_profile(path)


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "A", 3, "", ["a"]])
def test_extends_takes_only_plain_names(name, write):
    with pytest.raises(ProfileError, match="the name of a profile"):
        load_profile(write(GOOD + f"\nextends: {json.dumps(name)}\n"))


def test_an_unknown_profile_suggests_the_nearest():
    with pytest.raises(ProfileError, match="Did you mean 'cmos45'"):
        load_profile("cmos54")
    with pytest.raises(ProfileError, match=r"nowhere\.yaml: got .No such file"):
        load_profile("nowhere.yaml")


BARE = """
schema: bnnsim/profile/1
name: bare
kind: asic
node: {process: PROCESS, vdd: VDD, clock: 500 MHz}
sources: {}
array: {rows: 4, columns: 8, ops_per_pe: {"bit x bit": 64, "int8 x int8": 1}}
memories: [{name: gb, size: 64 KiB, word: 64 bit}]
"""


def bare(write, process, vdd):
    return load_profile(write(BARE.replace("PROCESS", process).replace("VDD", vdd), "bare"))


def test_node_array_and_memories_are_enough(write):
    table, chip = load_profile("cmos45"), bare(write, "45 nm", "0.9 V")
    assert chip.overhead == table.overhead
    for name, constant in table.actions.items():
        derived = chip.actions[name]
        assert derived.value_si == pytest.approx(constant.value_si)
        assert derived.status == "derived"
        assert derived.band > constant.band
        assert "cmos45" in derived.at
    # 8 KiB at 10 pJ, exponent 0.47: 64 KiB costs 8^0.47 times that.
    assert chip.memories[0].read.value_si == pytest.approx(10e-12 * 8**0.47)
    assert chip.memories[0].read.band > table.memories[0].read.band


def test_node_defaults_follow_the_scaling_table(write):
    # Relative to 45 nm at 0.9 V the polynomials give 1.25 at 65 nm, 0.64 at 32 nm, 0.10 at 7 nm.
    base = bare(write, "45 nm", "0.9 V").actions["add.int32"]
    for process, factor in (("65 nm", 1.25), ("32 nm", 0.64), ("7 nm", 0.10)):
        scaled = bare(write, process, "0.9 V").actions["add.int32"]
        assert scaled.value_si / base.value_si == pytest.approx(factor, abs=0.006)
        assert scaled.band > base.band


def test_node_defaults_refuse_what_the_table_cannot_tell(write):
    with pytest.raises(ProfileError, match="a process between 7 and 130 nm"):
        bare(write, "180 nm", "1.8 V")
    with pytest.raises(ProfileError, match=r"a supply above 0\.59 V"):
        bare(write, "65 nm", "0.5 V")


POINTS = "points: {8 KiB: 10 pJ/access, 32 KiB: 20 pJ/access, 1 MiB: 100 pJ/access}"


@pytest.mark.parametrize(
    ("size", "word", "picojoules", "status"),
    [
        ("8 KiB", "64 bit", 10, "measured"),
        ("32 KiB", "64 bit", 20, "measured"),
        ("1 MiB", "64 bit", 100, "measured"),
        ("16 KiB", "64 bit", 14.142, "derived"),  # halfway in log-log: sqrt(10 x 20)
        ("8 KiB", "32 bit", 5, "derived"),
        ("2 KiB", "64 bit", 5, "derived"),  # two octaves below 8 KiB at slope 1/2
    ],
)
def test_points_are_exact_and_log_log_between(size, word, picojoules, status, write):
    text = change("read: 10 pJ/access", POINTS + ", points_word: 64 bit")
    text = change("size: 64 KiB, word: 64 bit", f"size: {size}, word: {word}", text)
    read = load_profile(write(text)).memories[0].read
    assert read.value_si == pytest.approx(picojoules * 1e-12, rel=1e-4)
    assert read.status == status
    assert read.band == pytest.approx(1.1 * (1.3 if size == "2 KiB" else 1))  # beyond the points


def test_a_law_scales_with_size(write):
    law = "law: {a: 0.1 pJ/bit, at_size: 8 KiB, exponent: 0.5}"
    read = load_profile(write(change("read: 10 pJ/access", law))).memories[0].read
    assert read.value_si == pytest.approx(0.1e-12 * 8**0.5 * 64)


LAW = "law: {a: 0.1 pJ/bit, at_size: 8 KiB, exponent: 0.5}"


@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("name: mine", "name: !!int ''", r"a tag is not allowed \(tag:yaml.org,2002:int\), line 3"),
        ("name: mine", "name: !!bool x", "a tag is not allowed"),
        ("node: {", "node: !!set {", "a tag is not allowed"),
        ("name: mine", "name: !x mine", "a tag is not allowed"),
        ("vdd: 0.9 V", "vdd: 1e300 V", r"node.vdd: got '1e300 V', expected at most 1e\+30 in SI"),
        ("vdd: 0.9 V", "vdd: 11 V", "node.vdd: got '11 V', expected 0.1 V to 5 V. Check the"),
        ("vdd: 0.9 V", "vdd: 0 V", "node.vdd: got '0 V', expected 0.1 V to 5 V"),
        ("clock: 500 MHz", "clock: 300 mHz",
         "clock: got '300 mHz', expected 1 kHz to 20 GHz.*mHz is millihertz and MHz megahertz"),
        ("clock: 500 MHz", "clock: 300MHz", "A space is missing: write '300 MHz'"),
        ("process: 45 nm", "process: 45 um", "process: got '45 um', expected 1 nm to 1 um"),
        ("energy: 0.1 pJ/op", "energy: 1e31 J/op", r"energy: got .*, expected at most 1e\+30"),
        ("size: 64 KiB", "size: 7 bit", "size: got '7 bit', expected at least one byte"),
        ("size: 64 KiB", "size: 1e301 byte^9", "expected a positive whole number of bits or bytes"),
        ("read: 10 pJ/access", LAW.replace("0.5", "1000"), "exponent: got 1000, expected a number"),
        ("read: 10 pJ/access", LAW.replace("0.5", "8.1"), "expected a number from 0 to 8"),
        (
            "read: 10 pJ/access", "points: {1 bit: 1 pJ/access, 8 KiB: 2 pJ/access}",
            "points.1 bit: got '1 bit', expected at least one byte",
        ),
        (
            "read: 10 pJ/access", "points: {8192 B: 1 pJ/access, 8193 B: 2 pJ/access}",
            r"points: got 'an exponent of 5.68e\+03', expected energies whose exponent",
        ),
    ],
)  # fmt: skip
def test_numbers_and_tags_that_no_chip_has(old, new, text, write):
    with pytest.raises(ProfileError, match=text):
        load_profile(write(change(old, new)))


def test_all_problems_are_said_a_misspelt_section_first(write):
    many = "".join(f"key{i}: 1\n" for i in range(50))
    text = change("memories:", "memory:") + many
    with pytest.raises(ProfileError) as caught:
        load_profile(write(text))
    lines = str(caught.value).splitlines()
    assert lines[0].endswith("Did you mean 'memories'?")
    assert sum(": key" in line for line in lines) == 50
    assert len(lines) > 51
    assert "a memory that holds weights" in lines[51]


def test_a_pipe_is_no_profile(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    with pytest.raises(ProfileError, match=r"pipe.yaml: got 'a pipe or device', expected a regul"):
        load_profile(tmp_path / "pipe.yaml")
