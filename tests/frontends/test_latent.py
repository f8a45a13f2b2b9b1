"""Latent weights: floats in the file that training binarized outside of the forward pass."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from bnnsim import api  # noqa: E402
from bnnsim.engine.reference import execute  # noqa: E402
from bnnsim.errors import InputError, SourceError  # noqa: E402


class Net(nn.Module):
    """The structure of XNOR-Net's port: the weights are real in the forward pass."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 5, 3), nn.Linear(36, 4)
        self.bn, self.conv = nn.BatchNorm2d(5, affine=False), nn.Conv2d(5, 4, 3, padding=1)
        self.bn1, self.grouped = nn.BatchNorm2d(4), nn.Conv2d(4, 4, 2, groups=2, stride=2)

    def forward(self, x):
        x = torch.sign(self.bn(self.first(x)))
        x = torch.sign(self.bn1(self.conv(x).relu()))
        return self.last(self.grouped(x).flatten(1))


def binarized(weight, *, centered: bool):
    """Return what BinOp writes into a weight, in float64 where it sums."""
    if centered:
        weight = (weight - weight.double().mean(1, keepdim=True).float()).clamp(-1, 1)
    alpha = weight.abs().double().flatten(1).mean(1).float()
    return torch.where(weight >= 0, 1.0, -1.0) * alpha.reshape(-1, *[1] * (weight.dim() - 1))


@pytest.fixture
def net(rng):
    torch.manual_seed(int(rng.integers(1 << 30)))
    with torch.no_grad():
        module = Net().eval()
        module.conv.weight[0, 0, 0] = 0.0  # three zeros
        module.bn1.weight.copy_(torch.tensor([-1.0, 0.5, 2.0, 0.0]))
        module.bn1.bias.copy_(torch.tensor([0.3, -0.2, -0.1, 0.1]))  # no sign of 0 is met
        module.grouped.weight.mul_(8)  # some beyond the clamp
    return module


@pytest.mark.parametrize("centered", [False, True])
def test_named_layers_compute_what_the_binarized_module_does(net, centered, rng):
    names = ("conv2", "conv3")
    graph = api.load(net, input_shape=(3, 8, 8), latent=names, centered=centered)
    x = rng.standard_normal((20, 8, 8, 3)).astype(np.float32)
    got = api.run(graph, x).outputs
    assert (got == execute(graph, x, keep=())[graph.outputs[0]]).all()
    kinds = {row.name: row.kind for row in api.inspect(graph).layers if row.weight_dtype}
    assert kinds == {"conv1": "float", "conv2": "binary", "conv3": "binary", "dense4": "float"}
    with torch.no_grad():
        for layer in (net.conv, net.grouped):
            layer.weight.copy_(binarized(layer.weight, centered=centered))
        want = net(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()
    assert np.abs(got - want).max() < 1e-4
    assert len(np.unique(want)) > 10


def test_each_layer_has_a_note_with_its_zeros(net):
    graph = api.load(net, input_shape=(3, 8, 8), latent=["conv[23]"])
    notes = [note for note in graph.meta["notes"] if "latent floats" in note]
    assert notes == [
        "conv2: latent floats in file; binarized as sign*alpha; 3 zeros, made +1.",
        "conv3: latent floats in file; binarized as sign*alpha; 0 zeros.",
    ]
    graph = api.load(net, input_shape=(3, 8, 8), latent=["conv3"], centered=True)
    assert "clamped; 0 zeros." in graph.meta["notes"][-1]
    assert not [node for node in graph.nodes if node.op == "Cast" and "conv3" in node.output]


def test_a_cast_that_another_layer_reads_stays(net, rng):
    graph = api.load(net, input_shape=(3, 8, 8))
    casts = [node.op for node in graph.nodes].count("Cast")
    named = api.load(graph, latent=["conv2"])
    assert [node.op for node in named.nodes].count("Cast") == casts - 1
    assert len({node.id for node in named.nodes}) == len(named.nodes)


def test_what_the_patterns_cannot_mean_is_refused(net):
    floats = r"layer of float weights: conv1, conv2, conv3, dense4\. Did you mean"
    with pytest.raises(InputError, match=rf"--latent: got 'cnv2', expected a pattern.*{floats}"):
        api.load(net, input_shape=(3, 8, 8), latent=["conv3", "cnv2"])
    plain = api.load(net, input_shape=(3, 8, 8))
    with pytest.raises(SourceError, match="conv2: got '3 latent weights of 0', expected weights"):
        api.load(plain, latent=["conv2"], sign_zero="error")
    with pytest.raises(InputError, match="centered: got True, expected layers to binarize"):
        api.load(net, input_shape=(3, 8, 8), centered=True)
    with pytest.raises(InputError, match="float weights: none here"):
        api.load("zoo:mnist-convnet:trained", latent=["*"])
    with pytest.raises(SourceError, match="resnet20: conv1: got 'no weights'"):
        api.load("zoo:resnet20", latent=["conv1"])
