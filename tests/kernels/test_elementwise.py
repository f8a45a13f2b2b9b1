"""Thresholds, packing and pooling against their meaning on plain values."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_meaning import SEED, bipolar, integers, maxpool, variants

from bnnsim.engine import _kernels
from bnnsim.errors import KernelError
from bnnsim.graph import bits

WIDTHS = (1, 3, 7, 8, 9, 63, 64, 65, 127, 128, 129, 191)
INT32_ENDS = np.array([-(2**31), -(2**31) + 1, -1, 0, 1, 2**31 - 2, 2**31 - 1], np.int32)


@pytest.fixture
def rng():
    return np.random.default_rng(SEED)


def directions(rng, C):
    return np.where(rng.random(C) < 0.4, -1, 1).astype(np.int8)


def met(acc, t, direction):
    return np.where(direction > 0, acc >= t, acc <= t)


@variants("threshold_pack")
@pytest.mark.parametrize("C", WIDTHS)
def test_threshold_pack_compares_inclusively(isa, C, rng):
    acc = rng.integers(-3, 4, size=(2, 5, C)).astype(np.int32)
    t, direction = rng.integers(-3, 4, size=C).astype(np.int32), directions(rng, C)
    out = _kernels.threshold_pack(acc, t, direction, isa=isa)
    assert out.dtype == np.uint64
    assert (out == bits.pack_mask(met(acc, t, direction))).all()


@variants("threshold_pack")
@pytest.mark.parametrize("direction", [1, -1])
def test_threshold_pack_at_the_ends_of_int32(isa, direction):
    acc, t = np.meshgrid(INT32_ENDS, INT32_ENDS, indexing="ij")
    signs = np.full(len(INT32_ENDS), direction, np.int8)
    out = _kernels.threshold_pack(np.ascontiguousarray(acc), INT32_ENDS, signs, isa=isa)
    assert (out == bits.pack_mask(met(acc, t, direction))).all()


@variants("multi_threshold")
@pytest.mark.parametrize(("n", "base"), [(1, 0), (3, 0), (3, -2), (15, -8), (255, -128)])
@pytest.mark.parametrize("C", [1, 9, 65])
def test_multi_threshold_counts(isa, n, base, C, rng):
    acc = rng.integers(-300, 300, size=(6, C)).astype(np.int32)
    t = np.sort(rng.integers(-300, 300, size=(C, n)), axis=1).astype(np.int32)
    direction = directions(rng, C)
    out = _kernels.multi_threshold(acc, t, direction, base, isa=isa)
    count = met(acc[..., None], t, direction[:, None]).sum(axis=-1)
    assert out.dtype == np.int8
    assert (out == base + count).all()


@variants("multi_threshold")
def test_multi_threshold_refuses_levels_outside_int8(isa):
    acc, t = np.zeros((1, 1), np.int32), np.zeros((1, 128), np.int32)
    sign = np.ones(1, np.int8)
    assert _kernels.multi_threshold(acc, t, sign, -1, isa=isa)[0, 0] == 127
    with pytest.raises(KernelError, match="results that fit the output type"):
        _kernels.multi_threshold(acc, t, sign, 0, isa=isa)
    with pytest.raises(KernelError, match="results that fit the output type"):
        _kernels.multi_threshold(acc, t, sign, -129, isa=isa)


@pytest.mark.parametrize("value", [0, 2, -128])
def test_a_direction_is_plus_or_minus_one(value):
    acc, t = np.zeros((1, 1), np.int32), np.zeros(1, np.int32)
    sign = np.array([value], np.int8)
    with pytest.raises(KernelError, match="values of the stated set"):
        _kernels.threshold_pack(acc, t, sign)
    with pytest.raises(KernelError, match="values of the stated set"):
        _kernels.multi_threshold(acc, t[:, None], sign)


@variants("pack_sign")
@pytest.mark.parametrize("dtype", [np.int8, np.int32, np.float32])
@pytest.mark.parametrize("C", WIDTHS)
def test_pack_sign_takes_zero_as_plus(isa, dtype, C, rng):
    x = rng.integers(-2, 3, size=(3, 2, C)).astype(dtype)
    assert (_kernels.pack_sign(x, isa=isa) == bits.pack_mask(x >= 0)).all()


@variants("pack_sign")
def test_pack_sign_of_special_floats(isa):
    smallest = np.float32(1e-45)
    x = np.array([[-0.0, 0.0, np.inf, -np.inf, smallest, -smallest]], np.float32)
    assert _kernels.pack_sign(x, isa=isa)[0, 0] == 0b010111
    for at in (0, 63, 64, 99):
        x = np.zeros((2, 100), np.float32)
        x[1, at] = np.nan
        with pytest.raises(KernelError, match="numbers only, found NaN"):
            _kernels.pack_sign(x, isa=isa)


@variants("unpack_bit")
@pytest.mark.parametrize("C", WIDTHS)
def test_unpack_bit_undoes_pack(isa, C, rng):
    x = bipolar(rng, 3, 2, C)
    assert (_kernels.unpack_bit(bits.pack(x), C, isa=isa) == x).all()


@pytest.mark.parametrize("C", [1, 63, 65])
def test_unpack_refuses_a_tail(C):
    words = np.full((1, bits.words_for(C)), 2**64 - 1, np.uint64)
    with pytest.raises(KernelError, match="zero bits past the last element"):
        _kernels.unpack_bit(words, C)


POOLS = [
    ((1, 1), (1, 1), (0, 0, 0, 0)),
    ((2, 2), (2, 2), (0, 0, 0, 0)),
    ((3, 3), (2, 2), (1, 1, 1, 1)),
    ((3, 2), (1, 3), (2, 0, 1, 1)),
]


@variants("maxpool_bit")
@pytest.mark.parametrize(("window", "stride", "pads"), POOLS)
@pytest.mark.parametrize("C", [1, 64, 65, 130])
def test_maxpool_bit_mixes_or_and_and(isa, window, stride, pads, C, rng):
    x = bipolar(rng, 2, 7, 6, C)
    use_and = rng.random(C) < 0.5
    out = _kernels.maxpool_bit(
        bits.pack(x), bits.pack_mask(use_and), window=window, stride=stride, pads=pads, isa=isa
    )
    expected = np.where(
        use_and, -maxpool(-x, window, stride, pads), maxpool(x, window, stride, pads)
    )
    assert (out == bits.pack(expected)).all()


@variants("maxpool_int")
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int32])
@pytest.mark.parametrize(("window", "stride", "pads"), POOLS)
def test_maxpool_int_takes_the_largest(isa, dtype, window, stride, pads, rng):
    x = integers(rng, dtype, 2, 7, 6, 5)
    out = _kernels.maxpool_int(x, window=window, stride=stride, pads=pads, isa=isa)
    assert out.dtype == dtype
    assert (out == maxpool(x, window, stride, pads)).all()


@variants("scale_int")
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int32])
@pytest.mark.parametrize("C", [1, 7, 64, 65])
def test_scale_int_takes_the_offset_of_its_row(isa, C, dtype, rng):
    x = integers(rng, dtype, 3, 5, C)
    offset = rng.integers(-(2**31), 2**31, (4, C)).astype(np.int32)
    rows = np.resize(np.roll(offset, -2, axis=0), (15, C)).reshape(x.shape)
    exact = -3 * x.astype(np.int64) + rows
    for to in (np.uint8, np.int8, np.int16, np.int32):
        out = _kernels.scale_int(x, -3, offset, first=6, dtype=to, isa=isa)
        assert out.dtype == to
        assert (out == exact.astype(to)).all()


def test_scale_int_refuses_what_does_not_fit():
    x = np.zeros((2, 3), np.int32)
    with pytest.raises(KernelError, match=r"offset.shape\[1\]: got 2, expected 3"):
        _kernels.scale_int(x, 1, np.zeros((1, 2), np.int32))
    with pytest.raises(KernelError, match="dtype: got 'float32', expected uint8 or int8"):
        _kernels.scale_int(x, 1, np.zeros((1, 3), np.int32), dtype=np.float32)


@pytest.mark.parametrize("pads", [(2, 0, 0, 0), (0, 0, 0, 2)])
def test_a_pool_window_needs_an_in_image_tap(pads):
    options = {"window": (2, 2), "stride": (1, 1), "pads": pads}
    with pytest.raises(KernelError, match="at least one in-image tap"):
        _kernels.maxpool_bit(np.zeros((1, 3, 3, 1), np.uint64), np.zeros(1, np.uint64), **options)
    with pytest.raises(KernelError, match="at least one in-image tap"):
        _kernels.maxpool_int(np.zeros((1, 3, 3, 1), np.int8), **options)


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: _kernels.pack_sign(np.zeros((1, 1))),
            r"x\.dtype: got 'float64', expected int8 or",
        ),
        (lambda: _kernels.pack_sign(np.zeros((), np.int8)), r"1 or more dimensions"),
        (lambda: _kernels.pack_sign(np.zeros((3, 0), np.int8)), r"no empty dimension"),
        (lambda: _kernels.unpack_bit(np.zeros((1, 2), np.uint64), 64), r"got 2, expected 1"),
        (
            lambda: _kernels.threshold_pack(
                np.zeros((2, 3), np.int32), np.zeros(2, np.int32), np.ones(3, np.int8)
            ),
            r"t\.shape: got \(2,\), expected \(3,\)",
        ),
        (
            lambda: _kernels.maxpool_int(
                np.zeros((1, 2, 2, 1), np.int8), window=(3, 3), stride=(1, 1)
            ),
            r"bnn_maxpool_int_.*: .*expected a window that fits",
        ),
    ],
)
def test_elementwise_names_what_is_wrong(call, text):
    with pytest.raises(KernelError, match=text):
        call()


@variants("affine")
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int32, np.float32])
def test_affine_rounds_after_every_step(isa, dtype):
    rng = np.random.default_rng(7)
    for C in (1, 63, 65):
        x = (rng.integers(0, 2**31, (3, C)) >> 8 * (4 - np.dtype(dtype).itemsize)).astype(dtype)
        x[0, 0] = np.float32(-0.0) if dtype == np.float32 else 0
        shift, scale, bias = rng.normal(size=(3, C)).astype(np.float32)
        for which in range(8):
            terms = {"shift": shift, "scale": scale, "bias": bias}
            terms = {name: t for i, (name, t) in enumerate(terms.items()) if which >> i & 1}
            y = x.astype(np.float32)
            y = y - shift if which & 1 else y
            y = y * scale if which & 2 else y
            y = y + bias if which & 4 else y
            assert (_kernels.affine(x, isa=isa, **terms).view(np.uint32) == y.view(np.uint32)).all()
