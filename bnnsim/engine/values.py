"""How tensors lie in memory while the engine runs: packed bits, two planes, or plain numpy."""

from __future__ import annotations

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
    if isinstance(value, Bits):
        return value.words.nbytes
    if isinstance(value, Planes):
        return value.sign.nbytes + value.mask.nbytes
    return (value.raw if isinstance(value, Pixels) else value).nbytes


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
