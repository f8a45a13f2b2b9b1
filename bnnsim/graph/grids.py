"""Fixed-point grids of float32 inputs: which values they hold, and the integer of each.

A grid says ``value = scale * (n - zero)`` with 8-bit integers n. A float32 stands for n if it is
that product rounded once from float64 (``n / 255`` in torch) or formed in float32 (``n * scale`` in
numpy): different integers are far apart, so that each value stands for one, exactly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import numpy as np

from bnnsim.errors import GraphError, InputError, message
from bnnsim.graph.dtypes import DType

FORMS = "uint8, q1.7 or SCALE[,ZERO[,int8|uint8]] with a scale such as 0.5 or 1/255"
_DTYPES = ("int8", "uint8")
_MAX_ZERO = 2**15
_BLOCK = 2**18  # elements judged at once, so that float64 copies stay small
_NAMED: Mapping[str, tuple[float, int, str]] = MappingProxyType(
    {"uint8": (1.0, 0, "uint8"), "q1.7": (1 / 128, 0, "int8")}
)
_NUMBER = re.compile(r"[0-9.]+(e[+-]?[0-9]{1,3})?(/[0-9]+)?\Z")
_INTEGER = re.compile(r"-?[0-9]{1,9}\Z")


@dataclass(frozen=True, slots=True)
class Grid:
    """The values ``scale * (n - zero)``, n each integer of ``dtype``.

    Parameters
    ----------
    scale : float
        Positive; a normal number in float32, as are its multiples.
    zero : int
        The integer that stands for 0.0, from -32,768 to 32,768; it may lie outside ``dtype``.
    dtype : str
        ``int8`` or ``uint8``.

    Raises
    ------
    GraphError
        If a field breaks its rule.
    """

    scale: float
    zero: int = 0
    dtype: str = "uint8"

    def __post_init__(self) -> None:
        if self.dtype not in _DTYPES:
            raise GraphError(message("grid: dtype", self.dtype, f"one of {', '.join(_DTYPES)}"))
        if abs(self.zero) > _MAX_ZERO:
            raise GraphError(message("grid: zero", self.zero, f"-{_MAX_ZERO} to {_MAX_ZERO}"))
        limits = np.finfo(np.float32)
        farthest = max(abs(end - self.zero) for end in self.ends)
        if not float(limits.tiny) <= self.scale <= float(limits.max) / (2 * farthest):
            rule = "a positive scale with which the grid's values are normal numbers in float32"
            raise GraphError(message("grid: scale", self.scale, rule))

    @property
    def ends(self) -> tuple[int, int]:
        """The lowest and the highest n."""
        held = DType.parse(self.dtype)
        return int(held.low), int(held.high)

    @property
    def rule(self) -> str:
        """The grid in words."""
        low, high = self.ends
        return f"value = {self.scale:.9g} * (n - {self.zero}), n in {low}..{high}"

    def integers(self, x: np.ndarray, where: str) -> np.ndarray:
        """Return n of every value of a batch ``x``, float32 of any shape, in ``dtype``.

        Raises
        ------
        InputError
            Naming the first value off the grid and its index.
        """
        found = np.empty(x.shape, self.dtype)
        for part, steps in self._blocks(x, where):
            np.add(steps, self.zero, out=found[part], casting="unsafe")
        return found

    def check(self, x: np.ndarray, where: str) -> None:
        """Raise InputError as :meth:`integers` does."""
        for _ in self._blocks(x, where):
            pass

    def level(self, value: float) -> int | None:
        """Return n of one value, or None where it is not on the grid."""
        steps, held = self._judged(np.array([value], np.float32))
        return int(steps[0]) + self.zero if held[0] else None

    def _blocks(self, x: np.ndarray, where: str) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield which images a block holds and its ``n - zero``; raise at a value off the grid."""
        images = max(1, _BLOCK * len(x) // max(x.size, 1))
        for start in range(0, len(x), images):
            part = slice(start, start + images)
            steps, held = self._judged(x[part])
            if not held.all():
                place = np.argwhere(~held)[0]
                place[0] += start
                raise self._refusal(x, place, where)
            yield part, steps

    def _judged(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ``n - zero`` of the nearest grid values in float64, and where ``x`` is them."""
        low, high = (end - self.zero for end in self.ends)
        # What lies outside is cut to an end, and differs from it; NaN stays and equals nothing.
        steps = np.clip(np.rint(x.astype(np.float64) / self.scale), low, high)
        once = (steps * self.scale).astype(np.float32)
        twice = steps.astype(np.float32) * np.float32(self.scale)
        return steps, (x == once) | (x == twice)

    def _refusal(self, x: np.ndarray, place: np.ndarray, where: str) -> InputError:
        index = [int(i) for i in place]
        value = x[tuple(index)]
        steps, _ = self._judged(np.array([value]))
        remedy = "Quantize inputs to the grid first, or declare another grid or none."
        if np.isfinite(value):
            nearest = float(np.float32(steps[0] * self.scale))
            remedy = f"The nearest is {nearest:.9g}, n = {int(steps[0]) + self.zero}. {remedy}"
        got = float(f"{value:.9g}")
        return InputError(message(f"{where}{index}", got, f"the input's grid: {self.rule}", remedy))


def grid_of(attrs: Mapping[str, Any]) -> Grid:
    """Return the grid that a FromGrid's attributes state."""
    return Grid(attrs["scale"], attrs["zero"], attrs["dtype"])


def parse_grid(text: str) -> Grid:
    """Return the grid that a user names: ``uint8``, ``q1.7``, ``1/255``, ``0.02,128,uint8``.

    Raises
    ------
    InputError
        If the text is of no such form, or no such grid can be.
    """
    if text.lower() in _NAMED:
        return Grid(*_NAMED[text.lower()])
    scale, *rest = text.strip().lower().split(",")
    zero, dtype = (*rest, *("0", "uint8")[len(rest) :])[:2]
    fits = _NUMBER.match(scale) and _INTEGER.match(zero) and dtype in _DTYPES and len(rest) <= 2
    try:
        if not fits:
            raise ValueError
        return Grid(float(Fraction(scale)), int(zero), dtype)
    except (ValueError, ZeroDivisionError, OverflowError):
        raise InputError(message("input grid", text, FORMS)) from None
    except GraphError as error:
        raise InputError(f"input grid {text!r}: {error}") from None
