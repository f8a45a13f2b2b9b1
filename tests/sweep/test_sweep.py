"""Sweeps: points and keys, what a killed run leaves, who evaluates, errors with their line."""

from __future__ import annotations

import json
import multiprocessing
import textwrap
from dataclasses import replace

import jsonschema
import numpy as np
import pytest

import bnnsim
from bnnsim.api import twin_for
from bnnsim.cli import main
from bnnsim.cost import nests, schedule
from bnnsim.cost.estimate import estimate
from bnnsim.cost.overrides import with_changes
from bnnsim.cost.profile import load_profile
from bnnsim.errors import InputError, ProfileError
from bnnsim.report.check import load_schema
from bnnsim.report.sweeps import frontiers
from bnnsim.sweep import Point, read_spec, run_sweep
from bnnsim.sweep import run as runner
from bnnsim.sweep.point import evaluate

SPEC = """
    schema: bnnsim/sweep/1
    models: [zoo:tfc]
    profiles: [cmos45]
    modes: [native, int8]
    batches: [1, 3]
    set:
      memories.gb.size: [64 KiB, 128 KiB]
    points:
      - {model: zoo:resnet18, profile: cmos45, mode: binary-stochastic}
      - {model: zoo:tfc, profile: pynq-z1, set: {node.clock: 120 MHz}}
"""


@pytest.fixture
def spec(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(textwrap.dedent(SPEC))
    return path


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_points_are_the_product_and_then_those_that_are_listed(spec):
    stated = [point.stated() for point in read_spec(spec)]
    assert [(p["mode"], p["set"], p["batch"]) for p in stated[:8]] == [
        (mode, {"memories.gb.size": size}, batch)
        for mode in ("native", "int8") for size in ("64 KiB", "128 KiB") for batch in (1, 3)
    ]  # fmt: skip
    assert stated[8:] == [
        {"model": "zoo:resnet18", "profile": "cmos45", "mode": "binary-stochastic", "batch": 1,
         "set": {}},
        {"model": "zoo:tfc", "profile": "pynq-z1", "mode": "native", "batch": 1,
         "set": {"node.clock": "120 MHz"}},
    ]  # fmt: skip


def test_a_point_that_stands_twice_is_estimated_once(spec):
    spec.write_text(spec.read_text().replace("[1, 3]", "[1, 1]"))
    assert len(read_spec(spec)) == 4 + 2


def test_a_line_is_what_estimate_says(spec, tmp_path):
    out = tmp_path / "out.jsonl"
    found = run_sweep(read_spec(spec), out, jobs=1)
    assert tuple(lines(out)) == found.rows
    for row in found.rows:
        jsonschema.validate(row, load_schema("sweep_line"))
    row = next(r for r in found.rows if r["mode"] == "int8" and r["batch"] == 3)
    chip = with_changes("cmos45", row["set"])
    said = bnnsim.estimate(bnnsim.load("zoo:tfc"), chip, mode="int8", batch=3).to_dict()
    assert row["totals"] == said["totals"]
    assert row["energy_by"] == said["energy_by"]
    assert "source with bit weights" in found.rows[8]["error"]


@pytest.mark.parametrize("cut", [0, 1, 100, -1, -150])
def test_a_killed_run_goes_on_and_ends_the_same(spec, tmp_path, cut, monkeypatch):
    monkeypatch.setattr(runner, "CHUNK", 2)
    out, points = tmp_path / "out.jsonl", read_spec(spec)
    run_sweep(points, out, jobs=1)
    whole = out.read_bytes()
    out.write_bytes(whole[:cut] if cut else b"")
    kept = whole[:cut].count(b"\n") if cut else 0
    seen = []
    found = run_sweep(points, out, jobs=1, progress=seen.append)
    assert out.read_bytes() == whole
    assert found.kept == kept == seen[0]
    assert sum(seen) == len(points)
    assert run_sweep(points, out, jobs=1).kept == len(points)
    assert out.read_bytes() == whole


def test_a_longer_sweep_keeps_what_a_shorter_one_wrote(spec, tmp_path):
    out = tmp_path / "out.jsonl"
    assert run_sweep(read_spec(spec), out, jobs=1).kept == 0
    spec.write_text(spec.read_text().replace("[1, 3]", "[1, 3, 5]"))
    found = run_sweep(read_spec(spec), out, jobs=1)
    assert (found.kept, len(found.rows)) == (10, 14)


def test_lines_of_another_sweep_are_refused(spec, tmp_path):
    out, points = tmp_path / "out.jsonl", read_spec(spec)
    run_sweep(points[:3], out, jobs=1)
    held = out.read_bytes()
    with pytest.raises(InputError, match=r"out.jsonl: line 1: .* expected a point of this sweep"):
        run_sweep(points[3:], out, jobs=1)
    assert out.read_bytes() == held
    out.write_text("no json\n")
    with pytest.raises(InputError, match="line 1: got 'no json'"):
        run_sweep(points, out, jobs=1)


def test_a_changed_network_or_profile_is_another_point(tmp_path):
    chip = tmp_path / "mine.yaml"
    chip.write_text("extends: cmos45\nname: mine\n")
    before = Point("zoo:tfc", "mine.yaml", folder=str(tmp_path)).key
    assert len(before) == 32
    chip.write_text("extends: cmos45\nname: mine\nstructural: {band: 2}\n")
    point = "from bnnsim.sweep import Point; print(Point('zoo:tfc', 'mine.yaml', folder='.').key)"
    import subprocess
    import sys

    said = subprocess.run([sys.executable, "-c", point], cwd=tmp_path, capture_output=True,
                          text=True, check=True)  # fmt: skip
    assert said.stdout.strip() != before


def test_two_sweeps_cannot_write_one_file(spec, tmp_path):
    out = tmp_path / "out.jsonl"
    with runner._opened(out), pytest.raises(InputError, match="another sweep's output"):
        run_sweep(read_spec(spec), out, jobs=1)


def test_processes_write_the_same_file(spec, tmp_path, monkeypatch):
    monkeypatch.setattr(runner, "CHUNK", 3)
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    run_sweep(read_spec(spec), one, jobs=1)
    run_sweep(read_spec(spec), two, jobs=2)
    assert one.read_bytes() == two.read_bytes()
    assert multiprocessing.active_children() == []


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_dask_cluster_writes_the_same_file(spec, tmp_path):
    distributed = pytest.importorskip("distributed", reason="a cluster needs dask, distributed")
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    run_sweep(read_spec(spec), one, jobs=1)
    with distributed.LocalCluster(n_workers=1, processes=False, dashboard_address=None) as cluster:
        run_sweep(read_spec(spec), two, scheduler=cluster.scheduler_address)
    assert one.read_bytes() == two.read_bytes()


def test_without_dask_the_message_says_what_to_install(spec, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(InputError, match=r"pip install 'bnnsim\[cluster\]'"):
        run_sweep(read_spec(spec), tmp_path / "out.jsonl", scheduler="tcp://host:8786")


def test_points_on_known_layers_search_nothing(spec):
    tight = "{model: zoo:cnv, profile: cmos45, set: {memories.gb.size: 64 KiB}}"
    spec.write_text(f"{spec.read_text()}  - {tight}\n")
    kept = (nests.shared_layer, nests.frontier)
    for found in (*kept, schedule.found):
        found.cache_clear()
    points = read_spec(spec)
    evaluate(points)
    layers, tilings = (found.cache_info() for found in kept)
    assert layers.misses > 0
    assert tilings.misses > 0
    schedule.found.cache_clear()
    evaluate(points)
    again, searched = (found.cache_info() for found in kept)
    assert again.hits > layers.hits
    assert (again.misses, searched.misses) == (layers.misses, tilings.misses)


CHANGED = {
    "overhead.factor": 2,
    "actions.add.int32.energy": "1 pJ/op",
    "actions.add.bit.band": 3,
    "static.array.power": "1 W",
    "structural": {"band": 2},
}


@pytest.mark.parametrize(("place", "value"), CHANGED.items())
def test_points_that_differ_in_prices_of_operators_search_nothing(place, value, monkeypatch):
    points = [Point("zoo:tfc", "cmos45", "int8", batch) for batch in (1, 5)]
    others = [replace(point, changes={place: value}) for point in points]
    evaluate(points)
    monkeypatch.setattr(schedule, "run_of", lambda *_: pytest.fail("searched again"))
    found = [json.loads(line)["totals"] for line in evaluate(others)]
    monkeypatch.undo()
    schedule.found.cache_clear()
    assert found == [json.loads(line)["totals"] for line in evaluate(others)]


FRESH = [
    {}, CHANGED, {"memories.gb.size": "16 KiB"}, {"memories.gb.banks": 1}, {"array.rows": 8},
    {"memories.dram.read": "80 pJ/bit"}, {"memories.dram.bandwidth.rate": "1 GB/s"},
    {"memories.dram.standby.power": "9 W"}, {"node.clock": "9 MHz"}, {"rng.lazy": True},
    {"rng.energy": "1 pJ/randbit"}, {"datapath.bit_mac": "serial"}, {},
    {"array.first_layer": "wider"},
]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "mode"),
    [("tfc", "int8"), ("tfc", "binary"), ("cifar10-convnet", "binary-stochastic")],
)
def test_estimates_with_what_was_found_before_equal_those_made_afresh(model, mode):
    """One graph on profiles that differ in one way each, in both orders."""
    graph = twin_for(bnnsim.load(f"zoo:{model}"), load_profile("cmos45"), mode)
    chips = [with_changes("cmos45", changes) for changes in FRESH]
    jobs = [(chip, batch) for chip in (*chips, *chips[::-1]) for batch in (1, 5)]
    kept = [estimate(graph, chip, batch=batch) for chip, batch in jobs]
    afresh = []
    for chip, batch in jobs:
        schedule.found.cache_clear()
        afresh.append(estimate(graph, chip, batch=batch))
    assert kept == afresh
    for one, other in zip(kept, afresh, strict=True):
        assert np.array_equal(one.samples.energy_j, other.samples.energy_j)
        assert np.array_equal(one.samples.latency_s, other.samples.latency_s)
    assert len({report.energy.value for report in kept[: len(jobs) // 2]}) > len(FRESH)


BAD = """
    schema: bnnsim/sweep/1
    models: [zoo:tfd, nothing.bnn]
    profiles: [cmos46, cmos45]
    modes: [nativ]
    batches: [0, x]
    sets: {}
    set:
      memories.gc.size: [64 KiB]
      memories.gb.word: 3
    points:
      - {model: zoo:tfc, profile: cmos45, set: {memories.gb.size: 64 KB}}
      - {model: zoo:tfc, profle: cmos45}
      - nothing
"""


def test_every_problem_is_named_with_its_line(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(textwrap.dedent(BAD).lstrip())
    with pytest.raises(InputError) as caught:
        read_spec(path)
    said = str(caught.value)
    for wanted in (
        "line 2: models[0]: got 'zoo:tfd'", "Did you mean 'tfc'?", "line 2: models[1]: got",
        "line 3: profiles[0]: got 'cmos46'", "line 4: modes[0]: got 'nativ'",
        "line 5: batches[0]: got 0, expected an integer from 1", "line 5: batches[1]: got 'x'",
        "line 6: sets: got {}", "line 8: set.memories.gc.size[0]: got '64 KiB'",
        "There are local, gb, dram.",
        "line 9: set.memories.gb.word: got 3, expected a list of values",
        "line 11: points[0].set: got", "Write KiB (1024 bytes)",
        "line 12: points[1].profle: got 'cmos45'", "line 12: points[1].profile: got None",
        "line 13: points[2]: got 'nothing', expected a mapping",
    ):  # fmt: skip
        assert wanted in said
    assert all(line.startswith(f"{path}: line ") for line in said.splitlines())


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("schema: bnnsim/sweep/1\n", "line 1: models: got None, expected models and profiles"),
        ("schema: bnnsim/sweep/2\nmodels: [zoo:tfc]\n", "line 1: schema: got 'bnnsim/sweep/2'"),
        ("schema: bnnsim/sweep/1\nmodels: [zoo:tfc]\n", "profiles: got None, expected a list"),
        ("- 1\n", "expected a mapping that begins with 'schema: bnnsim/sweep/1'"),
        ("models: [\n", "not readable as YAML"),
    ],
)
def test_a_file_that_is_no_sweep_is_refused(tmp_path, text, said):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_spec(path)
    assert said in str(caught.value)


def test_the_verb_shows_the_best_points_and_its_json_holds(spec, tmp_path, capsys):
    out = tmp_path / "out.jsonl"
    assert main(["sweep", str(spec), "-o", str(out), "--jobs", "1"]) == 0
    said = capsys.readouterr().out
    assert "points: 10, estimated now: 10, without an estimate: 1" in said
    assert "zoo:tfc: points that no other beats in both energy and time" in said
    assert "no estimate: zoo:resnet18 binary-stochastic on cmos45, batch 1: resnet18" in said
    assert main(["sweep", str(spec), "-o", str(out), "--json", "-"]) == 0
    result = json.loads(capsys.readouterr().out)
    jsonschema.validate(result, load_schema("sweep"))
    assert result["kept"] == result["points"] == 10


def test_the_verb_refuses_what_cannot_be_resumed(spec, capsys):
    assert main(["sweep", str(spec), "-o", "/dev/null"]) == 2
    assert "expected a regular file, which can be resumed" in capsys.readouterr().err
    assert main(["sweep", str(spec), "-o", str(spec)]) == 2
    assert "the command reads it" in capsys.readouterr().err


def test_a_frontier_holds_what_nothing_beats():
    def row(energy, latency, **more):
        totals = {"energy_per_inference_j": {"value": energy}, "latency_s": {"value": latency}}
        return {"model": "m", "unpriced": [], "totals": totals, **more}

    best = [row(1, 5), row(2, 3), row(4, 1)]
    worse = [row(1, 6), row(3, 3), row(5, 1), row(2, 3)]
    holed = [row(0, 0, unpriced=["energy"]), {"model": "m", "error": "why"}]
    assert frontiers([*worse, *holed, *best]) == [{"model": "m", "rows": best}]


def test_a_changed_constant_is_a_choice_and_a_changed_size_keeps_its_source():
    base = bnnsim.load_profile("cmos45")
    chip = with_changes("cmos45", {"actions.add.int32.energy": "0.7 pJ/op",
                                   "memories.gb.size": "64 KiB"})  # fmt: skip
    constant = chip.actions["add.int32"]
    assert constant.value_si == pytest.approx(0.7e-12, rel=1e-12)
    assert constant.status == "assumed"
    assert chip.actions["add.int8"] == base.actions["add.int8"]
    (gb,) = (m for m in chip.memories if m.name == "gb")
    assert gb.size_bytes == 64 * 1024
    assert "changed: actions.add.int32.energy = 0.7 pJ/op" in chip.notes[-1]


@pytest.mark.parametrize(
    ("place", "said"),
    [
        (
            "memories.gc.size",
            "got 'gc.size', expected a key that is there. There are local, gb, dram.",
        ),
        ("memories.gb.sise", "Did you mean 'size'?"),
        ("memories.gb", "got 'gb', expected the place of one value"),
        ("actions.add.int31.energy", "expected a key that is there"),
    ],
)
def test_a_place_that_is_not_there_is_named(place, said):
    with pytest.raises(ProfileError) as caught:
        with_changes("cmos45", {place: "64 KiB"})
    assert said in str(caught.value)
