"""The order in which float layers add, as the reference forms it and the kernels must equal it.

Products of two float32 are exact in float64, and so the bits of a sum depend on its order alone.
Only where sums cancel would another order show after the one rounding to the output dtype, yet
"only there" is not never: the order is part of the definition.
"""

from __future__ import annotations

import numpy as np

from bnnsim.graph.elementwise import Array

DENSE_ROWS = 16  # whose sums one call of the BLAS forms, always filled up to this
_CACHED = 2**15  # float64 sums that are added to at once
_WORD, _FOUR = 64, 4  # products of a word of bit weights; of one entry of a table


def are_signs(weight: Array) -> bool:
    """Return whether all weights are -1 or +1, whatever their dtype."""
    return bool(np.all(np.abs(weight) == 1))


def dense_sums(rows: Array, weight: Array) -> Array:
    """Return ``rows @ weight.T`` of a Dense: by fours with signs, else in the order of the BLAS.

    BLAS may order sums by the number of rows; blocks of one size make an image's sums the same in
    every batch and on every thread, also where they cancel.
    """
    if are_signs(weight):
        return window_sums(rows, weight)
    sums = np.empty((len(rows), len(weight)))
    for start in range(0, len(rows), DENSE_ROWS):
        block = rows[start : start + DENSE_ROWS]
        padded = np.pad(block, ((0, DENSE_ROWS - len(block)), (0, 0)))
        sums[start : start + len(block)] = (padded @ weight.T)[: len(block)]
    return sums


def window_sums(rows: Array, weight: Array) -> Array:
    """Return ``rows @ weight.T`` of float64 (P, K) and (N, K), added in the kernels' order.

    Where all weights are signs, four products are added as ``(a + b) + (c + d)``, the fours of
    every 64 in order, and the 64s in order; products past K are 0. With other weights product is
    added after product, in the order of k.
    """
    sums = np.empty((len(rows), len(weight)))
    add = _sum_of_signs if are_signs(weight) else _sum_in_order
    step = max(1, _CACHED // max(1, len(weight)))
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        sums[start : start + step] = add(np.ascontiguousarray(block.T), weight.T)
    return sums


def _sum_in_order(values: Array, weights: Array) -> Array:
    """Add the products of (K, P) with (K, N): (P, N)."""
    total = np.zeros((values.shape[1], weights.shape[1]))
    for value, weight in zip(values, weights, strict=True):
        total += np.multiply.outer(value, weight)
    return total


def _sum_of_signs(values: Array, weights: Array) -> Array:
    """Add the products of (K, P) with (K, N) by fours and by words: (P, N)."""
    fill = ((0, -len(values) % _FOUR), (0, 0))
    values, weights = np.pad(values, fill), np.pad(weights, fill)
    total = np.zeros((values.shape[1], weights.shape[1]))
    for word in range(0, len(values), _WORD):
        of_word = np.zeros_like(total)
        for four in range(word, min(word + _WORD, len(values)), _FOUR):
            a, b, c, d = map(np.multiply.outer, values[four : four + 4], weights[four : four + 4])
            of_word += (a + b) + (c + d)
        total += of_word
    return total
