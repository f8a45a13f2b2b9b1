"""Convolutions against shifted int64 products on plain values."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_meaning import (
    CONVOLUTIONS,
    SEED,
    bipolar,
    compare,
    conv2d,
    conv_case,
    integers,
    ternary,
    thresholds_near,
    variants,
)

from bnnsim.engine import _kernels
from bnnsim.errors import KernelError
from bnnsim.graph import bits

each_convolution = pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)


@pytest.fixture
def rng():
    return np.random.default_rng(SEED)


@variants("conv2d_bit")
@each_convolution
@pytest.mark.parametrize("pad_value", [-1, 0, 1])
def test_conv2d_bit_equals_shifted_products(isa, case, pad_value, rng):
    options, x_shape, w_shape = conv_case(case)
    x, w = bipolar(rng, *x_shape), bipolar(rng, *w_shape)
    out = _kernels.conv2d_bit(
        bits.pack(x), bits.pack(w), x_shape[3], **options, pad_value=pad_value, isa=isa
    )
    assert out.dtype == np.int32
    assert (out == conv2d(x, w, **options, pad_value=pad_value)).all()


@variants("conv2d_bit")
def test_packed_conv_weights_serve_many_calls(isa, rng):
    w = bipolar(rng, 41, 3, 3, 70)
    weights = _kernels.pack_conv_weights(bits.pack(w), 70, isa=isa)
    assert weights.kernel == f"bnn_conv2d_bit_{isa}"
    assert (weights.K, weights.channels) == (630, 70)
    for size in ((3, 3), (4, 8), (9, 5)):
        x = bipolar(rng, 1, *size, 70)
        out = _kernels.conv2d_bit(bits.pack(x), weights, 70, pads=(1, 1, 1, 1))
        assert (out == conv2d(x, w, pads=(1, 1, 1, 1))).all()


@variants("conv2d_bit")
def test_conv2d_bit_constant_images(isa):
    for value in (1, -1):
        x, w = np.full((1, 4, 5, 65), value, np.int8), np.ones((9, 3, 3, 65), np.int8)
        out = _kernels.conv2d_bit(bits.pack(x), bits.pack(w), 65, pads=(1, 1, 1, 1), isa=isa)
        assert (out == conv2d(x, w, pads=(1, 1, 1, 1))).all()
        assert out[0, 1, 1, 0] == value * 9 * 65
        assert out[0, 0, 0, 0] == value * 4 * 65


@variants("conv2d_bit_threshold")
@each_convolution
@pytest.mark.parametrize("pad_value", [-1, 0, 1])
def test_conv2d_bit_threshold_compares_every_sum(isa, case, pad_value, rng):
    assert _kernels.select("conv2d_bit_threshold", isa)[1] == isa
    options, x_shape, w_shape = conv_case(case)
    x, w = bipolar(rng, *x_shape), bipolar(rng, *w_shape)
    sums, K = conv2d(x, w, **options, pad_value=pad_value), w[0].size
    t, direction = thresholds_near(rng, sums, K)
    packed = _kernels.pack_thresholds(t, direction, K)
    out = _kernels.conv2d_bit_threshold(
        bits.pack(x), bits.pack(w), packed, x_shape[3], **options, pad_value=pad_value, isa=isa
    )
    assert (out == bits.pack(compare(sums, t, direction))).all()


@variants("conv2d_bit_threshold")
@pytest.mark.parametrize("columns", [1, 3, 4, 5, 7, 8, 9, 13])
def test_conv2d_bit_threshold_walks_rows_of_any_width(isa, columns, rng):
    x, w = bipolar(rng, 2, 5, columns, 64), bipolar(rng, 70, 3, 3, 64)
    sums = conv2d(x, w, pads=(1, 1, 1, 1))
    t, direction = thresholds_near(rng, sums, 576)
    packed = _kernels.pack_thresholds(t, direction, 576)
    x_words, w_words = bits.pack(x), bits.pack(w)
    same = {"pads": (1, 1, 1, 1), "isa": isa}
    assert (_kernels.conv2d_bit(x_words, w_words, 64, **same) == sums).all()
    out = _kernels.conv2d_bit_threshold(x_words, w_words, packed, 64, **same)
    assert (out == bits.pack(compare(sums, t, direction))).all()


@variants("conv2d_int")
@each_convolution
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int32])
def test_conv2d_int_equals_shifted_products(isa, case, dtype, rng):
    options, x_shape, w_shape = conv_case(case)
    x, w = integers(rng, dtype, *x_shape), ternary(rng, *w_shape)
    w[0] = integers(rng, np.int8, *w_shape[1:]) if dtype == np.uint8 else w[0]
    out = _kernels.conv2d_int(x, w, **options, pad_value=-3, isa=isa)
    assert (out == conv2d(x, w, **options, pad_value=-3)).all()


@variants("conv2d_int_bit")
@each_convolution
@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.int32])
def test_conv2d_int_bit_equals_shifted_products(isa, case, dtype, rng):
    options, x_shape, w_shape = conv_case(case)
    x, w = integers(rng, dtype, *x_shape), bipolar(rng, *w_shape)
    out = _kernels.conv2d_int_bit(x, bits.pack(w), **options, pad_value=127, isa=isa)
    assert (out == conv2d(x, w, **options, pad_value=127)).all()


@variants("conv2d_byte")
@each_convolution
@pytest.mark.parametrize(("dtype", "pad_value"), [(np.uint8, 0), (np.uint8, 255), (np.int8, -77)])
def test_conv2d_byte_equals_shifted_products(isa, case, dtype, pad_value, rng):
    options, x_shape, w_shape = conv_case(case)
    x, w = integers(rng, dtype, *x_shape), integers(rng, np.int8, *w_shape)
    weights = _kernels.pack_conv_byte_weights(w, groups=options["groups"], isa=isa)
    out = _kernels.conv2d_byte(x, weights, **options, pad_value=pad_value)
    assert weights.kernel == f"bnn_conv2d_byte_{isa}"
    assert (out == conv2d(x, w, **options, pad_value=pad_value)).all()


@variants("conv2d_byte")
@pytest.mark.parametrize(("dtype", "pad_value"), [(np.uint8, -1), (np.uint8, 256), (np.int8, 128)])
def test_conv2d_byte_takes_pad_values_of_its_type(isa, dtype, pad_value):
    x, w = np.zeros((1, 2, 2, 1), dtype), np.zeros((1, 1, 1, 1), np.int8)
    with pytest.raises(KernelError, match="values of the stated set"):
        _kernels.conv2d_byte(x, w, pad_value=pad_value, isa=isa)


@pytest.mark.parametrize("dtype", [np.int32])
def test_conv2d_int_overflow_is_an_error(dtype):
    x, w = np.full((1, 1, 1, 2), 2**30, dtype), np.ones((1, 1, 1, 2), np.int8)
    with pytest.raises(KernelError, match="results that fit the output type"):
        _kernels.conv2d_int(x, w)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"channels": 64}, r"x\.shape\[3\]: got 2, expected 1|w\.shape\[3\]: got 2, expected 1"),
        ({"groups": 3}, r"groups: got 3, expected a divisor of 100 input channels and 4 output"),
        ({"groups": 0}, r"groups: got 0, expected an integer from 1"),
        ({"stride": (0, 1)}, r"stride: got 0, expected an integer from 1"),
        ({"stride": (1,)}, r"stride: got \(1,\), expected 2 integers"),
        ({"pads": (1, 1)}, r"pads: got \(1, 1\), expected 4 integers"),
        ({"pads": (0, 0, -1, 0)}, r"pads: got -1, expected an integer from 0"),
        ({"dilation": (9, 1)}, r"expected a window that fits"),
        ({"dilation": (2**62 - 1, 1)}, r"expected a window that fits"),
        ({"pad_value": 2}, r"expected pad_value -1, 0 or \+1"),
        ({"pad_value": 0.5}, r"pad_value: got 0\.5, expected an integer"),
        ({"x": np.zeros((1, 5, 5, 2), np.int32)}, r"x\.dtype: got 'int32', expected uint64"),
        ({"x": np.full((1, 5, 5, 2), 1 << 63, np.uint64)}, r"zero bits past the last element"),
        ({"w": np.zeros((4, 3, 3), np.uint64)}, r"w\.shape: got \(4, 3, 3\), expected 4 dim"),
    ],
)
def test_conv2d_bit_names_what_is_wrong(change, text):
    good = {
        "x": np.zeros((1, 5, 5, 2), np.uint64),
        "w": np.zeros((4, 3, 3, 2), np.uint64),
        "channels": 100,
    }
    with pytest.raises(KernelError, match=text):
        _kernels.conv2d_bit(**(good | change))
