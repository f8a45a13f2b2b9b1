"""stochastic_pack: every kernel against the numpy meaning at edge sizes and over many draws."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_meaning import RAGGED, SEED, variants

from bnnsim.engine import _kernels
from bnnsim.errors import KernelError
from bnnsim.graph import bits as bit_layout
from bnnsim.graph.draws import RNG_BITS, probability
from bnnsim.graph.philox import uniform_draws

STREAM = {"seed": 0xFEDCBA9876543210, "node": 2**32 - 7, "sample": 3}


def expected(x, bits, first=0):
    u = uniform_draws(tuple(STREAM.values()), first, x.size, bits).reshape(x.shape)
    return bit_layout.pack(np.where(u < probability(x, bits), np.int8(1), np.int8(-1)))


@variants("stochastic_pack")
def test_ragged_rows_and_any_first_element(isa):
    rng = np.random.default_rng(SEED)
    for bits in RNG_BITS:
        for channels in RAGGED:
            first = int(rng.integers(0, 2**50))
            x = rng.normal(scale=0.7, size=(3, channels)).astype(np.float32)
            got = _kernels.stochastic_pack(x, bits, first=first, isa=isa, **STREAM)
            assert (got == expected(x, bits, first)).all(), (bits, channels, first)


@variants("stochastic_pack")
@pytest.mark.parametrize("first", [0, 2**32 * 16 - 100, 2**36 * 16 - 9, 2**62 - 3 * 1000])
def test_block_numbers_carry_into_the_high_word(isa, first):
    x = np.random.default_rng(1).normal(scale=0.5, size=(3, 1000)).astype(np.float32)
    got = _kernels.stochastic_pack(x, 8, first=first, isa=isa, **STREAM)
    assert (got == expected(x, 8, first)).all()


@variants("stochastic_pack")
def test_edges_of_the_sigmoid(isa):
    tiny = np.finfo(np.float32).smallest_subnormal
    edges = np.array([-np.inf, np.inf, -1, 1, 0, -0.0, tiny, -tiny, 3e38, -3e38], np.float32)
    steps = np.concatenate([np.arange(-(2**15), 2**15 + 1) / 2**15, edges]).astype(np.float32)
    near = np.concatenate([np.nextafter(steps, -np.inf), steps, np.nextafter(steps, np.inf)])
    near = np.clip(near, -3.4e38, 3.4e38)[None, :].astype(np.float32)
    for bits in RNG_BITS:
        got = _kernels.stochastic_pack(near, bits, isa=isa, **STREAM)
        assert (got == expected(near, bits)).all()


@variants("stochastic_pack")
def test_what_breaks_the_contract_is_refused(isa):
    x = np.zeros((2, 5), np.float32)
    with pytest.raises(KernelError, match="expected values of the stated set only"):
        _kernels.stochastic_pack(x, 3, isa=isa, **STREAM)
    with pytest.raises(KernelError, match="expected numbers only, found NaN"):
        _kernels.stochastic_pack(np.full((1, 70), np.nan, np.float32), 8, isa=isa, **STREAM)
    with pytest.raises(KernelError, match="index products below"):
        _kernels.stochastic_pack(x, 8, isa=isa, first=2**62 - 9, **STREAM)
    with pytest.raises(KernelError, match=r"seed: got -1, expected an integer of 64 bits"):
        _kernels.stochastic_pack(x, 8, isa=isa, seed=-1, node=0)
    with pytest.raises(KernelError, match=r"node: got 4294967296, expected an integer of 32 bits"):
        _kernels.stochastic_pack(x, 8, isa=isa, seed=0, node=2**32)
    with pytest.raises(KernelError, match=r"x\.dtype: got 'float64'"):
        _kernels.stochastic_pack(x.astype(float), 8, isa=isa, **STREAM)
