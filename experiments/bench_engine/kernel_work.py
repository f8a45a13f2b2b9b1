"""The products and convolutions that are timed, by ``bnnsim.kernels`` with both operands packed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np

from bnnsim import kernels
from experiments.bench_engine import peers
from experiments.bench_engine.clock import Call
from experiments.bench_engine.larq_peer import NAME, Larq
from experiments.bench_engine.sampling import OURS, Work

SEED = 20161205
BITS, AVX2 = f"{OURS} to bits", f"{OURS} avx2"


def several(threads: int) -> str:
    """Return the name of our contender on several threads."""
    return f"{OURS} {threads} threads"


def bipolar(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return np.where(rng.random(shape, np.float32) < 0.5, np.int8(1), np.int8(-1))


def limits(rng: np.random.Generator, channels: int, K: int) -> kernels.PackedThresholds:
    t = rng.integers(-50, 50, channels).astype(np.int32)
    return kernels.pack_thresholds(t, bipolar(rng, channels), K)


def products(rows: tuple[int, ...], size: int, threads: int) -> Iterator[Work]:
    """Yield products of (M, size) and (size, size) matrices of -1 and +1."""
    rng = np.random.default_rng(SEED)
    b = bipolar(rng, size, size)
    weights = kernels.pack_weights(b)
    t = limits(rng, size, weights.K)
    for M in rows:
        a = bipolar(rng, M, size)
        packed, sums = kernels.pack(a), np.empty((M, size), np.int32)
        bits = np.empty((M, -(-size // 64)), np.uint64)
        calls: dict[str, Call] = {
            OURS: partial(kernels.gemm, packed, weights, out=sums),
            BITS: partial(kernels.gemm, packed, weights, thresholds=t, out=bits),
            several(threads): partial(kernels.gemm, packed, weights, threads=threads, out=sums),
        }
        if max(rows) == M and "avx2" in kernels.available_isas():
            calls[AVX2] = partial(
                kernels.gemm, packed, kernels.pack_weights(b, isa="avx2"), out=sums
            )
        calls |= peers.product_calls(a, b, packed, kernels.pack(b))
        yield Work(f"gemm {M}x{size}x{size}", float(M) * size * size, calls)


def convolutions(
    sides: tuple[tuple[int, int], ...], threads: int, larq: Larq | None
) -> Iterator[Work]:
    """Yield 3x3 convolutions, zero padded, of one (side, side, channels) image."""
    rng = np.random.default_rng(SEED)
    for side, channels in sides:
        x, w = bipolar(rng, 1, side, side, channels), bipolar(rng, channels, 3, 3, channels)
        weights, packed = kernels.pack_weights(w), kernels.pack(x)
        sums = np.empty((1, side, side, channels), np.int32)
        bits = np.empty((1, side, side, -(-channels // 64)), np.uint64)
        ours: Any = partial(kernels.conv2d, packed, weights, pads=(1, 1, 1, 1))
        calls: dict[str, Call] = {
            OURS: partial(ours, out=sums),
            BITS: partial(ours, thresholds=limits(rng, channels, weights.K), out=bits),
            several(threads): partial(ours, threads=threads, out=sums),
        }
        calls |= peers.convolution_calls(x, w)
        macs = 9.0 * side * side * channels**2
        elsewhere = {}
        if larq is not None:
            larq.convolve(side, channels)
            elsewhere[NAME] = larq.sample
        yield Work(f"conv {side}x{side}x{channels}", macs, calls, elsewhere)
