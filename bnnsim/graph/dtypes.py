"""Element types: what values a tensor may hold and how numpy stores them."""

from __future__ import annotations

import re
from dataclasses import dataclass

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
_INTEGER_NAME = re.compile(r"(u?)int([1-9][0-9]?)\Z")
_MAX_INTEGER_BITS = 64


@dataclass(frozen=True, slots=True)
class DType:
    """The kind and width of the elements of a tensor, with a scale where quantized.

    Parameters
    ----------
    kind : str
        ``bipolar`` {-1, +1}, ``ternary`` {-1, 0, +1}, ``signed`` and ``unsigned`` integers,
        ``float`` (IEEE) or ``bfloat``.
    bits : int
        Bits per element: 1 for bipolar, 2 for ternary.
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
            "bipolar": (1,),
            "ternary": (2,),
            "float": (16, 32, 64),
            "bfloat": (16,),
        }.get(self.kind, range(1, _MAX_INTEGER_BITS + 1))
        if self.bits not in allowed:
            raise GraphError(message(f"dtype {self.kind}.bits", self.bits, f"in {list(allowed)}"))
        if not np.isfinite(self.scale) or self.scale <= 0:
            raise GraphError(message(f"dtype {self.kind}.scale", self.scale, "finite and positive"))

    def __str__(self) -> str:
        for name, pair in _NAMED.items():
            if pair == (self.kind, self.bits):
                return name
        return f"{'u' if self.kind == 'unsigned' else ''}int{self.bits}"

    @classmethod
    def parse(cls, name: str) -> DType:
        """Return the dtype called ``name``: bit, ternary, intN, uintN, floatN or bfloat16."""
        if name in _NAMED:
            return cls(*_NAMED[name])
        match = _INTEGER_NAME.match(name)
        if match is None:
            rule = f"one of {', '.join(_NAMED)}, intN or uintN with N <= {_MAX_INTEGER_BITS}"
            raise GraphError(message("dtype", name, rule))
        return cls("unsigned" if match[1] else "signed", int(match[2]))

    @property
    def is_integer(self) -> bool:
        """Whether sums of products of this type are exact integers."""
        return self.kind not in ("float", "bfloat")

    @property
    def is_float(self) -> bool:
        """Whether this is a float or bfloat type."""
        return not self.is_integer

    @property
    def low(self) -> float:
        """The least value an element may have."""
        if self.kind in ("bipolar", "ternary"):
            return -1
        if self.is_float:
            return -np.inf
        return -(2 ** (self.bits - 1)) if self.kind == "signed" else 0

    @property
    def high(self) -> float:
        """The greatest value an element may have."""
        if self.kind in ("bipolar", "ternary"):
            return 1
        if self.is_float:
            return np.inf
        return 2 ** (self.bits - 1) - 1 if self.kind == "signed" else 2**self.bits - 1

    @property
    def numpy(self) -> np.dtype:
        """The numpy dtype that holds one element (bfloat16 is held as float32)."""
        if self.is_float:
            return np.dtype(f"float{32 if self.kind == 'bfloat' else self.bits}")
        if self.kind in ("bipolar", "ternary"):
            return np.dtype(np.int8)
        width = next(w for w in (8, 16, 32, 64) if self.bits <= w)
        return np.dtype(f"{'u' if self.kind == 'unsigned' else ''}int{width}")

    def valid(self, values: np.ndarray) -> np.ndarray:
        """Return, element by element, whether this dtype may hold the value."""
        if self.is_float:
            return np.isfinite(values)
        if self.kind == "bipolar":
            return (values == 1) | (values == -1)
        return (values == np.trunc(values)) & (values >= self.low) & (values <= self.high)


BIT = DType("bipolar", 1)
TERNARY = DType("ternary", 2)
UINT8 = DType("unsigned", 8)
INT8 = DType("signed", 8)
INT16 = DType("signed", 16)
INT32 = DType("signed", 32)
FLOAT16 = DType("float", 16)
FLOAT32 = DType("float", 32)
