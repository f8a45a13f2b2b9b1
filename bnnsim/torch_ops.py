"""Custom torch operators that mark binarization and eval-time batch norm in exported graphs.

Importing this module registers ``torch.ops.bnnsim.sign`` and ``torch.ops.bnnsim.batch_norm``. A
``.pt2`` archive that holds them loads only after that import.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bnnsim.errors import InputError, message


def sign_values(x: Tensor) -> Tensor:
    """Return +1 where ``x >= 0`` and -1 elsewhere, in the shape and dtype of ``x``.

    Both zeros give +1. NaN compares false with everything and gives -1; it is for the caller to
    refuse NaN, as the training loop does by its loss.

    Raises
    ------
    InputError
        If ``x`` is not of a floating-point dtype.

    References
    ----------
    Hubara, Courbariaux, Soudry, El-Yaniv, Bengio, "Binarized Neural Networks", NIPS 2016, eq. 1.
    """
    if not x.is_floating_point():
        raise InputError(message("bnnsim::sign: dtype", str(x.dtype), "a floating-point dtype"))
    return x.clone().ge_(0).mul_(2).sub_(1)


def batch_norm_values(
    x: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, eps: float
) -> Tensor:
    """Return ``(x - mean) * (gamma / sqrt(var + eps)) + beta`` per channel (dimension 1).

    Every step is one float32 operation rounded to nearest, in the written order, with no fused
    multiply-add, so the same expression in numpy float32 gives the same bits. The square root is
    taken in float64 and rounded once, which is the correctly rounded float32 root; torch's own
    float32 root goes through a vector library that can be one unit off in the last place.

    Parameters
    ----------
    x : Tensor
        (N, C) or (N, C, ...) float32.
    gamma, beta, mean, var : Tensor
        (C,) float32.
    eps : float
        Rounded to float32 before it is added to ``var``.
    """
    shape = (1, -1) + (1,) * (x.dim() - 2)
    root = torch.sqrt((var + eps).to(torch.float64)).to(torch.float32)
    scale = gamma / root
    centred = x - mean.view(shape)
    return centred * scale.view(shape) + beta.view(shape)


_sign = torch.library.custom_op(
    "bnnsim::sign", sign_values, mutates_args=(), schema="(Tensor x) -> Tensor"
)
_batch_norm = torch.library.custom_op(
    "bnnsim::batch_norm",
    batch_norm_values,
    mutates_args=(),
    schema="(Tensor x, Tensor gamma, Tensor beta, Tensor mean, Tensor var, float eps) -> Tensor",
)


@_sign.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


@_batch_norm.register_fake
def _(x: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, eps: float) -> Tensor:
    return torch.empty_like(x)
