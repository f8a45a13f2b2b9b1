"""``--input-grid`` on every verb that reads a SOURCE: what it says, runs, prices and refuses."""

from __future__ import annotations

import numpy as np
import pytest
from nets import Builder

from bnnsim import api
from bnnsim.graph.dtypes import FLOAT32


@pytest.fixture
def place(tmp_path):
    """Return a folder with a float32 network, inputs n / 255 and its outputs in integers."""
    net = Builder((6, 5, 3), dtype=FLOAT32)
    net.conv(9, pads=(1, 1, 1, 1)).batch_norm(3.0).sign().add("Flatten").dense(4)
    api.save(net.graph(), tmp_path / "net.bnn")
    x = net.rng.integers(0, 256, (7, 6, 5, 3)) / np.float32(255)
    np.save(tmp_path / "x.npy", x.astype(np.float32))
    declared = api.load(tmp_path / "net.bnn", input_grid="1/255")
    np.save(tmp_path / "y.npy", api.run(declared, x.astype(np.float32)).outputs)
    return tmp_path


def test_lower_and_inspect_say_what_the_first_layer_became(bnnsim, place):
    for said in (
        bnnsim("inspect", place / "net.bnn", "--input-grid", "1/255"),
        bnnsim("lower", place / "net.bnn", "--input-grid", "1/255", "-o", place / "grid.bnn"),
    ):
        assert said.status == 0
        flat = " ".join(said.out.split())
        assert "input_grid" in flat
        assert "uint8" in flat
    result = bnnsim.json("inspect", place / "grid.bnn", schema="inspect")
    whys = {layer["name"]: layer["why"] for layer in result["layers"]}
    assert whys["conv2d0"] == "weights are -1/+1, the input holds uint8 integers: exact sums"
    assert "0.00392156863 * (n - 0), n in 0..255; exact integers" in whys["input_grid"]
    assert bnnsim("verify", place / "grid.bnn", "--input", place / "x.npy").status == 0


def test_run_verify_and_simulate_take_a_declared_input(bnnsim, place):
    grid = ("--input", place / "x.npy", "--input-grid", "1/255")
    bnnsim.json("run", place / "net.bnn", *grid, "-o", place / "z.npy", schema="run")
    assert (np.load(place / "z.npy") == np.load(place / "y.npy")).all()
    assert bnnsim.json("verify", place / "net.bnn", *grid, schema="verify")["equal"]
    result = bnnsim.json(
        "simulate", place / "net.bnn", *grid, "--profile", "cmos45", schema="simulate"
    )
    assert result["images"] == 7


def test_estimate_and_compare_price_integers(bnnsim, place):
    options = ("--profile", "cmos45", "--input-grid", "1/255")
    integers = bnnsim.json("estimate", place / "net.bnn", *options, schema="estimate")
    floats = bnnsim.json("estimate", place / "net.bnn", *options[:2], schema="estimate")
    assert integers["unpriced"] == floats["unpriced"] == []
    read = [
        next(layer["act_dtype"] for layer in report["layers"] if layer["name"] == "conv2d0")
        for report in (integers, floats)
    ]
    assert read == ["uint8", "float32"]
    both = bnnsim("compare", place / "net.bnn", *options, "--modes", "native,float32,int8")
    assert both.status == 0


def test_values_off_the_grid_are_refused_by_place_and_rule(bnnsim, place):
    x = np.load(place / "x.npy")
    x[6, 5, 4, 2] = 0.5
    np.save(place / "off.npy", x)
    said = bnnsim.refused(
        "run", place / "net.bnn", "--input", place / "off.npy", "--input-grid", "1/255"
    )
    assert "input of net[6, 5, 4, 2]: got 0.5, expected the input's grid: value = 0.0039" in said
    assert "The nearest is 0.501960814, n = 128. Quantize inputs" in said


@pytest.mark.parametrize(
    ("grid", "said"),
    [
        ("int7", "input grid: got 'int7', expected uint8, q1.7 or SCALE[,ZERO[,int8|uint8]]"),
        ("1/255,-1", "got 0.0, expected a padding value on the input's grid"),
        ("0", "input grid '0': grid: scale: got 0.0"),
    ],
)
def test_grids_that_do_not_fit_are_refused(bnnsim, place, grid, said):
    assert said in bnnsim.refused("inspect", place / "net.bnn", f"--input-grid={grid}")


def test_a_network_of_integers_needs_no_grid(bnnsim):
    said = bnnsim.refused("inspect", "zoo:tfc", "--input-grid", "uint8")
    assert "input grid: got 'uint8', expected a network whose input is float32" in said
