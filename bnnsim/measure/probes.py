"""What is timed to find each constant of a CPU: kernels of the engine, and memory by numpy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bnnsim import kernels
from bnnsim.engine import _kernels
from bnnsim.execution import Engine
from bnnsim.measure.timing import Work
from bnnsim.sources import load

CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
DEFAULT_CACHES = {"L1": 32 * 1024, "L2": 256 * 1024, "L3": 8 * 1024**2}
LAUNCHED = "tfc"  # four layers so small that starting them is what takes time
_LAUNCHES = 4
_ROWS = 64  # passes over a block that lies in a cache
_STREAMS = 3  # a row is read, sums are read and written
_DRAM_BYTES = 256 * 1024**2


@dataclass(frozen=True, slots=True)
class Probe:
    """Something to time.

    Parameters
    ----------
    constant : str
        Of the profile: ``macs.bit x bit``, ``operations.int32``, ``randbits``, ``L1``, ``launch``.
    what : str
        In words, for the profile.
    amount : float
        What one call does: MACs, operations, bits, bytes or launches.
    work : callable
    """

    constant: str
    what: str
    amount: float
    work: Work


def cache_sizes(folder: Path = CACHES) -> dict[str, int]:
    """Return the bytes of the data caches of the first core by name, as the system lists them."""
    found = {}
    for entry in sorted(folder.glob("index*")):
        kind, level, size = ((entry / n).read_text().strip() for n in ("type", "level", "size"))
        if kind != "Instruction" and size.endswith(("K", "M")):
            found[f"L{level}"] = int(size[:-1]) * (1024 if size[-1] == "K" else 1024**2)
    return found or dict(DEFAULT_CACHES)


def probes(isa: str, caches: dict[str, int], *, small: bool = False) -> Iterator[Probe]:
    """Yield everything that calibration times; ``small`` shapes are for trying it out."""
    rng = np.random.default_rng(0)
    scale = 8 if small else 1
    for m, n, k in ((64, 512, 2048), (256, 256, 1152), (512, 128, 576)):
        yield from _products(rng, isa, m // scale, n // scale, k // scale)
    yield from _convolutions(rng, isa, 28 // scale, 128 // scale)
    yield from _elementwise(rng, isa, (1 << 16) // scale)
    for name, size in caches.items():
        yield _cache(name, min(size // 4, _DRAM_BYTES // scale))
    yield _dram(_DRAM_BYTES // scale // scale)
    graph = load(f"zoo:{LAUNCHED}:random")
    engine, image = Engine(graph, isa=isa), np.zeros((1, *graph.tensor("input").shape), np.uint8)
    what = f"a run of the {_LAUNCHES} layers of {LAUNCHED} on one image, by layer"
    yield Probe("launch", what, _LAUNCHES, lambda: engine.run(image))


def _products(rng: np.random.Generator, isa: str, m: int, n: int, k: int) -> Iterator[Probe]:
    what, macs = f"matrix product {m} x {n} x {k}", float(m * n * k)
    bits = rng.choice(np.array([-1, 1], np.int8), (m + n, k))
    rows, weights = kernels.pack(bits[:m], isa=isa), kernels.pack_weights(bits[m:], isa=isa)
    yield Probe("macs.bit x bit", what, macs, lambda: kernels.gemm(rows, weights))
    ints, other = rng.integers(-127, 128, (2, max(m, n), k), dtype=np.int8)
    left, right = ints[:m].copy(), other[:n].copy()
    yield Probe("macs.int8 x int8", what, macs,
                lambda: _kernels.gemm_byte(left, right, isa=isa, threads=1))  # fmt: skip
    floats = rng.standard_normal((m + n, k)).astype(np.float32)
    held = _kernels.pack_float_weights(floats[m:].copy(), isa=isa)
    a = floats[:m].copy()
    yield Probe("macs.float32 x float32", what, macs,
                lambda: _kernels.float_linear(a, held, isa=isa, threads=1))  # fmt: skip


def _convolutions(rng: np.random.Generator, isa: str, side: int, channels: int) -> Iterator[Probe]:
    sign = np.array([-1, 1], np.int8)
    x = kernels.pack(rng.choice(sign, (1, side, side, channels)), isa=isa)
    w = kernels.pack_weights(rng.choice(sign, (channels, 3, 3, channels)), isa=isa)
    what = f"3 x 3 convolution of {side} x {side} x {channels} to {channels} channels"
    macs = float(side * side * 9 * channels * channels)
    yield Probe("macs.bit x bit", what, macs, lambda: kernels.conv2d(x, w, pads=(1, 1, 1, 1)))
    pixels = rng.integers(0, 256, (1, side, side, 3), dtype=np.uint8)
    taps = rng.integers(-127, 128, (channels, 3, 3, 3), dtype=np.int8)
    held = _kernels.pack_conv_byte_weights(taps, isa=isa)
    macs = float(side * side * 9 * 4 * channels)
    what = f"3 x 3 convolution of {side} x {side} x 3 (counted as 4) to {channels} channels"
    pads = (1, 1, 1, 1)
    yield Probe(
        "macs.int8 x int8",
        what,
        macs,
        lambda: _kernels.conv2d_byte(pixels, held, pads=pads, isa=isa, threads=1),
    )


def _elementwise(rng: np.random.Generator, isa: str, size: int) -> Iterator[Probe]:
    floats = rng.standard_normal((size // 256, 256)).astype(np.float32)
    sums = (floats * 100).astype(np.int32)
    yield Probe("operations.float32", f"signs of {size} floats, packed", float(size),
                lambda: kernels.pack(floats, isa=isa))  # fmt: skip
    t, direction = np.zeros(256, np.int32), np.ones(256, np.int8)
    yield Probe("operations.int32", f"thresholds on {size} sums, packed", float(size),
                lambda: _kernels.threshold_pack(sums, t, direction, isa=isa))  # fmt: skip
    words = rng.integers(0, 1 << 62, (1, 32, 32, max(1, size // 4096)), dtype=np.uint64)
    ors, two = np.zeros(words.shape[3], np.uint64), (2, 2)
    pooled = 3.0 * 16 * 16 * words.shape[3] * 64
    yield Probe(
        "operations.bit",
        "2 x 2 maximum of bits, an OR for each further tap",
        pooled,
        lambda: _kernels.maxpool_bit(words, ors, window=two, stride=two, isa=isa),
    )
    yield Probe("randbits", f"{size} draws of 8 bits by Philox, compared and packed", 8.0 * size,
                lambda: _kernels.stochastic_pack(floats, 8, seed=1, node=1, isa=isa))  # fmt: skip


def _cache(name: str, nbytes: int) -> Probe:
    """Return a sum of rows that are all the same block: it and the sums stay in the cache."""
    block = np.broadcast_to(np.ones(nbytes // 8, np.uint64), (_ROWS, nbytes // 8))
    out = np.empty(nbytes // 8, np.uint64)
    what = f"XOR of {_ROWS} blocks of {nbytes} bytes in place: {_STREAMS} streams"
    amount = float(_ROWS * _STREAMS * nbytes)
    return Probe(name, what, amount, lambda: np.bitwise_xor.reduce(block, axis=0, out=out))


def _dram(nbytes: int) -> Probe:
    block = np.ones(nbytes // 8, np.uint64)
    what = f"maximum of {nbytes} bytes that no cache holds"
    return Probe("dram", what, float(nbytes), lambda: block.max())
