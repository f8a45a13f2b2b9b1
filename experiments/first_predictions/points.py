"""The published points that the three profiles can be asked about, and those that they cannot."""

from __future__ import annotations

from dataclasses import dataclass

from bnnsim import load_profile
from bnnsim.cost.estimate import estimate
from bnnsim.cost.intervals import Interval
from bnnsim.cost.scope import chip_energy
from bnnsim.validate.nets import (
    ALEXNET,
    alexnet_layer,
    binareye_cifar10,
    yodann_peak,
)

EYERISS_BATCH = 4
# Chen et al., JSSC 2017, table V: milliwatts, milliseconds in all and of processing, four images.
EYERISS = {
    "conv1": (332, 20.9, 16.5),
    "conv2": (288, 41.9, 39.2),
    "conv3": (266, 23.6, 21.8),
    "conv4": (235, 18.4, 16.0),
    "conv5": (236, 10.5, 10.0),
}
UNMODELLED = (
    ("binareye-face", "the network of the 0.92 uJ face detector is not public in what was read"),
    ("binareye-rate", "150 frames/s and the 14.4 uJ belong to a clock that was not found"),
    ("yodann-0v6", "0.6 V is at the minimum of the 65 nm energy curve (0.59 V): no scaling there"),
    ("yodann-rate", "the profile's clock was derived from the published rate"),
)


@dataclass(frozen=True, slots=True)
class Point:
    """One published figure with its prediction, both in ``unit``."""

    id: str
    chip: str
    quantity: str
    unit: str
    scope: str
    confirmed: bool
    published: float
    predicted: Interval


def all_points() -> list[Point]:
    """Return every point, predicted with the profiles as they are."""
    return [_binareye(), _yodann(), *_eyeriss()]


def _binareye() -> Point:
    profile = load_profile("binareye")
    energy = chip_energy([estimate(binareye_cifar10(), profile)], profile)
    return Point("binareye-cifar10", "BinarEye", "energy per frame", "J", "chip without pins",
                 True, 14.4e-6, energy)  # fmt: skip


def _yodann() -> Point:
    profile = load_profile("yodann")
    report = estimate(yodann_peak(), profile)
    energy, ops = chip_energy([report], profile), 2 * sum(report.macs.values())
    each = Interval(energy.value / ops, energy.low / ops, energy.high / ops)
    return Point("yodann-1v2", "YodaNN", "energy per operation (2 a MAC)", "J", "core without pins",
                 False, 153e-3 / 1510e9, each)  # fmt: skip


def _eyeriss() -> list[Point]:
    profile = load_profile("eyeriss")
    reports = {
        layer[0]: estimate(alexnet_layer(layer), profile, batch=EYERISS_BATCH) for layer in ALEXNET
    }
    points = []
    for name, report in reports.items():
        milliwatts, total, processing = EYERISS[name]
        joules = milliwatts * 1e-3 * total * 1e-3 / EYERISS_BATCH
        each = _per_image(chip_energy([report], profile))
        points += [
            Point(f"eyeriss-{name}", "Eyeriss", "energy per image", "J", "chip without DRAM",
                  False, joules, each),
            Point(f"eyeriss-{name}-time", "Eyeriss", "processing time per image", "s", "array",
                  True, processing * 1e-3 / EYERISS_BATCH, _per_image(report.latency)),
        ]  # fmt: skip
    energy = _per_image(chip_energy(list(reports.values()), profile))
    points.append(Point("eyeriss-alexnet", "Eyeriss", "energy per image", "J", "chip without DRAM",
                        True, 278e-3 / 34.7, energy))  # fmt: skip
    return points


def _per_image(found: Interval) -> Interval:
    return Interval(*(x / EYERISS_BATCH for x in (found.value, found.low, found.high)))
