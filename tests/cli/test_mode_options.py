"""--mode of run, verify and inspect, and the columns of levels, on the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from nets import Builder, mlp

from bnnsim import api

NOTE = "what-if: not trained in this precision, no accuracy"
MODES = "float32,int8,w4a4,w2a2,ternary,binary"


@pytest.fixture
def net(tmp_path: Path) -> Path:
    """Return a folder with mlp.bnn, seven images and their classes."""
    graph = mlp(2)
    x = Builder((63,), seed=4).batch(7)
    api.save(graph, tmp_path / "mlp.bnn")
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "labels.npy", api.decide(graph, api.run(graph, x).outputs))
    return tmp_path


def test_a_comparison_of_levels_reads_well_and_becomes_a_page(bnnsim, tmp_path):
    words = ["compare", "zoo:cifar10-convnet", "--profile", "cmos45", "--modes", MODES]
    assert bnnsim(*words).out.splitlines()[0] == f"float32, int8, w4a4, w2a2, ternary: {NOTE}"
    result = bnnsim.json(*words, schema="compare")
    energy = [column["totals"]["energy_j"]["value"] for column in result["columns"]]
    assert energy == sorted(energy, reverse=True)
    assert all(column["unpriced"] == [] for column in result["columns"])
    pairs = result["columns"][3]["totals"]["macs"]
    assert list(pairs) == ["int16 x bipolar2", "bipolar2 x bipolar2"]
    bnnsim(*words, "--json", tmp_path / "c.json")
    bnnsim("report", tmp_path / "c.json", "-o", tmp_path / "c.html")
    page = (tmp_path / "c.html").read_text(encoding="utf-8")
    assert all(f">{mode}<" in page for mode in MODES.split(","))


@pytest.mark.parametrize("mode", ["w2a2", "ternary", "float16"])
def test_twins_run_and_are_verified_before_any_pass(bnnsim, net, tmp_path, mode):
    source = [net / "mlp.bnn", "--input", net / "x.npy", "--mode", mode]
    lines = bnnsim("run", *source, "-o", tmp_path / "y.npy").out.splitlines()
    assert lines[0] == NOTE
    assert lines[1].startswith(f"mlp in {mode}: 7 images")
    result = bnnsim.json("run", *source, schema="run")
    assert (result["mode"], result["notes"]) == (mode, [NOTE])
    checked = bnnsim.json("verify", *source, schema="verify")
    assert checked["equal"] is True
    assert checked["layers"][0]["name"] == "before any pass"
    assert f"mlp in {mode} against reference: equal" in bnnsim("verify", *source).out
    again = bnnsim.json("verify", *source, "--against", tmp_path / "y.npy", schema="verify")
    assert again["equal"] is True
    other = tmp_path / "other.npy"
    np.save(other, np.load(tmp_path / "y.npy") + 1)
    wrong = bnnsim.json("verify", *source, "--against", other, schema="verify", status=1)
    assert wrong["mode"] == mode


def test_an_accuracy_is_refused_for_weights_of_another_precision(bnnsim, net):
    words = ["run", net / "mlp.bnn", "--input", net / "x.npy", "--labels", net / "labels.npy"]
    said = bnnsim.refused(*words, "--mode", "w2a2")
    assert (
        "labels: got 'a what-if twin in w2a2', expected weights that were trained in this" in said
    )
    trained = bnnsim.json(*words, "--mode", "w1a1", schema="run")
    assert trained["accuracy"] == bnnsim.json(*words, schema="run")["accuracy"]
    assert (trained["mode"], trained["notes"]) == ("w1a1", [])


def test_inspect_says_what_levels_a_layer_has(bnnsim, net):
    result = bnnsim.json("inspect", net / "mlp.bnn", "--mode", "w3a2", schema="inspect")
    assert result["notes"][0] == NOTE
    layers = {layer["name"]: layer for layer in result["layers"]}
    assert layers["dense4"]["kind"] == "k-bit"
    assert layers["dense4"]["why"] == (
        "weights are bipolar3 (-7 to 7, odd), activations bipolar2: exact integer sums"
    )
    assert layers["quantize3"]["why"].startswith("integer compare per channel, 3 steps;")


def test_wrong_modes_are_usage_errors(bnnsim, net):
    for words in (["run", net / "mlp.bnn", "--input", net / "x.npy"], ["inspect", "zoo:tfc"]):
        said = bnnsim.refused(*words, "--mode", "w9a9")
        assert "mode: got 'w9a9', expected one of native" in said
        assert "wKaM with K and M from 1 to 8" in said
    said = bnnsim.refused("run", net / "mlp.bnn", "--input", net / "x.npy", "--mode", "w2a2",
                          "--stochastic")  # fmt: skip
    assert "mode of a stochastic run: got 'w2a2', expected native or binary-stochastic" in said


@pytest.mark.slow
def test_a_trained_float_network_runs_in_two_bits(bnnsim, data_folder, tmp_path):
    images = np.load(data_folder / "cifar10" / "foolbox20_exact.npz")["x"][:3]
    np.save(tmp_path / "x.npy", (images / 255 * 4 - 2).astype(np.float32))
    source = ["py:bnnsim.train.models:resnet20", "--weights",
              data_folder / "float" / "resnet20-12fca82f.th", "--trust", "--input-shape",
              "3,32,32", "--input", tmp_path / "x.npy", "--mode", "w2a2"]  # fmt: skip
    result = bnnsim.json("verify", *source, schema="verify")
    assert result["equal"] is True
    assert result["notes"] == [NOTE]
    kernels = bnnsim.json("run", *source, schema="run")["kernels"]
    layers = [k["kernel"].rsplit("_", 1)[0] for k in kernels if k["op"] in ("Conv2d", "Dense")]
    assert (layers[0], layers[-1], len(layers)) == ("float_float", "numpy", 20)
    assert {name.removesuffix("_threshold") for name in layers[1:-1]} <= {
        "conv2d_byte",
        "conv2d_planes",
    }
