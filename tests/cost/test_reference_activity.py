"""Logic priced at measured activity: products only, where a profile states its reference."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import yaml
from cost_nets import convnet, mlp

from bnnsim.cost.estimate import estimate
from bnnsim.cost.intervals import constant_factor
from bnnsim.cost.profile import build_profile, load_profile
from bnnsim.cost.profile_yaml import find_profile, read_profile
from bnnsim.errors import ProfileError

CONSTANT = "array.reference_activity"
STATED = {"toggles": 0.25, "status": "assumed", "source": "choice", "at": "for this test"}


def profile(**changes):
    """Return cmos45 with a reference activity."""
    raw = copy.deepcopy(dict(read_profile(find_profile("cmos45"))))
    raw["sources"] = {**raw["sources"], "choice": {"cite": "a test", "kind": "choice"}}
    raw["array"] = {**raw["array"], "reference_activity": {**STATED, **changes}}
    return build_profile(raw, "mine.yaml")


@pytest.fixture(scope="module")
def chip():
    return profile()


def test_the_products_of_measured_layers_scale_and_nothing_else(chip):
    graph = mlp("binary", 64)
    before = estimate(graph, chip)
    layers = {layer.name: layer for layer in before.layers}
    toggles = {layers["dense3"].id: 0.1, layers["dense5"].id: 0.5}
    after = estimate(graph, chip, toggles=toggles)
    for old, new in zip(before.layers, after.layers, strict=True):
        scale = toggles.get(old.id, 0.25) / 0.25
        assert new.physical_actions == old.physical_actions
        assert (new.latency_s, new.mapping) == (old.latency_s, old.mapping)
        for part, joules in old.energy_by.items():
            factor = scale if part == "compute" else 1.0
            assert new.energy_by[part] == pytest.approx(joules * factor, rel=1e-12)
    assert after.energy.value == pytest.approx(sum(after.energy_by.values()), rel=1e-9)
    difference = sum(
        layers[name].energy_by["compute"] * (toggles[layers[name].id] / 0.25 - 1)
        for name in ("dense3", "dense5")
    )
    found = after.energy.value - before.energy.value
    assert found == pytest.approx(difference, rel=1e-9)


def test_a_profile_without_a_reference_is_unaffected():
    graph = convnet("binary", 16)
    toggles = {node.id: 0.01 for node in graph.nodes}
    plain = estimate(graph, "cmos45")
    assert estimate(graph, "cmos45", toggles=toggles).to_json() == plain.to_json()
    assert CONSTANT not in {a.constant for a in plain.assumptions}


def test_without_data_a_reference_changes_nothing(chip):
    graph = convnet("binary", 16)
    plain, report = estimate(graph, "cmos45"), estimate(graph, chip)
    assert report.to_dict()["totals"] == plain.to_dict()["totals"]
    assert CONSTANT not in {a.constant for a in report.assumptions}


def test_the_assumption_says_what_it_scales(chip):
    graph = mlp("binary", 64)
    ids = {node.name: node.id for node in graph.nodes}
    report = estimate(graph, chip, toggles={ids["dense3"]: 0.2})
    (row,) = [a for a in report.assumptions if a.constant == CONSTANT]
    scaled = next(layer for layer in report.layers if layer.name == "dense3").energy_by["compute"]
    assert row.share_of_energy == pytest.approx(scaled / report.energy.value)
    assert (row.value, row.unit, row.status, row.band) == (0.25, "1", "assumed", 3.0)
    assert row.source == "a test, for this test"
    rest = [a for a in report.assumptions if a.constant not in (CONSTANT, "structure")]
    assert sum(a.share_of_energy for a in rest) == pytest.approx(1)


def test_the_uncertainty_of_the_reference_is_that_of_the_scale():
    graph = convnet("binary", 64)
    linear = [node.id for node in graph.nodes if node.op in ("Conv2d", "Dense")]

    def drawn(chip, toggles):
        return estimate(graph, chip, toggles=dict.fromkeys(linear, toggles)).samples.energy_j

    sure, vague = profile(band=1.0), profile(band=10.0)
    assert np.allclose(drawn(sure, 0.25), estimate(graph, sure).samples.energy_j, rtol=1e-12)
    # The energy of the products is what grows with their toggles; its draws are multiplied.
    slopes = [drawn(chip, 0.5) - drawn(chip, 0.25) for chip in (sure, vague)]
    factor = constant_factor(vague.array.reference_activity)
    assert np.allclose(slopes[1] / slopes[0], factor, rtol=1e-6)
    assert factor.max() / factor.min() > 10


def test_activity_of_zero_leaves_no_products(chip):
    graph = mlp("binary", 64)
    toggles = {node.id: 0.0 for node in graph.nodes if node.op == "Dense"}
    report = estimate(graph, chip, toggles=toggles)
    assert report.energy_by["compute"] == 0
    assert CONSTANT not in {a.constant for a in report.assumptions}


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"toggles": 0}, r"array.reference_activity.toggles: got 0, expected a share of product"),
        ({"toggles": 1.5}, r"toggles: got 1.5, expected a number from 0 to 1\."),
        ({"toggles": "0.5 toggles"}, r"toggles: got '0.5 toggles', expected a number from 0 to 1"),
        ({"status": "guess"}, r"reference_activity.status: got 'guess'"),
        ({"source": "nowhere"}, r"reference_activity.source: got 'nowhere'"),
        ({"togles": 0.5}, r"reference_activity.togles: got 0.5, expected a key among"),
    ],
)
def test_malformed_references_are_refused(changes, text):
    with pytest.raises(ProfileError, match=text):
        profile(**changes)


def test_it_is_a_constant_of_the_profile_and_no_shipped_one_states_it(chip):
    assert CONSTANT in {c.name for c in chip.constants()}
    root = Path(find_profile("cmos45")).parent
    found = [p for p in root.rglob("*.yaml") if "reference_activity" in p.read_text()]
    assert found == []


def test_profiles_may_take_it_back(tmp_path):
    path = tmp_path / "mine.yaml"
    text = {"schema": "bnnsim/profile/1", "name": "mine", "extends": "cmos45",
            "array": {"reference_activity": None}}  # fmt: skip
    path.write_text(yaml.safe_dump(text))
    assert load_profile(path).array.reference_activity is None
