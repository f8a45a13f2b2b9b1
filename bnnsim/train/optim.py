"""Adam for binary networks: Glorot-scaled updates and clipped latent weights."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from bnnsim.train.layers import BinaryConv2d, BinaryDense


def glorot_scale(fan_in: int, fan_out: int) -> float:
    """Return ``1 / sqrt(1.5 / (fan_in + fan_out))``, the factor on a binary layer's update.

    It is the inverse of the Glorot initialisation's spread (up to a constant): latent weights live
    in [-1, 1] whatever the fan, so a wide layer's small float step is scaled up to match.

    References
    ----------
    MatthieuCourbariaux/BinaryNet, Train-time/binary_net.py, ``W_LR_scale`` and
    ``clipping_scaling``.
    """
    return 1.0 / math.sqrt(1.5 / (fan_in + fan_out))


class BinaryAdam(torch.optim.Adam):
    """Adam whose binary layers get scaled updates and clipped latent weights.

    After each step a binary layer's latent weight is ``clip(w + scale * adam_update, -1, 1)`` with
    ``scale`` from `glorot_scale`; every other parameter takes the plain Adam update.

    Parameters
    ----------
    model : torch.nn.Module
        The latent weights of its `BinaryDense` and `BinaryConv2d` layers form one group each.
    lr : float
        Base step size; see `set_learning_rate`.
    betas, eps
        As in ``torch.optim.Adam``.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        lr: float = 3e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
    ) -> None:
        super().__init__(list(_groups(model)), lr=lr, betas=betas, eps=eps, fused=True)
        self.set_learning_rate(lr)

    def set_learning_rate(self, lr: float) -> None:
        """Set each group's step size to ``lr`` times its Glorot scale."""
        for group in self.param_groups:
            group["lr"] = lr * group["scale"]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter, then clip the latent binary weights to [-1, 1]."""
        loss = super().step(closure)
        for group in self.param_groups:
            if group["binary"]:
                torch._foreach_clamp_min_(group["params"], -1.0)
                torch._foreach_clamp_max_(group["params"], 1.0)
        return loss


def _groups(model: nn.Module) -> Iterator[dict[str, Any]]:
    binary = [layer for layer in model.modules() if isinstance(layer, BinaryDense | BinaryConv2d)]
    for layer in binary:
        yield {"params": [layer.weight], "scale": glorot_scale(*layer.fans), "binary": True}
    taken = {id(layer.weight) for layer in binary}
    others = [p for p in model.parameters() if id(p) not in taken]
    if others:
        yield {"params": others, "scale": 1.0, "binary": False}


def exponential_rate(epoch: int, epochs: int, *, start: float, end: float) -> float:
    """Return the step size of ``epoch`` (from 0), geometric from ``start`` to ``end``.

    The first epoch runs at ``start`` and the last at ``end``; a single epoch runs at ``start``.
    """
    return start * (end / start) ** (epoch / max(epochs - 1, 1))
