"""run --stochastic and estimate --mode binary-stochastic on the command line."""

from __future__ import annotations

import numpy as np
import pytest
from nets import mlp

from bnnsim import api


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with mlp.bnn (batch norms) and x.npy (6 images)."""
    place = tmp_path_factory.mktemp("stochastic")
    api.save(mlp(1), place / "mlp.bnn")
    np.save(place / "x.npy", np.random.default_rng(3).integers(0, 256, (6, 63), np.uint8))
    return place


def run(folder, *options):
    return ("run", folder / "mlp.bnn", "--input", folder / "x.npy", *options)


def test_run_writes_the_mean_and_counts_the_draws(bnnsim, folder, tmp_path):
    out = tmp_path / "y.npy"
    options = ("--stochastic", "--seed", 18446744073709551615, "--samples", 4, "-o", out)
    result = bnnsim.json(*run(folder, *options), schema="run")
    # 65 + 33 signs an image, 6 images, 4 samples, 8 bits.
    assert result["counts"] == {"rng_draws": 98 * 24, "rng_bits": 98 * 24 * 8}
    assert (result["samples"], result["record"]["seed"]) == (4, 2**64 - 1)
    expected = api.run(
        mlp(1), np.load(folder / "x.npy"), stochastic=True, seed=2**64 - 1, samples=4
    )
    assert np.load(out).dtype == np.float32
    assert (np.load(out) == expected.outputs).all()


def test_run_says_what_was_drawn(bnnsim, folder):
    said = bnnsim(*run(folder, "--stochastic", "--seed", 7, "--rng-bits", 2))
    assert said.status == 0
    assert "stochastic: seed 7, mean of 1 samples, 588 draws, 1,176 random bits" in said.out
    assert "stochastic_pack" in said.out


def test_a_deterministic_run_draws_nothing(bnnsim, folder):
    result = bnnsim.json(*run(folder), schema="run")
    assert result["counts"] == {"rng_draws": 0, "rng_bits": 0}
    assert result["samples"] is None


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--stochastic", "--seed", -1], "seed: got -1, expected an integer from 0 to 184467"),
        (["--stochastic", "--seed", 2**64], "seed: got 18446744073709551616"),
        (["--stochastic", "--seed", "1e3"], "got '1e3', expected a whole number"),
        (["--stochastic", "--samples", 0], "got '0', expected a whole number from 1 to 2^31 - 1"),
        (["--stochastic", "--rng-bits", 3], "random bits per draw: got 3"),
        (["--stochastic", "--preact-scale", "x"], "invalid float value: 'x'"),
        (["--seed", 1], "seed: got 1, expected no such option in a deterministic run"),
        (["--samples", 2], "Ask for stochastic=True (--stochastic)."),
    ],
)
def test_run_refuses(bnnsim, folder, options, text):
    assert text in bnnsim.refused(*run(folder, *options))


def test_thresholds_need_a_scale(bnnsim, net, tmp_path):
    argv = ("run", net / "tfc.bnn", "--input", net / "x.npy", "--stochastic")
    said = bnnsim.refused(*argv)
    assert "got 'an integer threshold', expected a batch norm before the sign" in said
    assert "--preact-scale VALUE" in said
    result = bnnsim.json(*argv, "--preact-scale", 0.1, schema="run")
    assert result["counts"]["rng_draws"] == 7 * 3 * 64
    estimate = ("estimate", "zoo:tfc", "--profile", "cmos45", "--mode", "binary-stochastic")
    assert "--preact-scale VALUE" in bnnsim.refused(*estimate)
    priced = bnnsim.json(*estimate, "--preact-scale", 0.1, schema="estimate")
    assert priced["totals"]["rng_bits"] == 3 * 64 * 8


def test_estimates_and_comparisons_have_the_mode(bnnsim, folder):
    argv = ("compare", folder / "mlp.bnn", "--profile", "cmos45", "--modes")
    result = bnnsim.json(*argv, "binary,binary-stochastic", schema="compare")
    bits = [column["totals"]["rng_bits"] for column in result["columns"]]
    assert bits == [0, 98 * 8]
    assert result["columns"][0]["energy_by"]["rng"] == 0
    assert "what-if: not trained in this precision" in bnnsim(*argv, "binary-stochastic").out
