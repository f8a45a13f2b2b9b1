"""Layers on which published chips state their peak figures, as graphs of shapes and types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from bnnsim.graph.dtypes import BIT, INT8, INT16, TERNARY, DType
from bnnsim.graph.ir import Graph
from bnnsim.validate.shapes import Shapes

INT2, INT4 = DType("signed", 2), DType("signed", 4)
# Activations, weights; 3x3 kernels over 16 x 16 pixels of 128 channels, of 96 for the second.
PEAKS: Mapping[str, tuple[DType, DType]] = MappingProxyType(
    {
        "bit": (BIT, BIT),
        "ternary": (TERNARY, TERNARY),
        "int4": (INT4, INT4),
        "int8": (INT8, INT8),
        "int16": (INT16, INT16),
        "w1a16": (INT16, BIT),
    }
)
# Colonnade's 128 columns hold as many outputs as columns of weight bits and 7 of carry allow.
COLONNADE: Mapping[str, tuple[DType, int]] = MappingProxyType(
    {"1b": (BIT, 16), "2b": (INT2, 14), "4b": (INT4, 11), "8b": (INT8, 8), "16b": (INT16, 5)}
)


def macro(pixels: int, channels: int, out: int, dtype: DType, name: str) -> Graph:
    """Return a 1x1 convolution of one type, whose sums leave the macro as they are."""
    net = Shapes((pixels, pixels, channels), dtype)
    net.conv(out, 1, dtype)
    return net.graph(name)


def peak(name: str, channels: int = 128) -> Graph:
    """Return the 3x3 layer of some channels on which a chip's peak is predicted.

    Its sums leave in the type of its input.
    """
    act, weight = PEAKS[name]
    net = Shapes((16, 16, channels), act)
    net.conv(channels, 3, weight, pad=1)
    if act.is_light:
        net.threshold(act)
    else:
        net.narrow(act)
    return net.graph(f"peak-{name}")


def matrix_vector() -> Graph:
    """Return 512 x 512 weights of 8 bits by one vector: every weight is used once."""
    net = Shapes((512,), INT8)
    net.add("Dense", ((512, 512), INT8))
    net.narrow(INT8)
    return net.graph("matrix-vector-int8")


def binary_mlp() -> Graph:
    """Return three layers of 512 x 512 bits: 0.79 million synapses, each used once."""
    net = Shapes((512,), BIT)
    for _ in range(3):
        net.add("Dense", ((512, 512), BIT))
        net.threshold()
    return net.graph("mlp-bits")


NETWORKS: Mapping[str, Callable[[], Graph]] = MappingProxyType(
    {
        **{f"peak-{name}": partial(peak, name) for name in PEAKS},
        "peak-ternary-96": partial(peak, "ternary", 96),
        "matrix-vector-int8": matrix_vector,
        "mlp-bits": binary_mlp,
        **{
            f"colonnade-{name}": partial(macro, 32, 128, out, dtype, f"colonnade-{name}")
            for name, (dtype, out) in COLONNADE.items()
        },
        "dimc-macro": partial(macro, 16, 32, 384, INT8, "dimc-macro"),
    }
)
