"""Sums, products, clips and slopes of elements, pools of floats and copies, against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_meaning import SEED, variants

from bnnsim.engine import _kernels, reference
from bnnsim.errors import KernelError
from bnnsim.graph.dtypes import FLOAT32

WIDTHS = (1, 15, 16, 17, 63, 64, 65, 129)
SPECIAL = np.array([np.nan, np.inf, -np.inf, -0.0, 0.0, 1e-45, -1e-45, 3e38], np.float32)
ATTRS = {"groups": 1, "low": -0.5, "high": 0.25}


@pytest.fixture
def rng():
    return np.random.default_rng(SEED)


def floats(rng, *shape):
    """Return float32 values, some of which are special."""
    x = rng.normal(size=shape).astype(np.float32)
    chosen = rng.random(shape) < 0.1
    x[chosen] = rng.choice(SPECIAL, int(chosen.sum()))
    return x


def same(got, wanted):
    return got.dtype == wanted.dtype and np.array_equal(got, wanted, equal_nan=True)


def meaning(op, *operands):
    with np.errstate(all="ignore"):
        return reference.OPS[op](list(operands), ATTRS, FLOAT32)


@variants("pointwise")
@pytest.mark.parametrize("C", WIDTHS)
def test_floats_are_the_references(isa, C, rng):
    a, b, slope = floats(rng, 3, 5, C), floats(rng, 3, 5, C), rng.normal(size=C).astype("f4")
    run = {"isa": isa}
    assert same(_kernels.pointwise("add", a, b, **run), meaning("Add", a, b))
    assert same(_kernels.pointwise("multiply", a, b, **run), meaning("Mul", a, b))
    assert same(_kernels.pointwise("prelu", a, terms=slope, **run), meaning("PRelu", a, slope))
    relu, ends = np.array([0, np.inf], np.float32), np.array([-0.5, 0.25], np.float32)
    assert same(_kernels.pointwise("clip", a, terms=relu, **run), meaning("Relu", a))
    assert same(_kernels.pointwise("clip", a, terms=ends, **run), meaning("Clip", a))


@variants("pointwise")
@pytest.mark.parametrize("C", WIDTHS)
def test_integers_add_and_clip(isa, C, rng):
    a, b = rng.integers(-(2**30), 2**30, (2, 3, 2, C), np.int32)
    assert same(_kernels.pointwise("add", a, b, isa=isa), a + b)
    ends = np.array([-(2**20), 2**29], np.int32)
    assert same(_kernels.pointwise("clip", a, terms=ends, isa=isa), np.clip(a, *ends))


@variants("pointwise")
def test_integers_are_scaled_by_a_ratio_or_refused(isa, rng):
    a = 2 * rng.integers(-(2**29), 2**29, (3, 17), np.int32)
    for mul, add, div in ((1, 64, 2), (-3, 2, 1), (5, -4, 2), (2**31 - 1, 0, 2)):
        attrs = {"mul": mul, "add": add, "div": div}
        got = _kernels.pointwise("ratio", a, terms=np.array([mul, add, div], np.int32), isa=isa)
        with np.errstate(all="ignore"):
            assert same(got, reference.OPS["IntegerAffine"]([a], attrs, FLOAT32))
    with pytest.raises(KernelError, match="expected sums that the divisor divides evenly"):
        _kernels.pointwise("ratio", a, terms=np.array([1, 1, 2], np.int32), isa=isa)
    with pytest.raises(KernelError, match="values of the stated set"):
        _kernels.pointwise("ratio", a, terms=np.array([1, 1, 0], np.int32), isa=isa)


@variants("pointwise")
def test_results_may_lie_where_operands_lay(isa, rng):
    a, b = floats(rng, 4, 131), floats(rng, 4, 131)
    wanted = _kernels.pointwise("add", a, b, isa=isa)
    for held in (a.copy(), b.copy()):
        first, second = (held, b) if np.array_equal(held, a, equal_nan=True) else (a, held)
        _kernels.pointwise("add", first, second, isa=isa, out=held)
        assert same(held, wanted)
    sums = rng.integers(-999, 999, (4, 131), np.int32)
    scale = rng.normal(size=131).astype(np.float32)
    wanted = _kernels.affine(sums, scale=scale, isa=isa)
    place = sums.view(np.float32)
    assert same(_kernels.affine(sums, scale=scale, isa=isa, out=place), wanted)


def test_what_the_kernels_refuse(rng):
    x = floats(rng, 2, 5)
    with pytest.raises(KernelError, match="what: got 'divide', expected add or multiply or clip"):
        _kernels.pointwise("divide", x, x)
    with pytest.raises(KernelError, match=r"x2.shape: got \(1, 5\), expected \(2, 5\)"):
        _kernels.pointwise("add", x, x[:1].copy())
    with pytest.raises(KernelError, match=r"terms.shape: got \(5,\), expected \(2,\)"):
        _kernels.pointwise("clip", x, terms=x[0].copy())
    with pytest.raises(KernelError, match="expected values of the stated set only"):
        _kernels.pointwise("multiply", x.view(np.int32), x.view(np.int32))
    with pytest.raises(KernelError, match="how: got 'least', expected largest or average"):
        _kernels.pool_float("least", x.reshape(1, 1, 2, 5), window=(1, 1), stride=(1, 1))
    with pytest.raises(KernelError, match="at least one in-image tap"):
        _kernels.pool_float(
            "average", x.reshape(1, 1, 2, 5), window=(1, 1), stride=(1, 1), pads=(1, 0, 0, 0)
        )
    with pytest.raises(KernelError, match="expected values of the stated set only"):
        _kernels.copy_channels(x, np.zeros((2, 7), np.float32), 3)


WINDOWS = [
    ((3, 3), (2, 2), (1, 1, 1, 1)),
    ((2, 2), (1, 1), (0, 1, 1, 0)),
    ((2, 3), (3, 1), (0, 0, 0, 0)),
    ((7, 5), (1, 1), (0, 0, 0, 0)),
]


@variants("pool_float")
@pytest.mark.parametrize(("window", "stride", "pads"), WINDOWS)
@pytest.mark.parametrize("C", [1, 63, 64, 65, 130])
def test_pools_of_floats_are_the_references(isa, window, stride, pads, C, rng):
    x = floats(rng, 2, 7, 5, C)
    attrs = {"kernel": window, "stride": stride, "pads": pads}
    options = {"window": window, "stride": stride, "pads": pads, "isa": isa}
    with np.errstate(all="ignore"):
        largest = reference.OPS["MaxPool"]([x], attrs, FLOAT32)
        means = [
            reference.OPS["AvgPool"]([x], {**attrs, "count_include_pad": padded}, FLOAT32)
            for padded in (False, True)
        ]
    assert same(_kernels.pool_float("largest", x, **options), largest)
    assert same(_kernels.pool_float("average", x, **options), means[0])
    assert same(_kernels.pool_float("average_padded", x, **options), means[1])


@variants("copy_channels")
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_channels_are_copied_side_by_side(isa, dtype, rng):
    parts = [rng.integers(0, 200, (2, 3, C)).astype(dtype) for C in (1, 65, 7)]
    out, first = np.full((2, 3, 73), 255).astype(dtype), 0
    for part in parts:
        _kernels.copy_channels(part, out, first, isa=isa)
        first += part.shape[-1]
    assert same(out, np.concatenate(parts, axis=-1))
