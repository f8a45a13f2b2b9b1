"""Element types: what values a tensor may hold and how numpy stores them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

import numpy as np

from bnnsim.errors import GraphError, message

KINDS = ("bipolar", "ternary", "signed", "unsigned", "float", "bfloat")
_NAMED = {
    "bit": ("bipolar", 1),
    "ternary": ("ternary", 2),
    "float16": ("float", 16),
    "float32": ("float", 32),
    "float64": ("float", 64),
    "bfloat16": ("bfloat", 16),
}
_INTEGER_NAME = re.compile(r"(uint|int|bipolar)([1-9][0-9]?)\Z")
_KIND_OF_NAME = {"uint": "unsigned", "int": "signed", "bipolar": "bipolar"}
_NAME_OF = {pair: name for name, pair in _NAMED.items()}
_NAME_OF_KIND = {kind: name for name, kind in _KIND_OF_NAME.items()}
_MAX_INTEGER_BITS = 64
MAX_GRID_BITS = 8


@dataclass(frozen=True, slots=True)
class DType:
    """The kind and width of the elements of a tensor, with a scale where quantized.

    Parameters
    ----------
    kind : str
        ``bipolar`` (the odd integers from -(2^bits - 1) to 2^bits - 1: one sign for each bit
        plane; {-1, +1} of 1 bit), ``ternary`` {-1, 0, +1}, ``signed`` and ``unsigned`` integers,
        ``float`` (IEEE) or ``bfloat``.
    bits : int
        Bits per element: 1 to 8 for bipolar, 2 for ternary.
    scale, zero_point : float, int
        The real value of element q is ``scale * (q - zero_point)``; 1 and 0 where not quantized.
    """

    kind: str
    bits: int
    scale: float = 1.0
    zero_point: int = 0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise GraphError(message("dtype.kind", self.kind, f"one of {', '.join(KINDS)}"))
        allowed = {
            "bipolar": range(1, MAX_GRID_BITS + 1),
            "ternary": (2,),
            "float": (16, 32, 64),
            "bfloat": (16,),
        }.get(self.kind, range(1, _MAX_INTEGER_BITS + 1))
        if self.bits not in allowed:
            raise GraphError(message(f"dtype {self.kind}.bits", self.bits, f"in {list(allowed)}"))
        if not np.isfinite(self.scale) or self.scale <= 0:
            raise GraphError(message(f"dtype {self.kind}.scale", self.scale, "finite and positive"))

    def __str__(self) -> str:
        named = _NAME_OF.get((self.kind, self.bits))
        return named if named is not None else f"{_NAME_OF_KIND[self.kind]}{self.bits}"

    @classmethod
    def parse(cls, name: str) -> DType:
        """Return the dtype called ``name``, as ``str`` gives it: bit, bipolar4, uint2, float16."""
        if name in _NAMED:
            return cls(*_NAMED[name])
        match = _INTEGER_NAME.match(name)
        if match is None:
            rule = (
                f"one of {', '.join(_NAMED)}, intN or uintN with N <= {_MAX_INTEGER_BITS}, "
                f"bipolarN with N <= {MAX_GRID_BITS}"
            )
            raise GraphError(message("dtype", name, rule))
        return cls(_KIND_OF_NAME[match[1]], int(match[2]))

    @property
    def is_integer(self) -> bool:
        """Whether sums of products of this type are exact integers."""
        return self.kind not in ("float", "bfloat")

    @property
    def is_float(self) -> bool:
        """Whether this is a float or bfloat type."""
        return not self.is_integer

    @property
    def is_light(self) -> bool:
        """Whether the values are -1, +1 and perhaps 0, so that a product is no multiplication."""
        return self.kind == "ternary" or (self.kind, self.bits) == ("bipolar", 1)

    @property
    def low(self) -> float:
        """The least value an element may have."""
        if self.kind in ("bipolar", "ternary"):
            return -self.high
        if self.is_float:
            return -np.inf
        return -(2 ** (self.bits - 1)) if self.kind == "signed" else 0

    @property
    def high(self) -> float:
        """The greatest value an element may have."""
        if self.kind == "ternary":
            return 1
        if self.is_float:
            return np.inf
        return 2 ** (self.bits - 1) - 1 if self.kind == "signed" else 2**self.bits - 1

    @property
    def numpy(self) -> np.dtype:
        """The numpy dtype that holds one element (bfloat16 is held as float32)."""
        return _numpy_dtype(self.kind, self.bits)

    def valid(self, values: np.ndarray) -> np.ndarray:
        """Return, element by element, whether this dtype may hold the value."""
        if self.is_float:
            return np.isfinite(values)
        if self == BIT:
            return (values == 1) | (values == -1)
        inside = (values == np.trunc(values)) & (values >= self.low) & (values <= self.high)
        if self.kind == "bipolar":
            return inside & (np.where(inside, values, 0) % 2 == 1)
        return inside


@cache
def _numpy_dtype(kind: str, bits: int) -> np.dtype:
    if kind in ("float", "bfloat"):
        return np.dtype(f"float{32 if kind == 'bfloat' else bits}")
    held = bits + (kind == "bipolar" and bits > 1)  # a grid's sign is extra
    width = next(w for w in (8, 16, 32, 64) if held <= w)
    return np.dtype(f"{'u' if kind == 'unsigned' else ''}int{width}")


DTYPE_NAMES = (
    *_NAMED,
    *(f"{word}{bits}" for word in ("int", "uint") for bits in range(1, _MAX_INTEGER_BITS + 1)),
    *(f"bipolar{bits}" for bits in range(2, MAX_GRID_BITS + 1)),
)
BIT = DType("bipolar", 1)
TERNARY = DType("ternary", 2)
UINT8 = DType("unsigned", 8)
INT8 = DType("signed", 8)
INT16 = DType("signed", 16)
INT32 = DType("signed", 32)
FLOAT16 = DType("float", 16)
FLOAT32 = DType("float", 32)
BFLOAT16 = DType("bfloat", 16)
