"""The paper's Tables 2 and 3 come out of a profile, with a 1-bit row and a worked example."""

from __future__ import annotations

import io
import json
import re

import pytest
from cost_nets import mlp

from bnnsim.cost.estimate import estimate
from bnnsim.cost.profile import load_profile
from bnnsim.cost.tables import energy_tables
from bnnsim.report.profiles import tables_blocks
from bnnsim.report.text import plain, write_blocks


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


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
    basis = {row.constant: row.basis for row in found.example}
    assert basis["add.bit"] == "0.003125 pJ x overhead 3"
    assert basis["gb.read"] == "one word of 64 bits"
    assert basis["static"].startswith("static power x ")
    assert found.overhead.startswith("x 3")


def test_counts_of_the_worked_example_come_out_by_hand():
    found = energy_tables(load_profile("cmos45"), estimate(mlp("binary", 2048), "cmos45"))
    counts = {row.constant: row.count for row in found.example}
    # Words of 64 operand pairs: 8 planes of 784 pixels, two layers of 2048, one of 10 outputs.
    first, hidden, last = 13 * 8 * 2048, 2 * 32 * 2048, 32 * 10
    assert counts["gate.bit"] == 64 * (first + hidden + last)
    # 57 full and 6 half adders a word, then its sum into 18 or 12 bits; compares; 2x - 255.
    sums = 18 * first + 12 * (hidden + last)
    compares = (18 + 2 * 12) * 2048
    assert counts["add.bit"] == 60 * (first + hidden + last) + sums + compares + 16 * 784


@pytest.mark.parametrize("width", [80, 140])
def test_tables_are_readable_at_usual_widths(width, monkeypatch):
    report = estimate(mlp("binary", 2048), "cmos45")
    found = energy_tables(load_profile("cmos45"), report).to_dict()
    blocks = tables_blocks(found)
    assert max(map(len, plain(blocks).splitlines())) <= 80
    monkeypatch.setenv("COLUMNS", str(width))
    terminal = Terminal()
    write_blocks(blocks, terminal)
    shown = re.sub(r"\x1b\[[0-9;]*m", "", terminal.getvalue())
    assert "(continued)" not in shown
    for row in found["operations"] + found["accesses"]:
        assert row["source"] in " ".join(shown.split())
    lines = [line.split() for line in shown.splitlines()]
    assert ["32-bit", "float", "3.7", "0.9", "[5]"] in lines
    assert ["gate.bit", "22,040,576", "0.0028125", "0.0620", "0.0009375", "pJ", "x", "overhead",
            "3"] in lines  # fmt: skip
    assert "[6] multiply = one XNOR" in shown
