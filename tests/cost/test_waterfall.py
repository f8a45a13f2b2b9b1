"""Waterfalls: steps by hand, exact sums over every pair of profiles, and the way back."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from itertools import product

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bnnsim.api import compare
from bnnsim.cost.estimate import estimate
from bnnsim.cost.hardware import HardwareProfile
from bnnsim.cost.profile import list_profiles, load_profile
from bnnsim.cost.waterfall import Waterfall, shapley, waterfall, waterfalls
from bnnsim.errors import ProfileError
from bnnsim.report.check import load_schema
from bnnsim.zoo import build

FACTOR = st.floats(1e-3, 1e3)
TRIPLE = st.tuples(FACTOR, FACTOR, FACTOR)


def test_three_factors_by_hand():
    # As in docs/cost.md: 100 x 2 x 3 = 600 becomes 50 x 4 x 2 = 400.
    count, price, overhead = shapley((100, 2, 3), (50, 4, 2))
    assert count == pytest.approx(-50 * ((2 * 3 + 4 * 2) / 3 + (2 * 2 + 4 * 3) / 6))
    assert count == pytest.approx(-366.6667)
    assert price == pytest.approx(2 * ((3 * 100 + 2 * 50) / 3 + (3 * 50 + 2 * 100) / 6))
    assert price == pytest.approx(2 * (133.3333 + 58.3333))
    assert overhead == pytest.approx(-1 * ((100 * 2 + 50 * 4) / 3 + (100 * 4 + 50 * 2) / 6))
    assert count + price + overhead == pytest.approx(-200)


@given(TRIPLE, TRIPLE)
def test_shares_add_up_and_turn_round(before, after):
    shares = shapley(before, after)
    scale = math.prod(map(max, before, after))
    change = math.prod(after) - math.prod(before)
    assert math.fsum(shares) == pytest.approx(change, abs=1e-12 * scale)
    assert [-s for s in shapley(after, before)] == pytest.approx(shares, abs=1e-12 * scale)


def test_a_factor_that_stays_has_no_share():
    assert shapley((5, 2, 3), (5, 4, 3)) == (0, 30, 0)  # 5 x 3 x (4 - 2)


@pytest.fixture(scope="module")
def net():
    return build("tfc")


@pytest.fixture(scope="module")
def chip():
    return load_profile("cmos45")


def changed(chip: HardwareProfile, **named: float) -> HardwareProfile:
    """Return the profile under another name with operators times a factor."""
    actions = {
        name: replace(c, value_si=c.value_si * named.get(name.replace(".", "_"), 1.0))
        for name, c in chip.actions.items()
    }
    return replace(chip, name="other", actions=actions)


def steps_of(found: Waterfall) -> dict[tuple[str, str], float]:
    return {(s.constant, s.cause): s.energy_j for s in found.steps}


def test_one_changed_price_is_one_step(net, chip):
    before, after = estimate(net, chip), estimate(net, changed(chip, add_bit=3))
    count = sum(layer.physical_actions.get("add.bit", 0) for layer in before.layers)
    # Each add.bit of 3.125 fJ with overhead 3 costs two times more: 2 x 3 x 3.125 fJ = 18.75 fJ.
    steps = steps_of(waterfall(before, after))
    assert steps == {("add.bit", "price"): pytest.approx(count * 18.75e-15, rel=1e-12)}


def test_overhead_is_one_step_over_all_operators(net, chip):
    other = replace(chip, name="other", overhead=replace(chip.overhead, value_si=2.0))
    before, after = estimate(net, chip), estimate(net, other)
    bare = sum(
        number * chip.actions[name].value_si
        for layer in before.layers for name, number in layer.physical_actions.items()
        if name in chip.actions
    )  # fmt: skip
    steps = steps_of(waterfall(before, after))
    assert steps == {("overhead", "price"): pytest.approx(-bare, rel=1e-12)}  # from 3 to 2


def test_a_slower_clock_is_a_step_of_each_power(net, chip):
    before, after = estimate(net, chip), estimate(net, replace(chip, name="o", clock_hz=250e6))
    steps = steps_of(waterfall(before, after))
    seconds = after.latency.value - before.latency.value
    assert steps == {
        ("static.array", "time"): pytest.approx(48.5e-3 * seconds),
        ("dram.standby", "time"): pytest.approx(20e-3 * seconds),
        ("gb.leakage", "time"): pytest.approx(50e-6 * seconds),
    }


def test_a_memory_of_another_name_is_removed_and_added(net, chip):
    small, big, outer = chip.memories
    named = replace(big, name="sram", read=replace(big.read, name="sram.read"),
                    write=replace(big.write, name="sram.write"))  # fmt: skip
    before = estimate(net, chip)
    after = estimate(net, replace(chip, name="other", memories=(small, named, outer)))
    reads = sum(layer.physical_actions.get("gb.read", 0) for layer in before.layers)
    steps = steps_of(waterfall(before, after))
    joules = reads * big.read.value_si
    assert steps["gb.read", "removed"] == pytest.approx(-joules)
    assert steps["sram.read", "added"] == pytest.approx(joules)


def reports(net):
    found = []
    for name, batch in product(list_profiles(), (1, 3)):
        try:
            found.append(estimate(net, name, batch=batch))
        except ProfileError:  # a table without memories, a chip without this data type
            continue
    return found


def test_steps_add_up_for_every_pair_of_packaged_profiles(net):
    found = waterfalls(reports(net))
    assert len(found) >= 10
    for item in found:
        start, end = (r.energy.value / r.batch for r in (item.start, item.end))
        total = math.fsum(s.energy_j for s in item.steps)
        assert total == pytest.approx(end - start, rel=0, abs=1e-12 * (start + end))
        assert not [s for s in item.steps if s.constant == "other"]
        back = steps_of(waterfall(item.end, item.start))
        swap = {"added": "removed", "removed": "added"}
        for (constant, cause), energy in steps_of(item).items():
            there = back[constant, swap.get(cause, cause)]
            assert there == pytest.approx(-energy, rel=1e-9, abs=1e-12 * (start + end))


def test_compare_has_one_for_each_mode_and_pair_of_profiles(net):
    result = compare([net], ["cmos45", "asic-example"], ["native", "int8"])
    assert [(w.start.mode, w.start.profile, w.end.profile) for w in result.waterfalls] == [
        ("native", "cmos45", "asic-example"),
        ("int8", "cmos45", "asic-example"),
    ]
    found = json.loads(result.to_json())
    jsonschema.validate(found, load_schema("compare"))
    for item in found["waterfalls"]:
        total = math.fsum(step["energy_j"] for step in item["steps"])
        assert total == pytest.approx(item["end_j"] - item["start_j"], rel=1e-9)
        sizes = [abs(step["energy_j"]) for step in item["steps"]]
        assert sizes == sorted(sizes, reverse=True)


def test_one_profile_has_no_waterfall(net):
    assert "waterfalls" not in compare([net], ["cmos45"], ["native", "int8"]).to_dict()
