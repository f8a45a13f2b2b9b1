"""Recognise low-precision weights by their values, not by the class of the layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bnnsim.graph.dtypes import BIT, FLOAT32, MAX_GRID_BITS, TERNARY, DType

_CLOSE = 2.0**-20  # of the largest weight: float32 rounding of 2 q / n - 1, with room
_LARGEST = 2**MAX_GRID_BITS - 1
_PROBES = 32  # weights of a row that are tried on every grid
_EVIDENCE = 4  # weights of a row that a scale of its own needs


@dataclass(frozen=True, slots=True)
class Weight:
    """A weight tensor in the narrowest type that holds it.

    Parameters
    ----------
    values : ndarray, (N, ...)
        In ``dtype.numpy``.
    dtype : DType
        bit, ternary, bipolarN, intN or float32.
    scale : ndarray, (N,) float32, or None
        The weights are ``values * scale`` per output channel; None means 1.
    """

    values: np.ndarray
    dtype: DType
    scale: np.ndarray | None = None


def classify(weight: np.ndarray) -> Weight:
    """Return the narrowest exact form of a float weight of shape (N, ...).

    {-1, +1} gives bits, {-1, 0, +1} ternary values; {-a, +a} and {-a, 0, +a} with one a > 0 per
    output channel the same with a scale. Multiples of up to 8 bits of one a, of the layer or of
    each channel, give odd integers (bipolar) or signed ones, up to float32's rounding of the
    multiples. A channel of few weights is no evidence for a scale.
    """
    size = np.abs(weight).reshape(len(weight), -1)
    scale = size.max(axis=1)
    scale[scale == 0] = 1
    coarse = bool(((size == 0) | (size == scale[:, None])).all())
    if not coarse:
        return _on_grid(weight) or Weight(weight.astype(np.float32), FLOAT32)
    if (scale != 1).any() and size.shape[1] == 1:
        return Weight(weight.astype(np.float32), FLOAT32)
    dtype = TERNARY if (size == 0).any() else BIT
    values = np.sign(weight).astype(dtype.numpy)
    return Weight(values, dtype, None if (scale == 1).all() else scale.astype(np.float32))


def _on_grid(weight: np.ndarray) -> Weight | None:
    """Return a weight as integers of up to 8 bits and scales, or None if it is no such thing."""
    rows = weight.reshape(len(weight), -1)
    if _whole(rows[:, :_PROBES], 0).all() and _whole(rows, 0).all() and abs(rows).max() <= _LARGEST:
        return _integers(rows, np.ones(len(rows)), weight.shape)
    for table in (rows.reshape(1, -1), rows):
        steps = _steps(table) if table.shape[1] >= _EVIDENCE else None
        if steps is not None and (np.abs(rows) > 1.5 * steps[:, None]).any():
            return _integers(rows, np.broadcast_to(steps, len(rows)), weight.shape)
    return None


def _steps(rows: np.ndarray) -> np.ndarray | None:
    """Return for each row the largest step of which all its values are multiples, or None."""
    peak = np.abs(rows).max(axis=1).astype(np.float64)
    peak[peak == 0] = 1
    spread = np.linspace(0, rows.shape[1] - 1, min(_PROBES, rows.shape[1])).astype(int)
    probes = rows[:, spread] / peak[:, None]
    found = np.zeros(len(rows), int)
    for multiple in range(1, _LARGEST + 1):
        left = np.flatnonzero(found == 0)
        left = left[_whole(probes[left] * multiple, multiple)]
        found[left[_whole(rows[left] / peak[left, None] * multiple, multiple)]] = multiple
        if found.all():
            return np.asarray(peak / found)
    return None


def _whole(values: np.ndarray, largest: int) -> np.ndarray:
    return np.asarray((np.abs(values - np.rint(values)) <= _CLOSE * largest).all(axis=1))


def _integers(rows: np.ndarray, steps: np.ndarray, shape: tuple[int, ...]) -> Weight | None:
    """Return the rows in steps, in the narrowest type of odd or of signed integers."""
    values = np.rint(rows.astype(np.float64) / steps[:, None]).reshape(shape)
    low, high = int(values.min()), int(values.max())
    if (values % 2 == 1).all():
        dtype = DType("bipolar", max(-low, high).bit_length())
    else:
        dtype = DType("signed", 1 + max(-low - 1, high, 1).bit_length())
        if dtype.bits > MAX_GRID_BITS:
            return None
    scale = None if (steps == 1).all() else steps.astype(np.float32)
    return Weight(values.astype(dtype.numpy), dtype, scale)


def float_remark(weight: np.ndarray, inputs: DType) -> str:
    """Return why a layer that looks binarized keeps float32 weights, or nothing.

    Parameters
    ----------
    weight : ndarray, (outputs, ...)
    inputs : DType
        Of the activations that the layer reads.
    """
    rows = weight.reshape(len(weight), -1)
    if ((rows == rows.min(1, keepdims=True)) | (rows == rows.max(1, keepdims=True))).all():
        what = "weights are two values per output channel, but not -a and +a"
        return f"{what}: the layer stays float32."
    if inputs.kind != "bipolar":
        return ""
    return (
        "its inputs are signs, its weights are floats: the layer stays float32. If they are latent "
        "weights that training code binarizes elsewhere, name it by --latent."
    )
