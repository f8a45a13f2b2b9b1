"""Kernels cut into parts for threads give what one thread gives, from any thread, also forked."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from kernel_meaning import SEED, bipolar, compare, conv2d, integers, matmul, thresholds_near

from bnnsim.engine import _kernels
from bnnsim.errors import KernelError
from bnnsim.graph import bits

ISAS = [isa for isa in _kernels.available_isas()]
THREADS = (1, 2, 3, 7)


@pytest.fixture
def rng():
    return np.random.default_rng(SEED)


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("M", "N", "K"), [(1, 1300, 4160), (2, 701, 3001), (401, 130, 129)])
def test_products_do_not_depend_on_threads(isa, M, N, K, rng):
    a, b = bipolar(rng, M, K), bipolar(rng, N, K)
    sums = matmul(a, b)
    t, direction = thresholds_near(rng, sums, K)
    limits = _kernels.pack_thresholds(t, direction, K)
    levels, weights = integers(rng, np.uint8, M, K), integers(rng, np.int8, N, K)
    packed = bits.pack(a), bits.pack(b)
    for threads in THREADS:
        options = {"isa": isa, "threads": threads}
        assert (_kernels.gemm_bit(*packed, K, **options) == sums).all()
        got = _kernels.gemm_bit_threshold(*packed, limits, K, **options)
        assert (got == bits.pack(compare(sums, t, direction))).all()
        got = _kernels.gemm_byte(levels, weights, **options)
        assert (got == matmul(levels, weights)).all()


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("pads", [(1, 1, 1, 1), (0, 0, 0, 0), (2, 0, 1, 3), (5, 1, 4, 0)])
@pytest.mark.parametrize(("stride", "dilation"), [((1, 1), (1, 1)), ((2, 1), (2, 3))])
def test_convolutions_do_not_depend_on_threads(isa, pads, stride, dilation, rng):
    x, w = bipolar(rng, 3, 19, 17, 66), bipolar(rng, 70, 3, 2, 66)
    where = {"stride": stride, "dilation": dilation, "pads": pads}
    sums = conv2d(x, w, **where, pad_value=1)
    t, direction = thresholds_near(rng, sums, 396)
    limits = _kernels.pack_thresholds(t, direction, 396)
    levels, weights = integers(rng, np.int8, *x.shape), integers(rng, np.int8, *w.shape)
    of_levels = conv2d(levels, weights, **where, pad_value=-3)
    packed = bits.pack(x), bits.pack(w)
    for threads in THREADS:
        options = {**where, "isa": isa, "threads": threads}
        for n in (1, 3):
            got = _kernels.conv2d_bit(packed[0][:n], packed[1], 66, **options, pad_value=1)
            assert (got == sums[:n]).all()
            got = _kernels.conv2d_bit_threshold(
                packed[0][:n], packed[1], limits, 66, **options, pad_value=1
            )
            assert (got == bits.pack(compare(sums[:n], t, direction))).all()
            got = _kernels.conv2d_byte(levels[:n], weights, **options, pad_value=-3)
            assert (got == of_levels[:n]).all()


def large_product(rng):
    a, b = bipolar(rng, 300, 1000), bipolar(rng, 40, 1000)
    return (bits.pack(a), bits.pack(b), 1000), matmul(a, b)


def test_any_thread_may_call_while_others_do(rng):
    operands, expected = large_product(rng)

    def call(threads):
        return (_kernels.gemm_bit(*operands, threads=threads) == expected).all()

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(call, [2, 3, 1, 4] * 25))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own(rng):
    operands, expected = large_product(rng)
    assert (_kernels.gemm_bit(*operands, threads=3) == expected).all()
    child = os.fork()
    if child == 0:
        same = (_kernels.gemm_bit(*operands, threads=3) == expected).all()
        os._exit(0 if same else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert (_kernels.gemm_bit(*operands, threads=3) == expected).all()


def test_threads_are_counted_from_one():
    one = np.zeros((1, 1), np.uint64)
    with pytest.raises(KernelError, match="threads: got 0, expected an integer from 1"):
        _kernels.gemm_bit(one, one, 5, threads=0)
    with pytest.raises(KernelError, match="threads: got 0, expected an integer from 1"):
        _kernels.set_threads(0)
    assert _kernels.set_threads(3) == 1
    assert _kernels.set_threads(1) == 3
