"""The table of import times in docs/frontends.md is that of the stored run, within its limits."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

pytest.importorskip("torch")

import bnnsim
from experiments.import_times import nets
from experiments.import_times.__main__ import LIMIT_BYTES, LIMITS_S, RESULTS, table

PAGE = Path(__file__).resolve().parents[1] / "docs" / "frontends.md"
START, END = "<!-- import times -->\n", "<!-- end -->"


def test_the_page_has_the_stored_times():
    made = table(json.loads((RESULTS / "times.json").read_text()))
    before, rest = PAGE.read_text(encoding="utf-8").split(START)
    held, after = rest.split(END, 1)
    if os.environ.get("BNNSIM_UPDATE_DOCS") == "1":
        PAGE.write_text(f"{before}{START}{made}{END}{after}", encoding="utf-8")
        return
    assert held == made, "run BNNSIM_UPDATE_DOCS=1 pytest tests/test_import_times.py"


def test_the_stored_times_keep_the_limits():
    rows = json.loads((RESULTS / "times.json").read_text())["nets"]
    assert set(rows) == set(LIMITS_S)
    for net, row in rows.items():
        assert max(row["most_cpu_s"], row["wall_s"]) < row["limit_s"] == LIMITS_S[net]
        assert row["peak_bytes"] < LIMIT_BYTES


@pytest.mark.slow
@pytest.mark.parametrize("net", LIMITS_S)
def test_the_networks_have_the_published_sizes(net):
    """Layer by layer, bits where the zoo's network has bits, and as many multiplications."""
    ours = bnnsim.load(getattr(nets, net)(), input_shape=(3, 224, 224)).summary()
    published = bnnsim.load(f"zoo:{net.replace('_', '-')}").summary()
    kinds = [[(layer.op, layer.kind, layer.macs) for layer in s.layers if layer.macs]
             for s in (ours, published)]  # fmt: skip
    assert sorted(kinds[0]) == sorted(kinds[1])
