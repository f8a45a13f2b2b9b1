"""Signs to stochastic signs and back: what is rewritten, what stays, what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from nets import Builder, convnet, mlp

from bnnsim.engine.reference import execute
from bnnsim.errors import GraphError, InputError
from bnnsim.graph.draws import Draws, is_stochastic
from bnnsim.graph.dtypes import INT8, INT32
from bnnsim.graph.io import load, save
from bnnsim.graph.ir import Graph
from bnnsim.passes.lower import lower
from bnnsim.passes.precision import to_mode
from bnnsim.passes.stochastic import deterministic, stochastic


def thresholded(seed: int = 1) -> Graph:
    net = Builder((20,), seed=seed).encode(np.arange(256) - 128, INT8)
    net.dense(30).thresholds(1, "bit", 0, 200).dense(9).thresholds(1, "bit", 0, 6)
    return net.dense(4).add("IntegerAffine", add=12, div=1).graph("fpga")


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


def test_every_sign_is_drawn_and_batch_norms_and_pools_before_them_stay():
    graph = lower(stochastic(convnet(), bits=4))
    assert ops(graph) == ops(convnet())
    drawn = [node for node in graph.nodes if node.op == "Quantize"]
    assert [dict(node.attrs) for node in drawn] == [{"quantizer": "stochastic_sign", "bits": 4}] * 5
    assert [node.id for node in drawn] == [n.id for n in convnet().nodes if n.op == "Quantize"]


def test_every_pass_keeps_the_outputs_of_a_stochastic_graph():
    source, x = stochastic(convnet(3)), Builder((13, 11, 3), seed=1).batch(4)
    compared = 0

    def same(before: Graph, after: Graph) -> None:
        nonlocal compared
        compared += 1
        outputs = [execute(g, x, keep=(), draws=Draws(5))[g.outputs[0]] for g in (before, after)]
        assert (outputs[0] == outputs[1]).all()

    lower(source, check=same)
    assert compared == 4


def test_a_stochastic_source_is_deterministic_unless_asked():
    source = stochastic(mlp(2), bits=2)
    plain = mlp(2)
    x = Builder((63,), seed=5).batch(6)
    assert [dict(n.attrs) for n in deterministic(source).nodes] == [
        dict(n.attrs) for n in plain.nodes
    ]
    for mode in ("native", "binary"):
        twin = to_mode(source, mode)
        assert not any(map(is_stochastic, twin.nodes))
        assert (execute(twin, x)[twin.outputs[0]] == execute(plain, x)[plain.outputs[0]]).all()
    assert to_mode(source, "int8").meta["what_if"]


def test_a_source_keeps_its_own_bits_and_is_no_what_if():
    source = stochastic(mlp(), bits=2)
    twin = to_mode(source, "binary-stochastic")
    assert {n.attrs["bits"] for n in twin.nodes if n.op == "Quantize"} == {2}
    assert twin.meta["what_if"] is False
    assert to_mode(mlp(), "binary-stochastic").meta["what_if"] is True


def test_a_stochastic_graph_is_saved_and_loaded(tmp_path):
    source = stochastic(mlp(), bits=16)
    save(source, tmp_path / "net.bnn")
    loaded = load(tmp_path / "net.bnn")
    assert [dict(n.attrs) for n in loaded.nodes] == [dict(n.attrs) for n in source.nodes]


def test_thresholds_are_refused_without_a_scale():
    text = (
        r"fpga: node 'threshold2' \(Threshold\): stochastic binarization: got 'an integer "
        r"threshold', expected a batch norm before the sign, .*--preact-scale VALUE of run, "
    )
    with pytest.raises(InputError, match=text):
        stochastic(thresholded())
    with pytest.raises(InputError, match=text):
        to_mode(thresholded(), "binary-stochastic")


def test_a_sum_that_is_added_elsewhere_too_stays_an_integer():
    net = Builder((20,), seed=4).encode_bits().dense(9)
    total, n = net.last, 9
    constants = {"thresholds": (np.arange(n)[:, None] - 4, INT32), "direction": (np.ones(n), INT8)}
    net.add("Threshold", constants, dtype="bit").dense(9).add("Add", also=(total,))
    source = net.graph()
    twin = stochastic(source, preact_scale=0.25)
    assert twin.result(twin.nodes[-1]).dtype == INT32
    x = Builder((20,), seed=9).batch(5)
    values = execute(twin, x, draws=Draws(1))
    parts = [values[name].astype(int) for name in twin.nodes[-1].inputs]
    assert (values[twin.outputs[0]] == sum(parts)).all()
    assert (parts[1] == execute(source, x)[total]).all()


def test_thresholds_become_pre_activations():
    source = thresholded()
    twin = stochastic(source, preact_scale=0.25)
    assert ops(twin) == ["Encode", "Dense", "BatchNorm", "Quantize", "Dense", "BatchNorm",
                         "Quantize", "Dense", "IntegerAffine"]  # fmt: skip
    kept = {n.name: n.id for n in source.nodes}
    assert {n.name: n.id for n in twin.nodes if not n.name.endswith(".preact")} == kept
    x = Builder((20,), seed=9).batch(5)
    values = execute(twin, x, draws=Draws(1))
    acc = values[twin.nodes[1].output].astype(np.int64)
    t = source.tensor("threshold2.thresholds").data[:, 0].astype(np.int64)
    direction = source.tensor("threshold2.direction").data.astype(np.int64)
    expected = ((acc - t) * direction * 0.25).astype(np.float32)
    assert (values["threshold2.preact.out"] == expected).all()
    below = (direction * (acc - t)) * 0.25 <= -1
    assert (values["threshold2.out"][below] == -1).all()


def test_a_twin_of_thresholds_without_data_can_be_costed():
    source = thresholded()
    hollow = {
        name: replace(t, data=None) if t.constant else t for name, t in source.tensors.items()
    }
    twin = stochastic(replace(source, tensors=hollow), preact_scale=1.0)
    assert not twin.has_weights


@pytest.mark.parametrize("scale", [0, -1.0, float("nan"), float("inf"), 1e-60])
def test_scales_that_scale_nothing_are_refused(scale):
    with pytest.raises(InputError, match=r"preact scale: got .*, expected a number above 0"):
        stochastic(thresholded(), preact_scale=scale)


def test_a_graph_without_binarization_is_refused():
    net = Builder((9,)).encode()
    with pytest.raises(InputError, match="got 'no binarization', expected at least one sign"):
        stochastic(net.dense(3).graph())
    with pytest.raises(InputError, match=r"random bits per draw: got 5"):
        stochastic(mlp(), bits=5)


def test_other_bits_are_refused_by_the_op_table():
    with pytest.raises(
        GraphError, match=r"attribute 'bits': got 3, expected one of 1, 2, 4, 8, 16"
    ):
        Builder((9,)).encode().add("Quantize", quantizer="stochastic_sign", bits=3)


def test_a_stochastic_node_needs_draws():
    graph = stochastic(mlp())
    with pytest.raises(GraphError, match=r"'quantize3' \(Quantize\): got None, expected a seed"):
        execute(graph, Builder((63,)).batch(2))
