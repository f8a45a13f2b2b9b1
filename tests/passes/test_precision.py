"""Twins differ only in what the mode table lists, and compute what their types mean."""

from __future__ import annotations

import numpy as np
import pytest
from nets import Builder, convnet, mlp

from bnnsim.engine.reference import execute
from bnnsim.errors import GraphError, InputError
from bnnsim.graph.dtypes import FLOAT32, INT8, DType
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


@pytest.mark.parametrize(
    ("make", "mode"),
    [(m, mode) for mode in MODES for m in (mlp, convnet)]
    + [(thresholded, mode) for mode in MODES if mode not in ("binary-stochastic", "xnor-k")],
)
def test_layers_keep_id_name_and_shape(make, mode: str) -> None:
    source = make()
    twin = to_mode(source, mode)
    before = {n.id: (n.name, n.op, source.result(n).shape) for n in source.nodes if n.op in KEPT}
    after = {n.id: (n.name, n.op, twin.result(n).shape) for n in twin.nodes if n.op in KEPT}
    copies = {id_: of for id_, of in after.items() if of[0].endswith(".real")}  # what K is taken of
    assert after == before | copies
    assert not copies or mode == "xnor-k"


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


@pytest.mark.parametrize(
    "mode", [m for m in MODES if not m.startswith(("native", "binary", "xnor"))]
)
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
    with pytest.raises(GraphError, match="cost-only twin"):
        outputs(to_mode(graph, "int8"), np.zeros((1, 8), np.float32))


def test_the_table_prints_every_mode_as_text() -> None:
    rows = mode_rows()
    assert [row["name"] for row in rows] == [*MODES, "wKaM"]
    assert all(isinstance(v, str) for row in rows for v in row.values())


def scaled_signs(widths: tuple[int, int]) -> Graph:
    """Return a net whose second layer reads signs times one factor per channel, plus a bias."""
    net = Builder((40,), seed=8).encode().dense(widths[0]).batch_norm(900).sign()
    scale = net.rng.uniform(-2, 2, widths[0])
    values = {"scale": (scale, FLOAT32), "bias": (net.rng.normal(size=widths[0]), FLOAT32)}
    return net.add("Affine", values).dense(widths[1]).batch_norm(9).graph()


@pytest.mark.parametrize("widths", [(24, 24), (24, 10)])
def test_int8_twins_round_inputs_with_a_scale_per_channel(widths: tuple[int, int]) -> None:
    graph = scaled_signs(widths)
    x = Builder((40,), seed=1).batch(40)
    exact = outputs(to_mode(graph, "float32"), x)
    for mode in ("int8", "weight-only:int8"):
        twin = to_mode(graph, mode)
        assert np.abs(outputs(twin, x) - exact).max() < INT8_ERROR * np.abs(exact).max()


def test_int8_twins_of_plain_pixels_run() -> None:
    net = Builder((40,), seed=3).dense(30).batch_norm(900).sign().dense(5).batch_norm()
    graph, x = net.graph(), net.batch(30)
    exact = outputs(to_mode(graph, "float32"), x)
    twin = to_mode(graph, "int8")
    assert not twin.meta["synthetic"]
    assert np.abs(outputs(twin, x) - exact).max() < INT8_ERROR * np.abs(exact).max()


def test_twins_without_data_say_that_they_are_cost_only() -> None:
    net = Builder((40,), seed=3).encode().dense(30).add("Relu").dense(30).dense(5)
    assert to_mode(net.graph(), "int8").meta["synthetic"]


def test_binary_refuses_layers_that_do_not_multiply_bits_by_bits() -> None:
    net = Builder((40,), seed=3).encode().dense(30).batch_norm(900).add("Relu").dense(30).dense(5)
    with pytest.raises(InputError, match=r"'dense4' \(Dense\): got 'float32 x bit', expected bit"):
        to_mode(net.graph(), "binary")


def test_int8_twin_keeps_a_pools_own_minimum() -> None:
    net = Builder((6, 6, 3), seed=4).encode().conv(8).batch_norm(900)
    minimum = np.arange(8) % 2
    constants = {"minimum": (minimum, DType("unsigned", 1))}
    net.add("MaxPool", constants, kernel=(2, 2), stride=(2, 2)).sign().add("Flatten").dense(4)
    graph, x = net.batch_norm().graph(), net.batch(30)
    exact = outputs(to_mode(graph, "weight-only:fp32"), x)
    got = outputs(to_mode(graph, "int8"), x)
    assert np.abs(got - exact).max() < INT8_ERROR * np.abs(exact).max()
