"""Stochastic activations: probabilities, gradient, eval mode, export."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from bnnsim.api import run
from bnnsim.frontends.torch_export import from_torch
from bnnsim.graph.draws import Draws, stochastic_sign
from bnnsim.train.layers import BinaryDense, StochasticSign
from bnnsim.train.norm import BatchNorm
from bnnsim.train.quantizers import stochastic_sign as drawn

ABOVE_ONE = float(np.nextafter(np.float32(1), np.float32(2)))


@pytest.mark.parametrize("x", [-0.75, 0.0, 0.4])
def test_training_draws_with_the_probability_of_the_hard_sigmoid(x):
    count, p = 100_000, (x + 1) / 2
    plus = int((drawn(torch.full((count,), x), torch.Generator().manual_seed(3)) > 0).sum())
    assert (plus - count * p) ** 2 <= 10.8 * count * p * (1 - p)  # chi-square, 99.9 %


def test_saturated_activations_are_constants():
    x = torch.tensor([-1.0, 1.0, -3.0, 7.0, float("inf"), -float("inf")]).repeat(2000, 1)
    assert (drawn(x) == torch.tensor([-1.0, 1, -1, 1, 1, -1])).all()


def test_the_generator_makes_draws_repeatable():
    x = torch.zeros(1000)
    first, again = (drawn(x, torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, drawn(x, torch.Generator().manual_seed(6)))


def test_gradient_passes_up_to_and_including_the_ends():
    x = torch.tensor([-ABOVE_ONE, -1.0, 0.0, 0.5, 1.0, ABOVE_ONE], requires_grad=True)
    drawn(x).backward(torch.arange(1.0, 7.0))
    assert x.grad.tolist() == [0, 2, 3, 4, 5, 0]


def test_eval_mode_takes_the_sign_unless_told():
    x = torch.linspace(-1, 1, 301).reshape(7, 43)
    layer = StochasticSign().eval()
    assert torch.equal(layer(x), torch.ops.bnnsim.sign(x))
    layer = StochasticSign(draw_in_eval=True, seed=9, node_id=4, bits=2).eval()
    from bnnsim.graph.ir import Node

    node = Node(4, "n", "Quantize", ("x",), ("y",), {"quantizer": "stochastic_sign", "bits": 2})
    assert (layer(x).numpy() == stochastic_sign(node, x.numpy(), Draws(9))).all()
    assert "bits=2" in repr(layer)


def network(sign: StochasticSign) -> nn.Module:
    torch.manual_seed(3)
    model = nn.Sequential(
        BinaryDense(17, 31), BatchNorm(31), sign, BinaryDense(31, 5), BatchNorm(5)
    )
    model.train()
    for _ in range(3):
        model(torch.randn(64, 17))
    return model.eval()


def test_an_export_is_deterministic_by_default_and_states_stochastic_training_if_asked():
    x = np.random.default_rng(4).normal(size=(20, 17)).astype(np.float32)
    plain = from_torch(network(StochasticSign()), (17,))
    stated = from_torch(network(StochasticSign(draw_in_eval=True, bits=4)), (17,))
    quantizers = [
        [dict(n.attrs) for n in graph.nodes if n.op == "Quantize"] for graph in (plain, stated)
    ]
    assert quantizers == [[{"quantizer": "sign"}],
                          [{"quantizer": "stochastic_sign", "bits": 4}]]  # fmt: skip
    assert any("runs take the sign unless" in note for note in stated.meta["notes"])
    assert (run(plain, x).outputs == run(stated, x).outputs).all()
    expected = network(StochasticSign())(torch.from_numpy(x)).detach().numpy()
    assert (run(plain, x).outputs == expected).all()
    seeded = run(stated, x, stochastic=True, seed=1)
    assert seeded.counts == {"rng_draws": 20 * 31, "rng_bits": 20 * 31 * 4}


def test_a_network_trains_through_stochastic_signs():
    torch.manual_seed(1)
    x, labels = torch.randn(128, 17), torch.randint(0, 5, (128,))
    model = nn.Sequential(nn.Linear(17, 64), nn.BatchNorm1d(64), StochasticSign(), nn.Linear(64, 5))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.03)
    losses = []
    for _ in range(80):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])


@pytest.mark.parametrize(("low", "high", "clips"), [(-1, 1, 0), (-2, 1.5, 0), (-0.5, 1, 1)])
def test_a_clipping_outside_the_saturation_is_left_out(low, high, clips):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = BatchNorm(6)

        def forward(self, x):
            y = torch.clamp(self.norm(x), low, high)
            return torch.ops.bnnsim.stochastic_sign(y, 0, 0, 0, 0, 8)

    graph = from_torch(Net().eval(), (6,))
    assert [n.op for n in graph.nodes].count("Clip") == clips
