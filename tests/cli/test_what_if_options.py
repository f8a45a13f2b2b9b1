"""Float networks on the command line: what-if columns and the operands of single layers."""

from __future__ import annotations

import pytest

NOTE = "what-if: not trained in this precision, no accuracy"


def operands(result) -> list[str]:
    layers = [layer for layer in result["layers"] if layer["weight_dtype"]]
    return [f"{layer['act_dtype']} x {layer['weight_dtype']}" for layer in layers]


def test_options_choose_the_operands_of_single_layers(bnnsim):
    words = ["estimate", "zoo:resnet20", "--profile", "cmos45", "--mode", "binary"]
    assert bnnsim(*words).out.splitlines()[0] == f"binary: {NOTE}"
    plain = bnnsim.json(*words, schema="estimate")
    ends = "float32 x float32"
    assert operands(plain) == [ends, *["bit x bit"] * 18, ends]
    words += ["--first", "int8", "--last", "binary", "--keep-float", "conv2"]
    chosen = bnnsim.json(*words, "--binarize", "conv1?", schema="estimate")
    assert operands(chosen) == ["int8 x int8", ends, *["bit x bit"] * 18]
    assert chosen["unpriced"] == []


def test_wrong_choices_are_usage_errors(bnnsim):
    words = ["compare", "zoo:resnet20", "--profile", "cmos45", "--modes", "float32,binary"]
    said = bnnsim.refused(*words, "--keep-float", "conv21")
    assert "--keep-float: got 'conv21', expected a pattern that fits a layer: conv1" in said
    assert "got 'bits', expected one of float, int8, binary" in bnnsim.refused(
        *words, "--first", "bits"
    )
    said = bnnsim.refused("estimate", "zoo:tfc", "--profile", "cmos45", "--last", "float")
    assert "tfc: got 'a binarized source', expected a source without bit weights" in said


@pytest.mark.parametrize("mode", ["float32", "int8", "weight-only:fp16", "weight-only:int8"])
def test_every_mode_of_a_residual_network_is_priced(bnnsim, mode):
    words = ["estimate", "zoo:resnet20", "--profile", "asic-example", "--mode", mode]
    result = bnnsim.json(*words, "--batch", "2", schema="estimate")
    assert result["unpriced"] == []
    assert sum(result["totals"]["macs"].values()) == 40_551_040
    value = result["totals"]["energy_j"]["value"]
    assert sum(result["energy_by"].values()) == pytest.approx(value)
    stated = [note for note in result.get("notes", []) if "run as" not in note]
    assert stated == ([] if mode == "float32" else [NOTE])


def test_compare_says_where_the_ends_of_a_float_source_differ(bnnsim):
    argv = ("compare", "zoo:resnet20", "--profile", "cmos45", "--modes")
    said = (
        "weights of the first and last layer: float32 in binary, int8 in int8: --first and --last"
    )
    assert said in bnnsim(*argv, "binary,int8").out
    for modes, more in (
        ("binary,int8", ("--first", "int8", "--last", "int8")),
        ("float32,int8", ()),  # all layers differ
        ("float32,binary", ()),  # all ends are float32
    ):
        assert "first and last layer" not in bnnsim(*argv, modes, *more).out
    argv = ("compare", "zoo:mnist-convnet", "--profile", "cmos45", "--modes", "binary,int8")
    assert "first and last layer" not in bnnsim(*argv).out
