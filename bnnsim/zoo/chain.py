"""Build a network layer by layer, with random weights or with none."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bnnsim.graph.dtypes import BIT, FLOAT32, INT8, INT32, UINT8, DType
from bnnsim.graph.growing import GrowingGraph
from bnnsim.graph.ir import Graph, Tensor

Draw = Callable[[np.random.Generator], np.ndarray]


class Chain:
    """A sequence of layers from a uint8 input (``input_dtype``).

    Random batch norms and thresholds are scaled to the spread of the sums before them, so that
    both bits occur everywhere, and a third of the batch norms have a negative gamma.

    Parameters
    ----------
    shape : tuple of int
        Of the input, without batch axis.
    rng : numpy.random.Generator or None
        None leaves every trained constant without data.
    """

    input_dtype = UINT8

    def __init__(self, shape: tuple[int, ...], rng: np.random.Generator | None) -> None:
        self._rng = rng
        self._graph = GrowingGraph(shape, self.input_dtype)
        self._last = "input"
        self._layer = 0
        self._input_rms = 1.0
        self._spread = 1.0

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of what the last layer gives."""
        return self._graph.tensors[self._last].shape

    @property
    def last(self) -> str:
        """Name of what the last layer gives."""
        return self._last

    def go_to(self, tensor: str) -> None:
        """Let the next layer read ``tensor``, which an earlier layer gave."""
        self._last = tensor

    def encode(self, table: np.ndarray, dtype: DType) -> None:
        """Map pixels through a table of 256 values."""
        held = Tensor("encode.table", (256,), dtype, True, table.astype(dtype.numpy))
        self._input_rms = float(np.sqrt(np.mean(table.astype(np.float64) ** 2)))
        self._append("Encode", "encode", [held])

    def dense(self, n: int) -> None:
        """Append a fully connected layer of ``n`` neurons with bit weights."""
        self._linear("Dense", "dense", (n, *self.shape), {})

    def conv(self, n: int, *, padding: int) -> None:
        """Append a 3x3 convolution to ``n`` channels with bit weights; padded taps are 0."""
        attrs = {"pads": (padding,) * 4, "pad_value": 0}
        self._linear("Conv2d", "conv", (n, 3, 3, self.shape[-1]), attrs)

    def pool(self) -> None:
        """Append 2x2 max-pooling."""
        self._append("MaxPool", "pool", kernel=(2, 2), stride=(2, 2))

    def flatten(self) -> None:
        """Append the step from (H, W, C) to a vector."""
        self._append("Flatten", "flatten")

    def batch_norm(self) -> None:
        """Append a batch norm with epsilon 1e-4."""
        channels, spread = self.shape[-1:], self._spread
        draws: Mapping[str, Draw] = {
            "gamma": lambda rng: (
                rng.uniform(0.5, 1.5, channels) * rng.choice([-1.0, 1.0, 1.0], channels)
            ),
            "beta": lambda rng: rng.normal(0, 0.5, channels),
            "mean": lambda rng: rng.normal(0, 0.5 * spread, channels),
            "var": lambda rng: rng.uniform(0.5, 2, channels) * spread**2,
        }
        held = [self._held("bn", role, channels, FLOAT32, draw) for role, draw in draws.items()]
        self._append("BatchNorm", "bn", held, eps=1e-4)

    def sign(self) -> None:
        """Append the binarization."""
        self._append("Quantize", "sign", quantizer="sign")

    def threshold(self) -> None:
        """Append one integer comparison per channel, ``accumulator >= t``."""
        channels, spread = self.shape[-1], self._spread
        held = [
            self._held(
                "threshold",
                "thresholds",
                (channels, 1),
                INT32,
                lambda rng: np.rint(rng.normal(0, 0.5 * spread, (channels, 1))),
            ),
            self._held("threshold", "direction", (channels,), INT8, lambda _: np.ones(channels)),
        ]
        self._append("Threshold", "threshold", held, dtype="bit")

    def match_count(self, columns: int) -> None:
        """Turn dot products over ``columns`` bits into popcounts, as FPGA networks give them."""
        self._append("IntegerAffine", "logits", mul=1, add=columns, div=2)

    def graph(self, name: str, meta: Mapping[str, Any]) -> Graph:
        """Return the verified graph."""
        return self._graph.graph(name, self._last, meta)

    def _linear(
        self, op: str, label: str, shape: tuple[int, ...], attrs: Mapping[str, Any]
    ) -> None:
        self._layer += 1
        weight = self._held(
            label,
            "weight",
            shape,
            BIT,
            lambda rng: 2 * rng.integers(0, 2, shape, np.int8) - np.int8(1),
        )
        self._spread = self._input_rms * float(np.sqrt(np.prod(shape[1:])))
        self._input_rms = 1.0  # every later layer reads bits
        self._append(op, label, [weight], **attrs)

    def _held(
        self, label: str, role: str, shape: tuple[int, ...], dtype: DType, draw: Draw
    ) -> Tensor:
        data = None if self._rng is None else draw(self._rng).astype(dtype.numpy)
        return Tensor(f"{self._name(label)}.{role}", shape, dtype, True, data)

    def _name(self, label: str) -> str:
        return f"{label}{self._layer or ''}"

    def _append(
        self,
        op: str,
        label: str,
        held: list[Tensor] | None = None,
        also: tuple[str, ...] = (),
        **attrs: Any,
    ) -> None:
        activations = (self._last, *also)
        self._last = self._graph.append(op, self._name(label), activations, held or [], attrs)
