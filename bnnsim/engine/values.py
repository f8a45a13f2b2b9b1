"""How tensors lie in memory while the engine runs: packed bits, two planes, or plain numpy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from bnnsim.engine import _kernels
from bnnsim.graph.dtypes import BIT, DType

Array = np.ndarray


@dataclass(frozen=True, slots=True, eq=False)
class Bits:
    """Values in {-1, +1}: uint64 words of shape (..., words(channels))."""

    words: Array
    channels: int

    def __len__(self) -> int:
        return len(self.words)


@dataclass(frozen=True, slots=True, eq=False)
class Planes:
    """Values in {-1, 0, +1}: a sign and a nonzero mask, each of shape (..., words(channels))."""

    sign: Array
    mask: Array
    channels: int

    def __len__(self) -> int:
        return len(self.sign)


@dataclass(frozen=True, slots=True, eq=False)
class Pixels:
    """Bytes that stand for the integers ``mul * raw + add``, so that sums can be of bytes."""

    raw: Array
    mul: int
    add: int
    dtype: np.dtype

    def __len__(self) -> int:
        return len(self.raw)


Value: TypeAlias = "Array | Bits | Planes | Pixels"


@dataclass(frozen=True, slots=True)
class Buffer:
    """One of the arrays that a tensor lies in: shape and dtype for one image."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of one image."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True, slots=True)
class Form:
    """How a tensor lies in memory, known before there are values.

    Parameters
    ----------
    kind : str
        ``array``, ``bits``, ``planes`` or ``pixels``: which of the values above it is.
    shape : tuple of int
        Elements of one image.
    dtype : numpy.dtype
        Of the elements.
    mul, add : int
        Of pixels.
    """

    kind: str
    shape: tuple[int, ...]
    dtype: np.dtype
    mul: int = 1
    add: int = 0

    @property
    def channels(self) -> int:
        """Elements along the last axis."""
        return self.shape[-1]

    @property
    def rows(self) -> int:
        """Pixels of one image; 1 for a vector."""
        return math.prod(self.shape[:-1])

    @property
    def buffers(self) -> tuple[Buffer, ...]:
        """The arrays that hold it: two for planes."""
        if self.kind == "array":
            return (Buffer(self.shape, self.dtype),)
        if self.kind == "pixels":
            return (Buffer(self.shape, np.dtype(np.uint8)),)
        words = Buffer((*self.shape[:-1], -(-self.channels // 64)), np.dtype(np.uint64))
        return (words,) if self.kind == "bits" else (words, words)

    def value(self, arrays: Sequence[Array]) -> Value:
        """Return the value that ``arrays`` hold, which have a leading axis for the images."""
        first = arrays[0]
        if self.kind == "array":
            return first
        if self.kind == "pixels":
            return Pixels(first, self.mul, self.add, self.dtype)
        if self.kind == "bits":
            return Bits(first, self.channels)
        return Planes(first, arrays[1], self.channels)


def form_of(dtype: DType, shape: tuple[int, ...]) -> Form:
    """Return how tensors of a dtype lie in memory where nothing says otherwise."""
    if not dtype.is_light:
        return Form("array", shape, dtype.numpy)
    return Form("bits" if dtype == BIT else "planes", shape, dtype.numpy)


def arrays_of(value: Value) -> tuple[Array, ...]:
    """Return the arrays that hold a value."""
    if isinstance(value, Bits):
        return (value.words,)
    if isinstance(value, Planes):
        return (value.sign, value.mask)
    return (value.raw,) if isinstance(value, Pixels) else (value,)


def shape_of(value: Value) -> tuple[int, ...]:
    """Return the shape of a value's elements, whatever form they lie in."""
    if isinstance(value, Bits):
        return (*value.words.shape[:-1], value.channels)
    if isinstance(value, Planes):
        return (*value.sign.shape[:-1], value.channels)
    shape: tuple[int, ...] = (value.raw if isinstance(value, Pixels) else value).shape
    return shape


def bytes_of(value: Value) -> int:
    """Return the bytes that a value takes in memory."""
    return sum(array.nbytes for array in arrays_of(value))


def to_value(dense: Array, dtype: DType, isa: str) -> Value:
    """Return dense values in the form that tensors of ``dtype`` have in the engine."""
    if not dtype.is_light:
        return np.ascontiguousarray(dense, dtype.numpy)
    channels = dense.shape[-1]
    flat = np.ascontiguousarray(dense.reshape(-1, channels), np.int8)
    lead = dense.shape[:-1]
    if dtype == BIT:
        return Bits(_kernels.pack_sign(flat, isa=isa).reshape(*lead, -1), channels)
    sign, mask = _kernels.pack_ternary(flat, isa=isa)
    return Planes(sign.reshape(*lead, -1), mask.reshape(*lead, -1), channels)


def to_dense(value: Value, isa: str) -> Array:
    """Return the numpy array of a value; bits and ternaries become int8."""
    if isinstance(value, Pixels):
        return (value.raw.astype(np.int64) * value.mul + value.add).astype(value.dtype)
    if isinstance(value, Bits):
        lead, words = value.words.shape[:-1], value.words.shape[-1]
        flat = _kernels.unpack_bit(value.words.reshape(-1, words), value.channels, isa=isa)
        return flat.reshape(*lead, value.channels)
    if isinstance(value, Planes):
        lead, words = value.sign.shape[:-1], value.sign.shape[-1]
        planes = (value.sign.reshape(-1, words), value.mask.reshape(-1, words))
        flat = _kernels.unpack_ternary(*planes, value.channels, isa=isa)
        return flat.reshape(*lead, value.channels)
    return value


def to_planes(value: Bits | Planes) -> Planes:
    """Return bits as ternaries none of which is zero; planes as they are."""
    if isinstance(value, Planes):
        return value
    words = value.words.shape[-1]
    row = np.full(words, ~np.uint64(0))
    tail = value.channels % 64
    if tail:
        row[-1] = (np.uint64(1) << np.uint64(tail)) - np.uint64(1)
    mask = np.ascontiguousarray(np.broadcast_to(row, value.words.shape))
    return Planes(value.words, mask, value.channels)
