"""Intervals and ratios: shares of variance, cancelling constants, fixed draws."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from cost_nets import convnet, mlp

from bnnsim.cost.authoring import profile_text
from bnnsim.cost.compare import compare
from bnnsim.cost.estimate import estimate
from bnnsim.cost.intervals import DRAWS, constant_factor, factor, normals
from bnnsim.cost.profile import load_profile
from bnnsim.errors import InputError


@pytest.fixture(scope="module")
def chip():
    return load_profile("cmos45")


def test_a_band_is_a_90_percent_factor_of_mean_one():
    drawn = factor(2.0, "g", "a")
    assert drawn.shape == (DRAWS,)
    # 90 % of the draws are within 1/2 and 2 times the median; 4,096 draws know that to 2 points.
    median = math.exp(-((math.log(2) / 1.645) ** 2) / 2)
    inside = np.mean((drawn > median / 2) & (drawn < median * 2))
    assert inside == pytest.approx(0.9, abs=0.02)
    assert drawn.mean() == pytest.approx(1, abs=0.03)
    assert (factor(1.0, "g", "a") == 1).all()


def test_half_of_the_variance_is_common_to_a_group():
    logs = [np.log(factor(2.0, g, own)) for g, own in (("g", "a"), ("g", "b"), ("h", "c"))]
    same, other = np.corrcoef(logs[0], logs[1])[0, 1], np.corrcoef(logs[0], logs[2])[0, 1]
    assert same == pytest.approx(0.5, abs=0.05)
    assert other == pytest.approx(0.0, abs=0.05)


def test_draws_belong_to_what_a_constant_is():
    first, second = load_profile("cmos45"), load_profile("cmos45-dram")
    a, b = first.actions["mul.int8"], second.actions["mul.int8"]
    assert np.array_equal(constant_factor(a), constant_factor(b))
    assert not np.array_equal(constant_factor(first.memories[-1].read),
                              constant_factor(second.memories[-1].read))  # fmt: skip
    assert np.array_equal(normals("x"), normals("x"))
    assert normals("x")[0] != normals("y")[0]


def test_estimates_repeat_to_the_last_digit(chip):
    one, two = (estimate(convnet("binary", 16), chip).to_json() for _ in range(2))
    assert one == two


def test_a_ratio_is_sample_by_sample(chip):
    floats, binary = (estimate(convnet(m, 64), chip) for m in ("float32", "binary"))
    (ratio,) = compare([floats, binary]).ratios
    drawn = floats.samples.energy_j / binary.samples.energy_j
    assert ratio.energy.value == pytest.approx(floats.energy.value / binary.energy.value)
    assert (ratio.energy.low, ratio.energy.high) == tuple(np.quantile(drawn, (0.05, 0.95)))
    # Narrower than the quotient of independent intervals: shared constants cancel.
    apart = (floats.energy.high / binary.energy.low) / (floats.energy.low / binary.energy.high)
    assert ratio.energy.high / ratio.energy.low < apart / 1.5


def test_equal_columns_have_a_ratio_of_exactly_one(chip):
    (ratio,) = compare([estimate(mlp("int8", 64), chip)] * 2).ratios
    assert (ratio.energy.value, ratio.energy.low, ratio.energy.high) == (1, 1, 1)
    assert ratio.memory == 1


def test_a_profile_shares_the_structure_of_what_it_extends(chip, tmp_path):
    path, child = tmp_path / "mine.yaml", tmp_path / "child.yaml"
    path.write_text(profile_text("mine", "cmos45", tmp_path))
    child.write_text("schema: bnnsim/profile/1\nname: child\nextends: mine\n"
                     "actions: {mul.int8: {energy: 0.4 pJ/op, band: 1.0, status: assumed, "
                     "source: horowitz14, at: here}}\n")  # fmt: skip
    base, mine, changed, stranger = (
        estimate(convnet("int8", 16), p)
        for p in (chip, load_profile(path), load_profile(child), replace(chip, root="other"))
    )
    same, moved, apart = compare([base, mine, changed, stranger]).ratios[:3]
    assert (same.energy.value, same.energy.low, same.energy.high) == (1, 1, 1)
    assert (same.latency.value, same.latency.low, same.latency.high) == (1, 1, 1)
    assert (moved.latency.low, moved.latency.high) == (1, 1)
    assert moved.energy.value != 1
    assert moved.energy.high / moved.energy.low < 1.5 < apart.energy.high / apart.energy.low


def test_every_column_is_set_against_every_later_one(chip):
    modes = ("float32", "int8", "binary")
    found = compare([estimate(mlp(m, 64), chip) for m in modes])
    assert [(r.of.mode, r.over.mode) for r in found.ratios] == [
        ("float32", "int8"), ("float32", "binary"), ("int8", "binary")
    ]  # fmt: skip
    assert found.to_dict()["ratios"][0]["of"] == {
        "source": "mlp-3x64", "profile": "cmos45", "mode": "float32"
    }  # fmt: skip


def test_ratios_are_per_inference(chip):
    graph = mlp("binary", 64)
    one, four = estimate(graph, chip), estimate(graph, chip, batch=4)
    (ratio,) = compare([one, four]).ratios
    assert ratio.energy.value == pytest.approx(4 * one.energy.value / four.energy.value)
    assert ratio.latency.value == pytest.approx(4 * one.latency.value / four.latency.value)
    for q in (ratio.energy, ratio.latency):
        assert q.value / 2 < q.low <= q.value <= q.high < q.value * 2


def test_wider_bands_widen_the_interval(chip):
    graph = convnet("binary", 32)
    loose = replace(chip, overhead=replace(chip.overhead, band=6.0))
    narrow, wide = estimate(graph, chip), estimate(graph, loose)
    assert wide.energy.value == narrow.energy.value
    assert wide.energy.high / wide.energy.low > narrow.energy.high / narrow.energy.low


def test_the_structural_factor_leaves_dram_alone(chip):
    shaky = replace(chip, structural_band=10.0)
    # Nearly all energy of this layer is DRAM traffic: the structure of the chip hardly matters.
    heavy = mlp("float32", 2048)
    quiet = [estimate(heavy, p).energy for p in (chip, shaky)]
    light = [estimate(convnet("binary", 64), p).energy for p in (chip, shaky)]
    widths = [[q.high / q.low for q in pair] for pair in (quiet, light)]
    assert widths[1][1] / widths[1][0] > 2 * widths[0][1] / widths[0][0]


def test_nothing_to_compare_is_an_error():
    with pytest.raises(InputError, match="at least one report"):
        compare([])
