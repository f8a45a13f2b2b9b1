"""Batch normalization: batch statistics in training, one stated float32 expression in eval mode."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from bnnsim import torch_ops  # noqa: F401  (registers torch.ops.bnnsim)


class BatchNorm(nn.Module):
    """Normalize each channel (dimension 1) of (N, C) or (N, C, H, W).

    Training: statistics of the batch; the running mean and (unbiased) variance follow with weight
    ``momentum``. Eval: `bnnsim.torch_ops.batch_norm_values` on the running statistics, whose bits
    are defined. Parameters and buffers are named as in ``torch.nn.BatchNorm1d``.

    Parameters
    ----------
    channels : int
        C.
    eps, momentum : float
        Added to the variance, and the weight of the newest batch.

    References
    ----------
    MatthieuCourbariaux/BinaryNet, Train-time/mnist.py, for the defaults.
    """

    def __init__(self, channels: int, *, eps: float = 1e-4, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps = eps
        self.momentum = momentum
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Normalize ``x``; same shape."""
        mean, var = self.running_mean, self.running_var
        if self.training:
            return functional.batch_norm(
                x, mean, var, self.weight, self.bias, True, self.momentum, self.eps
            )
        return torch.ops.bnnsim.batch_norm(x, self.weight, self.bias, mean, var, self.eps)

    def extra_repr(self) -> str:
        """Return the sizes for ``print(model)``."""
        return f"{self.weight.numel()}, eps={self.eps}, momentum={self.momentum}"
