"""The verb validate, and the other verbs on streaming profiles."""

from __future__ import annotations

import json

import jsonschema

from bnnsim.report.check import load_schema


def test_validate_prints_points_and_coverage(bnnsim, tmp_path):
    first, out = tmp_path / "first.jsonl", tmp_path / "result.json"
    said = bnnsim("validate", "--first", first, "--json", out)
    assert (said.status, said.err) == (0, "")
    assert "scored figures lie in their 90 % interval" in said.out
    for part in ("Fit, not scored", "Not modelled", "bnnpynq-cnv-w1a1-pynq-single"):
        assert part in said.out
    result = json.loads(out.read_text())
    jsonschema.validate(result, load_schema("validate"))
    assert len(first.read_text().splitlines()) == len(result["points"])


def test_a_points_file_is_not_overwritten_and_bad_ones_are_refused(bnnsim, tmp_path):
    path = tmp_path / "points.yaml"
    path.write_text("schema: bnnsim/points/1\npoints: [{id: a}]\n")
    assert "points[0].quantity" in bnnsim.refused("validate", "--points", path)
    assert "the command reads it" in bnnsim.refused("validate", "--points", path, "--first", path)
    assert "No such file" in bnnsim.refused("validate", "--points", tmp_path / "none.yaml")


def test_estimate_compare_and_page_of_streaming_profiles(bnnsim, tmp_path):
    result = tmp_path / "r.json"
    options = ("--profile", "pynq-z1,ultra96", "--json", result)
    said = bnnsim("compare", "zoo:lfc", *options)
    assert (said.status, said.err) == (0, "")
    first = said.out.splitlines()[0]
    assert "NOT priced" in first
    assert "energy: not estimated" in first
    written = bnnsim.json("report", result, "-o", tmp_path / "page.html", schema="report")
    assert written["bytes"] > 1000
    found = bnnsim.json("estimate", "zoo:cnv", "--profile", "zc706", schema="estimate")
    layers = {layer["name"]: layer for layer in found["layers"]}
    assert layers["conv1"]["mapping"] == "PE 16 x SIMD 3: 4 x 9 folds, 32,400 cycles an image"
    assert layers["dense7"]["bound_by"] == "stage dense7"
    bnnsim.json("compare", "zoo:lfc", "--profile", "ultra96,zc706", schema="compare")
    assert "prices operators" in bnnsim.refused("tables", "pynq-z1", "zoo:tfc")


def test_a_folding_file_folds_any_source(bnnsim, tmp_path):
    path = tmp_path / "folding.json"
    table = {f"L{i}": {"PE": 2, "SIMD": 1} for i in range(4)}
    path.write_text(json.dumps({"folding": table}))
    options = ("zoo:tfc", "--profile", "pynq-z1", "--folding", path)
    found = bnnsim.json("estimate", *options, schema="estimate")
    assert found["layers"][1]["mapping"] == "PE 2 x SIMD 1: 32 x 784 folds, 25,088 cycles an image"
    path.write_text(json.dumps({"L0": {"PE": 2}}))
    assert f"{path}: got ['L0'], expected L0 to L3" in bnnsim.refused("estimate", *options)
    path.write_text("[")
    assert "a JSON file" in bnnsim.refused("estimate", *options)
