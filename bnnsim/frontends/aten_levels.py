"""torch operators that quantize activations to levels, and what they pass through to a layer.

``round(clamp(x, 0, 1) * n) / n`` is a quantizer and a scale; a layer that reads it multiplies
integers and applies the scale to its sums. They join the operators of ``aten_scales.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from bnnsim.frontends.aten import unsupported
from bnnsim.frontends.aten_scales import HANDLERS
from bnnsim.frontends.elementwise import Lookup, levels_type, numbers, scalar_of
from bnnsim.frontends.importer import (
    Activation,
    Call,
    Clipped,
    Importer,
    Padded,
    Rounded,
    Scaled,
    is_symbolic,
)
from bnnsim.graph.dtypes import FLOAT32, MAX_GRID_BITS, DType
from bnnsim.graph.quantizers import DOREFA, TERNARIZE

__all__ = ["HANDLERS", "signs_apart"]

_TOPS = {2**bits - 1: bits for bits in range(1, MAX_GRID_BITS + 1)}
_NOTE = (
    "Levels are multiplied as integers and their sums scaled once; {} scales each of them and "
    "rounds every product."
)


def _scalar(value: Any) -> float | None:
    """Return a constant of one positive value, or None."""
    number = np.asarray(scalar_of(value), np.float32) if not is_symbolic(value) else None
    return float(number) if number is not None and number.size == 1 and number > 0 else None


def _factor(call: Call) -> tuple[Any, float] | None:
    """Return the activation and the positive constant of a product or quotient, or None."""
    x, other = call.args["self"], call.args["other"]
    if call.args.get("rounding_mode") or call.dtype != "torch.float32":
        return None
    if call.kind == "mul" and is_symbolic(other):
        x, other = other, x
    factor = _scalar(other) if is_symbolic(x) else None
    if factor is None:
        return None
    return x, factor if call.kind == "mul" else 1 / factor


def _scales(plain: Callable[[Importer, Call], Any]) -> Callable[[Importer, Call], Any]:
    """Lower a product with a constant: pending for a clipped value and for levels."""

    def handler(im: Importer, call: Call) -> Any:
        found = _factor(call)
        if found is None:
            return plain(im, call)
        x, factor = found
        if isinstance(x, Clipped) and call.kind == "mul" and x.low == 0 and factor in _TOPS:
            return Scaled(x, factor)
        if isinstance(x, Activation) and _is_levels(im, x):
            return Scaled(x, factor)
        return plain(im, call)

    return handler


def _is_levels(im: Importer, x: Activation) -> bool:
    made = [node for node in im.builder.nodes if node.output == x.tensor]
    return bool(made) and made[0].op in ("Quantize", "Requantize")


def _round(im: Importer, call: Call) -> Activation | Rounded:
    """Lower the rounding of a clipped value to levels."""
    value, digits = call.first, call.args.get("decimals", 0)
    if isinstance(value, Scaled) and isinstance(value.inner, Clipped) and not digits:
        clipped, bits = value.inner, _TOPS[int(value.factor)]
        if clipped.high == 1:
            return _quantize(im, clipped.inner, quantizer=DOREFA, bits=bits)
    if isinstance(value, Clipped) and not digits:
        limits = (value.low, value.high)
        if limits == (-1, 1):
            return _quantize(im, value.inner, quantizer=TERNARIZE)
        if limits == (0, 1):
            return _quantize(im, value.inner, quantizer=DOREFA, bits=1)
        if _levels_type(*limits) is not None:
            return _requantize(im, value.inner, *limits)
    if isinstance(value, Activation) and not digits and im.dtype(value).is_float:
        return Rounded(value, call.place)
    rule = "the rounding of clamp(x, 0, 1) * (2^k - 1), or of a clamp to integers of k bits"
    raise unsupported(im, call.place, f"{call.op} other than {rule}")


def _quantize(im: Importer, x: Activation, **attrs: Any) -> Activation:
    return im.add("Quantize", x, label="quantize", **attrs)


def _levels_type(low: float, high: float) -> DType | None:
    """Return the narrowest type of the integers of [low, high], None beyond 8 bits."""
    if not (float(low).is_integer() and float(high).is_integer() and low <= 0 < high):
        return None
    dtype = levels_type(int(low), int(high))
    return dtype if dtype.bits <= MAX_GRID_BITS else None


def _requantize(im: Importer, x: Activation, low: float, high: float) -> Activation:
    channels, dtype = x.shape[0], levels_type(int(low), int(high))
    constants = {"scale": (np.ones(channels), FLOAT32), "bias": (np.zeros(channels), FLOAT32)}
    attrs: dict[str, Any] = {"dtype": str(dtype)}
    if (low, high) != (dtype.low, dtype.high):
        attrs["limits"] = (int(low), int(high))
    return im.add("Requantize", x, constants, label="quantize", **attrs)


def _clamps(plain: Callable[[Importer, Call], Any]) -> Callable[[Importer, Call], Any]:
    """Lower the clamp of a rounded value to levels: rounding first gives the same integers."""

    def handler(im: Importer, call: Call) -> Any:
        value = call.first
        if not isinstance(value, Rounded):
            return plain(im, call)
        limits = [call.args["min"], call.args["max"]]
        numbers_only = all(isinstance(v, (int, float)) for v in limits)
        if not numbers_only or _levels_type(*limits) is None:
            rule = "integers, at most 0 and at least 1, of up to 8 bits"
            raise im.refused(call.place, f"{call.op} of a rounded value to {limits}", rule)
        return _requantize(im, value.inner, *limits)

    return handler


def _levels(value: Any) -> bool:
    return isinstance(value, Scaled) and isinstance(value.inner, (Activation, Padded))


def signs_apart(im: Importer, call: Call) -> Call:
    """Return the call with signs times a constant as signs and a pending scale."""
    value = call.first
    if not isinstance(value, Lookup) or not value.compared:
        return call
    below, zero, above = (float(v) for v in value.table)
    if below != -above or above in (0, 1) or above < 0:
        return call
    x = im.sign(value.source, call.place, zero_is_plus=zero == above)
    return _reading(call, Scaled(x, above))


def _moves(plain: Callable[[Importer, Call], Any]) -> Callable[[Importer, Call], Any]:
    """Lower an operator that commutes with a positive scale."""

    def handler(im: Importer, call: Call) -> Any:
        call = signs_apart(im, call)
        if not _levels(call.first):
            return plain(im, call)
        return Scaled(plain(im, _reading(call, call.first.inner)), call.first.factor)

    return handler


def _sums(plain: Callable[[Importer, Call], Any]) -> Callable[[Importer, Call], Any]:
    """Lower a layer over levels: integers first, then their scale and the bias."""

    def handler(im: Importer, call: Call) -> Any:
        call = signs_apart(im, call)
        if not _levels(call.first):
            return plain(im, call)
        im.note_once(_NOTE.format(im.source))
        bare = _reading(call, call.first.inner)
        y = plain(im, replace(bare, args={**bare.args, "bias": None}))
        bias = call.args.get("bias")
        shift = None if bias is None else numbers(bias).astype(np.float32)
        return im.scaled(y, call.first.factor, shift)

    return handler


def _reading(call: Call, x: Activation | Scaled) -> Call:
    """Return the call with another first argument."""
    first = next(iter(call.args))
    return replace(call, args={**call.args, first: x})


HANDLERS.update({f"aten.{name}": _scales(HANDLERS[f"aten.{name}"]) for name in ("mul", "div")})
HANDLERS["aten.round"] = _round
HANDLERS["aten.clamp"] = _clamps(HANDLERS["aten.clamp"])
for _name in ("max_pool2d", "flatten", "view", "reshape"):
    HANDLERS[f"aten.{_name}"] = _moves(HANDLERS[f"aten.{_name}"])
for _name in ("linear", "conv2d", "convolution"):
    HANDLERS[f"aten.{_name}"] = _sums(HANDLERS[f"aten.{_name}"])
