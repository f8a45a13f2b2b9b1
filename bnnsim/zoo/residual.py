"""Float residual networks: normalised images in, shortcuts without parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bnnsim.graph.dtypes import FLOAT32
from bnnsim.zoo.chain import Chain


class FloatChain(Chain):
    """A sequence of float layers from a normalised float32 image, with branches that rejoin."""

    input_dtype = FLOAT32

    def float_conv(self, n: int, *, stride: int = 1) -> None:
        """Append a 3x3 convolution to ``n`` channels, zero padding 1, without bias."""
        shape = (n, 3, 3, self.shape[-1])
        attrs = {"pads": (1, 1, 1, 1), "stride": (stride, stride)}
        self._float_linear("Conv2d", "conv", shape, attrs)

    def float_dense(self, n: int) -> None:
        """Append a fully connected layer of ``n`` neurons with bias."""
        self._float_linear("Dense", "dense", (n, *self.shape), {})
        bias = self._held("bias", "bias", (n,), FLOAT32, lambda rng: rng.normal(0, 0.1, n))
        self._append("Bias", "bias", [bias])

    def relu(self) -> None:
        """Append max(x, 0)."""
        self._append("Relu", "relu")

    def average(self) -> None:
        """Append the average over height and width, as a vector."""
        self._append("GlobalAvgPool", "pool")
        self.flatten()

    def shortcut(self, channels: int, stride: int) -> None:
        """Take every ``stride``-th pixel and put zero channels evenly beside those there are."""
        height, width, before = self.shape
        if stride != 1:
            step = (stride, stride, 1)
            self._append("Slice", "slice", stop=(height, width, before), step=step)
        if channels != before:
            low = (channels - before) // 2
            self._append("PadChannels", "widen", before=low, after=channels - before - low)

    def add(self, branch: str) -> None:
        """Append the sum of the last tensor and ``branch``."""
        self._append("Add", "add", also=(branch,))

    def _float_linear(
        self, op: str, label: str, shape: tuple[int, ...], attrs: Mapping[str, Any]
    ) -> None:
        self._layer += 1
        self._spread = float(np.sqrt(2.0))
        deviation = float(np.sqrt(2 / np.prod(shape[1:])))
        weight = self._held(
            label, "weight", shape, FLOAT32, lambda rng: rng.normal(0, deviation, shape)
        )
        self._append(op, label, [weight], **attrs)


def resnet20(chain: FloatChain) -> None:
    """Three stages of three basic blocks with 16, 32 and 64 channels, then average and classes."""
    chain.float_conv(16)
    chain.batch_norm()
    chain.relu()
    for width in (16, 32, 64):
        for index in range(3):
            _basic_block(chain, width, 2 if width > 16 and index == 0 else 1)
    chain.average()
    chain.float_dense(10)


def _basic_block(chain: FloatChain, width: int, stride: int) -> None:
    source = chain.last
    chain.float_conv(width, stride=stride)
    chain.batch_norm()
    chain.relu()
    chain.float_conv(width)
    chain.batch_norm()
    branch = chain.last
    chain.go_to(source)
    chain.shortcut(width, stride)
    shortcut = chain.last
    chain.go_to(branch)
    chain.add(shortcut)
    chain.relu()
