"""Matrix products and convolutions on packed arrays, without a network around them.

Bits are uint64 words along the last axis: element ``64 w + i`` is bit i of word w, 1 stands for +1
and 0 for -1, and the bits past the last element are zero. Weights are packed for one kind of
operand (bits, planes of bits, bytes, float32); :func:`gemm` and :func:`conv2d` take that kind.
Results of integers are exact, and the same for every instruction set and number of threads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import numpy as np

from bnnsim.engine import _kernels
from bnnsim.engine._kernels import PackedThresholds, PackedWeights
from bnnsim.engine.dispatch import available_isas
from bnnsim.engine.values import Grid, Planes, grid_of
from bnnsim.errors import KernelError, message
from bnnsim.graph.dtypes import DType

__all__ = [
    "PackedThresholds", "PackedWeights", "Planes", "available_isas", "conv2d", "gemm", "pack",
    "pack_level_thresholds", "pack_planes", "pack_thresholds", "pack_weights", "unpack",
]  # fmt: skip

_Packer: TypeAlias = Callable[[np.ndarray, int, str], PackedWeights]
_Operand = TypeVar("_Operand", np.ndarray, Planes)


def pack(x: np.ndarray, *, isa: str = "auto") -> np.ndarray:
    """Return the signs of ``x``, packed.

    Parameters
    ----------
    x : ndarray, shape (..., C)
        int8, int32 or float32; zeros count as +1.
    isa : str
        ``auto`` (what BNNSIM_ISA names, else the best), ``ref``, ``neon``, ``avx2`` or ``avx512``.

    Returns
    -------
    ndarray, shape (..., ceil(C / 64)), uint64

    Raises
    ------
    KernelError
        If a value is NaN, or dtype or instruction set is unknown.
    """
    return _kernels.pack_sign(np.ascontiguousarray(x), isa=isa)


def pack_planes(x: np.ndarray, dtype: str, *, isa: str = "auto") -> Planes:
    """Return integers of few bits, packed bit by bit.

    Parameters
    ----------
    x : ndarray, shape (M, C) or (N, H, W, C)
        uint8, int8 or int16, every value one of ``dtype``.
    dtype : str
        ``bit``, ``ternary``, or ``uintK``, ``intK``, ``bipolarK`` (odd integers) of 1 to 8 bits.
    isa : str
        As in :func:`pack`.

    Returns
    -------
    Planes
        Its ``words`` are (N, bits, ..., ceil(C / 64)) uint64: plane i holds bit i of u, a value
        being ``low + step * u``; ``grid`` is (bits, low, step).

    Raises
    ------
    KernelError
        If a value is none of ``dtype``, or ``dtype`` is of more than 8 bits.
    """
    grid = _grid(dtype)
    words = _kernels.pack_planes(np.ascontiguousarray(x), grid, isa=isa)
    return Planes(words, x.shape[-1], grid, x.dtype)


def _grid(name: str) -> Grid:
    grid = grid_of(DType.parse(name))
    if grid is None:
        rule = "bit, ternary, or uintK, intK, bipolarK with K up to 8"
        raise KernelError(message("dtype", name, rule, "Other values multiply as bytes or floats."))
    return grid


def unpack(words: np.ndarray | Planes, channels: int | None = None) -> np.ndarray:
    """Return what was packed.

    Parameters
    ----------
    words : ndarray or Planes
        Bits (..., words), or planes.
    channels : int, optional
        Elements of the last axis; needed for bits, planes know theirs.

    Returns
    -------
    ndarray, shape (..., channels)
        -1 and +1 as int8, or the integers of the planes in their dtype.
    """
    if isinstance(words, Planes):
        return _kernels.unpack_planes(words.words, words.channels, words.grid, words.dtype)
    if channels is None:
        raise KernelError(message("channels", None, "the number of elements of the last axis"))
    return _kernels.unpack_bit(np.ascontiguousarray(words), channels)


def pack_weights(
    weight: np.ndarray,
    *,
    groups: int = 1,
    isa: str = "auto",
    operand: str = "bits",
) -> PackedWeights:
    """Return weights in the order in which the kernel of an instruction set reads them.

    Parameters
    ----------
    weight : ndarray, shape (N, K) for gemm or (C_out, R, S, C / groups) for conv2d
    groups : int
        Of a convolution.
    isa : str
        As in :func:`pack`; the products of these weights run on it.
    operand : str
        What the weights will be multiplied by. ``bits`` and ``float32`` take their signs, as
        :func:`pack` does; ``planes`` takes integers from -255 to 255 (int8 or int16), ``bytes``
        int8 ones. ``fast float32`` forms sums in float32 instead of float64: faster, and their
        last bits may depend on the instruction set.

    Returns
    -------
    PackedWeights
        With the attributes ``kernel`` (the C function), ``isa``, ``K`` and ``nbytes``.

    Raises
    ------
    KernelError
        If the weights have another number of axes, groups do not divide their channels, or there
        is no such operand.
    """
    if weight.ndim not in (2, 4):
        raise KernelError(
            message("weight.shape", weight.shape, "(N, K) or (C_out, R, S, C / groups)")
        )
    if weight.ndim == 2 and groups != 1:
        raise KernelError(message("groups", groups, "1 for weights (N, K)"))
    if operand not in _PACKERS:
        raise KernelError(message("operand", operand, f"one of {', '.join(_PACKERS)}"))
    return _PACKERS[operand](np.ascontiguousarray(weight), groups, isa)


def _by_axes(product: _Packer, convolution: _Packer) -> _Packer:
    """Return a packer of weights of either shape from those of each."""

    def pack_either(weight: np.ndarray, groups: int, isa: str) -> PackedWeights:
        return (product if weight.ndim == 2 else convolution)(weight, groups, isa)

    return pack_either


def _pack_signs(op: str) -> _Packer:
    """Return a packer for products of float32 and signs by a kernel's op."""

    def pack_rows(weight: np.ndarray, groups: int, isa: str) -> PackedWeights:
        words = pack(weight.reshape(len(weight), -1), isa=isa)
        return _kernels.pack_lookup_weights(words, weight.shape, op, groups=groups, isa=isa)

    return pack_rows


_PACKERS: dict[str, _Packer] = {
    "bits": _by_axes(
        lambda w, groups, isa: _kernels.pack_gemm_weights(pack(w, isa=isa), w.shape[1], isa),
        lambda w, groups, isa: _kernels.pack_conv_weights(
            pack(w, isa=isa), w.shape[3] * groups, groups=groups, isa=isa
        ),
    ),
    "planes": _by_axes(
        lambda w, groups, isa: _kernels.pack_gemm_plane_weights(w, isa),
        lambda w, groups, isa: _kernels.pack_conv_plane_weights(w, groups=groups, isa=isa),
    ),
    "bytes": _by_axes(
        lambda w, groups, isa: _kernels.pack_gemm_byte_weights(w, isa),
        lambda w, groups, isa: _kernels.pack_conv_byte_weights(w, groups=groups, isa=isa),
    ),
    "float32": _pack_signs("float_bit"),
    "fast float32": _pack_signs("float_bit_single"),
}


def pack_thresholds(t: np.ndarray, direction: np.ndarray, K: int) -> PackedThresholds:
    """Return thresholds of sums over K: the bit is +1 iff sum >= t, or sum <= t downwards.

    Parameters
    ----------
    t : ndarray, shape (N,), int32
        One per output channel.
    direction : ndarray, shape (N,), int8
        +1 or -1 (downwards).
    K : int
        Terms of a sum, ``weights.K``.

    Raises
    ------
    KernelError
        If shapes differ or a direction is neither +1 nor -1.
    """
    return _kernels.pack_thresholds(t, direction, K)


def pack_level_thresholds(
    t: np.ndarray, direction: np.ndarray, weights: PackedWeights, dtype: str
) -> PackedThresholds:
    """Return thresholds that turn sums of products of planes into levels.

    The level of a sum is how many of its channel's thresholds it meets: sum >= t, or sum <= t
    downwards. It takes as many planes as the number n of thresholds has bits.

    Parameters
    ----------
    t : ndarray, shape (N, n), int32
    direction : ndarray, shape (N,), int8
        +1 or -1 (downwards).
    weights : PackedWeights
        With operand ``planes``.
    dtype : str
        Of the other operand, as in :func:`pack_planes`.

    Raises
    ------
    KernelError
        If shapes differ or a direction is neither +1 nor -1.
    """
    if weights.op not in ("gemm_planes", "conv2d_planes"):
        raise KernelError(message("weights", weights.op, "weights of planes", _repacked("planes")))
    bits = np.shape(t)[-1].bit_length() if np.ndim(t) else 0
    return _kernels.pack_plane_thresholds(t, direction, weights, _grid(dtype), bits)


def _repacked(operand: str) -> str:
    return f"Pack them with pack_weights(..., operand={operand!r})."


def gemm(
    a: _Operand,
    weights: PackedWeights,
    *,
    thresholds: PackedThresholds | None = None,
    threads: int = 1,
    out: np.ndarray | None = None,
) -> np.ndarray | _Operand:
    """Multiply rows by packed weights.

    Parameters
    ----------
    a : ndarray or Planes
        The operand that the weights are packed for: bits (M, ceil(K / 64)) uint64, planes of
        (M, K), or a uint8, int8 or float32 array (M, K).
    weights : PackedWeights
        Of a weight of shape (N, K).
    thresholds : PackedThresholds, optional
        Compares each sum inside the kernel, so that only bits or levels are stored: from
        :func:`pack_thresholds` for bits, from :func:`pack_level_thresholds` for planes.
    threads : int
    out : ndarray, optional
        Receives the result (of planes: their words); must not overlap ``a``.

    Returns
    -------
    ndarray or Planes
        Sums (M, N) int32, of floats float32; with thresholds bits (M, ceil(N / 64)) uint64, or
        planes of the levels.

    Raises
    ------
    KernelError
        If kinds, shapes or dtypes do not fit, or a bit past the last element is set.
    """
    x: Any = a  # kernels refuse what is no array
    if weights.op != "gemm_bit":
        return _multiply("gemm", x, weights, thresholds, {"threads": threads, "out": out})
    if thresholds is None:
        return _kernels.gemm_bit(x, weights, weights.K, threads=threads, out=out)
    return _kernels.gemm_bit_threshold(
        x, weights, thresholds, weights.K, isa=weights.isa, threads=threads, out=out
    )


def conv2d(
    x: _Operand,
    weights: PackedWeights,
    *,
    stride: tuple[int, int] = (1, 1),
    dilation: tuple[int, int] = (1, 1),
    pads: tuple[int, int, int, int] = (0, 0, 0, 0),
    pad_value: int = 0,
    thresholds: PackedThresholds | None = None,
    threads: int = 1,
    out: np.ndarray | None = None,
) -> np.ndarray | _Operand:
    """Convolve images (channels last) with packed weights.

    Parameters
    ----------
    x : ndarray or Planes
        The operand that the weights are packed for: bits (N, H, W, ceil(C / 64)) uint64, planes of
        (N, H, W, C), or a uint8, int8 or float32 array (N, H, W, C).
    weights : PackedWeights
        Of a weight of shape (C_out, R, S, C / groups).
    stride, dilation : tuple of int
        Along height and width.
    pads : tuple of int
        Rows and columns added at the top, left, bottom and right.
    pad_value : int
        What they hold; for bits -1, +1, or 0, which leaves them out of the sum.
    thresholds, threads, out
        As in :func:`gemm`.

    Returns
    -------
    ndarray or Planes
        Sums (N, OH, OW, C_out) int32, of floats float32; with thresholds bits
        (N, OH, OW, ceil(C_out / 64)), or planes of the levels.

    Raises
    ------
    KernelError
        If kinds, shapes or dtypes do not fit, or a bit past the last element is set.
    """
    images: Any = x
    window: dict[str, Any] = {
        "stride": stride, "dilation": dilation, "pads": pads, "groups": weights.groups,
        "pad_value": pad_value, "threads": threads, "out": out,
    }  # fmt: skip
    if weights.op != "conv2d_bit":
        return _multiply("conv2d", images, weights, thresholds, window)
    if thresholds is None:
        return _kernels.conv2d_bit(images, weights, weights.channels, **window)
    return _kernels.conv2d_bit_threshold(
        images, weights, thresholds, weights.channels, isa=weights.isa, **window
    )


def _multiply(
    product: str,
    x: Any,
    weights: PackedWeights,
    thresholds: PackedThresholds | None,
    options: dict[str, Any],
) -> Any:
    """Run a ``gemm`` or ``conv2d`` on other operands than bits."""
    axes = {"gemm": 2, "conv2d": 4}[product]
    if len(weights.shape) != axes:
        shape = "(N, K)" if axes == 2 else "(C_out, R, S, C / groups)"
        raise KernelError(
            message("weights", f"{len(weights.shape)} axes", f"{shape} for kernels.{product}")
        )
    family = weights.op.removeprefix(f"{product}_")
    if family == "planes":
        return _multiply_planes(product, x, weights, thresholds, options)
    if thresholds is not None:
        remedy = "Only products of bits and of planes compare their sums; compare these afterwards."
        raise KernelError(message("thresholds", "thresholds", f"none with {weights.op}", remedy))
    if family == "byte":
        kernel = _kernels.gemm_byte if product == "gemm" else _kernels.conv2d_byte
        return kernel(x, weights, **options)
    return _kernels.float_linear(x, weights, isa=weights.isa, **options)


def _multiply_planes(
    product: str,
    x: Any,
    weights: PackedWeights,
    thresholds: PackedThresholds | None,
    options: dict[str, Any],
) -> Any:
    if not isinstance(x, Planes):
        raise KernelError(
            message("operand", type(x).__name__, "Planes", "Make them with kernels.pack_planes.")
        )
    if x.channels != weights.channels:
        raise KernelError(message("channels of the planes", x.channels, str(weights.channels)))
    kernel = _kernels.gemm_planes if product == "gemm" else _kernels.conv2d_planes
    made = kernel(x.words, weights, x.grid, thresholds=thresholds, **options)
    if thresholds is None:
        return made
    return Planes(made, weights.shape[0], (thresholds.bits, 0, 1), np.dtype(np.uint8))
