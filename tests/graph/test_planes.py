"""Bit planes of k-bit integers: sums over pairs of planes equal int64 products."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bnnsim.errors import GraphError
from bnnsim.graph.bits import pack_planes, plane_dot, plane_weights, unpack_mask
from bnnsim.graph.dtypes import DType

KINDS = ("unsigned", "signed", "bipolar")
SIZES = st.sampled_from((1, 2, 63, 64, 65, 127, 128, 129, 251))


def drawn(rng: np.random.Generator, dtype: DType, *shape: int) -> np.ndarray:
    """Return values of a type, both ends among them where there is room."""
    step = 2 if dtype.kind == "bipolar" else 1
    values = rng.choice(np.arange(int(dtype.low), int(dtype.high) + 1, step), shape)
    values.flat[-1], values.flat[0] = dtype.high, dtype.low
    return values.astype(dtype.numpy)


@pytest.mark.parametrize("left", KINDS)
@pytest.mark.parametrize("right", KINDS)
@pytest.mark.parametrize("bits", range(1, 9))
@settings(max_examples=4)
@given(M=st.integers(1, 7), N=st.integers(1, 7), K=SIZES, other=st.integers(1, 8))
def test_sums_over_plane_pairs_equal_int64_matmul(
    left: str, right: str, bits: int, M: int, N: int, K: int, other: int
) -> None:
    dtypes = DType(left, bits), DType(right, other)
    rng = np.random.default_rng([bits, other, M, N, K])
    a, b = drawn(rng, dtypes[0], M, K), drawn(rng, dtypes[1], N, K)
    planes_a, planes_b = pack_planes(a, dtypes[0]), pack_planes(b, dtypes[1])
    found = plane_dot(planes_a[:, :, None], planes_b[:, None], dtypes, K)
    assert (found == a.astype(np.int64) @ b.astype(np.int64).T).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bits", range(1, 9))
def test_every_value_is_the_weighted_sum_of_its_planes(kind: str, bits: int) -> None:
    dtype = DType(kind, bits)
    step = 2 if kind == "bipolar" else 1
    values = np.arange(int(dtype.low), int(dtype.high) + 1, step).astype(dtype.numpy)
    assert len(values) == 2**bits
    planes = unpack_mask(pack_planes(values, dtype), len(values)).astype(int)
    levels = 2 * planes - 1 if kind == "bipolar" else planes
    assert (np.tensordot(plane_weights(dtype), levels, axes=1) == values).all()


def test_the_highest_plane_of_twos_complement_counts_negatively() -> None:
    assert plane_weights(DType("signed", 3)) == [1, 2, -4]
    assert plane_weights(DType("bipolar", 3)) == [1, 2, 4]


@pytest.mark.parametrize(
    ("kind", "bad"), [("bipolar", 2), ("bipolar", 5), ("unsigned", -1), ("signed", 2)]
)
def test_values_outside_the_type_are_refused(kind: str, bad: int) -> None:
    dtype = DType(kind, 2)
    with pytest.raises(GraphError, match=rf"pack_planes: got {bad}, expected values of {dtype}"):
        pack_planes(np.array([1, bad, 1]), dtype)
