"""run --profile-steps: the plan's steps with their times, in the table and in the JSON."""

from __future__ import annotations

import numpy as np
import pytest
from nets import Builder, mlp

from bnnsim import api


def test_steps_are_told_with_their_times(bnnsim, net):
    words = ["run", net / "tfc.bnn", "--input", net / "x.npy", "--threads", "2"]
    told = bnnsim.json(*words, "--profile-steps", schema="run")
    profile = told["profile"]
    assert (profile["images"], profile["threads"]) == (7, 2)
    assert [node for step in profile["steps"] for node in step["nodes"]] == [
        kernel["node"] for kernel in told["kernels"]
    ]
    assert sum(step["share"] for step in profile["steps"]) == pytest.approx(1)
    lines = bnnsim(*words, "--profile-steps").out.splitlines()
    assert any(line.startswith("dense2 + ") and line.endswith("%") for line in lines)
    assert any(line.startswith("7 images as a whole: ") for line in lines)
    assert "profile" not in bnnsim.json(*words, schema="run")


def test_a_mode_is_profiled_as_it_runs(bnnsim, tmp_path):
    api.save(mlp(2), tmp_path / "mlp.bnn")
    np.save(tmp_path / "x.npy", Builder((63,), seed=4).batch(7))
    words = ["run", tmp_path / "mlp.bnn", "--input", tmp_path / "x.npy", "--mode", "w2a2"]
    told = bnnsim.json(*words, "--profile-steps", schema="run")
    kernels = {node: step["kernel"] for step in told["profile"]["steps"] for node in step["nodes"]}
    assert kernels == {kernel["node"]: kernel["kernel"] for kernel in told["kernels"]}


@pytest.mark.parametrize("option", [["--engine", "reference"], ["--stochastic"]])
def test_only_plain_runs_of_the_compiled_engine_have_steps(bnnsim, net, option):
    words = ["run", net / "tfc.bnn", "--input", net / "x.npy", "--profile-steps", *option]
    assert f"--profile-steps: got '{' '.join(option)}', expected a plain run" in bnnsim.refused(
        *words
    )
