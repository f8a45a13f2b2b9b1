"""Modules in the structure of public BNN repositories, written for these tests: they import.

Names and forms follow what those repositories do (flattened latent weights, estimators written as
a - b + b, hidden autograd functions, tensors written while running); the code is ours.
"""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch_nets import shaken  # noqa: E402

import bnnsim  # noqa: E402
from bnnsim.frontends.torch_export import from_torch  # noqa: E402

ROUNDING = 2e-5  # of float ends and batch norms, relative to the largest output


@pytest.fixture(autouse=True)
def _seeded(seed: int):
    torch.manual_seed(seed)


def soft_sign(x):
    """Return sign(x), with an estimator of pieces of parabolas as Bi-Real nets have it."""
    forward = torch.sign(x)
    one = (x < -1).type(torch.float32)
    two = (x < 0).type(torch.float32)
    three = (x < 1).type(torch.float32)
    a = (-1) * one + (x * x + 2 * x) * (1 - one)
    b = a * two + (-x * x + 2 * x) * (1 - two)
    c = b * three + 1 * (1 - three)
    return forward.detach() - c.detach() + c


class FlatConv(nn.Module):
    """A convolution whose latent weights are one column, scaled per output channel."""

    def __init__(self, inputs, outputs, kernel=3, stride=1, groups=1):
        super().__init__()
        self.shape = (outputs, inputs // groups, kernel, kernel)
        self.stride, self.padding, self.groups = stride, kernel // 2, groups
        self.weights = nn.Parameter(torch.rand(int(np.prod(self.shape)), 1) * 0.2 - 0.1)

    def forward(self, x):
        real = self.weights.view(self.shape)
        scale = torch.mean(torch.mean(torch.mean(abs(real), dim=3, keepdim=True), dim=2,
                                      keepdim=True), dim=1, keepdim=True).detach()  # fmt: skip
        hard = scale * torch.sign(real)
        clipped = torch.clamp(real, -1.0, 1.0)
        weight = hard.detach() - clipped.detach() + clipped
        return functional.conv2d(x, weight, stride=self.stride, padding=self.padding,
                                 groups=self.groups)  # fmt: skip


class BiRealBlock(nn.Module):
    def __init__(self, inputs, outputs, stride=1):
        super().__init__()
        self.conv, self.bn = FlatConv(inputs, outputs, stride=stride), nn.BatchNorm2d(outputs)
        self.down = None if stride == 1 else nn.Sequential(
            nn.AvgPool2d(2, stride, ceil_mode=True, count_include_pad=False),
            nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))  # fmt: skip

    def forward(self, x):
        out = self.bn(self.conv(soft_sign(x)))
        out += x if self.down is None else self.down(x)
        return out


def bireal():
    return nn.Sequential(
        nn.Conv2d(3, 16, 7, 2, 3, bias=False), nn.BatchNorm2d(16), nn.MaxPool2d(3, 2, 1),
        BiRealBlock(16, 16), BiRealBlock(16, 24, 2), BiRealBlock(24, 24),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 7))  # fmt: skip


class Shift(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.bias = nn.Parameter(torch.randn(1, channels, 1, 1) * 0.3)

    def forward(self, x):
        return x + self.bias.expand_as(x)


class ReactBlock(nn.Module):
    """Shifted signs, PReLUs between shifts, and twice the channels by two layers side by side."""

    def __init__(self, inputs, outputs, stride):
        super().__init__()
        self.move0, self.conv0 = Shift(inputs), FlatConv(inputs, inputs, 3, stride)
        self.bn0 = nn.BatchNorm2d(inputs)
        self.shift1, self.relu1, self.shift2 = Shift(inputs), nn.PReLU(inputs), Shift(inputs)
        self.relu1.weight.data.normal_()
        self.pool = nn.AvgPool2d(2, 2) if stride == 2 else None
        halves = outputs // inputs
        self.pointwise = nn.ModuleList(FlatConv(inputs, inputs, 1) for _ in range(halves))
        self.bns = nn.ModuleList(nn.BatchNorm2d(inputs) for _ in range(halves))
        self.move1, self.last = Shift(inputs), nn.PReLU(outputs)

    def forward(self, x):
        out = self.bn0(self.conv0(soft_sign(self.move0(x))))
        out = (x if self.pool is None else self.pool(x)) + out
        out = self.shift2(self.relu1(self.shift1(out)))
        bits = soft_sign(self.move1(out))
        parts = [bn(conv(bits)) + out for conv, bn in zip(self.pointwise, self.bns, strict=True)]
        return self.last(torch.cat(parts, dim=1) if len(parts) > 1 else parts[0])


def reactnet():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1, bias=False), nn.BatchNorm2d(8),
        ReactBlock(8, 16, 1), ReactBlock(16, 32, 2), ReactBlock(32, 32, 1),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 5))  # fmt: skip


class WritingConv(nn.Conv2d):
    """A convolution that writes to tensors of its own and of its input while it runs."""

    def forward(self, x):
        if x.size(1) != 3:
            x = x.sign()
        if not hasattr(self.weight, "org"):
            self.weight.org = self.weight.data.clone()
        self.weight.data = self.weight.org.sign()
        out = functional.conv2d(x, self.weight, None, self.stride, self.padding)
        if self.bias is not None:
            self.bias.org = self.bias.data.clone()
            out += self.bias.view(1, -1, 1, 1).expand_as(out)
        return out


class WritingLinear(nn.Linear):
    def forward(self, x):
        if not hasattr(self.weight, "org"):
            self.weight.org = self.weight.data.clone()
        self.weight.data = self.weight.org.sign()
        return functional.linear(x.sign(), self.weight, self.bias)


class Vgg(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            WritingConv(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.Hardtanh(inplace=True),
            WritingConv(16, 24, 3, padding=1), nn.MaxPool2d(2), nn.BatchNorm2d(24),
            nn.Hardtanh(inplace=True))  # fmt: skip
        self.classifier = nn.Sequential(
            WritingLinear(24 * 6 * 6, 32), nn.BatchNorm1d(32), nn.Hardtanh(inplace=True),
            WritingLinear(32, 10), nn.BatchNorm1d(10, affine=False),
            nn.LogSoftmax(dim=1))  # fmt: skip

    def forward(self, x):
        x = self.features(x)
        x = x.view(-1, 24 * 6 * 6)
        return self.classifier(x)


class StaticSign(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return torch.sign(x)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * (x.abs() <= 1)


class Learned(nn.Module):
    """Bits by an autograd function, weights centred, a learned scale after the layer."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3))
        self.scale = nn.Parameter(torch.rand(1, outputs, 1, 1) + 0.5)

    def forward(self, x):
        centred = self.weight - self.weight.mean(1, keepdim=True)
        return functional.conv2d(StaticSign.apply(x), StaticSign.apply(centred), padding=1).mul_(
            self.scale
        )


def swapped():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), Learned(16, 16),
        nn.PReLU(), nn.BatchNorm2d(16), Learned(16, 8), nn.BatchNorm2d(8),
        nn.AvgPool2d(12), nn.Flatten(), nn.Linear(8, 4))  # fmt: skip


class XnorConv(nn.Module):
    """Batch norm, sign, convolution with bias, ReLU, as XNOR-Net's PyTorch port; weights alpha."""

    def __init__(self, inputs, outputs, kernel, padding, groups=1):
        super().__init__()
        self.bn = nn.BatchNorm2d(inputs, eps=1e-4, momentum=0.1, affine=True)
        self.conv = nn.Conv2d(inputs, outputs, kernel, padding=padding, groups=groups)
        data = self.conv.weight.data
        self.conv.weight.data = data.sign() * data.abs().mean((1, 2, 3), keepdim=True)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x):
        return self.relu(self.conv(StaticSign.apply(self.bn(x))))


def xnor_alexnet():
    return nn.Sequential(
        nn.Conv2d(3, 12, 11, stride=4), nn.BatchNorm2d(12), nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2), XnorConv(12, 16, 5, 2), nn.MaxPool2d(3, 2, ceil_mode=True),
        XnorConv(16, 16, 3, 1, groups=2), nn.Flatten(), nn.Dropout(0.5),
        nn.BatchNorm1d(16 * 3 * 3), nn.Linear(16 * 3 * 3, 6))  # fmt: skip


class Padded(nn.Module):
    """Bits with sign(0) = +1 by a mask, padded with -1, as bitorch's layers."""

    def __init__(self, inputs, outputs, stride=1, groups=1):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs // groups, 3, 3))
        self.stride, self.groups = stride, groups

    @staticmethod
    def bits(x):
        sign = torch.sign(x)
        return torch.where(sign == 0, torch.tensor(1.0), sign)

    def forward(self, x):
        x = functional.pad(self.bits(x), (0, 1, 0, 1) if self.stride == 2 else (1, 1, 1, 1),
                           mode="constant", value=-1.0)  # fmt: skip
        return functional.conv2d(x, self.bits(self.weight), stride=self.stride, groups=self.groups)


def padded():
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), Padded(16, 16),
        nn.ReLU(), nn.BatchNorm2d(16), Padded(16, 32, stride=2), nn.BatchNorm2d(32),
        Padded(32, 32, groups=32), nn.BatchNorm2d(32), nn.Flatten(),
        nn.Linear(32 * 36, 5))  # fmt: skip


class Gated(nn.Module):
    """A binarized layer scaled by what a small network makes of the means of its input."""

    def __init__(self, channels, gate):
        super().__init__()
        self.conv, self.bn = FlatConv(channels, channels), nn.BatchNorm2d(channels)
        self.squeeze, self.excite = nn.Linear(channels, 4), nn.Linear(4, channels)
        self.gate = gate

    def forward(self, x):
        y = self.conv(soft_sign(self.bn(x)))
        z = functional.adaptive_avg_pool2d(x, 1).view(x.size(0), -1)
        z = self.gate(self.excite(torch.relu(self.squeeze(z))))
        return functional.leaky_relu(y * z[:, :, None, None].expand_as(y) + x, 0.1)


def gated():
    gates = (torch.sigmoid, functional.hardsigmoid, functional.hardswish, functional.silu)
    return nn.Sequential(nn.Conv2d(3, 12, 3), nn.BatchNorm2d(12), *(Gated(12, g) for g in gates),
                         nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 3),
                         nn.Softmax(-1))  # fmt: skip


class ShuffleBlock(nn.Module):
    """A dense block: half of the channels go through grouped bits, then all are shuffled."""

    def __init__(self, channels, groups):
        super().__init__()
        self.groups = groups
        self.conv, self.bn = FlatConv(channels, channels, groups=groups), nn.BatchNorm2d(channels)

    def forward(self, x):
        y = torch.cat((x, self.bn(self.conv(soft_sign(x)))), 1)
        batch, channels, height, width = y.size()
        y = y.view(batch, self.groups, channels // self.groups, height, width)
        return y.transpose(1, 2).contiguous().view(batch, channels, height, width)


def shuffled():
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.LeakyReLU(0.2), ShuffleBlock(6, 2),
        ShuffleBlock(12, 3), nn.ChannelShuffle(4), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(24 * 25, 3))  # fmt: skip


class Where(nn.Module):
    """Signs by comparison times a scale, estimators by sums, as Brevitas writes them."""

    def __init__(self, inputs, outputs, scale):
        super().__init__()
        self.weight, self.scale = nn.Parameter(torch.randn(outputs, inputs, 3, 3)), scale

    @staticmethod
    def bits(x, scale):
        y = torch.where(torch.ge(x, 0.0), torch.tensor(1.0), torch.tensor(-1.0))
        y = y * scale
        return x + (y - x).detach()

    def forward(self, x):
        x = self.bits(functional.hardtanh(x), self.scale)
        return functional.conv2d(x, self.bits(self.weight, torch.tensor(0.25)))


def compared():
    return nn.Sequential(Where(3, 9, 1.0), nn.BatchNorm2d(9, eps=1e-4), Where(9, 8, 0.5),
                         nn.BatchNorm2d(8, eps=1e-4), nn.MaxPool2d(2), nn.Flatten(),
                         nn.Linear(8 * 16, 5))  # fmt: skip


NETS = {
    # name: module, input side, bit x bit layers, other layers
    "bireal": (bireal, 32, 3, 3),
    "reactnet": (reactnet, 24, 8, 2),
    "vgg": (Vgg, 12, 3, 1),
    "swapped": (swapped, 12, 2, 2),
    "xnor-alexnet": (xnor_alexnet, 63, 2, 2),
    "padded": (padded, 12, 3, 2),
    "gated": (gated, 9, 4, 10),
    "shuffled": (shuffled, 12, 2, 2),
    "compared": (compared, 12, 2, 1),
}


@pytest.mark.parametrize("name", NETS)
def test_lookalikes_import_and_run_as_torch(name):
    build, side, bits, others = NETS[name]
    module = shaken(build()).eval()
    x = torch.randn(6, 3, side, side)
    with torch.no_grad():
        expected = module(x).numpy()
    graph = from_torch(module, (3, side, side))
    layers = [node for node in graph.nodes if node.op in ("Dense", "Conv2d")]
    pairs = [tuple(str(graph.tensor(t).dtype) for t in node.inputs) for node in layers]
    assert (pairs.count(("bit", "bit")), len(pairs)) == (bits, bits + others)
    ours = np.ascontiguousarray(x.permute(0, 2, 3, 1).numpy())
    assert bnnsim.verify(graph, ours).ok
    found = bnnsim.run(graph, ours).outputs
    assert np.abs(found - expected).max() <= ROUNDING * np.abs(expected).max()
    assert bnnsim.estimate(graph, "cmos45").unpriced == ()
