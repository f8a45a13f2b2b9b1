"""Calibration of a CPU from given times, and predictions held against given times."""

from __future__ import annotations

import json
import math

import jsonschema
import pytest

import bnnsim
from bnnsim.cli import main
from bnnsim.cost.intervals import Interval
from bnnsim.errors import ProfileError
from bnnsim.measure import calibrate_cpu, check_cpu
from bnnsim.measure.calibrate import Measured
from bnnsim.measure.probes import DEFAULT_CACHES, Probe, cache_sizes, probes
from bnnsim.measure.timing import band, seconds_of, undisturbed
from bnnsim.report.check import load_schema

CACHES = {"L1": 32 * 1024, "L2": 512 * 1024}


@pytest.fixture
def profile(tmp_path):
    """A profile from a machine on which every call takes two microseconds."""
    path = tmp_path / "mine.yaml"
    path.write_text(calibrate_cpu("mine", isa="ref", sample=lambda work: [2e-6], caches=CACHES,
                                  small=True))  # fmt: skip
    return bnnsim.load_profile(path)


def test_rates_are_amounts_over_times(profile):
    timed = list(probes("ref", CACHES, small=True))
    clock, kernels = profile.clock_hz, profile.kernels

    def rate(constant):
        found = [p.amount / 2e-6 for p in timed if p.constant == constant]
        return math.prod(found) ** (1 / len(found))

    for pair in ("bit x bit", "int8 x int8", "float32 x float32"):
        assert kernels.macs[pair].value_si * clock == pytest.approx(rate(f"macs.{pair}"), rel=1e-3)
    for name, constant in kernels.operations.items():
        assert constant.value_si * clock == pytest.approx(rate(f"operations.{name}"), rel=1e-3)
    assert kernels.randbits.value_si * clock == pytest.approx(rate("randbits"), rel=1e-3)
    for level in kernels.levels:
        assert level.bandwidth.value_si == pytest.approx(rate(level.name), rel=1e-3)
    assert kernels.launch.value_si == pytest.approx(2e-6 / 4, rel=1e-3)


def test_every_constant_is_measured_on_a_machine_that_is_named(profile):
    for constant in profile.kernels.constants():
        assert constant.status == "measured" or constant.name.startswith("depthwise")
    assert "bnnsim calibrate cpu on" in profile.sources["machine"]
    assert [(lv.name, lv.size_bytes) for lv in profile.kernels.levels] == [
        ("L1", 32 * 1024), ("L2", 512 * 1024), ("dram", None),
    ]  # fmt: skip
    assert profile.kernels.levels[0].bandwidth.band == pytest.approx(1.1)


def test_amounts_are_what_the_probes_do():
    amounts = {p.what: p.amount for p in probes("ref", CACHES, small=True)}
    assert amounts["matrix product 8 x 64 x 256"] == 8 * 64 * 256
    assert amounts["3 x 3 convolution of 3 x 3 x 16 to 16 channels"] == 3 * 3 * 9 * 16 * 16
    assert amounts["XOR of 64 blocks of 8192 bytes in place: 3 streams"] == 64 * 3 * 8192


def test_a_band_covers_rounds_and_probes():
    measured = Measured()
    for factor in (1.0, 2.0, 4.0):
        measured.add(Probe("x", "w", factor, lambda: None), [1.0] * 7)
    assert measured.value == pytest.approx(2.0)
    assert measured.band == pytest.approx(math.exp(1.645 * math.log(2)))  # sd of ln 1, 2, 4
    noisy = Measured()
    noisy.add(Probe("x", "w", 1.0, lambda: None), [1.0, math.e])
    assert noisy.band == pytest.approx(math.exp(1.645 * math.sqrt(0.5)))
    assert band([3.0], 1.1) == 1.1


def test_undisturbed_leaves_slow_samples_and_lucky_ones_out():
    assert undisturbed([5.0, 1.0, 9.0]) == 1.0
    assert undisturbed([float(n) for n in range(20)]) == 2.0


def test_a_sample_repeats_short_calls():
    calls = []
    found = seconds_of(lambda: calls.append(1), samples=3, sample_s=1e-4)
    assert len(found) == 3
    assert min(found) > 0
    assert len(calls) > 3 + 2


@pytest.mark.parametrize(
    ("listed", "found"),
    [
        ({"index0": ("Data", "1", "48K"), "index1": ("Instruction", "1", "32K"),
          "index2": ("Unified", "2", "2M")}, {"L1": 48 * 1024, "L2": 2 * 1024**2}),
        ({}, DEFAULT_CACHES),
    ],
)  # fmt: skip
def test_cache_sizes_are_those_of_the_system(tmp_path, listed, found):
    for index, texts in listed.items():
        (tmp_path / index).mkdir()
        for name, text in zip(("type", "level", "size"), texts, strict=True):
            (tmp_path / index / name).write_text(text + "\n")
    assert cache_sizes(tmp_path) == found


def test_check_puts_the_estimate_beside_the_time(profile):
    graph = bnnsim.load("zoo:tfc:random")
    ticks = iter(range(10**6))
    found = check_cpu([graph], profile, batches=[1, 3], isa="ref", sample=lambda work: [0.5],
                      clock=lambda: float(next(ticks))).to_dict()  # fmt: skip
    jsonschema.validate(found, load_schema("check"))
    for row in found["nets"]:
        said = bnnsim.estimate(graph, profile, batch=row["batch"])
        assert row["predicted_s"] == said.latency.to_dict()
        assert row["measured_s"] == 0.5
        layers = [r for r in found["layers"] if r["batch"] == row["batch"]]
        assert [r["name"] for r in layers] == [r.name for r in said.layers if r.latency_s > 0]
        assert sum(r["predicted_s"]["value"] for r in layers) == pytest.approx(said.latency.value)
        # A step takes one tick, and each step belongs to one layer.
        assert sum(r["measured_s"] for r in layers) >= len(layers)
    errors = [abs(r["predicted_s"]["value"] / 0.5 - 1) for r in found["nets"]]
    assert found["summary"]["worst_net_abs_error"] == max(errors)
    assert found["summary"]["inside"] == 0


def test_a_net_lies_inside_its_interval_where_it_does(profile, monkeypatch):
    graph = bnnsim.load("zoo:tfc:random")
    said: Interval = bnnsim.estimate(graph, profile).latency
    found = check_cpu([graph], profile, batches=[1], isa="ref", sample=lambda work: [said.high])
    assert found.to_dict()["summary"]["inside"] == 1


def test_only_processors_are_checked():
    chip = bnnsim.load_profile("cmos45")
    with pytest.raises(
        ProfileError, match=r"got 'array', expected kernels\. Make one with `bnnsim"
    ):
        check_cpu([], chip)


def test_the_verbs_run_on_this_machine(tmp_path, capsys):
    out = tmp_path / "mine.yaml"
    assert main(["calibrate", "cpu", "--smoke", "-o", str(out), "--json", "-"]) == 0
    result = json.loads(capsys.readouterr().out)
    jsonschema.validate(result, load_schema("calibrate"))
    argv = ["check", "cpu", "zoo:tfc:random", "--profile", str(out), "--batches", "2"]
    assert main([*argv, "--json", "-"]) == 0
    jsonschema.validate(json.loads(capsys.readouterr().out), load_schema("check"))
    assert main(argv) == 0
    assert "Layers, run one step at a time" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["calibrate", "gpu", "-o", "x.yaml"], "got 'gpu', expected cpu: a GPU needs the CUDA"),
        (["check", "gpu", "--profile", "h100"], "Run `bnnsim check cpu`"),
        (["calibrate", "cpu", "-o", "x.txt"], "expected a file that ends in .yaml"),
        (["calibrate", "cpi", "-o", "x.yaml"], "Did you mean 'cpu'?"),
        (["check", "cpu", "--profile", "cmos45"], "latency_model: got 'array'"),
        (["check", "cpu", "zoo:tfc", "--profile", "cpu-avx2"], "load trained or random weights"),
        (["check", "cpu", "--profile", "cpu-avx2", "--batches", "0"], "expected a whole number"),
    ],
)
def test_what_cannot_be_measured_is_refused(argv, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(argv) == 2
    assert said in capsys.readouterr().err


def test_a_profile_that_exists_is_kept(tmp_path, capsys):
    out = tmp_path / "mine.yaml"
    out.write_text("kept")
    assert main(["calibrate", "cpu", "-o", str(out)]) == 2
    assert "expected a new file, or --force" in capsys.readouterr().err
    assert out.read_text() == "kept"
