"""Random numbers in estimates: bits, generators and the stochastic sign's work, by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import nets
import pytest
import yaml
from cost_nets import FLOATS, Builder
from counting_executor import execute

from bnnsim import api
from bnnsim.cost.actions import count_actions
from bnnsim.cost.estimate import estimate
from bnnsim.cost.generators import generators
from bnnsim.cost.hardware import STATUSES, UNSATURATED
from bnnsim.cost.profile import load_profile
from bnnsim.cost.profile_yaml import find_profile
from bnnsim.errors import ProfileError

SIGNS = 65 + 33  # of nets.mlp(): the layers before the last


@pytest.fixture(scope="module")
def chip():
    return load_profile("cmos45")


def signs(count, bits):
    build = Builder("st", (count,), FLOATS["float32"])
    return build.add("Quantize", quantizer="stochastic_sign", bits=bits).graph()


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_counts_of_a_stochastic_sign_equal_those_of_the_counting_executor(bits, rng):
    graph = signs(37, bits)
    word = f"uint{bits}"
    ways = ["add.float32", f"convert.{word}", f"compare.{word}", f"draw.{word}", "pack.bit"]
    (tally,) = execute(graph, rng, {0: {"kinds": ways}}).values()
    (counts,) = count_actions(graph)
    assert {str(a): n for a, n in counts.actions.items()} == dict(tally.counts)


def test_a_stochastic_layer_by_hand(chip):
    # 100 signs of 8 bits: an add of float32, a conversion and a compare of 8 full adders each.
    report = estimate(signs(100, 8), chip)
    (layer,) = report.layers
    assert layer.physical_actions["add.float32"] == 100
    assert layer.physical_actions["add.bit"] == 100 * (8 + 8)
    assert layer.physical_actions["register.bit"] == 100
    assert layer.physical_actions["rng.energy"] == report.rng_bits == 800
    picojoules = 3 * 100 * (0.9 + 16 * 0.003125)  # overhead 3
    assert layer.energy_by["elementwise"] == pytest.approx(picojoules * 1e-12)
    assert layer.energy_by["rng"] == pytest.approx(800 * 0.02e-12)  # no overhead on top


@pytest.mark.parametrize(
    ("lazy", "skip", "bits"),
    [
        (False, False, 8 * 3000),
        (True, False, 5977),  # 3000 x (2 - 2^-7) = 5976.56
        (False, True, 8 * 2049),  # 3000 x 0.68269 = 2048.07 draw at all
        (True, True, 4082),  # 2049 x (2 - 2^-7) = 4081.99
    ],
)
def test_eager_lazy_and_saturation_skip(lazy, skip, bits, chip):
    profile = replace(chip, rng=replace(chip.rng, lazy=lazy, skip_saturated=skip))
    report = estimate(signs(3000, 8), profile)
    assert report.rng_bits == bits
    assert report.energy_by["rng"] == pytest.approx(bits * 0.02e-12)


def test_lazy_draws_of_many_bits_approach_two(chip):
    # 2 - 2^-15 bits a draw and 0.6827 draws an activation: 1.37, as measured on random nets.
    profile = replace(chip, rng=replace(chip.rng, lazy=True, skip_saturated=True))
    report = estimate(signs(100_000, 16), profile)
    assert report.rng_bits / 100_000 == pytest.approx(1.3654, abs=1e-4)
    assert math.erf(1 / math.sqrt(2)) == pytest.approx(UNSATURATED)


def test_the_unsaturated_share_may_be_stated(chip):
    rng = replace(chip.rng, skip_saturated=True, unsaturated=0.25)
    assert estimate(signs(1000, 8), replace(chip, rng=rng)).rng_bits == 2000


@pytest.mark.parametrize("batch", [1, 5])
def test_the_mode_draws_once_per_sign_and_keeps_batch_norms(batch):
    graph = nets.mlp(1)
    report = api.estimate(graph, "cmos45", mode="binary-stochastic", batch=batch)
    assert report.rng_bits == SIGNS * 8 * batch
    assert report.energy_by["rng"] == pytest.approx(SIGNS * 8 * batch * 0.02e-12)
    norms = [layer for layer in report.layers if layer.op == "BatchNorm"]
    assert [layer.logical_actions["mul.float32"] for layer in norms] == [65, 33, 10]
    # A conversion of int32 to float32, priced as an add, then a multiply and an add; overhead 3.
    per_image = 3 * (0.9 + 3.7 + 0.9) * 1e-12 * (65 + 33 + 10)
    assert report.energy_by["normalization"] == pytest.approx(per_image * batch)
    assert sum(report.energy_by.values()) == pytest.approx(report.energy.value, rel=1e-9)


@pytest.mark.parametrize("mode", ["native", "binary", "float32", "int8", "weight-only"])
def test_other_modes_draw_nothing(mode):
    report = api.estimate(nets.convnet(1), "cmos45", mode=mode)
    assert report.rng_bits == 0
    assert report.energy_by["rng"] == 0


def test_macs_are_those_of_the_binary_mode():
    reports = [
        api.estimate(nets.convnet(1), "cmos45", mode=m) for m in ("binary", "binary-stochastic")
    ]
    assert reports[0].macs == reports[1].macs
    assert reports[0].macs_valid == reports[1].macs_valid
    assert reports[0].memory["weights_bytes"] == reports[1].memory["weights_bytes"]


def test_packaged_generators_have_provenance():
    found = generators()
    assert set(found) == {"lfsr32", "xorshift32", "philox", "trng"}
    for constant in found.values():
        assert constant.dimension == "J/randbit"
        assert constant.status in STATUSES
        assert constant.source
        assert constant.at
        assert constant.band >= 1


def test_derived_generators_follow_their_formula(chip):
    gate, register = (chip.actions[name].value_si for name in ("gate.bit", "register.bit"))
    found = {name: constant.value_si for name, constant in generators().items()}
    assert found["lfsr32"] == pytest.approx(2 * 32 * register + 3 * gate, rel=1e-3)
    assert found["xorshift32"] == pytest.approx((64 * register + 75 * gate) / 32, rel=0.01)
    assert found["philox"] == pytest.approx(98 * 70e-12 / 128, rel=1e-3)
    assert found["trng"] == pytest.approx(7e-3 / 2.4e9, rel=0.01)
    assert chip.rng.energy.value_si == found["xorshift32"]


@pytest.fixture
def write(tmp_path):
    def writer(rng):
        raw = yaml.safe_load(find_profile("cmos45").read_text())
        path = tmp_path / "mine.yaml"
        path.write_text(yaml.safe_dump({**raw, "name": "mine", "rng": rng}, sort_keys=False))
        return path

    return writer


@pytest.mark.parametrize("name", ["lfsr32", "xorshift32", "philox", "trng"])
def test_a_profile_names_a_generator(name, write):
    profile = load_profile(write({"generator": name, "bits": 4, "lazy": True}))
    assert profile.rng.energy == generators()[name]
    report = api.estimate(nets.mlp(1), profile, mode="binary-stochastic")
    assert report.rng_bits == -(-65 * 15 // 8) + -(-33 * 15 // 8)  # 2 - 2^-3 = 15/8 a draw
    assert report.energy_by["rng"] == pytest.approx(report.rng_bits * generators()[name].value_si)
    shares = {a.constant: a.source for a in report.assumptions}
    assert generators()[name].at in shares["rng.energy"]


@pytest.mark.parametrize(
    ("rng", "text"),
    [
        ({"generator": "lsfr32"}, r"rng.generator: got 'lsfr32', expected one of lfsr32, .* or an "
         r"'energy' beside it. Did you mean 'lfsr32'\?"),
        ({"generator": "trng", "skip_saturated": 1}, "skip_saturated: got 1, expected true or fal"),
        ({"generator": "trng", "unsaturated": 1.5}, "unsaturated: got 1.5, expected a share"),
        ({"generator": "trng", "bits": 3}, "bits: got 3, expected 1, 2, 4, 8 or 16"),
        ({"generator": "mine", "energy": "1 pJ/bit"}, "energy: got '1 pJ/bit'"),
        ({"generator": "mine", "energy": "1 pJ/randbit"}, "rng.status: got None"),
        ({"generator": "trng", "band": 2}, "rng.band: got 2, expected a key among"),
    ],
)  # fmt: skip
def test_a_wrong_rng_section_is_refused(rng, text, write):
    with pytest.raises(ProfileError, match=text):
        load_profile(write(rng))
