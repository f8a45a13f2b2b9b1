"""The twins with int8 activations: scales travel with the tensors, one Requantize per layer.

A tensor of the twin holds integers q that stand for the real value ``q * scale + bias``. Batch
norms and biases only change that pair; a binarization emits the one rounding to int8, whose
saturation at +-127/127 is the clip to [-1, 1] that replaces the sign.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from bnnsim.graph.dtypes import BIT, FLOAT32, INT8, DType
from bnnsim.graph.ir import Graph, Node, Tensor
from bnnsim.passes.affine import affine_of
from bnnsim.passes.modes import Mode
from bnnsim.passes.rewriter import Rewriter

_TOP = 127.0  # int8 activations are symmetric: -127 .. 127 stand for -1 .. 1
_UINT1 = DType("unsigned", 1)


@dataclass(frozen=True, slots=True, eq=False)
class Real:
    """What a tensor's integers stand for: ``q * scale + bias``; None where data are missing."""

    scale: np.ndarray | None
    bias: np.ndarray | None

    @property
    def is_one_scale(self) -> bool:
        """Whether one factor, and nothing added, gives the value; true where data are missing."""
        if self.scale is None or self.bias is None:
            return True
        return self.scale.size == 1 and not self.bias.any()

    def then(self, scale: np.ndarray | None, bias: np.ndarray | None) -> Real:
        """Return this pair followed by ``y = x * scale + bias``."""
        if self.scale is None or self.bias is None or scale is None or bias is None:
            return Real(None, None)
        return Real(self.scale * scale, self.bias * scale + bias)


_PLAIN = Real(np.ones(1), np.zeros(1))
_UNKNOWN = Real(None, None)


def integer_twin(graph: Graph, row: Mode) -> Graph:
    """Return the twin with int8 activations and int8 (or kept bit) weights."""
    out = Rewriter(graph)
    real: dict[str, Real] = {name: _PLAIN for name in graph.inputs}
    for node in graph.nodes:
        real[node.output] = _node(out, node, real[node.inputs[0]], row)
    _dequantize_output(out, graph, real[graph.outputs[0]])
    return out.graph()


def _node(out: Rewriter, node: Node, real: Real, row: Mode) -> Real:
    if node.op == "Encode":
        return _encode(out, node)
    if node.op in ("Dense", "Conv2d"):
        return _linear(out, node, real, row)
    if node.op in ("BatchNorm", "IntegerAffine"):
        scale, bias = affine_of(out.source, node)
        return _absorb(out, node, real.then(_wide(scale.data), _wide(bias.data)))
    if node.op in ("Affine", "Bias"):
        constants = [out.source.tensor(name).data for name in node.inputs[1:]]
        scale_data = np.ones(1) if node.op == "Bias" else _wide(constants[0])
        return _absorb(out, node, real.then(scale_data, _wide(constants[-1])))
    if node.op == "Cast":
        return _absorb(out, node, real)
    if node.op == "Quantize":
        return _requantize(out, node, real)
    if node.op in ("Threshold", "Relu", "Clip"):
        return _requantize(out, node, _UNKNOWN)
    if node.op == "MaxPool":
        return _pool(out, node, real)
    out.emit(node)
    return _flattened(real, out.source.activation(node)) if node.op == "Flatten" else real


def _wide(data: np.ndarray | None) -> np.ndarray | None:
    return None if data is None else data.astype(np.float64)


def _absorb(out: Rewriter, node: Node, real: Real) -> Real:
    out.alias(node)
    return real


def _encode(out: Rewriter, node: Node) -> Real:
    table = out.source.tensor(node.inputs[1])
    data, scale = _to_int8(table.data)
    out.emit(node, constants=[replace(table, dtype=INT8, data=data)])
    return Real(scale, None if scale is None else np.zeros(1))


def _to_int8(data: np.ndarray | None) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return int8 integers q and the scale with ``data ~ q * scale``, symmetric around 0."""
    if data is None:
        return None, None
    largest = float(np.abs(data.astype(np.float64)).max(initial=0)) or 1.0
    scale = largest / _TOP
    return np.rint(data / scale).astype(np.int8), np.full(1, scale)


def _linear(out: Rewriter, node: Node, real: Real, row: Mode) -> Real:
    if out.current(node).dtype != INT8 or not real.is_one_scale:
        real = _to_one_scale(out, node, real)
    weight = out.source.tensor(node.inputs[1])
    scale: np.ndarray | None = np.ones(1)
    if not (row.weight == BIT and weight.dtype.is_integer):
        data, scale = _to_int8(weight.data)
        weight = replace(weight, dtype=INT8, data=data)
    attrs: dict[str, Any] = dict(node.attrs)
    if attrs.get("pad_value") and real.scale is not None:
        attrs["pad_value"] = int(np.rint(attrs["pad_value"] / real.scale[0]))
    out.emit(node, constants=[weight], attrs=attrs)
    return real.then(scale, np.zeros(1))


def _to_one_scale(out: Rewriter, node: Node, real: Real) -> Real:
    """Insert a Requantize before ``node``, so that one scale and no bias stand for its input.

    Values that fit a byte have a known range. That of a float input or a bare accumulator is
    unknown: its rounding to int8 can be costed but not carried out.
    """
    now, channels = out.current(node).dtype, out.current(node).shape[-1]
    name = f"{node.name}.input"
    known = now.is_integer and now.bits <= 8 and real.scale is not None and real.bias is not None
    if known and real.scale is not None and real.bias is not None:
        ends = [np.abs(end * real.scale + real.bias).max() for end in (now.low, now.high)]
        step = max(ends) / _TOP or 1.0
        constants = [
            _vector(f"{name}.scale", real.scale / step, channels),
            _vector(f"{name}.bias", real.bias / step, channels),
        ]
        real = Real(np.full(1, step), np.zeros(1))
    else:
        roles = ("scale", "bias")
        constants = [Tensor(f"{name}.{r}.synthetic", (channels,), FLOAT32, True) for r in roles]
        real = _UNKNOWN
    out.insert(node, f"{node.name}.quantize", "Requantize", constants, {"dtype": "int8"})
    return real


def _requantize(out: Rewriter, node: Node, real: Real) -> Real:
    channels = out.source.result(node).shape[-1]
    if real.scale is None or real.bias is None:
        constants = [out.unknown(node, "scale"), out.unknown(node, "bias")]
    else:
        constants = [
            _vector(f"{node.name}.scale", real.scale * _TOP, channels),
            _vector(f"{node.name}.bias", real.bias * _TOP, channels),
        ]
    out.emit(node, op="Requantize", attrs={"dtype": "int8"}, constants=constants)
    known = real.scale is not None
    return Real(np.full(1, 1 / _TOP), np.zeros(1)) if known else _UNKNOWN


def _vector(name: str, values: np.ndarray, channels: int) -> Tensor:
    data = np.broadcast_to(values, (channels,)).astype(np.float32)
    return Tensor(name, (channels,), FLOAT32, True, data)


def _pool(out: Rewriter, node: Node, real: Real) -> Real:
    constants = [out.source.tensor(name) for name in node.inputs[1:]]
    if real.scale is not None and (real.scale < 0).any():
        falling = np.broadcast_to(real.scale < 0, out.source.activation(node).shape[-1:])
        if constants and constants[0].data is not None:
            falling = falling ^ constants[0].data.astype(bool)
        name = f"{node.name}.minimum.falling"
        constants = [Tensor(name, falling.shape, _UINT1, True, falling.astype(np.uint8))]
    out.emit(node, constants=constants)
    return real


def _flattened(real: Real, image: Tensor) -> Real:
    """Return per-feature scales for the (H, W, C) order of a flattened image."""
    if real.scale is None or real.bias is None or real.scale.size == real.bias.size == 1:
        return real
    pixels = image.size // image.shape[-1]
    shape = (image.shape[-1],)
    scale, bias = (np.broadcast_to(v, shape) for v in (real.scale, real.bias))
    return Real(np.tile(scale, pixels), np.tile(bias, pixels))


def _dequantize_output(out: Rewriter, graph: Graph, real: Real) -> None:
    """Append the affine that gives real logits, unless the integers are the values."""
    name = graph.outputs[0]
    tensor = out.tensors[out.where[name]]
    if tensor.dtype.is_float or real is _PLAIN:
        return
    channels = tensor.shape[-1]
    if real.scale is None or real.bias is None:
        constants = [
            Tensor(f"output.{role}.synthetic", (channels,), FLOAT32, True)
            for role in ("scale", "bias")
        ]
    else:
        constants = [
            _vector("output.scale", real.scale, channels),
            _vector("output.bias", real.bias, channels),
        ]
    reader = Node(-1, "output", "Affine", (name,), ("",))
    out.insert(reader, "output.dequantize", "Affine", constants)
