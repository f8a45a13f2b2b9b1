"""What levels of k bits cost: planes by hand, order of the modes, memory, every profile priced."""

from __future__ import annotations

from functools import cache

import pytest

import bnnsim
from bnnsim.cost.estimate import CostReport

NETS = {"mlp-3x2048": (10_014_720, 784 * 2048), "cifar10-convnet": (616_966_144, 1024 * 27 * 128)}
LADDER = ("w1a1", "w2a2", "w4a4", "w8a8")
LEVELS = ("w5a3", "w8a1", "w1a8", "ternary")
PRICED = ("cmos45", "cmos45-arith", "asic-example", "eyeriss")


@cache
def estimate(name: str, profile: str, mode: str) -> CostReport:
    return bnnsim.estimate(bnnsim.load(f"zoo:{name}"), profile, mode=mode)


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize(("mode", "first", "rest"), [
    ("w1a1", 8, 1), ("w2a2", 16, 4), ("w1a4", 8, 4), ("w3a2", 24, 6), ("w8a8", 64, 64),
    ("ternary", 16, 2),  # pixels by ternaries: one 32-bit add, 0.1 pJ
])  # fmt: skip
def test_arithmetic_is_one_xnor_and_one_adder_for_each_plane_pair(name, mode, first, rest) -> None:
    macs, pixels = NETS[name]
    report = estimate(name, "cmos45-arith", mode)
    joules = (first * pixels + rest * (macs - pixels)) * 0.00625e-12
    assert report.energy_by["compute"] == pytest.approx(joules)


@pytest.mark.parametrize("profile", PRICED)
@pytest.mark.parametrize("name", NETS)
def test_more_bits_never_cost_less(name: str, profile: str) -> None:
    reports = [estimate(name, profile, mode) for mode in LADDER]
    joules, seconds = ([getattr(r, key).value for r in reports] for key in ("energy", "latency"))
    assert joules == sorted(joules)
    assert seconds == sorted(seconds)
    weights = [r.memory["weights_bytes"] for r in reports]
    assert weights == [bits * weights[0] for bits in (1, 2, 4, 8)]


@pytest.mark.parametrize("profile", PRICED)
@pytest.mark.parametrize("name", NETS)
def test_w1a1_is_binary(name: str, profile: str) -> None:
    one, binary = (estimate(name, profile, mode).to_dict() for mode in ("w1a1", "binary"))
    assert one["totals"] == binary["totals"]
    assert one["layers"] == binary["layers"]
    assert one["notes"] == binary["notes"]
    emulated = profile == "eyeriss"  # which has 16-bit integers only
    assert bool(one["notes"]) == emulated
    assert all(note.endswith("on eyeriss: ops_per_pe lacks the pair") for note in one["notes"])


@pytest.mark.parametrize(("name", "profile", "mode"), [
    *((name, profile, mode) for name in ("tfc", "resnet20") for profile in PRICED[:-1]
      for mode in (*LEVELS, "float16", "bfloat16")),
    *(("tfc", "eyeriss", mode) for mode in LEVELS),  # which has no float unit of any width
])  # fmt: skip
def test_every_mode_is_priced_on_every_profile_that_emulates(name, mode, profile) -> None:
    report = estimate(name, profile, mode)
    only = ["memory and input/output"] if profile == "cmos45-arith" else []
    assert [hole.partition(":")[0] for hole in report.unpriced] == only
    assert sum(report.energy_by.values()) == pytest.approx(report.energy.value, rel=1e-9)


def test_thresholds_are_counted_and_stored() -> None:
    graph = bnnsim.load("zoo:mlp-3x2048")
    for mode, steps in (("w1a1", 1), ("w2a2", 3), ("w4a4", 15)):
        report = bnnsim.estimate(graph, "cmos45", mode=mode)
        first = next(layer for layer in report.layers if layer.op == "Threshold")
        compares = sum(n for a, n in first.logical_actions.items() if a.startswith("compare"))
        assert compares == steps * 2048
        # thresholds of 4 bytes and directions of 1, the last batch norm's or affine's scale, bias
        parameters = report.memory["parameters_bytes"]
        last = 2 * 4 * 10 if mode != "w1a1" else 4 * 4 * 10
        assert parameters == 3 * 2048 * (4 * steps + 1) + last + 512  # the pixels' table


def test_half_floats_halve_the_weights_and_bfloat16_has_the_wider_interval() -> None:
    single, half, brain = (
        estimate("cifar10-convnet", "cmos45", mode) for mode in ("float32", "float16", "bfloat16")
    )
    assert single.memory["weights_bytes"] == 2 * half.memory["weights_bytes"]
    assert half.energy.value == brain.energy.value < single.energy.value / 2
    assert brain.energy.high / brain.energy.low > half.energy.high / half.energy.low
    by_hand = 616_966_144 * (1.1 + 0.4) * 1e-12
    arith = estimate("cifar10-convnet", "cmos45-arith", "float16")
    assert arith.energy_by["compute"] == pytest.approx(by_hand)
