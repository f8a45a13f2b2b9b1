"""The paper's Tables 2 and 3 come out of a profile, with a 1-bit row and a worked example."""

from __future__ import annotations

import json

import pytest
from cost_nets import mlp

from bnnsim.cost.estimate import estimate
from bnnsim.cost.profile import load_profile
from bnnsim.cost.tables import energy_tables


@pytest.fixture(scope="module")
def tables():
    return energy_tables(load_profile("cmos45-dram"))


def test_table_2_is_joules_per_operation(tables):
    picojoules = {
        row.operation: (row.multiply_j * 1e12, row.add_j * 1e12) for row in tables.operations
    }
    for name, pair in {
        "8-bit integer": (0.2, 0.03), "32-bit integer": (3.1, 0.1), "16-bit float": (1.1, 0.4),
        "32-bit float": (3.7, 0.9),
    }.items():  # fmt: skip
        assert picojoules[name] == pytest.approx(pair)
        row = next(r for r in tables.operations if r.operation == name)
        assert "Horowitz, ISSCC 2014" in row.source
        assert "fig. 1.1.9" in row.source


def test_table_2_has_a_1_bit_row_with_its_derivation(tables):
    row = next(r for r in tables.operations if r.operation == "1 bit")
    # 0.3 of a full adder; 60 full adders for 64 bits.
    assert row.multiply_j == pytest.approx(0.3 * 0.1e-12 / 32)
    assert row.add_j == pytest.approx(60 / 64 * 0.1e-12 / 32)
    assert "57 full and 6 half adders" in row.source
    single = energy_tables(load_profile("cmos45-arith")).operations[-1]
    assert single.multiply_j + single.add_j == pytest.approx(0.00625e-12)


def test_table_3_is_joules_per_64_bit_access(tables):
    picojoules = {row.memory: row.access_j * 1e12 for row in tables.accesses}
    assert picojoules["8.00 KiB"] == pytest.approx(10)
    assert picojoules["32.0 KiB"] == pytest.approx(20)
    assert picojoules["1.00 MiB"] == pytest.approx(100)
    assert 1300 < picojoules["dram, off chip"] < 2600
    assert len(picojoules) == len(tables.accesses)


def test_the_worked_example_adds_up():
    report = estimate(mlp("binary", 256), "cmos45")
    found = energy_tables(load_profile("cmos45"), report)
    assert found.example_title == "mlp-3x256, mode binary, batch 1"
    assert sum(row.energy_j for row in found.example) == pytest.approx(report.energy.value)
    for row in found.example:
        assert row.energy_j == pytest.approx(row.count * row.each_j)
    assert json.loads(json.dumps(found.to_dict()))["profile"] == "cmos45"
    assert found.overhead.startswith("x 3")
