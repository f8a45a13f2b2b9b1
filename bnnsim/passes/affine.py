"""Per-channel affines: what a batch norm is, and folding it into the linear layer before it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from bnnsim.graph.dtypes import FLOAT32, DType
from bnnsim.graph.elementwise import to_dtype
from bnnsim.graph.ir import Graph, Node, Tensor
from bnnsim.graph.ops import normal_attrs


def affine_of(graph: Graph, node: Node) -> tuple[Tensor, Tensor]:
    """Return scale and bias, (C,) float32, of a BatchNorm or IntegerAffine node."""
    channels = graph.activation(node).shape[-1]
    attrs = normal_attrs(node)
    scale: np.ndarray | None
    bias: np.ndarray | None
    if node.op == "IntegerAffine":
        scale = np.full(channels, attrs["mul"] / attrs["div"], np.float32)
        bias = np.full(channels, attrs["add"] / attrs["div"], np.float32)
    else:
        values = [graph.tensor(name).data for name in node.inputs[1:]]
        scale = bias = None
        if all(v is not None for v in values):
            gamma, beta, mean, var = (np.asarray(v, np.float64) for v in values)
            exact = gamma / np.sqrt(var + attrs["eps"])
            scale, bias = exact.astype(np.float32), (beta - mean * exact).astype(np.float32)
    return (
        Tensor(f"{node.name}.scale", (channels,), FLOAT32, True, scale),
        Tensor(f"{node.name}.bias", (channels,), FLOAT32, True, bias),
    )


def fold_affine(graph: Graph) -> Graph:
    """Turn ``Dense|Conv2d [-> MaxPool] -> Affine`` into scaled weights and a Bias, if any.

    Only float weights are scaled. A pool between them takes the minimum in channels whose scale is
    negative, so that the function stays the same up to the rounding of the weights. The Bias keeps
    the Affine's id and name; a Scale goes altogether. What follows anything else stays.
    """
    for node in graph.nodes:
        if node.op in ("Affine", "Scale"):
            graph = _fold(graph, node)
    return graph


def _fold(graph: Graph, affine: Node) -> Graph:
    path = _path_to_linear(graph, affine)
    if path is None:
        return graph
    linear, *pools = path
    weight, scale = graph.tensor(linear.inputs[1]), graph.tensor(affine.inputs[1])
    scaled = replace(weight, name=f"{weight.name}.scaled", data=_scaled(weight, scale))
    changed = {linear.id: replace(linear, inputs=(linear.inputs[0], scaled.name))}
    fresh = [scaled]
    if scale.data is not None and (scale.data < 0).any():
        for pool in pools:
            role, changed[pool.id] = _pool_minimum(graph, pool, scale.data < 0)
            fresh.append(role)
    nodes = graph.nodes
    if affine.op == "Scale":
        last = path[-1]
        changed[last.id] = replace(changed.get(last.id, last), outputs=affine.outputs)
        nodes = tuple(node for node in nodes if node is not affine)
    else:
        inputs = (affine.inputs[0], affine.inputs[2])
        changed[affine.id] = replace(affine, op="Bias", inputs=inputs)
    return graph.with_nodes([changed.get(n.id, n) for n in nodes], fresh)


def _scaled(weight: Tensor, scale: Tensor) -> np.ndarray | None:
    if weight.data is None or scale.data is None:
        return None
    per_row = scale.data.reshape(-1, *[1] * (weight.data.ndim - 1))
    return to_dtype(weight.data * per_row, weight.dtype)


def _pool_minimum(graph: Graph, pool: Node, falling: np.ndarray) -> tuple[Tensor, Node]:
    name = f"{pool.name}.minimum"
    role = Tensor(name, falling.shape, DType("unsigned", 1), True, falling.astype(np.uint8))
    return role, replace(pool, inputs=(pool.inputs[0], name))


def _path_to_linear(graph: Graph, affine: Node) -> list[Node] | None:
    """Return [linear, pools...] before ``affine`` if each feeds only the next, else None."""
    path: list[Node] = []
    node = affine
    while True:
        before = graph.producer(node.inputs[0])
        if before is None or len(graph.consumers(before.output)) != 1:
            return None
        path.insert(0, before)
        if before.op in ("Dense", "Conv2d"):
            return path if graph.tensor(before.inputs[1]).dtype.is_float else None
        if before.op != "MaxPool" or len(before.inputs) > 1:
            return None
        node = before
