"""Custom torch operators that mark binarization and eval-time batch norm in exported graphs.

Importing this module registers ``torch.ops.bnnsim.sign``, ``torch.ops.bnnsim.stochastic_sign`` and
``torch.ops.bnnsim.batch_norm``. A ``.pt2`` archive that holds them loads only after that import.
"""

from __future__ import annotations

import torch
from torch import Tensor

from bnnsim.errors import InputError, message


def sign_values(x: Tensor) -> Tensor:
    """Return +1 where ``x >= 0`` and -1 elsewhere, in the shape and dtype of ``x``.

    Both zeros give +1. NaN compares false with everything and gives -1; it is for the caller to
    refuse NaN, as the training loop does by its loss.

    Raises
    ------
    InputError
        If ``x`` is not of a floating-point dtype.

    References
    ----------
    Hubara, Courbariaux, Soudry, El-Yaniv, Bengio, "Binarized Neural Networks", NIPS 2016, eq. 1.
    """
    if not x.is_floating_point():
        raise InputError(message("bnnsim::sign: dtype", str(x.dtype), "a floating-point dtype"))
    return x.clone().ge_(0).mul_(2).sub_(1)


def batch_norm_values(
    x: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, eps: float
) -> Tensor:
    """Return ``(x - mean) * (gamma / sqrt(var + eps)) + beta`` per channel (dimension 1).

    Every step is one float32 operation rounded to nearest, in the written order, with no fused
    multiply-add, so the same expression in numpy float32 gives the same bits. The square root is
    taken in float64 and rounded once, which is the correctly rounded float32 root; torch's own
    float32 root goes through a vector library that can be one unit off in the last place.

    Parameters
    ----------
    x : Tensor
        (N, C) or (N, C, ...) float32.
    gamma, beta, mean, var : Tensor
        (C,) float32.
    eps : float
        Rounded to float32 before it is added to ``var``.
    """
    shape = (1, -1) + (1,) * (x.dim() - 2)
    root = torch.sqrt((var + eps).to(torch.float64)).to(torch.float32)
    scale = gamma / root
    centred = x - mean.view(shape)
    return centred * scale.view(shape) + beta.view(shape)


def hard_sigmoid(x: Tensor) -> Tensor:
    """Return ``clip((x + 1) / 2, 0, 1)``, each step rounded to the dtype of ``x``."""
    return ((x + 1) / 2).clamp(0, 1)


def stochastic_sign_values(
    x: Tensor, seed: int, node_id: int, sample: int, first_element: int, bits: int
) -> Tensor:
    """Return +1 with the probability of a hard sigmoid and -1 elsewhere, from numbered bits.

    The bits are those of ``bnnsim.graph.draws.stochastic_sign``, which defines them: Philox4x32-10
    in int64 operators of torch, on the device of ``x``, so that 0 bits differ from the reference.

    Parameters
    ----------
    x : Tensor
        (N, C) or (N, C, ...) float32, finite or infinite. Elements are numbered with channels
        last: (N, H, W, C) for images.
    seed : int
        64 bits; a seed of 2^63 or more is given as ``seed - 2**64``.
    node_id, sample : int
        Below 2^32.
    first_element : int
        Number of the first element of ``x`` in the whole run.
    bits : int
        Random bits per draw: 1, 2, 4, 8 or 16.

    Returns
    -------
    Tensor
        -1 or +1 in the shape and dtype of ``x``.

    Raises
    ------
    InputError
        If ``x`` is not float32, or an integer is outside its range.
    """
    _check_draws(x, {"node_id": node_id, "sample": sample}, first_element, bits)
    last = x.movedim(1, -1) if x.dim() > 2 else x
    draws = _uniform_draws(last.numel(), (seed, node_id, sample), first_element, bits, x.device)
    wanted = torch.floor(hard_sigmoid(last) * 2**bits + 0.5).to(torch.int64)
    plus = (draws.view(last.shape) < wanted).to(x.dtype).mul_(2).sub_(1)
    return (plus.movedim(-1, 1) if x.dim() > 2 else plus).contiguous()


def _check_draws(x: Tensor, words: dict[str, int], first_element: int, bits: int) -> None:
    place = "bnnsim::stochastic_sign: "
    if x.dtype != torch.float32:
        raise InputError(message(f"{place}dtype", str(x.dtype), "torch.float32"))
    for name, value in words.items():
        if not 0 <= value < 2**32:
            raise InputError(message(place + name, value, "an integer from 0 to 4294967295"))
    if not 0 <= first_element <= 2**62 - x.numel():
        raise InputError(message(f"{place}first_element", first_element, "0 to 2^62 - elements"))
    if bits not in (1, 2, 4, 8, 16):
        raise InputError(message(f"{place}bits", bits, "1, 2, 4, 8 or 16"))


def _uniform_draws(
    count: int, stream: tuple[int, int, int], first: int, bits: int, device: torch.device
) -> Tensor:
    """Return ``count`` uniform integers below ``2**bits`` as int64 (see graph/philox.py)."""
    seed, node_id, sample = stream
    per_block = 128 // bits
    start = first // per_block
    blocks = torch.arange(start, (first + count - 1) // per_block + 1, device=device)
    words = [blocks & _WORD, blocks >> 32, torch.full_like(blocks, node_id)]
    words.append(torch.full_like(blocks, sample))
    keys = [seed & _WORD, seed >> 32 & _WORD]
    for _ in range(10):
        # An int64 product keeps the low 64 bits of the product of two 32-bit words.
        left, right = words[0] * 0xD2511F53, words[2] * 0xCD9E8D57
        words = [
            (right >> 32 & _WORD) ^ words[1] ^ keys[0],
            right & _WORD,
            (left >> 32 & _WORD) ^ words[3] ^ keys[1],
            left & _WORD,
        ]
        keys = [(keys[0] + 0x9E3779B9) & _WORD, (keys[1] + 0xBB67AE85) & _WORD]
    shifts = torch.arange(0, 32, bits, device=device)
    draws = torch.stack(words, dim=1)[:, :, None] >> shifts & (2**bits - 1)
    skipped = first - start * per_block
    return draws.reshape(-1)[skipped : skipped + count]


_WORD = 0xFFFFFFFF
_sign = torch.library.custom_op(
    "bnnsim::sign", sign_values, mutates_args=(), schema="(Tensor x) -> Tensor"
)
_stochastic_sign = torch.library.custom_op(
    "bnnsim::stochastic_sign",
    stochastic_sign_values,
    mutates_args=(),
    schema="(Tensor x, int seed, int node_id, int sample, int first_element, int bits) -> Tensor",
)
_batch_norm = torch.library.custom_op(
    "bnnsim::batch_norm",
    batch_norm_values,
    mutates_args=(),
    schema="(Tensor x, Tensor gamma, Tensor beta, Tensor mean, Tensor var, float eps) -> Tensor",
)


@_sign.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


@_stochastic_sign.register_fake
def _(x: Tensor, seed: int, node_id: int, sample: int, first_element: int, bits: int) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@_batch_norm.register_fake
def _(x: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, var: Tensor, eps: float) -> Tensor:
    return torch.empty_like(x)
