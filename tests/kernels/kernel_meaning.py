"""What the kernels compute, written again in numpy int64 on plain values, and test data."""

from __future__ import annotations

import numpy as np
import pytest

from bnnsim.engine import _kernels

SEED = 20161205
RAGGED = (1, 63, 64, 65, 127, 128, 129, 191, 1000)


def variants(op):
    """Parametrize a test over every kernel of an op; those that cannot run here are skipped.

    Kernels of another architecture are not in this build; test_other_targets.py runs them.
    """
    rows = [row for row in _kernels.list_kernels() if row[0] == op and row[4]]
    return pytest.mark.parametrize(
        "isa",
        [
            pytest.param(
                isa,
                id=symbol,
                marks=[] if supported else pytest.mark.skip(f"{symbol}: CPU lacks {features}"),
            )
            for _, isa, features, symbol, _compiled, supported in rows
        ],
    )


def bipolar(rng, *shape):
    """Return int8 values in {-1, +1}, more often +1, so that a swapped sign shows."""
    return np.where(rng.random(shape) < 0.6, 1, -1).astype(np.int8)


def ternary(rng, *shape):
    """Return int8 values in {-1, 0, +1}, asymmetric."""
    return rng.choice(np.array([-1, 0, 1], np.int8), size=shape, p=[0.25, 0.3, 0.45])


def integers(rng, dtype, *shape):
    """Return values over the dtype's range (int32: up to 2^20, so that sums fit)."""
    low, high = (
        (-(2**20), 2**20) if dtype == np.int32 else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    )
    return rng.integers(low, high, size=shape, endpoint=True).astype(dtype)


def matmul(a, b):
    """Return the int64 products of the rows of a (M, K) and b (N, K)."""
    return a.astype(np.int64) @ b.astype(np.int64).T


def conv2d(x, w, *, stride=(1, 1), dilation=(1, 1), pads=(0, 0, 0, 0), groups=1, pad_value=0):
    """Return the int64 NHWC convolution; taps outside the image hold pad_value."""
    top, left, bottom, right = pads
    framed = np.pad(
        x.astype(np.int64),
        [(0, 0), (top, bottom), (left, right), (0, 0)],
        constant_values=pad_value,
    )
    n, height, width, channels = framed.shape
    out_channels, R, S, per_group = w.shape
    out_h = (height - dilation[0] * (R - 1) - 1) // stride[0] + 1
    out_w = (width - dilation[1] * (S - 1) - 1) // stride[1] + 1
    out = np.zeros((n, out_h, out_w, out_channels), np.int64)
    assert channels == per_group * groups
    for o in range(out_channels):
        group = o // (out_channels // groups)
        part = framed[..., group * per_group : (group + 1) * per_group]
        for r in range(R):
            for s in range(S):
                y, v = r * dilation[0], s * dilation[1]
                taps = part[:, y : y + out_h * stride[0], v : v + out_w * stride[1]]
                taps = taps[:, :: stride[0], :: stride[1]][:, :out_h, :out_w]
                out[..., o] += taps @ w[o, r, s].astype(np.int64)
    return out


def thresholds_near(rng, sums, K):
    """Return (t, direction) per channel: a sum that occurs, one beside it, or out of all reach."""
    flat = sums.reshape(-1, sums.shape[-1])
    t = flat[rng.integers(len(flat), size=flat.shape[1]), np.arange(flat.shape[1])]
    t = t + rng.integers(-2, 3, t.shape)
    t[::9] = rng.choice([-(2**31), 2**31 - 1, K, K + 1, -K - 1], t[::9].shape)
    return t.astype(np.int32), rng.choice(np.array([-1, 1], np.int8), t.shape)


def compare(sums, t, direction):
    """Return +1 where a sum meets its channel's threshold, else -1."""
    met = np.where(direction > 0, sums >= t, sums <= t)
    return np.where(met, 1, -1).astype(np.int8)


def maxpool(x, window, stride, pads):
    """Return the NHWC maximum over the in-image taps of each window."""
    top, left, bottom, right = pads
    n, height, width, channels = x.shape
    out_h = (height + top + bottom - window[0]) // stride[0] + 1
    out_w = (width + left + right - window[1]) // stride[1] + 1
    out = np.zeros((n, out_h, out_w, channels), x.dtype)
    for i in range(out_h):
        for j in range(out_w):
            y, v = i * stride[0] - top, j * stride[1] - left
            taps = x[:, max(y, 0) : y + window[0], max(v, 0) : v + window[1]]
            out[:, i, j] = taps.max(axis=(1, 2))
    return out


# kernel, stride, dilation, pads, channels, out_channels, groups, (height, width)
CONVOLUTIONS = [
    ((1, 1), (1, 1), (1, 1), (0, 0, 0, 0), 1, 1, 1, (1, 1)),
    ((1, 1), (2, 2), (1, 1), (0, 0, 0, 0), 65, 5, 1, (6, 7)),
    ((2, 2), (1, 1), (1, 1), (0, 1, 1, 0), 63, 3, 1, (5, 4)),
    ((2, 2), (2, 2), (2, 2), (1, 0, 0, 1), 3, 7, 1, (7, 6)),
    ((3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 64, 33, 1, (5, 9)),
    ((3, 3), (1, 1), (1, 1), (2, 0, 1, 3), 65, 31, 1, (4, 5)),
    ((3, 3), (2, 1), (1, 2), (1, 2, 0, 1), 129, 40, 1, (6, 7)),
    ((3, 3), (2, 2), (2, 1), (1, 1, 1, 1), 64, 8, 2, (7, 7)),
    ((3, 3), (1, 2), (1, 1), (1, 0, 2, 1), 195, 6, 3, (5, 6)),
    ((3, 3), (1, 1), (1, 1), (1, 1, 1, 1), 65, 65, 65, (4, 4)),
    ((3, 1), (1, 1), (1, 1), (1, 0, 1, 0), 128, 10, 2, (3, 17)),
    ((5, 5), (1, 1), (1, 1), (2, 2, 2, 2), 3, 16, 1, (6, 5)),
    ((5, 5), (2, 2), (2, 2), (4, 4, 4, 4), 63, 9, 1, (9, 8)),
    ((3, 3), (1, 1), (1, 1), (3, 3, 3, 3), 1, 2, 1, (1, 1)),
]


def conv_case(case):
    """Return (options, x shape, w shape) of an entry of CONVOLUTIONS."""
    kernel, stride, dilation, pads, channels, out_channels, groups, size = case
    options = {"stride": stride, "dilation": dilation, "pads": pads, "groups": groups}
    return options, (2, *size, channels), (out_channels, *kernel, channels // groups)
