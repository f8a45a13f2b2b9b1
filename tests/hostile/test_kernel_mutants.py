"""Every value of a processor's profile, damaged: refused where it stands, all problems at once."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from hostile.profile_leaves import Leaf, spoilt
from hostile.refusals import check_refused

from bnnsim.cost.profile import build_profile
from bnnsim.errors import ProfileError

SOURCED = "status: published, source: book, at: table 1"
SOUND = f"""
schema: bnnsim/profile/1
name: chip
kind: cpu
node: {{process: 7 nm, vdd: 1 V, clock: 3 GHz}}
latency_model: kernels
sources: {{book: {{cite: "A Book, 1999", kind: published}}}}
static: {{idle: {{power: 20 W, {SOURCED}}}}}
kernels:
  units: 8
  tile: {{pixels: 4, channels: 16}}
  emulate: error
  first_layer: planes
  bit_products: and
  convolution: im2col
  epilogue: separate
  batching: single
  energy: actions
  launch: {{time: 3 us, {SOURCED}}}
  macs:
    "bit x bit": {{per_cycle: 1024, granule: 256, {SOURCED}}}
  depthwise:
    "int8 x int8": {{per_cycle: 4, {SOURCED}}}
  operations:
    int32: {{per_cycle: 8, {SOURCED}}}
  randbits: {{per_cycle: 16, {SOURCED}}}
  levels:
    - {{name: L1, kind: cache, size: 48 KiB, line: 64 B, holds: [weights, activations],
       bytes_per_cycle: 64, {SOURCED}}}
    - {{name: dram, kind: dram, bandwidth: 40 GB/s, {SOURCED}}}
  energies:
    L1: {{energy: 1 pJ/bit, {SOURCED}}}
"""
FORMS = {
    "units": "integer", "tile.pixels": "integer", "tile.channels": "integer", "emulate": "choice",
    "first_layer": "choice", "bit_products": "choice", "convolution": "choice",
    "epilogue": "choice", "batching": "choice", "energy": "choice", "launch.time": "s",
    "launch.status": "choice", "launch.source": "choice", "launch.at": "text",
    "macs.bit x bit.per_cycle": "number", "macs.bit x bit.granule": "integer",
    "macs.bit x bit.status": "choice", "macs.bit x bit.at": "text",
    "depthwise.int8 x int8.per_cycle": "number", "depthwise.int8 x int8.source": "choice",
    "operations.int32.per_cycle": "number", "operations.int32.status": "choice",
    "randbits.per_cycle": "number", "randbits.source": "choice", "levels.0.name": "text",
    "levels.0.kind": "choice", "levels.0.size": "bits", "levels.0.line": "bits",
    "levels.0.holds": "list", "levels.0.bytes_per_cycle": "number", "levels.0.at": "text",
    "levels.1.bandwidth": "B/s", "levels.1.status": "choice", "energies.L1.energy": "J/bit",
    "energies.L1.source": "choice",
}  # fmt: skip
REQUIRED = [
    "launch.time", "launch.status", "macs.bit x bit.per_cycle", "macs.bit x bit.at",
    "depthwise.int8 x int8.per_cycle", "operations.int32.per_cycle", "operations.int32.source",
    "randbits.per_cycle", "randbits.at", "levels.0.name", "levels.0.size", "levels.0.status",
    "energies.L1.energy", "energies.L1.at",
]  # fmt: skip
WHOLE = [  # a change of several keys: (path, new value or None, what is said)
    ("macs", None, "kernels.macs: got None, expected MACs per cycle"),
    ("macs", {}, "kernels.macs: got None"),
    ("levels", None, "kernels.levels: got None, expected a list of caches"),
    ("levels", [], "kernels.levels: got 'list'"),
    ("levels", {"name": "L1"}, "kernels.levels: got {'name': 'L1'}"),
    ("levels", ["L1"], "kernels.levels[0]: got 'L1', expected a mapping"),
    ("levels.1.name", "L1", "expected a different name for each level"),
    ("levels.0.kind", "tape", "kernels.levels[0].kind: got 'tape'"),
    ("levels.0.holds", ["wieghts"], "Did you mean 'weights'?"),
    ("levels.0.bandwidth", "1 GB/s", "expected either this or bytes_per_cycle"),
    ("levels.0.bytes_per_cycle", 0, "levels[0].bytes_per_cycle: got 0, expected a rate above zero"),
    ("levels.1.bandwidth", "0 GB/s", "levels[1].bandwidth: got '0 GB/s', expected a rate above"),
    ("levels.0.bytes_per_cycle", None, "kernels.levels[0].bandwidth: got None"),
    ("levels.1.size", "1 KiB", "levels of weights that grow: nearest first"),
    ("bit_products", "emulated", "expected no bit x bit under 'macs'"),
    ("energy", "none", "expected power or actions, where 'static' states a power"),
    ("energy", "power", "expected actions, where 'energies' states any"),
    ("energies", None, "kernels.energies: got None, expected energies of rates"),
    ("energies.L9", {"energy": "1 pJ/bit"}, "energies.L9: got {'energy': '1 pJ/bit'}"),
    ("energies.L1.energy", "1 pJ/op", "expected a unit of energy per bit"),
    ("energies.randbit", {"energy": "1 pJ/bit"}, "expected a unit of energy per randbit"),
    ("macs.bits x bit", {"per_cycle": 1}, "Did you mean 'bit'?"),
    ("macs.bit x bit.per_cycle", 0, "expected a rate above 0"),
    ("operations.int4", {"per_cycle": 1}, "Did you mean 'int8'?"),
    ("operations.int32.per_cycle", 0, "kernels.operations.int32.per_cycle: got 0"),
    ("macs.bit x bit.source", "bok", "Did you mean 'book'?"),
    ("launch.time", "3 MHz", "kernels.launch.time: got '3 MHz', expected a unit of time"),
    ("tile", 4, "kernels.tile: got 4, expected a mapping"),
    ("unit", 4, "Did you mean 'units'?"),
]


def place(profile: Any, path: str) -> tuple[Any, Any]:
    here = profile["kernels"]
    *way, key = path.split(".")
    for step in way:
        here = here[int(step)] if isinstance(here, list) else here[step]
    return here, key


def value_at(path: str) -> Any:
    here, key = place(yaml.safe_load(SOUND), path)
    return here[key]


def mutants() -> Iterator[tuple[str, str, Any]]:
    for path, form in FORMS.items():
        for name, value in spoilt(Leaf(path, value_at(path), form)):
            if value != "3 s":  # a launch of seconds is long, but a time
                yield f"{path} {name}", path, value


MUTANTS = list(mutants())


def shown(path: str) -> str:
    return "kernels." + path.replace("levels.0", "levels[0]").replace("levels.1", "levels[1]")


def refused(profile: Any) -> str:
    with pytest.raises(ProfileError) as caught:
        build_profile(profile, "chip.yaml")
    return str(caught.value)


def test_the_sound_profile_is_sound_and_there_are_enough_mutants():
    build_profile(yaml.safe_load(SOUND), "chip.yaml")
    assert len(MUTANTS) >= 60


@pytest.mark.parametrize(("path", "value"), [m[1:] for m in MUTANTS], ids=[m[0] for m in MUTANTS])
def test_a_wrong_value_is_refused_where_it_stands(path, value):
    profile = yaml.safe_load(SOUND)
    here, key = place(profile, path)
    here[key] = value
    assert f"chip.yaml: {shown(path)}: got " in refused(profile)


@pytest.mark.parametrize("path", REQUIRED)
def test_what_is_required_is_missed(path):
    profile = yaml.safe_load(SOUND)
    here, key = place(profile, path)
    del here[key]
    assert f"chip.yaml: {shown(path)}: got None" in refused(profile)


@pytest.mark.parametrize("path", FORMS)
def test_a_misspelt_key_is_named_with_the_right_one(path):
    profile = yaml.safe_load(SOUND)
    here, key = place(profile, path)
    here[f"{key}z"] = here.pop(key)
    line = next(x for x in refused(profile).split("\n") if f"{shown(path)}z: got " in x)
    assert f"Did you mean '{key}'?" in line


@pytest.mark.parametrize(("path", "value", "said"), WHOLE)
def test_rules_over_several_keys(path, value, said):
    profile = yaml.safe_load(SOUND)
    here, key = place(profile, path)
    if value is None:
        del here[key]
    else:
        here[key] = value
    assert said in refused(profile)


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("array", "array: got {'rows': 1}, expected a key among"),
        ("memories", "memories: got {'rows': 1}, expected a key among"),
        ("actions", "actions: got {'rows': 1}, expected a key among"),
        ("pipeline", "pipeline: got {'rows': 1}, expected a key among"),
        ("rng", "rng: got {'rows': 1}, expected a key among"),
    ],
)
def test_sections_of_other_models_are_refused(key, said):
    assert said in refused({**yaml.safe_load(SOUND), key: {"rows": 1}})
    other = yaml.safe_load(SOUND)
    del other["latency_model"]
    assert "kernels: got {" in refused(other)
    assert "scope: got 'arithmetic'" in refused({**yaml.safe_load(SOUND), "scope": "arithmetic"})


def test_every_problem_is_said_at_once(bnnsim, work):
    profile = copy.deepcopy(yaml.safe_load(SOUND))
    paths = [p for p, form in FORMS.items() if form in ("integer", "number")]
    for path in paths:
        here, key = place(profile, path)
        here[key] = -1
    (work / "chip.yaml").write_text(yaml.safe_dump(profile))
    said = bnnsim("profiles", "check", "chip.yaml")
    check_refused(said, "chip.yaml", tuple(f"{shown(path)}: got -1" for path in paths))
