"""Estimates through the public path: C1's hand values for the zoo nets, marks, and sums."""

from __future__ import annotations

import json
from importlib import resources

import jsonschema
import numpy as np
import pytest
from nets import Builder, convnet

import bnnsim
from bnnsim.graph.dtypes import INT8

# uJ of one inference, MACs only: pJ per MAC are 4.6 (float32), 0.3 (int8), 0.9 / 0.4 / 0.1 (one
# add per MAC), 2 x 0.1 / 32 (one XNOR and one full adder), the first layer as 8 bit planes.
HAND = {
    "mlp-3x2048": (10_014_720, 784 * 2048),
    "mlp-3x4096": (36_806_656, 784 * 4096),
    "svhn-convnet": (158_017_536, 1024 * 27 * 64),
    "cifar10-convnet": (616_966_144, 1024 * 27 * 128),
}
PICOJOULES = {
    "float32": 4.6,
    "int8": 0.3,
    "weight-only:fp32": 0.9,
    "weight-only:fp16": 0.4,
    "weight-only:int8": 0.1,
}
NEURONS = {  # batch norms of one inference, the ten outputs included; after pooling
    "mlp-3x2048": 3 * 2048 + 10,
    "cifar10-convnet": 1024 * 128 + 256 * 128 + 256 * 256 + 64 * 256 + 64 * 512 + 16 * 512
    + 2 * 1024 + 10,
}  # fmt: skip


@pytest.mark.parametrize("mode", PICOJOULES)
@pytest.mark.parametrize("name", HAND)
def test_macs_and_arithmetic_energy(name: str, mode: str) -> None:
    report = bnnsim.estimate(bnnsim.load(f"zoo:{name}"), "cmos45-arith", mode=mode)
    assert sum(report.macs.values()) == HAND[name][0]
    assert report.energy_by["compute"] == pytest.approx(HAND[name][0] * PICOJOULES[mode] * 1e-12)


@pytest.mark.parametrize("name", HAND)
def test_binary_macs_and_arithmetic_energy(name: str) -> None:
    macs, first = HAND[name]
    report = bnnsim.estimate(bnnsim.load(f"zoo:{name}"), "cmos45-arith", mode="binary")
    assert report.macs == {"int16 x bit": first, "bit x bit": macs - first}
    joules = (8 * first + macs - first) * 0.00625e-12
    assert report.energy_by["compute"] == pytest.approx(joules)


@pytest.mark.parametrize("name", NEURONS)
def test_kept_batch_norms_cost_a_float_multiply_and_add_each(name: str) -> None:
    graph = bnnsim.load(f"zoo:{name}")
    report = bnnsim.estimate(graph, "cmos45-arith", mode="float32", keep_bn=True)
    assert report.energy_by["normalization"] == pytest.approx(NEURONS[name] * 4.6e-12)


@pytest.mark.parametrize("profile", ["cmos45", "cmos45-arith", "asic-example"])
@pytest.mark.parametrize("mode", [*PICOJOULES, "native", "binary"])
def test_energy_by_sums_to_the_total_and_json_fits_its_schema(profile: str, mode: str) -> None:
    plain = bnnsim.estimate(convnet(1), profile, mode=mode).to_dict()
    total = plain["totals"]["energy_j"]["value"]
    assert sum(plain["energy_by"].values()) == pytest.approx(total, rel=1e-9)
    assert sum(layer["energy_j"] for layer in plain["layers"]) == pytest.approx(total, rel=1e-9)
    schema = json.loads((resources.files("bnnsim.schemas") / "estimate.schema.json").read_text())
    jsonschema.validate(json.loads(json.dumps(plain)), schema)


def test_twins_say_so_first_and_the_trained_precision_does_not() -> None:
    graph = convnet(1)
    assert bnnsim.estimate(graph, "cmos45", mode="binary").notes == ()
    twin = bnnsim.estimate(graph, "cmos45", mode="int8")
    assert twin.notes == ("what-if: not trained in this precision, no accuracy",)
    assert not twin.synthetic


def test_twins_of_thresholds_are_synthetic() -> None:
    net = Builder((6, 6, 3)).encode(np.arange(-128, 128), INT8).conv(8)
    graph = net.thresholds(1, "bit", 0, 90).add("Flatten").dense(4).graph()
    result = bnnsim.compare([graph], ["cmos45"], ["native", "binary", "float32", "int8"])
    columns = result.to_dict()["columns"]
    assert [column["synthetic"] for column in columns] == [False, False, True, True]
    assert columns[3]["notes"][0].startswith("cost-only twin")


def test_compare_takes_several_sources_profiles_and_modes() -> None:
    graphs = [bnnsim.load("zoo:tfc"), bnnsim.load("zoo:sfc")]
    result = bnnsim.compare(graphs, ["cmos45", "asic-example"], ["float32", "binary"]).to_dict()
    assert len(result["columns"]) == 8
    same = [r for r in result["ratios"] if r["of"]["source"] == r["over"]["source"]]
    assert same
    assert all(r["energy"]["low"] <= r["energy"]["value"] <= r["energy"]["high"] for r in same)
