"""The float twin of a network in torch: the same layers with float weights and a ReLU per sign.

A batch norm right after a convolution is folded into its weights, as users fold it to run a
network. The answers differ from the network's own, the work does not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from bnnsim import Graph
from bnnsim.graph.ir import Node
from bnnsim.graph.ops import activations_of, constants_of, normal_attrs

Layer = Callable[..., torch.Tensor]


class Twin(torch.nn.Module):
    """Layers in order, each on tensors by name; images are (N, C, H, W).

    Parameters
    ----------
    graph : Graph
        As ``bnnsim.load`` gives it, with weights.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self._input, self._output = graph.inputs[0], graph.outputs[0]
        folded = {node.name: norm for node in graph.nodes if (norm := _norm_after(graph, node))}
        norms = {norm.name for norm in folded.values()}
        self._steps: list[tuple[Layer, tuple[str, ...], str]] = []
        for node in graph.nodes:
            if node.name in norms:
                continue
            norm = folded.get(node.name)
            layer = _convolution(graph, node, norm) if node.op == "Conv2d" else _layer(graph, node)
            self._steps.append((layer, activations_of(node), (norm or node).output))
        self._last_use = {name: i for i, (_, names, _) in enumerate(self._steps) for name in names}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits; tensors are dropped after their last reader."""
        values = {self._input: x}
        for i, (layer, names, output) in enumerate(self._steps):
            values[output] = layer(*(values[name] for name in names))
            for name in names:
                if self._last_use[name] == i:
                    values.pop(name, None)
        return values[self._output]


def _norm_after(graph: Graph, node: Node) -> Node | None:
    readers = graph.consumers(node.output) if node.op == "Conv2d" else []
    return readers[0] if len(readers) == 1 and readers[0].op == "BatchNorm" else None


def _constants(graph: Graph, node: Node) -> list[np.ndarray]:
    data = [graph.tensor(name).data for name in constants_of(node)]
    return [np.asarray(array, np.float32) for array in data if array is not None]


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, np.float32))


def _scale_and_bias(graph: Graph, norm: Node) -> tuple[np.ndarray, np.ndarray]:
    gamma, beta, mean, var = _constants(graph, norm)
    scale = gamma / np.sqrt(var + np.float32(normal_attrs(norm)["eps"]))
    return scale, beta - mean * scale


def _convolution(graph: Graph, node: Node, norm: Node | None) -> Layer:
    weight, bias = _constants(graph, node)[0].transpose(0, 3, 1, 2), None
    if norm is not None:
        scale, bias = _scale_and_bias(graph, norm)
        weight = weight * scale[:, None, None, None]
    attrs = normal_attrs(node)
    top, left, bottom, right = attrs["pads"]
    even = (top, left) == (bottom, right)
    w, b = _tensor(weight), None if bias is None else _tensor(bias)
    options = {key: attrs[key] for key in ("stride", "dilation", "groups")}
    padding = (top, left) if even else (0, 0)

    def run(x: torch.Tensor) -> torch.Tensor:
        x = x if even else functional.pad(x, (left, right, top, bottom))
        return functional.conv2d(x, w, b, padding=padding, **options)

    return run


def _pool(node: Node) -> Layer:
    attrs = normal_attrs(node)
    top, left, bottom, right = attrs["pads"]
    window = {"kernel_size": attrs["kernel"], "stride": attrs["stride"]}
    if (top, left) != (bottom, right):
        raise ValueError(f"{node.name}: uneven pads of a pool have no twin")
    if node.op == "MaxPool":
        return lambda x: functional.max_pool2d(x, padding=(top, left), **window)
    counted = attrs["count_include_pad"]
    return lambda x: functional.avg_pool2d(
        x, padding=(top, left), count_include_pad=counted, **window
    )


def _layer(graph: Graph, node: Node) -> Layer:
    """Return what a node other than a convolution does."""
    if node.op in ("MaxPool", "AvgPool"):
        return _pool(node)
    terms = _constants(graph, node)
    if node.op == "Dense":
        weight = _tensor(terms[0])
        return lambda x: functional.linear(x, weight)
    if node.op == "PRelu":
        slope = _tensor(terms[0])
        return lambda x: functional.prelu(x, slope)
    if node.op in ("BatchNorm", "Bias"):
        scale, bias = _scale_and_bias(graph, node) if node.op == "BatchNorm" else (None, terms[0])
        return _per_channel(scale, bias, len(graph.result(node).shape))
    if node.op not in _PLAIN:
        raise ValueError(f"{node.name}: {node.op} has no twin")
    return _PLAIN[node.op]


def _per_channel(scale: np.ndarray | None, bias: np.ndarray, axes: int) -> Layer:
    shape = (-1, 1, 1) if axes == 3 else (-1,)
    b = _tensor(bias.reshape(shape))
    if scale is None:
        return lambda x: x + b
    a = _tensor(scale.reshape(shape))
    return lambda x: torch.addcmul(b, x, a)


def _concat(*parts: torch.Tensor) -> torch.Tensor:
    return torch.cat(parts, dim=1)


_PLAIN: dict[str, Layer] = {
    "Add": torch.add,
    "Quantize": torch.relu,
    "Relu": torch.relu,
    "Concat": _concat,
    "GlobalAvgPool": lambda x: x.mean(dim=(2, 3), keepdim=True),
    "Flatten": lambda x: x.flatten(1),
}


def images(shape: Sequence[int], seed: int) -> np.ndarray:
    """Return one float32 image (1, H, W, C)."""
    made: Any = np.random.default_rng(seed).standard_normal((1, *shape))
    return made.astype(np.float32)
