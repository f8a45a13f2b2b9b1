"""Losses on class scores."""

from __future__ import annotations

import torch
from torch import Tensor


def square_hinge(scores: Tensor, labels: Tensor) -> Tensor:
    """Return the mean over all elements of ``max(0, 1 - t * score) ** 2``.

    Parameters
    ----------
    scores : Tensor
        (N, classes) float32.
    labels : Tensor
        (N,) int64; ``t`` is +1 at the label and -1 elsewhere.

    References
    ----------
    Tang, "Deep Learning using Linear Support Vector Machines", 2013, for the idea (L2-SVM);
    MatthieuCourbariaux/BinaryNet, Train-time/mnist.py, for the mean over all elements.
    """
    targets = torch.full_like(scores, -1.0).scatter_(1, labels.unsqueeze(1), 1.0)
    return torch.clamp_min(1.0 - targets * scores, 0.0).square().mean()
