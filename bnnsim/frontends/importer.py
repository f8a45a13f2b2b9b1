"""The graph under construction while a torch program is walked, and the values in flight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from bnnsim.errors import SourceError, message
from bnnsim.frontends.builder import GraphBuilder
from bnnsim.frontends.elementwise import Lookup, numbers, scalar_of, table_type
from bnnsim.graph.dtypes import FLOAT32, DType


@dataclass(frozen=True, slots=True, eq=False)
class Activation:
    """A computed tensor.

    Parameters
    ----------
    tensor : str
        Its name in the graph.
    shape : tuple of int
        Its torch shape without the batch axis.
    order : ndarray, (features,) int, or None
        The graph's feature i is torch's feature ``order[i]``; None means i.
    """

    tensor: str
    shape: tuple[int, ...]
    order: np.ndarray | None = None


@dataclass(frozen=True, slots=True)
class Padded:
    """An activation with a constant border that the next convolution takes in."""

    inner: Activation
    pads: tuple[int, int, int, int]
    value: float


@dataclass(frozen=True, slots=True)
class Clipped:
    """An activation clipped to [low, high]; sign does not need the clipping."""

    inner: Activation
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Scaled:
    """An activation times a positive constant: a layer multiplies its sums by it instead."""

    inner: Activation | Clipped | Padded
    factor: float


@dataclass(frozen=True, slots=True)
class Rounded:
    """A rounded activation, which a clamp to integers makes levels."""

    inner: Activation
    place: str


@dataclass(frozen=True, slots=True)
class Sliced:
    """Every ``step``-th element of [start, stop) of an image along height, width and channels."""

    inner: Activation
    start: tuple[int, int, int]
    stop: tuple[int, int, int]
    step: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Grouped:
    """The channels of an image as a matrix of groups, perhaps transposed, times a constant."""

    inner: Activation
    groups: int
    transposed: bool = False
    factor: float = 1.0


@dataclass(frozen=True, slots=True)
class Magnitude:
    """The absolute values of an activation, of which the mean over channels has a meaning."""

    inner: Activation


@dataclass(frozen=True, slots=True)
class ScaleMap:
    """The mean magnitude of an activation over its channels, which a box filter may follow."""

    inner: Activation
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class HalfMean:
    """The mean of an image over its height or its width, whose other half must follow."""

    inner: Activation


@dataclass(frozen=True, slots=True)
class Call:
    """One operator call.

    Parameters
    ----------
    op, place : str
        The operator's full name; how messages name the call.
    args : mapping
        Arguments by the names of the operator's schema, defaults filled in.
    shape, dtype : tuple of int, str
        torch's result, without the batch axis.
    """

    op: str
    place: str
    args: Mapping[str, Any]
    shape: tuple[int, ...]
    dtype: str = "torch.float32"

    @property
    def kind(self) -> str:
        """The operator's name without library, overload and in-place mark."""
        return self.op.split(".")[1].removesuffix("_")

    @property
    def first(self) -> Any:
        """The operator's first argument."""
        return next(iter(self.args.values()))


_KEEP_SIGNS = ("MaxPool", "AvgPool", "GlobalAvgPool", "Flatten", "Reshape", "Slice", "PadChannels")
_UNFINISHED: dict[type, tuple[str, str]] = {  # what it is, and what would make it an operator
    Padded: ("padding", "a convolution right after padding"),
    Magnitude: ("the magnitudes themselves", "the mean over channels right after abs"),
    HalfMean: (
        "a mean over height or width alone",
        "the mean over the other axis of the image right after it",
    ),
    Grouped: (
        "channels viewed as groups",
        "a transpose of the groups and the view back to (N, C, H, W)",
    ),
}
_REORDERED = ("axes in another order", "(N, C, H, W) or (N, features)")


def is_symbolic(value: Any) -> bool:
    """Whether a value depends on the input."""
    if isinstance(value, (list, tuple)):
        return any(map(is_symbolic, value))
    pending = (Padded, Clipped, Scaled, Rounded, Sliced, Grouped, Magnitude, ScaleMap, HalfMean)
    return isinstance(value, (Activation, Lookup, *pending))


def pair_of(value: Any) -> tuple[int, int]:
    """Return an argument of height and width, which may be one number for both."""
    values = [int(v) for v in (value if isinstance(value, Sequence) else [value])]
    return (values[0], values[-1])


@dataclass(slots=True)
class Importer:
    """The graph under construction and what handlers share.

    Parameters
    ----------
    name : str
        Of the model, for messages.
    builder : GraphBuilder
    batch : str
        The program's batch size, as text (it may be a symbol).
    shape : tuple of int
        torch shape of the input without batch.
    pixels : torch.Tensor or None
        All 256 states of a uint8 input; None for float32.
    sign_zero : str
        ``plus`` or ``error``: what to do about a sign that gives no +1 at 0.
    source : str
        What notes call the program's own arithmetic.
    known : tuple of str
        Operators of the front end, for messages; empty for torch's.
    """

    name: str
    builder: GraphBuilder
    batch: str
    shape: tuple[int, ...]
    pixels: Any
    sign_zero: str
    source: str = "torch"
    known: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)
    made: dict[int, tuple[Any, Activation]] = field(default_factory=dict)
    signs: dict[str, Activation] = field(default_factory=dict)

    def input(self, _: str) -> Activation | Lookup:
        """Return the program's input."""
        plain = Activation("input", self.shape)
        return plain if self.pixels is None else Lookup(plain, self.pixels)

    def note_once(self, text: str) -> None:
        """Record a remark for the graph's meta entry ``notes``."""
        if text not in self.notes:
            self.notes.append(text)

    def refused(self, place: str, got: object, rule: str, remedy: str = "") -> SourceError:
        """Return the error for something in the program that breaks a rule."""
        return SourceError(message(f"{self.name}: {place}", got, rule, remedy))

    def dtype(self, x: Activation) -> DType:
        """Return the element type of an activation."""
        return self.builder.tensor(x.tensor).dtype

    def checked(self, value: Any, shape: tuple[int, ...], place: str) -> Any:
        """Return what an operator became, which must have the shape that it has in the source."""
        if isinstance(value, Activation):
            channels, *size = value.shape
            held = self.builder.tensor(value.tensor).shape
            alike = held == (*size, channels) or (len(held) == 1 and held == (prod(value.shape),))
            if value.shape != shape or not alike:
                rule = f"{shape}, as the source has it: repeated elements only in products"
                raise self.refused(place, (value.shape, held), rule)
        return value

    def add(self, op: str, x: Activation, constants: Any = None, **attrs: Any) -> Activation:
        """Append a node that keeps shape and feature order."""
        tensor = self.builder.add(op, x.tensor, constants, **attrs)
        return Activation(tensor, x.shape, x.order)

    def activation(self, value: Any, place: str) -> Activation:
        """Return a plain activation, appending what a pending value stands for (once)."""
        if isinstance(value, Activation):
            return value
        if id(value) not in self.made:  # holding the value keeps its id from being used again
            self.made[id(value)] = (value, self._finish(value, place))
        return self.made[id(value)][1]

    def _finish(self, value: Any, place: str) -> Activation:
        if isinstance(value, Clipped):
            return self._limited(value)
        if isinstance(value, Lookup):
            return self._binarized(value) if value.compared else self._encoded(value)
        if isinstance(value, Sliced):
            return self._taken(value)
        if isinstance(value, ScaleMap):
            return self.input_scale(value.inner, value.shape)
        if isinstance(value, Rounded):
            rule = "round(clamp(x, 0, 1) * n), or a clamp to integers around the rounding"
            raise self.refused(value.place, "a rounded value", rule)
        if isinstance(value, Scaled):
            return self.scaled(self.activation(value.inner, place), value.factor)
        raise self.refused(place, *_UNFINISHED.get(type(value), _REORDERED))

    def input_scale(self, x: Activation, shape: tuple[int, ...], **window: Any) -> Activation:
        """Append the mean magnitude over channels and windows; ``shape`` is torch's."""
        self.note_once(
            f"An input scale is summed in float64, rounded once; {self.source} rounds each step."
        )
        tensor = self.builder.add("InputScale", x.tensor, label="input_scale", **window)
        return Activation(tensor, shape)

    def _taken(self, value: Sliced) -> Activation:
        places: dict[str, Any] = {"start": value.start, "stop": value.stop, "step": value.step}
        tensor = self.builder.add("Slice", value.inner.tensor, label="slice", **places)
        height, width, channels = self.builder.tensor(tensor).shape
        return Activation(tensor, (channels, height, width))

    def scaled(self, x: Activation, factor: float, bias: np.ndarray | None = None) -> Activation:
        """Append ``x * factor + bias``; the bias is one value per channel of ``x``."""
        constants = {"scale": (np.full(x.shape[0], factor), FLOAT32)}
        if bias is None:
            return self.add("Scale", x, constants, label="scale")
        return self.add("Affine", x, {**constants, "bias": (bias, FLOAT32)}, label="affine")

    def floats(self, value: Any, place: str) -> Activation:
        """Return a plain activation of a float type, cast where it holds integers."""
        x = self.activation(value, place)
        if self.dtype(x).is_float:
            return x
        return self.add("Cast", x, label="cast", dtype="float32")

    def rectified(self, x: Activation) -> Activation:
        """Append max(x, 0)."""
        if self.dtype(x).kind == "bipolar":
            x = self.add("Cast", x, label="cast", dtype="int8")  # 0 is no bit
        return self.add("Relu", x, label="relu")

    def note_average(self) -> None:
        """Record how averages are rounded."""
        self.note_once(
            f"An average is summed in float64 and rounded once; {self.source} may round in between."
        )

    def _limited(self, value: Clipped) -> Activation:
        x, limits = value.inner, (value.low, value.high)
        dtype = self.dtype(x)
        whole = all(limit.is_integer() and dtype.low <= limit <= dtype.high for limit in limits)
        if dtype.is_integer and (dtype.kind != "signed" or not whole):
            x = self.add("Cast", x, label="cast", dtype="float32")
        return self.add("Clip", x, label="clip", low=limits[0], high=limits[1])

    def _encoded(self, value: Lookup) -> Activation:
        table, source = numbers(value.table), self.activation(value.source, "input")
        if np.array_equal(table, np.arange(256)):
            return source
        dtype = table_type(table)
        return self.add("Encode", source, {"table": (table, dtype)}, label="encode")

    def _binarized(self, value: Lookup) -> Activation:
        place, (below, zero, above) = value.place, (float(v) for v in value.table)
        if below == above:
            rule = "two outcomes that differ, such as -1 below zero and +1 from zero on"
            raise self.refused(f"{place}: comparison", [below, zero, above], rule)
        source = value.source
        if zero != above and self._never_below_zero(source):
            source, below, zero, above = self._negated(source, place), above, zero, zero
        elif below > above and zero != above:
            source, below, above = self._negated(source, place), above, below
        x = self.sign(source, place, zero_is_plus=zero == above)
        if (below, above) == (-1, 1):
            return x
        scale, bias = (above - below) / 2, (above + below) / 2
        if {below, above} != {0, 1}:
            return self.scaled(x, scale, np.full(x.shape[0], bias))
        channels = x.shape[0]
        halves = {"scale": np.full(channels, scale), "bias": np.full(channels, bias)}
        constants = {role: (value, FLOAT32) for role, value in halves.items()}
        return self.add("Requantize", x, constants, label="quantize", dtype="uint1")

    def _never_below_zero(self, x: Any) -> bool:
        """Whether a value is rectified: its sign has the two outcomes at and above zero."""
        if not isinstance(x, Activation):
            return isinstance(x, Clipped) and x.low == 0
        node = next((n for n in self.builder.nodes if n.output == x.tensor), None)
        if node is not None and node.op in _KEEP_SIGNS:
            return self._never_below_zero(Activation(node.inputs[0], x.shape))
        return node is not None and node.op == "Relu"

    def _negated(self, x: Any, place: str) -> Activation:
        """Append -x for a sign that falls; a clipping that cannot change it is left out."""
        if isinstance(x, Clipped) and x.low <= 0 < x.high:
            x = x.inner
        return self.scaled(self.activation(x, place), -1.0)

    def sign(self, x: Any, place: str, *, zero_is_plus: bool) -> Activation:
        """Append a binarization; a clipping that cannot change a sign is left out."""
        if isinstance(x, Clipped) and x.low < 0 <= x.high:
            x = x.inner
        if not zero_is_plus:
            text = "a sign that is not +1 at 0"
            if self.sign_zero == "error":
                remedy = "Use torch.where(x >= 0, 1.0, -1.0), or allow sign_zero='plus'."
                raise self.refused(place, text, "sign(0) = +1", remedy)
            self.note_once(f"{place}: {text}; lowered to sign(0) = +1.")
        plain = self.activation(x, place)
        if plain.tensor not in self.signs:
            self.signs[plain.tensor] = self.add("Quantize", plain, label="sign", quantizer="sign")
        made = self.signs[plain.tensor]
        return Activation(made.tensor, plain.shape, plain.order)

    def stochastic_sign(self, x: Any, place: str, *, bits: int) -> Activation:
        """Append a stochastic sign; a clipping beyond its saturation is left out."""
        if isinstance(x, Clipped) and x.low <= -1 and x.high >= 1:
            x = x.inner
        self.note_once(
            f"{place}: runs take the sign unless they are stochastic; then their own seed and the "
            "graph's node ids number the random bits, not the operator's."
        )
        plain = self.activation(x, place)
        attrs = {"quantizer": "stochastic_sign", "bits": bits}
        return self.add("Quantize", plain, label="sign", **attrs)

    def channels(self, value: Any, x: Activation, place: str) -> np.ndarray:
        """Return a constant as one float32 per channel of ``x``, in the graph's feature order."""
        array = np.asarray(scalar_of(value), np.float32)
        shape = (1, *x.shape)
        full = (1,) * (len(shape) - array.ndim) + array.shape
        wide = len(full) > len(shape) or any(s != 1 for i, s in enumerate(full) if i != 1)
        if wide or array.size not in (1, x.shape[0]):
            raise self.refused(place, tuple(array.shape), "a scalar or one value per channel")
        return self.ordered(np.broadcast_to(array.reshape(-1), (x.shape[0],)), x)

    @staticmethod
    def ordered(values: Any, x: Activation) -> np.ndarray:
        """Return one float32 per channel of ``x``, given in torch's order, in the graph's."""
        array = np.asarray(values, np.float32)
        return array if x.order is None else array[x.order]
