"""k-bit and ternary layers: by hand, and trained nets that come in by value, exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

import bnnsim
from bnnsim.engine.execute import Plan
from bnnsim.errors import InputError, SourceError
from bnnsim.frontends.torch_export import from_torch
from bnnsim.graph.ir import Graph
from bnnsim.train import BatchNorm, InputEncoding, KBitConv2d, KBitDense, Levels


def test_levels_round_halves_to_even_and_pass_gradients_inside() -> None:
    x = torch.tensor([-0.1, 0.0, 1 / 6, 0.5, 5 / 6, 1.0, 1.1], requires_grad=True)
    levels = Levels(2)(x)
    assert levels.tolist() == [0, 0, 0, 2, 2, 3, 3]
    levels.sum().backward()
    assert x.grad.tolist() == [0, 3, 3, 3, 3, 3, 0]
    assert torch.equal(Levels(2).eval()(x), levels)


def test_weights_on_the_grid_by_hand() -> None:
    layer = KBitDense(4, 1, weights=2, levels=3)
    layer.weight.data = torch.atanh(torch.tensor([[0.9, -0.9, 0.45, 0.0]]))
    # / 0.9 / 2 + 1/2 = 1, 0, 0.75, 0.5; times 3 = 3, 0, 2.25, 1.5 -> 3, 0, 2, 2 -> 2 q - 3
    assert layer.integer_weight().tolist() == [[3, -3, 1, 1]]
    assert layer.scale() == 1 / 21
    out = layer(torch.tensor([[7.0, 0, 2, 1]]))
    assert out.item() == pytest.approx(24 / 21)
    out.backward()
    assert (layer.weight.grad[0, [0, 2, 3]] != 0).all()


@pytest.mark.parametrize(("weights", "integers", "scale"), [
    (1, [1, -1, -1, 1], 0.5), ("ternary", [1, 0, -1, 1], 0.625),
])  # fmt: skip
def test_bits_and_ternaries_have_the_mean_as_scale(weights, integers, scale: float) -> None:
    layer = KBitDense(4, 1, weights=weights, levels=2)
    layer.weight.data = torch.tensor([[0.375, -0.125, -1.0, 0.5]])  # mean 0.5, threshold 0.35
    assert layer.integer_weight().tolist() == [integers]
    assert layer.scale() == pytest.approx(scale / 3)
    layer(torch.tensor([[1.0, 2, 3, 0]])).backward()
    assert layer.weight.grad[0].tolist() == pytest.approx([scale / 3 * v for v in (1, 2, 3, 0)])
    assert torch.equal(layer.integer_weight(), layer.eval().integer_weight())


@pytest.mark.parametrize("bad", [0, 9, 2.0, True, "binary"])
def test_other_numbers_of_bits_are_refused(bad) -> None:
    with pytest.raises(InputError, match=r"KBitDense: weights: bits: got .* integer from 1 to 8"):
        KBitDense(3, 2, weights=bad)
    with pytest.raises(InputError, match="Levels: bits: got"):
        Levels(bad)


def network(weights: int | str, levels: int) -> nn.Sequential:
    inner = {"weights": weights, "levels": levels}
    return nn.Sequential(
        nn.Conv2d(2, 6, 3, padding=1, bias=False), BatchNorm(6), Levels(levels),
        KBitConv2d(6, 9, 3, padding=1, **inner), nn.MaxPool2d(2), BatchNorm(9), Levels(levels),
        KBitConv2d(9, 7, 2, stride=2, **inner), BatchNorm(7), Levels(levels), nn.Flatten(),
        KBitDense(28, 12, **inner), BatchNorm(12), Levels(levels), KBitDense(12, 4, **inner),
        BatchNorm(4),
    )  # fmt: skip


def trained(weights: int | str, levels: int) -> tuple[nn.Sequential, torch.Tensor]:
    """Return a net after a few steps on separable images, and images."""
    torch.manual_seed(3)
    net = network(weights, levels)
    labels = torch.arange(64) % 4
    x = torch.randn(64, 2, 8, 8) + labels[:, None, None, None] * 0.8
    adam, losses = torch.optim.Adam(net.parameters(), 0.01), []
    for _ in range(12):
        loss = nn.functional.cross_entropy(net(x), labels)
        adam.zero_grad()
        loss.backward()
        adam.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
    return net.eval(), x


def dtypes(graph: Graph) -> list[str]:
    layers = [node for node in graph.nodes if node.op in ("Dense", "Conv2d")]
    return [" x ".join(str(graph.tensor(name).dtype) for name in n.inputs) for n in layers]


@pytest.mark.parametrize(("weights", "levels", "pair"), [
    (2, 2, "uint2 x bipolar2"), (1, 3, "uint3 x bit"), (8, 8, "uint8 x bipolar8"),
    ("ternary", 1, "uint1 x ternary"),
])  # fmt: skip
def test_a_trained_net_comes_in_by_value_and_runs_as_torch_does(weights, levels, pair) -> None:
    net, x = trained(weights, levels)
    graph = from_torch(net, (2, 8, 8))
    assert dtypes(graph) == ["float32 x float32", *[pair] * 4]
    lowered = bnnsim.lower(graph)
    assert [n.op for n in lowered.nodes].count("Threshold") == 3  # all but after the float layer
    with torch.no_grad():
        features = net[:3](x).numpy().transpose(0, 2, 3, 1)
        expected = net(x).numpy()
    images = np.ascontiguousarray(x.numpy().transpose(0, 2, 3, 1))
    first = next(n.output for n in lowered.nodes if n.op == "Quantize")
    got = Plan(lowered, threads=2).run(images, keep=[first])
    same = (got[first] == features).reshape(len(x), -1).all(axis=1)  # the float sum may tie
    assert same.mean() > 0.9
    assert (got[lowered.outputs[0]][same] == expected[same]).all()
    assert bnnsim.verify(graph, images).ok


def test_a_net_over_pixels_equals_torch_on_every_image() -> None:
    torch.manual_seed(5)
    net = nn.Sequential(
        InputEncoding(), KBitDense(30, 20, weights=3), BatchNorm(20), Levels(3),
        KBitDense(20, 5, weights=2, levels=3), BatchNorm(5),
    ).eval()  # fmt: skip
    net[2].running_var.fill_(1e4)
    graph = from_torch(net, (30,))
    assert dtypes(graph) == ["int16 x bipolar3", "uint3 x bipolar2"]
    x = np.random.default_rng(0).integers(0, 256, (500, 30), np.uint8)
    assert bnnsim.verify(graph, x, against=net).ok


class Others(nn.Module):
    """The same arithmetic as others write it: scaled weights, levels divided by their top."""

    def __init__(self, bits: int, style: str) -> None:
        super().__init__()
        torch.manual_seed(bits)
        self.top, self.style = 2**bits - 1, style
        self.first = nn.Conv2d(1, 6, 3, bias=False)
        self.second = nn.Conv2d(6, 5, 3)
        self.last = nn.Linear(20, 3)

    def quantized(self, x):
        if self.style == "lsq":
            return torch.round(torch.clamp(x / 0.25, 0, self.top)) * 0.25
        return torch.round(torch.clamp(x, 0, 1) * self.top) / self.top

    def weight(self, latent):
        unit = torch.tanh(latent) / torch.tanh(latent).abs().max() * 0.5 + 0.5
        return 2 * (torch.round(unit * self.top) / self.top) - 1

    def forward(self, x):
        x = self.quantized(self.first(x))
        x = nn.functional.conv2d(x, self.weight(self.second.weight), self.second.bias, padding=1)
        x = nn.functional.max_pool2d(self.quantized(x), 2)
        x = x.flatten(1)
        return nn.functional.linear(x, self.weight(self.last.weight), self.last.bias)


@pytest.mark.parametrize(("bits", "style"), [(2, "dorefa"), (4, "lsq")])
def test_nets_of_others_become_levels_and_agree_closely(bits: int, style: str) -> None:
    net = Others(bits, style).eval()
    graph = from_torch(net, (1, 6, 6))
    kind = f"uint{bits} x bipolar{bits}"
    assert dtypes(graph) == ["float32 x float32", kind, kind]
    assert any("Levels are multiplied as integers" in note for note in graph.meta["notes"])
    x = torch.randn(40, 1, 6, 6)
    with torch.no_grad():
        expected = net(x).numpy()
    got = bnnsim.run(graph, np.ascontiguousarray(x.numpy().transpose(0, 2, 3, 1))).outputs
    # A sum next to a half may round the other way; all else is within float32's rounding.
    assert (np.abs(got - expected).max(axis=1) < 1e-5).mean() > 0.9
    assert bnnsim.verify(graph, np.ascontiguousarray(x.numpy().transpose(0, 2, 3, 1))).ok


def test_rounding_of_anything_else_is_refused() -> None:
    class Bad(nn.Linear):
        def forward(self, x):
            return torch.round(super().forward(x) * 3)

    with pytest.raises(SourceError, match=r"round.*clamp\(x, 0, 1\)"):
        from_torch(Bad(4, 4), (4,))
