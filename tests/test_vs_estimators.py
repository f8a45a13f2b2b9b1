"""Profiles with other tools' constants give the figures that the tools gave."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bnnsim.cost.profile import load_profile
from experiments.vs_estimators import peers
from experiments.vs_estimators.__main__ import RESULTS
from experiments.vs_estimators.tables import TABLES, our_rows, tool_rows
from experiments.vs_estimators.work import FOLDER, layer, ours

TOLD = json.loads((RESULTS / "bench.json").read_text())
CONV, DENSE = 28 * 28 * 9 * 128 * 128, 4096 * 4096  # MACs


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_profiles_load_and_name_no_chip(path):
    chip = load_profile(path)
    assert chip.calibrated_on == ()


def test_constants_of_qtools_by_hand():
    """A bit-MAC is an XNOR and an add of 1 + log2(1152) bits; weights are read once."""
    told = ours("conv", "binary", "qtools")["by"]
    assert told["compute"] == pytest.approx(CONV * (0.0009375 + 12 * 0.003125))
    assert told["weights_memory"] == pytest.approx(9 * 128 * 128 * 20.3125)
    int8 = ours("dense", "int8", "qtools")["by"]
    assert int8["compute"] == pytest.approx(DENSE * (0.2 + 28 * 0.003125))
    assert int8["weights_memory"] == pytest.approx(DENSE * 8 * 20.3125)
    sram = ours("dense", "int8", "qtools-sram")["by"]
    assert sram["weights_memory"] == pytest.approx(DENSE * 8 / 64 * 243.44254842)


def test_constants_of_zigzag_by_hand():
    """4 passes of 36 slices over 784 pixels read 256 bits each; operands cross the edge once."""
    told = ours("conv", "int8", "zigzag")
    assert told["by"]["compute"] == pytest.approx(CONV * (0.04 + 0.042))
    weights = 9 * 128 * 128
    scales = 128 * 2 * 32 / 64 * 700
    edge = (weights + 28 * 28 * 128) / 8 * 700 + 28 * 28 * 128 / 8 * 750
    assert told["parts"]["dram"] == pytest.approx(edge + scales)
    registers = (CONV + weights) * 0.095
    reads, fills = 4 * 36 * 784 * 52.02, 3136 * 47.3
    assert told["parts"]["on chip"] == pytest.approx(registers + reads + fills, rel=0.03)


def test_tools_constants_give_the_tools_figures():
    """The claims of docs/estimators.md: equal, 64 times, one per mille."""
    theirs, mine, sram = tool_rows(TOLD, "qtools"), our_rows("qtools"), our_rows("qtools-sram")
    for precision in ("float32", "int8", "binary"):
        key = "conv", precision
        macs = theirs[key]["dram"]["op_cost"]
        assert mine[key]["by"]["compute"] == pytest.approx(macs, rel=1e-6)
    for key, row in theirs.items():
        weights = row["dram"]["parameters"]
        assert mine[key]["by"]["weights_memory"] == pytest.approx(weights, rel=1e-6)
    for key, row in sram.items():
        wrong = theirs[key]["sram"]["parameters"]
        assert row["by"]["weights_memory"] / wrong == pytest.approx(64, rel=1e-5)
    for name in ("dense", "conv"):
        tool = tool_rows(TOLD, "zigzag")[name, "int8"]["energy"]
        assert our_rows("zigzag")[name, "int8"]["energy"] == pytest.approx(tool, rel=1e-3)


@pytest.mark.parametrize(("name", "tiles", "pixels"), [("conv", 144, 784), ("dense", 16384, 1)])
def test_cycles_of_scalesim_in_closed_form(name, tiles, pixels):
    (row,) = [r for r in TOLD["tools"]["scalesim"]["rows"] if r["layer"] == name]
    assert row["cycles"] == tiles * (2 * 32 + 32 + pixels - 2) - 1


def test_a_result_in_the_activations_type():
    for precision, dtype in (("1w8a", "int8"), ("binary", "bit")):
        graph = layer("conv", precision, narrow=True)
        assert str(graph.result(graph.nodes[-1]).dtype) == dtype


def fake(folder: Path, body: str) -> str:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def test_a_tool_that_is_not_there_is_skipped_by_name(monkeypatch, tmp_path):
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda _: None)
    told = peers.ask("zigzag", None)
    assert told == {
        "skipped": "not installed: pip install zigzag-dse==3.9.1 six; then give --zigzag PYTHON"
    }
    missing = str(tmp_path / "none")
    assert peers.ask("zigzag", missing) == {"skipped": f"{missing}: No such file or directory"}
    broken = fake(tmp_path, "echo 'ModuleNotFoundError: zigzag' >&2; exit 1")
    said = f"{broken} cannot run it: ModuleNotFoundError: zigzag"
    assert peers.ask("zigzag", broken) == {"skipped": said}
    nothing = {"tools": {key: {"skipped": said} for key in peers.TOOLS}}
    for name, table in TABLES.items():
        text = table(nothing)
        assert ("bnnsim" in text) or name in ("skipped", "words")
    assert f"| ZigZag | skipped: {said} |" in TABLES["skipped"](nothing)


def test_a_tool_that_is_there_answers_in_json(tmp_path):
    answers = fake(tmp_path, """echo '{"version": "1", "rows": []}'""")
    assert peers.ask("scalesim", answers) == {"version": "1", "rows": []}
