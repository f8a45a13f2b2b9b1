"""bnnsim.kernels: the public names on packed arrays."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_meaning import SEED, bipolar, compare, conv2d, matmul, thresholds_near

from bnnsim import kernels
from bnnsim.errors import KernelError


@pytest.mark.parametrize("isa", kernels.available_isas())
@pytest.mark.parametrize("threads", [1, 3])
def test_products_and_convolutions_equal_integers(isa, threads):
    rng = np.random.default_rng(SEED)
    a, b = bipolar(rng, 129, 65), bipolar(rng, 67, 65)
    x, w = bipolar(rng, 2, 7, 5, 66), bipolar(rng, 130, 3, 3, 33)
    where = {"stride": (2, 1), "pads": (1, 2, 0, 1), "pad_value": -1}
    for call, operand, weight, sums, options in (
        (kernels.gemm, a, b, matmul(a, b), {}),
        (kernels.conv2d, x, w, conv2d(x, w, groups=2, **where), where),
    ):
        groups = 2 if weight.ndim == 4 else 1
        weights = kernels.pack_weights(weight, groups=groups, isa=isa)
        assert weights.isa == isa
        packed = kernels.pack(operand, isa=isa)
        assert (kernels.unpack(packed, operand.shape[-1]) == operand).all()
        assert (call(packed, weights, threads=threads, **options) == sums).all()
        t, direction = thresholds_near(rng, sums, weights.K)
        limits = kernels.pack_thresholds(t, direction, weights.K)
        out = np.empty((*sums.shape[:-1], -(-sums.shape[-1] // 64)), np.uint64)
        got = call(packed, weights, thresholds=limits, threads=threads, out=out, **options)
        assert got is out
        assert (kernels.unpack(got, sums.shape[-1]) == compare(sums, t, direction)).all()


def test_weights_have_two_or_four_axes():
    with pytest.raises(
        KernelError, match=r"weight\.shape: got \(3,\), expected \(N, K\) or \(C_out"
    ):
        kernels.pack_weights(np.ones(3, np.int8))
