"""The real chips: their arrays do what is public of them, and they refuse what they cannot run."""

from __future__ import annotations

import pytest
from cost_nets import Builder

from bnnsim.cost.estimate import estimate
from bnnsim.cost.profile import load_profile
from bnnsim.errors import ProfileError
from bnnsim.graph.dtypes import BIT, INT16, DType
from bnnsim.zoo import build


def conv(shape, dtype, out, kernel, weight, pad=0):
    net = Builder("net", shape, dtype)
    weights = ((out, kernel, kernel, shape[-1]), weight)
    return net.add("Conv2d", [weights], pads=(pad,) * 4)


def cycles(report, profile, rows_and_columns):
    """Return the cycles of a report without filling and draining the array."""
    return report.latency.value * profile.clock_hz - rows_and_columns


def test_binareye_takes_64_windows_of_1024_bits_a_cycle():
    chip = load_profile("binareye")
    net = conv((32, 32, 256), BIT, 256, 2, BIT)
    net.add("Threshold", [((256, 1), INT16), ((256,), BIT)], dtype="bit")
    report = estimate(net.graph(), chip)
    layer = report.layers[0]
    # 31 x 31 windows for 256 / 64 = 4 passes of the neurons.
    assert layer.bound_by == "compute"
    assert cycles(report, chip, 1 + 64) == pytest.approx(31 * 31 * 4)
    assert layer.physical_actions["gate.bit"] == 31 * 31 * 256 * 1024
    # The weights of a pass stay in the neurons: 64 x 1,024 bits in words of 256, four times, once.
    weights = 4 * 64 * 1024 // 256
    windows = 31 * 31 * 4 * (1024 // 256)
    thresholds = 256 * 16 // 256 + 1  # 16 bits and a direction a channel
    assert layer.physical_actions["sram.read"] == weights + windows + thresholds


def test_yodann_takes_32_windows_of_7_by_7_a_cycle():
    chip = load_profile("yodann")
    report = estimate(conv((32, 32, 32), DType("signed", 12), 32, 7, BIT, pad=3).graph(), chip)
    (layer,) = report.layers
    assert layer.macs == 32 * 32 * 32 * 32 * 49
    # 1,568 MACs a cycle: 32 x 32 pixels times 32 input channels.
    assert layer.macs / 1568 == 32 * 32 * 32
    compute = 32 * 32 * 32 / chip.clock_hz
    assert report.latency.value >= compute


def test_eyeriss_reduces_over_12_rows_for_14_channels():
    chip = load_profile("eyeriss")
    report = estimate(conv((13, 13, 96), INT16, 28, 3, INT16, pad=1).graph(), chip)
    # 169 pixels, 28 / 14 = 2 passes, 3 x 3 x 96 / 12 = 72 slices of the dot product.
    assert report.macs == {"int16 x int16": 169 * 28 * 864}
    assert report.latency.value >= 169 * 2 * 72 / chip.clock_hz
    assert report.layers[0].physical_actions["mul.int16"] == 169 * 28 * 864


@pytest.mark.parametrize("net", ["tfc", "sfc", "cnv"])
def test_binareye_runs_the_small_binary_networks_of_the_zoo(net):
    report = estimate(build(net), "binareye")
    assert report.unpriced == ()
    assert sum(report.energy_by.values()) == pytest.approx(report.energy.value)
    assert report.energy_by["static"] == 0  # no public figure, none made up


@pytest.mark.parametrize(
    ("net", "name", "said"),
    [
        ("lfc", "binareye", "no room on chip for the weights of"),
        ("tfc", "yodann", "expected a pair among int12 x bit"),
    ],
)
def test_a_chip_refuses_what_it_cannot_run(net, name, said):
    with pytest.raises(ProfileError, match=said):
        estimate(build(net), name)
