"""Binary matrix products and convolutions on packed arrays, without a network around them.

Bits are uint64 words along the last axis: element ``64 w + i`` is bit i of word w, 1 stands for +1
and 0 for -1, and the bits past the last element are zero. Every result is exact, and the same for
every instruction set and number of threads.
"""

from __future__ import annotations

import numpy as np

from bnnsim.engine import _kernels
from bnnsim.engine._kernels import PackedThresholds, PackedWeights
from bnnsim.engine.dispatch import available_isas
from bnnsim.errors import KernelError, message

__all__ = [
    "PackedThresholds", "PackedWeights", "available_isas", "conv2d", "gemm", "pack",
    "pack_thresholds", "pack_weights", "unpack",
]  # fmt: skip


def pack(x: np.ndarray, *, isa: str = "auto") -> np.ndarray:
    """Return the signs of ``x``, packed.

    Parameters
    ----------
    x : ndarray, shape (..., C)
        int8, int32 or float32; zeros count as +1.
    isa : str
        ``auto`` (what BNNSIM_ISA names, else the best), ``ref``, ``neon``, ``avx2`` or ``avx512``.

    Returns
    -------
    ndarray, shape (..., ceil(C / 64)), uint64

    Raises
    ------
    KernelError
        If a value is NaN, or dtype or instruction set is unknown.
    """
    return _kernels.pack_sign(np.ascontiguousarray(x), isa=isa)


def unpack(words: np.ndarray, channels: int) -> np.ndarray:
    """Return packed bits (..., words) as int8 values (..., channels) of -1 and +1."""
    return _kernels.unpack_bit(np.ascontiguousarray(words), channels)


def pack_weights(weight: np.ndarray, *, groups: int = 1, isa: str = "auto") -> PackedWeights:
    """Return weights in the order in which the kernel of an instruction set reads them.

    Parameters
    ----------
    weight : ndarray, shape (N, K) for gemm or (C_out, R, S, C / groups) for conv2d
        The signs are taken, as by :func:`pack`.
    groups : int
        Of a convolution.
    isa : str
        As in :func:`pack`; the products of these weights run on it.

    Returns
    -------
    PackedWeights
        With the attributes ``kernel`` (the C function), ``isa``, ``K`` and ``nbytes``.

    Raises
    ------
    KernelError
        If the weights have another number of axes, or groups do not divide their channels.
    """
    words = pack(weight, isa=isa)
    if weight.ndim == 2:
        return _kernels.pack_gemm_weights(words, weight.shape[1], isa)
    if weight.ndim == 4:
        channels = weight.shape[3] * groups
        return _kernels.pack_conv_weights(words, channels, groups=groups, isa=isa)
    raise KernelError(message("weight.shape", weight.shape, "(N, K) or (C_out, R, S, C / groups)"))


def pack_thresholds(t: np.ndarray, direction: np.ndarray, K: int) -> PackedThresholds:
    """Return thresholds of sums over K: the bit is +1 iff sum >= t, or sum <= t downwards.

    Parameters
    ----------
    t : ndarray, shape (N,), int32
        One per output channel.
    direction : ndarray, shape (N,), int8
        +1 or -1 (downwards).
    K : int
        Terms of a sum, ``weights.K``.

    Raises
    ------
    KernelError
        If shapes differ or a direction is neither +1 nor -1.
    """
    return _kernels.pack_thresholds(t, direction, K)


def gemm(
    a: np.ndarray,
    weights: PackedWeights,
    *,
    thresholds: PackedThresholds | None = None,
    threads: int = 1,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Multiply packed rows by packed weights.

    Parameters
    ----------
    a : ndarray, shape (M, ceil(K / 64)), uint64
    weights : PackedWeights
        Of a weight of shape (N, K).
    thresholds : PackedThresholds, optional
        Compares each sum inside the kernel, so that only bits are stored.
    threads : int
    out : ndarray, optional
        Receives the result; must not overlap ``a``.

    Returns
    -------
    ndarray
        Sums (M, N) int32, or with thresholds bits (M, ceil(N / 64)) uint64.

    Raises
    ------
    KernelError
        If shapes or dtypes do not fit, or a bit past the last element is set.
    """
    if thresholds is None:
        return _kernels.gemm_bit(a, weights, weights.K, threads=threads, out=out)
    return _kernels.gemm_bit_threshold(
        a, weights, thresholds, weights.K, isa=weights.isa, threads=threads, out=out
    )


def conv2d(
    x: np.ndarray,
    weights: PackedWeights,
    *,
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    pad_value: int = 0,
    thresholds: PackedThresholds | None = None,
    threads: int = 1,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Convolve packed images (channels last) with packed weights.

    Parameters
    ----------
    x : ndarray, shape (N, H, W, ceil(C / 64)), uint64
    weights : PackedWeights
        Of a weight of shape (C_out, R, S, C / groups).
    stride, dilation : tuple of int
        Along height and width.
    pads : tuple of int
        Rows and columns added at the top, left, bottom and right.
    pad_value : int
        What they hold: -1, +1, or 0, which leaves them out of the sum.
    thresholds, threads, out
        As in :func:`gemm`.

    Returns
    -------
    ndarray
        Sums (N, OH, OW, C_out) int32, or with thresholds bits (N, OH, OW, ceil(C_out / 64)).

    Raises
    ------
    KernelError
        If shapes or dtypes do not fit, or a bit past the last element is set.
    """
    if thresholds is None:
        return _kernels.conv2d_bit(
            x, weights, weights.channels, stride=stride, dilation=dilation, pads=pads,
            groups=weights.groups, pad_value=pad_value, threads=threads, out=out,
        )  # fmt: skip
    return _kernels.conv2d_bit_threshold(
        x, weights, thresholds, weights.channels, stride=stride, dilation=dilation, pads=pads,
        groups=weights.groups, pad_value=pad_value, isa=weights.isa, threads=threads, out=out,
    )  # fmt: skip
