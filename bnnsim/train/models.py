"""The paper's networks as ``nn.Sequential``: uint8 pixels in, ten class scores out."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from bnnsim.train.layers import BinaryConv2d, BinaryDense, Dropout, InputEncoding, Sign
from bnnsim.train.norm import BatchNorm


def mlp(
    *,
    inputs: int = 784,
    hidden: int = 2048,
    depth: int = 3,
    classes: int = 10,
    input_dropout: float = 0.0,
    hidden_dropout: float = 0.0,
) -> nn.Sequential:
    """Return ``depth`` blocks of dense, batch norm, sign, then a dense layer with batch norm.

    Parameters
    ----------
    inputs, hidden, depth, classes : int
        The model maps (N, inputs) uint8 to (N, classes) float32.
    input_dropout, hidden_dropout : float
        Training only: after the input encoding and after each sign. 0 adds no module.

    References
    ----------
    Hubara et al., "Binarized Neural Networks", NIPS 2016, as in the public code:
    MatthieuCourbariaux/BinaryNet, Train-time/mnist.py (there with 4096 neurons per layer).
    """
    modules: list[nn.Module] = [InputEncoding(), *_dropout(input_dropout)]
    for fan_in in [inputs] + [hidden] * (depth - 1):
        modules += [BinaryDense(fan_in, hidden), BatchNorm(hidden), Sign()]
        modules += _dropout(hidden_dropout)
    return nn.Sequential(*modules, BinaryDense(hidden, classes), BatchNorm(classes))


def convnet(
    *, width: int = 128, dense: int = 1024, classes: int = 10, image_size: int = 32
) -> nn.Sequential:
    """Return the six-convolution network of the paper's CIFAR-10 and SVHN runs.

    Pairs of 3x3 convolutions (zero padding 1) with ``width``, ``2 * width`` and ``4 * width``
    channels, the second of each pair followed by 2x2 max pooling before its batch norm, then two
    dense layers and the classifier. CIFAR-10 has width 128, SVHN 64.

    Parameters
    ----------
    width, dense, classes : int
        Channels of the first convolution, neurons per dense layer, class scores.
    image_size : int
        Side of the square (N, 3, image_size, image_size) uint8 input; a multiple of 8.

    References
    ----------
    Hubara et al., "Binarized Neural Networks", NIPS 2016, as in the public code:
    MatthieuCourbariaux/BinaryNet, Train-time/cifar10.py.
    """
    modules: list[nn.Module] = [InputEncoding()]
    channels = [3, width, width, 2 * width, 2 * width, 4 * width, 4 * width]
    for index, (fan_in, fan_out) in enumerate(pairwise(channels)):
        pool = [nn.MaxPool2d(2)] if index % 2 else []
        conv = BinaryConv2d(fan_in, fan_out, 3, padding=1)
        modules += [conv, *pool, BatchNorm(fan_out), Sign()]
    modules.append(nn.Flatten())
    features = channels[-1] * (image_size // 8) ** 2
    for fan_in in (features, dense):
        modules += [BinaryDense(fan_in, dense), BatchNorm(dense), Sign()]
    return nn.Sequential(*modules, BinaryDense(dense, classes), BatchNorm(classes))


def _dropout(probability: float) -> list[nn.Module]:
    return [Dropout(probability)] if probability else []
