"""Folded thresholds equal the unfolded float chain on every reachable accumulator."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nets import Builder, convnet, mlp

from bnnsim.engine.reference import execute
from bnnsim.graph.dtypes import FLOAT32, INT16
from bnnsim.graph.ir import Graph
from bnnsim.graph.ranges import INT32_MAX, INT32_MIN
from bnnsim.passes.lower import lower
from bnnsim.passes.thresholds import changes, fold_thresholds

REACH = 300


def chain_on_all_accumulators(build) -> tuple[Graph, np.ndarray]:
    """Return a graph whose int input takes every value of [-REACH, REACH] in each channel."""
    net = Builder((40,), seed=1, dtype=INT16)
    build(net)
    values = np.arange(-REACH, REACH + 1, dtype=np.int16)
    return net.sign().graph(), np.repeat(values[:, None], 40, axis=1)


def assert_fold_is_exact(build) -> Graph:
    graph, x = chain_on_all_accumulators(build)
    folded = fold_thresholds(graph)
    assert [node.op for node in folded.nodes] == ["Threshold"]
    assert (execute(folded, x)[folded.outputs[0]] == execute(graph, x)[graph.outputs[0]]).all()
    return folded


@pytest.mark.parametrize("ties", [False, True])
def test_batch_norm_with_negative_and_zero_gamma_folds_exactly(ties: bool) -> None:
    folded = assert_fold_is_exact(lambda net: net.batch_norm(60, ties=ties))
    direction = folded.constants()[0].data
    assert set(direction.tolist()) == {-1, 1}


def test_near_ties_inherit_the_rounding_of_float32() -> None:
    """Betas that put BN(t) within an ulp of 0: a float64 formula disagrees on some of them."""

    def build(net: Builder) -> None:
        rng = net.rng
        gamma = rng.normal(size=40).astype(np.float32)
        mean = rng.normal(scale=50, size=40).astype(np.float32)
        var = rng.uniform(1, 9000, 40).astype(np.float32)
        scale = gamma / np.sqrt(var + np.float32(1e-4))
        beta = -((rng.integers(-200, 200, 40).astype(np.float32) - mean) * scale)
        beta = np.nextafter(beta, rng.choice([-np.inf, np.inf], 40).astype(np.float32))
        values = {"gamma": gamma, "beta": beta, "mean": mean, "var": var}
        net.add("BatchNorm", {k: (v, FLOAT32) for k, v in values.items()}, eps=1e-4)

    assert_fold_is_exact(build)


def test_longer_chains_fold_into_one_threshold() -> None:
    def build(net: Builder) -> None:
        bias = net.rng.normal(scale=20, size=40)
        net.add("Bias", {"bias": (bias, FLOAT32)}).batch_norm(60).add("Clip", low=-1, high=1)
        scale = net.rng.normal(size=40)
        net.add("Affine", {"scale": (scale, FLOAT32), "bias": (bias / 50, FLOAT32)}).add("Relu")
        net.add("Affine", {"scale": (-scale, FLOAT32), "bias": (bias / 90, FLOAT32)})
        net.add("Cast", dtype="float16")

    assert_fold_is_exact(build)


def test_sign_of_a_bare_accumulator_is_threshold_zero() -> None:
    folded = assert_fold_is_exact(lambda net: None)
    threshold = folded.tensor(folded.nodes[0].inputs[1]).data
    assert (threshold == 0).all()


def test_constant_channels_use_the_ends_of_int32() -> None:
    def build(net: Builder) -> None:
        ones, zeros = np.ones(40), np.zeros(40)
        beta = np.where(np.arange(40) % 2, 1e6, -1e6)
        values = {"gamma": ones, "beta": beta, "mean": zeros, "var": ones}
        net.add("BatchNorm", {k: (v, FLOAT32) for k, v in values.items()}, eps=1e-4)

    folded = assert_fold_is_exact(build)
    thresholds = folded.tensor(folded.nodes[0].inputs[1]).data[:, 0]
    assert set(thresholds.tolist()) == {INT32_MIN, INT32_MAX}


def test_zero_gamma_with_zero_beta_is_plus_one() -> None:
    def build(net: Builder) -> None:
        zeros = np.zeros(40)
        values = {"gamma": zeros, "beta": zeros, "mean": zeros + 7, "var": zeros + 1}
        net.add("BatchNorm", {k: (v, FLOAT32) for k, v in values.items()}, eps=1e-4)

    folded = assert_fold_is_exact(build)
    assert (folded.tensor(folded.nodes[0].inputs[1]).data == INT32_MIN).all()


@settings(max_examples=200, deadline=None)
@given(
    low=st.integers(-1000, 900),
    width=st.integers(0, 2000),
    steps=st.lists(st.tuples(st.integers(-1200, 3200), st.booleans()), min_size=1, max_size=8),
)
def test_bisection_finds_any_single_step(low: int, width: int, steps: list) -> None:
    places = np.array([place for place, _ in steps])
    rising = np.array([up for _, up in steps])

    def is_plus(v: np.ndarray) -> np.ndarray:
        return np.where(rising, v >= places, v <= places)

    thresholds, direction = changes(is_plus, (low, low + width), (1, len(steps)))
    for value in {low, low + width, low + width // 2, *np.clip(places, low, low + width).tolist()}:
        met = np.where(direction > 0, value >= thresholds[:, 0], value <= thresholds[:, 0])
        assert (met == is_plus(np.full(len(steps), value))).all()


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("make", [mlp, convnet])
def test_every_pass_keeps_the_outputs(make, seed: int) -> None:
    graph = make(seed)
    x = Builder(graph.tensor("input").shape, seed=seed).batch(6)
    expected = execute(graph, x)[graph.outputs[0]]
    passes = []

    def unchanged(before: Graph, after: Graph) -> None:
        passes.append(after)
        assert (execute(after, x)[after.outputs[0]] == expected).all()

    lower(graph, check=unchanged)
    assert len(passes) == 4
    assert not any(node.op == "Quantize" for node in passes[-1].nodes)


def test_ids_and_names_survive_and_unused_batch_norms_go() -> None:
    graph = convnet(1)
    lowered = lower(graph)
    names = {node.id: node.name for node in graph.nodes}
    assert all(names[node.id] == node.name for node in lowered.nodes)
    assert [n.op for n in lowered.nodes].count("BatchNorm") == 1  # the last layer's


def test_a_chain_from_a_float_tensor_stays() -> None:
    net = Builder((8,), dtype=FLOAT32)
    net.add("Dense", {"weight": (net.rng.normal(size=(5, 8)), FLOAT32)}).batch_norm(3.0).sign()
    assert [n.op for n in lower(net.graph()).nodes] == ["Dense", "BatchNorm", "Quantize"]


def test_a_clip_outside_the_reach_makes_the_channel_constant() -> None:
    graph, x = chain_on_all_accumulators(
        lambda net: net.add("Clip", low=5000, high=6000).batch_norm(60)
    )
    folded = lower(graph)
    assert [node.op for node in folded.nodes] == ["Clip", "Threshold"]
    assert (execute(folded, x)[folded.outputs[0]] == execute(graph, x)[graph.outputs[0]]).all()


def test_a_chain_that_overflows_inside_the_reach_stays() -> None:
    net = Builder((5,), seed=1, dtype=INT16)
    huge = np.full(5, 3e38)
    net.add("Affine", {"scale": (huge, FLOAT32), "bias": (huge, FLOAT32)})
    net.add("Affine", {"scale": (np.zeros(5), FLOAT32), "bias": (np.ones(5), FLOAT32)}).sign()
    assert "Quantize" in {node.op for node in lower(net.graph()).nodes}
