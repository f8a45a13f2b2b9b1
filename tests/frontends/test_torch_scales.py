"""Torch modules that scale: XNOR-Net with alpha and K written out, and products of activations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch_nets import Do, assert_exact, batch_for, ops, run, shaken

from bnnsim.cost.actions import count_actions
from bnnsim.errors import SourceError
from bnnsim.frontends.torch_export import from_torch
from bnnsim.passes.lower import lower

NOISE = 1e-6  # of the largest output: torch rounds each of up to 60 float32 additions and products


@pytest.fixture(autouse=True)
def _seeded(seed: int) -> None:
    torch.manual_seed(seed)


def signs(x):
    return torch.where(x >= 0, 1.0, -1.0)


class XnorConv2d(nn.Conv2d):
    """A convolution as users write the paper's: ``I * W ~ (sign(I) conv sign(W)) . K alpha``."""

    pooled = False

    def forward(self, x):
        mean = x.abs().mean(1, keepdim=True)
        if self.pooled:
            scale = functional.avg_pool2d(mean, self.kernel_size, self.stride, self.padding)
        else:
            taps = self.kernel_size[0] * self.kernel_size[1]
            box = torch.full((1, 1, *self.kernel_size), 1 / taps)
            scale = functional.conv2d(mean, box, None, self.stride, self.padding, self.dilation)
        alpha = self.weight.abs().mean((1, 2, 3)).view(1, -1, 1, 1)
        window = (None, self.stride, self.padding, self.dilation)
        return functional.conv2d(signs(x), signs(self.weight), *window) * scale * alpha


class PooledXnorConv2d(XnorConv2d):
    """The same with an average pool as the box filter."""

    pooled = True


class XnorLinear(nn.Linear):
    """A dense layer with one K per image."""

    def forward(self, x):
        alpha = self.weight.abs().mean(1)
        products = functional.linear(signs(x), signs(self.weight))
        return x.abs().mean(-1, keepdim=True) * (products * alpha)


def assert_close(module: nn.Module, shape: tuple[int, ...]):
    graph = from_torch(module.eval(), shape, example=torch.zeros(2, *shape))
    x, ours = batch_for(graph, shape)
    with torch.no_grad():
        expected = module(x).numpy()
    found = run(graph, ours)
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= NOISE * np.abs(expected).max()
    return graph


@pytest.mark.parametrize(
    ("kind", "kernel", "window"),
    [
        (XnorConv2d, (3, 3), {"padding": 1, "stride": 2}),
        (XnorConv2d, (2, 3), {"padding": (1, 2), "stride": (1, 2), "dilation": (2, 1)}),
        (XnorConv2d, (1, 1), {}),
        (PooledXnorConv2d, (3, 3), {"padding": 1}),
        (PooledXnorConv2d, (2, 4), {"stride": (2, 1)}),
    ],
)
def test_xnor_net_with_k_is_an_input_scale_and_two_products(kind, kernel, window) -> None:
    graph = assert_close(kind(5, 9, kernel, **window), (5, 11, 10))
    assert sorted(ops(graph)) == ["Conv2d", "InputScale", "Mul", "Quantize", "Scale"]
    (layer,) = (node for node in graph.nodes if node.op == "Conv2d")
    assert [str(graph.tensor(name).dtype) for name in layer.inputs] == ["bit", "bit"]


def test_a_whole_xnor_net_is_imported_and_counted() -> None:
    module = shaken(nn.Sequential(
        nn.Conv2d(3, 7, 3), nn.BatchNorm2d(7), XnorConv2d(7, 6, 3, padding=1), nn.MaxPool2d(2),
        nn.BatchNorm2d(6), nn.Flatten(), XnorLinear(6 * 16, 5), nn.BatchNorm1d(5),
    ))  # fmt: skip
    graph = lower(from_torch(module, (3, 10, 10), example=torch.zeros(2, 3, 10, 10)))
    assert ops(graph).count("InputScale") == ops(graph).count("Mul") == 2
    products = [c.actions for c in count_actions(graph) if c.node.op == "Mul"]
    assert [sum(n for a, n in c.items() if a.verb == "mul") for c in products] == [6 * 64, 5]


def test_a_scale_map_without_a_box_is_one_of_single_pixels() -> None:
    graph = assert_close(Do(lambda x: x * x.abs().mean(1, keepdim=True)), (4, 3, 5))
    assert ops(graph) == ["InputScale", "Mul"]
    odd = torch.arange(9.0).view(1, 1, 3, 3) ** 1.5
    graph = assert_close(
        Do(lambda x: functional.conv2d(x.abs().mean(1, keepdim=True), odd)), (4, 5, 5)
    )
    assert ops(graph) == ["InputScale", "Conv2d"]
    inside = {"kernel_size": 2, "stride": 1, "padding": 1, "count_include_pad": False}
    graph = assert_close(
        Do(lambda x: functional.avg_pool2d(x.abs().mean(1, keepdim=True), **inside)), (4, 5, 5)
    )
    assert ops(graph) == ["InputScale", "AvgPool"]


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x * torch.relu(x),
        lambda x: x.mean((2, 3), keepdim=True) * 2 * x,  # a factor per channel
        lambda x: signs(x) * x,
        lambda x: x * signs(x),
        lambda x: functional.linear(x.flatten(1) * torch.relu(x).flatten(1), torch.ones(2, 60)),
        lambda x: x.flatten(1).abs().mean(1, keepdim=True) * x.flatten(1).abs().mean(1, True),
    ],
)
def test_products_of_activations(function) -> None:
    graph = assert_close(Do(function), (3, 4, 5))
    assert ops(graph).count("Mul") == 1


def test_constant_factors_are_scales() -> None:
    factors = torch.tensor([0.5, -3.0, 1.7]).view(3, 1, 1)
    graph = assert_exact(Do(lambda x: -(x * factors)), (3, 4, 5), example=torch.zeros(2, 3, 4, 5))
    assert ops(graph) == ["Scale", "Scale"]


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (lambda x: x.abs() * 2, "got 'the magnitudes themselves', expected the mean over channels"),
        (lambda x: x.abs().mean(1), "of magnitudes other than over channels with keepdim"),
        (lambda x: x.abs().mean((2, 3)), "of magnitudes other than over channels with keepdim"),
        (lambda x: x.mean((2, 3), keepdim=True) * x.abs().mean(1, keepdim=True),
         r"mul\.Tensor of \(1, 4, 5\) and \(3, 1, 1\)', expected one operand of the result's"),
    ],
)  # fmt: skip
def test_refusals(function, expected: str) -> None:
    with pytest.raises(SourceError, match=expected):
        from_torch(Do(function), (3, 4, 5), example=torch.zeros(2, 3, 4, 5))
