"""simulate: one twin executed and priced; accuracy where it stands; counts of model and kernels."""

from __future__ import annotations

import json
from dataclasses import replace

import jsonschema
import numpy as np
import pytest
from nets import Builder, convnet, float_residual, mlp

import bnnsim
from bnnsim.accuracy import accuracy, check_classes, wilson
from bnnsim.cost.profile import build_profile
from bnnsim.cost.profile_yaml import find_profile, read_profile
from bnnsim.errors import InputError
from bnnsim.report.check import checked, load_schema
from bnnsim.simulation import LayerCount, counted


@pytest.fixture(scope="module")
def found():
    net, x = mlp(1), mlp_batch(40)
    labels = bnnsim.decide(net, bnnsim.run(net, x).outputs)
    labels[:5] = (labels[:5] + 1) % 10
    return bnnsim.simulate(net, "cmos45", x, labels)


def mlp_batch(n):
    return np.random.default_rng(n).integers(0, 256, (n, 63), np.uint8)


def test_it_is_the_run_and_the_estimate_of_the_same_twin(found):
    net, x = mlp(1), mlp_batch(40)
    assert np.array_equal(found.outputs, bnnsim.run(net, x).outputs)
    priced, result = bnnsim.estimate(net, "cmos45").to_dict(), found.to_dict()
    ours = {key: value for key, value in result.items() if key in priced and key != "record"}
    assert ours == {key: value for key, value in priced.items() if key != "record"}
    assert [k["node"] for k in result["kernels"]] == [layer["name"] for layer in result["layers"]]
    assert result["record"]["input_hashes"].keys() == {"input"}


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("mode", ["native", "float32"])
def test_json_holds_the_schema_and_the_page_checker_accepts_it(mode, labelled):
    labels = np.zeros(6, np.uint8) if labelled else None
    result = bnnsim.simulate(mlp(0), "cmos45", mlp_batch(6), labels, mode=mode)
    plain = json.loads(result.to_json())
    assert plain == json.loads(json.dumps(result.to_dict()))
    jsonschema.validate(plain, load_schema("simulate"))
    assert checked(plain, where="r.json") == plain


def test_a_page_needs_a_count_of_the_model_beside_each_of_a_kernel():
    plain = json.loads(bnnsim.simulate(mlp(0), "cmos45", mlp_batch(2)).to_json())
    first = next(i for i, layer in enumerate(plain["counts"]["layers"]) if "mac" in layer["done"])
    del plain["counts"]["layers"][first]["predicted"]["mac"]
    place = rf"r\.json: counts: layers\[{first}\]: predicted: got \"no key 'mac'\""
    with pytest.raises(InputError, match=place):
        checked(plain, where="r.json")


def test_the_schema_of_simulate_repeats_that_of_estimate():
    ours, theirs = load_schema("simulate"), load_schema("estimate")
    for key, rule in theirs["properties"].items():
        assert key == "record" or ours["properties"][key] == rule
    for key, rule in theirs["$defs"].items():
        assert ours["$defs"][key] == rule
    run = load_schema("run")
    assert ours["properties"]["kernels"] == run["properties"]["kernels"]
    assert ours["$defs"]["record"] == run["$defs"]["record"]


# --- accuracy ----------------------------------------------------------------------------------


def test_accuracy_counts_what_is_right(found):
    assert (found.accuracy.top1.hits, found.accuracy.top1.images) == (35, 40)
    assert (found.accuracy.top1.low, found.accuracy.top1.high) == wilson(35 / 40, 40)
    assert found.agreement is None
    assert sum(n for a, b, n in found.accuracy.confusion if a == b) == 35
    assert sum(n for a, b, n in found.accuracy.confusion) == 40


def test_confusion_and_ties_by_hand():
    graph = mlp(0, widths=(5, 3))
    outputs = np.array([[1, 3, 3], [2, 2, 2], [0, 0, 5], [9, 1, 0]], np.float32)
    measured = accuracy(graph, outputs, np.array([1, 2, 2, 1]))
    assert measured.confusion == ((1, 0, 1), (1, 1, 1), (2, 0, 1), (2, 2, 1))
    assert (measured.top1.hits, measured.tied, measured.classes) == (2, 2, 3)
    assert "first of equal ones" in measured.rule


def test_last_set_bit_decides_where_the_network_says_so():
    graph = mlp(0, widths=(5, 3)).with_meta(decision="last-set-bit")
    outputs = np.array([[1, 1, -1], [-1, -1, -1]], np.int8)
    measured = accuracy(graph, outputs, np.array([1, 0]))
    assert (measured.top1.hits, measured.tied) == (2, 0)
    assert measured.rule.startswith("the highest output that is +1")


@pytest.mark.parametrize(
    ("labels", "text"),
    [
        (np.zeros(5, int), r"labels: got \(5,\), expected shape \(6,\), one per image"),
        (np.zeros((6, 1), int), r"labels: got \(6, 1\)"),
        (np.zeros(6), r"labels: got 'float64', expected an integer dtype\. Convert with"),
        (np.array([0, 1, 9, 10, 3, 2]), r"labels\[3\]: got 10, expected a class of mlp, 0 to 9"),
        (np.array([0, -1, 9, 9, 3, 2]), r"labels\[1\]: got -1, expected a class of mlp"),
    ],
)
def test_labels_are_checked(labels, text):
    for mode in ("native", "float32"):
        with pytest.raises(bnnsim.InputError, match=text):
            bnnsim.simulate(mlp(0), "cmos45", mlp_batch(6), labels, mode=mode)


def test_labels_of_every_integer_dtype_pass():
    for dtype in (np.uint8, np.int16, np.uint64):
        assert len(check_classes(mlp(0), np.arange(6).astype(dtype), 6)) == 6


def test_a_what_if_twin_has_agreement_and_no_accuracy():
    net, x = mlp(1), mlp_batch(30)
    own = bnnsim.decide(net, bnnsim.run(net, x).outputs)
    result = bnnsim.simulate(net, "cmos45", x, own, mode="weight-only")
    same = int((bnnsim.decide(net, result.outputs) == own).sum())
    assert result.accuracy is None
    assert (result.agreement.hits, result.agreement.images) == (same, 30)
    assert 0 < same < 30
    assert "what-if: not trained in this precision, no accuracy" in result.cost.notes


def test_a_float_network_has_its_accuracy_in_float32_only():
    net = float_residual()
    x = np.random.default_rng(0).normal(size=(4, 7, 6, 3)).astype(np.float32)
    labels = np.zeros(4, int)
    assert bnnsim.simulate(net, "cmos45", x, labels, mode="float32").accuracy is not None
    twin = bnnsim.simulate(net, "cmos45", x, labels, mode="binary")
    assert (twin.accuracy, twin.agreement.images) == (None, 4)


# --- counts ------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["native", "float32", "weight-only", "int8", "binary-stochastic"])
@pytest.mark.parametrize("make", [mlp, convnet])
def test_the_model_counts_what_the_kernels_do(make, mode):
    net = make(3)
    shape = net.tensor("input").shape
    x = np.random.default_rng(0).integers(0, 256, (5, *shape), np.uint8)
    samples = 3 if mode == "binary-stochastic" else None
    result = bnnsim.simulate(net, "cmos45", x, mode=mode, samples=samples, threads=2)
    linear = [c for c in result.counts if c.work.op in ("Dense", "Conv2d")]
    assert linear
    assert all(c.equal for c in linear)
    assert result.counts_equal
    by_name = {layer.name: layer for layer in result.cost.layers}
    for c in linear:
        assert c.work.done["mac"] == by_name[c.work.name].macs * 5 * (samples or 1)
    if samples:
        drawn = sum(c.work.done.get("random_bits", 0) for c in result.counts)
        assert drawn == result.run.counts["rng_bits"] > 0


def test_residual_networks_agree_too():
    x = np.random.default_rng(0).normal(size=(3, 7, 6, 3)).astype(np.float32)
    for mode in ("native", "binary", "weight-only"):
        result = bnnsim.simulate(float_residual(), "cmos45", x, mode=mode)
        assert result.counts_equal
        assert any(c.work.op == "Add" and c.equal for c in result.counts)


def test_a_wrong_prediction_is_seen(found):
    last = [layer.name for layer in found.cost.layers if layer.op == "Dense"][-1]
    wrong = [
        replace(layer, macs=layer.macs + 1) if layer.name == last else layer
        for layer in found.cost.layers
    ]
    work = [c.work for c in found.counts]
    again = replace(found, counts=counted(work, wrong, found.activity))
    assert [c.work.name for c in again.counts if c.equal is False] == [last]
    assert not again.counts_equal
    assert again.to_dict()["counts"]["equal"] is False


def test_nothing_to_compare_is_no_agreement(found):
    encode = next(c for c in found.counts if c.work.op == "Encode")
    assert encode.equal is None
    assert LayerCount(encode.work, {}).to_dict()["equal"] is None


# --- activity ----------------------------------------------------------------------------------


def with_reference(toggles):
    raw = dict(read_profile(find_profile("cmos45")))
    raw["sources"] = {**raw["sources"], "choice": {"cite": "a test", "kind": "choice"}}
    stated = {"toggles": toggles, "status": "assumed", "source": "choice", "at": "here"}
    raw["array"] = {**raw["array"], "reference_activity": stated}
    return build_profile(raw, "mine.yaml")


def test_activity_scales_where_a_profile_states_its_reference(found):
    net, x, chip = mlp(1), mlp_batch(40), with_reference(0.2)
    result = bnnsim.simulate(net, chip, x)
    toggles = result.activity.toggles
    assert toggles == found.activity.toggles
    assert len(toggles) == 2
    plain = {layer.id: layer.energy_by.get("compute", 0.0) for layer in found.cost.layers}
    for layer in result.cost.layers:
        expected = plain[layer.id] * toggles.get(layer.id, 0.2) / 0.2
        assert layer.energy_by.get("compute", 0.0) == pytest.approx(expected, rel=1e-12)
    assert (
        bnnsim.estimate(net, chip, activity=x).to_dict()["totals"] == (result.to_dict()["totals"])
    )


def test_estimate_holds_the_activity_that_it_was_given():
    net, x = mlp(0), mlp_batch(5)
    report = bnnsim.estimate(net, "cmos45", activity=x)
    plain = report.to_dict()
    jsonschema.validate(plain, load_schema("estimate"))
    assert plain["activity"] == bnnsim.simulate(net, "cmos45", x).to_dict()["activity"]
    assert "activity" not in bnnsim.estimate(net, "cmos45").to_dict()
    assert plain["totals"] == bnnsim.estimate(net, "cmos45").to_dict()["totals"]


def test_activity_of_known_bits():
    """Pixels that alternate between all 0 and all 255 toggle every bit from image to image."""
    net = Builder((9, 4, 6)).encode_bits()
    graph = net.conv(3, (1, 1)).batch_norm().graph()
    x = np.zeros((4, 9, 4, 6), np.uint8)
    x[1::2] = 255
    activity = bnnsim.simulate(graph, "cmos45", x).activity
    for tensor in activity.to_dict()["tensors"]:
        assert (tensor["p_one"]["mean"], tensor["constant_channels"]) == (0.5, 0)
        assert tensor["successive"]["fraction"] == 1
        assert tensor["adjacent"]["fraction"] == 0
    (product,) = activity.products
    # Of 4 x 36 - 1 successive pixels only the three between two images toggle.
    assert (product.changes.changed, product.changes.compared) == (3 * 6 * 3, 143 * 6 * 3)


def test_what_has_no_price_is_refused_before_it_runs(monkeypatch):
    monkeypatch.setattr("bnnsim.simulation.run", lambda *_, **__: pytest.fail("it ran"))
    x = mlp_batch(2)
    with pytest.raises(bnnsim.ProfileError, match=r"got 'uint8 x bit', expected a pair among"):
        bnnsim.simulate(mlp(0), "yodann", x)
    with pytest.raises(bnnsim.ProfileError, match=r"got 'uint8 x bit', expected a pair among"):
        bnnsim.estimate(mlp(0), "yodann", activity=x)


# --- what is refused ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"x": mlp_batch(0)}, r"input: got '0 images', expected at least one image to observe"),
        ({"x": np.zeros((2, 62), np.uint8)}, r"got \(2, 62\), expected shape \(N, 63\)"),
        ({"seed": 3}, r"seed: got 3, expected no such option where signs are taken.*stochastic\."),
        ({"samples": 2}, r"samples: got 2, expected no such option"),
        ({"mode": "binary-stochastic", "samples": 0}, r"samples: got 0, expected at least 1"),
        ({"mode": "int9"}, r"mode: got 'int9', expected one of native"),
        ({"batch": 0}, r"batch: got 0, expected an integer from 1"),
    ],
)
def test_bad_input_is_refused(options, text):
    with pytest.raises(bnnsim.InputError, match=text):
        bnnsim.simulate(**{"graph": mlp(0), "profile": "cmos45", "x": mlp_batch(2), **options})


@pytest.mark.parametrize(
    ("source", "mode", "text"),
    [
        ("zoo:tfc", "native", r"tfc: 'dense1\.weight': got 'no data', .* load trained or"),
        ("zoo:tfc:random,1", "float32", r"'float32, a cost-only twin', expected a mode whose twin"),
        ("zoo:resnet20:random", "int8", r"got 'int8, a cost-only twin'.*ranges of activations"),
        ("zoo:tfc:random,1", "int8", r"or choose another mode\."),
    ],
)
def test_twins_that_cannot_run_are_refused_with_a_remedy(source, mode, text):
    spec = bnnsim.load(source).tensor("input")
    x = np.zeros((1, *spec.shape), spec.dtype.numpy)
    for call in (
        bnnsim.simulate,
        lambda *a, **k: bnnsim.estimate(*a[:2], activity=a[2], **k),
        lambda graph, _, x, mode: bnnsim.run(graph, x, mode=mode),
        lambda graph, _, x, mode: bnnsim.verify(graph, x, mode=mode),
    ):
        with pytest.raises(bnnsim.GraphError, match=text):
            call(bnnsim.load(source), "cmos45", x, mode=mode)
