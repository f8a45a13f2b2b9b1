"""Append nodes one by one, as front ends meet them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bnnsim.errors import GraphError, message
from bnnsim.graph.dtypes import DType
from bnnsim.graph.growing import GrowingGraph
from bnnsim.graph.ir import Tensor
from bnnsim.graph.ops import OPS

Constants = Mapping[str, tuple[np.ndarray, DType]]


class GraphBuilder(GrowingGraph):
    """A growing graph that names nodes by layer and takes constants by their role."""

    def __init__(self, shape: tuple[int, ...], dtype: DType) -> None:
        super().__init__(shape, dtype)
        self._layer = 0

    def tensor(self, name: str) -> Tensor:
        """Return the tensor called ``name``."""
        return self.tensors[name]

    def add(
        self,
        op: str,
        x: str,
        constants: Constants | None = None,
        *,
        label: str,
        also: Sequence[str] = (),
        **attrs: Any,
    ) -> str:
        """Append a node and return the name of its output.

        Parameters
        ----------
        op, x : str
            The op, and the activation that it reads.
        constants : mapping of str to (ndarray, DType), optional
            The other inputs, by their role in the op table.
        label : str
            The node is called ``label`` plus the number of the last Dense or Conv2d.
        also : sequence of str
            Further activations, where the op reads several.
        **attrs
            The node's attributes.

        Raises
        ------
        GraphError
            If the inputs break the op's rule.
        """
        self._layer += op in ("Dense", "Conv2d")
        name = self._free_name(f"{label}{self._layer or ''}")
        given = dict(constants or {})
        held = [
            self._constant(name, role, *given.pop(role))
            for role in OPS[op].inputs[1 + len(also) :]
            if role in given
        ]
        if given:
            raise GraphError(message(f"node {name!r} ({op})", sorted(given), "roles of this op"))
        return self.append(op, name, (x, *also), held, attrs)

    def _free_name(self, name: str) -> str:
        taken = {node.name for node in self.nodes}
        suffixes = (f"_{i}" for i in range(2, len(taken) + 3))
        return next(full for full in (name, *(name + s for s in suffixes)) if full not in taken)

    @staticmethod
    def _constant(node: str, role: str, data: np.ndarray, dtype: DType) -> Tensor:
        held = np.array(data, dtype.numpy, order="C")  # a copy: training may go on with data
        return Tensor(f"{node}.{role}", held.shape, dtype, True, held)
