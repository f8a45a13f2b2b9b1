"""The bit layout, defined once: slow, obvious numpy that every kernel must equal.

A vector of K values in {-1, +1} is ceil(K / 64) uint64 words. Element ``64 * w + i`` is bit ``i``
of word ``w`` (bit 0 is the least significant); bit 1 means +1, bit 0 means -1, and the bits past
K are zero. Packing runs along the last axis. With zero tails in both operands a dot product is
``K - 2 * popcount(a xor b)``: equal tail bits never count as mismatches.
"""

from __future__ import annotations

import numpy as np

from bnnsim.errors import GraphError, message

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
