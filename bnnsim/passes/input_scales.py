"""XNOR-Net's K: what is lost by taking the sign of a layer's input, one number per output pixel.

References
----------
Rastegari et al., "XNOR-Net", ECCV 2016, section 3.2: ``I * W ~ (sign(I) conv sign(W)) . K alpha``
with ``K = A * k``, A the mean of |I| over channels and k a box filter of weights 1 / (r s).
"""

from __future__ import annotations

from typing import Any

from bnnsim.errors import InputError, message
from bnnsim.graph.dtypes import BIT
from bnnsim.graph.ir import Node, Tensor
from bnnsim.graph.ops import constants_of, normal_attrs
from bnnsim.passes.modes import K_MODE
from bnnsim.passes.rewriter import Rewriter

# Of a sign: the sign of the same of what it was taken of.
_MOVES = ("MaxPool", "Slice", "ChannelShuffle", "Flatten", "Reshape")


class InputScales:
    """Appends the scale maps of a graph under construction.

    Parameters
    ----------
    out : Rewriter
        Receives the InputScale nodes. Layers that read one tensor through equal windows share one.
    """

    def __init__(self, out: Rewriter) -> None:
        self.out = out
        self._reals: dict[str, Tensor] = {}
        self._maps: dict[tuple[Any, ...], Tensor] = {}

    def sign(self, node: Node) -> None:
        """Append a Quantize, or a Threshold that becomes one, and hold on to what it reads.

        What the affine in the place of a threshold adds and multiplies is unknown: the twin can be
        costed and not run.

        Raises
        ------
        InputError
            If a threshold gives levels, not bits, of a sum that K multiplies.
        """
        out, result = self.out, self.out.source.result(node)
        if result.dtype != BIT:
            if node.op == "Threshold" and out.current(node).dtype.is_float:
                remedy = "Use native or xnor-alpha."
                rule = "bits after a layer that K multiplies"
                raise InputError(message(self._place(node), f"{result.dtype} levels", rule, remedy))
            out.emit(node)
            return
        if node.op == "Threshold":
            constants = [out.unknown(node, "scale"), out.unknown(node, "bias")]
            out.insert(node, f"{node.name}.affine", "Affine", constants)
        self._reals[node.output] = out.current(node)
        out.emit(node, op="Quantize", attrs={"quantizer": "sign"}, constants=[])

    def of_layer(self, node: Node) -> Tensor | None:
        """Return K of a layer over bits, or None where its input never was anything but bits."""
        real = self._real(node.inputs[0])
        if real is None:
            return None
        attrs: dict[str, Any] = {}
        if node.op == "Conv2d":
            given = normal_attrs(node)
            attrs = {key: given[key] for key in ("stride", "pads", "dilation", "groups")}
            attrs["kernel"] = self.out.source.tensor(node.inputs[1]).shape[1:3]
        key = (real.name, *sorted(attrs.items()))
        if key not in self._maps:
            name = f"{node.name}.k"
            self._maps[key] = self.out.derive(real.name, name, "InputScale", attrs=attrs)
        return self._maps[key]

    def _real(self, name: str) -> Tensor | None:
        """Return the tensor whose sign now stands for the source's tensor ``name``."""
        if name in self._reals:
            return self._reals[name]
        now = self.out.tensors[self.out.where[name]]
        if now.dtype != BIT:
            return now
        before = self.out.source.producer(name)
        real = self._real(before.inputs[0]) if before and before.op in _MOVES else None
        if before is None or real is None:
            return None
        constants = [self.out.source.tensor(role) for role in constants_of(before)]
        label = f"{before.name}.real"
        moved = self.out.derive(real.name, label, before.op, constants, before.attrs)
        self._reals[name] = moved
        return moved

    def _place(self, node: Node) -> str:
        return f"{self.out.source.name}: mode {K_MODE!r}: {node.describe()}"
