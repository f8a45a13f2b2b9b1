"""The stochastic sign as the reference has it: probabilities, numbering, ranges, errors."""

from __future__ import annotations

import numpy as np
import pytest

from bnnsim.errors import GraphError, InputError
from bnnsim.graph.draws import Draws, check_bits, probability, stochastic_sign
from bnnsim.graph.ir import Node
from bnnsim.graph.philox import uniform_draws

BELOW_ONE = np.nextafter(np.float32(1), np.float32(0))


def node(bits: int = 8, id: int = 5) -> Node:
    attrs = {"quantizer": "stochastic_sign", "bits": bits}
    return Node(id, "sign", "Quantize", ("x",), ("y",), attrs)


def test_probabilities_by_hand():
    x = np.array([-np.inf, -2, -1, -0.998, -0.996, -0.5, 0, 0.25, 0.9961, 1, 9, np.inf], np.float32)
    # 256 (x + 1) / 2 + 0.5 = 128 x + 128.5: -0.998 gives 0.756, -0.996 gives 1.012.
    expected = [0, 0, 0, 0, 1, 64, 128, 160, 256, 256, 256, 256]
    assert probability(x, 8).tolist() == expected
    assert probability(np.array([-0.51, -0.5, 0.49, 0.5], np.float32), 1).tolist() == [0, 1, 1, 2]
    assert probability(np.array([BELOW_ONE], np.float32), 16).tolist() == [2**16]


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_saturated_inputs_give_constants(bits):
    x = np.repeat(np.array([[-1.0, 1.0, -7.5, 3.0]], np.float32), 3000, axis=0)
    y = stochastic_sign(node(bits), x, Draws(99))
    assert (y == np.array([-1, 1, -1, 1])).all()


def test_elements_are_numbered_over_the_whole_run(rng):
    x = rng.normal(scale=0.5, size=(6, 3, 5, 7)).astype(np.float32)
    whole = stochastic_sign(node(4), x, Draws(3, sample=2, first_image=10))
    u = uniform_draws((3, 5, 2), 10 * 105, 6 * 105, 4).reshape(x.shape)
    assert (whole == np.where(u < probability(x, 4), 1, -1)).all()
    draws = Draws(3, sample=2)
    parts = [stochastic_sign(node(4), x[i : i + 1], draws.at(10 + i)) for i in range(6)]
    assert (np.concatenate(parts) == whole).all()


def test_seed_node_and_sample_each_change_the_bits():
    x = np.zeros((1, 512), np.float32)
    base = stochastic_sign(node(), x, Draws(1))
    others = [
        stochastic_sign(node(), x, Draws(2)),
        stochastic_sign(node(), x, Draws(1 + 2**32)),
        stochastic_sign(node(), x, Draws(1, sample=1)),
        stochastic_sign(node(), x, Draws(1, first_image=1)),
        stochastic_sign(node(id=6), x, Draws(1)),
    ]
    for other in others:
        assert 150 < (other != base).sum() < 362  # binomial(512, 1/2): 256 +- 9 sigma


@pytest.mark.parametrize("p", [0.02, 0.3, 0.5, 0.77])
@pytest.mark.parametrize("bits", [2, 8, 16])
def test_share_of_plus_is_the_probability(p, bits):
    """Chi-square of one cell against p_int / 2^bits, below 10.8 (99.9 %)."""
    count = 100_000
    x = np.full((1, count), 2 * p - 1, np.float32)
    exact = probability(x[0, :1], bits)[0] / 2**bits
    plus = int((stochastic_sign(node(bits), x, Draws(20161205)) > 0).sum())
    spread = count * exact * (1 - exact)
    assert (plus - count * exact) ** 2 <= 10.8 * spread


def test_integers_count_as_float32():
    x = np.array([[-3, -1, 0, 1, 4]], np.int32)
    float_bits = stochastic_sign(node(), x.astype(np.float32), Draws(8))
    assert (stochastic_sign(node(), x, Draws(8)) == float_bits).all()


def test_nan_is_refused():
    with pytest.raises(GraphError, match="Quantize: got nan, expected numbers"):
        stochastic_sign(node(), np.array([[0.0, np.nan]], np.float32), Draws(0))


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, True, None, "7"])
def test_seeds_outside_64_bits_are_refused(seed):
    rule = "seed: got .*, expected an integer from 0 to 18446744073709551615"
    with pytest.raises(InputError, match=rule):
        Draws(seed)


def test_seeds_may_have_64_bits():
    assert Draws(2**64 - 1).stream(node()) == (2**64 - 1, 5, 0)
    assert Draws(0).stream(node())[0] == 0


@pytest.mark.parametrize("sample", [-1, 2**32])
def test_samples_outside_32_bits_are_refused(sample):
    with pytest.raises(
        InputError, match=r"sample: got .*, expected an integer from 0 to 4294967295"
    ):
        Draws(0, sample=sample)


@pytest.mark.parametrize("bits", [0, 3, 32, -8, True, 8.5, "8"])
def test_other_numbers_of_bits_are_refused(bits):
    with pytest.raises(
        InputError, match=r"random bits per draw: got .*, expected 1, 2, 4, 8 or 16"
    ):
        check_bits(bits)


def test_runs_without_end_are_refused():
    with pytest.raises(InputError, match="number of draws: got"):
        stochastic_sign(node(), np.zeros((1, 8), np.float32), Draws(0, first_image=2**60))
