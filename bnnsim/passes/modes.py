"""The mode table: what each execution mode makes of every part of a network.

This is the one place where it is written; ``precision.py`` carries it out, the documentation
prints it. A mode changes operand types and what stands between the layers, never the layers'
names, shapes or order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType

from bnnsim.errors import InputError, message, nearest
from bnnsim.graph.dtypes import BIT, FLOAT16, FLOAT32, INT8, DType


@dataclass(frozen=True, slots=True)
class Mode:
    """One row of the mode table.

    Parameters
    ----------
    name : str
    activation, weight : DType or None
        Operand types of Dense and Conv2d; None keeps the source's own.
    accumulator : str
        Type of the sums, in words.
    batch_norm : str
        ``fold`` into the weights before it and a Bias, ``affine`` per channel, ``requantize`` per
        channel to the activation type, or ``threshold``.
    nonlinearity : str
        What a binarization becomes: ``clip`` to [-1, 1], ``saturate`` (part of requantizing),
        ``threshold``, or ``stochastic sign``.
    first_layer, last_layer, pooling, residual_stream : str
        In words; the residual stream is what the additions of shortcuts read and write.
    what_if : str
        What becomes of the layers of a source without bit weights.
    """

    name: str
    activation: DType | None
    weight: DType | None
    accumulator: str
    batch_norm: str
    nonlinearity: str
    first_layer: str
    last_layer: str
    pooling: str
    residual_stream: str
    what_if: str


STOCHASTIC_MODE = "binary-stochastic"
ALPHA_MODE, K_MODE = "xnor-alpha", "xnor-k"
_BINARY = (
    "int32",
    "threshold",
    "threshold",
    "integer input x bit weights, exact",
    "BatchNorm kept in float32, integer logits where the source has none",
    "OR or AND of bits; averages in float32",
)
_SCALES = "sign(w) with alpha = mean |w| per channel in the affine; first and last layer {ends}"
_STREAM = "as the source; float32 in a what-if twin, with one sign before each layer that reads it"
_SIGNS = "; a sign in the place of each ReLU that a binarized layer reads"
_ROUNDED = "int8: what is no int8 is rounded before the addition, the sum after it"

MODES: Mapping[str, Mode] = MappingProxyType(
    {
        mode.name: mode
        for mode in (
            Mode("native", None, None, *_BINARY, "as the source", "none: as the source"),
            Mode(
                "float32",
                FLOAT32,
                FLOAT32,
                "float32",
                "fold",
                "clip",
                "float32 x float32",
                "bias, float32 logits",
                "max or average of float32 (min where a folded scale is negative)",
                "float32",
                "none: as the source",
            ),
            Mode(
                "int8",
                INT8,
                INT8,
                "int32",
                "requantize",
                "saturate",
                "int8 input (rounded to 1/127 of its range) x int8",
                "affine to float32 logits",
                "max or average of int8",
                _ROUNDED,
                "int8 weights, ranges of activations unknown: cost only",
            ),
            Mode(
                "weight-only:fp32",
                FLOAT32,
                BIT,
                "float32",
                "affine",
                "clip",
                "float32 x bit weights",
                "affine, float32 logits",
                "max or average of float32",
                "float32",
                _SCALES.format(ends="float32"),
            ),
            Mode(
                "weight-only:fp16",
                FLOAT16,
                BIT,
                "float16",
                "affine",
                "clip",
                "float16 x bit weights",
                "affine, float16 logits",
                "max or average of float16",
                "float16",
                _SCALES.format(ends="float16"),
            ),
            Mode(
                "weight-only:int8",
                INT8,
                BIT,
                "int32",
                "requantize",
                "saturate",
                "int8 input (rounded to 1/127 of its range) x bit weights",
                "affine to float32 logits",
                "max or average of int8",
                _ROUNDED,
                _SCALES.format(ends="int8") + ", ranges of activations unknown: cost only",
            ),
            Mode(
                "binary",
                None,
                BIT,
                *_BINARY,
                _STREAM,
                _SCALES.format(ends="float32") + _SIGNS,
            ),
            Mode(
                STOCHASTIC_MODE,
                None,
                BIT,
                "int32",
                "affine",
                "stochastic sign",
                "integer input x bit weights, exact",
                "BatchNorm kept in float32, integer logits where the source has none",
                "max of int32 before batch norm, OR or AND of bits after the sign",
                "as the source",
                "none: a source with binarized layers is needed",
            ),
            Mode(
                ALPHA_MODE,
                None,
                BIT,
                "int32, times alpha per channel",
                "threshold",
                "threshold: alpha moves it; alpha is a product of its own with --keep-bn",
                *_BINARY[3:],
                _STREAM,
                _SCALES.format(ends="float32") + _SIGNS + "; of bit weights alpha is 1",
            ),
            Mode(
                K_MODE,
                None,
                BIT,
                "int32, times K of the output pixel (one product per output), times alpha per "
                "channel; K = mean |input| over channels and window, before the sign",
                "affine",
                "sign of the float32 affine, whose result the next K needs",
                _BINARY[3],
                "affine, float32 logits",
                "max or average of float32",
                _STREAM,
                _SCALES.format(ends="float32") + _SIGNS + "; of bit weights alpha is 1; thresholds "
                "become an affine of unknown scale and a sign: cost only",
            ),
        )
    }
)

ALIASES: Mapping[str, str] = MappingProxyType({"weight-only": "weight-only:fp32"})


def mode_named(name: str) -> Mode:
    """Return the mode called ``name``.

    Raises
    ------
    InputError
        If there is no such mode; the message lists them and suggests the nearest.
    """
    found = MODES.get(ALIASES.get(name, name))
    if found is None:
        known = [*MODES, *ALIASES]
        remedy = nearest(name, known)
        raise InputError(message("mode", name, f"one of {', '.join(known)}", remedy))
    return found


def mode_rows() -> list[dict[str, str]]:
    """Return the table as plain rows for printing."""
    names = [field.name for field in fields(Mode)]
    return [
        {
            name: "as the source" if getattr(mode, name) is None else str(getattr(mode, name))
            for name in names
        }
        for mode in MODES.values()
    ]
