"""Networks of the published sizes as their authors' training code writes them; the code is ours.

Latent weights, their scales and the estimators of Bi-Real nets and ReActNet are part of the
forward pass, as in the public repositories, so that an import has to see through them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

CLASSES = 1000
BIREAL_STAGES = ((64, 1), (128, 2), (256, 2), (512, 2))
REACTNET_BLOCKS = (
    (64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), (512, 1), (512, 1), (512, 1),
    (512, 1), (512, 1), (1024, 2), (1024, 1),
)  # fmt: skip


class Sign(nn.Module):
    """sign(x), with the slopes of two parabolas around 0 for the training."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the sign of every element."""
        below, negative, inside = ((x < limit).float() for limit in (-1, 0, 1))
        left = (below - 1) * -(x * x + 2 * x) - below
        both = left * negative + (2 * x - x * x) * (1 - negative)
        smooth = both * inside + (1 - inside)
        return torch.sign(x).detach() - smooth.detach() + smooth


class BinaryConv(nn.Module):
    """A convolution by the signs of latent weights times their mean magnitude per channel."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.stride, self.padding = stride, kernel // 2
        drawn = torch.randn(outputs, inputs, kernel, kernel) * 0.01
        drawn[drawn == 0] = 0.01  # one normal draw in ten million; its sign would be a third value
        self.latent = nn.Parameter(drawn)

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of (N, C, H, W) images."""
        scale = self.latent.abs().mean((1, 2, 3), keepdim=True).detach()
        clipped = self.latent.clamp(-1, 1)
        weight = (scale * self.latent.sign()).detach() - clipped.detach() + clipped
        return functional.conv2d(x, weight, stride=self.stride, padding=self.padding)


class BiRealBlock(nn.Module):
    """Sign, 3 x 3 convolution, batch norm, around which the real values go."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.sign, self.conv = Sign(), BinaryConv(inputs, outputs, 3, stride)
        self.bn = nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity() if stride == 1 else nn.Sequential(
            nn.AvgPool2d(2), nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's real values."""
        return self.bn(self.conv(self.sign(x))) + self.shortcut(x)


class Shift(nn.Module):
    """A learned constant per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.randn(1, channels, 1, 1) * 0.1)

    def forward(self, x: Tensor) -> Tensor:
        """Return x and the constants."""
        return x + self.bias.expand_as(x)


def rectifier(channels: int) -> nn.Sequential:
    """Return a PReLU between two shifts."""
    return nn.Sequential(Shift(channels), nn.PReLU(channels), Shift(channels))


class ReactBlock(nn.Module):
    """A 3 x 3 and a 1 x 1 binary convolution; two of the latter where channels double."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.sign3 = nn.Sequential(Shift(inputs), Sign())
        self.conv3, self.bn3 = BinaryConv(inputs, inputs, 3, stride), nn.BatchNorm2d(inputs)
        self.shortcut = nn.Identity() if stride == 1 else nn.AvgPool2d(2)
        self.rectifier3, self.rectifier1 = rectifier(inputs), rectifier(outputs)
        self.sign1 = nn.Sequential(Shift(inputs), Sign())
        self.halves = nn.ModuleList(
            nn.Sequential(BinaryConv(inputs, inputs, 1), nn.BatchNorm2d(inputs))
            for _ in range(outputs // inputs)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's real values."""
        x = self.rectifier3(self.bn3(self.conv3(self.sign3(x))) + self.shortcut(x))
        bits = self.sign1(x)
        return self.rectifier1(torch.cat([half(bits) + x for half in self.halves], dim=1))


class ResidualBlock(nn.Module):
    """The float block of ResNet-18."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(outputs), nn.BatchNorm2d(outputs)
        self.shortcut = nn.Identity() if stride == 1 else nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's rectified values."""
        inner = self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x)))))
        return torch.relu(inner + self.shortcut(x))


def _ended(stem: list[nn.Module], blocks: list[nn.Module], channels: int) -> nn.Module:
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, CLASSES))
    return nn.Sequential(*stem, *blocks, *head).eval()


def _stem(*, rectified: bool) -> list[nn.Module]:
    first = [nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)]
    return [*first, *[nn.ReLU()] * rectified, nn.MaxPool2d(3, 2, 1)]


def bireal18() -> nn.Module:
    """Return Bi-Real-18 (Liu et al., ECCV 2018)."""
    blocks: list[nn.Module] = []
    inputs = 64
    for outputs, stride in BIREAL_STAGES:
        for step in (stride, 1, 1, 1):
            blocks.append(BiRealBlock(inputs, outputs, step))
            inputs = outputs
    return _ended(_stem(rectified=False), blocks, inputs)


def reactnet_a() -> nn.Module:
    """Return ReActNet-A (Liu et al., ECCV 2020)."""
    stem: list[nn.Module] = [nn.Conv2d(3, 32, 3, 2, 1, bias=False), nn.BatchNorm2d(32)]
    blocks: list[nn.Module] = []
    inputs = 32
    for outputs, stride in REACTNET_BLOCKS:
        blocks.append(ReactBlock(inputs, outputs, stride))
        inputs = outputs
    return _ended(stem, blocks, inputs)


def resnet18() -> nn.Module:
    """Return ResNet-18 (He et al., CVPR 2016), in float."""
    blocks: list[nn.Module] = []
    inputs = 64
    for outputs, stride in BIREAL_STAGES:
        for step in (stride, 1):
            blocks.append(ResidualBlock(inputs, outputs, step))
            inputs = outputs
    return _ended(_stem(rectified=True), blocks, inputs)
