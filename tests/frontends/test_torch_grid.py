"""Torch modules of bit weights on a declared input grid equal torch where its floats are exact."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch_nets import shaken

import bnnsim


class Binarized(nn.Module):
    """Convolution with -a, +a weights, pool, batch norm, sign, Linear of bits."""

    def __init__(self) -> None:
        super().__init__()
        bits = torch.where(torch.randn(10, 3, 3, 3) >= 0, 0.25, -0.25)
        self.conv, self.norm = nn.Parameter(bits), nn.BatchNorm2d(10)
        self.last = nn.Parameter(torch.where(torch.randn(5, 90) >= 0, 1.0, -1.0))

    def forward(self, x):
        x = nn.functional.max_pool2d(nn.functional.conv2d(x, self.conv, padding=1), 2)
        x = torch.where(self.norm(x) >= 0, 1.0, -1.0)
        return x.flatten(1) @ self.last.T


@pytest.mark.parametrize(("grid", "divisor", "low"), [("q1.7", 128, -128), ("uint8", 1, 0)])
def test_a_declared_module_equals_torch(grid, divisor, low, rng, seed):
    torch.manual_seed(seed)
    module = shaken(Binarized())
    graph = bnnsim.load(module, input_shape=(3, 6, 6), input_grid=grid)
    x = (rng.integers(low, low + 256, (200, 6, 6, 3)) / np.float32(divisor)).astype(np.float32)
    assert bnnsim.verify(graph, x, against=module).ok
    assert bnnsim.verify(graph, x).ok
    layers = bnnsim.inspect(graph).layers
    assert [layer.op for layer in layers] == [
        "FromGrid", "Conv2d", "Threshold", "MaxPool", "Flatten", "Dense"
    ]  # fmt: skip
    assert layers[1].kind == "binary"
