"""The quantizers of larq 0.14: what a config names, and what each gives.

Written from the public source of larq (``quantizers.py``, ``math.py``); forward passes only, as
nothing is trained here:

===================  ==============================================================================
sign                 -1 below 0, +1 from 0 on, -0 included (SteSign, ApproxSign, SwishSign)
magnitude            sign times the mean magnitude over all axes but the last
heaviside            1 above 0, else 0
ternary              sign(sign(x + t) + sign(x - t)): +1 for x >= t > 0, -1 for x <= -t, else 0;
                     t given, or 0.7 times the mean magnitude of all weights
dorefa, activations  rint(clip(x, 0, 1) * n) / n, n = 2^k - 1, halves to even
dorefa, weights      2 rint((tanh(x) / (2 max|tanh(x)|) + 1/2) * n) / n - 1
===================  ==============================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from bnnsim.errors import nearest
from bnnsim.frontends.keras_fields import Fields
from bnnsim.graph.dtypes import BIT, MAX_GRID_BITS, TERNARY, DType

SIGN, MAGNITUDE, HEAVISIDE, TERNARIZE, DOREFA = (
    "sign",
    "magnitude",
    "heaviside",
    "ternary",
    "dorefa",
)
ACTIVATIONS, WEIGHTS = "activations", "weights"
_NONE = "none"
_KINDS: Mapping[str, str] = MappingProxyType(
    {
        "SteSign": SIGN, "ste_sign": SIGN, "ApproxSign": SIGN, "approx_sign": SIGN,
        "SwishSign": SIGN, "swish_sign": SIGN,
        "MagnitudeAwareSign": MAGNITUDE, "magnitude_aware_sign": MAGNITUDE,
        "SteHeaviside": HEAVISIDE, "ste_heaviside": HEAVISIDE,
        "SteTern": TERNARIZE, "ste_tern": TERNARIZE,
        "DoReFa": DOREFA, "DoReFaQuantizer": DOREFA, "dorefa_quantizer": DOREFA,
        "NoOp": _NONE, "NoOpQuantizer": _NONE,
    }
)  # fmt: skip
_GRADIENTS = ("clip_value", "beta", "metrics", "precision")
_LARGEST_THRESHOLD = 2.0**30
_FUNCTION = "function"


@dataclass(frozen=True, slots=True)
class Quantizer:
    """What a quantizer computes.

    Parameters
    ----------
    name, kind : str
        As the file has it, and the function (see above).
    threshold : float or None
        Of ``ternary``; None is the mean magnitude's.
    bits, mode : int, str
        Of ``dorefa``.
    """

    name: str
    kind: str
    threshold: float | None = None
    bits: int = 1
    mode: str = ACTIVATIONS


@dataclass(frozen=True, slots=True)
class Quantized:
    """Quantized weights: ``values`` of type ``dtype``, times ``scale`` along the last axis."""

    values: np.ndarray
    dtype: DType
    scale: np.ndarray | None = None


def is_quantizer(name: object) -> bool:
    """Return whether a class or alias is one of larq's quantizers."""
    return isinstance(name, str) and name.rsplit(">", 1)[-1] in _KINDS


def read_quantizer(fields: Fields, key: str) -> Quantizer | None:
    """Return the quantizer that an entry names: an alias, or a class with its config.

    Raises
    ------
    SourceError
        If it is none of larq's, or its config has no meaning here.
    """
    value = fields.get(key, None)
    if value is None:
        return None
    if isinstance(value, str):
        return quantizer_of(Fields(f"{fields.where}: {key}", {}), value)
    inner = fields.inner(key)
    name = inner.get("class_name")
    if name == _FUNCTION:
        return quantizer_of(Fields(inner.where, {}), inner.get("config"))
    return quantizer_of(inner.inner("config"), name)


def quantizer_of(config: Fields, name: Any) -> Quantizer | None:
    """Return the quantizer of this name and config; None for one that changes nothing."""
    short = name.rsplit(">", 1)[-1] if isinstance(name, str) else name
    if not is_quantizer(short):
        known = sorted(_KINDS)
        remedy = nearest(short, known) if isinstance(short, str) else ""
        remedy = remedy or "A quantizer of one's own is code, which is never run here."
        raise config.refused("quantizer", name, f"one of {', '.join(known)}", remedy)
    kind = _KINDS[short]
    for key in _GRADIENTS:
        config.get(key, None)
    if kind == _NONE:
        return None
    if kind == TERNARIZE:
        averaged = config.truth("ternary_weight_networks", False)
        threshold = config.number("threshold_value", 0.05)
        if abs(threshold) > _LARGEST_THRESHOLD:
            raise config.refused("threshold_value", threshold, f"at most {_LARGEST_THRESHOLD:g}")
        found = Quantizer(short, kind, threshold=None if averaged else abs(threshold))
    elif kind == DOREFA:
        bits = config.positive("k_bit", 2)
        if bits > MAX_GRID_BITS:
            raise config.refused("k_bit", bits, f"1 to {MAX_GRID_BITS} bits")
        mode = config.choice("mode", (ACTIVATIONS, WEIGHTS), ACTIVATIONS)
        found = Quantizer(short, kind, bits=bits, mode=mode)
    else:
        found = Quantizer(short, kind)
    config.check_all_read()
    return found


def quantized(weight: np.ndarray, quantizer: Quantizer) -> Quantized:
    """Return what the quantizer makes of float32 weights, whose last axis is that of outputs."""
    return _WEIGHTS[quantizer.kind](weight, quantizer)


def _signs(weight: np.ndarray) -> np.ndarray:
    return np.where(weight >= 0, np.int8(1), np.int8(-1))


def _sign(weight: np.ndarray, _: Quantizer) -> Quantized:
    return Quantized(_signs(weight), BIT)


def _magnitude(weight: np.ndarray, _: Quantizer) -> Quantized:
    mean = np.abs(weight.astype(np.float64)).mean(axis=tuple(range(weight.ndim - 1)))
    return Quantized(_signs(weight), BIT, mean.astype(np.float32))


def _heaviside(weight: np.ndarray, _: Quantizer) -> Quantized:
    return Quantized((weight > 0).astype(np.int8), TERNARY)


def _ternary(weight: np.ndarray, quantizer: Quantizer) -> Quantized:
    if quantizer.threshold is None:
        total = np.abs(weight.astype(np.float64)).sum().astype(np.float32)
        t = np.float32(0.7) * total / np.float32(weight.size)
    else:
        t = np.float32(quantizer.threshold)
    return Quantized(np.sign(np.sign(weight + t) + np.sign(weight - t)).astype(np.int8), TERNARY)


def _dorefa(weight: np.ndarray, quantizer: Quantizer) -> Quantized:
    top = 2**quantizer.bits - 1
    half, n = np.float32(0.5), np.float32(top)
    scale = np.full(weight.shape[-1], 1 / top, np.float32) if top > 1 else None
    if quantizer.mode == ACTIVATIONS:
        levels = np.rint(np.clip(weight, np.float32(0), np.float32(1)) * n)
        return Quantized(levels.astype(np.int16), DType("signed", quantizer.bits + 1), scale)
    limited = np.tanh(weight)
    most = np.float32(2) * np.abs(limited).max()
    levels = np.rint(((limited / most if most else limited) + half) * n)
    dtype = DType("bipolar", quantizer.bits)
    return Quantized((2 * levels - n).astype(dtype.numpy), dtype, scale)


_WEIGHTS = {
    SIGN: _sign, MAGNITUDE: _magnitude, HEAVISIDE: _heaviside, TERNARIZE: _ternary, DOREFA: _dorefa,
}  # fmt: skip
