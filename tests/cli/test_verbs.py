"""Every verb end to end in one process: text, JSON by its schema, files, exit statuses."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from bnnsim import api
from bnnsim.cost.profile import list_profiles, load_profile
from bnnsim.engine.dispatch import available_isas


def test_inspect_says_what_and_why(bnnsim, net):
    said = bnnsim("inspect", net / "tfc.bnn")
    assert said.status == 0
    assert "XNOR-popcount over 64 bits" in said.out
    result = bnnsim.json("inspect", "zoo:tfc", schema="inspect")
    assert result["totals"]["macs"] == 59008


def test_lower_writes_a_graph_that_runs_the_same(bnnsim, net, tmp_path):
    out = tmp_path / "copy.bnn"
    result = bnnsim.json("lower", net / "tfc.bnn", "-o", out, schema="lower")
    assert result["output"] == str(out)
    x = np.load(net / "x.npy")
    assert (api.run(api.load(out), x).outputs == np.load(net / "y.npy")).all()
    assert f"wrote {out}" in bnnsim("lower", net / "tfc.bnn", "-o", out).out


def test_lower_requires_binary_layers_and_writes_nothing_otherwise(bnnsim, net, tmp_path):
    out = tmp_path / "copy.bnn"
    assert bnnsim("lower", net / "tfc.bnn", "-o", out, "--require-binary", "*").status == 0
    out.unlink()
    said = bnnsim.refused("lower", net / "tfc.bnn", "-o", out, "--require-binary", "dens1")
    assert "got 'dens1', expected a pattern that matches one of dense1" in said
    assert "Did you mean 'dense1'?" in said
    assert not out.exists()


def test_lower_names_the_layer_that_is_not_binary(bnnsim, net, tmp_path):
    graph = api.load(net / "tfc.bnn")
    weight = next(n for n in graph.nodes if n.name == "dense1").inputs[1]
    from bnnsim.graph.dtypes import DType

    old = graph.tensors[weight]
    wide = replace(old, dtype=DType("signed", 8), data=old.data.astype(np.int8))
    mixed = graph.with_nodes(graph.nodes, [wide])
    api.save(mixed, tmp_path / "mixed.bnn")
    said = bnnsim.refused(
        "lower", tmp_path / "mixed.bnn", "-o", tmp_path / "n.bnn", "--require-binary", "*"
    )
    assert "dense1 is " in said
    assert "expected binary layers only" in said


def test_lower_refuses_a_network_without_weights_and_a_device(bnnsim, net, tmp_path):
    assert "got 'no weights'" in bnnsim.refused("lower", "zoo:tfc", "-o", tmp_path / "n.bnn")
    assert "got 'a device or pipe'" in bnnsim.refused("lower", net / "tfc.bnn", "-o", "/dev/null")


@pytest.mark.parametrize("engine", ["compiled", "reference"])
def test_run_writes_outputs_and_layers(bnnsim, net, tmp_path, engine):
    result = bnnsim.json(
        "run", net / "tfc.bnn", "--input", net / "x.npy", "-o", tmp_path / "y.npy",
        "--labels", net / "labels.npy", "--engine", engine,
        "--dump", f"threshold1={tmp_path}/s.npy", schema="run",
    )  # fmt: skip
    assert result["accuracy"] == 6 / 7
    assert (np.load(tmp_path / "y.npy") == np.load(net / "y.npy")).all()
    assert np.load(tmp_path / "s.npy").shape == (7, 64)


def test_run_prints_accuracy_kernels_and_files(bnnsim, net, tmp_path):
    out = tmp_path / "y.npy"
    said = bnnsim(
        "run", net / "tfc.bnn", "--input", net / "x.npy", "-o", out, "--labels", net / "labels.npy"
    )
    assert "accuracy 85.71 % of 7 images" in said.out
    assert "gemm_bit" in said.out
    assert f"wrote {out}" in said.out


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--dump", "threshold9=s.npy"], "layer: got 'threshold9'"),
        (["-o", "no/y.npy"], "no/y.npy: got 'no such folder'"),
        (["--json", "no/r.json"], "no/r.json: got 'no such folder'"),
        (["--labels", "x.npy"], "x.npy: shape: got (7, 784), expected (N,)"),
        (["--labels", "class.npy"], "class.npy: label: got 10, expected 0 to 9."),
        (["--labels", "short.npy"], "short.npy: rows: got 3, expected 7, one per image"),
    ],
)
def test_run_refuses_before_it_runs(bnnsim, net, tmp_path, monkeypatch, options, text):
    monkeypatch.chdir(tmp_path)
    np.save("x.npy", np.load(net / "x.npy"))
    np.save("short.npy", np.arange(3))
    np.save("class.npy", np.arange(4, 11))
    said = bnnsim.refused("run", net / "tfc.bnn", "--input", net / "x.npy", *options)
    assert text in said


@pytest.mark.parametrize("isa", sorted({"avx2", "avx512", "neon"} - set(available_isas())))
def test_run_refuses_an_instruction_set_of_another_machine(bnnsim, net, tmp_path, isa):
    said = bnnsim.refused(
        "run", net / "tfc.bnn", "--input", net / "x.npy", "-o", tmp_path / "y.npy", "--isa", isa
    )
    assert re.search(rf"isa='{isa}': (not supported by this CPU|no kernel of it in)", said)
    assert "available: ref" in said
    assert not (tmp_path / "y.npy").exists()


def test_verify_holds(bnnsim, net):
    result = bnnsim.json("verify", net / "tfc.bnn", "--input", net / "x.npy", schema="verify")
    assert result["equal"] is True
    stored = ("verify", net / "tfc.bnn", "--input", net / "x.npy", "--against", net / "y.npy")
    assert bnnsim.json(*stored, schema="verify")["equal"] is True


def test_verify_exits_with_1_on_one_different_element(bnnsim, net, tmp_path):
    other = np.load(net / "y.npy")
    other[3, 2] += 1
    np.save(tmp_path / "y.npy", other)
    argv = ("verify", net / "tfc.bnn", "--input", net / "x.npy", "--against", tmp_path / "y.npy")
    result = bnnsim.json(*argv, schema="verify", status=1)
    assert result["layers"][0]["mismatches"] == 1
    said = bnnsim(*argv)
    assert said.status == 1
    assert "DIFFERENT; 1 of 70 elements differ" in said.out.splitlines()[0]


def test_estimate_and_its_page(bnnsim, net, tmp_path):
    result, page = tmp_path / "e.json", tmp_path / "e.html"
    said = bnnsim("estimate", net / "tfc.bnn", "--profile", "cmos45", "--json", result)
    assert "energy per inference (uJ)" in said.out
    assert json.loads(result.read_text())["model"] == "tfc"
    bnnsim.json("estimate", "zoo:tfc", "--profile", "cmos45", "--batch", 3, schema="estimate")
    written = bnnsim.json("report", result, "-o", page, schema="report")
    assert written["bytes"] == page.stat().st_size
    assert page.read_text().startswith("<!DOCTYPE html>")


def test_compare_takes_several_sources_profiles_and_modes(bnnsim, tmp_path):
    result = bnnsim.json(
        "compare", "zoo:tfc", "zoo:sfc", "--profile", "cmos45,asic-example",
        "--modes", "native,float32", schema="compare",
    )  # fmt: skip
    found = [(c["model"], c["profile"], c["mode"]) for c in result["columns"]]
    assert len(set(found)) == len(found) == 8
    (tmp_path / "c.json").write_text(json.dumps(result))
    assert bnnsim("report", tmp_path / "c.json", "-o", tmp_path / "c.html").status == 0
    text = bnnsim("compare", "zoo:tfc", "--profile", "cmos45", "--modes", "float32,binary").out
    assert "Ratios [90 % interval]" in text


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        (["zoo:tfc", "--profile", "cmos54"], "Did you mean 'cmos45'?"),
        (["zoo:tfc", "--profile", "cmos45", "--mode", "binry"], "Did you mean 'binary'?"),
        (["zoo:tcf", "--profile", "cmos45"], "Did you mean 'tfc'?"),
        (["missing.bnn", "--profile", "cmos45"], "missing.bnn: got 'No such file or directory'"),
        (["net.txt", "--profile", "cmos45"], "expected NET.bnn, NET.onnx, NET.pt2, NET.h5"),
        (["py:os:getcwd", "--profile", "cmos45"], "rust"),
    ],
)
def test_estimate_refuses_with_a_suggestion(bnnsim, argv, text):
    assert text in bnnsim.refused("estimate", *argv)


def test_report_refuses_what_is_no_result(bnnsim, net, tmp_path):
    page = tmp_path / "p.html"
    assert "expected JSON" in bnnsim.refused("report", net / "x.npy", "-o", page)
    for text, got in (
        ('{"schema": 1}', "got 'dict', expected the JSON of estimate, compare, simulate or demo."),
        ('{"model": "a", "profile": "b"}', "r.json: got \"no key 'mode'\""),
    ):
        (tmp_path / "r.json").write_text(text)
        assert got in bnnsim.refused("report", tmp_path / "r.json", "-o", page)
    assert not page.exists()


@pytest.mark.parametrize(
    ("kind", "argv"),
    [
        ("inspect", ["inspect", "zoo:tfc"]),
        ("run", ["run", "tfc.bnn", "--input", "x.npy"]),
        ("verify", ["verify", "tfc.bnn", "--input", "x.npy"]),
        ("lower", ["lower", "zoo:sfc:random", "-o", "sfc.bnn"]),
        ("tables", ["tables", "cmos45"]),
        ("zoo list", ["zoo", "list"]),
        ("profiles", ["profiles", "show", "cmos45"]),
        ("profiles list", ["profiles", "list"]),
    ],
)
def test_report_says_which_verb_a_file_is_from(bnnsim, net, tmp_path, monkeypatch, kind, argv):
    folder = tmp_path / "work"
    folder.mkdir()
    paths = [net / a if (net / a).is_file() else a for a in argv]
    paths = [folder / a if a == "sfc.bnn" else a for a in paths]
    bnnsim(*paths, "--json", tmp_path / "r.json")
    said = bnnsim.refused("report", tmp_path / "r.json", "-o", tmp_path / "p.html")
    assert f"r.json: got \"the result of '{kind}'\", expected the JSON of estimate" in said


def test_profiles_list_show_check(bnnsim, tmp_path):
    listed = bnnsim.json("profiles", "list", schema="profiles")
    assert "cmos45" in [p["name"] for p in listed["profiles"]]
    shown = bnnsim.json("profiles", "show", "cmos45", schema="profiles")
    assert len(shown["constants"]) == shown["profile"]["constants"]
    assert "900 fJ/op" in bnnsim("profiles", "show", "cmos45").out
    bad = tmp_path / "bad.yaml"
    bad.write_text("schema: bnnsim/profile/1\nname: bad\nkindd: asic\n")
    assert "bad.yaml" in bnnsim.refused("profiles", "check", bad)
    assert "missing.yaml" in bnnsim.refused("profiles", "check", tmp_path / "missing.yaml")


def test_compare_names_the_column_that_has_no_price(bnnsim, tmp_path):
    path = tmp_path / "strict.yaml"
    path.write_text("schema: bnnsim/profile/1\nname: strict\nextends: binareye\n"
                    "array: {emulate: error}\n")  # fmt: skip
    said = bnnsim.refused("compare", "zoo:tfc", "--profile", f"cmos45,{path}",
                          "--modes", "binary,float32")  # fmt: skip
    assert "column tfc " in said
    assert " on strict: " in said
    assert "float32" in said


def test_profiles_show_tells_the_machine(bnnsim):
    shown = bnnsim.json("profiles", "show", "cmos45", schema="profiles")["machine"]
    array, memories = shown["array"], {m["name"]: m for m in shown["memories"]}
    assert (array["rows"], array["columns"], array["accumulators"]) == (16, 64, 32)
    assert array["ops_per_pe"]["float32 x ternary"] == 1
    assert (array["emulate"], array["first_layer"]) == ("wider", "planes")
    assert memories["gb"]["size_bytes"] == 2 << 20
    assert (memories["gb"]["banks"], memories["gb"]["ports"]) == (32, "1R1W")
    assert memories["dram"]["read"] == {"value": pytest.approx(8e-12), "unit": "J/bit"}
    assert shown["rng"]["generator"] == "xorshift32"
    text = bnnsim("profiles", "show", "cmos45").out
    for line in ("array.rows            16", "emulate         wider", "ternary x bit        32.0"):
        assert line in text
    assert "2.00 MiB          64   1R1W     32  weights, activations" in text
    arith = bnnsim.json("profiles", "show", "cmos45-arith", schema="profiles")["machine"]
    assert arith["memories"] == []
    assert arith["datapath"]["accumulator"]["int8 x bit"] == "int32"


@pytest.mark.parametrize("name", list_profiles())
def test_profiles_show_fits_its_schema_for_every_packaged_profile(bnnsim, name):
    shown = bnnsim.json("profiles", "show", name, schema="profiles")["machine"]
    assert ("pipeline" in shown) == (load_profile(name).pipeline is not None)
    said = bnnsim("profiles", "show", name).out
    assert ("weight_bits" in said) == ("pipeline" in shown)


def test_profiles_check_warns_of_energies_of_another_node(bnnsim, tmp_path):
    path = tmp_path / "mine.yaml"
    node = "node: {process: 28 nm, vdd: 0.8 V}"
    path.write_text(f"schema: bnnsim/profile/1\nname: mine\nextends: cmos45\n{node}\n")
    note = ("the energies of actions, memories, static, rng are those of cmos45's 45 nm, 0.9 V, "
            "not scaled to 28 nm, 0.8 V")  # fmt: skip
    checked = bnnsim.json("profiles", "check", path, schema="profiles")
    assert checked["notes"] == [note]
    for verb in ("check", "show"):
        assert f"warning: {note}" in bnnsim("profiles", verb, path).out
    estimated = bnnsim("estimate", "zoo:tfc", "--profile", path).out
    assert estimated.index(note) < estimated.index("energy per inference")


def test_profiles_new_writes_a_profile_that_holds(bnnsim, tmp_path):
    path = tmp_path / "mine.yaml"
    new = ("profiles", "new", "mine", "--from", "asic-example", "-o", path)
    made = bnnsim.json(*new, schema="profiles")
    assert (made["file"], made["extends"], made["name"]) == (str(path), "asic-example", "mine")
    checked = bnnsim.json("profiles", "check", path, schema="profiles")
    assert checked["constants"] == made["constants"]
    before = path.read_text()
    assert before.startswith("## A chip of your own")
    said = bnnsim.refused(*new)
    assert f"{path}: got 'a file that exists', expected a new file. Pass --force" in said
    path.write_text("mine to lose\n")
    assert f"wrote {path}" in bnnsim(*new, "--force").out
    assert path.read_text() == before
    assert [p.name for p in tmp_path.iterdir()] == ["mine.yaml"]  # nothing half-written is left


def test_profiles_new_writes_beside_the_caller_by_default(bnnsim, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert bnnsim("profiles", "new", "mine", "--from", "cmos45").status == 0
    assert bnnsim("profiles", "new", "yours", "--from", "mine.yaml").status == 0
    assert "extends: mine\n" in (tmp_path / "yours.yaml").read_text()
    assert bnnsim("profiles", "check", "yours.yaml").status == 0


def test_profiles_new_refuses_and_writes_nothing(bnnsim, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    new = ("profiles", "new")
    cases = {
        (*new, "Mine", "--from", "cmos45"): "profile name: got 'Mine'",
        (*new, "../mine", "--from", "cmos45"): "profile name: got '../mine'",
        (*new, "cmos45", "--from", "cmos45"): "a name that no packaged profile has",
        (*new, "mine", "--from", "cmos54"): "Did you mean 'cmos45",
        (*new, "mine", "--from", "gone.yaml"): "gone.yaml: got 'No such file or directory'",
        (*new, "mine", "--from", "cmos45", "-o", "no/mine.yaml"): "no such folder",
        (*new, "mine", "--from", "cmos45", "-o", "mine.txt"): "a file that ends in .yaml",
        (*new, "mine", "--from", "cmos45", "-o", "cmos45.yaml"): "another file name",
        (*new, "mine"): "--from",
        (*new, "mine", "--from", "cmos45", "--forse"): "--force",
    }
    for argv, said in cases.items():
        assert said in bnnsim.refused(*argv), argv
    assert list(tmp_path.iterdir()) == []


def test_compare_of_two_profiles_says_why_they_differ(bnnsim, tmp_path):
    argv = ("compare", "zoo:tfc", "--profile", "cmos45,asic-example")
    found = bnnsim.json(*argv, schema="compare")
    (item,) = found["waterfalls"]
    total = sum(step["energy_j"] for step in item["steps"])
    assert total == pytest.approx(item["end_j"] - item["start_j"], rel=1e-9)
    (tmp_path / "c.json").write_text(json.dumps(found))
    assert bnnsim("report", tmp_path / "c.json", "-o", tmp_path / "c.html").status == 0
    assert "Between profiles" in (tmp_path / "c.html").read_text()
    assert "tfc native, cmos45 to asic-example" in bnnsim(*argv).out


def test_tables_add_up_to_the_estimate(bnnsim):
    result = bnnsim.json("tables", "cmos45", "zoo:tfc", schema="tables")
    estimate = bnnsim.json("estimate", "zoo:tfc", "--profile", "cmos45", schema="estimate")
    total = sum(row["energy_j"] for row in result["example"])
    assert total == pytest.approx(estimate["totals"]["energy_j"]["value"], rel=1e-9)
    assert "multiply (pJ/op)" in bnnsim("tables", "cmos45-arith").out


def test_zoo_list(bnnsim):
    result = bnnsim.json("zoo", "list", schema="zoo")
    assert {"mlp-3x2048", "cifar10-convnet"} <= {n["name"] for n in result["networks"]}
    text = bnnsim("zoo", "list").out
    assert "59,008" in text
    assert "zoo:NAME:trained" in text
    trained = [net["name"] for net in result["networks"] if net["trained"]]
    assert trained == ["mlp-3x2048", "mnist-convnet", "mnist-bits"]


def test_json_file_and_text_together(bnnsim, tmp_path):
    said = bnnsim("zoo", "list", "--json", tmp_path / "z.json")
    assert "Networks that zoo:NAME builds" in said.out
    assert json.loads((tmp_path / "z.json").read_text())["schema"] == 1


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        ("run a.bnn --input x.npy -o x.npy", "x.npy: got 'the command reads it', expected a file"),
        ("run a.bnn --input x.npy -o ./link.npy", "./link.npy: got 'the command reads it'"),
        ("run a.bnn --input x.npy --labels l.npy -o l.npy", "got 'the command reads it'"),
        ("inspect a.bnn --json a.bnn", "a.bnn: got 'the command reads it'"),
        ("lower a.bnn -o a.bnn", "a.bnn: got 'the command reads it'"),
        ("lower a.bnn -o q.bnn --json q.bnn", "q.bnn: got 'another output goes there'"),
        ("run a.bnn --input x.npy -o s.npy --dump dense1=./s.npy", "got 'another output goes"),
        ("verify a.bnn --input x.npy --against y.npy --json y.npy", "got 'the command reads it'"),
        ("estimate a.bnn --profile p.yaml --json p.yaml", "p.yaml: got 'the command reads it'"),
        ("report r.json -o r.json", "r.json: got 'the command reads it'"),
        ("run a.bnn --input x.npy -o -", "-: got 'standard output'"),
        ("run a.bnn --input x.npy --dump dense1=-", "Only --json takes -."),
        ("run a.bnn --input x.npy -o new/", "new/: got 'a folder'"),
    ],
)
def test_each_output_is_a_file_of_its_own(bnnsim, tmp_path, monkeypatch, argv, text):
    monkeypatch.chdir(tmp_path)
    for name in ("a.bnn", "x.npy", "l.npy", "y.npy", "p.yaml", "r.json"):
        (tmp_path / name).write_text("kept")
    (tmp_path / "link.npy").symlink_to("x.npy")
    assert text in bnnsim.refused(*argv.split())
    assert all(path.read_text() == "kept" for path in tmp_path.iterdir())


def test_devices_take_several_outputs(bnnsim, net):
    argv = ("run", net / "tfc.bnn", "--input", net / "x.npy", "-o", "/dev/null")
    assert bnnsim(*argv, "--dump", "dense1=/dev/null", "--json", "/dev/null").status == 0


def test_one_layer_is_dumped_to_two_files(bnnsim, net, tmp_path):
    one, two = tmp_path / "one.npy", tmp_path / "two.npy"
    dumps = ("--dump", f"threshold1={one}", "--dump", f"threshold1={two}")
    assert bnnsim("run", net / "tfc.bnn", "--input", net / "x.npy", *dumps).status == 0
    assert (np.load(one) == np.load(two)).all()


@pytest.mark.parametrize(
    ("argv", "text"),
    [
        ("zoo:tfc --folding f.json", "f.json: got 'No such file or directory'"),
        ("a.bnn --network lfc", "--network: got 'a.bnn', expected a source of the form pynq:"),
        ("a.bnn --weights w.pth", "--weights: got 'a.bnn', expected a source of the form py:"),
        (
            "zoo:tfc --input-shape 4",
            "--input-shape: got 'zoo:tfc', expected a source of the form p",
        ),
        ("pynq:f --sign-zero plus", "expected a source of the form py: or .pt2 or .onnx"),
        ("no.pt2", "no.pt2: got 'no such file', expected a .pt2 archive."),
        ("zoo:tfc:", "zoo:tfc:: got '', expected nothing, 'trained'"),
        (
            "zoo:tfc:random,",
            "got 'random,', expected nothing, 'trained', 'random' or 'random,SEED'",
        ),
        ("zoo:tfc:random,18446744073709551616", "with a seed below 2^64."),
        ("zoo:tfc:random," + "9" * 5000, "with a seed below 2^64."),
    ],
)
def test_options_and_sources_that_do_not_fit(bnnsim, argv, text):
    assert text in bnnsim.refused("inspect", *argv.split())


def test_an_option_may_fit_one_source_of_several(bnnsim, tmp_path):
    argv = ("compare", "zoo:tfc", f"pynq:{tmp_path}", "--profile", "cmos45", "--network", "lfc")
    assert "expected a folding" in bnnsim.refused(*argv)


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_verify_refuses_outputs_that_never_compare(bnnsim, net, tmp_path, odd):
    outputs = np.load(net / "y.npy").astype(np.float32)
    outputs[2, 3] = odd
    np.save(tmp_path / "y.npy", outputs)
    argv = ("verify", net / "tfc.bnn", "--input", net / "x.npy", "--against", tmp_path / "y.npy")
    assert f"y.npy: value at [2, 3]: got {odd}, expected a finite number" in bnnsim.refused(*argv)


MODULES = """
import sys
import torch

def unseeded():
    print("made", file=sys.stdout)
    layer = torch.nn.Linear(5, 4, bias=False)
    layer.weight.data = torch.randint(-9, 9, (4, 5)).float()
    return layer

def leaves():
    raise SystemExit(0)
"""


@pytest.fixture
def modules(tmp_path, monkeypatch):
    pytest.importorskip("torch")
    (tmp_path / "cli_modules.py").write_text(MODULES)
    np.save(tmp_path / "x.npy", np.arange(15, dtype=np.float32).reshape(3, 5))
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("cli_modules", None)


def test_a_random_module_is_compared_with_itself(bnnsim, modules):
    argv = ("--trust", "--input-shape", 5, "--input", "x.npy", "--against", "torch", "--json", "-")
    said = bnnsim("verify", "py:cli_modules:unseeded", *argv)
    assert (said.status, said.err) == (0, "made\n")
    assert json.loads(said.out)["equal"] is True


def test_what_a_module_prints_is_not_the_result(bnnsim, modules):
    argv = ("--trust", "--input-shape", 5, "--json", "-")
    said = bnnsim("inspect", "py:cli_modules:unseeded", *argv)
    assert (said.status, said.err) == (0, "made\n")
    assert json.loads(said.out)["totals"]["macs"] == 20


def test_a_module_that_exits_is_a_bad_source(bnnsim, modules):
    said = bnnsim.refused("inspect", "py:cli_modules:leaves", "--trust", "--input-shape", 5)
    assert "SourceError: py:cli_modules:leaves: got 'SystemExit: 0', expected an importable" in said


@pytest.mark.parametrize("kind", ["missing", "pipe"])
def test_weights_are_a_regular_file(bnnsim, modules, tmp_path, kind):
    if kind == "pipe":
        os.mkfifo(tmp_path / "w.pth")
    said = bnnsim.refused("inspect", "py:cli_modules:unseeded", "--trust", "--weights", "w.pth")
    assert "w.pth: got" in said
    assert "state dict" in said


def test_lower_writes_the_same_bytes_in_every_process(net, tmp_path):
    for seed in "12":
        subprocess.run(
            [sys.executable, "-m", "bnnsim", "lower", net / "tfc.bnn", "-o", f"{seed}.bnn"],
            cwd=tmp_path, env={**os.environ, "PYTHONHASHSEED": seed}, check=True,
            capture_output=True,
        )  # fmt: skip
    first = (tmp_path / "1.bnn").read_bytes()
    assert first == (tmp_path / "2.bnn").read_bytes()
    assert first == (net / "tfc.bnn").read_bytes()
