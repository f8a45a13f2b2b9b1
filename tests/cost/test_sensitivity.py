"""Sensitivities follow from E = A c; searches at the ends of bands find what a search would."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from cost_nets import FLOATS, Builder, convnet, mlp

from bnnsim.cost.estimate import estimate
from bnnsim.cost.hardware import Constant
from bnnsim.cost.profile import load_profile
from bnnsim.cost.sensitivity import scaled_constant, searched_constants
from bnnsim.errors import ProfileError


@pytest.fixture(scope="module")
def chip():
    return load_profile("cmos45")


def quiet(profile):
    """Return a profile without power drawn all the time."""
    memories = tuple(replace(m, power=()) for m in profile.memories)
    return replace(profile, memories=memories, static=())


def by_name(rows):
    return {row.constant: row for row in rows}


def test_a_relu_by_hand(chip):
    # 512 floats: 512 additions of 0.9 pJ x 3, and 32 bursts of 512 bits each way at 8 pJ per bit.
    graph = Builder("relu", (512,), FLOATS["float32"]).add("Relu").graph()
    found = by_name(estimate(graph, quiet(chip)).sensitivity)
    adds, moved = 512 * 0.9e-12 * 3, 32 * 512 * 8e-12
    total = adds + 2 * moved
    assert set(found) == {"overhead", "add.float32", "dram.read", "dram.write"}
    for name, part in (("overhead", adds), ("add.float32", adds),
                       ("dram.read", moved), ("dram.write", moved)):  # fmt: skip
        row = found[name]
        assert row.percent_per_10_percent == pytest.approx(10 * part / total)
        assert row.high_percent == pytest.approx(100 * (row.band - 1) * part / total)
        assert row.low_percent == pytest.approx(100 * (1 / row.band - 1) * part / total)
    shown = [abs(row.percent_per_10_percent) for row in estimate(graph, chip).sensitivity]
    assert shown == sorted(shown, reverse=True)


@pytest.mark.parametrize("mode", ["binary", "float32"])
def test_ten_percent_more_of_a_constant_moves_the_energy_as_said(mode, chip):
    graph = convnet(mode, 8)
    report = estimate(graph, chip)
    prices = {a: c for a, c in chip.actions.items()}
    for row in report.sensitivity:
        if row.constant == "overhead":
            other = replace(chip, overhead=raised(chip.overhead))
        elif row.constant in prices:
            raised_actions = {**prices, row.constant: raised(prices[row.constant])}
            other = replace(chip, actions=raised_actions)
        else:
            constant = next(c for c in chip.constants() if c.name == row.constant)
            other = scaled_constant(chip, constant, 1.1)
        moved = 100 * (estimate(graph, other).energy.value / report.energy.value - 1)
        # Searched again, the energy moves as far, or less far up where another mapping is better.
        assert moved <= row.percent_per_10_percent + 1e-9
        assert moved == pytest.approx(row.percent_per_10_percent, rel=0.05)


def raised(constant: Constant) -> Constant:
    return replace(constant, value_si=constant.value_si * 1.1)


def test_energy_goes_with_one_over_the_reference_activity(chip):
    reference = replace(chip.actions["gate.bit"], name="reference", value_si=0.5, band=2.0)
    array = replace(chip.array, reference_activity=reference)
    graph = mlp("binary", 64)
    heads = {node.id: 0.25 for node in graph.nodes if node.op == "Dense"}
    report = estimate(graph, replace(chip, array=array), toggles=heads)
    row = by_name(report.sensitivity)["reference"]
    part = 100 * next(a for a in report.assumptions if a.constant == "reference").share_of_energy
    assert row.percent_per_10_percent == pytest.approx(part * (1 / 1.1 - 1))
    assert (row.low_percent, row.high_percent) == pytest.approx((part, -part / 2))


def test_a_flip_by_hand(chip):
    """A small memory reads one map from off chip once, or tiles of it; a price decides."""
    memories = tuple(m if m.off_chip else replace(m, size_bytes=20_000) for m in chip.memories)
    graph = convnet("float32", 8)
    small = quiet(replace(chip, memories=memories))
    nominal = estimate(graph, small)
    report = estimate(graph, small, flip=True)
    ends = [(c.name, f) for c in searched_constants(small) for f in (1 / c.band, c.band)]
    assert [(f.constant, f.factor) for f in report.flips] == ends
    assert any(f.flips for f in report.flips)
    assert not all(f.flips for f in report.flips)
    for flip in report.flips:
        constant = next(c for c in searched_constants(small) if c.name == flip.constant)
        again = estimate(graph, scaled_constant(small, constant, flip.factor))
        share = by_name(report.sensitivity).get(flip.constant)
        part = share.percent_per_10_percent / 10 if share else 0.0
        # The mapping that is kept costs what the sensitivity says; that found there no more.
        kept = nominal.energy.value * (1 + part * (flip.factor - 1))
        assert flip.kept_j == pytest.approx(kept)
        assert flip.searched_j == pytest.approx(again.energy.value)
        assert flip.searched_j <= flip.kept_j * (1 + 1e-12)
        # A layer that differs moves the energy, one that does not leaves it.
        assert flip.flips == (flip.layers > 0)
        assert flip.flips or flip.searched_j == pytest.approx(flip.kept_j, rel=1e-12)


@pytest.mark.parametrize("name", ["pynq-z1", "cortex-m7", "cmos45-arith"])
def test_profiles_whose_mapping_is_no_search_say_so(name):
    with pytest.raises(ProfileError) as raised_:
        estimate(mlp("binary", 64), name, flip=True)
    said = str(raised_.value)
    assert said.startswith(f"--flip: got \"profile '{name}'\", expected a profile with")
    assert "Leave --flip out" in said


def test_progress_counts_searches(chip):
    told = []
    report = estimate(mlp("binary", 64), chip, flip=True, progress=told.append)
    assert sum(told) == len(report.flips) == 2 * len(searched_constants(chip))
    assert "flips" in json.loads(report.to_json())
    assert "flips" not in json.loads(estimate(mlp("binary", 64), chip).to_json())
