"""The twins whose activations between layers are floats or levels: float32, weight-only, wKaM ...

A tensor of the twin may stand for ``1 / ratio`` times its values: levels of 4 bits for signs, or
numbers in [0, 1] for levels. Only layers, and what moves elements, take such a tensor as it is;
the ratio joins the scale after the layer, and every other reader gets the real values.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from bnnsim.graph.dtypes import BIT, FLOAT32, INT8, TERNARY, DType
from bnnsim.graph.elementwise import to_dtype
from bnnsim.graph.ir import Graph, Node, Tensor
from bnnsim.graph.ops import activations_of, normal_attrs
from bnnsim.graph.quantizers import DOREFA, GRID, SIGN, TERNARIZE, requantized_range
from bnnsim.passes.affine import affine_of
from bnnsim.passes.input_scales import InputScales
from bnnsim.passes.layers import BIT_WEIGHTS, INTEGER, LEVELS, LINEAR, LOW, SOURCE, has_bits
from bnnsim.passes.modes import ALPHA_MODE, K_MODE, Mode
from bnnsim.passes.requantize import to_int8
from bnnsim.passes.rewriter import Rewriter
from bnnsim.passes.weights import binarized, on_levels

_MOVES = ("MaxPool", "Slice", "ChannelShuffle", "Flatten", "Reshape")
_SIGN_KEEPING = (*_MOVES, "AvgPool", "GlobalAvgPool", "PadChannels")
_COUNTING = ("Threshold", "AvgPool", "GlobalAvgPool")
_EXACT = 1e-9  # a product of an integer and 1 / an integer is an integer, or farther from one
_JOINING = ("Add", "Concat")
_SCALED = ("BatchNorm", "Affine", "Bias", "Scale", "IntegerAffine")


def float_twin(graph: Graph, row: Mode, operands: dict[int, str], *, keep_bn: bool) -> Graph:
    """Return the twin of ``graph``; ``operands`` says by node id what its layers multiply."""
    twin = _FloatTwin(graph, row, operands, keep_bn=keep_bn)
    for node in graph.nodes:
        twin.rewrite(node)
    for name in graph.outputs:
        if name in twin.ratios:
            twin.out.where[name] = twin.real(name).name
    return twin.out.graph()


class _FloatTwin:
    """The graph under construction, and the scales that wait for the next affine."""

    def __init__(self, graph: Graph, row: Mode, operands: dict[int, str], *, keep_bn: bool) -> None:
        self.out = Rewriter(graph)
        self.row, self.operands, self.keep_bn = row, operands, keep_bn
        self.dtype: DType = row.activation or FLOAT32
        self.dropped = set() if row.quantizer == DOREFA else _constant_signs(graph, operands)
        self.alphas: dict[str, Tensor] = {}
        self.low_inputs: dict[str, Tensor] = {}
        self.ratios: dict[str, float] = {}
        self.input_scales = InputScales(self.out) if row.name == K_MODE else None
        self.has_bits = has_bits(graph)
        # Where thresholds replace batch norms, these stay the source's own unless a scale waits.
        self.as_source = self.has_bits and row.batch_norm == "threshold"

    def rewrite(self, node: Node) -> None:
        """Append what the mode makes of ``node``."""
        scaled = [name for name in dict.fromkeys(activations_of(node)) if name in self.ratios]
        cast_away = node.op == "Cast" and self._needless(node)
        if not scaled or (node.op in LINEAR and not self._pads_between(node)):
            self._rewrite(node)
        elif node.op in _MOVES or cast_away:
            self._rewrite(node)
            self.ratios[node.output] = self.ratios[scaled[0]]
        elif node.op == "Cast":
            self.out.where[node.output] = self.real(node.inputs[0]).name
        else:
            levels = {name: self.out.where[name] for name in scaled}
            self.out.where.update({name: self.real(name).name for name in scaled})
            ratios = {name: self.ratios.pop(name) for name in scaled}
            self._rewrite(node)
            self.out.where.update(levels)
            self.ratios.update(ratios)

    def _pads_between(self, node: Node) -> bool:
        """Whether the pad of a layer of a float mode, which is an integer, is none in its input."""
        pad = node.attrs.get("pad_value", 0) * self.ratios[node.inputs[0]]
        return self.row.activation is not None and abs(pad - round(pad)) > _EXACT

    def real(self, name: str) -> Tensor:
        """Return the real values of a tensor of the source, computed once for all its readers."""
        levels = self.out.tensors[self.out.where[name]]
        real = f"{levels.name}.real"
        if f"{real}.out" not in self.out.tensors:
            factor = _filled(f"{real}.scale", levels.shape[-1:], 1 / self.ratios[name])
            self.out.derive(levels.name, real, "Scale", [factor])
        return self.out.tensors[f"{real}.out"]

    def _rewrite(self, node: Node) -> None:
        out, mixed = self.out, self.row.activation is None
        if node.op in LINEAR:
            self._linear(node)
        elif node.id in self.dropped or (node.op == "Cast" and self._needless(node)):
            out.alias(node)
        elif node.op in ("AvgPool", "GlobalAvgPool") and not mixed:
            out.cast(node, self.dtype)  # integers would be rounded
            out.emit(node)
        elif node.op in _SCALED:
            self._affine(node)
        elif node.op in _JOINING or (node.op == "Mul" and not mixed):
            if not (mixed and self._joins_integers(node)):
                out.cast(node, self.dtype)
            out.emit(node)
        elif node.op in ("Encode", "Quantize", "Threshold", "Requantize"):
            self._requantized(node)
        else:
            out.emit(node)

    def _joins_integers(self, node: Node) -> bool:
        """Whether what a node joins are integers that need no common type first."""
        types = {self.out.current(node, i).dtype for i in range(len(activations_of(node)))}
        return all(t.is_integer for t in types) and (node.op == "Add" or len(types) == 1)

    def _requantized(self, node: Node) -> None:
        """Append what stands in the place of a quantizer, a table or thresholds."""
        levels = node.op in ("Quantize", "Threshold")
        if self.row.activation is not None:
            self._quantizer(node)
        elif levels and LEVELS in self.operands.values():
            self._levels(node)
        elif levels and self.input_scales is not None:
            self.input_scales.sign(node)
        else:
            self.out.emit(node)

    def _needless(self, cast: Node) -> bool:
        """Whether a Cast can go: where all else becomes float, or only layers read its result."""
        readers = self.out.source.consumers(cast.output)
        if self.row.activation is not None:
            return True
        return not self.has_bits and all(node.op in LINEAR for node in readers)

    def _levels(self, node: Node) -> None:
        """Append the quantizer that gives the mode's levels where the source has its own."""
        trained = self.out.source.result(node).dtype
        if node.op == "Threshold":
            self._unknown_affine(node)
        quantizer = self.row.quantizer
        if quantizer == DOREFA and trained.kind != "unsigned":
            quantizer = GRID if self.row.bits > 1 else SIGN
        attrs = _quantizer_attrs(quantizer, self.row.bits)
        levels = self.out.emit(node, op="Quantize", attrs=attrs, constants=[])
        ratio = levels.dtype.high / trained.high
        if ratio != 1 or levels.dtype.kind != trained.kind:
            self.ratios[node.output] = ratio

    def _unknown_affine(self, node: Node) -> None:
        out = self.out
        constants = [out.unknown(node, "scale"), out.unknown(node, "bias")]
        out.insert(node, f"{node.name}.affine", "Affine", constants)

    def _quantizer(self, node: Node) -> None:
        out, trained = self.out, self.out.source.result(node).dtype
        if node.op == "Encode":
            table = out.source.tensor(node.inputs[1])
            data = None if table.data is None else to_dtype(table.data, self.dtype)
            out.emit(node, constants=[replace(table, dtype=self.dtype, data=data)])
            return
        if node.op == "Requantize":  # its integers are the values: a clip without the rounding
            attrs = normal_attrs(node)
            scale, bias = (out.source.tensor(name) for name in node.inputs[1:])
            if attrs["zero_point"] and bias.data is not None:
                moved = (bias.data - attrs["zero_point"]).astype(np.float32)
                bias = replace(bias, name=f"{bias.name}.moved", data=moved)
            constants = [scale, bias]
            out.insert(node, f"{node.name}.affine", "Affine", constants)
            ends = zip(("low", "high"), map(float, requantized_range(attrs)), strict=True)
            out.emit(node, op="Clip", attrs=dict(ends), constants=[])
            return
        if node.op == "Threshold":
            self._unknown_affine(node)
        low = 0.0 if node.op == "Quantize" and trained.kind == "unsigned" else -1.0
        out.emit(node, op="Clip", attrs={"low": low, "high": 1.0}, constants=[])
        if node.op == "Quantize" and trained.high != 1:
            self.ratios[node.output] = 1 / trained.high

    def _linear(self, node: Node) -> None:
        out, how = self.out, self.operands[node.id]
        weight = out.source.tensor(node.inputs[1])
        ratio = self.ratios.get(node.inputs[0], 1.0)
        if how == SOURCE and self.row.activation is None:
            out.emit(node)
        elif how == INTEGER:
            self._integer_layer(node, weight)
        elif how == LOW:
            levels, alpha = (
                binarized(weight)
                if self.row.quantizer == SIGN
                else (on_levels(weight, self._weight_type()))
            )
            reads = self._low_input(node)
            scale = self.input_scales.of_layer(node) if self.input_scales else None
            out.emit(node, constants=[levels], reads=reads)
            if scale is not None:
                self._follow(node, "scaled", "Mul", scale, groups=scale.shape[-1])
            self._scale_after(node, alpha, reads.dtype.high)
        elif how == LEVELS and weight.dtype.is_integer:
            levels, alpha = weight, _filled(f"{weight.name}.alpha", weight.shape[:1], 1)
            if weight.dtype != TERNARY or self.row.weight == TERNARY:
                levels, alpha = on_levels(weight, self._weight_type())
            attrs = _scaled_pad(node, ratio, out.current(node).dtype)
            out.emit(node, constants=[levels], attrs=attrs)
            self._scale_after(node, alpha, ratio)
        elif how == BIT_WEIGHTS:
            if self.row.activation is not None or out.current(node).dtype.is_float:
                out.cast(node, self.dtype)
            bits, alpha = binarized(weight)
            out.emit(node, constants=[bits], attrs=_scaled_pad(node, ratio, self.dtype))
            self._scale_after(node, alpha, ratio)
        else:
            out.cast(node, self.dtype)
            attrs = _scaled_pad(node, ratio, self.dtype)
            out.emit(node, constants=[self._float_weight(weight)], attrs=attrs)
            if ratio != 1:
                self._scale_after(node, _filled(f"{node.name}.ratio", weight.shape[:1], 1), ratio)

    def _weight_type(self) -> DType:
        assert self.row.weight is not None  # of a mode that quantizes
        return self.row.weight

    def _float_weight(self, weight: Tensor) -> Tensor:
        """Return the weight in the mode's type; a weight-only mode keeps bits and ternaries."""
        if self.row.weight == BIT and weight.dtype.is_integer:
            return weight
        data = None if weight.data is None else to_dtype(weight.data, self.dtype)
        return replace(weight, dtype=self.dtype, data=data)

    def _low_input(self, node: Node) -> Tensor:
        """Return the levels of what ``node`` reads, computed once for all its readers."""
        now, quantizer = self.out.current(node), self.row.quantizer
        if now.dtype == BIT:
            return now
        if now.name not in self.low_inputs:
            attrs = _quantizer_attrs(quantizer, self.row.bits)
            name = f"{node.name}.{'sign' if quantizer == SIGN else 'quantize'}"
            self.low_inputs[now.name] = self.out.derive(now.name, name, "Quantize", attrs=attrs)
        return self.low_inputs[now.name]

    def _integer_layer(self, node: Node, weight: Tensor) -> None:
        """Append an int8 layer; the range of its input is unknown, so that it is for costs only."""
        out, now = self.out, self.out.current(node)
        vectors = [
            Tensor(f"{node.name}.input.{role}.synthetic", now.shape[-1:], FLOAT32, True)
            for role in ("scale", "bias")
        ]
        name = f"{node.name}.quantize"
        reads = out.derive(now.name, name, "Requantize", vectors, {"dtype": "int8"})
        data, _ = to_int8(weight.data)
        out.emit(node, constants=[replace(weight, dtype=INT8, data=data)], reads=reads)
        self._scale_after(node, out.unknown(node, "scale"))

    def _scale_after(self, node: Node, alpha: Tensor, ratio: float = 1.0) -> None:
        """Multiply the layer's result by ``alpha / ratio``: in what follows if only it reads.

        Not at all where the factor is 1, unless the mode is there to show it and floats in the
        place of the sums change nothing.
        """
        shown = self.row.name in (ALPHA_MODE, K_MODE) and not self._counted(node.output)
        if alpha.data is not None:
            factors = alpha.data / np.float32(ratio)
            if not shown and (factors == 1).all():
                return
            alpha = replace(alpha, data=factors)
        taker = self._taker(node)
        if taker is not None and (not self.keep_bn or taker.op in ("Scale", "Threshold")):
            if not (self.as_source and shown):  # of bits alpha is 1
                self.alphas[taker.inputs[0]] = alpha
        else:
            self._follow(node, "alpha", "Scale", alpha)

    def _counted(self, name: str) -> bool:
        """Whether an integer of the source reaches a node that makes something else of a float."""
        graph = self.out.source
        return graph.tensor(name).dtype.is_integer and any(
            node.op in _COUNTING
            or (node.op not in (*LINEAR, "Quantize") and self._counted(node.output))
            for node in graph.consumers(name)
        )

    def _taker(self, node: Node) -> Node | None:
        """Return the node that can take in a positive scale of ``node``'s result, or None.

        A maximum of scaled numbers is the scaled maximum. Of thresholds, only those of bits can:
        there the scale is 1.
        """
        graph = self.out.source
        while node.output not in graph.outputs:
            readers = graph.consumers(node.output)
            if len(readers) != 1:
                break
            node = readers[0]
            if node.op in _SCALED or (node.op == "Threshold" and self.has_bits):
                return node
            if node.op != "MaxPool":
                break
        return None

    def _follow(self, node: Node, label: str, op: str, factor: Tensor, **attrs: int) -> None:
        """Append a product with ``factor`` that stands for the result of ``node`` from here on."""
        tensor = self.out.where[node.output]
        result = self.out.derive(tensor, f"{node.name}.{label}", op, [factor], attrs)
        self.out.where[node.output] = result.name

    def _affine(self, node: Node) -> None:
        """Append a batch norm, affine, scale or bias, with the scale that waits for it."""
        out, graph = self.out, self.out.source
        alpha = self.alphas.get(node.inputs[0])
        if alpha is None and self._stays(node):
            out.emit(node)
            return
        constants = [graph.tensor(name) for name in node.inputs[1:]]
        if node.op == "Scale":
            out.emit(node, constants=[_product(constants[0], alpha)])
            return
        if node.op in ("BatchNorm", "IntegerAffine"):
            constants = [*affine_of(graph, node)]
        *scales, bias = constants
        ones = Tensor(f"{node.name}.scale", bias.shape, FLOAT32, True, np.ones(bias.shape, "f4"))
        scale = scales[0] if scales else ones
        out.emit(node, op="Affine", attrs={}, constants=[_product(scale, alpha), bias])

    def _stays(self, node: Node) -> bool:
        """Whether a node without a waiting scale stays what it is."""
        if node.op == "BatchNorm":
            return self.keep_bn or self.as_source
        if node.op == "IntegerAffine":
            return self.as_source and self.out.current(node).dtype.is_integer
        return True


def _filled(name: str, shape: tuple[int, ...], value: float) -> Tensor:
    return Tensor(name, shape, FLOAT32, True, np.full(shape, value, np.float32))


def _quantizer_attrs(quantizer: str, bits: int) -> dict[str, Any]:
    plain = {"quantizer": quantizer}
    return plain if quantizer in (SIGN, TERNARIZE) else {**plain, "bits": bits}


def _scaled_pad(node: Node, ratio: float, dtype: DType) -> dict[str, Any]:
    """Return a layer's attributes with its padding value times ``ratio``, next to it in ``dtype``.

    Bipolar types are padded by 0 or by odd integers.
    """
    attrs = dict(node.attrs)
    if attrs.get("pad_value") and ratio != 1:
        wanted = attrs["pad_value"] * ratio
        level = int(np.rint(wanted))
        if dtype.kind == "bipolar" and level and level % 2 == 0:
            level += 1 if wanted > level else -1
        attrs["pad_value"] = level
    return attrs


def _product(scale: Tensor, alpha: Tensor | None) -> Tensor:
    if alpha is None:
        return scale
    known = scale.data is not None and alpha.data is not None
    return replace(scale, data=scale.data * alpha.data if known else None)  # type: ignore[operator]


def _constant_signs(graph: Graph, operands: dict[int, str]) -> set[int]:
    """Return the ids of rectifiers whose results a binary layer reads: their sign says nothing."""
    found: set[int] = set()
    for node in graph.nodes:
        before = graph.producer(activations_of(node)[0]) if operands.get(node.id) == LOW else None
        while before is not None and before.op in _SIGN_KEEPING:
            before = graph.producer(activations_of(before)[0])
        if before is not None and _never_negative(before):
            found.add(before.id)
    return found


def _never_negative(node: Node) -> bool:
    return node.op == "Relu" or (node.op == "Clip" and normal_attrs(node)["low"] >= 0)
