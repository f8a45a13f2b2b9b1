"""What a low-precision mode makes of a layer's weights: integers, and the scale that they lost."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bnnsim.graph.dtypes import BIT, FLOAT32, TERNARY, DType
from bnnsim.graph.ir import Tensor
from bnnsim.graph.quantizers import GRID, QUANTIZERS

_TWN_SHARE = 0.7


def binarized(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Return sign(weight) as bits, and alpha = mean |weight| per output channel, (C,) float32.

    References
    ----------
    Rastegari et al., "XNOR-Net", ECCV 2016, section 3.1: the scale with the least squared error.
    """
    bits = alpha = None
    if weight.data is not None:
        bits = np.where(weight.data >= 0, np.int8(1), np.int8(-1))
        size = np.abs(weight.data.astype(np.float64)).reshape(len(weight.data), -1)
        alpha = size.mean(axis=1).astype(np.float32)
    return replace(weight, dtype=BIT, data=bits), _scale(weight, alpha)


def on_levels(weight: Tensor, dtype: DType) -> tuple[Tensor, Tensor]:
    """Return the weights of a layer as bits, grid integers or ternaries, and one scale for all.

    Parameters
    ----------
    weight : Tensor
        Floats, or integers that a source was trained with.
    dtype : DType
        Bit: sign(w) times the mean of |w|. Bipolar of k bits: the odd integers next to
        ``w / max |w| * (2^k - 1)``, halves to even as the quantizer ``bipolar``, times
        ``max |w| / (2^k - 1)``; DoReFa's tanh, which shapes weights in training, has no place here.
        Ternary: sign(w) where |w| is above 0.7 times the mean of |w|, and 0 elsewhere, times the
        mean of those above.

    Returns
    -------
    levels : Tensor
    scale : Tensor, (C,) float32
        The same for every output channel.

    References
    ----------
    tensorpack, examples/DoReFa-Net/dorefa.py, ``fw`` (bits and grid of Zhou et al., arXiv
    1606.06160). larq, quantizers.py, ``ste_tern`` (0.7 mean |w| of Li, Liu, arXiv 1605.04711).
    """
    levels = scale = None
    factor = 1 / dtype.high  # of bits, whatever their values
    if weight.data is not None:
        wide = weight.data.astype(np.float64)
        levels, factor = (_ternary if dtype == TERNARY else _grid)(wide, dtype)
    if weight.data is not None or weight.dtype == BIT:
        scale = np.full(weight.shape[:1], factor, np.float32)
    return replace(weight, dtype=dtype, data=levels), _scale(weight, scale)


def _grid(wide: np.ndarray, dtype: DType) -> tuple[np.ndarray, float]:
    if dtype == BIT:
        return np.where(wide >= 0, np.int8(1), np.int8(-1)), float(np.abs(wide).mean())
    largest = float(np.abs(wide).max(initial=0)) or 1.0
    return QUANTIZERS[GRID](wide / largest, dtype), largest / dtype.high


def _ternary(wide: np.ndarray, dtype: DType) -> tuple[np.ndarray, float]:
    size = np.abs(wide)
    above = size > _TWN_SHARE * size.mean()
    factor = float(size[above].mean()) if above.any() else 1.0
    return (np.sign(wide) * above).astype(dtype.numpy), factor


def _scale(weight: Tensor, data: np.ndarray | None) -> Tensor:
    return Tensor(f"{weight.name}.alpha", weight.shape[:1], FLOAT32, True, data)
