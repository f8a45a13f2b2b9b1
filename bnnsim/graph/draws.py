"""Stochastic sign: +1 with the probability of a hard sigmoid, from numbered random bits.

Every draw has a number: seed, node, sample and the element's place in the whole run. So results do
not depend on how a batch is split, on threads, or on the order in which anything is computed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from bnnsim.errors import GraphError, InputError, message
from bnnsim.graph.ir import Node
from bnnsim.graph.philox import uniform_draws
from bnnsim.graph.quantizers import RNG_BITS, STOCHASTIC

DEFAULT_BITS = 8
_WORD = 2**32
_LAST_ELEMENT = 2**62


@dataclass(frozen=True, slots=True)
class Draws:
    """Which random numbers an execution uses.

    Parameters
    ----------
    seed : int
        0 to 2^64 - 1.
    sample : int
        0 to 2^32 - 1; samples are independent runs over the same images.
    first_image : int
        Number, in the whole run, of the first image of the batch that is executed.

    Raises
    ------
    InputError
        If one of them is outside its range.
    """

    seed: int
    sample: int = 0
    first_image: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)
        check_range("sample", self.sample, _WORD)
        check_range("first image", self.first_image, _LAST_ELEMENT)

    def at(self, images: int) -> Draws:
        """Return the draws of the images that start ``images`` later."""
        return replace(self, first_image=self.first_image + images)

    def stream(self, node: Node) -> tuple[int, int, int]:
        """Return seed, node id and sample, which number the random words of ``node``."""
        check_range(f"{node.describe()}: id", node.id, _WORD)
        return self.seed, node.id, self.sample


def check_seed(seed: object) -> None:
    """Raise InputError unless ``seed`` is an integer of 64 bits."""
    check_range("seed", seed, 2**64)


def check_bits(bits: object) -> None:
    """Raise InputError unless ``bits`` is a number of random bits that a draw may have."""
    if isinstance(bits, bool) or bits not in RNG_BITS:
        raise InputError(message("random bits per draw", bits, "1, 2, 4, 8 or 16"))


def check_range(where: str, value: object, end: int) -> None:
    """Raise InputError unless ``value`` is an integer from 0 to ``end - 1``."""
    whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
    if not whole or not 0 <= value < end:  # type: ignore[operator]
        raise InputError(message(where, value, f"an integer from 0 to {end - 1}"))


def is_stochastic(node: Node) -> bool:
    """Return whether a node needs random numbers."""
    return node.op == "Quantize" and node.attrs.get("quantizer") == STOCHASTIC


def rng_bits(node: Node) -> int:
    """Return the random bits of one draw of a stochastic node."""
    return int(node.attrs.get("bits", DEFAULT_BITS))


def needed(node: Node, draws: Draws | None) -> Draws:
    """Return ``draws``, or raise GraphError if a stochastic node is executed without any."""
    if draws is None:
        rule = "a seed for a stochastic node"
        remedy = "Run with stochastic=True, or lower the model graph, which takes the sign."
        raise GraphError(message(node.describe(), None, rule, remedy))
    return draws


def probability(x: np.ndarray, bits: int) -> np.ndarray:
    """Return the number of the 2^bits random words for which the result is +1.

    ``floor(hard_sigmoid(x) * 2^bits + 0.5)`` with ``hard_sigmoid(x) = clip((x + 1) / 2, 0, 1)``, in
    float32, each step rounded before the next.

    Parameters
    ----------
    x : ndarray of float32

    Returns
    -------
    ndarray of uint32, 0 to 2^bits

    Raises
    ------
    GraphError
        If a value is NaN.
    """
    if np.isnan(x).any():
        raise GraphError("Quantize: got nan, expected numbers. Check the weights and the input.")
    half, one = np.float32(0.5), np.float32(1)
    sigmoid = np.clip((x + one) / np.float32(2), np.float32(0), one)
    return np.floor(sigmoid * np.float32(2**bits) + half).astype(np.uint32)


def stochastic_sign(node: Node, x: np.ndarray, draws: Draws) -> np.ndarray:
    """Return +1 where the draw is below the probability of +1, else -1.

    Parameters
    ----------
    node : Node
        Gives the id and the bits per draw.
    x : ndarray, (N, ...)
        One batch; images are NHWC. Element e of the run is ``(first image + n) * elements per
        image + index``.
    draws : Draws

    Returns
    -------
    ndarray of int8, in the shape of ``x``
    """
    bits = rng_bits(node)
    per_image = int(np.prod(x.shape[1:], dtype=np.int64))
    first = draws.first_image * per_image
    check_range(f"{node.describe()}: number of draws", first + x.size, _LAST_ELEMENT + 1)
    u = uniform_draws(draws.stream(node), first, x.size, bits).reshape(x.shape)
    p = probability(x.astype(np.float32, copy=False), bits)
    return np.where(u < p, np.int8(1), np.int8(-1))
