"""Each experiment runs on its smallest setting; the results mean nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.bench_estimator import __main__ as bench_estimator
from experiments.bench_planes import __main__ as bench_planes
from experiments.import_times import __main__ as import_times

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parent.parent


def smoke(*arguments: str | Path) -> str:
    command = [sys.executable, "-m", *map(str, arguments)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_bench_engine_runs(tmp_path):
    said = smoke("experiments.bench_engine", "--smoke", "--out", tmp_path)
    assert "gemm 100x512x512" in said
    assert "| tfc, batch 1 | bnnsim: us per call, at most | 40 |" in said
    told = json.loads((tmp_path / "bench.json").read_text())
    figures = [of for row in told["results"] for of in row["contenders"].values()]
    assert all(0 < f["seconds"]["low"] <= f["seconds"]["high"] for f in figures)
    assert all(
        of["bnnsim"]["ours_over"]["median"] == 1
        for of in (r["contenders"] for r in told["results"])
    )
    assert smoke("experiments.bench_engine", "--out", tmp_path, "--table", "targets") in said


def test_import_times_run(tmp_path):
    pytest.importorskip("torch", reason="the networks are torch's")
    said = smoke("experiments.import_times", "--smoke", "--out", tmp_path / "times.json")
    told = json.loads((tmp_path / "times.json").read_text())
    assert import_times.table(told) == said
    assert all(0 < row["parts"]["lower"] < row["cpu_s"] for row in told["nets"].values())


def test_bench_planes_runs(tmp_path):
    said = smoke("experiments.bench_planes", "--smoke", "--out", tmp_path / "bench.json")
    told = json.loads((tmp_path / "bench.json").read_text())
    assert bench_planes.table(told) in said
    assert all(s["over_bits"]["low"] > 0 for row in told["rows"] for s in row["shapes"])


def test_bench_estimator_runs(tmp_path):
    said = smoke("experiments.bench_estimator", "--smoke", "--out", tmp_path / "bench.json")
    told = json.loads((tmp_path / "bench.json").read_text())
    assert bench_estimator.table(told) in said
    for name, row in told["rows"].items():
        assert 0 < row["wall"]["least"] <= row["wall"]["median"], name
    kept = REPOSITORY / "experiments/bench_estimator"
    table = bench_estimator.table(json.loads((kept / "results/bench.json").read_text()))
    assert table in (kept / "README.md").read_text()


@pytest.mark.parametrize("name", ["mnist_mlp", "mnist_convnet", "mnist_bits"])
def test_mnist_networks_train(name, data_folder, tmp_path):
    pytest.importorskip("torch", reason="training needs torch")
    options = ("--data", data_folder / "mnist", "--smoke", "--out", tmp_path)
    assert "held-out" in smoke(f"experiments.{name}", *options)
    assert (tmp_path / "results" / "smoke.json").is_file()


def test_first_predictions_run(tmp_path):
    out = tmp_path / "again.json"
    said = smoke("experiments.first_predictions", "--smoke", "--json", out)
    assert "median |log2 error|" in said
    kept = REPOSITORY / "experiments" / "first_predictions" / "results" / "first.json"
    first, again = (json.loads(path.read_text()) for path in (kept, out))
    published = [(p["id"], p["published"]) for p in first["points"]]
    assert [(p["id"], p["published"]) for p in again["points"]] == published
    table = smoke("experiments.first_predictions", "--table", kept)
    text = (kept.parent.parent / "README.md").read_text(encoding="utf-8")
    assert text.split("<!-- table -->\n")[1].split("<!-- end -->")[0] == table
