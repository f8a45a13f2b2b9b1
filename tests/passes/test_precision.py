"""Twins differ only in what the mode table lists, and compute what their types mean."""

from __future__ import annotations

import numpy as np
import pytest
from nets import Builder, convnet, mlp

from bnnsim.engine.reference import execute
from bnnsim.errors import GraphError, InputError
from bnnsim.graph.dtypes import FLOAT32, INT8
from bnnsim.graph.ir import Graph
from bnnsim.passes.modes import MODES, mode_named, mode_rows
from bnnsim.passes.precision import to_mode

KEPT = ("Dense", "Conv2d", "MaxPool", "Flatten", "Encode")
WEIGHT_ROUNDING = 1e-5  # float32 rounding of scaled weights over a few layers
INT8_ERROR = 0.05  # of the largest logit: 1/254 of a unit per activation, four layers


def thresholded() -> Graph:
    net = Builder((6, 6, 3), seed=1).encode(np.arange(256) - 128, INT8)
    net.conv(8).thresholds(1, "bit", 0, 200).pool().add("Flatten").dense(12)
    net.thresholds(2, "ternary", -1, 6).dense(4).add("IntegerAffine", add=12, div=1)
    return net.graph("fpga")


def outputs(graph: Graph, x: np.ndarray) -> np.ndarray:
    return execute(graph, x, keep=())[graph.outputs[0]]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("make", [mlp, convnet, thresholded])
def test_layers_keep_id_name_and_shape(make, mode: str) -> None:
    source = make()
    twin = to_mode(source, mode)
    before = {n.id: (n.name, n.op, source.result(n).shape) for n in source.nodes if n.op in KEPT}
    after = {n.id: (n.name, n.op, twin.result(n).shape) for n in twin.nodes if n.op in KEPT}
    assert after == before


@pytest.mark.parametrize("mode", MODES)
def test_operand_dtypes_are_those_of_the_table(mode: str) -> None:
    row, twin = mode_named(mode), to_mode(convnet(), mode)
    for node in twin.nodes:
        if node.op in ("Dense", "Conv2d"):
            x, weight = (twin.tensor(name).dtype for name in node.inputs)
            if row.activation is not None:
                assert (x.kind, x.bits) == (row.activation.kind, row.activation.bits)
            assert weight == (row.weight or weight)


@pytest.mark.parametrize("make", [mlp, convnet])
def test_native_and_binary_are_the_source_exactly(make) -> None:
    source = make(3)
    x = Builder(source.tensor("input").shape, seed=1).batch(8)
    for mode in ("native", "binary"):
        for keep_bn in (False, True):
            twin = to_mode(source, mode, keep_bn=keep_bn)
            assert (outputs(twin, x) == outputs(source, x)).all()
            assert not twin.meta["what_if"]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("make", [mlp, convnet])
def test_float_weight_only_and_int8_twins_agree(make, seed: int) -> None:
    source = make(seed)
    x = Builder(source.tensor("input").shape, seed=seed).batch(8)
    exact = outputs(to_mode(source, "float32", keep_bn=True), x)
    scale = np.abs(exact).max()
    for mode, tolerance in (
        ("float32", WEIGHT_ROUNDING),
        ("weight-only:fp32", WEIGHT_ROUNDING),
        ("weight-only:fp16", 0.01),
        ("int8", INT8_ERROR),
        ("weight-only:int8", INT8_ERROR),
    ):
        assert np.abs(outputs(to_mode(source, mode), x) - exact).max() / scale < tolerance, mode


def test_batch_norms_fold_into_float_layers_and_stay_when_kept() -> None:
    folded, kept = to_mode(convnet(), "float32"), to_mode(convnet(), "float32", keep_bn=True)
    assert not {"BatchNorm", "Affine"} & {n.op for n in folded.nodes}
    assert [n.op for n in kept.nodes].count("BatchNorm") == 6
    assert "Clip" in {n.op for n in folded.nodes}


def test_twins_are_marked() -> None:
    twin = to_mode(mlp(), "int8")
    assert (twin.meta["mode"], twin.meta["what_if"], twin.meta["synthetic"]) == (
        "int8",
        True,
        False,
    )
    assert to_mode(mlp(), "weight-only").meta["mode"] == "weight-only:fp32"


@pytest.mark.parametrize("mode", [m for m in MODES if m not in ("native", "binary")])
def test_twins_of_thresholds_are_synthetic_and_refuse_to_run(mode: str) -> None:
    twin = to_mode(thresholded(), mode)
    assert twin.meta["synthetic"]
    with pytest.raises(GraphError, match="cost-only twin: it can be estimated, not run"):
        outputs(twin, np.zeros((1, 6, 6, 3), np.uint8))


def test_thresholded_source_runs_as_it_is() -> None:
    source = thresholded()
    x = Builder((6, 6, 3), seed=4).batch(5)
    twin = to_mode(source, "binary")
    assert not twin.meta["synthetic"]
    assert (outputs(twin, x) == outputs(source, x)).all()


def test_unknown_mode_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match=r"got 'flaot32'.*Did you mean 'float32'"):
        to_mode(mlp(), "flaot32")


def test_bit_modes_need_a_layer_between_the_first_and_the_last() -> None:
    net = Builder((8,), dtype=FLOAT32)
    net.add("Dense", {"weight": (net.rng.normal(size=(5, 8)), FLOAT32)}).add("Relu")
    graph = net.graph()
    with pytest.raises(InputError, match="mode: got 'binary', expected a layer to binarize"):
        to_mode(graph, "binary")
    assert to_mode(graph, "float32").meta["what_if"] is False
    with pytest.raises(GraphError, match="no data"):
        outputs(to_mode(graph, "int8"), np.zeros((1, 8), np.float32))


def test_the_table_prints_every_mode_as_text() -> None:
    rows = mode_rows()
    assert [row["name"] for row in rows] == list(MODES)
    assert all(isinstance(v, str) for row in rows for v in row.values())
