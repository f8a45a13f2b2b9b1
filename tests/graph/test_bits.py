"""The bit layout: exact words, round trips, and dot products without a tail mask."""

from __future__ import annotations

import numpy as np
import pytest

from bnnsim.errors import GraphError
from bnnsim.graph import bits

EDGES = (1, 2, 63, 64, 65, 127, 128, 129, 191, 1009)


def signs(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.choice(np.array([-1, 1], np.int8), shape)


def test_pack_places_element_i_at_bit_i_of_its_word() -> None:
    values = np.full(66, -1, np.int8)
    values[[0, 5, 63, 64]] = 1
    assert bits.pack(values).tolist() == [1 | 1 << 5 | 1 << 63, 1]


@pytest.mark.parametrize("K", EDGES)
def test_unpack_inverts_pack_and_tails_are_zero(K: int) -> None:
    values = signs(np.random.default_rng(K), 3, 2, K)
    words = bits.pack(values)
    assert words.shape == (3, 2, -(-K // 64))
    assert bits.tail_is_zero(words, K)
    assert (bits.unpack(words, K) == values).all()


@pytest.mark.parametrize("K", EDGES)
def test_dot_equals_integer_product(K: int) -> None:
    rng = np.random.default_rng(K)
    a, b = signs(rng, 7, K), signs(rng, 7, K)
    exact = (a.astype(np.int64) * b).sum(axis=1)
    assert (bits.dot(bits.pack(a), bits.pack(b), K) == exact).all()


def test_every_bit_of_a_word_is_told_apart() -> None:
    one_hot = np.where(np.eye(129, dtype=bool), 1, -1).astype(np.int8)
    assert (bits.unpack(bits.pack(one_hot), 129) == one_hot).all()


def test_a_set_tail_bit_is_seen() -> None:
    words = bits.pack(signs(np.random.default_rng(0), 4, 65))
    words[2, 1] |= np.uint64(1) << np.uint64(1)
    assert not bits.tail_is_zero(words, 65)


@pytest.mark.parametrize("bad", [0, 2, -3, np.nan])
def test_packing_anything_but_signs_is_refused(bad: float) -> None:
    with pytest.raises(GraphError, match=r"pack: got .*expected only -1 and \+1"):
        bits.pack(np.array([1.0, bad, -1.0]))
