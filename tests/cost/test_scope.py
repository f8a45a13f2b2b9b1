"""The energy of the chip alone: the whole less DRAM, its standby and the pins."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bnnsim.cost.estimate import estimate
from bnnsim.cost.profile import load_profile
from bnnsim.cost.scope import chip_energy
from bnnsim.zoo import build


def test_dram_and_its_standby_are_left_out():
    chip = load_profile("cmos45")
    report = estimate(build("tfc"), chip, batch=4)
    bursts = sum(
        layer.physical_actions.get(f"dram.{verb}", 0)
        for layer in report.layers for verb in ("read", "write")
    )  # fmt: skip
    assert bursts > 0
    # 512 bits a burst at 8 pJ/bit, and 20 mW of standby for the time of the batch.
    outside = bursts * 512 * 8e-12 + 20e-3 * report.latency.value
    found = chip_energy([report], chip)
    assert found.value == pytest.approx(report.energy.value - outside, rel=1e-12)
    assert found.low < found.value < found.high < report.energy.high


def test_reports_add_draw_by_draw():
    chip = load_profile("cmos45")
    report = estimate(build("tfc"), chip)
    one, two = chip_energy([report], chip), chip_energy([report, report], chip)
    # The same constants twice: the interval doubles, it does not average out.
    for key in ("value", "low", "high"):
        assert getattr(two, key) == pytest.approx(2 * getattr(one, key), rel=1e-12)


def test_pins_are_left_out():
    chip = load_profile("binareye")
    report = estimate(build("tfc"), chip)
    bits = sum(layer.physical_actions.get("io", 0) for layer in report.layers)
    assert bits > 784 * 8
    outside = bits * 5e-12
    assert chip_energy([report], chip).value == pytest.approx(report.energy.value - outside)


def test_a_chip_that_is_all_inside_keeps_everything():
    chip = replace(load_profile("binareye"), io=None)
    report = estimate(build("tfc"), chip, allow_unpriced=True)
    assert chip_energy([report], chip).value == pytest.approx(report.energy.value, rel=1e-12)
