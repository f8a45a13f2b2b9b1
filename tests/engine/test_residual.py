"""Ops of residual networks: their meaning in loops, and the engine on tensors with many readers."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nets import Builder, bit_residual, float_residual

from bnnsim.engine import execute as execute_module
from bnnsim.engine.dispatch import available_isas
from bnnsim.engine.execute import Plan
from bnnsim.engine.reference import execute
from bnnsim.errors import GraphError
from bnnsim.graph.draws import Draws
from bnnsim.graph.dtypes import BIT, FLOAT16, FLOAT32, INT8, INT32, UINT8, DType
from bnnsim.graph.io import load, save
from bnnsim.graph.ir import Graph
from bnnsim.graph.ranges import value_ranges
from bnnsim.passes.lower import lower
from bnnsim.passes.modes import MODES
from bnnsim.passes.precision import to_mode

EDGES = st.sampled_from([1, 2, 3, 5, 7, 63, 64, 65, 127, 128, 129])
BFLOAT16 = DType("bfloat", 16)


def values(graph: Graph, x: np.ndarray) -> np.ndarray:
    return execute(graph, x, keep=())[graph.outputs[0]]


def assert_same(graph: Graph, x: np.ndarray, *, isa: str = "auto", threads: int = 1) -> None:
    names = [node.output for node in graph.nodes]
    plan, draws = Plan(graph, isa=isa, threads=threads), Draws(7, sample=1, first_image=2)
    got, expected = plan.run(x, keep=names, draws=draws), execute(graph, x, draws=draws)
    for name in names:
        assert got[name].dtype == expected[name].dtype, name
        assert (got[name] == expected[name]).all(), name
    last = graph.outputs[0]  # without keeping anything, so that values are dropped after last use
    assert (plan.run(x, draws=draws)[last] == expected[last]).all()


def batch(graph: Graph, n: int, seed: int) -> np.ndarray:
    spec = graph.tensor(graph.inputs[0])
    rng = np.random.default_rng(seed)
    if spec.dtype.is_float:
        return rng.normal(size=(n, *spec.shape)).astype(spec.dtype.numpy)
    return rng.integers(0, 256, (n, *spec.shape), np.uint8)


# --- meaning -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16, BFLOAT16])
def test_add_of_floats_is_rounded_once(dtype: DType, rng) -> None:
    net = Builder((31,), dtype=FLOAT32).add("Cast", dtype=str(dtype))
    graph = net.add("Add", also=(net.last,)).add("Add", also=("cast0.out",)).graph()
    x = rng.normal(size=(5, 31)).astype(np.float32)
    found = execute(graph, x)
    a = found["cast0.out"].astype(np.float64)
    if dtype != BFLOAT16:
        assert (found["add1.out"] == (2 * a).astype(dtype.numpy)).all()
        three = (2 * a).astype(dtype.numpy).astype(np.float64) + a
        assert (found["add2.out"] == three.astype(dtype.numpy)).all()
    assert str(graph.tensor("add2.out").dtype) == str(dtype)


def test_add_of_integers_and_bits_is_int32_with_the_sum_of_the_ranges() -> None:
    net = Builder((6,), dtype=UINT8).encode(np.arange(256) - 100, DType("signed", 16))
    pixels = net.last
    net.go_to("input").add("Encode", {"table": (np.where(np.arange(256) > 9, 1, -1), BIT)})
    graph = net.add("Add", also=(pixels,)).graph()
    assert graph.tensor("add2.out").dtype == INT32
    assert value_ranges(graph)["add2.out"] == (-101, 156)
    x = np.arange(0, 252, 3, dtype=np.uint8).reshape(14, 6)
    assert (values(graph, x) == x.astype(int) - 100 + np.where(x > 9, 1, -1)).all()
    assert_same(graph, x)


def pooled_by_loops(x, kernel, stride, pads, *, include: bool):
    rows = (x.shape[0] + pads[0] + pads[2] - kernel[0]) // stride[0] + 1
    columns = (x.shape[1] + pads[1] + pads[3] - kernel[1]) // stride[1] + 1
    out = np.empty((rows, columns, x.shape[2]), object)
    for i, j, c in product(range(rows), range(columns), range(x.shape[2])):
        taps = []
        for r, s in product(range(kernel[0]), range(kernel[1])):
            y, z = i * stride[0] + r - pads[0], j * stride[1] + s - pads[1]
            if 0 <= y < x.shape[0] and 0 <= z < x.shape[1]:
                taps.append(Fraction(x[y, z, c].item()))
        out[i, j, c] = sum(taps) / (kernel[0] * kernel[1] if include else len(taps))
    return out


@given(st.data())
def test_average_pools_equal_exact_fractions(data) -> None:
    draw = data.draw
    kernel, stride = (draw(st.tuples(st.integers(1, 4), st.integers(1, 4))) for _ in range(2))
    pads = tuple(draw(st.integers(0, kernel[a % 2] - 1)) for a in range(4))
    shape = (draw(st.integers(4, 9)), draw(st.integers(4, 8)), draw(st.integers(1, 3)))
    include, integer = draw(st.booleans()), draw(st.booleans())
    net = Builder(shape, dtype=INT8 if integer else FLOAT32)
    graph = net.add(
        "AvgPool", kernel=kernel, stride=stride, pads=pads, count_include_pad=include
    ).graph()
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x = rng.integers(-128, 128, (2, *shape)).astype(np.int8)
    if not integer:
        x = rng.normal(size=x.shape).astype(np.float32)
    for image, found in zip(x, values(graph, x), strict=True):
        exact = pooled_by_loops(image, kernel, stride, pads, include=include)
        assert found.shape == exact.shape
        if integer:  # Python's round of a fraction is half to even
            assert (found == np.vectorize(round)(exact).astype(np.int8)).all()
        else:
            assert (found == exact.astype(np.float64).astype(np.float32)).all()


@given(EDGES, st.integers(1, 6), st.integers(1, 6), st.booleans())
def test_global_average_equals_exact_fractions(channels, height, width, integer) -> None:
    shape = (height, width, channels)
    graph = Builder(shape, dtype=INT8 if integer else FLOAT32).add("GlobalAvgPool").graph()
    rng = np.random.default_rng(channels)
    x = rng.integers(-128, 128, (2, *shape)).astype(np.int8)
    x = x if integer else rng.normal(size=x.shape).astype(np.float32)
    found = values(graph, x)
    assert found.shape == (2, 1, 1, channels)
    for n, c in product(range(2), range(channels)):
        exact = sum(Fraction(v.item()) for v in x[n, :, :, c].ravel()) / (height * width)
        expected = round(exact) if integer else np.float32(np.float64(exact))
        assert found[n, 0, 0, c] == expected


@given(st.data())
def test_slices_and_channel_pads_equal_loops(data) -> None:
    draw = data.draw
    shape = (draw(st.integers(1, 7)), draw(st.integers(1, 6)), draw(EDGES))
    start = tuple(draw(st.integers(0, size - 1)) for size in shape)
    stop = tuple(draw(st.integers(a + 1, size)) for a, size in zip(start, shape, strict=True))
    step = tuple(draw(st.integers(1, 3)) for _ in shape)
    before, after = draw(st.integers(0, 3)), draw(st.integers(0, 65))
    bits = draw(st.booleans())
    net = Builder(shape, dtype=INT8)
    if bits:
        net.sign()
    net.add("Slice", start=start, stop=stop, step=step)
    if not bits:
        net.add("PadChannels", before=before, after=after)
    graph = net.graph()
    x = np.random.default_rng(3).integers(-128, 128, (2, *shape)).astype(np.int8)
    found = values(graph, x)
    places = [range(a, b, s) for a, b, s in zip(start, stop, step, strict=True)]
    shift = 0 if bits else before
    expected = np.zeros((2, len(places[0]), len(places[1]),
                         len(places[2]) + (0 if bits else before + after)), np.int8)  # fmt: skip
    for n, (i, y), (j, z), (k, c) in product(range(2), *(list(enumerate(p)) for p in places)):
        value = x[n, y, z, c]
        expected[n, i, j, k + shift] = (1 if value >= 0 else -1) if bits else value
    assert found.shape == expected.shape
    assert (found == expected).all()
    assert_same(graph, x)


# --- whole networks ----------------------------------------------------------------------------


@pytest.mark.parametrize("isa", available_isas())
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("make", [float_residual, bit_residual])
def test_every_tensor_equals_the_reference(make, seed: int, isa: str) -> None:
    graph = make(seed)
    x = batch(graph, 5, seed)
    assert_same(graph, x, isa=isa)
    assert_same(lower(graph), x, isa=isa, threads=2)


@pytest.mark.parametrize(
    ("make", "mode"),
    [(bit_residual, mode) for mode in MODES]
    + [(float_residual, mode) for mode in MODES if mode != "binary-stochastic"],
)
def test_every_mode_equals_the_reference(make, mode: str) -> None:
    graph = to_mode(make(2), mode)
    if graph.has_weights:
        assert_same(graph, batch(graph, 5, 3))
    else:
        assert "int8" in mode


@pytest.mark.parametrize("tile", [1, 2000, 2**20])
def test_results_do_not_depend_on_tiles(monkeypatch, tile: int) -> None:
    monkeypatch.setattr(execute_module, "TILE_BYTES", tile)
    for make in (float_residual, bit_residual):
        assert_same(make(4), batch(make(4), 7, 1), threads=2)


@pytest.mark.parametrize("seed", range(4))
def test_every_pass_keeps_the_outputs(seed: int) -> None:
    graph = bit_residual(seed)
    x = batch(graph, 6, seed + 9)

    def check(before: Graph, after: Graph) -> None:
        assert (values(before, x) == values(after, x)).all()

    lowered = lower(graph, check=check)
    # the first sign's batch norm is also added later: only the last chain becomes a Threshold
    assert [n.op for n in lowered.nodes].count("Threshold") == 1
    assert [n.op for n in lowered.nodes].count("Quantize") == 3
    assert [n.op for n in lowered.nodes].count("Add") == 4


def test_a_residual_graph_survives_its_file(tmp_path) -> None:
    graph = bit_residual(1)
    save(graph, tmp_path / "net.bnn")
    again, x = load(tmp_path / "net.bnn"), batch(graph, 3, 2)
    assert (values(again, x) == values(graph, x)).all()


def test_pixels_may_be_binarized_thresholded_and_added() -> None:
    net = Builder((5, 4, 3), seed=2).encode()
    pixels = net.last
    net.sign()
    bits = net.last
    net.go_to(pixels).thresholds(1, "bit", 0, 200).add("Add", also=(bits,))
    total = net.last
    net.go_to(pixels).thresholds(3, "int8", -1, 200).add("Add", also=(total,))
    graph = net.add("Add", also=(pixels,)).graph()
    assert_same(graph, batch(graph, 4, 1))


# --- refusals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda n: n.add("Add"), r"got '1 inputs', expected inputs \(a, b\)"),
        (lambda n: n.add("Add", {"b": (np.zeros((4, 3, 2)), FLOAT32)}), r"input 'b' .* is a const"),
        (
            lambda n: n.add("Slice", stop=(4, 3, 1)).add("Add", also=("input",)),
            r"activations of shapes \(4, 3, 1\) and \(4, 3, 2\): one shape is needed",
        ),
        (
            lambda n: n.sign().add("Add", also=("input",)),
            r"activations are bit and float32: one float type, or integers, are needed\. Cast",
        ),
        (lambda n: n.sign().add("GlobalAvgPool"), r"input is bit, which has no average: cast it"),
        (lambda n: n.sign().add("PadChannels", after=1), r"which has no 0 to pad with: cast it"),
        (lambda n: n.add("PadChannels", after=-1), r"'after'.*got -1, expected an integer of at l"),
        (lambda n: n.add("PadChannels", after=2**16), r"65538 channels are above the limit"),
        (lambda n: n.add("Slice", stop=(5, 3, 2)), r"stop \(5, 3, 2\) do not fit .* \(4, 3, 2\)"),
        (lambda n: n.add("Slice", stop=(4, 3, 2), step=(0, 1, 1)), r"expected 3 integers of at l"),
        (
            lambda n: n.add("AvgPool", kernel=(2, 2), stride=(1, 1), pads=(2, 0, 0, 0)),
            r"pads \(2, 0, 0, 0\) leave windows of \(2, 2\) without taps",
        ),
        (
            lambda n: n.add("AvgPool", kernel=(2, 2), stride=(1, 1), count_include_pad=1),
            r"'count_include_pad': got 1, expected true or false",
        ),
        (lambda n: n.add("Flatten").add("GlobalAvgPool"), r"shape \(24,\), but \(H, W, C\) is"),
    ],
)
def test_refusals_name_node_and_rule(build, expected: str) -> None:
    with pytest.raises(GraphError, match=expected):
        build(Builder((4, 3, 2), dtype=FLOAT32))


def test_a_sum_that_could_leave_int32_is_refused() -> None:
    net = Builder((3,), dtype=INT32)
    with pytest.raises(GraphError, match=r"node 'add0' \(Add\): got 'accumulators in"):
        net.add("Add", also=("input",)).graph()
