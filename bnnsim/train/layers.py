"""Binary layers: latent float weights in training, plain operators on their signs in eval mode.

In eval mode a layer calls only aten operators and ``torch.ops.bnnsim``, so ``torch.export`` under
``no_grad`` gives one operator per step, and a front end can fold ``sign(weight)`` to a constant.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from bnnsim import torch_ops  # noqa: F401  (registers torch.ops.bnnsim)
from bnnsim.errors import InputError, message
from bnnsim.train.quantizers import binarize_weight, sign, stochastic_sign


class InputEncoding(nn.Module):
    """Map uint8 pixels to the float32 integers ``multiplier * x + offset``.

    With the default 2x - 255 the first layer's sums are exact integers in float32 as long as
    ``255 * fan_in <= 2**24``; it is the usual 2x/255 - 1 times 255, a factor that the following
    batch norm removes.

    Parameters
    ----------
    multiplier, offset : int
        The affine map.
    """

    def __init__(self, *, multiplier: int = 2, offset: int = -255) -> None:
        super().__init__()
        self.multiplier = multiplier
        self.offset = offset

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode uint8 ``pixels`` of any shape."""
        return pixels.to(torch.float32) * self.multiplier + self.offset

    def extra_repr(self) -> str:
        """Return the map for ``print(model)``."""
        return f"multiplier={self.multiplier}, offset={self.offset}"


class Sign(nn.Module):
    """Binarize activations: see `bnnsim.train.quantizers.sign`."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the signs of ``x``, of any shape."""
        return sign(x) if self.training else torch.ops.bnnsim.sign(x)


class StochasticSign(nn.Module):
    """Binarize activations at random in training, by their sign in eval mode.

    Parameters
    ----------
    generator : torch.Generator, optional
        Of the draws in training.
    draw_in_eval : bool
        Draw in eval mode as well, with ``torch.ops.bnnsim.stochastic_sign``; an export then holds
        that operator, and a front end sees that the network was trained with it.
    seed, node_id, bits : int
        Of the draws in eval mode, which start at sample 0 and element 0 in every call.
    """

    def __init__(
        self,
        generator: torch.Generator | None = None,
        *,
        draw_in_eval: bool = False,
        seed: int = 0,
        node_id: int = 0,
        bits: int = 8,
    ) -> None:
        super().__init__()
        self.generator = generator
        self.draw_in_eval = draw_in_eval
        self.seed, self.node_id, self.bits = seed, node_id, bits

    def forward(self, x: Tensor) -> Tensor:
        """Return -1 and +1 in the shape of ``x``."""
        if self.training:
            return stochastic_sign(x, self.generator)
        if self.draw_in_eval:
            return torch.ops.bnnsim.stochastic_sign(x, self.seed, self.node_id, 0, 0, self.bits)
        return torch.ops.bnnsim.sign(x)

    def extra_repr(self) -> str:
        """Return the options for ``print(model)``."""
        return f"draw_in_eval={self.draw_in_eval}, bits={self.bits}"


class Dropout(nn.Dropout):
    """Inverted dropout that leaves no operator behind in eval mode."""

    def forward(self, x: Tensor) -> Tensor:
        """Zero elements with probability ``p`` and scale the others by ``1 / (1 - p)``."""
        return super().forward(x) if self.training else x


class _BinaryLayer(nn.Module):
    """A latent ``weight`` in [-1, 1], drawn uniformly, and its signs."""

    def __init__(self, *weight_shape: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(*weight_shape).uniform_(-1, 1))

    def binary_weight(self) -> Tensor:
        """Return the signs of the latent weight."""
        if self.training:
            return binarize_weight(self.weight)
        return torch.ops.bnnsim.sign(self.weight)


class BinaryDense(_BinaryLayer):
    """Fully connected layer with weights in {-1, +1} and no bias.

    Parameters
    ----------
    in_features, out_features : int
        ``weight`` is (out_features, in_features).
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(out_features, in_features)

    @property
    def fans(self) -> tuple[int, int]:
        """Inputs per output and outputs per input."""
        return self.weight.shape[1], self.weight.shape[0]

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_features) to (N, out_features)."""
        return functional.linear(x, self.binary_weight())

    def extra_repr(self) -> str:
        """Return the sizes for ``print(model)``."""
        return f"in_features={self.weight.shape[1]}, out_features={self.weight.shape[0]}"


class BinaryConv2d(_BinaryLayer):
    """2-D convolution (NCHW) with weights in {-1, +1}, no bias and an explicit padding value.

    Parameters
    ----------
    in_channels, out_channels, kernel_size : int
        ``weight`` is (out_channels, in_channels / groups, kernel_size, kernel_size).
    stride, padding, dilation, groups : int
        As in ``torch.nn.Conv2d``; ``padding`` on all four sides.
    pad_value : int
        -1, 0 or +1. With 0 a padded tap adds nothing.

    Raises
    ------
    InputError
        If ``pad_value`` or ``groups`` does not fit.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        groups: int = 1,
        pad_value: int = 0,
    ) -> None:
        if pad_value not in (-1, 0, 1):
            raise InputError(message("BinaryConv2d: pad_value", pad_value, "-1, 0 or +1"))
        if groups < 1 or in_channels % groups or out_channels % groups:
            rule = f"a divisor of in_channels={in_channels} and out_channels={out_channels}"
            raise InputError(message("BinaryConv2d: groups", groups, rule))
        super().__init__(out_channels, in_channels // groups, kernel_size, kernel_size)
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self.groups, self.pad_value = groups, pad_value

    @property
    def fans(self) -> tuple[int, int]:
        """Taps that feed one output, and outputs that one input feeds at stride 1."""
        out_channels, group_channels, height, width = self.weight.shape
        return group_channels * height * width, out_channels // self.groups * height * width

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H_out, W_out)."""
        padding = self.padding
        if self.pad_value and padding:
            x = functional.pad(x, (padding,) * 4, value=float(self.pad_value))
            padding = 0
        return functional.conv2d(
            x, self.binary_weight(), None, self.stride, padding, self.dilation, self.groups
        )

    def extra_repr(self) -> str:
        """Return the geometry for ``print(model)``."""
        names = ("stride", "padding", "dilation", "groups", "pad_value")
        return f"{tuple(self.weight.shape)}, " + ", ".join(f"{n}={getattr(self, n)}" for n in names)
