"""ImageNet networks, float and binarized, each written down once.

Scales of binarized weights (alpha) are part of the batch norms that follow, and all end with their
logits: the softmax of training is left out.
"""

from __future__ import annotations

from functools import partial

from bnnsim.graph.dtypes import BIT, FLOAT32, TERNARY, DType
from bnnsim.zoo.images import CLASSES, ImageChain

_STAGES = (64, 128, 256, 512)


# --- residual networks -------------------------------------------------------------------------


def resnet18(net: ImageChain, *, weights: DType = FLOAT32) -> None:
    """ResNet-18 with projections; ``weights`` of every layer but the first and the last."""
    _stem(net)
    net.relu()
    net.max_pool(3, 2, pads=1)
    for width in _STAGES:
        for index in range(2):
            stride = 2 if width > 64 and index == 0 else 1
            source = net.last
            net.conv2d(width, 3, stride=stride, weights=weights)
            net.batch_norm()
            net.relu()
            net.conv2d(width, 3, weights=weights)
            net.batch_norm()
            branch = net.last
            net.go_to(source)
            if stride == 2:
                net.conv2d(width, 1, stride=2, pads=0, weights=weights)
                net.batch_norm()
            net.add(branch)
            net.relu()
    net.classes()


def xnor_resnet18(net: ImageChain) -> None:
    """ResNet-18 of pre-activated bit convolutions: batch norm, sign, convolution; float ends."""
    _stem(net)
    net.relu()
    net.max_pool(3, 2, pads=1)
    for width in _STAGES:
        for index in range(2):
            stride = 2 if width > 64 and index == 0 else 1
            source = net.last
            for step in (stride, 1):
                net.batch_norm()
                net.sign()
                net.conv2d(width, 3, stride=step, weights=BIT)
            net.cast()
            branch = net.last
            net.go_to(source)
            if stride == 2:
                net.conv2d(width, 1, stride=2, pads=0)
            net.add(branch)
    net.batch_norm()
    net.relu()
    net.classes()


def bireal(net: ImageChain, *, blocks: tuple[int, ...]) -> None:
    """Bi-Real net: a shortcut around each bit convolution; projections of averages in float."""
    _stem(net)
    net.max_pool(3, 2, pads=1)
    for width, count in zip(_STAGES, blocks, strict=True):
        for index in range(2 * count):
            source, stride = net.last, 2 if width > 64 and index == 0 else 1
            net.sign()
            net.conv2d(width, 3, stride=stride, weights=BIT)
            net.batch_norm()
            _joined(net, source, width, stride)
    net.classes()


def real2binary(net: ImageChain) -> None:
    """Batch norm, sign, bit convolution, a gate of the batch norm's means, PReLU, shortcut."""
    _stem(net, pads="tensorflow")
    net.prelu()
    net.max_pool(3, 2, pads="tensorflow")
    for width in _STAGES:
        for index in range(4):
            source, before = net.last, net.shape[-1]
            stride = 2 if width > 64 and index == 0 else 1
            net.batch_norm()
            normed = net.last
            net.sign()
            net.conv2d(width, 3, stride=stride, pads="tensorflow", weights=BIT)
            net.gate(normed, before // 8)
            net.prelu()
            _joined(net, source, width, stride)
    net.classes()


def _stem(net: ImageChain, *, pads: str = "same") -> None:
    net.conv2d(64, 7, stride=2, pads=pads)
    net.batch_norm()


def _joined(net: ImageChain, source: str, width: int, stride: int) -> None:
    """Add the shortcut from ``source``; where it shrinks, an average and a float projection."""
    branch = net.last
    net.go_to(source)
    if stride == 2:
        net.average_pool(2)
        net.conv2d(width, 1, pads=0)
        net.batch_norm()
    net.add(branch)


def reactnet_a(net: ImageChain) -> None:
    """MobileNet's plan in bits: shifted signs, RPReLUs, twice the channels by two layers."""
    net.conv2d(32, 3, stride=2)
    net.batch_norm()
    for width in (64, 128, 128, 256, 256, *[512] * 6, 1024, 1024):
        before = net.shape[-1]
        stride = 2 if width != before and width != 64 else 1
        source = net.last
        net.bias()
        net.sign()
        net.conv2d(before, 3, stride=stride, weights=BIT)
        net.batch_norm()
        branch = net.last
        net.go_to(source)
        if stride == 2:
            net.average_pool(2)
        net.add(branch)
        _rprelu(net)
        _pointwise(net, width)
        _rprelu(net)
    net.classes()


def _rprelu(net: ImageChain) -> None:
    net.bias()
    net.prelu()
    net.bias()


def _pointwise(net: ImageChain, width: int) -> None:
    """One 1x1 layer of bits, or two side by side, each with a shortcut."""
    source, before = net.last, net.shape[-1]
    net.bias()
    net.sign()
    bits, parts = net.last, []
    for _ in range(width // before):
        net.go_to(bits)
        net.conv2d(before, 1, weights=BIT)
        net.batch_norm()
        net.add(source)
        parts.append(net.last)
    if len(parts) > 1:
        net.concat(parts)


def quicknet(net: ImageChain, *, blocks: tuple[int, ...], filters: tuple[int, ...]) -> None:
    """Bit convolutions padded with +1, ReLU, batch norm, shortcut; blurred pools between stages."""
    net.conv2d(filters[0] // 4, 3, stride=2, pads="tensorflow")
    net.batch_norm()
    net.relu()
    net.conv2d(filters[0] // 4, 3, stride=2, pads="tensorflow", groups=filters[0] // 4)
    net.batch_norm()
    net.conv2d(filters[0], 1)
    net.batch_norm()
    for count, width in zip(blocks, filters, strict=True):
        before = net.shape[-1]
        if width != before:
            net.relu()
            net.max_pool(2, 1)
            net.conv2d(before, 3, stride=2, pads="tensorflow", groups=before)
            net.conv2d(width, 1)
            net.batch_norm()
        for _ in range(count):
            source = net.last
            net.sign()
            net.conv2d(width, 3, weights=BIT, pad_value=1)
            net.relu()
            net.batch_norm()
            net.add(source)
    net.relu()
    net.classes()


# --- dense networks ----------------------------------------------------------------------------


def densenet28(net: ImageChain) -> None:
    """Each block adds 64 channels of a bit convolution; transitions in float."""
    _stem(net, pads="tensorflow")
    net.relu()
    net.max_pool(3, 2, pads="tensorflow")
    for count, reduction in ((6, 2.7), (6, 2.7), (6, 2.2), (5, None)):
        for _ in range(count):
            _grow(net, 64)
        net.batch_norm()
        if reduction is not None:
            net.max_pool(2, 2)
            net.relu()
            net.conv2d(round(net.shape[-1] // reduction / 32) * 32, 1)
    net.relu()
    net.classes()


def meliusnet22(net: ImageChain) -> None:
    """Dense blocks, each followed by one that improves its 64 new channels."""
    net.conv2d(32, 3, stride=2, pads="tensorflow")
    for width, groups in ((32, 4), (64, 8)):
        net.batch_norm()
        net.relu()
        net.conv2d(width, 3, groups=groups)
    net.batch_norm()
    net.relu()
    net.max_pool(2, 2)
    for count, narrowed in ((4, 160), (5, 224), (4, 256), (4, 0)):
        for _ in range(count):
            _grow(net, 64)
            source = net.last
            channels = net.shape[-1]
            _normed_bits(net, 64)
            net.widen(channels - 64)
            net.add(source)
        net.batch_norm()
        if narrowed:
            net.max_pool(2, 2)
            net.relu()
            net.conv2d(narrowed, 1)
    net.relu()
    net.classes()


def _normed_bits(net: ImageChain, n: int) -> None:
    net.batch_norm()
    net.sign()
    net.conv2d(n, 3, weights=BIT)
    net.cast()


def _grow(net: ImageChain, n: int) -> None:
    source = net.last
    _normed_bits(net, n)
    net.concat([source, net.last])


# --- AlexNets and GoogLeNet --------------------------------------------------------------------


def alexnet(net: ImageChain) -> None:
    """AlexNet of one tower, as torchvision has it: biases, no normalization."""
    for width, kernel, stride, pads, pooled in (
        (64, 11, 4, 2, True), (192, 5, 1, 2, True), (384, 3, 1, 1, False), (256, 3, 1, 1, False),
        (256, 3, 1, 1, True),
    ):  # fmt: skip
        net.conv2d(width, kernel, stride=stride, pads=pads)
        net.bias()
        net.relu()
        if pooled:
            net.max_pool(3, 2)
    net.flatten()
    for _ in range(2):
        net.fully(4096)
        net.bias()
        net.relu()
    net.fully(CLASSES)
    net.bias()


def xnor_alexnet(net: ImageChain) -> None:
    """AlexNet with bit layers between float ends; batch norm and sign before each of them."""
    net.conv2d(96, 11, stride=4, pads="tensorflow")
    net.batch_norm()
    net.relu()
    net.max_pool(3, 2)
    net.batch_norm()
    for width, kernel, pads, pooled in (
        (256, 5, "same", True), (384, 3, "same", False), (384, 3, "same", False),
        (256, 3, "same", True), (4096, 6, 0, False), (4096, 1, 0, False),
    ):  # fmt: skip
        net.sign()
        net.conv2d(width, kernel, pads=pads, weights=BIT)
        if pooled:
            net.max_pool(3, 2)
        net.batch_norm()
    net.relu()
    net.flatten()
    net.fully(CLASSES)


def dorefa_alexnet(net: ImageChain) -> None:
    """AlexNet with bit weights and activations of two bits between float ends."""
    net.conv2d(96, 12, stride=4, pads=0)
    net.bias()
    for width, kernel, pool in (
        (256, 5, "tensorflow"), (384, 3, "tensorflow"), (384, 3, None), (256, 3, 0),
    ):  # fmt: skip
        net.levels(2)
        net.conv2d(width, kernel, weights=BIT)
        net.batch_norm()
        if pool is not None:
            net.max_pool(3, 2, pads=pool)
    net.flatten()
    for _ in range(2):
        net.levels(2)
        net.fully(4096, weights=BIT)
        net.batch_norm()
    net.clip()
    net.fully(CLASSES)
    net.bias()


# 1x1; 3x3 after a reduction; 3x3 (5x5 in the paper) after a reduction; 1x1 after a pool.
_INCEPTIONS = (
    (64, 96, 128, 16, 32, 32), (128, 128, 192, 32, 96, 64), "pool",
    (192, 96, 208, 16, 48, 64), (160, 112, 224, 24, 64, 64), (128, 128, 256, 24, 64, 64),
    (112, 144, 288, 32, 64, 64), (256, 160, 320, 32, 128, 128), "pool",
    (256, 160, 320, 32, 128, 128), (384, 192, 384, 48, 128, 128),
)  # fmt: skip


def googlenet(net: ImageChain) -> None:
    """GoogLeNet of torchvision: batch norms, 3x3 where the paper has 5x5, no auxiliary ends."""
    _unit(net, 64, 7, stride=2)
    net.max_pool(3, 2, pads="ceil")
    _unit(net, 64, 1)
    _unit(net, 192, 3)
    net.max_pool(3, 2, pads="ceil")
    pools = iter((3, 2))
    for widths in _INCEPTIONS:
        if isinstance(widths, str):
            net.max_pool(next(pools), 2, pads="ceil")
            continue
        source = net.last
        parts: list[str] = []
        for branch in (widths[:1], widths[1:3], widths[3:5], widths[5:]):
            net.go_to(source)
            if len(parts) == 3:
                net.max_pool(3, 1, pads=1)
            for index, width in enumerate(branch):
                _unit(net, width, 3 if index else 1)
            parts.append(net.last)
        net.concat(parts)
    net.classes()


def _unit(net: ImageChain, width: int, kernel: int, *, stride: int = 1) -> None:
    net.conv2d(width, kernel, stride=stride)
    net.batch_norm()
    net.relu()


bireal18 = partial(bireal, blocks=(2, 2, 2, 2))
bireal34 = partial(bireal, blocks=(3, 4, 6, 3))
twn_resnet18 = partial(resnet18, weights=TERNARY)
quicknet_small = partial(quicknet, blocks=(4, 4, 4, 4), filters=(32, 64, 256, 512))
quicknet_medium = partial(quicknet, blocks=(4, 4, 4, 4), filters=_STAGES)
quicknet_large = partial(quicknet, blocks=(6, 8, 12, 6), filters=_STAGES)
