"""The optimizer's scaling and clipping, the step-size schedule and the loss, by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from bnnsim.train.layers import BinaryConv2d, BinaryDense
from bnnsim.train.losses import square_hinge
from bnnsim.train.norm import BatchNorm
from bnnsim.train.optim import BinaryAdam, exponential_rate, glorot_scale


def test_glorot_scales_by_hand():
    assert glorot_scale(784, 2048) == pytest.approx(math.sqrt(2832 / 1.5))
    assert BinaryDense(784, 2048).fans == (784, 2048)
    assert BinaryConv2d(128, 256, 3).fans == (128 * 9, 256 * 9)
    assert BinaryConv2d(128, 256, 3, groups=4).fans == (32 * 9, 64 * 9)


def one_step(latent, gradient, *, lr):
    """Adam's first step moves by lr * sign(gradient), as m and sqrt(v) are then equal."""
    model = nn.Sequential(BinaryDense(len(latent), 1), BatchNorm(1))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([latent]))
    optimizer = BinaryAdam(model, lr=lr)
    model[0].weight.grad = torch.tensor([gradient])
    for parameter in model[1].parameters():
        parameter.grad = torch.full_like(parameter, -1.0)
    optimizer.step()
    return model


def test_only_latent_weights_are_scaled_and_clipped():
    latent, gradient = [0.0, 0.95, -0.95, 1.0, -0.5], [1.0, -1.0, 1.0, 1.0, -1.0]
    scale = math.sqrt(6 / 1.5)
    model = one_step(latent, gradient, lr=0.1)
    expected = [-0.1 * scale, 1.0, -1.0, 1.0 - 0.1 * scale, -0.5 + 0.1 * scale]
    assert model[0].weight[0].tolist() == pytest.approx(expected)
    assert model[0].weight.abs().max() == 1.0
    assert model[1].weight.item() == pytest.approx(1.1)
    assert one_step(latent, gradient, lr=5.0)[1].weight.item() == pytest.approx(6.0)


def test_rate_reaches_every_group_with_its_scale():
    model = nn.Sequential(BinaryDense(3, 3), BinaryConv2d(2, 1, 1), BatchNorm(1))
    optimizer = BinaryAdam(model, lr=1.0)
    optimizer.set_learning_rate(0.01)
    rates = [group["lr"] for group in optimizer.param_groups]
    assert rates == pytest.approx([0.01 * 2, 0.01 * math.sqrt(2), 0.01])


def test_exponential_rate_starts_and_ends_where_told():
    rates = [exponential_rate(epoch, 3, start=1e-2, end=1e-4) for epoch in range(3)]
    assert rates == pytest.approx([1e-2, 1e-3, 1e-4])
    assert exponential_rate(0, 1, start=1e-2, end=1e-4) == 1e-2


def test_square_hinge_by_hand():
    scores = torch.tensor([[0.5, -2.0, 3.0], [0.0, 1.0, -0.5]])
    labels = torch.tensor([0, 2])
    terms = [0.25, 0.0, 16.0, 1.0, 4.0, 2.25]
    assert square_hinge(scores, labels).item() == pytest.approx(sum(terms) / 6)
