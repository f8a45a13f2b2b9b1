"""The published workloads as graphs of shapes and types, without weights, and those of the zoo."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from bnnsim.graph.dtypes import BIT, FLOAT32, INT8, INT16, TERNARY, DType
from bnnsim.graph.folding import layers_of, with_folding
from bnnsim.graph.ir import Graph
from bnnsim.validate import chip_nets, timed_nets
from bnnsim.validate.shapes import Shapes
from bnnsim.zoo import build, names

Q2_9 = DType("signed", 12)
# name, input (H, W, C), output channels, kernel, stride, padding, groups
ALEXNET = (
    ("conv1", (227, 227, 3), 96, 11, 4, 0, 1),
    ("conv2", (27, 27, 96), 256, 5, 1, 2, 2),
    ("conv3", (13, 13, 256), 384, 3, 1, 1, 1),
    ("conv4", (13, 13, 384), 384, 3, 1, 1, 2),
    ("conv5", (13, 13, 384), 256, 3, 1, 1, 2),
)


def binareye_cifar10() -> Graph:
    """Eight 2x2 layers of 256 channels and a dense one, as the published layer sizes say.

    Thresholds of 16 bits and signs of one keep the network within the chip's memory.
    """
    net = Shapes((32, 32, 256), BIT)
    for layer in range(8):
        net.conv(256, 2, BIT)
        net.threshold()
        if layer in (3, 5):
            net.add("MaxPool", kernel=(2, 2), stride=(2, 2))
    net.add("Flatten")
    net.add("Dense", ((10, 4096), BIT))
    return net.graph("binareye-cifar10")


def yodann_peak() -> Graph:
    """One 7x7 convolution from 32 to 32 channels on 32x32 pixels of 12 bits: the peak mode."""
    net = Shapes((32, 32, 32), Q2_9)
    net.conv(32, 7, BIT, pad=3)
    net.add("Requantize", ((32,), FLOAT32), ((32,), FLOAT32), dtype="int12")
    return net.graph("yodann-7x7")


def alexnet_layer(
    layer: tuple[str, tuple[int, ...], int, int, int, int, int],
    act: DType = INT16,
    weight: DType = INT16,
) -> Graph:
    """One convolution of AlexNet on integers with its ReLU; 32-bit sums become activations."""
    name, shape, out, kernel, stride, pad, groups = layer
    net = Shapes(shape, act)
    net.conv(out, kernel, weight, stride=stride, pad=pad, groups=groups)
    net.add("Relu")
    net.narrow(act)
    return net.graph(f"alexnet-{name}")


def cnv_w1a2() -> Graph:
    """CNV with ternary activations, folded as cnvW1A2/hw/config.h does: as CNV of bits."""
    net = Shapes((32, 32, 3), DType("signed", 8, scale=1 / 128))
    for channels in (64, 128, 256):
        for is_second in (False, True):
            net.conv(channels, 3, BIT)
            net.threshold(TERNARY)
            if is_second and channels < 256:
                net.add("MaxPool", kernel=(2, 2), stride=(2, 2))
    net.add("Flatten")
    for rows in (512, 512, 10):
        net.add("Dense", ((rows, net.shape[0]), BIT))
        if rows > 10:
            net.threshold(TERNARY)
    graph = net.graph("cnv-w1a2")
    published = build("cnv").meta["folding"]
    pairs = zip(layers_of(graph), published.values(), strict=True)
    return graph.with_meta(folding={node.name: dict(entry) for node, entry in pairs})


def cnv_mlperf() -> Graph:
    """CNV as submitted to MLPerf Tiny: 10 rows in the last layer, on 5 PEs."""
    graph = build("cnv")
    rows = [dict(entry) for entry in graph.meta["folding"].values()]
    rows[-1] = {"PE": 5, "SIMD": 1}
    table = {f"L{i}": row for i, row in enumerate(rows)}
    return with_folding(graph, table, "cnv-mlperf: folding")


def unfolded(name: str) -> Graph:
    """Return a network of the zoo without its published folding."""
    return build(name).with_meta(folding=None)


NETWORKS: Mapping[str, Callable[[], Graph]] = MappingProxyType(
    {
        "binareye-cifar10": binareye_cifar10,
        "yodann-7x7": yodann_peak,
        **{f"alexnet-{layer[0]}": partial(alexnet_layer, layer) for layer in ALEXNET},
        **{f"alexnet-{x[0]}-int8": partial(alexnet_layer, x, INT8, INT8) for x in ALEXNET},
        **{f"alexnet-{x[0]}-w8a16": partial(alexnet_layer, x, INT16, INT8) for x in ALEXNET},
        "cnv": partial(build, "cnv"),
        "cnv-w1a2": cnv_w1a2,
        "cnv-mlperf": cnv_mlperf,
        "lfc": partial(build, "lfc"),
        "lfc-unfolded": partial(unfolded, "lfc"),
        "sfc": partial(build, "sfc"),
        **timed_nets.NETWORKS,
        **chip_nets.NETWORKS,
        **{f"zoo:{name}": partial(build, name) for name in names()},
    }
)
