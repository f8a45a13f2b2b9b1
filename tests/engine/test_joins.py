"""Ops of the world's binarized nets: PRelu, concat, shuffle, gates and softmax, by definition."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import Builder, joined, prelu

from bnnsim.engine.dispatch import available_isas
from bnnsim.engine.execute import Plan
from bnnsim.engine.reference import execute
from bnnsim.errors import GraphError
from bnnsim.graph.draws import Draws
from bnnsim.graph.dtypes import BIT, FLOAT16, FLOAT32, INT8, INT32, TERNARY, UINT8, DType
from bnnsim.graph.io import load, save
from bnnsim.graph.ir import Graph
from bnnsim.graph.ranges import value_ranges
from bnnsim.passes.lower import lower
from bnnsim.passes.modes import MODES
from bnnsim.passes.precision import to_mode

EDGES = [1, 63, 64, 65, 127, 128, 129]
ULPS = 2.0**-23  # of float32: one rounding of an exact result, and one of the float64 before it


def values(graph: Graph, x: np.ndarray) -> np.ndarray:
    return execute(graph, x, keep=())[graph.outputs[0]]


def assert_same(graph: Graph, x: np.ndarray, *, isa: str = "auto", threads: int = 1) -> None:
    names, draws = [node.output for node in graph.nodes], Draws(7, sample=1, first_image=2)
    plan = Plan(graph, isa=isa, threads=threads, keep=names)
    got, expected = plan.run(x, keep=names, draws=draws), execute(graph, x, draws=draws)
    for name in names:
        assert got[name].dtype == expected[name].dtype, name
        assert (got[name] == expected[name]).all(), name


# --- meaning -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16, INT32, INT8])
def test_prelu_multiplies_what_is_below_zero(dtype: DType, rng) -> None:
    net = Builder((3, 2, 129), dtype=dtype)
    slope = rng.normal(size=129).astype(np.float32)
    graph = net.add("PRelu", {"slope": (slope, FLOAT32)}).graph()
    x = rng.integers(-9, 10, (4, 3, 2, 129)).astype(dtype.numpy)
    y = values(graph, x)
    assert y.dtype == (dtype.numpy if dtype.is_float else np.float32)
    for index in np.ndindex(x.shape):
        v = np.float32(x[index])
        assert y[index] == (v if v >= 0 else y.dtype.type(v * slope[index[-1]]))


@given(sizes=st.lists(st.sampled_from(EDGES), min_size=2, max_size=4),
       dtype=st.sampled_from([BIT, TERNARY, INT8, FLOAT32]), image=st.booleans())  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_concat_puts_channels_side_by_side_on_any_boundary(sizes, dtype, image) -> None:
    shape = (2, 3, sum(sizes)) if image else (sum(sizes),)
    net, parts = Builder((2, 3, sum(sizes)), dtype=dtype), []
    if not image:
        net = Builder((1, 1, sum(sizes)), dtype=dtype)
    for start, size in zip(np.cumsum([0, *sizes]), sizes, strict=False):
        stop = (*net.tensors["input"].shape[:2], int(start) + size)
        net.go_to("input").add("Slice", start=(0, 0, int(start)), stop=stop)
        parts.append(net.last if image else net.add("Flatten").last)
    net.go_to(parts[0]).add("Concat", also=parts[1:])
    graph = net.graph()
    assert graph.result(graph.nodes[-1]).shape == shape
    x = net.rng.choice([-1, 1], (3, *net.tensors["input"].shape)).astype(dtype.numpy)
    assert (values(graph, x).reshape(x.shape) == x).all()
    assert_same(graph, x)


@pytest.mark.parametrize(("channels", "groups"), [(6, 2), (65, 5), (128, 4), (129, 3), (7, 1)])
@pytest.mark.parametrize("dtype", [BIT, FLOAT32])
def test_a_shuffle_interleaves_groups(channels: int, groups: int, dtype: DType, rng) -> None:
    net = Builder((2, 2, channels), dtype=dtype).add("ChannelShuffle", groups=groups)
    graph = net.add("ChannelShuffle", groups=channels // groups).graph()
    x = rng.choice([-1, 1], (3, 2, 2, channels)).astype(dtype.numpy)
    found = execute(graph, x)
    order = [c % groups * (channels // groups) + c // groups for c in range(channels)]
    assert (found["channelshuffle0.out"] == x[..., order]).all()
    assert (found["channelshuffle1.out"] == x).all()  # as many groups as a group had channels
    assert_same(graph, x)


def test_sigmoid_and_softmax_are_exact_to_one_rounding(rng) -> None:
    x = np.concatenate([rng.normal(size=(3, 11)) * 9, [[-800, 800, 0, 1, -1] + [3] * 6]])
    x = x.astype(np.float32)
    y = values(Builder((11,), dtype=FLOAT32).add("Sigmoid").graph(), x)
    assert list(y[3, :3]) == [0, 1, 0.5]
    for v, got in zip(x.ravel(), y.ravel(), strict=True):
        want = 1 / (1 + math.exp(-v)) if v > -700 else 0.0
        assert abs(got - want) <= ULPS * want
    for log in (False, True):
        y = values(Builder((11,), dtype=FLOAT32).add("Softmax", log=log).graph(), x)
        for row, got in zip(x.astype(float), y, strict=True):
            total = math.fsum(math.exp(v - row.max()) for v in row)
            want = [v - row.max() - math.log(total) if log else math.exp(v - row.max()) / total
                    for v in row]  # fmt: skip
            assert np.allclose(got, want, rtol=ULPS, atol=1e-38)
        assert (y.argmax(axis=1) == x.argmax(axis=1)).all()


def test_softmax_of_an_image_is_over_channels(rng) -> None:
    x = rng.normal(size=(2, 3, 4, 5)).astype(np.float32)
    y = values(Builder((3, 4, 5), dtype=FLOAT32).add("Softmax").graph(), x)
    assert np.allclose(y.sum(axis=-1), 1, atol=1e-6)


def test_reshape_keeps_the_elements_in_order(rng) -> None:
    net = Builder((2, 3, 35), dtype=FLOAT32).add("Reshape", shape=(7, 30)).add("Flatten")
    x = rng.normal(size=(2, 2, 3, 35)).astype(np.float32)
    assert (values(net.graph(), x) == x.reshape(2, -1)).all()


def test_ranges_of_joined_integers() -> None:
    net = Builder((6,), dtype=UINT8).encode(np.arange(256) - 100, DType("signed", 16))
    wide = net.last
    net.go_to("input").add("Encode", {"table": (np.arange(256) * 3, DType("signed", 16))})
    graph = net.add("Concat", also=(wide,)).add("ChannelShuffle", groups=3).graph()
    ranges = value_ranges(graph)
    assert ranges["concat2.out"] == ranges["channelshuffle3.out"] == (-100, 765)


# --- whole nets --------------------------------------------------------------------------------


@pytest.mark.parametrize("isa", available_isas())
@pytest.mark.parametrize("seed", range(3))
def test_every_tensor_equals_the_reference(seed: int, isa: str, tmp_path) -> None:
    graph, x = joined(seed), Builder((9, 8, 3), seed=seed + 9).batch(5)
    assert_same(graph, x, isa=isa)
    lowered = lower(graph)
    assert_same(lowered, x, isa=isa, threads=2)
    assert (values(lowered, x) == values(graph, x)).all()
    save(graph, tmp_path / "joined.bnn")
    assert (values(load(tmp_path / "joined.bnn"), x) == values(graph, x)).all()


@pytest.mark.parametrize("mode", [*MODES, "w2a2", "w4a3"])
def test_every_twin_runs_as_the_reference_and_lowers_to_the_same(mode: str) -> None:
    graph, x = joined(1), Builder((9, 8, 3), seed=4).batch(4)
    twin, plain = to_mode(graph, mode), to_mode(graph, mode, lowered=False)
    if not twin.has_weights:
        assert mode.endswith("int8")
        return
    assert_same(twin, x)
    draws = Draws(3)
    one, other = (execute(g, x, keep=(), draws=draws)[g.outputs[0]] for g in (twin, plain))
    assert (one == other).all()


def test_a_prelu_that_rises_folds_into_thresholds_and_one_that_falls_does_not() -> None:
    for negative in (False, True):
        net = Builder((9,), seed=3).encode().dense(17).batch_norm(99)
        graph = prelu(net, negative=negative).sign().graph()
        lowered = lower(graph)
        assert ("Threshold" in [n.op for n in lowered.nodes]) != negative
        x = net.batch(300)
        assert (values(lowered, x) == values(graph, x)).all()


def test_a_pool_stays_before_a_prelu_that_falls() -> None:
    for negative in (False, True):
        net = Builder((6, 6, 3), seed=5).encode().conv(9).pool().batch_norm(99)
        graph = prelu(net, negative=negative).sign().graph()
        lowered = lower(graph)
        assert (lowered.nodes[-1].op == "MaxPool") != negative
        x = net.batch(40)
        assert (values(lowered, x) == values(graph, x)).all()


def test_a_sign_moves_before_a_shuffle_but_a_draw_does_not() -> None:
    net = Builder((4, 3, 5), seed=5).encode().conv(10, (1, 1)).batch_norm(99)
    net.add("ChannelShuffle", groups=5)
    sign = [n.op for n in lower(net.sign().graph()).nodes]
    assert sign == ["Encode", "Conv2d", "Threshold", "ChannelShuffle"]
    drawn = to_mode(net.graph(), "binary-stochastic")
    assert [n.op for n in drawn.nodes[-2:]] == ["ChannelShuffle", "Quantize"]


def test_int8_twins_keep_the_scale_of_each_joined_channel(rng) -> None:
    # Two affines of different scales, joined, shuffled and flattened; 127 steps of rounding.
    net = Builder((2, 2, 3), dtype=UINT8).encode(np.arange(256) - 128, INT8)
    source, parts = net.last, []
    for size in (0.5, 3.0):
        net.go_to(source).batch_norm(size)
        parts.append(net.last)
    net.go_to(parts[0]).add("Concat", also=parts[1:]).add("ChannelShuffle", groups=2)
    graph = net.add("Reshape", shape=(1, 1, 24)).add("Flatten").graph()
    x = rng.integers(0, 256, (5, 2, 2, 3), np.uint8)
    want, got = (values(to_mode(graph, mode), x) for mode in ("float32", "int8"))
    assert np.abs(want - got).max() <= 1e-2 * np.abs(want).max()


# --- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda n: n.add("Concat"), r"got '1 inputs', expected inputs \(a, b, \.\.\.\)"),
        (lambda n: n.pool(2, 1).add("Concat", also=("input",)), r"images of one height and width"),
        (lambda n: n.sign().add("Concat", also=("input",)), r"activations are bit and float32: on"),
        (lambda n: n.add("ChannelShuffle", groups=3), r"4 channels do not divide into 3 groups"),
        (lambda n: n.add("ChannelShuffle"), r"'groups': got None, expected an integer of at"),
        (lambda n: n.add("Reshape", shape=(3, 3)), r"\(3, 3\) does not hold the 36 elements"),
        (lambda n: n.add("Reshape", shape=(0, 36)), r"'shape'.*expected 2 integers of at least 1"),
        (lambda n: n.add("PRelu"), r"got '1 inputs', expected inputs \(x, slope\)"),
        (lambda n: n.add("PRelu", {"slope": (np.ones(3), FLOAT32)}), r"one value per channel is"),
        (lambda n: n.add("Concat", {"b": (np.ones(4), FLOAT32)}), r"'b' \(.*\) is a constant"),
        (lambda n: n.add("Softmax", log=1), r"'log': got 1, expected true or false"),
    ],
)  # fmt: skip
def test_refusals(build, text: str) -> None:
    with pytest.raises(GraphError, match=text):
        build(Builder((3, 3, 4), dtype=FLOAT32))


def test_fractions_agree_with_the_float64_of_a_sigmoid() -> None:
    # 1 / (1 + e^-1) from the series of e, to 30 places.
    e = sum(Fraction(1, math.factorial(k)) for k in range(30))
    want = float(e / (1 + e))
    got = values(Builder((1,), dtype=FLOAT32).add("Sigmoid").graph(), np.ones((1, 1), np.float32))
    assert got[0, 0] == np.float32(want)
