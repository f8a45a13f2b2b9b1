"""Networks that were timed on processors: MLPerf Tiny's, QuickNet, daBNN's layers, GEMMs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from bnnsim.graph.dtypes import BIT, FLOAT32, INT8, DType
from bnnsim.graph.ir import Graph
from bnnsim.validate.shapes import Shapes

# Input side and channels, output channels, kernel, stride, padding of the layers that daBNN times.
DABNN = {
    "3x3_128": (28, 128, 128, 3, 1, 1),
    "3x3_256_s2": (14, 256, 256, 3, 2, 1),
    "5x5_256": (14, 256, 256, 5, 1, 2),
    "3x3_64": (56, 64, 64, 3, 1, 1),
    "3x3_256": (14, 256, 256, 3, 1, 1),
    "3x3_512": (7, 512, 512, 3, 1, 1),
}
QUICKNETS = {
    "small": ((4, 4, 4, 4), (32, 64, 256, 512)),
    "medium": ((4, 4, 4, 4), (64, 128, 256, 512)),
    "large": ((6, 8, 12, 6), (64, 128, 256, 512)),
}
# Output channels and stride of the depthwise blocks of MobileNetV1 at a quarter of its width.
MOBILENET = (
    (16, 1), (32, 2), (32, 1), (64, 2), (64, 1), (128, 2), *((128, 1),) * 5, (256, 2), (256, 1),
)  # fmt: skip


def _quantized(net: Shapes) -> None:
    """Append per-channel requantization to 8 bits, with its clip."""
    channels = net.shape[-1]
    net.add("Requantize", ((channels,), FLOAT32), ((channels,), FLOAT32), dtype="int8")


def autoencoder() -> Graph:
    """MLPerf Tiny's anomaly detector: 640, four of 128, 8, four of 128, 640."""
    net = Shapes((640,), INT8)
    for rows in (128, 128, 128, 128, 8, 128, 128, 128, 128, 640):
        net.add("Dense", ((rows, net.shape[0]), INT8))
        _quantized(net)
    return net.graph("mlperf-ad")


def resnet8() -> Graph:
    """MLPerf Tiny's image classifier: three residual blocks on 32 x 32 pixels."""
    net = Shapes((32, 32, 3), INT8)
    net.conv(16, 3, INT8, pad=1)
    _quantized(net)
    for channels, stride in ((16, 1), (32, 2), (64, 2)):
        start = net.last
        net.conv(channels, 3, INT8, stride=stride, pad=1)
        _quantized(net)
        net.conv(channels, 3, INT8, pad=1)
        _quantized(net)
        body, net.last = net.last, start
        if stride > 1:
            net.conv(channels, 1, INT8, stride=stride)
            _quantized(net)
        shortcut, net.last = net.last, body
        net.add("Add", also=(shortcut,))
        net.narrow(INT8)
        net.add("Relu")
    return _classifier(net, 10, "mlperf-ic")


def ds_cnn() -> Graph:
    """MLPerf Tiny's keyword spotter: one 10 x 4 convolution and four depthwise blocks."""
    net = Shapes((49, 10, 1), INT8)
    net.add("Conv2d", ((64, 10, 4, 1), INT8), stride=(2, 2), pads=(4, 1, 5, 1), groups=1)
    _quantized(net)
    for _ in range(4):
        _depthwise(net, 64, 1)
    return _classifier(net, 12, "mlperf-kws")


def mobilenet() -> Graph:
    """MLPerf Tiny's person detector: MobileNetV1 x 0.25 on 96 x 96 pixels."""
    net = Shapes((96, 96, 3), INT8)
    net.conv(8, 3, INT8, stride=2, pad=1)
    _quantized(net)
    for channels, stride in MOBILENET:
        _depthwise(net, channels, stride)
    return _classifier(net, 2, "mlperf-vww")


def _depthwise(net: Shapes, channels: int, stride: int) -> None:
    net.conv(net.shape[-1], 3, INT8, stride=stride, pad=1, groups=net.shape[-1])
    _quantized(net)
    net.conv(channels, 1, INT8)
    _quantized(net)


def _classifier(net: Shapes, classes: int, name: str) -> Graph:
    net.add("AvgPool", kernel=net.shape[:2], stride=net.shape[:2])
    net.narrow(INT8)
    net.add("Flatten")
    net.add("Dense", ((classes, net.shape[0]), INT8))
    _quantized(net)
    return net.graph(name)


def dabnn_layer(name: str) -> Graph:
    """One binary convolution, its sums as float32."""
    side, channels, out, kernel, stride, pad = DABNN[name]
    net = Shapes((side, side, channels), BIT)
    net.conv(out, kernel, BIT, stride=stride, pad=pad)
    net.add("Cast", dtype="float32")
    return net.graph(f"dabnn-{name}")


def _normalized(net: Shapes) -> None:
    net.add("Affine", *[((net.shape[-1],), FLOAT32)] * 2)


# The zoo's QuickNets and Bi-Real 18 multiply the same. Here a batch norm is an affine after a cast,
# and the classes have no bias: the first predictions of published points were made on this form
# and are held to it; on the zoo's, times are up to 0.2 % longer.
def quicknet(size: str) -> Graph:
    """QuickNet of larq's zoo, version 1.0: float stem and transitions, binary residual blocks."""
    net = Shapes((224, 224, 3), FLOAT32)
    blocks, filters = QUICKNETS[size]
    net.conv(filters[0] // 4, 3, FLOAT32, stride=2, pad=1)
    _normalized(net)
    net.add("Relu")
    net.conv(net.shape[-1], 3, FLOAT32, stride=2, pad=1, groups=net.shape[-1])
    _normalized(net)
    net.conv(filters[0], 1, FLOAT32)
    _normalized(net)
    for number, channels in zip(blocks, filters, strict=True):
        if channels != net.shape[-1]:
            _transition(net, channels)
        for _ in range(number):
            _binary_block(net)
    net.add("Relu")
    net.add("AvgPool", kernel=net.shape[:2], stride=net.shape[:2])
    net.add("Flatten")
    net.add("Dense", ((1000, net.shape[0]), FLOAT32))
    return net.graph(f"quicknet-{size}")


def _transition(net: Shapes, channels: int) -> None:
    net.add("Relu")
    net.add("MaxPool", kernel=(2, 2), stride=(1, 1))
    net.conv(net.shape[-1], 3, FLOAT32, stride=2, pad=1, groups=net.shape[-1])
    net.conv(channels, 1, FLOAT32)
    _normalized(net)


def _binary_block(net: Shapes) -> None:
    start = net.last
    net.add("Quantize", quantizer="sign")
    net.conv(net.shape[-1], 3, BIT, pad=1)
    net.add("Cast", dtype="float32")
    net.add("Relu")
    _normalized(net)
    net.add("Add", also=(start,))


def birealnet18() -> Graph:
    """Bi-Real Net 18: a float stem, sixteen binary layers with a shortcut each, a float end."""
    net = Shapes((224, 224, 3), FLOAT32)
    net.conv(64, 7, FLOAT32, stride=2, pad=3)
    _normalized(net)
    net.add("MaxPool", kernel=(3, 3), stride=(2, 2), pads=(1, 1, 1, 1))
    for channels in (64, 128, 256, 512):
        for layer in range(4):
            _bireal_layer(net, channels, 2 if layer == 0 and channels > 64 else 1)
    net.add("AvgPool", kernel=net.shape[:2], stride=net.shape[:2])
    net.add("Flatten")
    net.add("Dense", ((1000, net.shape[0]), FLOAT32))
    return net.graph("birealnet-18")


def _bireal_layer(net: Shapes, channels: int, stride: int) -> None:
    start = net.last
    net.add("Quantize", quantizer="sign")
    net.conv(channels, 3, BIT, stride=stride, pad=1)
    net.add("Cast", dtype="float32")
    _normalized(net)
    body, net.last = net.last, start
    if stride > 1:
        net.add("AvgPool", kernel=(2, 2), stride=(2, 2))
        net.conv(channels, 1, FLOAT32)
        _normalized(net)
    shortcut, net.last = net.last, body
    net.add("Add", also=(shortcut,))


def gemm(size: int, act: DType, weight: DType) -> Graph:
    """Return a product by ``size`` x ``size`` weights."""
    net = Shapes((size,), act)
    net.add("Dense", ((size, size), weight))
    return net.graph(f"gemm-{size}")


NETWORKS: Mapping[str, Callable[[], Graph]] = MappingProxyType(
    {
        "mlperf-ad": autoencoder,
        "mlperf-ic": resnet8,
        "mlperf-kws": ds_cnn,
        "mlperf-vww": mobilenet,
        **{f"dabnn-{name}": partial(dabnn_layer, name) for name in DABNN},
        **{f"quicknet-{size}": partial(quicknet, size) for size in QUICKNETS},
        "birealnet-18": birealnet18,
        **{f"gemm-w1a2-{n}": partial(gemm, n, DType("unsigned", 2), BIT)
           for n in (128, 256, 512, 1024)},
        **{f"gemm-w4a4-{n}": partial(gemm, n, DType("signed", 4), DType("signed", 4))
           for n in (128, 256, 512, 1024)},
    }
)  # fmt: skip
