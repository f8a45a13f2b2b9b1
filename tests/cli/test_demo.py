"""The demo on a small network and made-up digits: the same path as the packaged one."""

from __future__ import annotations

import json

import numpy as np
import pytest
from nets import mlp

from bnnsim.cli import demo
from bnnsim.data import digits


@pytest.fixture
def small(monkeypatch, rng):
    images = rng.integers(0, 256, (50, 784), np.uint8)
    labels = np.repeat(np.arange(10), 5)
    monkeypatch.setattr(demo, "NETWORK", mlp(1, inputs=784))
    monkeypatch.setattr(digits, "load_digits", lambda: (images, labels))


def test_demo_checks_prices_and_writes_the_page(bnnsim, small, tmp_path):
    result = bnnsim.json("demo", "--out", tmp_path, schema="demo")
    assert result["run"]["images"] == result["verify"]["images"] == 50
    assert result["verify"]["equal"] is True
    assert [c["mode"] for c in result["comparison"]["columns"]] == list(demo.MODES)
    page = (tmp_path / "demo.html").read_text()
    assert "It belongs to the binary column only" in page
    assert json.loads((tmp_path / "demo.json").read_text()) == result


def test_report_makes_the_page_of_a_demo_again(bnnsim, small, tmp_path):
    bnnsim("demo", "--out", tmp_path)
    assert bnnsim("report", tmp_path / "demo.json", "-o", tmp_path / "again.html").status == 0
    assert (tmp_path / "again.html").read_text() == (tmp_path / "demo.html").read_text()
    result = json.loads((tmp_path / "demo.json").read_text())
    for change, text in (
        ({"run": {**result["run"], "accuracy": None}}, "run: accuracy: got 'NoneType'"),
        ({"run": {**result["run"], "images": 0}}, "run: images: got 0, expected at least 1"),
        ({"comparison": {**result["comparison"], "columns": [{}]}}, "comparison: columns[0]: got"),
    ):
        (tmp_path / "demo.json").write_text(json.dumps({**result, **change}))
        said = bnnsim.refused("report", tmp_path / "demo.json", "-o", tmp_path / "p.html")
        assert f"demo.json: {text}" in said


def test_demo_prints_what_was_measured(bnnsim, small, tmp_path):
    said = bnnsim("demo", "--images", 20, "--out", tmp_path)
    assert said.status == 0
    assert "on 20 MNIST digits held out from training" in said.out
    assert "Engine against reference: 0 of " in said.out
    assert "Horowitz" in said.out
    assert "Ratios [90 % interval]" in said.out


def test_images_are_spread_over_all_classes(small):
    _, labels = demo.held_out(20)
    assert sorted(labels) == sorted([*range(10)] * 2)


def test_demo_refuses_more_images_than_there_are(bnnsim, small, tmp_path):
    assert "got 51, expected at most 50" in bnnsim.refused(
        "demo", "--images", 51, "--out", tmp_path
    )


def test_demo_refuses_a_missing_folder_first(bnnsim, small, tmp_path):
    assert "no such folder" in bnnsim.refused("demo", "--out", tmp_path / "no")


def test_wilson_interval_by_hand():
    # n = 100, p = 0.9, z = 1.96: centre (0.9 + 0.019208)/1.038416, half 1.96 * 0.031557/1.038416.
    low, high = demo.wilson(0.9, 100)
    assert low == pytest.approx(0.82563, abs=1e-5)
    assert high == pytest.approx(0.94477, abs=1e-5)
    assert demo.wilson(1.0, 10)[1] == 1.0
    assert demo.wilson(0.0, 10)[0] == pytest.approx(0.0, abs=1e-12)
