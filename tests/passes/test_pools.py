"""Pools move onto bits: OR where the function rises, AND where it falls."""

from __future__ import annotations

import numpy as np
import pytest
from nets import Builder

from bnnsim.engine.reference import execute
from bnnsim.graph.dtypes import BIT, FLOAT32
from bnnsim.passes.lower import lower


def pooled_net(order: str, seed: int) -> Builder:
    """Return conv followed by pool, batch norm and sign in the given order."""
    net = Builder((8, 9, 5), seed=seed).encode_bits().conv(40, pads=(1, 1, 1, 1))
    for step in order:
        if step == "p":
            net.pool(3, 2, (1, 0, 1, 1))
        elif step == "b":
            net.batch_norm(10, ties=True)
        elif step == "r":
            net.add("Relu")
        else:
            net.sign()
    return net


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("order", ["pbs", "bps", "bsp", "prbs", "pbrbs", "ppbs", "bpbs"])
def test_any_order_gives_the_same_bits_and_pools_bits(order: str, seed: int) -> None:
    net = pooled_net(order, seed)
    graph, x = net.graph(), net.batch(6)
    lowered = lower(graph)
    assert (execute(lowered, x)[lowered.outputs[0]] == execute(graph, x)[graph.outputs[0]]).all()
    pools = [node for node in lowered.nodes if node.op == "MaxPool"]
    assert pools
    assert all(lowered.activation(pool).dtype == BIT for pool in pools)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("order", ["bf", "pbf", "bpf", "bfr", "f"])
def test_a_sign_behind_a_flatten_is_folded_all_the_same(order: str, seed: int) -> None:
    net = pooled_net(order.replace("f", ""), seed)
    net.add("Flatten")
    if order.endswith("r"):
        net.add("Relu")
    graph = net.sign().dense(6).batch_norm(20).graph()
    x = net.batch(5)
    lowered = lower(graph)
    assert (execute(lowered, x)[lowered.outputs[0]] == execute(graph, x)[graph.outputs[0]]).all()
    inner = [node.op for node in lowered.nodes[2:-2]]
    assert inner[0] == "Threshold"
    assert inner[-1] == "Flatten"
    assert "BatchNorm" not in inner


def test_negative_gammas_take_the_minimum() -> None:
    graph = pooled_net("pbs", 1).graph()
    gamma = graph.tensor("batchnorm3.gamma").data
    lowered = lower(graph)
    (pool,) = (node for node in lowered.nodes if node.op == "MaxPool")
    minimum = lowered.tensor(pool.inputs[1]).data.astype(bool)
    assert minimum.any()
    assert not minimum[gamma >= 0].any()


def test_pool_after_sign_never_takes_the_minimum() -> None:
    lowered = lower(pooled_net("bsp", 1).graph())
    (pool,) = (node for node in lowered.nodes if node.op == "MaxPool")
    assert len(pool.inputs) == 1


def test_a_pool_that_others_read_or_that_ends_the_net_stays() -> None:
    net = Builder((6, 6, 4)).encode_bits().conv(4).pool()
    assert [n.op for n in lower(net.graph()).nodes] == ["Encode", "Conv2d", "MaxPool"]
    net = Builder((6, 6, 4), dtype=FLOAT32).pool().add("Flatten")
    net.add("Dense", {"weight": (net.rng.normal(size=(3, 36)), FLOAT32)})
    assert [n.op for n in lower(net.graph()).nodes] == ["MaxPool", "Flatten", "Dense"]


def test_moving_a_pool_of_integers_without_negative_channels_adds_no_constant() -> None:
    net = Builder((6, 6, 4), seed=3).encode_bits().conv(4).pool()
    ones = np.ones(4)
    values = {"gamma": ones, "beta": ones * 0.3, "mean": ones, "var": ones}
    net.add("BatchNorm", {k: (v, FLOAT32) for k, v in values.items()}, eps=1e-4).sign()
    (pool,) = (n for n in lower(net.graph()).nodes if n.op == "MaxPool")
    assert len(pool.inputs) == 1
