"""Bytes and floats x bit weights by look-up, and floats x floats, against plain numpy."""

import numpy as np
import pytest
from kernel_meaning import (
    CONVOLUTIONS,
    bipolar,
    compare,
    conv2d,
    conv_case,
    integers,
    matmul,
    thresholds_near,
    variants,
)

from bnnsim.engine import _kernels
from bnnsim.engine.float_sums import window_sums
from bnnsim.errors import KernelError
from bnnsim.graph import bits

WIDE = ((3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 3, 9, 1, (4, 70))  # whole rows of lanes
STRIDED = ((7, 7), (2, 3), (1, 2), (3, 3, 2, 4), 4, 6, 2, (17, 90))
CASES = [*CONVOLUTIONS, WIDE, STRIDED]
ENDS = np.array([511, -511], np.int16)
FLOAT_OPS = ("float_bit", "float_bit_single", "float_float", "float_float_single")


def pack(w, op, isa, groups=1):
    words = bits.pack(w.reshape(len(w), -1))
    return _kernels.pack_lookup_weights(words, w.shape, op, groups=groups, isa=isa)


def a_map(rng):
    """Return what bytes stand for, not affine, with both ends."""
    return rng.permutation(np.append(rng.integers(-511, 512, 254).astype(np.int16), ENDS))


@variants("byte_bit")
@pytest.mark.parametrize("K", [1, 3, 4, 63, 64, 65, 127, 129, 255, 256, 257, 784, 1024, 2113])
def test_byte_bit_multiplies_what_bytes_stand_for(isa, K, rng):
    x, w, meaning = integers(rng, np.uint8, 67, K), bipolar(rng, 131, K), a_map(rng)
    expected = matmul(meaning[x], w)
    for M in (1, 3, 6, 7, 31, 32, 33, 67):
        for N in (1, 7, 8, 9, 41, 64, 65, 127, 128, 129, 131):
            got = _kernels.byte_bit(x[:M], meaning, pack(w[:N], "byte_bit", isa), isa=isa)
            assert (got == expected[:M, :N]).all()


PIXELS, CENTERED = np.arange(256, dtype=np.int16), np.arange(-255, 256, 2, dtype=np.int16)


@variants("byte_bit")
@pytest.mark.parametrize("K", [63, 256, 257, 784, 1024, 1025, 4099])
def test_byte_bit_sums_the_largest_values(isa, K):
    x = np.zeros((9, K), np.uint8)
    x[0], x[1, ::2], x[2, : K // 2], x[3, K // 2 :], x[4, 7::64] = 255, 255, 255, 255, 255
    w = np.ones((130, K), np.int8)
    w[1], w[2, ::2], w[3, : K // 2], w[64, 1::2], w[129] = -1, -1, -1, -1, -1
    packed = pack(w, "byte_bit", isa)
    wide = np.where(PIXELS == 255, 511, -511).astype(np.int16)
    for meaning in (PIXELS, CENTERED, -PIXELS, wide, -wide, 0 * PIXELS):
        assert (_kernels.byte_bit(x, meaning, packed, isa=isa) == matmul(meaning[x], w)).all()


@variants("byte_bit_threshold")
@pytest.mark.parametrize("K", [70, 257, 1031])
@pytest.mark.parametrize("N", [1, 31, 32, 33, 63, 64, 65, 127, 128, 129, 131])
def test_byte_bit_threshold_compares_every_sum(isa, N, K, rng):
    x, w, meaning = integers(rng, np.uint8, 35, K), bipolar(rng, N, K), a_map(rng)
    sums = matmul(meaning[x], w)
    t, direction = thresholds_near(rng, sums, K * 511)
    limits = _kernels.pack_thresholds(t, direction, K)
    for M in (1, 6, 7, 35):
        packed = pack(w, "byte_bit", isa)
        got = _kernels.byte_bit(x[:M], meaning, packed, limits, isa=isa)
        assert (got == bits.pack(compare(sums[:M], t, direction))).all()


@variants("byte_bit_threshold")
@pytest.mark.parametrize("case", CASES)
def test_byte_bit_convolves(isa, case, rng):
    options, x_shape, w_shape = conv_case(case)
    x, w, meaning = integers(rng, np.int8, *x_shape), bipolar(rng, *w_shape), a_map(rng)
    packed = pack(w, "byte_bit", isa, options["groups"])
    for pad_value in (0, -511):
        window = options | {"pad_value": pad_value}
        sums = conv2d(meaning[x.view(np.uint8)], w, **window)
        assert (_kernels.byte_bit(x, meaning, packed, isa=isa, **window) == sums).all()
        t, direction = thresholds_near(rng, sums, packed.K)
        limits = _kernels.pack_thresholds(t, direction, packed.K)
        got = _kernels.byte_bit(x, meaning, packed, limits, isa=isa, **window)
        assert (got == bits.pack(compare(sums, t, direction))).all()


def pack_floats(w, op, isa, groups=1):
    if "bit" in op:
        return pack(np.sign(w).astype(np.int8), op, isa, groups)
    return _kernels.pack_float_weights(w, groups=groups, single=op.endswith("single"), isa=isa)


def check_whole_numbers(op, isa, rng):
    """Hold every case against integers: whole numbers have exact sums, in any precision."""
    for case in CASES:
        options, x_shape, w_shape = conv_case(case)
        x, w = rng.integers(-99, 100, x_shape), bipolar(rng, *w_shape).astype(np.int64)
        w = w if "bit" in op else w * rng.integers(1, 6, w_shape)
        sums = conv2d(x, w, **options, pad_value=1)
        packed = pack_floats(w.astype(np.float32), op, isa, options["groups"])
        for dtype in (np.float32, np.float64):
            got = _kernels.float_linear(
                x.astype(np.float32), packed, dtype=dtype, isa=isa, pad_value=1, **options
            )
            assert got.dtype == dtype
            assert (got == sums).all()


@variants("float_bit")
def test_float_bit_convolves_whole_numbers_exactly(isa, rng):
    check_whole_numbers("float_bit", isa, rng)


@variants("float_bit_single")
def test_float_bit_single_convolves_whole_numbers_exactly(isa, rng):
    check_whole_numbers("float_bit_single", isa, rng)


@variants("float_float")
def test_float_float_convolves_whole_numbers_exactly(isa, rng):
    check_whole_numbers("float_float", isa, rng)


@variants("float_float_single")
def test_float_float_single_convolves_whole_numbers_exactly(isa, rng):
    check_whole_numbers("float_float_single", isa, rng)


@pytest.mark.parametrize("op", FLOAT_OPS)
def test_floats_give_the_same_bits_on_every_vector_unit_batch_and_thread(op, rng):
    """Values of very different size, so that every other order would round differently."""
    size = np.exp2(rng.integers(-60, 60, (50, 333)))
    x = (rng.standard_normal((50, 333)) * size).astype(np.float32)
    w = rng.standard_normal((19, 333)).astype(np.float32)
    results = []
    for isa in _kernels.available_isas():
        packed = pack_floats(w, op, isa)
        whole = _kernels.float_linear(x, packed, isa=isa, threads=3)
        alone = [_kernels.float_linear(x[i : i + 1], packed, isa=isa) for i in (0, 17, 49)]
        assert (np.concatenate(alone) == whole[[0, 17, 49]]).all()
        results.append(whole)
    assert all((result == results[0]).all() for result in results)


@pytest.mark.parametrize("op", ["float_bit", "float_float"])
@pytest.mark.parametrize("K", [1, 2, 3, 4, 5, 63, 64, 65, 67, 128, 333])
def test_cancelling_sums_are_added_in_the_order_of_the_reference(op, K, rng):
    """The sums of doubles themselves, of values so different in size that any order shows."""
    size = np.exp2(rng.integers(-60, 60, (50, K)))
    x = (rng.standard_normal((50, K)) * size).astype(np.float32)
    x[:, K // 2 :] = -x[:, : K - K // 2]
    w = rng.standard_normal((19, K)).astype(np.float32)
    meant = (np.sign(w) if op == "float_bit" else w).astype(np.float64)
    expected = window_sums(x.astype(np.float64), meant)
    for isa in _kernels.available_isas():
        got = _kernels.float_linear(x, pack_floats(w, op, isa), dtype=np.float64, isa=isa)
        assert (got == expected).all()


@pytest.mark.parametrize("op", ["float_bit", "float_float"])
def test_sums_of_floats_are_rounded_once(op, rng):
    x = rng.standard_normal((33, 500)).astype(np.float32)
    w = rng.standard_normal((21, 500)).astype(np.float32)
    wide = (np.sign(w) if "bit" in op else w).astype(np.float64)
    expected = (x.astype(np.float64) @ wide.T).astype(np.float32)
    for isa in _kernels.available_isas():
        assert (_kernels.float_linear(x, pack_floats(w, op, isa), isa=isa) == expected).all()


def test_lookups_name_what_is_wrong(rng):
    w, x = bipolar(rng, 3, 70), np.zeros((2, 70), np.uint8)
    words, packed, meaning = bits.pack(w), pack(w, "byte_bit", "auto"), np.zeros(256, np.int16)
    meaning[9] = 512
    for call, text in (
        (lambda: _kernels.byte_bit(x, meaning, packed), "values of the stated set only"),
        (lambda: _kernels.byte_bit(x, meaning[:9], packed), r"map\.shape: got \(9,\), expected \("),
        (lambda: _kernels.byte_bit(x[:, :9].copy(), meaning, packed), r"x\.shape\[1\]: got 9"),
        (lambda: _kernels.byte_bit(x, meaning, words), "w: got 'ndarray', expected weights for by"),
        (lambda: _kernels.float_linear(x.astype(np.float32), packed), "w: got 'byte_bit', expecte"),
        (
            lambda: _kernels.pack_lookup_weights(words, (3,), "byte_bit"),
            r"shape: got \(3,\), expected \(N, K\) or",
        ),
        (
            lambda: _kernels.pack_lookup_weights(words, (3, 2, 70), "byte_bit"),
            r"expected \(N, K\) or",
        ),
        (
            lambda: _kernels.pack_float_weights(w.astype(np.float32)[0]),
            r"w\.shape: got \(70,\), expected \(N, K\) or",
        ),
    ):
        with pytest.raises(KernelError, match=text):
            call()
