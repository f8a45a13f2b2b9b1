"""A node of an ONNX file with its operands, and what handlers do with values in flight."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bnnsim.errors import SourceError
from bnnsim.frontends.aten_joins import HANDLERS as ATEN
from bnnsim.frontends.elementwise import Lookup
from bnnsim.frontends.importer import (
    Activation,
    Call,
    Clipped,
    Grouped,
    Importer,
    Magnitude,
    Padded,
    Rounded,
    Scaled,
    ScaleMap,
    Sliced,
    is_symbolic,
)
from bnnsim.frontends.onnx_file import OnnxNode


@dataclass(frozen=True, slots=True)
class Permuted:
    """A value whose axes the file has in another order; ``perm[i]`` is axis i's own place."""

    inner: Any
    perm: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Levels:
    """Integers of a QuantizeLinear, which a DequantizeLinear makes numbers again."""

    inner: Any
    scale: np.ndarray
    zero: int
    low: int
    high: int
    axis: int


def in_flight(value: Any) -> bool:
    """Whether a value depends on the input."""
    return isinstance(value, (Permuted, Levels)) or is_symbolic(value)


@dataclass(frozen=True, slots=True)
class OnnxCall:
    """One operator with its operands: arrays, values in flight, or None where left out."""

    im: Importer
    node: OnnxNode
    args: Sequence[Any]
    opset: int

    @property
    def place(self) -> str:
        """How messages name the node."""
        return self.node.place

    @property
    def attrs(self) -> Mapping[str, Any]:
        """The node's attributes."""
        return self.node.attrs

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the first operand, with the batch."""
        return full_shape(self.im, self.args[0])

    def argument(self, index: int) -> Any:
        """Return an operand, or None where it is left out."""
        return self.args[index] if index < len(self.args) else None

    def constant(self, index: int, what: str) -> np.ndarray:
        """Return an operand that must be a constant."""
        value = self.argument(index)
        if not isinstance(value, (np.ndarray, np.generic)):
            got = "nothing" if value is None else "a computed tensor"
            raise self.im.refused(f"{self.place}: {what}", got, "a constant")
        return np.asarray(value)

    def aten(self, kind: str, shape: Sequence[int] = (), /, **args: Any) -> Any:
        """Lower the node as an operator of torch; ``shape`` is the result's, with the batch."""
        call = Call(f"{self.node.op}.{kind}", self.place, args, tuple(shape[1:]))
        return ATEN[f"aten.{kind}"](self.im, call)

    def unsupported(self, what: str = "") -> SourceError:
        """Return the error for a node that has no meaning in the graph."""
        return unsupported(self.im, self.node, what)

    def plain(self, index: int = 0) -> Activation:
        """Return an operand as a plain activation."""
        return self.im.activation(self.args[index], self.place)


def unsupported(im: Importer, node: OnnxNode, what: str = "") -> SourceError:
    """Return the error for a node that has no meaning in the graph."""
    domain = f"domain {node.domain!r}" if node.domain else "the standard domain"
    got = f"{node.op} of {domain}{', ' + what if what else ''}"
    rule = f"one of {', '.join(im.known)}, as far as the graph has a meaning for it"
    remedy = "Export the network without it, or write it with these."
    return im.refused(node.place, got, rule, remedy)


def full_shape(im: Importer, value: Any) -> tuple[int, ...]:
    """Return the shape of a value in the file, with the batch."""
    if not in_flight(value):
        return () if value is None else tuple(np.shape(value))
    if isinstance(value, Permuted):
        inner = full_shape(im, value.inner)
        return tuple(inner[axis] for axis in value.perm)
    return (int(im.batch), *_own_shape(value))


def _own_shape(value: Any) -> tuple[int, ...]:
    if isinstance(value, (Activation, ScaleMap)):
        return value.shape
    if isinstance(value, Lookup):
        return _own_shape(value.source)
    if isinstance(value, Padded):
        channels, height, width = value.inner.shape
        top, left, bottom, right = value.pads
        return channels, height + top + bottom, width + left + right
    if isinstance(value, Rounded):
        return value.inner.shape
    if isinstance(value, Grouped):
        channels, *size = value.inner.shape
        matrix = (value.groups, channels // value.groups)
        return (*(matrix[::-1] if value.transposed else matrix), *size)
    if isinstance(value, Sliced):
        rows = zip(value.start, value.stop, value.step, strict=True)
        height, width, channels = (-(-(stop - start) // step) for start, stop, step in rows)
        return channels, height, width
    assert isinstance(value, (Clipped, Scaled, Magnitude, Levels))
    return _own_shape(value.inner)


@dataclass(frozen=True, slots=True)
class Moved:
    """A plain activation, and the factor that waits behind it, if any."""

    activation: Activation
    factor: float | None

    def then(self, result: Activation) -> Any:
        """Return the result of an operator that commutes with a positive factor."""
        return result if self.factor is None else Scaled(result, self.factor)


def through(im: Importer, value: Any, place: str) -> Moved:
    """Return a value as an activation, without the factor of levels."""
    if isinstance(value, (Permuted, Levels)):
        what = "transposed" if isinstance(value, Permuted) else "between QuantizeLinear and"
        rule = "a Transpose back" if isinstance(value, Permuted) else "DequantizeLinear"
        raise im.refused(place, f"an activation {what}", rule)
    return Moved(im.activation(value, place), None)


def levels_of(im: Importer, value: Any, place: str) -> Moved:
    """Return levels as they are, with their factor; anything else as a plain activation."""
    if isinstance(value, Scaled) and isinstance(value.inner, Activation):
        return Moved(value.inner, value.factor)
    return through(im, value, place)


def image_of(im: Importer, tensor: str) -> Activation:
    """Return a tensor of the graph that is an image, in the file's order."""
    height, width, channels = im.builder.tensor(tensor).shape
    return Activation(tensor, (channels, height, width))


Handler = Callable[[OnnxCall], Any]
