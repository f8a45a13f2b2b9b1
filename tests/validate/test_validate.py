"""Published points: strict reading, scores by hand, first predictions kept as they are."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from bnnsim.cost.intervals import Interval
from bnnsim.cost.profile import load_profile
from bnnsim.errors import InputError
from bnnsim.validate.first import keep_first, read_first
from bnnsim.validate.nets import NETWORKS
from bnnsim.validate.points import Point, packaged_points, read_points
from bnnsim.validate.score import Row, Validation, coverage, predict, summary, validate
from bnnsim.zoo import build

REPOSITORY = Path(__file__).resolve().parents[2]
KEPT = REPOSITORY / "validation" / "first_predictions.jsonl"
ENTRY = {
    "id": "a", "chip": "A", "kind": "k", "quantity": "time per image", "published": "2 us",
    "profile": "pynq-z1", "networks": ["lfc"], "batch": 1, "cite": "c", "at": "t",
    "confirmed": True,
}  # fmt: skip


@pytest.fixture(scope="module")
def found() -> Validation:
    return validate()


def row(chip="A", published=1.0, ends=(1.0, 0.5, 2.0), role="scored", kind="k", name="p"):
    facts = (
        name,
        chip,
        kind,
        "time per image",
        published,
        "chip",
        True,
        "x",
        ("cnv",),
        "",
        1,
        "c",
        "",
    )
    return Row(Point(*facts), Interval(*ends), role)


def points_file(folder, *entries, **top):
    path = folder / "points.yaml"
    whole = {"schema": "bnnsim/points/1", "points": list(entries), **top}
    path.write_text(json.dumps(whole))  # JSON is YAML
    return path


def test_the_packaged_points_are_predicted(found):
    schema = json.loads((REPOSITORY / "bnnsim" / "schemas" / "validate.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    result = json.loads(found.to_json())
    Draft202012Validator(schema).validate(result)
    assert len(result["points"]) == len(read_points(packaged_points())[0])
    assert result["coverage"]["n"] == sum(r["role"] == "scored" for r in result["points"])


def layers(graph):
    """Return types and sizes of what a graph multiplies."""
    linear = [node for node in graph.nodes if node.op in ("Conv2d", "Dense")]
    sides = [[graph.tensor(name) for name in node.inputs] for node in linear]
    return [
        (node.op, x.dtype, x.shape, w.dtype, w.shape, node.attrs.get("stride"))
        for node, (x, w) in zip(linear, sides, strict=True)
    ]


@pytest.mark.parametrize(
    ("timed", "zoo"),
    [
        ("quicknet-small", "quicknet-small"),
        ("quicknet-medium", "quicknet"),
        ("quicknet-large", "quicknet-large"),
        ("birealnet-18", "bireal18"),
    ],
)
def test_timed_networks_multiply_what_those_of_the_zoo_do(timed, zoo):
    assert layers(NETWORKS[timed]()) == layers(build(zoo))


def test_points_that_a_profile_was_calibrated_on_are_fit(found):
    stated = {i for p in ("pynq-z1", "ultra96", "arm-neon") for i in load_profile(p).calibrated_on}
    assert {r.point.id for r in found.of("fit")} == stated
    assert all(not r.point.confirmed for r in found.of("unconfirmed"))


def test_streaming_meets_its_targets(found):
    # 3 % for a batch of CNV, 15 % for one image.
    errors = {r.point.id: abs(r.predicted.value / r.point.published - 1) for r in found.rows}
    assert errors["bnnpynq-cnv-w1a1-pynq-batch"] < 0.03
    for name in ("cnv-w1a1-pynq", "cnv-w1a1-ultra96", "lfc-w1a1-ultra96"):
        assert errors[f"bnnpynq-{name}-single"] < 0.15


def test_first_predictions_are_kept_once_and_for_all(found):
    kept = {r["id"]: r for r in read_first(KEPT)}
    assert set(kept) == {r.point.id for r in found.rows}
    older = REPOSITORY / "experiments" / "first_predictions" / "results" / "first.json"
    for point in json.loads(older.read_text())["points"]:
        mine = kept[point["id"]]
        assert (mine["published"], mine["predicted"]) == (point["published"], point["predicted"])


def test_published_chips_are_tuned_to_nothing():
    modelled = {p.profile for p in read_points(packaged_points())[0] if p.kind.startswith("asic")}
    modelled |= {"colonnade"}
    assert {"braintta", "brein", "xnorbin", "dimc", "envision", "unpu", "tinyvers"} <= modelled
    for name in modelled:
        profile = load_profile(name)
        assert profile.calibrated_on == (), name
        assert {c.status for c in profile.actions.values()} == {"derived"}, name
        assert profile.structural_band >= 2, name  # supply or memories of each are assumed


def test_scores_by_hand():
    inside = row()
    assert (inside.log2_error, inside.inside, inside.width) == (0, True, 2)
    assert inside.interval_score == 2
    outside = row(published=4.0)
    assert (outside.log2_error, outside.inside) == (-2, False)
    assert outside.interval_score == pytest.approx(2 + 20 * 1)
    below = row(published=0.25)
    assert below.interval_score == pytest.approx(2 + 20 * 1)


def test_each_chip_has_one_vote():
    # Chip A: |errors| 0, 1, 2, median 1. Chip B: 3. Median of both: 2.
    rows = [row(published=p) for p in (1.0, 2.0, 4.0)] + [row("B", published=8.0)]
    kind = summary(rows)["k"]
    assert (kind["chips"], kind["median_abs_log2"], kind["worst_abs_log2"]) == (2, 2, 3)
    assert kind["median_width"] == 2


def test_coverage_is_a_binomial_test():
    rows = [row()] * 8 + [row(published=9.0)] * 2
    found = coverage(rows)
    assert (found["inside"], found["n"]) == (8, 10)
    # Two-sided: every count no likelier than 8 of 10 at 0.9.
    chance = [math.comb(10, k) * 0.9**k * 0.1 ** (10 - k) for k in range(11)]
    expected = sum(c for c in chance if c <= chance[8] * (1 + 1e-7))
    assert found["p_value"] == pytest.approx(expected)
    assert coverage([])["n"] == 0
    assert coverage([])["p_value"] is coverage([])["p_value_by_chip"] is None


def test_figures_of_one_chip_are_one_vote_of_the_coverage():
    # Nine chips inside, one with 3 of 4: 9.75 of 10. The tail of at most that many at 0.9 is above
    # one half, so that of at least as many counts; it lies between the tails of 9 and of 10.
    rows = [row(f"C{i}") for i in range(9)]
    rows += [row("D")] * 3 + [row("D", published=9.0)]
    found = coverage(rows)
    assert (found["chips_inside"], found["chips"], found["n"]) == (9.75, 10, 13)
    assert 2 * 0.9**10 < found["p_value_by_chip"] <= 1
    # Whole counts: P(X <= 8 of 10) = 1 - 0.9^10 - 10 x 0.9^9 x 0.1, doubled.
    whole = [row(f"C{i}") for i in range(8)] + [row(f"D{i}", published=9.0) for i in range(2)]
    tail = 1 - 0.9**10 - 10 * 0.9**9 * 0.1
    assert coverage(whole)["p_value_by_chip"] == pytest.approx(2 * tail)
    # Copies of a chip's figure change nothing, while the test by figure is sure of itself.
    copied = whole + [row("D0", published=9.0)] * 50
    assert coverage(copied)["p_value_by_chip"] == pytest.approx(2 * tail)
    assert coverage(copied)["p_value"] < 1e-6
    # All inside, none inside: ends of the tails.
    assert coverage([row(f"C{i}") for i in range(5)])["p_value_by_chip"] == 1
    none = coverage([row(f"C{i}", published=9.0) for i in range(2)])
    assert none["p_value_by_chip"] == pytest.approx(2 * 0.1**2)


def test_a_ratio_is_of_energies_for_one_operation(tmp_path):
    ratio = {**ENTRY, "quantity": "energy ratio", "published": 58.7, "profile": "colonnade",
             "networks": ["colonnade-16b"], "against": "colonnade-1b"}  # fmt: skip
    (point,), _ = read_points(points_file(tmp_path, ratio))
    found = predict(point)
    # 256 gates and 368 adders over 1 gate and 8 adders, by cmos45's 0.9375 and 3.125 fJ; the
    # registers of inputs and weights add a little to both.
    by_hand = (256 * 0.9375 + 368 * 3.125) / (0.9375 + 8 * 3.125)
    assert found.value == pytest.approx(by_hand, rel=0.05)
    assert found.low < found.value < found.high


def test_energies_leave_out_what_the_scope_leaves_out(tmp_path):
    (point,), _ = read_points(points_file(tmp_path, {**ENTRY, "scope": "board",
                              "quantity": "energy per image", "published": "1 uJ"}))  # fmt: skip
    time = predict(read_points(points_file(tmp_path, ENTRY))[0][0])
    assert predict(point).value == pytest.approx(1.673 * time.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"quantity": "speed"}, "points[0].quantity: got 'speed', expected one of energy per"),
        ({"published": "2 uJ"}, "points[0].published"),
        ({"published": "0 us"}, "a figure above zero"),
        ({"published": None}, "points[0].published: got None, expected a quantity in s"),
        ({"networks": ["cnw"]}, "Did you mean 'cnv'?"),
        ({"networks": []}, "points[0].networks: got None, expected a network, such as"),
        ({"batch": 0}, "points[0].batch: got 0"),
        ({"confirmed": "yes"}, "points[0].confirmed: got 'yes', expected true or false"),
        ({"citation": "x"}, "points[0].citation: got 'x', expected a key among"),
        ({"scope": "town"}, "points[0].scope: got 'town'"),
        ({"networks": ["resnet18"]}, "Did you mean 'zoo:resnet18'?"),
        (
            {"quantity": "energy ratio", "published": "2 us"},
            "published: got '2 us', expected a finite",
        ),
        (
            {"quantity": "energy ratio", "published": 2},
            "points[0].against: got None, expected a text",
        ),
        ({"against": "cnv"}, "points[0].against: got 'cnv', expected a key among"),
    ],
)
def test_a_bad_point_says_what_is_bad(change, said, tmp_path):
    path = points_file(tmp_path, {k: v for k, v in {**ENTRY, **change}.items() if v is not None})
    with pytest.raises(InputError, match=re.escape(said)) as caught:
        read_points(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("entries", "top", "said"),
    [
        ([ENTRY], {"schema": "x"}, "schema: got 'x', expected bnnsim/points/1"),
        ([ENTRY], {"more": 1}, "more: got 1, expected a key among"),
        ([ENTRY, ENTRY], {}, "points: got 'a', expected each id once"),
        ([], {"points": {}}, "points: got 'dict', expected a list"),
        ([3], {}, "points[0]: got 3, expected a mapping"),
        ([], {"unmodelled": [{"id": "x"}]}, "unmodelled[0].reason: got None"),
    ],
)
def test_a_bad_points_file_says_what_is_bad(entries, top, said, tmp_path):
    with pytest.raises(InputError, match=re.escape(said)):
        read_points(points_file(tmp_path, *entries, **top))


def test_a_missing_points_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.yaml: got 'No such file"):
        read_points(tmp_path / "none.yaml")


def test_first_predictions_are_appended_and_never_rewritten(tmp_path):
    path = tmp_path / "first.jsonl"
    assert keep_first(Validation((row(),), ()), path, "1") == 1
    before = path.read_bytes()
    again = Validation((row(ends=(9.0, 8.0, 10.0)), row(name="q")), ())
    assert keep_first(again, path, "2") == 1
    assert path.read_bytes().startswith(before)
    assert [(r["id"], r["version"]) for r in read_first(path)] == [("p", "1"), ("q", "2")]
    assert keep_first(again, path, "3") == 0
    path.write_text('{"id": "a"}\n[]\n')
    with pytest.raises(InputError, match=r"line 2: got '\[\]', expected a JSON object with an id"):
        read_first(path)
