"""Random networks for tests: small, ragged, with negative, zero and tied batch norms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bnnsim.graph.dtypes import BIT, FLOAT32, INT16, INT32, UINT8, DType
from bnnsim.graph.ir import Graph, Node, Tensor
from bnnsim.graph.ops import infer
from bnnsim.graph.verify import verify


class Builder:
    """Append nodes one by one; each method returns the builder."""

    def __init__(self, shape: tuple[int, ...], *, seed: int = 0, dtype: DType = UINT8) -> None:
        self.rng = np.random.default_rng(seed)
        self.tensors: dict[str, Tensor] = {"input": Tensor("input", shape, dtype)}
        self.nodes: list[Node] = []
        self.last = "input"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.tensors[self.last].shape

    def add(
        self,
        op: str,
        constants: dict[str, tuple[np.ndarray, DType]] | None = None,
        *,
        also: Sequence[str] = (),
        **attrs,
    ):
        index = len(self.nodes)
        name = f"{op.lower()}{index}"
        inputs = [self.last, *also]
        for role, (data, dtype) in (constants or {}).items():
            key = f"{name}.{role}"
            held = np.ascontiguousarray(data, dtype.numpy)
            self.tensors[key] = Tensor(key, held.shape, dtype, True, held)
            inputs.append(key)
        node = Node(index, name, op, tuple(inputs), (f"{name}.out",), attrs)
        shape, dtype = infer(node, [self.tensors[n] for n in inputs])
        self.tensors[node.output] = Tensor(node.output, shape, dtype)
        self.nodes.append(node)
        self.last = node.output
        return self

    def go_to(self, tensor: str):
        self.last = tensor
        return self

    def float_conv(self, n: int, kernel: int = 3, **attrs):
        shape = (n, kernel, kernel, self.shape[2])
        weight = self.rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
        return self.add("Conv2d", {"weight": (weight, FLOAT32)}, **attrs)

    def encode(self, table: np.ndarray | None = None, dtype: DType = INT16):
        values = 2 * np.arange(256) - 255 if table is None else table
        return self.add("Encode", {"table": (values, dtype)})

    def encode_bits(self, level: int = 128):
        return self.encode(np.where(np.arange(256) >= level, 1, -1), BIT)

    def bits(self, *shape: int) -> np.ndarray:
        return self.rng.choice(np.array([-1, 1], np.int8), shape)

    def dense(self, n: int):
        return self.add("Dense", {"weight": (self.bits(n, self.shape[0]), BIT)})

    def conv(self, n: int, kernel: Sequence[int] = (3, 3), groups: int = 1, **attrs):
        weight = self.bits(n, *kernel, self.shape[2] // groups)
        return self.add("Conv2d", {"weight": (weight, BIT)}, groups=groups, **attrs)

    def batch_norm(self, spread: float | None = None, *, ties: bool = False):
        """Add a BatchNorm; with ``ties``, integer means and zero betas so that sums meet 0."""
        channels = self.shape[-1]
        spread = spread or float(np.sqrt(channels))
        gamma = self.rng.normal(size=channels)
        beta = self.rng.normal(size=channels)
        mean = self.rng.normal(scale=spread, size=channels)
        gamma[:: max(2, channels // 3)] = 0
        if ties:
            beta[:], mean = 0, np.rint(mean)
        var = self.rng.uniform(0.5, 2, channels) * spread**2
        values = {"gamma": gamma, "beta": beta, "mean": mean, "var": var}
        return self.add("BatchNorm", {k: (v, FLOAT32) for k, v in values.items()}, eps=1e-4)

    def sign(self):
        return self.add("Quantize", quantizer="sign")

    def pool(self, kernel: int = 2, stride: int | None = None, pads=(0, 0, 0, 0)):
        step = stride or kernel
        return self.add("MaxPool", kernel=(kernel, kernel), stride=(step, step), pads=pads)

    def thresholds(self, steps: int, dtype: str, base: int, spread: int):
        channels = self.shape[-1]
        values = np.sort(self.rng.integers(-spread, spread, (channels, steps)), axis=1)
        direction = self.rng.choice([-1, 1], channels)
        constants = {
            "thresholds": (values, INT32),
            "direction": (direction, DType("signed", 8)),
        }
        return self.add("Threshold", constants, dtype=dtype, base=base)

    def graph(self, name: str = "net", **meta) -> Graph:
        return verify(Graph(name, tuple(self.nodes), self.tensors, ("input",), (self.last,), meta))

    def batch(self, n: int) -> np.ndarray:
        return self.rng.integers(0, 256, (n, *self.tensors["input"].shape), np.uint8)


def mlp(seed: int = 0, *, widths: Sequence[int] = (65, 33, 10), inputs: int = 63) -> Graph:
    """Return Encode, then Dense + BatchNorm + sign per width, the last without sign."""
    net = Builder((inputs,), seed=seed).encode()
    for width in widths[:-1]:
        net.dense(width).batch_norm(ties=seed % 2 == 1).sign()
    return net.dense(widths[-1]).batch_norm().graph("mlp")


def convnet(seed: int = 0) -> Graph:
    """Return a ragged convolutional net with pools before BN, after BN and after sign."""
    net = Builder((13, 11, 3), seed=seed).encode()
    net.conv(17, pads=(1, 1, 1, 1)).batch_norm(200).sign()
    net.conv(65, pads=(1, 0, 2, 1), pad_value=-1).pool().batch_norm(ties=True).sign()
    net.conv(12, (2, 3), pads=(1, 1, 0, 1), pad_value=1).batch_norm().pool(
        3, 1, (1, 1, 1, 1)
    ).sign()
    net.conv(24, (3, 1), groups=3, stride=(2, 1), dilation=(1, 1)).batch_norm().sign().pool(2, 1)
    net.add("Flatten").dense(19).batch_norm().sign()
    return net.dense(7).batch_norm().graph("convnet")


def float_residual(seed: int = 0, *, dtype: DType = FLOAT32, widths=(5, 9)) -> Graph:
    """Return a float net: two basic blocks, the second with a slice and zero channels."""
    net = Builder((7, 6, 3), seed=seed, dtype=dtype)
    if dtype != FLOAT32:
        net.encode().add("Cast", dtype="float32")
    net.float_conv(widths[0], pads=(1, 1, 1, 1)).batch_norm(1.0).add("Relu")
    for width in widths:
        source, before = net.last, net.shape[2]
        stride = 1 if width == before else 2
        net.float_conv(width, pads=(1, 1, 1, 1), stride=(stride, stride)).batch_norm(1.0)
        net.add("Relu").float_conv(width, pads=(1, 1, 1, 1)).batch_norm(1.0)
        branch = net.last
        net.go_to(source)
        if stride > 1:
            net.add("Slice", stop=net.shape, step=(2, 2, 1))
            net.add("PadChannels", before=(width - before) // 2, after=-(-(width - before) // 2))
        net.add("Add", also=(branch,)).add("Relu")
    net.add("GlobalAvgPool").add("Flatten")
    weight = net.rng.normal(size=(4, net.shape[0]))
    net.add("Dense", {"weight": (weight, FLOAT32)})
    return net.add("Bias", {"bias": (net.rng.normal(size=4), FLOAT32)}).graph("residual")


def bit_residual(seed: int = 0) -> Graph:
    """Return a binarized net with float and integer shortcuts, and one tensor added to itself."""
    net = Builder((9, 8, 3), seed=seed).encode()
    net.conv(17, pads=(1, 1, 1, 1)).batch_norm(200)
    stream = net.last
    net.sign().conv(17, pads=(1, 1, 1, 1)).batch_norm().add("Add", also=(stream,))
    stream = net.last
    net.sign()
    bits = net.last
    net.conv(17, pads=(1, 1, 1, 1), pad_value=1).add("Add", also=(bits,))
    net.batch_norm().add("Add", also=(net.last,)).add("Add", also=(stream,))
    net.add("AvgPool", kernel=(2, 2), stride=(2, 1), pads=(1, 0, 0, 1), count_include_pad=True)
    net.pool(2, 1).sign().conv(7, (1, 1)).batch_norm().sign().conv(5, (1, 1)).batch_norm()
    net.add("GlobalAvgPool")
    return net.add("Flatten").graph("bit-residual")


def prelu(net: Builder, *, negative: bool) -> Builder:
    """Append a PRelu with a slope per channel; of both signs, zero included, if ``negative``."""
    slope = net.rng.normal(size=net.shape[-1]) if negative else net.rng.random(net.shape[-1])
    slope[::3] = -0.25 if negative else 0
    return net.add("PRelu", {"slope": (slope, FLOAT32)})


def shift(net: Builder) -> Builder:
    """Append a Bias of small whole numbers, so that values meet 0."""
    return net.add("Bias", {"bias": (net.rng.integers(-1, 2, net.shape[-1]), FLOAT32)})


def joined(seed: int = 0, *, softmax: bool | None = True) -> Graph:
    """Return a net of shifted signs, RPReLUs, concats, a shuffle, gates and grouped layers.

    Channels are joined at boundaries inside words, as bits, integers and floats. ``softmax`` says
    what ends it: softmax, its logarithm (False) or logits (None).
    """
    net = Builder((9, 8, 3), seed=seed).encode()
    net.conv(17, pads=(1, 1, 1, 1)).batch_norm(200, ties=seed % 2 == 1)
    stream = net.last
    net.sign()
    bits = net.last
    net.conv(66, pads=(1, 1, 1, 1))
    sums = net.last
    prelu(net.batch_norm(), negative=False)
    shift(net).sign().add("Concat", also=(bits, net.last))  # 66 + 17 + 66 bits
    net.add("ChannelShuffle", groups=149).conv(34, (1, 1), pad_value=1).batch_norm()
    shift(prelu(shift(net), negative=True)).sign().conv(34, groups=34).batch_norm()
    gates = net.last
    net.go_to(sums).sign().conv(17, pads=(1, 1, 1, 1))
    net.add("Concat", also=(net.last, sums)).batch_norm(30)
    shift(prelu(net, negative=True)).sign().conv(17, (2, 3), pads=(1, 1, 0, 0)).batch_norm()
    net.add("GlobalAvgPool").add("Flatten")
    means = net.last
    net.go_to(gates).add("GlobalAvgPool").add("Flatten").add("Concat", also=(means,))
    net.add("Dense", {"weight": (net.rng.normal(size=(17, 51)), FLOAT32)})
    net.add("Sigmoid").add("Reshape", shape=(1, 1, 17))
    gate = net.last
    net.go_to(stream).add("Mul", also=(gate,)).add("Concat", also=(stream,))
    net.add("ChannelShuffle", groups=2).pool().sign().add("Flatten").dense(5).batch_norm()
    if softmax is not None:
        net.add("Softmax", log=not softmax)
    return net.graph("joined")
