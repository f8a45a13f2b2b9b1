from __future__ import annotations

import numpy as np
import pytest

from bnnsim.frontends.weights import classify
from bnnsim.graph.dtypes import BIT, FLOAT32, TERNARY, DType


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
        [[-2.0, 1.0, 0.25]],
        [[1, 1 / 3, -1, 0.34], [1, 1, 1, -1]],
        [[256, 1, 3, -5, 7]],
        [[1, 0.999998, -1 / 3, 1 / 3, 1, 1, 1, 1]],
    ],
)
def test_everything_else_stays_float(weight: list) -> None:
    array = np.array(weight, np.float32)
    found = classify(array)
    assert (found.dtype, found.scale) == (FLOAT32, None)
    assert (found.values == array).all()


@pytest.mark.parametrize(
    ("weight", "name"),
    [
        ([[-2, 1, 0]], "int2"), ([[3, -1, 1]], "bipolar2"), ([[3, -1, 0]], "int3"),
        ([[255, -1], [1, 1]], "bipolar8"), ([[-128, 127]], "int8"),
        ([[2, -2, 4], [0, 4, 2]], "int4"),
    ],
)  # fmt: skip
def test_integers_of_up_to_eight_bits_are_held_as_they_are(weight: list, name: str) -> None:
    found = classify(np.array(weight, np.float32))
    assert (str(found.dtype), found.scale) == (name, None)
    assert found.values.dtype == found.dtype.numpy
    assert found.values.tolist() == weight


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("shape", [(1, 40), (7, 33), (6, 3, 3, 5)])
def test_dorefa_weights_of_float32_are_odd_integers_and_one_step(rng, bits: int, shape) -> None:
    n, one = np.float32(2**bits - 1), np.float32(1)
    latent = np.tanh(rng.normal(size=shape).astype(np.float32))
    unit = latent / np.abs(latent).max() * np.float32(0.5) + np.float32(0.5)
    level = np.rint(unit * n)
    found = classify(np.float32(2) * (level / n) - one)
    assert found.dtype == DType("bipolar", bits)
    assert (found.values == 2 * level - n).all()
    assert found.scale == pytest.approx(np.full(shape[0], 1 / n), rel=1e-6)


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_each_channel_may_have_its_own_step(rng, bits: int) -> None:
    top = 2 ** (bits - 1) - 1
    levels = rng.integers(-top, top + 1, (5, 60))
    levels[:, :2] = [1, top]  # a step is the largest that fits
    scale = rng.uniform(0.01, 3, 5).astype(np.float32)
    found = classify((levels * scale[:, None]).astype(np.float32))
    assert found.dtype == DType("signed", bits)
    assert (found.values == levels).all()
    assert found.scale == pytest.approx(scale, rel=1e-6)


def test_random_floats_are_on_no_grid(rng) -> None:
    for shape in ((1, 4), (64, 9), (16, 3, 3, 16), (2, 2)):
        assert classify(rng.normal(size=shape).astype(np.float32)).dtype == FLOAT32
