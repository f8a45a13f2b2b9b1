"""Signs of activations and weights, with the gradients that training uses.

=================  ========================  ==========================  =========================
quantizer          forward                   backward                    after the update
=================  ========================  ==========================  =========================
``sign``           +1 if x >= 0 else -1      ``g * 1[-1 <= x <= 1]``     nothing: an activation is
(activations)                                (the ends pass)             not a parameter
``stochastic_sign``  +1 with probability     ``g * 1[-1 <= x <= 1]``     nothing
(activations)      clip((x + 1) / 2, 0, 1)
``binarize_weight``  +1 if w >= 0 else -1    ``g`` unchanged             latent w clipped to
(latent weights)                                                         [-1, 1] (`BinaryAdam`)
=================  ========================  ==========================  =========================

Clipping the value makes the mask redundant: after it ``1[-1 <= w <= 1]`` is 1 for every weight, so
for weights "mask" and "no mask" are one rule. An activation cannot be clipped by an update, so
there only the mask is available.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from bnnsim.torch_ops import hard_sigmoid, sign_values


class _SignWithMask(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return sign_values(x)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return grad * (x.abs() <= 1)


class _DrawnWithMask(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, generator: torch.Generator | None) -> Tensor:
        ctx.save_for_backward(x)
        uniform = torch.rand(x.shape, generator=generator, dtype=x.dtype, device=x.device)
        return (uniform < hard_sigmoid(x)).to(x.dtype).mul_(2).sub_(1)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return grad * (x.abs() <= 1), None


class _SignUnmasked(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, weight: Tensor) -> Tensor:
        return sign_values(weight)

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> Tensor:
        return grad


def sign(x: Tensor) -> Tensor:
    """Binarize activations; the gradient passes where ``-1 <= x <= 1``.

    Parameters
    ----------
    x : Tensor
        Any shape, float32.

    Returns
    -------
    Tensor
        -1 or +1 in the shape of ``x``.

    References
    ----------
    Hubara et al., "Binarized Neural Networks", NIPS 2016, eq. 1 (forward) and eq. 4 (gradient).
    """
    return _SignWithMask.apply(x)


def stochastic_sign(x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Binarize activations at random; the gradient passes where ``-1 <= x <= 1``.

    Parameters
    ----------
    x : Tensor
        Any shape, float32.
    generator : torch.Generator, optional
        On the device of ``x``; torch's default otherwise. For training: inference uses numbered
        bits (``torch.ops.bnnsim.stochastic_sign``).

    Returns
    -------
    Tensor
        +1 with probability ``clip((x + 1) / 2, 0, 1)``, else -1, in the shape of ``x``.

    References
    ----------
    Hubara et al., "Binarized Neural Networks", NIPS 2016, eq. 2 (forward) and eq. 4 (gradient).
    """
    return _DrawnWithMask.apply(x, generator)


def binarize_weight(weight: Tensor) -> Tensor:
    """Binarize latent weights; the gradient reaches the latent weight unmasked.

    Parameters
    ----------
    weight : Tensor
        Any shape, float32, kept in [-1, 1] by the optimizer.

    Returns
    -------
    Tensor
        -1 or +1 in the shape of ``weight``.

    References
    ----------
    Hubara et al., "Binarized Neural Networks", NIPS 2016, algorithm 1.
    """
    return _SignUnmasked.apply(weight)
