"""The bit layout, defined once: slow, obvious numpy that every kernel must equal.

A vector of K values in {-1, +1} is ceil(K / 64) uint64 words. Element ``64 * w + i`` is bit ``i``
of word ``w`` (bit 0 is the least significant); bit 1 means +1, bit 0 means -1, and the bits past
K are zero. Packing runs along the last axis. With zero tails in both operands a dot product is
``K - 2 * popcount(a xor b)``: equal tail bits never count as mismatches.

Integers of k bits are k such planes, of which each counts for a power of two: 0 and 1 for unsigned
ones and two's complement (whose highest plane counts negatively), -1 and +1 for the odd integers of
a bipolar grid. A dot product is a sum over pairs of planes.
"""

from __future__ import annotations

import numpy as np

from bnnsim.errors import GraphError, message
from bnnsim.graph.dtypes import DType

WORD_BITS = 64


def words_for(K: int) -> int:
    """Return the number of uint64 words that hold ``K`` bits."""
    return -(-K // WORD_BITS)


def pack(values: np.ndarray) -> np.ndarray:
    """Pack values in {-1, +1} along the last axis.

    Parameters
    ----------
    values : ndarray, shape (..., K)
        Only -1 and +1.

    Returns
    -------
    ndarray, shape (..., ceil(K / 64)), uint64

    Raises
    ------
    GraphError
        If any value is neither -1 nor +1 (a NaN, for example).
    """
    values = np.asarray(values)
    is_plus = values == 1
    if not (is_plus | (values == -1)).all():
        bad = values[~(is_plus | (values == -1))].flat[0]
        raise GraphError(message("pack", bad, "only -1 and +1", "Apply sign first."))
    return pack_mask(is_plus)


def pack_mask(mask: np.ndarray) -> np.ndarray:
    """Pack booleans of shape (..., K) into uint64 words of shape (..., ceil(K / 64))."""
    K = mask.shape[-1]
    tail = words_for(K) * WORD_BITS - K
    padded = np.pad(mask, [(0, 0)] * (mask.ndim - 1) + [(0, tail)])
    as_bytes = np.packbits(padded, axis=-1, bitorder="little")
    return np.ascontiguousarray(as_bytes).view("<u8").astype(np.uint64, copy=False)


def unpack(words: np.ndarray, K: int) -> np.ndarray:
    """Return the int8 values in {-1, +1} of shape (..., K) that ``pack`` packed."""
    return np.where(unpack_mask(words, K), np.int8(1), np.int8(-1))


def unpack_mask(words: np.ndarray, K: int) -> np.ndarray:
    """Return the booleans of shape (..., K) that ``pack_mask`` packed."""
    as_bytes = np.ascontiguousarray(words.astype("<u8", copy=False)).view(np.uint8)
    bits = np.unpackbits(as_bytes, axis=-1, bitorder="little")
    return bits[..., :K].astype(bool)


def tail_is_zero(words: np.ndarray, K: int) -> bool:
    """Return whether every bit past ``K`` is zero, as the layout demands."""
    used = K % WORD_BITS
    if used == 0 or words.size == 0:
        return True
    return not bool((words[..., -1] >> np.uint64(used)).any())


def dot(a: np.ndarray, b: np.ndarray, K: int) -> np.ndarray:
    """Return the int64 dot products of packed vectors: ``K - 2 * popcount(a xor b)``."""
    mismatches = np.bitwise_count(a ^ b).sum(axis=-1, dtype=np.int64)
    return K - 2 * mismatches


def pack_planes(values: np.ndarray, dtype: DType) -> np.ndarray:
    """Pack integers along the last axis, one plane of bits for each bit of ``dtype``.

    Parameters
    ----------
    values : ndarray, shape (..., K)
        Integers of ``dtype``: unsigned, signed or bipolar of 1 to 8 bits.

    Returns
    -------
    ndarray, shape (bits, ..., ceil(K / 64)), uint64
        Plane i holds bit i. In a bipolar grid bit 1 is +1 and bit 0 is -1, of which a value is
        the sum ``2^i s_i``; elsewhere it is 1 or 0.

    Raises
    ------
    GraphError
        If a value is none of ``dtype``.
    """
    values = np.asarray(values)
    if not (valid := dtype.valid(values)).all():
        raise GraphError(
            message("pack_planes", values[~valid].flat[0].item(), f"values of {dtype}")
        )
    wide = values.astype(np.int64)
    if dtype.kind == "bipolar":
        wide = (wide + int(dtype.high)) // 2
    return np.stack([pack_mask((wide >> i & 1).astype(bool)) for i in range(dtype.bits)])


def plane_weights(dtype: DType) -> list[int]:
    """Return what each plane of ``dtype`` counts for, plane 0 first."""
    weights = [2**i for i in range(dtype.bits)]
    if dtype.kind == "signed":
        weights[-1] = -weights[-1]
    return weights


def plane_dot(a: np.ndarray, b: np.ndarray, dtypes: tuple[DType, DType], K: int) -> np.ndarray:
    """Return the int64 dot products of integers packed by ``pack_planes``.

    Parameters
    ----------
    a, b : ndarray, (bits, ..., ceil(K / 64)) uint64
        Planes of the left and of the right operand.
    dtypes : (DType, DType)
        Theirs.
    K : int
        Elements of a dot product.

    Notes
    -----
    A pair of planes gives popcount(a and b) where both count 0 and 1, K - 2 popcount(a xor b)
    where both are signs, and 2 popcount(a and b) - popcount(a) where only b is.
    """
    signs = [dtype.kind == "bipolar" for dtype in dtypes]
    total = np.zeros(np.broadcast_shapes(a.shape[1:-1], b.shape[1:-1]), np.int64)
    for weight_a, plane_a in zip(plane_weights(dtypes[0]), a, strict=True):
        for weight_b, plane_b in zip(plane_weights(dtypes[1]), b, strict=True):
            if all(signs):
                product = dot(plane_a, plane_b, K)
            else:
                both = _ones(plane_a & plane_b)
                bare = plane_b if signs[0] else plane_a
                product = 2 * both - _ones(bare) if any(signs) else both
            total += weight_a * weight_b * product
    return total


def _ones(words: np.ndarray) -> np.ndarray:
    return np.bitwise_count(words).sum(axis=-1, dtype=np.int64)
