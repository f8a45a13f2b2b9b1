"""How tensors lie in memory while the engine runs: packed bits, planes, or plain numpy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from bnnsim.engine import _kernels
from bnnsim.graph.dtypes import BIT, MAX_GRID_BITS, DType

Array = np.ndarray
# (bits, low, step): the integers low + step * u, where u has so many bits.
Grid: TypeAlias = tuple[int, int, int]
BIT_GRID: Grid = (1, -1, 2)


@dataclass(frozen=True, slots=True, eq=False)
class Bits:
    """Values in {-1, +1}: uint64 words of shape (..., words(channels))."""

    words: Array
    channels: int

    def __len__(self) -> int:
        return len(self.words)


@dataclass(frozen=True, slots=True, eq=False)
class Planes:
    """Integers on a grid, bit by bit: uint64 words of shape (N, bits, ..., words(channels))."""

    words: Array
    channels: int
    grid: Grid
    dtype: np.dtype

    def __len__(self) -> int:
        return len(self.words)


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
    grid : tuple of int, optional
        Of planes.
    """

    kind: str
    shape: tuple[int, ...]
    dtype: np.dtype
    mul: int = 1
    add: int = 0
    grid: Grid | None = None

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
        """The arrays that hold it."""
        if self.kind == "array":
            return (Buffer(self.shape, self.dtype),)
        if self.kind == "pixels":
            return (Buffer(self.shape, np.dtype(np.uint8)),)
        words = Buffer((*self.shape[:-1], -(-self.channels // 64)), np.dtype(np.uint64))
        if self.grid is None:
            return (words,)
        return (Buffer((self.grid[0], *words.shape), words.dtype),)

    def value(self, arrays: Sequence[Array]) -> Value:
        """Return the value that ``arrays`` hold, which have a leading axis for the images."""
        first = arrays[0]
        if self.kind == "array":
            return first
        if self.kind == "pixels":
            return Pixels(first, self.mul, self.add, self.dtype)
        if self.kind == "bits":
            return Bits(first, self.channels)
        assert self.grid is not None
        return Planes(first, self.channels, self.grid, self.dtype)


def grid_of(dtype: DType) -> Grid | None:
    """Return the grid of a dtype of integers of at most 8 bits, None of another."""
    if not dtype.is_integer or dtype.bits > MAX_GRID_BITS:
        return None
    return (dtype.bits, int(dtype.low), 2 if dtype.kind == "bipolar" else 1)


def form_of(dtype: DType, shape: tuple[int, ...]) -> Form:
    """Return how tensors of a dtype lie in memory where nothing says otherwise."""
    if not dtype.is_light:
        return Form("array", shape, dtype.numpy)
    if dtype == BIT:
        return Form("bits", shape, dtype.numpy)
    return Form("planes", shape, dtype.numpy, grid=grid_of(dtype))


def arrays_of(value: Value) -> tuple[Array, ...]:
    """Return the arrays that hold a value."""
    if isinstance(value, Bits):
        return (value.words,)
    if isinstance(value, Planes):
        return (value.words,)
    return (value.raw,) if isinstance(value, Pixels) else (value,)


def shape_of(value: Value) -> tuple[int, ...]:
    """Return the shape of a value's elements, whatever form they lie in."""
    if isinstance(value, Bits):
        return (*value.words.shape[:-1], value.channels)
    if isinstance(value, Planes):
        return (len(value), *value.words.shape[2:-1], value.channels)
    shape: tuple[int, ...] = (value.raw if isinstance(value, Pixels) else value).shape
    return shape


def bytes_of(value: Value) -> int:
    """Return the bytes that a value takes in memory."""
    return sum(array.nbytes for array in arrays_of(value))


def to_value(dense: Array, form: Form, isa: str) -> Value:
    """Return dense values in a form, which is not that of pixels."""
    values = np.ascontiguousarray(dense, form.dtype)
    if form.kind == "array":
        return values
    if form.grid is not None:
        words = _kernels.pack_planes(values, form.grid, isa=isa)
        return Planes(words, form.channels, form.grid, form.dtype)
    flat = values.reshape(-1, form.channels)
    words = _kernels.pack_sign(flat, isa=isa).reshape(*values.shape[:-1], -1)
    return Bits(words, form.channels)


def to_dense(value: Value, isa: str) -> Array:
    """Return the numpy array of a value; bits and ternaries become int8."""
    if isinstance(value, Pixels):
        return (value.raw.astype(np.int64) * value.mul + value.add).astype(value.dtype)
    if isinstance(value, Bits):
        lead, words = value.words.shape[:-1], value.words.shape[-1]
        flat = _kernels.unpack_bit(value.words.reshape(-1, words), value.channels, isa=isa)
        return flat.reshape(*lead, value.channels)
    if isinstance(value, Planes):
        words = np.ascontiguousarray(value.words)
        dense: Array = _kernels.unpack_planes(
            words, value.channels, value.grid, value.dtype, isa=isa
        )
        return dense
    return value
