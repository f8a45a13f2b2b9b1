"""Energies taken over from another node are named, in `profiles check` and in estimates."""

from __future__ import annotations

import pytest
from cost_nets import mlp

from bnnsim.cost.estimate import estimate
from bnnsim.cost.profile import list_profiles, load_profile

HEAD = "schema: bnnsim/profile/1\nname: NAME\nextends: BASE\n"
SMALL = "node: {process: 28 nm, vdd: 0.8 V}\n"
SRAM = "memories: [{name: gb, size: 64 KiB, word: 64 bit}]\n"
RNG = "rng: {generator: xorshift32}\n"


@pytest.fixture
def write(tmp_path):
    def writer(rest, name="mine", base="cmos45"):
        path = tmp_path / f"{name}.yaml"
        path.write_text(HEAD.replace("NAME", name).replace("BASE", base) + rest)
        return path

    return writer


def said(sections, name="cmos45", there="45 nm, 0.9 V", here="28 nm, 0.8 V"):
    return f"the energies of {sections} are those of {name}'s {there}, not scaled to {here}"


@pytest.mark.parametrize(
    ("rest", "sections"),
    [
        (SMALL, "actions, memories, static, rng"),
        (SMALL + RNG, "actions, memories, static"),
        (SMALL + SRAM, "actions, static, rng"),
        (SMALL + "static:\n" + SRAM, "actions, rng"),
        (SMALL + "static:\nactions:\noverhead:\n", "memories, rng"),
    ],
)
def test_inherited_energies_of_another_node_are_named(rest, sections, write):
    assert load_profile(write(rest)).notes == (said(sections),)


@pytest.mark.parametrize("rest", [
    "", "node: {clock: 100 MHz}\n", "node: {process: 0.045 um, vdd: 900 mV}\n",
    SMALL + SRAM + "static:\nactions:\noverhead:\nrng:\n",
])  # fmt: skip
def test_the_same_node_and_scaled_defaults_need_no_note(rest, write):
    assert load_profile(write(rest)).notes == ()


@pytest.mark.parametrize("name", list_profiles())
def test_no_packaged_profile_takes_energies_from_another_node(name):
    assert load_profile(name).notes == ()


def test_each_base_of_a_chain_is_named(write):
    own = "{energy: 1 pJ/op, status: assumed, source: choice, at: guess}"
    write(SMALL + f"actions: {{add.bit: {own}}}\n", "below")
    found = load_profile(write("node: {vdd: 0.7 V}\n", base="below")).notes
    here = "28 nm, 0.7 V"
    assert set(found[0].split("; ")) == {
        said("actions, memories, static, rng", here=here),
        said("actions", "below", "28 nm, 0.8 V", here),
    }


def test_an_estimate_carries_the_note_before_its_numbers(write):
    report = estimate(mlp("binary"), load_profile(write(SMALL)))
    assert report.notes == (said("actions, memories, static, rng"),)
