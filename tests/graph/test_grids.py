"""Grids: each float32 stands for one integer or is refused; names and hostile fields."""

from __future__ import annotations

import numpy as np
import pytest

from bnnsim.errors import GraphError, InputError
from bnnsim.graph.grids import Grid, parse_grid

GRIDS = [
    Grid(1.0),
    Grid(1 / 255),
    Grid(1 / 128, 0, "int8"),
    Grid(0.017, 128),
    Grid(3.3e-5, -7, "int8"),
    Grid(2.5, 300),
]


def every_value(grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    low, high = grid.ends
    n = np.arange(low, high + 1)
    return n, ((n - grid.zero) * grid.scale).astype(np.float32)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_every_value_rounded_once_or_formed_in_float32_gives_its_integer(grid):
    n, once = every_value(grid)
    twice = (n - grid.zero).astype(np.float32) * np.float32(grid.scale)
    for x in (once, twice):
        found = grid.integers(x, "x")
        assert (found == n).all()
        assert found.dtype == grid.dtype
    assert [grid.level(float(x)) for x in once] == n.tolist()


def test_what_torch_and_numpy_make_of_pixels_is_on_the_grid():
    p = np.arange(256, dtype=np.uint8)
    for x in (p / np.float32(255), p.astype(np.float32) * np.float32(1 / 255)):
        assert (parse_grid("1/255").integers(x.astype(np.float32), "x") == p).all()
    assert (p / np.float32(255) != p.astype(np.float32) * np.float32(1 / 255)).any()


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_every_neighbour_of_a_value_is_refused(grid):
    n, once = every_value(grid)
    held = {float(x) for x in once}
    held |= {float(x) for x in (n - grid.zero).astype(np.float32) * np.float32(grid.scale)}
    for toward in (-np.inf, np.inf):
        beside = once
        for _ in range(3):
            beside = np.nextafter(beside, np.float32(toward))
        off = [x for x in beside if float(x) not in held]
        assert len(off) == len(n)
        assert all(grid.level(float(x)) is None for x in off)
    step, (low, high) = grid.scale, (once[0], once[-1])
    outside = [low - step, high + step, low + step / 2, np.nan, np.inf, -np.inf]
    assert all(grid.level(float(x)) is None for x in outside)


def test_a_refusal_names_value_index_rule_and_remedy():
    x = np.zeros((5, 2, 3), np.float32)
    x[4, 1, 2] = 0.3
    with pytest.raises(InputError) as caught:
        Grid(1 / 128, 0, "int8").check(x, "input of net")
    assert str(caught.value) == (
        "input of net[4, 1, 2]: got 0.300000012, expected the input's grid: value = 0.0078125 * "
        "(n - 0), n in -128..127. The nearest is 0.296875, n = 38. Quantize inputs to the grid "
        "first, or declare another grid or none."
    )
    x[4, 1, 2] = np.nan
    with pytest.raises(InputError, match=r"\[4, 1, 2\]: got nan, .* n in 0..255\. Quantize"):
        Grid(1.0).integers(x, "x")


def test_large_batches_are_judged_block_by_block_with_the_index_of_the_whole():
    x = np.zeros((3000, 257), np.float32)
    x[2999, 200] = 256
    with pytest.raises(InputError, match=r"x\[2999, 200\]: got 256\.0, .* The nearest is 255"):
        Grid(1.0).check(x, "x")
    Grid(1.0).check(x[:2999], "x")
    Grid(1.0).check(x[:0], "x")


@pytest.mark.parametrize(
    ("text", "grid"),
    [
        ("uint8", Grid(1.0)),
        ("Q1.7", Grid(1 / 128, 0, "int8")),
        ("1/255", Grid(1 / 255)),
        ("0.5,-3", Grid(0.5, -3)),
        ("2e-2,128,uint8", Grid(0.02, 128)),
        ("1,0,INT8", Grid(1.0, 0, "int8")),
    ],
)
def test_a_grid_is_named_by_text(text, grid):
    assert parse_grid(text) == grid


@pytest.mark.parametrize(
    "text",
    ["", "q8", "uint9", "1/0", "1,2,3", "1,0,int16", "1,0,int8,0", "-1", "nan", "inf", "1,x", "1,",
     "1/2/3", "1.2.3", "1e9999", "0x1", "1_0", "1, 2", "1" * 500 + "/x"],
)  # fmt: skip
def test_other_texts_are_refused_with_the_forms(text):
    with pytest.raises(InputError, match=r"input grid: got .*, expected uint8, q1\.7 or SCALE"):
        parse_grid(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0", "grid: scale: got 0.0, expected a positive scale"),
        ("1e-40", "grid: scale: got 1e-40"),
        ("3e38", "grid: scale: got 3e[+]38"),
        ("1,40000", "grid: zero: got 40000, expected -32768 to 32768"),
    ],
)
def test_grids_that_cannot_be_are_refused(text, said):
    with pytest.raises(InputError, match=f"input grid '{text}': {said}"):
        parse_grid(text)


@pytest.mark.parametrize("scale", [np.nan, np.inf, -1.0])
def test_no_scale_but_a_positive_number_makes_a_grid(scale):
    with pytest.raises(GraphError, match="grid: scale"):
        Grid(scale)
