"""Weightless networks for the cost tests, built node by node in the form each mode lowers to."""

from __future__ import annotations

from bnnsim.graph.dtypes import BIT, INT8, INT32, DType
from bnnsim.graph.ir import Graph, Node, Tensor
from bnnsim.graph.ops import infer, normal_attrs

FLOATS = {"float32": DType("float", 32), "float16": DType("float", 16)}


class Builder:
    """Append nodes one after the other; shapes and dtypes come from the op table."""

    def __init__(self, name: str, shape: tuple[int, ...], dtype: DType) -> None:
        self.name, self.nodes = name, []
        self.tensors = {"x": Tensor("x", shape, dtype)}
        self.last = "x"

    def constant(self, name: str, shape: tuple[int, ...], dtype: DType) -> str:
        self.tensors[name] = Tensor(name, shape, dtype, constant=True)
        return name

    def add(
        self,
        op: str,
        constants: list[tuple[tuple[int, ...], DType]] | None = None,
        also: tuple[str, ...] = (),
        **attrs,
    ):
        n = len(self.nodes)
        inputs = [self.last, *also]
        for i, (shape, dtype) in enumerate(constants or []):
            inputs.append(self.constant(f"c{n}_{i}", shape, dtype))
        node = Node(n, f"{op.lower()}{n}", op, tuple(inputs), (f"t{n}",), attrs)
        if node.op == "Quantize" and attrs["quantizer"] == "stochastic_sign":
            shape, dtype = self.tensors[self.last].shape, BIT
        else:
            shape, dtype = infer(node, [self.tensors[name] for name in inputs])
            node = Node(n, node.name, op, node.inputs, node.outputs, normal_attrs(node))
        self.nodes.append(node)
        self.last = f"t{n}"
        self.tensors[self.last] = Tensor(self.last, shape, dtype)
        return self

    @property
    def shape(self) -> tuple[int, ...]:
        return self.tensors[self.last].shape

    def graph(self, **meta) -> Graph:
        return Graph(self.name, tuple(self.nodes), self.tensors, ("x",), (self.last,), meta)


LINEAR = {
    "binary": (None, BIT),
    "int8": (INT8, INT8),
    "float32": (FLOATS["float32"], FLOATS["float32"]),
    "weight-only:fp32": (FLOATS["float32"], BIT),
    "weight-only:fp16": (FLOATS["float16"], BIT),
    "weight-only:int16": (DType("signed", 16), BIT),
    "weight-only:int8": (INT8, BIT),
}


def start(mode: str, name: str, shape: tuple[int, ...]) -> Builder:
    """Return a builder whose input is uint8 pixels for binary, else the mode's own type."""
    if mode == "binary":
        build = Builder(name, shape, DType("unsigned", 8))
        return build.add("Encode", [((256,), DType("signed", 16))])
    return Builder(name, shape, LINEAR[mode][0])


def linear(build: Builder, mode: str, channels: int, kernel: int = 0, pad: int = 0) -> None:
    weight = LINEAR[mode][1]
    if kernel:
        shape = (channels, kernel, kernel, build.shape[2])
        build.add("Conv2d", [(shape, weight)], pads=(pad,) * 4)
    else:
        build.add("Dense", [((channels, build.shape[0]), weight)])


def activation(build: Builder, mode: str, *, last: bool = False) -> None:
    """Append what the mode makes of BatchNorm and sign."""
    c = build.shape[-1]
    f32 = DType("float", 32)
    if mode == "binary":
        if not last:
            build.add("Threshold", [((c, 1), INT32), ((c,), INT8)])
    elif mode == "int8":
        if not last:
            build.add("Requantize", [((c,), f32), ((c,), f32)])
    elif mode == "float32":
        build.add("Bias", [((c,), f32)])
        if not last:
            build.add("Clip", low=-1, high=1)
    else:
        if build.tensors[build.last].dtype.is_integer:
            if last:
                return
            build.add("Requantize", [((c,), f32), ((c,), f32)], dtype=str(LINEAR[mode][0]))
        else:
            build.add("Affine", [((c,), f32), ((c,), f32)])
            if not last:
                build.add("Clip", low=-1, high=1)


def mlp(mode: str, width: int = 2048, depth: int = 3) -> Graph:
    build = start(mode, f"mlp-{depth}x{width}", (784,))
    for _ in range(depth):
        linear(build, mode, width)
        activation(build, mode)
    linear(build, mode, 10)
    activation(build, mode, last=True)
    return build.graph(mode=mode)


def convnet(mode: str, width: int = 128) -> Graph:
    """The CIFAR-10 ConvNet of BinaryNet at width 128, the SVHN one at 64."""
    build = start(mode, f"convnet-{width}", (32, 32, 3))
    for factor in (1, 2, 4):
        for pool in (False, True):
            linear(build, mode, factor * width, 3, 1)
            if pool:
                build.add("MaxPool", kernel=(2, 2), stride=(2, 2))
            activation(build, mode)
    build.add("Flatten")
    for channels in (1024, 1024):
        linear(build, mode, channels)
        activation(build, mode)
    linear(build, mode, 10)
    activation(build, mode, last=True)
    return build.graph(mode=mode)


def plain_resnet18(mode: str) -> Graph:
    """The convolutions of ResNet-18 in sequence, without its additions."""
    build = start(mode, "resnet18-plain", (224, 224, 3))
    shape = (64, 7, 7, 3)
    build.add("Conv2d", [(shape, LINEAR[mode][1])], stride=(2, 2), pads=(3,) * 4)
    activation(build, mode)
    build.add("MaxPool", kernel=(3, 3), stride=(2, 2), pads=(1,) * 4)
    for stage, channels in enumerate((64, 128, 256, 512)):
        for block in range(4):
            stride = 2 if stage and not block else 1
            weight = (channels, 3, 3, build.shape[2])
            build.add("Conv2d", [(weight, LINEAR[mode][1])], stride=(stride,) * 2, pads=(1,) * 4)
            activation(build, mode)
    build.add("MaxPool", kernel=(7, 7), stride=(7, 7))
    build.add("Flatten")
    linear(build, mode, 1000)
    activation(build, mode, last=True)
    return build.graph(mode=mode)
