"""Small torch modules, and the comparison of an imported graph with torch, bit for bit."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from bnnsim.engine.reference import execute
from bnnsim.frontends.torch_export import from_torch
from bnnsim.graph.ir import Graph


class Do(nn.Module):
    """A module of one function."""

    def __init__(self, function) -> None:
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def shaken(module: nn.Module) -> nn.Module:
    """Give every batch norm random statistics, with negative and zero gammas."""
    for layer in module.modules():
        if hasattr(layer, "running_var"):
            if layer.weight is not None:
                layer.weight.data.normal_()
                layer.weight.data[::3] = 0
                layer.bias.data.normal_()
            layer.running_mean.normal_().mul_(10)
            layer.running_var.uniform_(0.5, 300)
    return module.eval()


def batch_for(graph: Graph, shape: tuple[int, ...], n: int = 5):
    """Return the same batch for torch (NCHW) and for the graph (NHWC)."""
    if graph.tensor("input").dtype.is_float:
        x = torch.randn(n, *shape)
        x[0].zero_()
    else:
        x = torch.randint(0, 256, (n, *shape), dtype=torch.uint8)
    ours = x.permute(0, 2, 3, 1) if len(shape) == 3 else x
    return x, np.ascontiguousarray(ours.numpy())


def run(graph: Graph, x: np.ndarray) -> np.ndarray:
    y = execute(graph, x, keep=())[graph.outputs[0]]
    return y.transpose(0, 3, 1, 2) if y.ndim == 4 else y


def assert_exact(module: nn.Module, shape: tuple[int, ...], **options) -> Graph:
    """Import the module and compare every output with torch, bit for bit."""
    module.eval()
    graph = from_torch(module, shape, **options)
    x, ours = batch_for(graph, shape)
    with torch.no_grad():
        expected = module(x).numpy()
    found = run(graph, ours)
    assert found.shape == expected.shape
    assert (found == expected).all()
    return graph


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]
