"""Types of the compiled kernels; layouts and limits stand in csrc/include/bnnsim.h."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Int32 = NDArray[np.int32]
Int8 = NDArray[np.int8]
Int16 = NDArray[np.int16]
Float32 = NDArray[np.float32]
POINTWISE: tuple[str, ...]
FLOAT_POOLS: tuple[str, ...]
Integers = NDArray[np.integer[Any]]
Bytes = NDArray[np.uint8] | NDArray[np.int8]
Pair = tuple[int, int]
Pads = tuple[int, int, int, int]  # top, left, bottom, right
Grid = tuple[int, int, int]  # bits, low, step

class PackedWeights:
    @property
    def op(self) -> str: ...
    @property
    def isa(self) -> str: ...
    @property
    def kernel(self) -> str: ...
    @property
    def shape(self) -> tuple[int, ...]: ...
    @property
    def K(self) -> int: ...  # noqa: N802
    @property
    def channels(self) -> int: ...
    @property
    def groups(self) -> int: ...
    @property
    def nbytes(self) -> int: ...

class PackedThresholds:
    @property
    def N(self) -> int: ...  # noqa: N802
    @property
    def K(self) -> int: ...  # noqa: N802
    @property
    def bits(self) -> int: ...

def set_threads(threads: int) -> int: ...
def available_isas() -> tuple[str, ...]: ...
def list_kernels() -> list[tuple[str, str, str, str, bool, bool]]: ...
def select(op: str, isa: str = "auto") -> tuple[str, str, str, int, int]: ...
def pack_gemm_weights(b: Words, K: int, isa: str = "auto") -> PackedWeights: ...
def pack_conv_weights(
    w: Words, channels: int, *, groups: int = 1, isa: str = "auto"
) -> PackedWeights: ...
def pack_gemm_byte_weights(b: Int8, isa: str = "auto") -> PackedWeights: ...
def pack_conv_byte_weights(w: Int8, *, groups: int = 1, isa: str = "auto") -> PackedWeights: ...
def pack_lookup_weights(
    words: Words, shape: tuple[int, ...], op: str, *, groups: int = 1, isa: str = "auto"
) -> PackedWeights: ...
def pack_float_weights(
    w: Float32, *, groups: int = 1, single: bool = False, isa: str = "auto"
) -> PackedWeights: ...
def byte_bit(
    x: Bytes,
    map: Int16,
    w: PackedWeights,
    thresholds: PackedThresholds | None = None,
    *,
    isa: str = "auto",
    threads: int | None = None,
    out: np.ndarray | None = None,
    **window: Any,
) -> np.ndarray: ...
def float_linear(
    x: Float32,
    w: PackedWeights,
    *,
    dtype: type = ...,
    isa: str = "auto",
    threads: int | None = None,
    out: np.ndarray | None = None,
    **window: Any,
) -> np.ndarray: ...
def gemm_byte(
    a: Bytes,
    b: Int8 | PackedWeights,
    *,
    isa: str = "auto",
    threads: int | None = None,
    out: Int32 | None = None,
) -> Int32: ...
def conv2d_byte(
    x: Bytes,
    w: Int8 | PackedWeights,
    *,
    stride: Pair = (1, 1),
    dilation: Pair = (1, 1),
    pads: Pads = (0, 0, 0, 0),
    groups: int = 1,
    pad_value: int = 0,
    isa: str = "auto",
    threads: int | None = None,
    out: Int32 | None = None,
) -> Int32: ...
def gemm_bit(
    a: Words,
    b: Words | PackedWeights,
    K: int,
    *,
    isa: str = "auto",
    threads: int | None = None,
    out: Int32 | None = None,
) -> Int32: ...
def pack_thresholds(t: Int32, direction: Int8, K: int) -> PackedThresholds: ...
def gemm_bit_threshold(
    a: Words,
    b: Words | PackedWeights,
    thresholds: PackedThresholds,
    K: int,
    *,
    isa: str = "auto",
    threads: int | None = None,
    out: Words | None = None,
) -> Words: ...
def conv2d_bit_threshold(
    x: Words,
    w: Words | PackedWeights,
    thresholds: PackedThresholds,
    channels: int,
    *,
    stride: Pair = (1, 1),
    dilation: Pair = (1, 1),
    pads: Pads = (0, 0, 0, 0),
    groups: int = 1,
    pad_value: int = 0,
    isa: str = "auto",
    threads: int | None = None,
    out: Words | None = None,
) -> Words: ...
def gemm_int(a: Integers, b: Int8, *, isa: str = "auto", out: Int32 | None = None) -> Int32: ...
def gemm_int_bit(
    a: Integers, b: Words, *, isa: str = "auto", out: Int32 | None = None
) -> Int32: ...
def conv2d_bit(
    x: Words,
    w: Words | PackedWeights,
    channels: int,
    *,
    stride: Pair = (1, 1),
    dilation: Pair = (1, 1),
    pads: Pads = (0, 0, 0, 0),
    groups: int = 1,
    pad_value: int = 0,
    isa: str = "auto",
    threads: int | None = None,
    out: Int32 | None = None,
) -> Int32: ...
def conv2d_int(
    x: Integers,
    w: Int8,
    *,
    stride: Pair = (1, 1),
    dilation: Pair = (1, 1),
    pads: Pads = (0, 0, 0, 0),
    groups: int = 1,
    pad_value: int = 0,
    isa: str = "auto",
    out: Int32 | None = None,
) -> Int32: ...
def conv2d_int_bit(
    x: Integers,
    w: Words,
    *,
    stride: Pair = (1, 1),
    dilation: Pair = (1, 1),
    pads: Pads = (0, 0, 0, 0),
    groups: int = 1,
    pad_value: int = 0,
    isa: str = "auto",
    out: Int32 | None = None,
) -> Int32: ...
def threshold_pack(
    acc: Int32, t: Int32, direction: Int8, *, isa: str = "auto", out: Words | None = None
) -> Words: ...
def multi_threshold(
    acc: Int32,
    t: Int32,
    direction: Int8,
    base: int = 0,
    *,
    isa: str = "auto",
    out: Int8 | None = None,
) -> Int8: ...
def pack_sign(
    x: NDArray[np.int8] | NDArray[np.int32] | NDArray[np.float32],
    *,
    isa: str = "auto",
    out: Words | None = None,
) -> Words: ...
def stochastic_pack(
    x: NDArray[np.float32],
    bits: int,
    *,
    seed: int,
    node: int,
    sample: int = 0,
    first: int = 0,
    isa: str = "auto",
    out: Words | None = None,
) -> Words: ...
def unpack_bit(words: Words, C: int, *, isa: str = "auto", out: Int8 | None = None) -> Int8: ...
def maxpool_bit(
    x: Words,
    use_and: Words,
    *,
    window: Pair,
    stride: Pair,
    pads: Pads = (0, 0, 0, 0),
    isa: str = "auto",
    out: Words | None = None,
) -> Words: ...
def maxpool_int(
    x: Integers, *, window: Pair, stride: Pair, pads: Pads = (0, 0, 0, 0), isa: str = "auto"
) -> Integers: ...
def scale_int(
    x: Integers,
    mul: int,
    offset: Int32,
    *,
    first: int = 0,
    dtype: Any = ...,
    isa: str = "auto",
    out: Integers | None = None,
) -> Integers: ...
def pointwise(
    what: str,
    x: NDArray[Any],
    x2: NDArray[Any] | None = None,
    *,
    terms: NDArray[Any] | None = None,
    isa: str = "auto",
    out: NDArray[Any] | None = None,
) -> NDArray[Any]: ...
def pool_float(
    how: str,
    x: Float32,
    *,
    window: Pair,
    stride: Pair,
    pads: Pads = (0, 0, 0, 0),
    isa: str = "auto",
) -> Float32: ...
def copy_channels(
    x: NDArray[Any], out: NDArray[Any], first: int, *, isa: str = "auto"
) -> NDArray[Any]: ...

class Call:
    kernel: str
    rows: int
    channels: int
    in_place: bool
    def __init__(
        self,
        op: str,
        isa: str = "auto",
        *,
        weights: PackedWeights | NDArray[Any] | None = None,
        weights2: NDArray[Any] | None = None,
        limits: PackedThresholds | None = None,
        M: int = 0,
        N: int = 0,
        K: int = 0,
        window: Mapping[str, Any] | None = None,
        dtype: np.dtype[Any] | None = None,
        out_dtype: np.dtype[Any] | None = None,
        pad_value: int = 0,
        node: int = 0,
        bits: int = 0,
    ) -> None: ...

class Program:
    externals: int
    work: float
    def __init__(
        self,
        steps: Sequence[tuple[Call, tuple[int, ...], int]],
        slots: Sequence[tuple[int, int | None, int]],
        arena_image_bytes: int,
        tile: int,
    ) -> None: ...
    def parts(self, images: int, threads: int) -> tuple[int, int]: ...
    def arena_bytes(self, images: int, threads: int) -> int: ...
    def run(
        self,
        images: int,
        buffers: list[NDArray[Any]],
        arena: NDArray[np.uint8],
        threads: int,
        first_image: int = 0,
        seed: int = 0,
        sample: int = 0,
    ) -> None: ...

def raw_xor_popcount_rate(seconds: float, *, isa: str = "auto") -> float: ...
def affine(
    x: NDArray[Any],
    *,
    shift: NDArray[np.float32] | None = None,
    scale: NDArray[np.float32] | None = None,
    bias: NDArray[np.float32] | None = None,
    isa: str = "auto",
    out: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]: ...
def affine_terms(
    channels: int,
    shift: NDArray[np.float32] | None,
    scale: NDArray[np.float32] | None,
    bias: NDArray[np.float32] | None,
) -> tuple[NDArray[np.float32], int]: ...
def pack_planes(
    x: Integers, grid: Grid, *, isa: str = "auto", out: Words | None = None
) -> Words: ...
def unpack_planes(
    x: Words,
    C: int,
    grid: Grid,
    dtype: Any,
    *,
    isa: str = "auto",
    out: Integers | None = None,
) -> Integers: ...
def pack_gemm_plane_weights(b: Integers, isa: str = "auto") -> PackedWeights: ...
def pack_conv_plane_weights(
    w: Integers, *, groups: int = 1, isa: str = "auto"
) -> PackedWeights: ...
def pack_plane_thresholds(
    t: Int32, direction: Int8, weights: PackedWeights, grid: Grid, bits: int
) -> PackedThresholds: ...
def gemm_planes(
    x: Words,
    b: Integers | PackedWeights,
    grid: Grid,
    *,
    thresholds: PackedThresholds | None = None,
    isa: str = "auto",
    threads: int | None = None,
    out: Int32 | Words | None = None,
) -> NDArray[Any]: ...
def conv2d_planes(
    x: Words,
    w: Integers | PackedWeights,
    grid: Grid,
    *,
    stride: Pair = (1, 1),
    dilation: Pair = (1, 1),
    pads: Pads = (0, 0, 0, 0),
    groups: int = 1,
    pad_value: int = 0,
    thresholds: PackedThresholds | None = None,
    isa: str = "auto",
    threads: int | None = None,
    out: Int32 | Words | None = None,
) -> NDArray[Any]: ...
