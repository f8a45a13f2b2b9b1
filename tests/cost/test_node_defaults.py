"""Defaults from the node: each marked with its table, its nodes, its factor and its rule."""

from __future__ import annotations

import pytest
import yaml
from jsonschema import Draft202012Validator

from bnnsim.cost.estimate import estimate
from bnnsim.cost.node_defaults import DRAM_RULE, LOGIC_RULE, REGISTER_RULE, SRAM_RULE
from bnnsim.cost.profile import build_profile, load_profile
from bnnsim.cost.scaling import logic_factor, scaling_band, sram_factor
from bnnsim.errors import ProfileError
from bnnsim.report.check import load_schema
from bnnsim.report.profiles import profile_dict, show_blocks
from bnnsim.zoo import build

CHIP = """
schema: bnnsim/profile/1
name: bare
kind: asic
node: {process: 28 nm, vdd: 0.8 V, clock: 200 MHz}
array: {rows: 4, columns: 16, ops_per_pe: {"bit x bit": 64, "uint8 x bit": 8, "int8 x bit": 8}}
memories:
  - {name: edge, kind: registers, size: 1 KiB, word: 128 bit, holds: [activations]}
  - {name: sram, size: 64 KiB, word: 32 bit}
  - {name: dram, kind: dram, burst: 512 bit}
"""
STEP = {"from_nm": 45, "from_vdd": 0.9}


@pytest.fixture
def write(tmp_path):
    def writer(text):
        path = tmp_path / "bare.yaml"
        path.write_text(text)
        return path

    return writer


@pytest.fixture
def chip(write):
    return load_profile(write(CHIP))


def test_node_array_and_memories_alone_price_a_network(chip):
    report = estimate(build("cnv"), chip)
    assert report.energy.low < report.energy.value < report.energy.high
    assert report.unpriced == ()


def test_every_default_says_where_it_comes_from(chip):
    table = load_profile("cmos45")
    known = {c.name: c for c in table.constants()}
    for constant in chip.constants():
        if constant.name == "overhead":
            assert constant == table.overhead
            continue
        origin = constant.derived
        assert origin is not None, constant
        assert constant.status == "derived"
        model = known[origin.constant]
        assert constant.value_si == pytest.approx(origin.factor * model.value_si, rel=1e-12)
        assert constant.band == pytest.approx(origin.band_factor * model.band, rel=1e-12)
        assert (origin.profile, origin.from_node) == ("cmos45", "45 nm, 0.9 V")


def test_the_schema_agrees_on_what_may_be_left_out():
    known = Draft202012Validator(load_schema("profile"))
    own = "status: assumed, source: me, at: guess"
    for more, good in (
        ("", True),
        (", type: LPDDR4", True),
        (", type: DDR3", False),
        (", bandwidth: 1 GB/s", False),
        (f", bandwidth: 1 GB/s, {own}", True),
        (", read: 8 pJ/bit", False),
        (f", read: 8 pJ/bit, {own}", False),
        (f", read: 8 pJ/bit, bandwidth: 1 GB/s, {own}", True),
        (f", write: 8 pJ/bit, bandwidth: 1 GB/s, {own}", False),
    ):
        text = CHIP.replace("burst: 512 bit", f"burst: 512 bit{more}")
        text += "sources: {me: {cite: me, kind: choice}}\n"
        raw = yaml.safe_load(text)
        assert known.is_valid(raw) is good, more
        if good:
            build_profile(raw, "here")
        else:
            with pytest.raises(ProfileError):
                build_profile(raw, "here")


def test_each_rule_is_its_equation(chip):
    logic = logic_factor(28, 0.8, **STEP)
    # (28 x 0.8)^2 / (45 x 0.9)^2 = 501.76 / 1640.25 = 0.3059
    assert sram_factor(28, 0.8, **STEP) == pytest.approx(0.30590, abs=1e-5)
    edge, sram, dram = chip.memories
    assert chip.actions["add.bit"].derived.rule == LOGIC_RULE
    assert chip.actions["add.bit"].derived.factor == pytest.approx(logic)
    assert chip.rng.energy.derived.factor == pytest.approx(logic)
    assert edge.read.derived.rule == REGISTER_RULE
    assert edge.read.value_si == pytest.approx(128 * 0.009e-12 * logic)
    assert edge.read.dimension == "J/access"
    assert sram.write.derived.rule == SRAM_RULE
    # 64 KiB over the table's 8 KiB, 32 bit over its 64: 8^0.47 / 2 = 1.3287
    assert sram.read.derived.factor == pytest.approx(0.30590 * 1.3287, rel=1e-4)
    assert dram.read.derived.rule == DRAM_RULE
    assert dram.read.value_si == pytest.approx(8e-12)
    assert dram.bandwidth.value_si == pytest.approx(12.8e9)
    assert [p.name for p in dram.power] == ["dram.standby"]
    # One step of the table (28 lies between 32 and 20) and 1.5; a DRAM takes no step.
    assert sram.read.derived.band_factor == pytest.approx(scaling_band(28, 45) * 1.5)
    assert dram.read.derived.band_factor == 1.5
    assert dram.read.band == pytest.approx(1.6 * 1.5)


def test_a_stated_bandwidth_stays_beside_a_default_energy(write):
    rate = "{rate: 1 GB/s, status: assumed, source: me, at: guess}"
    text = CHIP.replace("burst: 512 bit", f"burst: 512 bit, bandwidth: {rate}")
    dram = load_profile(write(text + "sources: {me: {cite: me, kind: choice}}\n")).memories[-1]
    assert dram.bandwidth.value_si == 1e9
    assert dram.bandwidth.derived is None
    assert dram.read.derived is not None


def test_another_dram_has_no_default(write):
    text = CHIP.replace("burst: 512 bit", "type: DDR3, burst: 512 bit")
    said = r"memories\[2\].read: got None, expected an energy per bit for DDR3. Only LPDDR4 has"
    with pytest.raises(ProfileError, match=said):
        load_profile(write(text))


def test_a_dram_default_needs_no_scalable_node(write):
    text = CHIP.replace("28 nm", "5 nm").replace("sources: {}\n", "")
    with pytest.raises(ProfileError, match="a process between 7 and 130 nm"):
        load_profile(write(text))
    own = "status: measured, source: me, at: t"
    text = text.replace("word: 128 bit", f"word: 128 bit, read: 1 pJ/access, {own}")
    text = text.replace("word: 32 bit", f"word: 32 bit, read: 1 pJ/access, {own}")
    text += f"actions: {{add.bit: {{energy: 1 fJ/op, {own}}}}}\n"
    text += "sources: {me: {cite: me, kind: measured}}\n"
    chip = load_profile(write(text))
    assert list(chip.actions) == ["add.bit"]  # a stated table is never mixed with the default one
    assert chip.rng is None
    assert chip.memories[-1].read.value_si == pytest.approx(8e-12)


def test_show_names_node_and_factor(chip):
    shown = profile_dict(chip)
    table = show_blocks(shown)[-1]
    assert table.title == "Defaults from the node table"
    row = next(r for r in table.rows if r[0] == "sram.read")
    assert row[1:5] == ("cmos45 local.read", "45 nm, 0.9 V", "28 nm, 0.8 V", "0.406")
    whole = show_blocks(profile_dict(load_profile("cmos45")))
    assert whole[-1].title == "Constants"  # nothing derived there
