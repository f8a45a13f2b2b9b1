"""Scales of activations: their meaning in loops over fractions, the engine, and refusals."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nets import Builder

from bnnsim.engine.execute import Plan
from bnnsim.engine.reference import apply, execute
from bnnsim.errors import GraphError
from bnnsim.graph.dtypes import BIT, FLOAT16, FLOAT32, INT8, INT32, DType
from bnnsim.graph.io import load, save
from bnnsim.graph.ir import Graph, Tensor

EDGES = st.sampled_from([1, 2, 3, 5, 7, 63, 64, 65, 127, 128, 129])
SMALL, STEP, TWICE = st.integers(1, 3), st.integers(1, 3), st.integers(1, 2)
PADS = st.tuples(*[st.integers(0, 4)] * 4)
BFLOAT16 = DType("bfloat", 16)


def values(graph: Graph, x: np.ndarray, threads: int = 1) -> np.ndarray:
    """Return the output, of reference and engine alike."""
    name = graph.outputs[0]
    expected = execute(graph, x, keep=())[name]
    found = Plan(graph, threads=threads).run(x)[name]
    assert found.dtype == expected.dtype
    assert found.tobytes() == expected.tobytes()
    return expected


def scale_in_fractions(image: np.ndarray, kernel, stride, pads, dilation, groups: int):
    """Return K of one image as exact fractions: {(row, column, group): value}."""
    height, width, channels = image.shape
    per = channels // groups
    reach = [dilation[a] * (kernel[a] - 1) + 1 for a in (0, 1)]
    size = [(image.shape[a] + pads[a] + pads[a + 2] - reach[a]) // stride[a] + 1 for a in (0, 1)]
    found = {}
    for i, j, g in product(range(size[0]), range(size[1]), range(groups)):
        total = Fraction(0)
        for r, s in product(range(kernel[0]), range(kernel[1])):
            y = i * stride[0] + r * dilation[0] - pads[0]
            x = j * stride[1] + s * dilation[1] - pads[1]
            if 0 <= y < height and 0 <= x < width:
                total += sum(abs(Fraction(float(v))) for v in image[y, x, g * per : (g + 1) * per])
        found[i, j, g] = total / (kernel[0] * kernel[1] * per)
    return found


@given(
    channels=st.sampled_from([1, 2, 3, 7]),
    groups=st.sampled_from([1, 1, 2, 3]),
    kernel=st.tuples(SMALL, SMALL),
    stride=st.tuples(STEP, STEP),
    dilation=st.tuples(TWICE, TWICE),
    pads=PADS,
    seed=st.integers(0, 99),
)
def test_input_scale_is_the_rounded_mean(
    channels, groups, kernel, stride, dilation, pads, seed
) -> None:
    window = {"kernel": kernel, "stride": stride, "dilation": dilation, "pads": pads}
    channels *= groups
    graph = Builder((5, 6, channels), dtype=FLOAT32).add("InputScale", groups=groups, **window)
    x = np.random.default_rng(seed).normal(size=(2, 5, 6, channels)).astype(np.float32)
    x[0, :3] = -0.0
    found = values(graph.graph(), x)
    assert found.dtype == np.float32
    for n in (0, 1):
        exact = scale_in_fractions(x[n], **window, groups=groups)
        assert found.shape[1:] == tuple(1 + max(key[a] for key in exact) for a in range(3))
        for place, value in exact.items():  # one rounding, from a float64 sum of at most 63 terms
            assert abs(Fraction(float(found[n][place])) - value) <= value * Fraction(2) ** -24 * (
                1 + Fraction(1, 2**20)
            )


@given(size=EDGES, seed=st.integers(0, 99), dtype=st.sampled_from([FLOAT32, FLOAT16, INT8, INT32]))
def test_input_scale_of_a_vector(size: int, seed: int, dtype: DType) -> None:
    graph = Builder((size,), dtype=dtype).add("InputScale").graph()
    x = np.random.default_rng(seed).normal(scale=40, size=(3, size)).astype(dtype.numpy)
    exact = [sum(abs(Fraction(float(v))) for v in row) / size for row in x]
    found = values(graph, x)
    assert found.shape == (3, 1)
    assert found[:, 0].tolist() == [np.float32(float(v)) for v in exact]


def test_input_scale_of_the_lowest_integers() -> None:
    graph = Builder((4,), dtype=INT8).add("InputScale").graph()
    assert values(graph, np.full((1, 4), -128, np.int8)).tolist() == [[128.0]]


def test_image_scales_do_not_depend_on_batch_or_threads() -> None:
    graph = Builder((9, 7, 129), dtype=FLOAT32).add("InputScale", kernel=(3, 3), pads=(1,) * 4)
    graph = graph.graph()
    x = np.random.default_rng(3).normal(size=(23, 9, 7, 129)).astype(np.float32)
    whole = values(graph, x, threads=3)
    alone = [values(graph, x[i : i + 1]) for i in range(23)]
    assert whole.tobytes() == np.concatenate(alone).tobytes()


@pytest.mark.parametrize(
    ("a", "b", "groups"),
    [
        ((5, 3, 4), (5, 3, 4), 1),
        ((5, 3, 4), (5, 3, 1), 1),
        ((5, 3, 4), (1, 1, 4), 1),
        ((5, 3, 4), (4,), 1),
        ((5, 3, 4), (1,), 1),
        ((5, 3, 6), (5, 3, 2), 2),
        ((129,), (1,), 1),
        ((65,), (65,), 1),
    ],
)
@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT16, BFLOAT16, INT8, INT32, BIT])
def test_products_broadcast(a, b, groups: int, dtype: DType) -> None:
    factor = dtype if dtype.is_float else FLOAT32
    graph = two_inputs(a, b, dtype, factor, groups=groups)
    rng = np.random.default_rng(sum(a))
    left, right = (rng.normal(scale=50, size=(3, *shape)) for shape in (a, b))
    left = np.where(left < 0, -1, 1) if dtype == BIT else left
    left, right = left.astype(dtype.numpy), right.astype(factor.numpy)
    if dtype == BFLOAT16:
        left, right = (v.view(np.uint32) & 0xFFFF0000 for v in (left, right))
        left, right = left.view(np.float32), right.view(np.float32)
    found = product_of(graph, left, right)
    assert found.shape == (3, *a)
    assert found.dtype == factor.numpy
    for n, index in product(range(3), np.ndindex(*a)):
        at = index[len(a) - len(b) :]
        at = tuple(i // (size // groups) if size != own and own > 1 else min(i, own - 1)
                   for i, size, own in zip(at, a[len(a) - len(b) :], b, strict=True))  # fmt: skip
        single = np.float32(left[n][index]) * np.float32(right[n][at])
        assert abs(float(found[n][index]) - single) <= rounding(factor) * abs(single), index


def rounding(dtype: DType) -> float:
    return {"float16": 2.0**-11, "bfloat16": 2.0**-8}.get(str(dtype), 0)


def two_inputs(a, b, dtype: DType, factor: DType, **attrs) -> Graph:
    """Return a graph whose only node multiplies two tensors; the second is fed beside the input."""
    net = Builder(a, dtype=dtype)
    net.tensors["b"] = Tensor("b", b, factor)
    net.add("Mul", also=("b",), **attrs)
    return Graph("mul", tuple(net.nodes), net.tensors, ("input", "b"), (net.last,), {})


def product_of(graph: Graph, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return apply(graph.nodes[0], [left, right], graph.result(graph.nodes[0]).dtype)


def test_large_integers_are_rounded_before_the_product() -> None:
    net = Builder((2,), dtype=INT32).add("InputScale")
    factor = net.last
    graph = net.go_to("input").add("Mul", also=(factor,)).graph()
    x = np.array([[2**24 + 1, -(2**24) - 3]], np.int32)
    mean = np.float32(2**24 + 2)
    expected = [np.float32(2**24) * mean, np.float32(-(2**24) - 4) * mean]
    assert values(graph, x)[0].tolist() == expected


def test_scales_are_saved_and_loaded(tmp_path) -> None:
    net = Builder((6, 5, 4), dtype=FLOAT32).add("Scale", {"scale": (np.arange(4.0), FLOAT32)})
    scaled = net.last
    net.add("InputScale", kernel=(2, 3), stride=(1, 2), pads=(1, 0, 0, 1), dilation=(2, 1))
    net.add("AvgPool", kernel=net.shape[:2], stride=(1, 1))
    graph = net.go_to(scaled).add("Mul", also=(net.last,)).graph()
    save(graph, tmp_path / "net.bnn")
    x = np.random.default_rng(0).normal(size=(3, 6, 5, 4)).astype(np.float32)
    assert values(load(tmp_path / "net.bnn"), x).tobytes() == values(graph, x).tobytes()


@pytest.mark.parametrize(
    ("build", "expected"),
    [
        (lambda n: n.add("Slice", stop=(4, 2, 4)).add("Mul", also=("input",)),
         r"b of shape \(4, 3, 4\) does not broadcast to a of shape \(4, 2, 4\): along each axis"),
        (lambda n: n.add("Flatten").add("Mul", also=("input",)),
         r"b of shape \(4, 3, 4\) does not broadcast to a of shape \(48,\)"),
        (lambda n: n.sign().add("Mul", also=(n.last,)), r"b is bit, but a float is needed: cast"),
        (lambda n: n.add("Cast", dtype="float16").add("Mul", also=("input",)),
         r"activations are float16 and float32: one float type, or an integer a, is needed\. Cast"),
        (lambda n: n.add("Mul", also=("input",), groups=2),
         r"2 groups need as many channels of b and a multiple of them of a; .* \(4, 3, 4\)"),
        (lambda n: n.add("Mul"), r"got '1 inputs', expected inputs \(a, b\)"),
        (lambda n: n.add("Mul", {"b": (np.ones(4), FLOAT32)}), r"input 'b' .* is a constant"),
        (lambda n: n.sign().add("InputScale"), r"bit, whose magnitude is 1: read what the sign"),
        (lambda n: n.add("InputScale", groups=3), r"4 channels do not divide into 3 groups"),
        (lambda n: n.add("InputScale", kernel=(6, 1)), r"a window of 6 does not fit a padded inp"),
        (lambda n: n.add("InputScale", kernel=(0, 1)), r"'kernel': got \(0, 1\), expected 2 integ"),
        (lambda n: n.add("InputScale", pads=(2**15, 0, 2**15, 0)), r"padded side of 65540"),
        (lambda n: n.add("Flatten").add("InputScale", kernel=(2, 2)),
         r"a vector has no windows and no groups: leave these attributes out"),
        (lambda n: n.add("Scale", {"scale": (np.ones(3), FLOAT32)}), r"one value per channel"),
    ],
)  # fmt: skip
def test_refusals_name_node_and_rule(build, expected: str) -> None:
    with pytest.raises(GraphError, match=expected):
        build(Builder((4, 3, 4), dtype=FLOAT32))
