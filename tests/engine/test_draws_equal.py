"""Drawn bits: engine, reference and torch operator, for every ISA, thread count and batch split."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from nets import Builder, bit_residual, convnet, mlp

from bnnsim import torch_ops  # noqa: F401  (registers torch.ops.bnnsim)
from bnnsim.engine import execute as execute_module
from bnnsim.engine.dispatch import available_isas
from bnnsim.engine.execute import Plan
from bnnsim.engine.reference import execute
from bnnsim.errors import GraphError, InputError
from bnnsim.graph.draws import RNG_BITS, Draws, stochastic_sign
from bnnsim.graph.dtypes import FLOAT32
from bnnsim.graph.ir import Graph, Node
from bnnsim.passes.lower import lower
from bnnsim.passes.stochastic import stochastic

SEED = 0xFEDCBA9876543210


def signs(shape: tuple[int, ...], bits: int, id: int = 0) -> Graph:
    """Return a graph that is one stochastic sign."""
    net = Builder(shape, dtype=FLOAT32).add("Quantize", quantizer="stochastic_sign", bits=bits)
    return net.graph()


def differing(x: np.ndarray, bits: int, draws: Draws) -> int:
    """Return how many bits differ between reference, torch and engine, all ISAs and threads."""
    graph = signs(x.shape[1:], bits)
    expected = execute(graph, x, draws=draws)[graph.outputs[0]]
    images = torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, -1, 1)))
    first = draws.first_image * (x.size // len(x))
    seed = draws.seed - 2**64 if draws.seed >= 2**63 else draws.seed
    drawn = torch.ops.bnnsim.stochastic_sign(images, seed, 0, draws.sample, first, bits)
    wrong = int((np.moveaxis(drawn.numpy(), 1, -1) != expected).sum())
    for isa in available_isas():
        for threads in (1, 2):
            plan = Plan(graph, isa=isa, threads=threads)
            for split in (len(x), len(x) // 2 + 1, 3):
                parts = [
                    plan.run(x[i : i + split], draws=draws.at(i))[graph.outputs[0]]
                    for i in range(0, len(x), split)
                ]
                wrong += int((np.concatenate(parts) != expected).sum())
    return wrong


@pytest.mark.parametrize("bits", RNG_BITS)
def test_no_bit_differs_over_many_draws(bits, rng):
    x = rng.normal(scale=0.8, size=(8, 9, 41, 71)).astype(np.float32)  # 209,592 draws
    assert 5 * x.size > 1_000_000
    assert differing(x, bits, Draws(SEED, sample=3, first_image=1000)) == 0


@pytest.mark.slow
@pytest.mark.parametrize("bits", [1, 8, 16])
def test_no_bit_differs_over_ten_million_draws(bits, rng):
    x = rng.normal(scale=0.8, size=(8, 97, 101, 131)).astype(np.float32)
    assert x.size > 10_000_000
    assert differing(x, bits, Draws(SEED, sample=2**32 - 1, first_image=2**32)) == 0


@pytest.mark.parametrize("channels", [1, 63, 64, 65, 127, 128, 129])
@pytest.mark.parametrize("isa", available_isas())
def test_ragged_rows(channels, isa, rng):
    for bits in RNG_BITS:
        x = rng.normal(scale=0.8, size=(3, 5, 2, channels)).astype(np.float32)
        graph = signs(x.shape[1:], bits)
        draws = Draws(11, first_image=7)
        got = Plan(graph, isa=isa).run(x, draws=draws)[graph.outputs[0]]
        assert (got == execute(graph, x, draws=draws)[graph.outputs[0]]).all()


@pytest.mark.parametrize("bits", [1, 8])
@pytest.mark.parametrize("make", [mlp, convnet, bit_residual])
def test_results_do_not_depend_on_tiles_threads_batch_split_or_isa(monkeypatch, make, bits):
    graph = lower(stochastic(make(1), bits=bits))
    x = Builder(graph.tensor("input").shape, seed=8).batch(9)
    names = [node.output for node in graph.nodes]
    draws = Draws(3, sample=1)
    whole = execute(graph, x, draws=draws)
    for isa in available_isas():
        for tile_bytes in (1, 4000, 10**6):
            monkeypatch.setattr(execute_module, "TILE_BYTES", tile_bytes)
            for threads in (1, 2, 3):
                got = Plan(graph, isa=isa, threads=threads).run(x, keep=names, draws=draws)
                assert all((got[name] == whole[name]).all() for name in names)
    parts = [execute(graph, x[i : i + 2], draws=draws.at(i)) for i in range(0, 9, 2)]
    assert (np.concatenate([p[names[-1]] for p in parts]) == whole[names[-1]]).all()


def test_integers_and_pixels_are_drawn_as_float32():
    for net in (
        Builder((30,)).add("Quantize", quantizer="stochastic_sign"),
        Builder((30,)).encode().add("Quantize", quantizer="stochastic_sign"),
        Builder((30,)).encode_bits().add("Quantize", quantizer="stochastic_sign"),
        Builder((30,)).encode().dense(21).add("Quantize", quantizer="stochastic_sign"),
    ):
        graph, x = net.graph(), net.batch(4)
        got = Plan(graph).run(x, draws=Draws(1))[graph.outputs[0]]
        assert (got == execute(graph, x, draws=Draws(1))[graph.outputs[0]]).all()


def test_every_draw_is_of_a_real_element():
    """The kernel is called for the elements of the tensors before each sign, and for no others."""
    graph = lower(stochastic(convnet(2)))
    calls = [planned.call for step in Plan(graph).steps for planned in step.calls]
    drawn = [c.rows * c.channels for c in calls if c.kernel.startswith("bnn_stochastic_pack")]
    assert drawn == [graph.activation(n).size for n in graph.nodes if n.op == "Quantize"]


def test_the_trace_names_the_kernel():
    trace = {t.node: t.kernel for t in Plan(lower(stochastic(mlp(1))), isa="ref").trace}
    assert trace["quantize3"] == "stochastic_pack_ref"


def test_draws_are_needed_before_anything_runs():
    graph = lower(stochastic(mlp(1)))
    with pytest.raises(GraphError, match=r"'quantize3' \(Quantize\): got None, expected a seed"):
        Plan(graph).run(Builder((63,)).batch(2))


def test_an_empty_batch_draws_nothing():
    graph = lower(stochastic(mlp(1)))
    x = np.zeros((0, 63), np.uint8)
    assert Plan(graph).run(x, draws=Draws(0))[graph.outputs[0]].shape == (0, 10)
    assert execute(graph, x, draws=Draws(0))[graph.outputs[0]].shape == (0, 10)


@pytest.mark.parametrize("seed", [0, 1, 2**31, 2**63 - 1, -1, -(2**63)])
def test_the_torch_operator_takes_64_bits_of_seed(seed):
    x = torch.linspace(-1, 1, 500).reshape(5, 100)
    node = Node(77, "n", "Quantize", ("x",), ("y",), {"quantizer": "stochastic_sign", "bits": 4})
    expected = stochastic_sign(node, x.numpy(), Draws(seed % 2**64, 3, 2))
    assert (torch.ops.bnnsim.stochastic_sign(x, seed, 77, 3, 200, 4).numpy() == expected).all()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ((0, -1, 0, 0, 8), "node_id: got -1, expected an integer from 0 to 4294967295"),
        ((0, 0, 2**32, 0, 8), "sample: got 4294967296"),
        ((0, 0, 0, -5, 8), "first_element: got -5"),
        ((0, 0, 0, 0, 3), "bits: got 3, expected 1, 2, 4, 8 or 16"),
    ],
)
def test_the_torch_operator_refuses(options, text):
    with pytest.raises(InputError, match=text):
        torch.ops.bnnsim.stochastic_sign(torch.zeros(2, 3), *options)
    with pytest.raises(InputError, match=r"dtype: got 'torch.float64', expected torch.float32"):
        torch.ops.bnnsim.stochastic_sign(torch.zeros(2, 3).double(), 0, 0, 0, 0, 8)
