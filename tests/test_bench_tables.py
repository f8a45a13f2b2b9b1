"""Tables of the documents are what the recorded run says; ``BNNSIM_UPDATE_DOCS=1`` writes them."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from experiments.bench_engine.__main__ import RESULTS
from experiments.bench_engine.tables import TABLES
from experiments.bench_engine.targets import TARGETS, judge
from experiments.bench_planes import __main__ as bench_planes
from experiments.vs_estimators import __main__ as vs_estimators

REPOSITORY = Path(__file__).resolve().parent.parent
RUNS = {
    "README.md": (RESULTS, TABLES),
    "experiments/bench_engine/README.md": (RESULTS, TABLES),
    "docs/kernels.md": (bench_planes.RESULTS, {"planes": bench_planes.table}),
    "docs/estimators.md": (vs_estimators.RESULTS, vs_estimators.TABLES),
}
TABLE = re.compile(r"(?<=<!-- table )(\w+) -->\n(.*?)(?=<!-- end -->)", re.DOTALL)


@pytest.mark.parametrize("name", RUNS)
def test_tables_are_those_of_the_recorded_run(name):
    path = REPOSITORY / name
    text = path.read_text(encoding="utf-8")
    folder, tables = RUNS[name]
    told = json.loads((folder / "bench.json").read_text())
    written = TABLE.sub(lambda m: f"{m[1]} -->\n{tables[m[1]](told)}", text)
    assert TABLE.search(text)
    if os.environ.get("BNNSIM_UPDATE_DOCS") == "1":
        path.write_text(written, encoding="utf-8")
    else:
        assert written == text, "BNNSIM_UPDATE_DOCS=1 writes it anew"


def figure(median, low, high):
    return {"median": median, "low": low, "high": high}


@pytest.mark.parametrize(
    ("measured", "verdict"),
    [
        (figure(1.7, 1.6, 1.8), "met"),
        (figure(1.6, 1.5, 1.7), "within spread"),
        (figure(1.6, 1.5, 1.69), "missed"),
    ],
)
def test_a_ratio_is_held_to_its_target(measured, verdict):
    of = {"seconds": measured, "ours_over": measured, "share_of_raw_loop": measured}
    rows = judge([{"work": "gemm 1x4096x4096", "contenders": {"numkong": of}}], [])
    (row,) = [r for r in rows if r["figure"] is not None]
    assert (row["what"], row["target"], row["verdict"]) == ("over numkong", 1.7, verdict)
    assert [r["verdict"] for r in rows].count("not measured") == len(TARGETS) - 1


def test_two_threads_and_seconds_turn_round():
    twice, slow = figure(0.5, 0.4, 1.0), figure(50e-6, 39e-6, 60e-6)
    rows = judge(
        [
            {"work": "conv 7x7x512", "contenders": {"bnnsim 2 threads": {"ours_over": twice}}},
            {"work": "tfc, batch 1", "contenders": {"bnnsim": {"seconds": slow}}},
        ],
        [],
    )
    threads, tiny = [r for r in rows if r["figure"] is not None]
    assert threads["figure"] == figure(2.0, 1.0, 2.5)
    assert threads["verdict"] == "met"
    assert tiny["figure"] == pytest.approx(figure(50, 39, 60))
    assert (tiny["target"], tiny["verdict"]) == (40, "within spread")


def test_growth_is_held_to_its_bound_from_below():
    least = 10 * 2**20
    grown = {"work": "net, batch 9", "threads": 2, "least": least, "bound": 20e6}
    rows = [
        judge([], [grown | {"growth": growth}])[-1]
        for growth in (figure(19e6, 1, 30e6), figure(21e6, 20e6, 30e6), figure(21e6, 20.1e6, 3e7))
    ]
    assert [row["verdict"] for row in rows] == ["met", "within spread", "missed"]
    assert (rows[0]["target"], rows[0]["figure"]["median"]) == (20, 19)
    assert rows[0]["what"] == "MB of growth, 2 threads: at most"


def test_profiles_leave_out_what_takes_no_time():
    steps = [
        {"nodes": ["dense1", "sign1"], "kernel": "k", "seconds": 0.002, "share": 0.9999},
        {"nodes": ["view"], "kernel": "view", "seconds": 2e-7, "share": 0.0001},
    ]
    told = {"profiles": [{"work": "net, batch 1", "seconds": 0.003, "steps": steps}]}
    assert TABLES["profiles"](told).splitlines()[2:] == [
        "| net, batch 1: 3 ms, steps by themselves 2 ms | | | | |",
        "| | dense1, sign1 | k | 2 ms | 100.0% |",
    ]
