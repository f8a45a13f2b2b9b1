"""cmos45-arith reproduces the hand values: MACs times picojoules, nothing else in ``compute``.

MACs: MLP 784-3xN-10 = 784 N + 2 N^2 + 10 N. ConvNet of width w on 32 x 32 x 3, 3 x 3 kernels, same
padding: 1024 (27 w + 9 w^2) + 256 (18 w^2 + 36 w^2) + 64 (72 w^2 + 144 w^2)
+ 16 * 4 w * 1024 + 1024^2 + 10 * 1024.
"""

from __future__ import annotations

import pytest
from cost_nets import FLOATS, Builder, convnet, mlp

from bnnsim.cost.estimate import estimate
from bnnsim.cost.profile import load_profile

# pJ per MAC: fp32 3.7 + 0.9, int8 0.2 + 0.1 (32-bit add), weight-only one add of the activation's
# type (int8 into 32 bit), binary one XNOR and one full adder of 0.1 / 32 pJ each.
PICOJOULES = {"float32": 4.6, "int8": 0.3, "weight-only:fp32": 0.9, "weight-only:fp16": 0.4,
              "weight-only:int16": 0.05, "weight-only:int8": 0.1}  # fmt: skip
BIT_PJ = 2 * 0.1 / 32


def mlp_macs(n):
    return 784 * n, 784 * n + 2 * n * n + 10 * n


def convnet_macs(w):
    convs = 1024 * (27 * w + 9 * w * w) + 256 * 54 * w * w + 64 * 216 * w * w
    return 1024 * 27 * w, convs + 16 * 4 * w * 1024 + 1024 * 1024 + 10 * 1024


NETS = {
    "mlp-3x2048": (lambda mode: mlp(mode, 2048), mlp_macs(2048)),
    "mlp-3x4096": (lambda mode: mlp(mode, 4096), mlp_macs(4096)),
    "svhn-convnet": (lambda mode: convnet(mode, 64), convnet_macs(64)),
    "cifar10-convnet": (lambda mode: convnet(mode, 128), convnet_macs(128)),
}
# Published to three or four digits, in uJ: fp32, int8, weight-only fp32 / fp16 / int16, binary.
TABLE = {
    "mlp-3x2048": (46.07, 3.00, 9.01, 4.01, 0.50, 0.133),
    "mlp-3x4096": (169.3, 11.0, 33.1, 14.7, 1.84, 0.371),
    "svhn-convnet": (726.9, 47.4, 142, 63.2, 7.90, 1.065),
    "cifar10-convnet": (2838, 185, 555, 247, 30.8, 4.011),
}
MODES = ("float32", "int8", "weight-only:fp32", "weight-only:fp16", "weight-only:int16")


@pytest.fixture(scope="module")
def arith():
    return load_profile("cmos45-arith")


def test_macs_are_those_of_the_architectures():
    assert mlp_macs(2048)[1] == 10_014_720
    assert mlp_macs(4096)[1] == 36_806_656
    assert convnet_macs(64)[1] == 158_017_536
    assert convnet_macs(128) == (3_538_944, 616_966_144)


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("mode", PICOJOULES)
def test_compute_energy_is_macs_times_the_price_of_one(net, mode, arith):
    build, (_, macs) = NETS[net]
    report = estimate(build(mode), arith)
    assert sum(report.macs.values()) == macs
    assert report.energy_by["compute"] == pytest.approx(macs * PICOJOULES[mode] * 1e-12, rel=1e-12)
    if mode in MODES:
        shown = TABLE[net][MODES.index(mode)]
        assert report.energy_by["compute"] * 1e6 == pytest.approx(shown, rel=5e-3)


@pytest.mark.parametrize("net", NETS)
def test_binary_energy_has_eight_planes_in_the_first_layer(net, arith):
    build, (first, macs) = NETS[net]
    report = estimate(build("binary"), arith)
    assert report.macs == {"int16 x bit": first, "bit x bit": macs - first}
    by_hand = (8 * first + macs - first) * BIT_PJ * 1e-12
    assert report.energy_by["compute"] == pytest.approx(by_hand, rel=1e-12)
    assert report.energy_by["compute"] * 1e6 == pytest.approx(TABLE[net][5], rel=4e-3)
    share = 8 * first / (8 * first + macs - first)
    published = {"mlp-3x2048": 60, "mlp-3x4096": 43, "svhn-convnet": 8, "cifar10-convnet": 4}
    assert 100 * share == pytest.approx(published[net], abs=0.9)


def test_weight_only_int8_on_the_cifar_net_is_62_microjoules(arith):
    report = estimate(convnet("weight-only:int8", 128), arith)
    assert report.energy_by["compute"] * 1e6 == pytest.approx(62, rel=0.01)


def test_thresholds_are_normalization_at_16_bits(arith):
    # 3 x 2048 compares of 0.05 pJ; the scores of the last layer stay as they are.
    report = estimate(mlp("binary", 2048), arith)
    assert report.energy_by["normalization"] == pytest.approx(3 * 2048 * 0.05e-12)


@pytest.mark.parametrize(("elements", "shown"), [
    (3 * 2048, 0.028), (3 * 4096, 0.057),  # the MLPs; then the ConvNets of width 64 and 128,
    # after pooling: 32^2 w + 16^2 3 w + 8^2 6 w + 4^2 4 w + 2 x 1024
    (32 * 32 * 64 + 16 * 16 * 192 + 8 * 8 * 384 + 4 * 4 * 256 + 2048, 0.669),
    (32 * 32 * 128 + 16 * 16 * 384 + 8 * 8 * 768 + 4 * 4 * 512 + 2048, 1.328),
])  # fmt: skip
def test_batch_norm_in_float32_costs_a_multiply_and_an_add_per_element(elements, shown, arith):
    f32 = FLOATS["float32"]
    build = Builder("bn", (elements,), f32)
    graph = build.add("BatchNorm", [((elements,), f32)] * 4, eps=1e-4).graph()
    joules = estimate(graph, arith).energy_by["normalization"]
    assert joules == pytest.approx(elements * 4.6e-12)
    assert joules * 1e6 == pytest.approx(shown, abs=0.0006)


def test_the_arithmetic_profile_says_what_it_leaves_out(arith):
    report = estimate(mlp("binary", 64), arith)
    assert report.unpriced == (
        "memory and input/output: profile 'cmos45-arith' is arithmetic only",
    )
    for key in ("weights_memory", "activations_memory", "io", "static", "rng", "launch"):
        assert report.energy_by[key] == 0
    assert report.off_chip_bytes == 0
