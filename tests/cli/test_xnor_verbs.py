"""The modes xnor-alpha and xnor-k on the command line."""

from __future__ import annotations

import numpy as np
from nets import Builder

from bnnsim import api
from bnnsim.graph.dtypes import INT8

MODES = "binary,xnor-alpha,xnor-k"


def test_compare_shows_the_scales_as_a_line_of_their_own(bnnsim):
    words = ("compare", "zoo:cifar10-convnet", "--profile", "cmos45", "--modes", MODES)
    columns = bnnsim.json(*words, schema="compare")["columns"]
    scaling = [column["energy_by"]["scaling"] for column in columns]
    assert scaling[:2] == [0, 0] < scaling[2:]
    assert all(column["unpriced"] == [] for column in columns)
    assert "scaling factors" in bnnsim(*words).out


def test_levels_behind_a_layer_over_bits_are_refused_with_a_remedy(bnnsim, tmp_path):
    net = Builder((9,), seed=1).encode(np.arange(256) - 128, INT8).dense(8)
    net.thresholds(1, "bit", 0, 200).dense(12).thresholds(2, "ternary", -1, 6).dense(4)
    api.save(net.graph(), tmp_path / "levels.bnn")
    said = bnnsim("estimate", tmp_path / "levels.bnn", "--profile", "cmos45", "--mode", "xnor-k")
    assert said.status == 2
    assert "got 'ternary levels', expected bits after a layer that K multiplies" in said.err
    assert "Use native or xnor-alpha." in said.err
