"""Matrix products against int64 matmul on plain values."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_meaning import (
    RAGGED,
    SEED,
    bipolar,
    compare,
    integers,
    matmul,
    ternary,
    thresholds_near,
    variants,
)

from bnnsim.engine import _kernels
from bnnsim.errors import KernelError
from bnnsim.graph import bits

INTEGER_DTYPES = (np.uint8, np.int8, np.int16, np.int32)


@pytest.fixture
def rng():
    return np.random.default_rng(SEED)


def around(tile):
    return sorted({1, 3, max(tile - 1, 1), tile, tile + 1, 37})


@variants("gemm_bit")
@pytest.mark.parametrize("K", RAGGED)
def test_gemm_bit_equals_matmul(isa, K, rng):
    _, chosen, _, tile_m, tile_n = _kernels.select("gemm_bit", isa)
    assert chosen == isa
    a, b = bipolar(rng, 37, K), bipolar(rng, max(37, tile_n + 1), K)
    expected = matmul(a, b)
    for M in around(tile_m):
        for N in around(tile_n):
            out = _kernels.gemm_bit(bits.pack(a[:M]), bits.pack(b[:N]), K, isa=isa)
            assert out.dtype == np.int32
            assert (out == expected[:M, :N]).all()


@variants("gemm_bit")
@pytest.mark.parametrize("K", [1, 64, 130])
def test_gemm_bit_reaches_both_ends(isa, K):
    ones = np.ones((5, K), np.int8)
    alternating = np.where(np.arange(K) % 2 == 0, 1, -1).astype(np.int8)[None]
    rows = np.concatenate([ones, -ones, alternating, -alternating])
    packed = bits.pack(rows)
    out = _kernels.gemm_bit(packed, packed, K, isa=isa)
    assert (out == matmul(rows, rows)).all()
    assert out.max() == K
    assert out.min() == -K


@variants("gemm_bit")
def test_gemm_bit_takes_large_sizes(isa, rng):
    a, b = bipolar(rng, 401, 4160), bipolar(rng, 67, 4160)
    out = _kernels.gemm_bit(bits.pack(a), bits.pack(b), 4160, isa=isa)
    assert (out == (a.astype(np.float64) @ b.astype(np.float64).T)).all()


@variants("gemm_bit")
def test_packed_weights_serve_many_calls(isa, rng):
    a, b = bipolar(rng, 9, 100), bipolar(rng, 41, 100)
    weights = _kernels.pack_gemm_weights(bits.pack(b), 100, isa)
    assert weights.isa == isa
    assert weights.op == "gemm_bit"
    assert weights.kernel == f"bnn_gemm_bit_{isa}"
    assert weights.shape == (41, 2)
    assert (weights.K, weights.channels, weights.groups) == (100, 100, 1)
    assert weights.nbytes >= 41 * 2 * 8
    for M in (1, 2, 9):
        out = _kernels.gemm_bit(bits.pack(a[:M]), weights, 100)
        assert (out == matmul(a[:M], b)).all()


@variants("gemm_bit")
def test_gemm_bit_refuses_a_tail(isa):
    good, bad = np.zeros((2, 2), np.uint64), np.zeros((2, 2), np.uint64)
    bad[1, 1] = 1 << 63
    with pytest.raises(KernelError, match="zero bits past the last element"):
        _kernels.gemm_bit(bad, good, 100, isa=isa)
    with pytest.raises(KernelError, match="zero bits past the last element"):
        _kernels.gemm_bit(good, bad, 100, isa=isa)
    assert _kernels.gemm_bit(bad, bad, 128, isa=isa).shape == (2, 2)


@variants("gemm_bit_threshold")
@pytest.mark.parametrize("K", RAGGED)
def test_gemm_bit_threshold_compares_every_sum(isa, K, rng):
    _, chosen, _, tile_m, tile_n = _kernels.select("gemm_bit_threshold", isa)
    assert chosen == isa
    b = bipolar(rng, max(131, tile_n + 1), K)
    a = np.concatenate([b[:7], -b[:7], bipolar(rng, 23, K)])  # K, -K and what lies between
    sums = matmul(a, b)
    for M in around(tile_m):
        for N in {*around(tile_n), 64, 65, 131}:
            t, direction = thresholds_near(rng, sums[:, :N], K)
            packed = _kernels.pack_thresholds(t, direction, K)
            got = _kernels.gemm_bit_threshold(
                bits.pack(a[:M]), bits.pack(b[:N]), packed, K, isa=isa
            )
            assert (got == bits.pack(compare(sums[:M, :N], t, direction))).all()


def test_packed_thresholds_must_fit_the_product(rng):
    a, b = bits.pack(bipolar(rng, 2, 70)), bits.pack(bipolar(rng, 3, 70))
    t, direction = np.zeros(3, np.int32), np.ones(3, np.int8)
    for limits, text in (
        (_kernels.pack_thresholds(t, direction, 71), r"thresholds\.K: got 71, expected 70"),
        (_kernels.pack_thresholds(t[:2], direction[:2], 70), r"thresholds\.N: got 2, expected 3"),
        (t, r"thresholds: got 'ndarray', expected packed thresholds\. Make them with pack_thr"),
    ):
        with pytest.raises(KernelError, match=text):
            _kernels.gemm_bit_threshold(a, b, limits, 70)
    with pytest.raises(KernelError, match="values of the stated set only"):
        _kernels.pack_thresholds(t, 0 * direction, 70)
    with pytest.raises(KernelError, match=r"direction\.shape: got \(2,\), expected \(3,\)"):
        _kernels.pack_thresholds(t, direction[:2], 70)


@variants("gemm_int")
@pytest.mark.parametrize("dtype", INTEGER_DTYPES)
@pytest.mark.parametrize("K", [1, 7, 64, 191, 1000])
def test_gemm_int_equals_matmul(isa, dtype, K, rng):
    a = integers(rng, dtype, 7, K)
    for weights in (bipolar(rng, 5, K), ternary(rng, 5, K), integers(rng, np.int8, 5, K)):
        small = (a // 64).astype(dtype) if dtype == np.int32 else a
        assert (_kernels.gemm_int(small, weights, isa=isa) == matmul(small, weights)).all()


@variants("gemm_int")
def test_gemm_int_is_exact_past_the_int32_range_of_a_chunk(isa):
    K = 65793  # 255 * 128 * 65793 is the last product sum below 2^31
    a, b = np.full((1, K), 255, np.uint8), np.full((1, K), -128, np.int8)
    assert _kernels.gemm_int(a, b, isa=isa)[0, 0] == -255 * 128 * K
    longer = K + 1
    a, b = np.full((1, longer), 255, np.uint8), np.full((1, longer), -128, np.int8)
    with pytest.raises(KernelError, match="results that fit the output type"):
        _kernels.gemm_int(a, b, isa=isa)


@variants("gemm_int_bit")
@pytest.mark.parametrize("dtype", INTEGER_DTYPES)
@pytest.mark.parametrize("K", RAGGED)
def test_gemm_int_bit_equals_matmul(isa, dtype, K, rng):
    a, b = integers(rng, dtype, 6, K), bipolar(rng, 11, K)
    assert (_kernels.gemm_int_bit(a, bits.pack(b), isa=isa) == matmul(a, b)).all()


@variants("gemm_int_bit")
@pytest.mark.parametrize("value", [2**31 - 1, -(2**31) + 1])
def test_gemm_int_bit_stops_at_the_ends_of_int32(isa, value):
    plus = bits.pack(np.ones((1, 2), np.int8))
    inside = np.array([[value, 0]], np.int32)
    outside = np.array([[value, 2 * np.sign(value)]], np.int32)
    assert _kernels.gemm_int_bit(inside, plus, isa=isa)[0, 0] == value
    with pytest.raises(KernelError, match="results that fit the output type"):
        _kernels.gemm_int_bit(outside, plus, isa=isa)


@variants("gemm_byte")
@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("K", [1, 3, 4, 5, 63, 64, 65, 191, 1000])
def test_gemm_byte_equals_matmul(isa, dtype, K, rng):
    _, chosen, _, tile_m, tile_n = _kernels.select("gemm_byte", isa)
    assert chosen == isa
    a, b = integers(rng, dtype, 150, K), integers(rng, np.int8, max(37, tile_n + 1), K)
    expected = matmul(a, b)
    for M in (*around(tile_m), 150):
        for N in around(tile_n):
            weights = _kernels.pack_gemm_byte_weights(b[:N], isa)
            assert (_kernels.gemm_byte(a[:M], weights) == expected[:M, :N]).all()


@variants("gemm_byte")
def test_gemm_byte_at_its_largest_depth(isa):
    K = 65793
    for dtype, value in ((np.uint8, 255), (np.int8, -128), (np.int8, 127)):
        a, b = np.full((1, K), value, dtype), np.full((2, K), -128, np.int8)
        b[1] = 127
        assert (_kernels.gemm_byte(a, b, isa=isa) == matmul(a, b)).all()
    shorter = _kernels.gemm_byte(a[:, 1:].copy(), b[:, 1:].copy(), isa=isa)
    assert (shorter == matmul(a[:, 1:], b[:, 1:])).all()
    longer = np.zeros((1, K + 1), np.int8)
    with pytest.raises(KernelError, match="K within the kernel's limit"):
        _kernels.gemm_byte(longer, longer, isa=isa)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"a": [[1]]}, r"a: got 'list', expected a numpy array"),
        ({"a": np.zeros((2, 2), np.int64)}, r"a\.dtype: got 'int64', expected uint64"),
        ({"a": np.zeros((2, 2), ">u8")}, r"a\.dtype: got '>u8', expected uint64"),
        ({"a": np.zeros(2, np.uint64)}, r"a\.shape: got \(2,\), expected 2 dimensions"),
        ({"a": np.zeros((0, 2), np.uint64)}, r"a\.shape: got \(0, 2\), expected no empty"),
        ({"a": np.zeros((2, 4), np.uint64)[:, ::2]}, r"a\.strides.*C-contiguous"),
        ({"a": np.zeros((2, 3), np.uint64)}, r"a\.shape\[1\]: got 3, expected 2"),
        ({"b": np.zeros((2, 3), np.uint64)}, r"b\.shape\[1\]: got 3, expected 2"),
        ({"K": 0}, r"K: got 0, expected an integer from 1"),
        ({"K": 1.5}, r"K: got 1\.5, expected an integer from 1"),
        ({"K": 2**31}, r"b\.shape\[1\]: got 2, expected 33554432"),
    ],
)
def test_gemm_bit_names_what_is_wrong(change, text):
    good = {"a": np.zeros((2, 2), np.uint64), "b": np.zeros((3, 2), np.uint64), "K": 100}
    with pytest.raises(KernelError, match=text):
        _kernels.gemm_bit(**(good | change))


def test_gemm_bit_refuses_weights_packed_for_another_use():
    a = np.zeros((2, 2), np.uint64)
    weights = _kernels.pack_gemm_weights(a, 100)
    with pytest.raises(KernelError, match="K: got 101, expected 100"):
        _kernels.gemm_bit(a, weights, 101)
    conv = _kernels.pack_conv_weights(np.zeros((2, 1, 1, 2), np.uint64), 100)
    with pytest.raises(KernelError, match="op of the packed weights: got 'conv2d_bit'"):
        _kernels.gemm_bit(a, conv, 100)
    with pytest.raises(KernelError, match="op of the packed weights: got 'gemm_bit'"):
        _kernels.conv2d_bit(np.zeros((1, 1, 1, 2), np.uint64), weights, 100)


def test_read_only_input_is_accepted():
    a = np.zeros((1, 1), np.uint64)
    a.flags.writeable = False
    assert _kernels.gemm_bit(a, a, 5)[0, 0] == 5


def test_out_receives_the_result(rng):
    a = bits.pack(bipolar(rng, 3, 70))
    out = np.empty((3, 3), np.int32)
    assert _kernels.gemm_bit(a, a, 70, out=out) is out
    assert (out.diagonal() == 70).all()
    for wrong, text in (
        (np.empty((3, 4), np.int32), r"out\.shape: got \(3, 4\), expected \(3, 3\)"),
        (np.empty((3, 3), np.int64), r"out\.dtype: got 'int64', expected int32"),
    ):
        with pytest.raises(KernelError, match=text):
            _kernels.gemm_bit(a, a, 70, out=wrong)
    out.flags.writeable = False
    with pytest.raises(KernelError, match="out: got 'a read-only array', expected a writeable"):
        _kernels.gemm_bit(a, a, 70, out=out)
