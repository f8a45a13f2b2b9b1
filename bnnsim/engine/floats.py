"""Dense and Conv2d over floats through a BLAS: sums in float64 that are rounded once.

Windows are gathered into the rows of a matrix, block by block; which rows a block holds depends on
the layer alone, so that an image's sums are the same in every batch and on every thread.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bnnsim.engine.values import Array
from bnnsim.graph.dtypes import DType
from bnnsim.graph.elementwise import Attrs, to_dtype
from bnnsim.graph.shape_rules import window_output

DENSE_ROWS = 16  # images whose sums one call of the BLAS forms, always filled up to this
_BLOCK_BYTES = 2**21  # of gathered windows: they stay in cache until they are multiplied
Multiply = Callable[[Array], Array]


def dense(weight: Array, dtype: DType, working: type) -> Multiply:
    """Return the function from (N, K) to (N, n_out) that multiplies in the ``working`` type."""
    columns = np.ascontiguousarray(weight.astype(working).T)

    def run(x: Array) -> Array:
        if dtype.is_integer:  # exact in any order
            return to_dtype(x.astype(working) @ columns, dtype)
        whole = -(-len(x) // DENSE_ROWS) * DENSE_ROWS
        rows = np.zeros((whole, x.shape[1]), working)
        rows[: len(x)] = x
        sums = np.empty((whole, columns.shape[1]), working)
        for start in range(0, whole, DENSE_ROWS):
            block = slice(start, start + DENSE_ROWS)
            np.matmul(rows[block], columns, out=sums[block])
        return to_dtype(sums[: len(x)], dtype)

    return run


def conv2d(weight: Array, attrs: Attrs, dtype: DType, working: type) -> Multiply:
    """Return the function from (N, H, W, C) to (N, OH, OW, n_out), multiplying in ``working``."""
    n_out, height, width, channels = weight.shape
    groups, per_group = attrs["groups"], n_out // attrs["groups"]
    matrices = [
        np.ascontiguousarray(part.reshape(per_group, -1).astype(working).T)
        for part in np.split(weight, groups)
    ]
    top, left, bottom, right = attrs["pads"]
    border = ((0, 0), (top, bottom), (left, right), (0, 0))
    window = {"stride": attrs["stride"], "pads": attrs["pads"], "dilation": attrs["dilation"]}

    def run(x: Array) -> Array:
        rows, columns = window_output(x.shape[1:3], (height, width), **window)
        padded = np.pad(x, border, constant_values=attrs["pad_value"]).astype(working, copy=False)
        windows = _windows(padded, (height, width), (rows, columns), attrs)
        block = max(1, _BLOCK_BYTES // (columns * height * width * channels * 8))
        out = np.empty((len(x), rows, columns, n_out), dtype.numpy)
        for i in range(len(x)):
            for start in range(0, rows, block):
                part = slice(start, start + block)
                for g, matrix in enumerate(matrices):
                    taps = windows[i, part, ..., g * channels : (g + 1) * channels]
                    sums = taps.reshape(-1, len(matrix)) @ matrix
                    outs = slice(g * per_group, (g + 1) * per_group)
                    out[i, part, :, outs] = to_dtype(sums, dtype).reshape(
                        -1, columns, per_group
                    )
        return out

    return run


def _windows(
    padded: Array, kernel: tuple[int, int], size: tuple[int, int], attrs: Attrs
) -> Array:
    """Return a view (N, OH, OW, R, S, C) of the pixels that each output meets."""
    (stride_y, stride_x), (dilation_y, dilation_x) = attrs["stride"], attrs["dilation"]
    image, row, column, channel = padded.strides
    return np.lib.stride_tricks.as_strided(
        padded,
        (len(padded), *size, *kernel, padded.shape[3]),
        (image, row * stride_y, column * stride_x, row * dilation_y, column * dilation_x, channel),
        writeable=False,
    )
