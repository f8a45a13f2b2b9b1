from __future__ import annotations

import numpy as np
import pytest

from bnnsim.frontends.weights import classify
from bnnsim.graph.dtypes import BIT, FLOAT32, TERNARY


@pytest.mark.parametrize("shape", [(1, 1), (3, 65), (4, 3, 3, 2)])
def test_signs_are_bits(rng: np.random.Generator, shape: tuple[int, ...]) -> None:
    weight = rng.choice(np.array([-1, 1], np.float32), shape)
    found = classify(weight)
    assert found.dtype == BIT
    assert found.scale is None
    assert found.values.dtype == np.int8
    assert (found.values == weight).all()


def test_zeros_make_them_ternary() -> None:
    weight = np.array([[1, -1, 0], [0, 0, 0]], np.float32)
    found = classify(weight)
    assert (found.dtype, found.scale) == (TERNARY, None)
    assert (found.values == weight).all()


@pytest.mark.parametrize("with_zero", [False, True])
def test_one_size_per_channel_is_a_scale(rng: np.random.Generator, with_zero: bool) -> None:
    scale = np.array([0.3, 1, 7.25], np.float32)
    signs = rng.choice(np.array([-1, 1], np.float32), (3, 5))
    if with_zero:
        signs[1, 2] = 0
    found = classify(scale[:, None] * signs)
    assert found.dtype == (TERNARY if with_zero else BIT)
    assert found.scale is not None
    assert found.scale.tolist() == scale.tolist()
    assert (found.values * found.scale[:, None] == scale[:, None] * signs).all()


@pytest.mark.parametrize(
    "weight",
    [
        [[1, 0.5]],
        [[1, -1], [1, np.nextafter(np.float32(1), np.float32(0))]],
        [[0.5], [0.25]],
        [[-2.0, 1.0, 0.0]],
    ],
)
def test_everything_else_stays_float(weight: list) -> None:
    array = np.array(weight, np.float32)
    found = classify(array)
    assert (found.dtype, found.scale) == (FLOAT32, None)
    assert (found.values == array).all()
