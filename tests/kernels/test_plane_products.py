"""Products of bit planes against int64 products of plain values."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_meaning import (
    CONVOLUTIONS,
    RAGGED,
    SEED,
    bipolar,
    conv2d,
    conv_case,
    matmul,
    ternary,
    variants,
)

from bnnsim.engine import _kernels
from bnnsim.errors import KernelError
from bnnsim.graph import bits
from bnnsim.graph.dtypes import DType

GRIDS = {
    "bit": (1, -1, 2),
    "ternary": (2, -1, 1),
    "uint2": (2, 0, 1),
    "uint8": (8, 0, 1),
    "int3": (3, -4, 1),
    "bipolar2": (2, -3, 2),
    "bipolar8": (8, -255, 2),
}
WIDTHS = (1, 3, 7, 8, 9, 63, 64, 65, 127, 128, 129, 191)


@pytest.fixture
def rng():
    return np.random.default_rng(SEED)


def values(rng, name, *shape):
    """Return values of a dtype, of which the last row holds its ends in turn."""
    dtype = DType.parse(name)
    step = 2 if dtype.kind == "bipolar" else 1
    all_values = np.arange(int(dtype.low), int(dtype.high) + 1, step)
    x = rng.choice(all_values, shape).astype(dtype.numpy)
    x[-1].flat[::2], x[-1].flat[1::2] = all_values[0], all_values[-1]
    x[0] = all_values[-1]
    return x


def levels(acc, t, direction):
    """Return how many of the thresholds (N, n) each sum (..., N) meets."""
    up = (acc[..., None] >= t).sum(-1)
    return np.where(direction > 0, up, (acc[..., None] <= t).sum(-1))


@variants("pack_planes")
@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("C", WIDTHS)
def test_planes_there_and_back(isa, name, C, rng):
    x, dtype = values(rng, name, 3, 2, 5, C), DType.parse(name)
    planes = _kernels.pack_planes(x, GRIDS[name], isa=isa)
    assert planes.shape == (3, dtype.bits, 2, 5, -(-C // 64))
    if name in ("int3", "ternary"):
        meaning = bits.pack_planes(x - np.int16(dtype.low), DType("unsigned", dtype.bits))
    else:
        meaning = bits.pack_planes(x, dtype)
    assert (planes == meaning.swapaxes(0, 1)).all()
    assert (_kernels.unpack_planes(planes, C, GRIDS[name], x.dtype) == x).all()


@variants("unpack_planes")
@pytest.mark.parametrize("name", GRIDS)
def test_planes_unpack(isa, name, rng):
    for C in (*WIDTHS, 130):
        x = values(rng, name, 4, C)
        planes = _kernels.pack_planes(x, GRIDS[name], isa="ref")
        assert (_kernels.unpack_planes(planes, C, GRIDS[name], x.dtype, isa=isa) == x).all()


@variants("pack_planes")
@pytest.mark.parametrize("value", [3, -2, 127, -128])
def test_pack_planes_refuses_other_values(isa, value):
    with pytest.raises(KernelError, match="values of the stated set"):
        _kernels.pack_planes(np.array([[0, value]], np.int8), GRIDS["ternary"], isa=isa)


@variants("unpack_planes")
@pytest.mark.parametrize("C", [1, 63, 65])
def test_unpack_planes_refuses_a_tail(isa, C):
    planes = np.full((1, 2, -(-C // 64)), 2**64 - 1, np.uint64)
    with pytest.raises(KernelError, match="zero bits past the last element"):
        _kernels.unpack_planes(planes, C, GRIDS["ternary"], np.int8, isa=isa)


@variants("gemm_planes")
@pytest.mark.parametrize("weight", ["bit", "ternary", "bipolar2", "int4", "int8"])
@pytest.mark.parametrize("name", GRIDS)
def test_gemm_planes_equals_matmul(isa, name, weight, rng):
    _, chosen, _, tile_m, tile_n = _kernels.select("gemm_planes", isa)
    assert chosen == isa
    for K in RAGGED if name in ("bit", "uint2", "ternary") else (1, 65, 200):
        a, b = values(rng, name, 9, K), values(rng, weight, max(tile_n + 1, 13), K)
        planes, expected = _kernels.pack_planes(a, GRIDS[name]), matmul(a, b)
        sizes = (1, tile_n), (tile_m, max(tile_n - 1, 1)), (9, tile_n + 1), (tile_m + 1, 1), (7, 13)
        for M, N in sizes:
            packed = _kernels.pack_gemm_plane_weights(b[:N], isa)
            assert packed.kernel == f"bnn_gemm_planes_{isa}"
            out = _kernels.gemm_planes(planes[:M], packed, GRIDS[name])
            assert (out == expected[:M, :N]).all(), (K, M, N)


@variants("gemm_planes_threshold")
@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_gemm_planes_threshold_counts(isa, count, rng):
    for name, weight in (("uint2", "bit"), ("bipolar2", "int3"), ("ternary", "ternary")):
        a, b = values(rng, name, 7, 100), values(rng, weight, 67, 100)
        packed = _kernels.pack_gemm_plane_weights(b, isa)
        acc, depth = matmul(a, b), count.bit_length()
        t = np.stack([rng.choice(acc[:, n], count) for n in range(67)]).astype(np.int32)
        direction = rng.choice(np.array([-1, 1], np.int8), 67)
        limits = _kernels.pack_plane_thresholds(t, direction, packed, GRIDS[name], depth)
        planes = _kernels.pack_planes(a, GRIDS[name])
        for threads in (1, 2):
            out = _kernels.gemm_planes(
                planes, packed, GRIDS[name], thresholds=limits, threads=threads
            )
            got = _kernels.unpack_planes(out, 67, (depth, 0, 1), np.uint8)
            assert (got == levels(acc, t, direction)).all()


WINDOWS = (
    dict(),
    dict(pads=(1, 1, 1, 1)),
    dict(pads=(2, 0, 1, 3), stride=(2, 1)),
    dict(dilation=(2, 1), pads=(1, 2, 0, 1)),
    dict(dilation=(1, 2), stride=(2, 3), pads=(0, 1, 2, 2)),
    dict(groups=3, pads=(1, 1, 1, 1)),
)


@variants("conv2d_planes")
@pytest.mark.parametrize("case", WINDOWS)
def test_conv2d_planes_equals_naive(isa, case, rng):
    groups = case.get("groups", 1)
    for name, weight, pad_value in (
        ("uint2", "bit", 0), ("uint2", "int3", 3), ("ternary", "ternary", 0),
        ("bipolar2", "bipolar2", 0), ("bit", "ternary", 1), ("int3", "int8", -4),
    ):  # fmt: skip
        x, w = values(rng, name, 3, 7, 9, 33 * groups), values(rng, weight, 6 * groups, 3, 2, 33)
        expected = conv2d(x, w, pad_value=pad_value, **case)
        planes = _kernels.pack_planes(x, GRIDS[name])
        packed = _kernels.pack_conv_plane_weights(w, groups=groups, isa=isa)
        assert packed.kernel == f"bnn_conv2d_planes_{isa}"
        for threads in (1, 3):
            out = _kernels.conv2d_planes(
                planes, packed, GRIDS[name], pad_value=pad_value, threads=threads, **case
            )
            assert (out == expected).all(), (name, weight, threads)


@variants("conv2d_planes")
@pytest.mark.parametrize("case", CONVOLUTIONS, ids=str)
@pytest.mark.parametrize("pad_value", [-1, 0, 1])
def test_conv2d_planes_of_ternaries_and_bits(isa, case, pad_value, rng):
    options, x_shape, w_shape = conv_case(case)
    for make_x, make_w in ((ternary, ternary), (bipolar, ternary), (ternary, bipolar)):
        x, w = make_x(rng, *x_shape), make_w(rng, *w_shape)
        grid = GRIDS["ternary" if make_x is ternary else "bit"]
        planes = _kernels.pack_planes(x, grid)
        packed = _kernels.pack_conv_plane_weights(w, groups=options["groups"], isa=isa)
        out = _kernels.conv2d_planes(planes, packed, grid, **options, pad_value=pad_value)
        assert (out == conv2d(x, w, **options, pad_value=pad_value)).all()


@variants("conv2d_planes_threshold")
@pytest.mark.parametrize("case", WINDOWS)
def test_conv2d_planes_threshold_counts(isa, case, rng):
    groups = case.get("groups", 1)
    x = values(rng, "uint2", 3, 7, 9, 20 * groups)
    w = values(rng, "int3", 23 * groups, 3, 2, 20)
    packed = _kernels.pack_conv_plane_weights(w, groups=groups, isa=isa)
    acc = conv2d(x, w, **case)
    N = w.shape[0]
    t = np.stack([rng.choice(acc[..., n].ravel(), 3) for n in range(N)]).astype(np.int32)
    direction = rng.choice(np.array([-1, 1], np.int8), N)
    limits = _kernels.pack_plane_thresholds(t, direction, packed, GRIDS["uint2"], 2)
    planes = _kernels.pack_planes(x, GRIDS["uint2"])
    for threads in (1, 2):
        out = _kernels.conv2d_planes(
            planes, packed, GRIDS["uint2"], thresholds=limits, threads=threads, **case
        )
        got = _kernels.unpack_planes(out, N, (2, 0, 1), np.uint8)
        assert (got == levels(acc, t, direction)).all()


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (lambda k, x, w: k.pack_planes(x, (2, 0, 1)), "values of the stated set only"),
        (lambda k, x, w: k.pack_planes(x, (9, 0, 1)), "1 to 8 bits, a low and a step of 1 or 2"),
        (lambda k, x, w: k.pack_planes(x, (3, 0, 3)), "1 to 8 bits, a low and a step of 1 or 2"),
        (lambda k, x, w: k.pack_gemm_plane_weights(w * 2), "integers from -255 to 255"),
        (lambda k, x, w: k.gemm_planes(k.pack_planes(x, (3, 0, 1)), w, (2, 0, 1)), "expected 2"),
        (
            lambda k, x, w: k.pack_plane_thresholds(
                np.zeros((3, 4), np.int32), np.ones(3, np.int8), k.pack_gemm_plane_weights(w),
                (3, 0, 1), 2,
            ),
            "at most 3 per channel",
        ),
    ],
)  # fmt: skip
def test_planes_refuse(call, text):
    x = np.full((2, 70), 7, np.uint8)
    w = np.full((3, 70), 200, np.int16)
    with pytest.raises(KernelError, match=text):
        call(_kernels, x, w)


def test_planes_refuse_sums_past_int32():
    x = np.zeros((1, 8, 521), np.uint64)
    w = np.full((1, 33_344), 255, np.int16)
    with pytest.raises(KernelError, match="K within the kernel's limit"):
        _kernels.gemm_planes(x, w, (8, 0, 1))


def test_planes_refuse_set_tails_and_far_pads():
    planes = np.full((1, 2, 3, 3, 1), 7, np.uint64)
    w = np.ones((1, 2, 2, 2), np.int8)
    with pytest.raises(KernelError, match="zero bits past the last element"):
        _kernels.conv2d_planes(planes, w, (2, 0, 1))
    with pytest.raises(KernelError, match="pad_value"):
        _kernels.conv2d_planes(planes & np.uint64(3), w, (2, 0, 1), pad_value=4)
