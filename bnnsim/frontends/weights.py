"""Recognise low-precision weights by their values, not by the class of the layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bnnsim.graph.dtypes import BIT, FLOAT32, TERNARY, DType


@dataclass(frozen=True, slots=True)
class Weight:
    """A weight tensor in the narrowest type that holds it.

    Parameters
    ----------
    values : ndarray, (N, ...)
        In ``dtype.numpy``.
    dtype : DType
        bit, ternary or float32.
    scale : ndarray, (N,) float32, or None
        The weights are ``values * scale`` per output channel; None means 1.
    """

    values: np.ndarray
    dtype: DType
    scale: np.ndarray | None = None


def classify(weight: np.ndarray) -> Weight:
    """Return the narrowest exact form of a float weight of shape (N, ...).

    {-1, +1} gives bits, {-1, 0, +1} ternary values; {-a, +a} and {-a, 0, +a} with one a > 0 per
    output channel the same with a scale. A channel of a single weight is no evidence for a scale.
    """
    size = np.abs(weight).reshape(len(weight), -1)
    scale = size.max(axis=1)
    scale[scale == 0] = 1
    if not ((size == 0) | (size == scale[:, None])).all():
        return Weight(weight.astype(np.float32), FLOAT32)
    if (scale != 1).any() and size.shape[1] == 1:
        return Weight(weight.astype(np.float32), FLOAT32)
    dtype = TERNARY if (size == 0).any() else BIT
    values = np.sign(weight).astype(dtype.numpy)
    return Weight(values, dtype, None if (scale == 1).all() else scale.astype(np.float32))
