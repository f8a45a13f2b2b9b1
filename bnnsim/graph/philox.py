"""Philox4x32-10 in numpy: random bits as a function of a counter and a key, with no state.

The same counter and key give the same 128 bits on any machine and in any order of evaluation.

References
----------
Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011, section 3.3.
Known answers: `kat_vectors` of the Random123 library, in `tests/graph/test_philox.py`.
"""

from __future__ import annotations

import numpy as np

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
KEY_STEPS = (0x9E3779B9, 0xBB67AE85)
ROUNDS = 10
BLOCK_BITS = 128
_MASK = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)


def philox4x32(counter: np.ndarray, key: tuple[int, int]) -> np.ndarray:
    """Return the output blocks of Philox4x32-10.

    Parameters
    ----------
    counter : ndarray, (n, 4) uint32
        Word 0 first.
    key : (int, int)
        Two 32-bit words, word 0 first.

    Returns
    -------
    ndarray, (n, 4) uint32
        Word 0 holds the lowest 32 of the 128 bits.
    """
    c0, c1, c2, c3 = (counter[:, i].astype(np.uint64) for i in range(4))
    first, second = (np.uint64(m) for m in MULTIPLIERS)
    for i in range(ROUNDS):
        k0, k1 = (np.uint64((k + i * step) % 2**32) for k, step in zip(key, KEY_STEPS, strict=True))
        product0, product1 = c0 * first, c2 * second  # 32 x 32 bits fit uint64
        c0, c1, c2, c3 = (
            (product1 >> _HALF) ^ c1 ^ k0,
            product1 & _MASK,
            (product0 >> _HALF) ^ c3 ^ k1,
            product0 & _MASK,
        )
    return np.stack([c0, c1, c2, c3], axis=1).astype(np.uint32)


def uniform_draws(stream: tuple[int, int, int], first: int, count: int, bits: int) -> np.ndarray:
    """Return ``count`` uniform integers below ``2**bits``, number ``first`` and those after it.

    Parameters
    ----------
    stream : (int, int, int)
        Seed below 2^64, node id and sample below 2^32.
    first, count : int
        ``first + count`` is at most 2^63.
    bits : int
        1, 2, 4, 8 or 16: a power of two, so that no draw lies across two words.

    Returns
    -------
    ndarray, (count,) uint32
        Draw e is bits ``[bits * j, bits * j + bits)`` of block ``e // (128 / bits)``, read as a
        little-endian 128-bit number, with ``j = e % (128 / bits)``.
    """
    seed, node_id, sample = stream
    per_block = BLOCK_BITS // bits
    start = first // per_block
    blocks = np.uint64(start) + np.arange(
        max(0, (first + count - 1) // per_block - start + 1), dtype=np.uint64
    )
    counter = np.empty((len(blocks), 4), np.uint32)
    counter[:, 0], counter[:, 1] = blocks & _MASK, blocks >> _HALF
    counter[:, 2], counter[:, 3] = node_id, sample
    words = philox4x32(counter, (seed % 2**32, seed >> 32))
    shifts = np.arange(0, 32, bits, dtype=np.uint32)
    draws = (words[:, :, None] >> shifts) & np.uint32(2**bits - 1)
    skipped = first - start * per_block
    found: np.ndarray = draws.reshape(-1)[skipped : skipped + count]
    return found
