"""Philox against the published answers and a scalar loop; the numbering of draws."""

from __future__ import annotations

import numpy as np
import pytest

from bnnsim.graph.philox import KEY_STEPS, MULTIPLIERS, ROUNDS, philox4x32, uniform_draws

# kat_vectors of Random123, "philox4x32 10": counter, key, output.
KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000",
     "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff",
     "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0",
     "d16cfe09 94fdcceb 5001e420 24126ea1"),
]  # fmt: skip


def words(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


def one_block(counter: list[int], key: list[int]) -> list[int]:
    """Philox with Python integers, one block."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(ROUNDS):
        high0, low0 = divmod(MULTIPLIERS[0] * c0, 2**32)
        high1, low1 = divmod(MULTIPLIERS[1] * c2, 2**32)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + KEY_STEPS[0]) % 2**32, (k1 + KEY_STEPS[1]) % 2**32
    return [c0, c1, c2, c3]


@pytest.mark.parametrize(("counter", "key", "output"), KNOWN)
def test_known_answers(counter, key, output):
    found = philox4x32(np.array([words(counter)], np.uint32), tuple(words(key)))
    assert found.dtype == np.uint32
    assert found[0].tolist() == words(output)
    assert one_block(words(counter), words(key)) == words(output)


def test_many_blocks_equal_the_scalar_loop(rng):
    counters = rng.integers(0, 2**32, (200, 4), np.uint32)
    key = [int(k) for k in rng.integers(0, 2**32, 2)]
    found = philox4x32(counters, tuple(key))
    assert found.tolist() == [one_block(counter, key) for counter in counters.tolist()]


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
@pytest.mark.parametrize("first", [0, 1, 7, 63, 128, 129, 2**35 * 128 - 5, 2**62 - 400])
def test_draws_are_the_numbered_bits_of_the_blocks(bits, first):
    seed, node, sample = 0xFEDCBA9876543210, 77, 2**32 - 1
    draws = uniform_draws((seed, node, sample), first, 300, bits)
    for i in (0, 1, 2, 31, 64, 255, 299):
        block, j = divmod(first + i, 128 // bits)
        counter = [block % 2**32, block >> 32, node, sample]
        out = one_block(counter, [seed % 2**32, seed >> 32])
        number = sum(word << (32 * w) for w, word in enumerate(out))
        assert draws[i] == number >> (bits * j) & (2**bits - 1)


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_draws_are_uniform(bits):
    """Chi-square over the 2^bits words below its 99.9 % point, normal approximation."""
    cells = min(2**bits, 256)
    draws = uniform_draws((20161205, 3, 0), 0, 200_000, bits) // (2**bits // cells)
    expected = len(draws) / cells
    chi2 = ((np.bincount(draws, minlength=cells) - expected) ** 2).sum() / expected
    assert chi2 < (cells - 1) + 3.09 * np.sqrt(2 * (cells - 1)) + 6


def test_no_draws_are_no_draws():
    assert uniform_draws((0, 0, 0), 0, 0, 8).shape == (0,)
