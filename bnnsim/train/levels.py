"""Layers of k-bit and ternary levels: latent float weights in training, integers in eval mode.

=================  ==============================  ==========================  ==================
quantizer          forward                         backward                    after the update
=================  ==============================  ==========================  ==================
`Levels`           round(clamp(x, 0, 1) n)         n g where 0 <= x <= 1       nothing
weights, k > 1     2 round((t / max|t| / 2 + 1/2)  through tanh and both       nothing
                   n) - n, t = tanh(w)             affines, g past the round
weights, k = 1     sign(w)                         g unchanged                 nothing
weights, ternary   sign(w) where |w| > 0.7 mean|w| g unchanged                 nothing
=================  ==============================  ==========================  ==================

n is 2^k - 1 and round goes half to even. Layers multiply integers and scale their sums afterwards,
so that sums below 2^24 are exact in float32 and the compiled engine gives the same bits.

References
----------
tensorpack, examples/DoReFa-Net/dorefa.py (Zhou et al., arXiv 1606.06160); larq, quantizers.py,
``ste_tern`` (0.7 mean|w| of Li, Liu, arXiv 1605.04711).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from bnnsim import torch_ops  # noqa: F401  (registers torch.ops.bnnsim)
from bnnsim.errors import InputError, message
from bnnsim.train.quantizers import binarize_weight

TERNARY = "ternary"
_MAX_BITS = 8
_TWN_SHARE = 0.7
_LEAST = 1e-12  # keeps weights that are all zero from dividing by zero


def straight_through(forward: Tensor, backward: Tensor) -> Tensor:
    """Return ``forward``, exactly, with the gradient of ``backward``."""
    return forward.detach() + (backward - backward.detach())


def _top(bits: int, where: str, least: int = 1) -> int:
    if isinstance(bits, bool) or not isinstance(bits, int) or not least <= bits <= _MAX_BITS:
        raise InputError(message(f"{where}: bits", bits, f"an integer from {least} to {_MAX_BITS}"))
    return 2**bits - 1


class Levels(nn.Module):
    """Quantize activations in [0, 1] to the integers 0 to 2^bits - 1.

    Parameters
    ----------
    bits : int
        1 to 8.
    """

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.bits, self.top = bits, _top(bits, "Levels")

    def forward(self, x: Tensor) -> Tensor:
        """Return levels as float32 integers; a `KBitDense` or `KBitConv2d` divides by the top."""
        scaled = x.clamp(0.0, 1.0) * self.top
        return straight_through(scaled.round(), scaled) if self.training else scaled.round()

    def extra_repr(self) -> str:
        """Return the option for ``print(model)``."""
        return f"bits={self.bits}"


class _LevelsLayer(nn.Module):
    """A latent ``weight``, its integers, and the scale that follows the sum.

    Parameters
    ----------
    shape : tuple of int
        Of the weight; the first axis is the output channels.
    weights : int or str
        Bits of a weight, 1 to 8, or ``ternary``.
    levels : int or None
        Bits of the levels that the layer reads; None where its input is real.
    """

    def __init__(self, shape: tuple[int, ...], weights: int | str, levels: int | None) -> None:
        super().__init__()
        where = type(self).__name__
        self.weights, self.levels = weights, levels
        self.top = 1 if weights == TERNARY else _top(weights, f"{where}: weights")  # type: ignore[arg-type]
        self.act_top = 1 if levels is None else _top(levels, f"{where}: levels")
        self.weight = nn.Parameter(torch.empty(shape))
        nn.init.kaiming_uniform_(self.weight, nonlinearity="relu")

    def integer_weight(self) -> Tensor:
        """Return the weight's integers as float32."""
        w = self.weight
        if self.weights == TERNARY:
            return (
                straight_through(self._ternary(w.detach()), w)
                if self.training
                else (self._ternary(w))
            )
        if self.top == 1:
            return binarize_weight(w) if self.training else torch.ops.bnnsim.sign(w)
        squashed = torch.tanh(w)
        unit = squashed / squashed.abs().max().clamp_min(_LEAST) * 0.5 + 0.5
        scaled = unit * self.top
        rounded = straight_through(scaled.round(), scaled) if self.training else scaled.round()
        return rounded * 2 - self.top

    @staticmethod
    def _ternary(w: Tensor) -> Tensor:
        return w.sign() * (w.abs() > _TWN_SHARE * w.abs().mean())

    def scale(self) -> Tensor | float:
        """Return what the integer sums are multiplied by."""
        if self.top > 1:
            return 1 / (self.top * self.act_top)
        size = self.weight.detach().abs()
        if self.weights == TERNARY:
            size = size[size > _TWN_SHARE * size.mean()]
        return size.mean() / self.act_top

    def extra_repr(self) -> str:
        """Return the sizes for ``print(model)``."""
        return f"{tuple(self.weight.shape)}, weights={self.weights}, levels={self.levels}"


class KBitDense(_LevelsLayer):
    """Fully connected layer with weights of ``weights`` bits and no bias.

    Parameters
    ----------
    in_features, out_features : int
    weights : int or str
        1 to 8 bits, or ``ternary``.
    levels : int, optional
        Bits of the `Levels` before it; None where the input is real.
    """

    def __init__(
        self, in_features: int, out_features: int, *, weights: int | str, levels: int | None = None
    ) -> None:
        super().__init__((out_features, in_features), weights, levels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_features) to (N, out_features)."""
        return functional.linear(x, self.integer_weight()) * self.scale()


class KBitConv2d(_LevelsLayer):
    """2-D convolution (NCHW) with weights of ``weights`` bits, zero padding and no bias.

    Parameters
    ----------
    in_channels, out_channels, kernel_size : int
    weights : int or str
        1 to 8 bits, or ``ternary``.
    levels : int, optional
        Bits of the `Levels` before it; None where the input is real.
    stride, padding : int
        As in ``torch.nn.Conv2d``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        weights: int | str,
        levels: int | None = None,
        stride: int = 1,
        padding: int = 0,
    ) -> None:
        super().__init__((out_channels, in_channels, kernel_size, kernel_size), weights, levels)
        self.stride, self.padding = stride, padding

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, in_channels, H, W) to (N, out_channels, H_out, W_out)."""
        sums = functional.conv2d(x, self.integer_weight(), None, self.stride, self.padding)
        return sums * self.scale()
