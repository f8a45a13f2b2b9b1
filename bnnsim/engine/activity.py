"""How bits behave while a network runs: how often they are one, and how often they change.

Counted on the packed words that the kernels read and write, tile by tile, in exact integers that
do not depend on tiles or threads. A k-bit unsigned activation counts as k bits, its binary digits;
a ternary one as two, "is +1" and "is not 0".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np

from bnnsim.engine.reference import shifted
from bnnsim.engine.step import Step
from bnnsim.engine.values import Array, Bits, Pixels, Planes, Value, shape_of
from bnnsim.graph import bits
from bnnsim.graph.dtypes import BIT, DType
from bnnsim.graph.ir import Graph, Node, Tensor
from bnnsim.graph.ops import normal_attrs

_ROWS = 255  # bits that a byte can count
_WIDEST = 8


@dataclass(frozen=True, slots=True)
class Changes:
    """How many of the compared bits differ from the one that they are compared with."""

    changed: int
    compared: int

    @property
    def fraction(self) -> float | None:
        """Return changed / compared; None where nothing was compared."""
        return self.changed / self.compared if self.compared else None


@dataclass(frozen=True, slots=True, eq=False)
class TensorActivity:
    """Bits of one activation over all images and samples of a run.

    Parameters
    ----------
    name, tensor : str
        The node that made it (``input`` for the graph's input), and the tensor.
    shape : tuple of int
        Of one image.
    bits : int
        Bits per element: k for k-bit unsigned activations, 2 for ternary ones.
    ones : ndarray, shape (bits, channels), int64
        Ones of each digit and channel. Vectors have one channel per feature.
    observed : int
        Bits seen of each digit and channel: images x height x width.
    adjacent : Changes
        Between each pixel and its right neighbour in the row; nothing is compared in vectors.
    successive : Changes
        Between each image and the next one, in the order of the input.
    """

    name: str
    tensor: str
    dtype: str
    shape: tuple[int, ...]
    bits: int
    ones: Array
    observed: int
    adjacent: Changes
    successive: Changes

    @property
    def p_one(self) -> Array:
        """Return the probability of a one by channel, (channels,) float64, mean over digits."""
        shares: Array = self.ones.sum(axis=0) / (self.bits * self.observed)
        return shares

    @property
    def constant_channels(self) -> int:
        """Return how many channels held one value all the time."""
        return int(((self.ones == 0) | (self.ones == self.observed)).all(axis=0).sum())


@dataclass(frozen=True, slots=True)
class ProductActivity:
    r"""Toggling of the product bits of a Dense or Conv2d of bits by bits.

    Weights are held in place while the output pixels t = 0, 1, ..., T - 1 of all images pass, row
    by row and image after image. Output channel o has K product bits p[t, o, k] = a[t, k] XNOR
    w[o, k], one per tap and input channel of its group. Then

        changed  = sum over o, k and t < T - 1 of [p[t, o, k] != p[t + 1, o, k]]
        compared = (T - 1) x K x output channels

    A held weight does not change a product, so [p[t] != p[t+1]] = [a[t] != a[t+1]] whatever w is.
    A tap outside the image is a constant bit where ``pad_value`` is -1 or +1. Where it is 0 there
    is no product, and pairs of pixels of which either has none are not compared.
    """

    name: str
    id: int
    changes: Changes


class ActivityCounter:
    """Watch a run (see :class:`bnnsim.engine.execute.Plan`) and count ones and changes."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._first_reader = next((n.id for n in graph.nodes if graph.inputs[0] in n.inputs), -1)
        self._ones: dict[str, Array] = {}
        self._observed: Counter[str] = Counter()
        self._adjacent: Counter[tuple[str, str]] = Counter()
        self._images, self._products = _Successions(), _Successions()
        self._lock = Lock()

    def __call__(self, first: int, step: Step, operands: Sequence[Value], made: Value) -> None:
        """Count one tile of a step: what it made and, for a layer of bits, its products."""
        node = step.node
        if node.id == self._first_reader:
            self._tensor(first, self._graph.tensor(self._graph.inputs[0]), operands[0])
        self._tensor(first, self._graph.result(node), made)
        is_linear = node.op in ("Dense", "Conv2d")
        if is_linear and isinstance(operands[0], Bits) and self._weight(node).dtype == BIT:
            x = operands[0]
            span = (first, first + len(x))
            for tap, (rows, valid) in enumerate(_passes(node, self._weight(node), x, made)):
                self._products.add((node.name, tap), span, rows, x.channels, valid)

    def _weight(self, node: Node) -> Tensor:
        return self._graph.tensor(node.inputs[1])

    def _tensor(self, first: int, tensor: Tensor, value: Value) -> None:
        planes = _planes(value, tensor.dtype)
        if not planes:
            return
        channels, images = tensor.shape[-1], len(planes[0])
        ones = np.array([ones_per_channel(words, channels) for words in planes])
        changed = compared = 0
        for digit, words in enumerate(planes):
            flat = words.reshape(images, -1)
            self._images.add((tensor.name, digit), (first, first + images), flat, tensor.size)
            if words.ndim == 4:
                changed += _differing(words[:, :, 1:], words[:, :, :-1])
                compared += images * tensor.shape[0] * (tensor.shape[1] - 1) * channels
        with self._lock:
            self._ones[tensor.name] = ones + self._ones.get(tensor.name, 0)
            self._observed[tensor.name] += planes[0].size // planes[0].shape[-1]
            self._adjacent[tensor.name, "changed"] += changed
            self._adjacent[tensor.name, "compared"] += compared

    def tensors(self) -> tuple[TensorActivity, ...]:
        """Return the activity of every activation that is bits, in execution order."""
        made = [(node.name, node.output) for node in self._graph.nodes]
        names = [("input", self._graph.inputs[0]), *made]
        return tuple(self._one(*pair) for pair in names if pair[1] in self._ones)

    def _one(self, name: str, tensor: str) -> TensorActivity:
        about, ones = self._graph.tensor(tensor), self._ones[tensor]
        adjacent = Changes(*(self._adjacent[tensor, what] for what in ("changed", "compared")))
        return TensorActivity(
            name=name,
            tensor=tensor,
            dtype=str(about.dtype),
            shape=about.shape,
            bits=len(ones),
            ones=ones,
            observed=self._observed[tensor],
            adjacent=adjacent,
            successive=self._images.of(tensor),
        )

    def products(self) -> tuple[ProductActivity, ...]:
        """Return the toggling of every layer of bits by bits, in execution order."""
        return tuple(
            ProductActivity(node.name, node.id, self._times_outputs(node))
            for node in self._graph.nodes if node.name in self._products
        )  # fmt: skip

    def _times_outputs(self, node: Node) -> Changes:
        """Return the changes of a layer's inputs as often as output channels read each of them."""
        found = self._products.of(node.name)
        times = self._weight(node).shape[0] // normal_attrs(node).get("groups", 1)
        return Changes(found.changed * times, found.compared * times)


class _Successions:
    """Bits that change from each row of a stream to the next; its tiles come in any order.

    A stream is (whose, which): totals are kept by ``whose``. Where two tiles meet, the edge that
    came first waits for the other; the very first and last rows of a stream wait in vain, and are
    replaced when the next sample begins.
    """

    def __init__(self) -> None:
        self._changed: Counter[str] = Counter()
        self._compared: Counter[str] = Counter()
        self._edges: dict[tuple[Any, ...], tuple[bool, Array, bool]] = {}
        self._lock = Lock()

    def __contains__(self, whose: str) -> bool:
        return whose in self._compared

    def of(self, whose: str) -> Changes:
        return Changes(self._changed[whose], self._compared[whose])

    def add(
        self, stream: tuple[str, int], span: tuple[int, int], rows: Array, width: int,
        valid: Array | None = None,
    ) -> None:  # fmt: skip
        """Count a tile: rows of ``width`` bits in words, (T, words), of the images in ``span``."""
        inside = np.ones(len(rows), bool) if valid is None else valid
        both = inside[1:] & inside[:-1]
        pairs = (rows[1:], rows[:-1]) if both.all() else (rows[1:][both], rows[:-1][both])
        changed, compared = _differing(*pairs), int(both.sum())
        ends = ((span[0], False, 0), (span[1], True, -1))
        with self._lock:
            for place, is_last, i in ends:
                edge = (is_last, rows[i].copy(), bool(inside[i]))
                met = self._edges.pop((*stream, place), edge)
                if met[0] == is_last:
                    self._edges[*stream, place] = edge
                elif met[2] and edge[2]:
                    changed, compared = changed + _differing(met[1], edge[1]), compared + 1
            self._changed[stream[0]] += changed
            self._compared[stream[0]] += compared * width


def _differing(a: Array, b: Array) -> int:
    return int(np.bitwise_count(a ^ b).sum(dtype=np.int64))


def ones_per_channel(words: Array, channels: int) -> Array:
    """Return how many ones each channel has, (channels,) int64, of words (..., words)."""
    rows = np.ascontiguousarray(words.reshape(-1, words.shape[-1]), "<u8").view(np.uint8)
    total = np.zeros(channels, np.int64)
    for start in range(0, len(rows), _ROWS):
        block = rows[start : start + _ROWS]
        digits = np.unpackbits(block, axis=1, count=channels, bitorder="little")
        total += np.add.reduce(digits, axis=0, dtype=np.uint8)
    return total


def _planes(value: Value, dtype: DType) -> list[Array]:
    """Return the digits of a value as words, (N, ..., words) each; none where it has no bits."""
    if isinstance(value, Bits):
        return [value.words]
    if isinstance(value, Planes):
        digits = [value.words[:, i] for i in range(value.words.shape[1])]
        if dtype.kind == "ternary":  # u is the value plus 1
            return [digits[1], digits[0] ^ bits.pack_mask(np.ones(value.channels, bool))]
        return digits if dtype.kind == "unsigned" else []
    if isinstance(value, Pixels) or dtype.kind != "unsigned" or dtype.bits > _WIDEST:
        return []
    return [bits.pack_mask((value >> digit) & 1 == 1) for digit in range(dtype.bits)]


def _passes(
    node: Node, weight: Tensor, x: Bits, made: Value
) -> Iterator[tuple[Array, Array | None]]:
    """Yield for every tap the words that its inputs hold at each output pixel, and which exist."""
    if node.op == "Dense":
        yield x.words, None
        return
    attrs, (_, *kernel, _) = normal_attrs(node), weight.shape
    size: tuple[int, int] = shape_of(made)[1:3]  # type: ignore[assignment]
    top, left, bottom, right = attrs["pads"]
    border = ((0, 0), (top, bottom), (left, right), (0, 0))
    exists = np.pad(np.ones((1, *x.words.shape[1:3], 1), bool), border)
    pad = bits.pack_mask(np.full(x.channels, attrs["pad_value"] == 1))
    padded = np.where(exists, np.pad(x.words, border), pad)
    for tap in np.ndindex(*kernel):
        rows = shifted(padded, tap, size, attrs).reshape(-1, x.words.shape[-1])
        valid = shifted(exists, tap, size, attrs).ravel()
        yield rows, None if attrs["pad_value"] else np.tile(valid, len(x))
