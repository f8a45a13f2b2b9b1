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
from bnnsim.graph.ops import OPS, activations_of, normal_attrs
from bnnsim.passes.affine import affine_of
from bnnsim.passes.layers import BIT_WEIGHTS, FLOAT
from bnnsim.passes.modes import Mode
from bnnsim.passes.rewriter import Rewriter
from bnnsim.passes.weights import binarized

_TOP = 127.0  # int8 activations are symmetric: -127 .. 127 stand for -1 .. 1
_UINT1 = DType("unsigned", 1)
_UINT7 = DType("unsigned", 7)  # levels that start at 0: 0 .. 127 stand for 0 .. 1


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


def integer_twin(graph: Graph, row: Mode, operands: dict[int, str]) -> Graph:
    """Return the twin with int8 activations and int8 (or bit) weights.

    ``operands`` says by node id which layers of a float source stay float or get bit weights.
    """
    out = Rewriter(graph)
    real: dict[str, Real] = {name: _PLAIN for name in graph.inputs}
    for node in graph.nodes:
        if node.op in ("Dense", "Conv2d"):
            real[node.output] = _linear(out, node, real, (row, operands[node.id]))
        elif node.op == "Add":
            real[node.output] = _add(out, node, real)
        elif node.op == "Concat":
            real[node.output] = _concat(out, node, real)
        elif node.op == "Mul":
            real[node.output] = _mul(out, node, real)
        else:
            real[node.output] = _node(out, node, real[node.inputs[0]])
    _dequantize_output(out, graph, real[graph.outputs[0]])
    return out.graph()


def _node(out: Rewriter, node: Node, real: Real) -> Real:
    if node.op == "Encode":
        return _encode(out, node)
    if node.op in ("BatchNorm", "IntegerAffine"):
        scale, bias = affine_of(out.source, node)
        return _absorb(out, node, real.then(_wide(scale.data), _wide(bias.data)))
    if node.op in ("Affine", "Bias", "Scale"):
        constants = {
            role: _wide(out.source.tensor(name).data)
            for role, name in zip(OPS[node.op].inputs[1:], node.inputs[1:], strict=True)
        }
        absorbed = real.then(constants.get("scale", np.ones(1)), constants.get("bias", np.zeros(1)))
        return _absorb(out, node, absorbed)
    if node.op == "Cast":
        return _absorb(out, node, real)
    if node.op == "Quantize":
        return _requantize(out, node, real)
    if node.op in ("Threshold", "Relu", "PRelu", "Clip"):
        return _requantize(out, node, _UNKNOWN)
    if node.op == "Requantize":
        factor, shift = (_wide(out.source.tensor(name).data) for name in node.inputs[1:])
        pair = real.then(factor, shift)
        out.emit(node, constants=_real_constants(node.name, pair, out.current(node).shape[-1]))
        return _PLAIN
    if node.op == "MaxPool":
        return _pool(out, node, real)
    if node.op in ("InputScale", "Sigmoid", "Softmax"):
        return _of_numbers(out, node, real)
    out.emit(node)
    return _reshaped(out, node, real)


def _reshaped(out: Rewriter, node: Node, real: Real) -> Real:
    """Return what a moved or averaged tensor's integers stand for."""
    if node.op in ("Flatten", "Reshape"):
        return _flattened(real, out.source.activation(node), out.source.result(node))
    if real.scale is None or real.bias is None or real.scale.size == real.bias.size == 1:
        moved = real.bias is not None and real.bias.any()
        return _UNKNOWN if node.op == "PadChannels" and moved else real
    if node.op == "ChannelShuffle":
        shape = (normal_attrs(node)["groups"], -1)
        wide = (np.broadcast_to(v, out.source.result(node).shape[-1:])
                for v in (real.scale, real.bias))  # fmt: skip
        return Real(*(v.reshape(shape).T.reshape(-1) for v in wide))
    if node.op == "PadChannels":
        return _UNKNOWN  # zeros stand for 0 only under one scale without offset
    if node.op == "Slice":
        attrs, channels = normal_attrs(node), out.source.activation(node).shape[-1:]
        taken = slice(attrs["start"][2], attrs["stop"][2], attrs["step"][2])
        return Real(*(np.broadcast_to(v, channels)[taken] for v in (real.scale, real.bias)))
    return real


def _wide(data: np.ndarray | None) -> np.ndarray | None:
    return None if data is None else data.astype(np.float64)


def _absorb(out: Rewriter, node: Node, real: Real) -> Real:
    out.alias(node)
    return real


def _encode(out: Rewriter, node: Node) -> Real:
    table = out.source.tensor(node.inputs[1])
    data, scale = to_int8(table.data)
    out.emit(node, constants=[replace(table, dtype=INT8, data=data)])
    return Real(scale, None if scale is None else np.zeros(1))


def to_int8(data: np.ndarray | None) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return int8 integers q and the scale with ``data ~ q * scale``, symmetric around 0."""
    if data is None:
        return None, None
    largest = float(np.abs(data.astype(np.float64)).max(initial=0)) or 1.0
    scale = largest / _TOP
    return np.rint(data / scale).astype(np.int8), np.full(1, scale)


def _linear(out: Rewriter, node: Node, reals: dict[str, Real], how: tuple[Mode, str]) -> Real:
    row, operands = how
    if operands == FLOAT:
        return _of_numbers(out, node, reals[node.inputs[0]])
    if out.current(node).dtype not in (INT8, _UINT7) or not reals[node.inputs[0]].is_one_scale:
        _round(out, node, reals, 0)
    real, weight = reals[node.inputs[0]], out.source.tensor(node.inputs[1])
    real = real if real.bias is None else Real(real.scale, np.zeros(1))
    scale: np.ndarray | None = np.ones(1)
    if operands == BIT_WEIGHTS:
        weight, alpha = binarized(weight)
        scale = _wide(alpha.data)
    elif not (row.weight == BIT and weight.dtype.is_integer):
        data, scale = to_int8(weight.data)
        weight = replace(weight, dtype=INT8, data=data)
    attrs: dict[str, Any] = dict(node.attrs)
    if attrs.get("pad_value") and real.scale is not None:
        attrs["pad_value"] = int(np.rint(attrs["pad_value"] / real.scale[0]))
    out.emit(node, constants=[weight], attrs=attrs)
    return real.then(scale, np.zeros(1))


def _round(out: Rewriter, node: Node, reals: dict[str, Real], index: int) -> None:
    """Insert the rounding of an activation to int8, so that one scale and no bias stand for it.

    Values that fit a byte have a known range. That of a float input, a sum or a bare accumulator is
    unknown: its rounding can be costed but not carried out.
    """
    source, mark = activations_of(node)[index], index or ""
    now, real = out.current(node, index), reals[source]
    name, channels = f"{node.name}.input{mark}", now.shape[-1]
    is_byte = now.dtype.is_integer and now.dtype.bits <= 8
    if is_byte and real.scale is not None and real.bias is not None:
        ends = [np.abs(v * real.scale + real.bias).max() for v in (now.dtype.low, now.dtype.high)]
        step = max(ends) / _TOP or 1.0
        pair = Real(real.scale / step, real.bias / step)
        reals[source] = Real(np.full(1, step), np.zeros(1))
    else:
        pair = reals[source] = _UNKNOWN
    constants = _real_constants(name, pair, channels)
    rounding = f"{node.name}.quantize{mark}"
    out.insert(node, rounding, "Requantize", constants, {"dtype": "int8"}, index)


def _add(out: Rewriter, node: Node, reals: dict[str, Real]) -> Real:
    """Append the sum of two int8 tensors of a common scale, which only training could tell."""
    for index in range(len(activations_of(node))):
        if out.current(node, index).dtype != INT8:
            _round(out, node, reals, index)
    out.emit(node)
    return _UNKNOWN


def _concat(out: Rewriter, node: Node, reals: dict[str, Real]) -> Real:
    """Append the channels of several tensors as they are where one type holds them all."""
    indices = range(len(activations_of(node)))
    if len({out.current(node, index).dtype for index in indices}) > 1:
        for index in indices:
            if out.current(node, index).dtype != INT8:
                _round(out, node, reals, index)
    out.emit(node)
    pairs = [reals[name] for name in activations_of(node)]
    if all(pair is _PLAIN for pair in pairs):
        return _PLAIN
    sizes = [out.source.tensor(name).shape[-1:] for name in activations_of(node)]
    if any(pair.scale is None or pair.bias is None for pair in pairs):
        return _UNKNOWN
    both = [[np.broadcast_to(v, s) for v, s in zip(part, sizes, strict=True)]
            for part in zip(*((p.scale, p.bias) for p in pairs), strict=True)]  # fmt: skip
    return Real(*(np.concatenate(part) for part in both))


def _mul(out: Rewriter, node: Node, reals: dict[str, Real]) -> Real:
    """Append the product of what stands for two tensors; of an offset it is not that of both."""
    a, b = (reals[name] for name in activations_of(node))
    if out.current(node, 1).dtype.is_integer:
        out.insert(node, f"{node.name}.cast", "Cast", attrs={"dtype": "float32"}, index=1)
    out.emit(node)
    plain = a.bias is not None and not a.bias.any() and b.is_one_scale
    return a.then(b.scale, np.zeros(1)) if plain else _UNKNOWN


def _of_numbers(out: Rewriter, node: Node, real: Real) -> Real:
    """Append what stays float32, such as a kept layer, after the values its input stands for."""
    now = out.current(node)
    if real is not _PLAIN or now.dtype.is_integer:
        constants = _real_constants(f"{node.name}.input", real, now.shape[-1])
        now = out.derive(now.name, f"{node.name}.dequantize", "Affine", constants)
    out.emit(node, reads=now)
    return _PLAIN


def _real_constants(name: str, real: Real, channels: int) -> list[Tensor]:
    """Return scale and bias that give the real values, without data where these are unknown."""
    roles = ("scale", "bias")
    if real.scale is None or real.bias is None:
        return [Tensor(f"{name}.{role}.synthetic", (channels,), FLOAT32, True) for role in roles]
    pair = (real.scale, real.bias)
    return [_vector(f"{name}.{r}", v, channels) for r, v in zip(roles, pair, strict=True)]


def _requantize(out: Rewriter, node: Node, real: Real) -> Real:
    """Append the rounding to bytes that stands for a quantizer, a threshold or a rectifier.

    Levels of the source stand for their share of the highest one, so that 127 stands for it.
    """
    levels = out.source.result(node).dtype
    channels = out.source.result(node).shape[-1]
    dtype = _UINT7 if node.op == "Quantize" and levels.kind == "unsigned" else INT8
    if real.scale is None or real.bias is None:
        constants = [out.unknown(node, "scale"), out.unknown(node, "bias")]
    else:
        constants = [
            _vector(f"{node.name}.scale", real.scale * _TOP, channels),
            _vector(f"{node.name}.bias", real.bias * _TOP, channels),
        ]
    out.emit(node, op="Requantize", attrs={"dtype": str(dtype)}, constants=constants)
    known = real.scale is not None
    return Real(np.full(1, levels.high / _TOP), np.zeros(1)) if known else _UNKNOWN


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


def _flattened(real: Real, image: Tensor, result: Tensor) -> Real:
    """Return per-feature scales for the (H, W, C) order of a reshaped image.

    Where the new shape has several pixels, one scale for all is needed.
    """
    if real.scale is None or real.bias is None or real.scale.size == real.bias.size == 1:
        return real
    pixels = image.size // image.shape[-1]
    shape = (image.shape[-1],)
    scale, bias = (np.broadcast_to(v, shape) for v in (real.scale, real.bias))
    scale, bias = np.tile(scale, pixels), np.tile(bias, pixels)
    return Real(scale, bias) if result.shape[-1] == result.size else _UNKNOWN


def _dequantize_output(out: Rewriter, graph: Graph, real: Real) -> None:
    """Append the affine that gives real logits, unless the numbers are the values."""
    name = graph.outputs[0]
    tensor = out.tensors[out.where[name]]
    if real is _PLAIN:
        return
    constants = _real_constants("output", real, tensor.shape[-1])
    reader = Node(-1, "output", "Affine", (name,), ("",))
    out.insert(reader, "output.dequantize", "Affine", constants)
