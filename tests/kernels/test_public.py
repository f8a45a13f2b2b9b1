"""bnnsim.kernels: the public names on packed arrays."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_meaning import (
    RAGGED,
    SEED,
    bipolar,
    compare,
    conv2d,
    integers,
    matmul,
    ternary,
    thresholds_near,
)

from bnnsim import kernels
from bnnsim.errors import KernelError


@pytest.mark.parametrize("isa", kernels.available_isas())
@pytest.mark.parametrize("threads", [1, 3])
def test_products_and_convolutions_equal_integers(isa, threads):
    rng = np.random.default_rng(SEED)
    a, b = bipolar(rng, 129, 65), bipolar(rng, 67, 65)
    x, w = bipolar(rng, 2, 7, 5, 66), bipolar(rng, 130, 3, 3, 33)
    where = {"stride": (2, 1), "pads": (1, 2, 0, 1), "pad_value": -1}
    for call, operand, weight, sums, options in (
        (kernels.gemm, a, b, matmul(a, b), {}),
        (kernels.conv2d, x, w, conv2d(x, w, groups=2, **where), where),
    ):
        groups = 2 if weight.ndim == 4 else 1
        weights = kernels.pack_weights(weight, groups=groups, isa=isa)
        assert weights.isa == isa
        packed = kernels.pack(operand, isa=isa)
        assert (kernels.unpack(packed, operand.shape[-1]) == operand).all()
        assert (call(packed, weights, threads=threads, **options) == sums).all()
        t, direction = thresholds_near(rng, sums, weights.K)
        limits = kernels.pack_thresholds(t, direction, weights.K)
        out = np.empty((*sums.shape[:-1], -(-sums.shape[-1] // 64)), np.uint64)
        got = call(packed, weights, thresholds=limits, threads=threads, out=out, **options)
        assert got is out
        assert (kernels.unpack(got, sums.shape[-1]) == compare(sums, t, direction)).all()


def test_weights_have_two_or_four_axes():
    with pytest.raises(
        KernelError, match=r"weight\.shape: got \(3,\), expected \(N, K\) or \(C_out"
    ):
        kernels.pack_weights(np.ones(3, np.int8))


WHERE = {"stride": (2, 1), "dilation": (1, 2), "pads": (1, 2, 0, 1)}
GRIDS = {"bit": (-1, 1), "uint2": (0, 3), "uint5": (0, 31), "int3": (-4, 3), "ternary": (-1, 1)}


def on_grid(rng, dtype, *shape):
    """Return values of a dtype, both its ends among them."""
    low, high = GRIDS[dtype]
    x = bipolar(rng, *shape) if dtype == "bit" else rng.integers(low, high + 1, shape)
    x.flat[0], x.flat[-1] = low, high
    return x.astype(np.uint8 if low == 0 else np.int8)


def both_products(x, w, images, filters, groups):
    """Return calls of gemm and conv2d with their operands and plain sums."""
    return (
        (kernels.gemm, x, w, 1, {}, matmul(x, w)),
        (kernels.conv2d, images, filters, groups, WHERE,
         conv2d(images, filters, groups=groups, **WHERE)),
    )  # fmt: skip


@pytest.mark.parametrize("isa", kernels.available_isas())
@pytest.mark.parametrize("dtype", GRIDS)
def test_planes_multiply_and_compare(isa, dtype):
    rng = np.random.default_rng(SEED)
    for i, K in enumerate(RAGGED[:-1]):
        weight, threads = (ternary, bipolar)[i % 2], 1 + i % 3
        x, w = on_grid(rng, dtype, 13, K), weight(rng, 67, K) * (1 + 2 * (i % 3))
        images, filters = on_grid(rng, dtype, 2, 5, 6, 2 * K), weight(rng, 10, 2, 3, K)
        for call, a, b, groups, options, sums in both_products(x, w, images, filters, 2):
            weights = kernels.pack_weights(b, groups=groups, isa=isa, operand="planes")
            planes = kernels.pack_planes(a, dtype)
            assert (kernels.unpack(planes) == a).all()
            assert (call(planes, weights, threads=threads, **options) == sums).all()
            t = np.stack([rng.choice(sums[..., n].ravel(), 3) for n in range(len(b))])
            direction = bipolar(rng, len(b))
            limits = kernels.pack_level_thresholds(t.astype(np.int32), direction, weights, dtype)
            got = call(planes, weights, thresholds=limits, threads=threads, **options)
            up = (sums[..., None] >= t).sum(-1)
            down = (sums[..., None] <= t).sum(-1)
            assert got.grid == (2, 0, 1)
            assert (kernels.unpack(got) == np.where(direction > 0, up, down)).all()


@pytest.mark.parametrize("isa", kernels.available_isas())
@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_bytes_multiply(isa, dtype):
    rng = np.random.default_rng(SEED)
    for K in RAGGED[:-1]:
        x, w = integers(rng, dtype, 5, K), integers(rng, np.int8, 67, K)
        images, filters = integers(rng, dtype, 1, 4, 6, 2 * K), integers(rng, np.int8, 6, 2, 3, K)
        for call, a, b, groups, options, sums in both_products(x, w, images, filters, 2):
            weights = kernels.pack_weights(b, groups=groups, isa=isa, operand="bytes")
            assert (call(a, weights, threads=2, **options) == sums).all()


@pytest.mark.parametrize("isa", kernels.available_isas())
@pytest.mark.parametrize("operand", ["float32", "fast float32"])
def test_floats_multiply_signs(isa, operand):
    rng = np.random.default_rng(SEED)
    for K in RAGGED[:-1]:
        x, w = rng.integers(-99, 100, (5, K)), bipolar(rng, 67, K)
        images, filters = rng.integers(-99, 100, (1, 4, 6, 2 * K)), bipolar(rng, 6, 2, 3, K)
        for call, a, b, groups, options, sums in both_products(x, w, images, filters, 2):
            weights = kernels.pack_weights(
                b * np.float32(0.3), groups=groups, isa=isa, operand=operand
            )
            got = call(a.astype(np.float32), weights, threads=2, **options)
            assert got.dtype == np.float32
            assert (got == sums).all()  # whole numbers have exact sums


def test_float_sums_are_formed_in_double_unless_fast():
    x = np.array([[2.0**30, 1.0, -(2.0**30)]], np.float32)
    signs = np.ones((1, 3), np.int8)
    whole = kernels.gemm(x, kernels.pack_weights(signs, operand="float32"))
    assert whole == 1
    fast = kernels.pack_weights(signs, operand="fast float32", isa="ref")
    assert kernels.gemm(x, fast) == 0


ROWS = np.ones((2, 65), np.int8)
IMAGES = np.ones((1, 3, 3, 65), np.int8)


def packed(operand, plain=ROWS):
    return kernels.pack_weights(plain, operand=operand)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda: packed("words"), r"operand: got 'words', expected one of bits, planes, bytes, "),
        (lambda: kernels.pack_weights(ROWS, groups=5), r"groups: got 5, expected 1 for weights"),
        (lambda: packed("planes", ROWS.astype(float)), r"dtype: got 'float64', expected int8 or"),
        (lambda: packed("planes", np.full((2, 3), 256, np.int16)), r"got 256, expected integers"),
        (lambda: kernels.pack_planes(ROWS, "uint9"), r"dtype: got 'uint9', expected bit, ternary"),
        (lambda: kernels.pack_planes(ROWS * 9, "uint3"), r"values of the stated set only"),
        (lambda: kernels.unpack(kernels.pack(ROWS)), r"channels: got None, expected the number"),
        (lambda: kernels.gemm(ROWS, packed("planes")),
         r"operand: got 'ndarray', expected Planes\. Make them with kernels\.pack_planes"),
        (lambda: kernels.gemm(kernels.pack_planes(ROWS, "bit"), packed("bits")),
         r"a: got 'Planes', expected a numpy array"),
        (lambda: kernels.gemm(kernels.pack_planes(ROWS[:, :64], "bit"), packed("planes")),
         r"channels of the planes: got 64, expected 65"),
        (lambda: kernels.gemm(kernels.pack(ROWS), packed("bytes")), r"a\.dtype: got 'uint64'"),
        (lambda: kernels.gemm(ROWS, packed("float32")), r"x\.dtype: got 'int8', expected float32"),
        (lambda: kernels.gemm(ROWS, packed("bytes", IMAGES)),
         r"weights: got '4 axes', expected \(N, K\) for kernels\.gemm"),
        (lambda: kernels.conv2d(kernels.pack(IMAGES), packed("bits")),
         r"weights: got '2 axes', expected \(C_out, R, S, C / groups\) for kernels\.conv2d"),
        (lambda: kernels.gemm(ROWS, packed("bytes"), thresholds=kernels.pack_thresholds(
            np.zeros(2, np.int32), ROWS[:, 0].copy(), 65)),
         r"thresholds: got 'thresholds', expected none with gemm_byte\. Only products of bits"),
        (lambda: kernels.pack_level_thresholds(
            np.zeros((2, 3), np.int32), ROWS[:, 0].copy(), packed("bits"), "bit"),
         r"weights: got 'gemm_bit', expected weights of planes\. Pack them with pack_weights"),
        (lambda: kernels.gemm(kernels.pack(ROWS), packed("bits"),
                              thresholds=kernels.pack_level_thresholds(
            np.zeros((2, 3), np.int32), ROWS[:, 0].copy(), packed("planes"), "bit")),
         r"thresholds\.grid: got \(1, -1, 2\), expected None"),
        (lambda: kernels.gemm(kernels.pack_planes(ROWS, "bit"), packed("planes"),
                              thresholds=kernels.pack_thresholds(
            np.zeros(2, np.int32), ROWS[:, 0].copy(), 65)),
         r"thresholds\.grid: got None, expected \(1, -1, 2\)"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(call, text):
    with pytest.raises(KernelError, match=text):
        call()
