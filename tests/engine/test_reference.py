"""The reference against loops written from the equations, and hand-computed values."""

from __future__ import annotations

import numpy as np
import pytest
from nets import Builder, mlp

from bnnsim.engine.reference import apply, check_input, execute
from bnnsim.errors import GraphError, InputError
from bnnsim.graph.dtypes import BIT, FLOAT32, INT8, INT32, DType
from bnnsim.graph.elementwise import to_dtype
from bnnsim.graph.ir import Node


def node(op: str, **attrs: object) -> Node:
    return Node(0, "n", op, ("x",), ("y",), attrs)


def conv_by_loops(x, w, *, stride, pads, dilation, groups, pad_value):
    """Sum taps one by one in Python integers."""
    images, height, width, _ = x.shape
    n_out, rows, columns, per = w.shape
    top, left, bottom, right = pads
    out_h = (height + top + bottom - dilation[0] * (rows - 1) - 1) // stride[0] + 1
    out_w = (width + left + right - dilation[1] * (columns - 1) - 1) // stride[1] + 1
    out = np.zeros((images, out_h, out_w, n_out), np.int64)
    for n, i, j, k in np.ndindex(*out.shape):
        group = k // (n_out // groups)
        for r, s, c in np.ndindex(rows, columns, per):
            y = i * stride[0] + r * dilation[0] - top
            z = j * stride[1] + s * dilation[1] - left
            inside = 0 <= y < height and 0 <= z < width
            value = int(x[n, y, z, group * per + c]) if inside else pad_value
            out[n, i, j, k] += int(w[k, r, s, c]) * value
    return out


@pytest.mark.parametrize("seed", range(12))
def test_conv2d_equals_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = int(rng.choice([1, 2, 3]))
    channels, n_out = groups * int(rng.integers(1, 4)), groups * int(rng.integers(1, 3))
    kernel = rng.integers(1, 4, 2)
    attrs = {
        "stride": tuple(int(v) for v in rng.integers(1, 3, 2)),
        "pads": tuple(int(v) for v in rng.integers(0, 3, 4)),
        "dilation": tuple(int(v) for v in rng.integers(1, 3, 2)),
        "groups": groups,
        "pad_value": int(rng.choice([-1, 0, 1])),
    }
    x = rng.integers(-9, 9, (2, 7, 6, channels)).astype(np.int8)
    w = rng.choice([-1, 1], (n_out, *kernel, channels // groups)).astype(np.int8)
    got = apply(node("Conv2d", **attrs), [x, w], INT32)
    assert got.dtype == np.int32
    assert (got == conv_by_loops(x, w, **attrs)).all()


def test_dense_is_the_integer_product_and_exact_at_large_sums() -> None:
    x = np.array([[2**15 - 1] * 1000], np.int16)
    w = np.ones((1, 1000), np.int8)
    assert apply(node("Dense"), [x, w], INT32)[0, 0] == 32767 * 1000


def test_float_dense_rounds_once_from_double() -> None:
    # 1 + 2^-24 + 2^-24 is 1 + 2^-23 exactly; float32 partial sums would lose both small terms.
    x = np.array([[1, 2.0**-24, 2.0**-24]], np.float32)
    out = apply(node("Dense"), [x, np.ones((1, 3), np.float32)], FLOAT32)
    assert out[0, 0] == np.float32(1 + 2.0**-23)


def test_batch_norm_follows_the_written_order_in_float32() -> None:
    x = np.array([[-7, 3]], np.int32)
    gamma, beta, mean, var = (
        np.array(v, np.float32) for v in ([1.5, -2], [0.1, 0], [2, 3], [4, 9])
    )
    got = apply(node("BatchNorm", eps=1e-4), [x, gamma, beta, mean, var], FLOAT32)
    f = np.float32
    first = (f(-7) - f(2)) * (f(1.5) / np.sqrt(f(4) + f(1e-4))) + f(0.1)
    assert got[0, 0] == first
    assert got[0, 1] == 0  # a tie at the mean with beta 0


def test_sign_of_zero_is_plus_one_for_both_zeros() -> None:
    got = apply(node("Quantize", quantizer="sign"), [np.array([0.0, -0.0, -1e-30])], BIT)
    assert got.tolist() == [1, 1, -1]


def test_sign_of_nan_is_refused() -> None:
    with pytest.raises(GraphError, match="Quantize: got nan"):
        apply(node("Quantize", quantizer="sign"), [np.array([np.nan])], BIT)


def test_threshold_directions_are_inclusive_and_ends_are_constant() -> None:
    x = np.array([[4, 4, 4, 4], [5, 5, 5, 5], [6, 6, 6, 6]], np.int32)
    t = np.array([[5], [5], [-(2**31)], [2**31 - 1]], np.int32)
    direction = np.array([1, -1, 1, 1], np.int8)
    got = apply(node("Threshold"), [x, t, direction], BIT)
    assert got.tolist() == [[-1, 1, 1, -1], [1, 1, 1, -1], [1, -1, 1, -1]]


def test_multi_threshold_counts_from_base() -> None:
    x = np.array([[-3], [0], [7]], np.int32)
    t = np.array([[0, 7]], np.int32)
    attrs = {"dtype": "ternary", "base": -1}
    up = apply(node("Threshold", **attrs), [x, t, np.ones(1, np.int8)], DType.parse("ternary"))
    down = apply(node("Threshold", **attrs), [x, t, -np.ones(1, np.int8)], DType.parse("ternary"))
    assert up[:, 0].tolist() == [-1, 0, 1]
    assert down[:, 0].tolist() == [1, 1, 0]


def test_requantize_rounds_half_to_even_and_saturates() -> None:
    x = np.array([[1], [3], [5], [1000], [-1000]], np.int32)
    half, zero = np.array([0.5], np.float32), np.zeros(1, np.float32)
    got = apply(node("Requantize", dtype="int8"), [x, half, zero], INT8)
    assert got[:, 0].tolist() == [0, 2, 2, 127, -128]


def test_max_pool_ignores_pads_and_takes_minimum_where_told() -> None:
    x = np.array([[-5, 1], [-2, 7]], np.int32).reshape(1, 2, 1, 2)
    attrs = {"kernel": (2, 1), "stride": (1, 1), "pads": (1, 0, 1, 0)}
    minimum = np.array([0, 1], np.uint8)
    got = apply(node("MaxPool", **attrs), [x, minimum], INT32)
    assert got[0, :, 0].tolist() == [[-5, 1], [-2, 1], [-2, 7]]


def test_integer_affine_divides_exactly_or_refuses() -> None:
    attrs = {"mul": 1, "add": 9, "div": 2}
    x = np.array([[-9, 9, 1]], np.int32)
    assert apply(node("IntegerAffine", **attrs), [x], INT32).tolist() == [[0, 9, 5]]
    with pytest.raises(GraphError, match="does not divide by 2"):
        apply(node("IntegerAffine", **attrs), [x + 1], INT32)


def test_bfloat16_rounds_to_eight_bits_half_to_even() -> None:
    values = np.array([257.0, 259.0, 1 / 3, -0.0])
    got = to_dtype(values, DType.parse("bfloat16"))
    assert got.tolist() == [256.0, 260.0, 0.333984375, 0.0]


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (np.zeros((2, 62), np.uint8), r"got \(2, 62\), expected shape \(N, 63\)"),
        (np.zeros(63, np.uint8), r"got \(63,\), expected shape \(N, 63\)"),
        (np.zeros((2, 63), np.float32), "got 'float32', expected dtype uint8"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(x: np.ndarray, text: str) -> None:
    with pytest.raises(InputError, match=text):
        check_input(mlp(), x)


def test_nan_input_is_named_with_its_place() -> None:
    graph = Builder((3,), dtype=FLOAT32).add("Relu").graph()
    x = np.ones((2, 3), np.float32)
    x[1, 2] = np.nan
    with pytest.raises(InputError, match=r"\[1, 2\]: got nan, expected values that float32 holds"):
        execute(graph, x)


def test_keep_chooses_tensors() -> None:
    graph = mlp()
    x = Builder((63,), seed=1).batch(2)
    assert set(execute(graph, x, keep=["dense1.out"])) == {"dense1.out", graph.outputs[0]}
    assert len(execute(graph, x)) == len(graph.nodes) + 1
