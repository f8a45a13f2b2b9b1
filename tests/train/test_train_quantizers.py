"""Signs, gradient masks and the rule that clipping makes the weight mask redundant."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from bnnsim.errors import InputError
from bnnsim.train import layers
from bnnsim.train.layers import BinaryDense, Sign
from bnnsim.train.losses import square_hinge
from bnnsim.train.norm import BatchNorm
from bnnsim.train.optim import BinaryAdam
from bnnsim.train.quantizers import binarize_weight, sign

TINY = float(np.finfo(np.float32).smallest_subnormal)
ABOVE_ONE = float(np.nextafter(np.float32(1), np.float32(2)))


@pytest.mark.parametrize("quantizer", [sign, binarize_weight, torch.ops.bnnsim.sign])
def test_sign_of_zeros_is_plus_one(quantizer):
    x = torch.tensor([0.0, -0.0, TINY, -TINY, 1.0, -1.0, float("inf"), -float("inf")])
    assert quantizer(x).tolist() == [1, 1, 1, -1, 1, -1, 1, -1]


def test_sign_keeps_its_input_and_maps_nan_to_minus_one():
    x = torch.tensor([0.5, float("nan"), -float("nan")])
    assert torch.ops.bnnsim.sign(x).tolist() == [1, -1, -1]
    assert x[0] == 0.5


def test_sign_refuses_integers():
    with pytest.raises(InputError, match=r"sign: dtype: got 'torch\.uint8', expected a floating"):
        torch.ops.bnnsim.sign(torch.zeros(3, dtype=torch.uint8))


def test_activation_gradient_passes_up_to_and_including_the_ends():
    x = torch.tensor(
        [-ABOVE_ONE, -1.0, -0.5, 0.0, 0.5, 1.0, ABOVE_ONE, float("inf")], requires_grad=True
    )
    gradient = torch.arange(1.0, 9.0)
    sign(x).backward(gradient)
    assert x.grad.tolist() == [0, 2, 3, 4, 5, 6, 0, 0]


def test_weight_gradient_is_unmasked():
    weight = torch.tensor([-7.0, -1.0, 0.0, 1.0, 7.0], requires_grad=True)
    gradient = torch.arange(1.0, 6.0)
    binarize_weight(weight).backward(gradient)
    assert weight.grad.tolist() == gradient.tolist()


def test_mask_on_clipped_weights_changes_no_bit_of_a_trajectory(monkeypatch):
    def trajectory(weight_quantizer):
        monkeypatch.setattr(layers, "binarize_weight", weight_quantizer)
        torch.manual_seed(3)
        model = nn.Sequential(
            BinaryDense(17, 31), BatchNorm(31), Sign(), BinaryDense(31, 5), BatchNorm(5)
        )
        optimizer = BinaryAdam(model, lr=0.03)
        x, labels = torch.randn(64, 17), torch.randint(0, 5, (64,))
        for _ in range(40):
            optimizer.zero_grad()
            square_hinge(model(x), labels).backward()
            optimizer.step()
        return model[0].weight.detach()

    unmasked, masked = trajectory(binarize_weight), trajectory(sign)
    assert torch.equal(unmasked, masked)
    assert (unmasked.abs() == 1).any()
    assert (unmasked.abs() < 1).any()
