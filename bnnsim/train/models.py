"""The paper's networks as ``nn.Sequential``, and a float residual network to compare with."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

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


class TrainingScale(nn.Module):
    """Multiply by a constant in training, by nothing afterwards: the loss sees smaller numbers."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x``, times the factor in training."""
        return x * self.factor if self.training else x


def bit_mlp(
    *, inputs: int = 784, hidden: int = 256, depth: int = 2, classes: int = 10
) -> nn.Sequential:
    """Return a network of bits alone, as FPGA parameter folders hold it.

    Pixels are +1 from 128 on, else -1; ``depth`` blocks of dense, batch norm, sign follow, and a
    dense layer whose integer sums are the logits.

    Parameters
    ----------
    inputs, hidden, depth, classes : int
        The model maps (N, inputs) uint8 to (N, classes) float32 that hold integers.

    References
    ----------
    Umuroglu et al., "FINN", FPGA 2017: SFC and LFC, there with thresholds at the end.
    """
    modules: list[nn.Module] = [InputEncoding(), Sign()]
    for fan_in in [inputs] + [hidden] * (depth - 1):
        modules += [BinaryDense(fan_in, hidden), BatchNorm(hidden), Sign()]
    return nn.Sequential(*modules, BinaryDense(hidden, classes), TrainingScale(hidden**-0.5))


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
    channels = (width, width, 2 * width, 2 * width, 4 * width, 4 * width)
    return _conv_pairs((3, image_size), channels, (dense, dense), classes)


def digit_convnet(
    *, channels: Sequence[int] = (32, 32, 64, 64), dense: int = 256, classes: int = 10
) -> nn.Sequential:
    """Return the network of `convnet` in small, for (N, 1, 28, 28) uint8 digits.

    Parameters
    ----------
    channels : sequence of int
        Of the four 3x3 convolutions; 2x2 max pooling follows the second and the fourth.
    dense, classes : int
        Neurons of the one dense layer before the classifier, class scores.
    """
    return _conv_pairs((1, 28), channels, (dense,), classes)


def _conv_pairs(
    image: tuple[int, int], channels: Sequence[int], dense: Sequence[int], classes: int
) -> nn.Sequential:
    """Return convolutions, every second one pooled, then dense layers; image is channels, side."""
    fan_in, side = image
    modules: list[nn.Module] = [InputEncoding()]
    for index, fan_out in enumerate(channels):
        pool = [nn.MaxPool2d(2)] if index % 2 else []
        conv = BinaryConv2d(fan_in, fan_out, 3, padding=1)
        modules += [conv, *pool, BatchNorm(fan_out), Sign()]
        fan_in, side = fan_out, side // 2 if pool else side
    modules.append(nn.Flatten())
    for features, neurons in pairwise((fan_in * side**2, *dense)):
        modules += [BinaryDense(features, neurons), BatchNorm(neurons), Sign()]
    return nn.Sequential(*modules, BinaryDense(dense[-1], classes), BatchNorm(classes))


def float_twin(model: nn.Sequential) -> nn.Sequential:
    """Return a network of the same layers with real weights and hardtanh in place of sign.

    Its weights are new, drawn by torch's own initialisation; it shares no tensor with ``model``.

    Parameters
    ----------
    model : torch.nn.Sequential
        Of `mlp`, `convnet` or `digit_convnet`.
    """
    return nn.Sequential(*(_float_layer(layer) for layer in model))


def _float_layer(layer: nn.Module) -> nn.Module:
    if isinstance(layer, BinaryDense):
        features_out, features_in = layer.weight.shape
        return nn.Linear(features_in, features_out, bias=False)
    if isinstance(layer, BinaryConv2d):
        channels_out, channels_in, side, _ = layer.weight.shape
        return nn.Conv2d(channels_in, channels_out, side, padding=layer.padding, bias=False)
    return nn.Hardtanh() if isinstance(layer, Sign) else copy.deepcopy(layer)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with batch norms around a shortcut without parameters.

    Where the block strides or widens, the shortcut takes every ``stride``-th pixel and puts zero
    channels evenly beside those of its input (option A).
    """

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _conv3x3(channels_in, channels_out, stride)
        self.bn1 = nn.BatchNorm2d(channels_out)
        self.conv2 = _conv3x3(channels_out, channels_out, 1)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.stride, self.widening = stride, channels_out - channels_in

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return relu(shortcut(x) + the two convolutions of x)."""
        y = functional.relu(self.bn1(self.conv1(x)))
        return functional.relu(self.bn2(self.conv2(y)) + self._shortcut(x))

    def _shortcut(self, x: torch.Tensor) -> torch.Tensor:
        if self.stride != 1:
            x = x[:, :, :: self.stride, :: self.stride]
        if not self.widening:
            return x
        before = self.widening // 2
        return functional.pad(x, (0, 0, 0, 0, before, self.widening - before), "constant", 0)


class ResNet(nn.Module):
    """A residual network for small images: (N, 3, H, W) normalised float32 to class scores.

    Parameters
    ----------
    blocks, widths : tuple of int
        Basic blocks and channels of each stage; stages after the first halve height and width.
    classes : int

    References
    ----------
    He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2; names of
    parameters as in akamaster/pytorch_resnet_cifar10, so that its state dicts load.
    """

    def __init__(
        self, blocks: tuple[int, ...], widths: tuple[int, ...] = (16, 32, 64), classes: int = 10
    ) -> None:
        super().__init__()
        self.conv1 = _conv3x3(3, widths[0], 1)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.stages = len(blocks)
        before = widths[0]
        for index, (count, width) in enumerate(zip(blocks, widths, strict=True)):
            stride = 1 if index == 0 else 2
            first = BasicBlock(before, width, stride)
            others = [BasicBlock(width, width, 1) for _ in range(count - 1)]
            setattr(self, f"layer{index + 1}", nn.Sequential(first, *others))
            before = width
        self.linear = nn.Linear(before, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the class scores of a batch."""
        x = functional.relu(self.bn1(self.conv1(x)))
        for index in range(self.stages):
            x = getattr(self, f"layer{index + 1}")(x)
        scores: torch.Tensor = self.linear(functional.adaptive_avg_pool2d(x, 1).flatten(1))
        return scores


def resnet20() -> ResNet:
    """Return ResNet-20 for CIFAR-10: three stages of three blocks, 16, 32 and 64 channels."""
    return ResNet((3, 3, 3))


def resnet56() -> ResNet:
    """Return ResNet-56 for CIFAR-10: three stages of nine blocks."""
    return ResNet((9, 9, 9))


def _conv3x3(channels_in: int, channels_out: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, 3, stride=stride, padding=1, bias=False)


def _dropout(probability: float) -> list[nn.Module]:
    return [Dropout(probability)] if probability else []
