"""Torch layers, optimizer and loop that train binary networks."""

from bnnsim.train.layers import BinaryConv2d, BinaryDense, InputEncoding, Sign
from bnnsim.train.losses import square_hinge
from bnnsim.train.norm import BatchNorm
from bnnsim.train.optim import BinaryAdam

__all__ = [
    "BatchNorm", "BinaryAdam", "BinaryConv2d", "BinaryDense", "InputEncoding", "Sign",
    "square_hinge",
]  # fmt: skip
