"""The order of float sums, against loops over Python's floats."""

import numpy as np
import pytest

from bnnsim.engine.float_sums import DENSE_ROWS, dense_sums, window_sums


def in_order(values: list[float]) -> float:
    total = 0.0
    for value in values:
        total += value
    return total


def by_fours(values: list[float]) -> float:
    """Add ``(a + b) + (c + d)``, these in order within every 64, and the 64s in order."""
    values = values + [0.0] * (-len(values) % 4)
    fours = [
        (values[i] + values[i + 1]) + (values[i + 2] + values[i + 3])
        for i in range(0, len(values), 4)
    ]
    return in_order([in_order(fours[i : i + 16]) for i in range(0, len(fours), 16)])


def wild(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Return float32 values of very different size, as float64, so that every order shows."""
    size = np.exp2(rng.integers(-60, 60, shape))
    return (rng.normal(size=shape) * size).astype(np.float32).astype(np.float64)


@pytest.mark.parametrize("K", [1, 3, 4, 5, 63, 64, 65, 130])
@pytest.mark.parametrize("signs", [False, True])
def test_window_sums_are_loops_over_floats(K: int, signs: bool) -> None:
    rng = np.random.default_rng(K)
    rows, weight = wild(rng, 9, K), wild(rng, 7, K)
    weight = np.sign(weight) if signs else weight
    loop = by_fours if signs else in_order
    got = window_sums(rows, weight)
    for p, n in np.ndindex(9, 7):
        assert got[p, n] == loop((rows[p] * weight[n]).tolist())
    if signs:
        assert (dense_sums(rows, weight) == got).all()


def test_window_sums_do_not_depend_on_how_many_rows_are_formed_at_once() -> None:
    rng = np.random.default_rng(1)
    rows, weight = wild(rng, 70, 40), wild(rng, 1000, 40)  # several blocks of rows
    alone = [window_sums(rows[i : i + 1], weight) for i in range(70)]
    assert (window_sums(rows, weight) == np.concatenate(alone)).all()


def test_dense_sums_of_a_row_are_the_same_in_every_batch() -> None:
    rng = np.random.default_rng(2)
    rows, weight = wild(rng, 2 * DENSE_ROWS + 3, 50), wild(rng, 30, 50)
    whole = dense_sums(rows, weight)
    for count in (1, DENSE_ROWS - 1, DENSE_ROWS, DENSE_ROWS + 1):
        assert (dense_sums(rows[-count:], weight) == whole[-count:]).all()
    assert dense_sums(rows[:0], weight).shape == (0, 30)
    assert window_sums(rows[:0], weight).shape == (0, 30)
