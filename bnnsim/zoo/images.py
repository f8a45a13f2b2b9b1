"""Building blocks of ImageNet networks: layers of any kernel and type, joins, gates, branches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bnnsim.graph.dtypes import BIT, FLOAT32, DType
from bnnsim.zoo.residual import FloatChain

IMAGE, CLASSES = (224, 224, 3), 1000


class ImageChain(FloatChain):
    """Layers on a normalised float32 image; ``last`` and ``go_to`` make branches."""

    def conv2d(
        self,
        n: int,
        kernel: int,
        *,
        weights: DType = FLOAT32,
        stride: int = 1,
        pads: str | int = "same",
        groups: int = 1,
        pad_value: int = 0,
    ) -> None:
        """Append a convolution without bias.

        ``pads`` is a number for all sides, ``same`` for half of the kernel, or ``tensorflow``:
        what makes the result ceil(size / stride), with the odd pixel at the lower and right ends.
        """
        channels = self.shape[-1] // groups
        attrs = {
            "stride": (stride, stride),
            "pads": self._pads(kernel, stride, pads),
            "groups": groups,
            "pad_value": pad_value,
        }
        self._weighted("Conv2d", "conv", (n, kernel, kernel, channels), attrs, weights)

    def fully(self, n: int, *, weights: DType = FLOAT32) -> None:
        """Append a fully connected layer of ``n`` neurons without bias."""
        self._weighted("Dense", "dense", (n, *self.shape), {}, weights)

    def batch_norm(self) -> None:
        """Append a batch norm; what follows has a spread of about 1."""
        super().batch_norm()
        self._spread = 1.0

    def bias(self) -> None:
        """Append one bias per channel."""
        n = self.shape[-1:]
        held = self._held("bias", "bias", n, FLOAT32, lambda rng: rng.normal(0, 0.1, n))
        self._append("Bias", "bias", [held])

    def prelu(self) -> None:
        """Append max(x, 0) + slope min(x, 0), one slope per channel; some are negative."""
        n = self.shape[-1:]
        held = self._held("prelu", "slope", n, FLOAT32, lambda rng: rng.normal(0.25, 0.2, n))
        self._append("PRelu", "prelu", [held])

    def levels(self, bits: int) -> None:
        """Append DoReFa's quantizer of activations to levels of ``bits`` bits."""
        self._append("Quantize", "quantize", quantizer="dorefa", bits=bits)

    def clip(self) -> None:
        """Append min(max(x, 0), 1)."""
        self._append("Clip", "clip", low=0.0, high=1.0)

    def max_pool(self, kernel: int, stride: int, *, pads: str | int = 0) -> None:
        """Append max-pooling; ``pads`` as in `conv2d`, or ``ceil`` for whole windows at the end."""
        border = self._pads(kernel, stride, pads)
        self._append("MaxPool", "pool", kernel=(kernel,) * 2, stride=(stride,) * 2, pads=border)

    def average_pool(self, size: int) -> None:
        """Append the average of windows of ``size`` by ``size`` that do not overlap."""
        self._append("AvgPool", "pool", kernel=(size, size), stride=(size, size))

    def concat(self, branches: Sequence[str]) -> None:
        """Append the channels of ``branches`` side by side."""
        first, *others = branches
        self.go_to(first)
        self._append("Concat", "concat", also=tuple(others))

    def cast(self) -> None:
        """Append the step from integers to float32."""
        self._append("Cast", "cast", dtype="float32")

    def widen(self, before: int) -> None:
        """Append zero channels before those there are."""
        self._append("PadChannels", "widen", before=before)

    def gate(self, source: str, hidden: int) -> None:
        """Multiply each channel by what two dense layers make of the means of ``source``."""
        target, channels = self.last, self.shape[-1]
        self.go_to(source)
        self.average()
        self.fully(hidden)
        self.relu()
        self.fully(channels)
        self._append("Sigmoid", "sigmoid")
        self._append("Reshape", "reshape", shape=(1, 1, channels))
        factor = self.last
        self.go_to(target)
        self._append("Mul", "mul", also=(factor,))

    def classes(self, *, bias: bool = True) -> None:
        """Append the average over the image and the layer of the 1,000 classes."""
        self.average()
        self.fully(CLASSES)
        if bias:
            self.bias()

    def _pads(self, kernel: int, stride: int, pads: str | int) -> tuple[int, int, int, int]:
        if pads == "same":
            pads = kernel // 2
        if isinstance(pads, int):
            return (pads,) * 4
        height, width, _ = self.shape
        total = [max(0, (-(-n // stride) - 1) * stride + kernel - n) for n in (height, width)]
        if pads == "ceil":
            total = [-(n - kernel) % stride for n in (height, width)]
            return (0, 0, total[0], total[1])
        return (total[0] // 2, total[1] // 2, total[0] - total[0] // 2, total[1] - total[1] // 2)

    def _weighted(
        self, op: str, label: str, shape: tuple[int, ...], attrs: dict[str, Any], dtype: DType
    ) -> None:
        fan_in = float(np.prod(shape[1:]))
        if dtype == FLOAT32:
            self._float_linear(op, label, shape, attrs)
            return
        self._layer += 1
        self._spread = np.sqrt(fan_in)
        values = [-1, 1] if dtype == BIT else [-1, 0, 1]
        held = self._held(label, "weight", shape, dtype,
                          lambda rng: rng.choice(np.array(values, np.int8), shape))  # fmt: skip
        self._append(op, label, [held], **attrs)

    def _name(self, label: str) -> str:
        """Return a name with the layer's number, and a count where a layer has several."""
        name = super()._name(label)
        taken = {node.name for node in self._graph.nodes}
        number = 2
        while (full := name if number == 2 else f"{name}_{number - 1}") in taken:
            number += 1
        return full
