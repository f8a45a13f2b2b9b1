"""The option --latent, on the command line."""

from __future__ import annotations

import numpy as np
from cli.commands import Command

from bnnsim import api
from bnnsim.frontends.builder import GraphBuilder
from bnnsim.graph.dtypes import FLOAT32


def test_latent_layers_are_named_on_the_command_line(bnnsim: Command, tmp_path, rng) -> None:
    builder = GraphBuilder((9,), FLOAT32)
    weights = {"weight": (rng.standard_normal((4, 9)), FLOAT32)}
    y = builder.add("Dense", "input", weights, label="dense")
    weights = {"weight": (rng.standard_normal((3, 4)), FLOAT32)}
    y = builder.add("Dense", y, weights, label="dense")
    path = tmp_path / "net.bnn"
    api.save(builder.graph("net", y, {"decision": "argmax"}), path)
    shown = bnnsim("inspect", path, "--latent", "dense2", "--centered").out
    note = "dense2: latent floats in file; binarized as sign*alpha after the mean over input"
    assert note in " ".join(shown.split())
    assert "dense1: latent" not in shown
    np.save(tmp_path / "x.npy", rng.standard_normal((5, 9)).astype(np.float32))
    done = bnnsim("verify", path, "--input", tmp_path / "x.npy", "--latent", "*")
    assert done.status == 0
    refused = bnnsim.refused("inspect", path, "--latent", "conv*")
    assert "--latent: got 'conv*', expected a pattern that fits a layer" in refused
