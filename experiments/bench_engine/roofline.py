"""Every binary layer of two networks by itself, beside what compute and memory allow."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from bnnsim import kernels
from experiments.bench_engine.clock import Call, sampler
from experiments.bench_engine.kernel_work import SEED, bipolar, limits
from experiments.bench_engine.sampling import Row, quartiles, raw_rate

STREAMED_BYTES = {"L2": 2**18, "L3": 2**22, "memory": 2**27}


@dataclass(frozen=True, slots=True)
class Layer:
    """A binary layer, one image, thresholds to bits; a dense one has side and kernel 1."""

    net: str
    side: int
    channels: int
    out: int
    kernel: int = 3
    stride: int = 1

    @property
    def name(self) -> str:
        """What tables call it."""
        if self.side == 1:
            return f"dense {self.channels}-{self.out}"
        step = f" /{self.stride}" if self.stride > 1 else ""
        size = f"{self.side}x{self.side}x{self.channels}-{self.out}"
        return f"conv {self.kernel}x{self.kernel} {size}{step}"

    @property
    def macs(self) -> float:
        """Multiply-accumulates, padding counted."""
        side = -(-self.side // self.stride)
        return float(side * side * self.kernel**2 * self.channels * self.out)

    @property
    def bytes_moved(self) -> float:
        """Each operand once: packed inputs, weights and outputs."""
        side = -(-self.side // self.stride)
        bits = self.side**2 * self.channels + side**2 * self.out
        return (bits + self.kernel**2 * self.channels * self.out) / 8


CONVNET = tuple(
    Layer("cifar10-convnet", *shape)
    for shape in (
        (32, 128, 128), (16, 128, 256), (16, 256, 256), (8, 256, 512), (8, 512, 512),
        (1, 8192, 1024, 1), (1, 1024, 1024, 1), (1, 1024, 10, 1),
    )
)  # fmt: skip
RESNET18 = tuple(
    Layer("resnet-18 body", *shape)
    for shape in (
        (56, 64, 64), (56, 64, 128, 3, 2), (56, 64, 128, 1, 2), (28, 128, 128),
        (28, 128, 256, 3, 2), (28, 128, 256, 1, 2), (14, 256, 256), (14, 256, 512, 3, 2),
        (14, 256, 512, 1, 2), (7, 512, 512),
    )
)  # fmt: skip
LAYERS = CONVNET + RESNET18


def layer_call(layer: Layer) -> Call:
    """Return a call that runs a layer, both operands packed, thresholds inside."""
    rng = np.random.default_rng(SEED)
    words = -(-layer.out // 64)
    if layer.side == 1:
        x = kernels.pack(bipolar(rng, 1, layer.channels))
        weights = kernels.pack_weights(bipolar(rng, layer.out, layer.channels))
        t, bits = limits(rng, layer.out, weights.K), np.empty((1, words), np.uint64)
        return lambda: kernels.gemm(x, weights, thresholds=t, out=bits)
    shape = (layer.out, layer.kernel, layer.kernel, layer.channels)
    images = kernels.pack(bipolar(rng, 1, layer.side, layer.side, layer.channels))
    weights = kernels.pack_weights(bipolar(rng, *shape))
    t = limits(rng, layer.out, weights.K)
    pad = (layer.kernel // 2,) * 4
    step = (layer.stride, layer.stride)
    return lambda: kernels.conv2d(images, weights, stride=step, pads=pad, thresholds=t)


def bandwidths() -> dict[str, float]:
    """Return bytes per second read and written by copies of each size; the best of several."""
    found = {}
    for level, size in STREAMED_BYTES.items():
        a = np.ones(size // 16, np.uint64)
        b, best = np.empty_like(a), float("inf")
        repeats = max(1, 2**24 // size)
        for _ in range(9):
            start = time.perf_counter()
            for _ in range(repeats):
                np.copyto(b, a)
            best = min(best, (time.perf_counter() - start) / repeats)
        found[level] = size / best
    return found


def measure_layers(layers: tuple[Layer, ...], rounds: int) -> Row:
    """Return rates (MAC/s) of each layer, the raw loop in the same rounds, and bandwidths."""
    timed = [sampler(layer_call(layer)) for layer in layers]
    rates: list[list[float]] = [[] for _ in layers]
    shares: list[list[float]] = [[] for _ in layers]
    raws = []
    for _ in range(rounds):
        for i, layer in enumerate(layers):
            raws.append(raw_rate())
            rates[i].append(layer.macs / timed[i]())
            shares[i].append(rates[i][-1] / raws[-1])
    return {
        "raw_mac_per_s": quartiles(raws),
        "bytes_per_s": bandwidths(),
        "layers": [
            {
                "net": layer.net,
                "layer": layer.name,
                "macs": layer.macs,
                "mac_per_byte": layer.macs / layer.bytes_moved,
                "mac_per_s": quartiles(rates[i]),
                "share_of_raw_loop": quartiles(shares[i]),
            }
            for i, layer in enumerate(layers)
        ],
    }
