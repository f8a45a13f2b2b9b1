"""The verb simulate, and estimate --activity: text, JSON, files, pages, refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest
from nets import mlp
from report.pages import Page

from bnnsim import api
from bnnsim.simulation import SimulateResult


def simulate(net, *more):
    return ("simulate", net / "tfc.bnn", "--profile", "cmos45", "--input", net / "x.npy", *more)


def test_simulate_prints_accuracy_counts_activity_and_the_estimate(bnnsim, net):
    said = bnnsim(*simulate(net, "--labels", net / "labels.npy"))
    assert (said.status, said.err) == (0, "")
    assert "accuracy 85.71 % [48.69, 97.43]: 6 of 7 right (95 % Wilson interval)" in said.out
    assert "decision: the largest output, the first of equal ones; " in said.out
    assert "counts predicted by the cost model equal those of the kernels: yes (7 of " in said.out
    assert "Confused most often" in said.out
    assert "Activity of bits over 7 images" in said.out
    assert "scales no energy: cmos45 states no reference_activity" in said.out
    assert "energy per inference (uJ)" in said.out


def test_simulate_json_and_outputs(bnnsim, net, tmp_path):
    result = bnnsim.json(
        *simulate(net, "--labels", net / "labels.npy", "-o", tmp_path / "y.npy", "--batch", 4),
        schema="simulate",
    )
    assert (np.load(tmp_path / "y.npy") == np.load(net / "y.npy")).all()
    assert (result["batch"], result["images"], result["accuracy"]["right"]) == (4, 7, 6)
    wrong = [e for e in result["accuracy"]["confusion"] if e["label"] != e["decision"]]
    assert [e["images"] for e in wrong] == [1]
    assert result["counts"]["equal"] is True


def test_simulate_writes_the_page_and_report_makes_the_same(bnnsim, net, tmp_path):
    page, again = tmp_path / "s.html", tmp_path / "again.html"
    argv = simulate(net, "--labels", net / "labels.npy", "--html", page)
    result = tmp_path / "s.json"
    said = bnnsim(*argv, "--json", result)
    assert f"wrote {page}" in said.out
    assert bnnsim("report", result, "-o", again).status == 0
    assert page.read_text() == again.read_text()
    shown = Page(page.read_text())
    text = " ".join(shown.text)
    assert "accuracy 85.71 %" in text
    assert "kernels: yes" in text
    ids = {attrs["id"] for _, attrs in shown.tags if "id" in attrs}
    assert {"accuracy", "counts", "activity", "summary", "layers"} <= ids
    assert {a["href"][1:] for _, a in shown.tags if a.get("href", "").startswith("#")} <= ids
    stored = json.loads(result.read_text())
    rows = next(r for c, r in shown.tables.items() if c.startswith("Work of all images"))
    assert len(rows) - 1 == sum(max(1, len(c["done"])) for c in stored["counts"]["layers"])
    rows = next(r for c, r in shown.tables.items() if c.startswith("Activity of bits"))
    assert len(rows) - 1 == len(stored["activity"]["tensors"])


def test_without_labels_the_page_says_so(bnnsim, net, tmp_path):
    assert bnnsim(*simulate(net, "--html", tmp_path / "s.html")).status == 0
    assert "No labels were given" in (tmp_path / "s.html").read_text()


def test_a_page_of_an_estimate_shows_its_activity_and_no_run(bnnsim, net, tmp_path):
    result, page = tmp_path / "e.json", tmp_path / "e.html"
    argv = ("estimate", net / "tfc.bnn", "--profile", "cmos45")
    said = bnnsim(*argv, "--activity", net / "x.npy", "--json", result)
    assert "Product bits that toggle" in said.out
    assert "Activity" not in bnnsim(*argv).out
    assert bnnsim("report", result, "-o", page).status == 0
    ids = {attrs["id"] for _, attrs in Page(page.read_text()).tags if "id" in attrs}
    assert "activity" in ids
    assert {"accuracy", "counts"}.isdisjoint(ids)
    bnnsim.json(*argv, "--activity", net / "x.npy", schema="estimate")


def test_a_reference_activity_scales_and_is_listed(bnnsim, net, tmp_path):
    chip = tmp_path / "mine.yaml"
    chip.write_text(
        "schema: bnnsim/profile/1\nname: mine\nextends: cmos45\n"
        "sources: {test: {cite: a test bench, kind: choice}}\n"
        "array: {reference_activity: {toggles: 0.125, status: assumed, source: test, at: here}}\n"
    )
    argv = ("estimate", net / "tfc.bnn", "--profile", chip)
    plain = bnnsim.json(*argv, schema="estimate")
    scaled = bnnsim.json(*argv, "--activity", net / "x.npy", schema="estimate")
    shares = [p["fraction"] for p in scaled["activity"]["products"]]
    assert min(shares) > 0.125
    assert scaled["energy_by"]["compute"] > plain["energy_by"]["compute"]
    assert "array.reference_activity" in {a["constant"] for a in scaled["assumptions"]}
    said = bnnsim(*simulate(net)[:2], "--profile", chip, "--input", net / "x.npy")
    assert "products of bits scaled by share / 0.125: mine states" in said.out
    assert "a test bench, here" in said.out
    assert "array.reference_activity" in bnnsim("profiles", "show", chip).out


def test_a_difference_of_counts_is_status_1(bnnsim, net, monkeypatch):
    monkeypatch.setattr(SimulateResult, "counts_equal", False)
    assert bnnsim(*simulate(net)).status == 1


def test_what_if_modes_say_agreement(bnnsim, net, tmp_path):
    api.save(mlp(1), tmp_path / "n.bnn")
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (9, 63), np.uint8))
    np.save(tmp_path / "l.npy", np.zeros(9, int))
    argv = ("simulate", tmp_path / "n.bnn", "--profile", "cmos45", "--input", tmp_path / "x.npy")
    said = bnnsim(*argv, "--labels", tmp_path / "l.npy", "--mode", "float32").out
    assert said.startswith("float32: what-if: not trained in this precision, no accuracy\n")
    assert "agreement with the source's own decisions " in said
    assert "\naccuracy" not in said
    drawn = bnnsim.json(*argv, "--mode", "binary-stochastic", "--seed", 5, "--samples", 3,
                        schema="simulate")  # fmt: skip
    assert (drawn["samples"], drawn["record"]["seed"]) == (3, 5)
    assert drawn["accuracy"] is None


@pytest.mark.parametrize(
    ("more", "text"),
    [
        (["--mode", "float32"], "tfc: mode: got 'float32, a cost-only twin'"),
        (["--seed", "3"], "seed: got 3, expected no such option where signs are taken"),
        (["--engine", "reference"], "unrecognized arguments: --engine"),
        (["--labels", "no.npy"], "no.npy"),
        (["--html", "no/such.html"], "no such folder"),
        (["--batch", "0"], "got '0', expected a whole number from 1 to 2^31 - 1"),
    ],
)
def test_simulate_refuses(bnnsim, net, more, text):
    assert text in bnnsim.refused(*simulate(net, *more))


def test_simulate_needs_data_and_writes_each_file_once(bnnsim, net, tmp_path):
    argv = simulate(net)[:4]
    assert "the following arguments are required: --input" in bnnsim.refused(*argv)
    out = tmp_path / "s.html"
    assert "another output goes there" in bnnsim.refused(*simulate(net, "--html", out, "-o", out))
    x = net / "x.npy"
    said = bnnsim.refused("estimate", net / "tfc.bnn", "--profile", "cmos45", "--activity", x,
                          "--json", x)  # fmt: skip
    assert "the command reads it" in said


def test_labels_outside_the_classes_are_refused(bnnsim, net, tmp_path):
    np.save(tmp_path / "l.npy", np.array([0, 1, 2, 3, 4, 5, 10]))
    said = bnnsim.refused(*simulate(net, "--labels", tmp_path / "l.npy"))
    assert "label: got 10, expected 0 to 9" in said


@pytest.mark.parametrize("verb", ["run", "verify", "simulate"])
def test_single_precision_is_said_on_the_terminal_and_in_json(bnnsim, tmp_path, verb):
    graph = api.load("zoo:resnet20:random")
    x = np.random.default_rng(1).standard_normal((2, *graph.tensor("input").shape))
    np.save(tmp_path / "x.npy", x.astype(np.float32))
    argv = ["zoo:resnet20:random", "--input", tmp_path / "x.npy", "--fast-float"]
    argv += {"simulate": ["--profile", "cmos45"], "verify": ["--tolerance", "1e-4"]}.get(verb, [])
    result = bnnsim.json(verb, *argv, schema=verb)
    is_single = any("_single" in k.kernel for k in api.Engine(graph, fast_float=True).plan.trace)
    assert any("single precision" in note for note in result["notes"]) == is_single
    assert ("single precision" in bnnsim(verb, *argv).out) == is_single
