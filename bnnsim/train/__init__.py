"""Torch layers, optimizer and loop that train networks of bits and of a few bits."""

from bnnsim.train.layers import BinaryConv2d, BinaryDense, InputEncoding, Sign
from bnnsim.train.levels import KBitConv2d, KBitDense, Levels
from bnnsim.train.losses import square_hinge
from bnnsim.train.models import convnet, digit_convnet, float_twin, mlp, resnet20, resnet56
from bnnsim.train.norm import BatchNorm
from bnnsim.train.optim import BinaryAdam

__all__ = [
    "BatchNorm", "BinaryAdam", "BinaryConv2d", "BinaryDense", "InputEncoding", "KBitConv2d",
    "KBitDense", "Levels", "Sign", "convnet", "digit_convnet", "float_twin", "mlp", "resnet20",
    "resnet56", "square_hinge",
]  # fmt: skip
