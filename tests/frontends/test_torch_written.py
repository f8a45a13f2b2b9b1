"""Forms that public training code writes: assignments to data, old functions, split means.

The modules are ours; each has one form that torch.export alone loses or refuses.
"""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch_nets import shaken  # noqa: E402

import bnnsim  # noqa: E402
from bnnsim.errors import SourceError  # noqa: E402
from bnnsim.frontends.torch_export import from_torch  # noqa: E402

ROUNDING = 2e-5  # of float ends and batch norms, relative to the largest output


@pytest.fixture(autouse=True)
def _seeded(seed: int):
    torch.manual_seed(seed)


class Assigned(nn.Conv2d):
    """Signs assigned to the data of input and weight, latent weights in a buffer."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.register_buffer("latent", self.weight.data.clone())

    def forward(self, x):
        if x.size(1) != 3:
            x.data = x.data.sign()
        self.weight.data = self.latent.sign()
        y = functional.conv2d(x, self.weight, None, self.stride, self.padding)
        y += self.bias.view(1, -1, 1, 1).expand_as(y)
        return y


class Unread(nn.Conv2d):
    """The sign of an input assigned without reading its data."""

    def forward(self, x):
        x.data = torch.sign(x)
        self.weight.data = torch.sign(self.weight)
        return super().forward(x)


class OldSign(torch.autograd.Function):
    """A function as torch 0.4 had them: methods of an instance, two results."""

    def forward(self, x):
        self.save_for_backward(x)
        return x.sign(), x.abs().mean(1, keepdim=True)


class Centred(nn.Module):
    """Latent weights centred and clamped in place, the signs copied into the convolution."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3)
        self.latent = nn.Parameter(self.conv.weight.data.clone() * 9)

    def forward(self, x):
        x, _ = OldSign()(x)
        self.latent.data = self.latent.data - self.latent.data.mean(1, keepdim=True)
        self.latent.data.clamp_(-1, 1)
        alpha = self.latent.abs().flatten(1).mean(1, keepdim=True)
        self.conv.weight.data.copy_(self.latent.data.sign() * alpha.view(-1, 1, 1, 1))
        return self.conv(x)


class SplitMean(nn.Module):
    def forward(self, x):
        return x.mean(dim=2).mean(dim=2)


def assigned():
    return nn.Sequential(
        Assigned(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.Hardtanh(inplace=True),
        Assigned(16, 24, 3), nn.BatchNorm2d(24), SplitMean(), nn.Linear(24, 5))  # fmt: skip


def unread():
    return nn.Sequential(
        nn.Conv2d(3, 9, 3), nn.BatchNorm2d(9), Unread(9, 8, 3), nn.BatchNorm2d(8),
        nn.Flatten(), nn.Linear(8 * 64, 5))  # fmt: skip


def centred():
    return nn.Sequential(
        nn.Conv2d(3, 9, 3), nn.BatchNorm2d(9), Centred(9, 8), nn.BatchNorm2d(8), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))  # fmt: skip


NETS = {"assigned": (assigned, 1), "unread": (unread, 1), "centred": (centred, 1)}


def imported(module, side=12, images=6):
    """Return graph, inputs and outputs of graph and module, which is left as it was."""
    module = shaken(module).eval()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    graph = from_torch(module, (3, side, side))
    assert all(torch.equal(before[key], value) for key, value in module.state_dict().items())
    x = torch.randn(images, 3, side, side)
    ours = np.ascontiguousarray(x.permute(0, 2, 3, 1).numpy())
    assert bnnsim.verify(graph, ours).ok
    return graph, bnnsim.run(graph, ours).outputs, x


def pairs_of(graph):
    layers = [node for node in graph.nodes if node.op in ("Dense", "Conv2d")]
    return [tuple(str(graph.tensor(t).dtype) for t in node.inputs) for node in layers]


@pytest.mark.parametrize("name", ["assigned", "unread"])
def test_assignments_to_data_are_what_the_module_means(name):
    build, bits = NETS[name]
    module = build()
    graph, found, x = imported(module)
    with torch.no_grad():
        expected = module(x).numpy()
    assert pairs_of(graph).count(("bit", "bit")) == bits
    assert np.abs(found - expected).max() <= ROUNDING * np.abs(expected).max()


def test_old_functions_and_writes_to_parameters_are_followed():
    module = shaken(centred()).eval()
    x = np.random.default_rng(1).standard_normal((4, 12, 12, 3)).astype(np.float32)
    graph = from_torch(module, (3, 12, 12))
    assert pairs_of(graph).count(("bit", "bit")) == 1
    latent = module[2].latent.detach()
    kept = (latent - latent.mean(1, keepdim=True)).clamp(-1, 1)
    (node,) = [n for n in graph.nodes if n.op == "Conv2d" and n.inputs[0] != "input"]
    expected = kept.sign().permute(0, 2, 3, 1).numpy()
    assert np.array_equal(graph.tensor(node.inputs[1]).data, expected)
    assert bnnsim.verify(graph, x, against=module).ok  # calls the old function, too


class Rectified(nn.Module):
    def __init__(self, pool):
        super().__init__()
        self.pool = pool
        self.conv = nn.Conv2d(3, 8, 3)
        self.next = nn.Conv2d(8, 5, 3, bias=False)

    def forward(self, x):
        signs = torch.sign(self.pool(torch.relu(self.conv(x))))
        return functional.conv2d(signs, self.next.weight.sign())


@pytest.mark.parametrize("pool", [nn.MaxPool2d(2), nn.AvgPool2d(2), nn.Identity()])
def test_the_sign_of_a_rectified_value_is_0_or_1(pool):
    module = Rectified(pool).eval()
    graph = from_torch(module, (3, 12, 12), sign_zero="error")  # nothing at 0 is lost
    x = torch.randn(5, 3, 12, 12)
    with torch.no_grad():
        expected = module(x).numpy()
    ours = np.ascontiguousarray(x.permute(0, 2, 3, 1).numpy())
    found = bnnsim.run(graph, ours).outputs.transpose(0, 3, 1, 2)
    assert (found == expected).all()
    assert (functional.relu(module.conv(x)) == 0).any()
    assert pairs_of(graph)[1] == ("uint1", "bit")


class Parts(nn.Module):
    """Channels taken apart by split, chunk and sizes; tanh; view_as; halves joined again."""

    def forward(self, x):
        a, b = x.split(5, dim=1)
        c, d, e = b.chunk(3, dim=1)
        f, g = torch.split(a, [2, 3], dim=1)
        joined = torch.cat([e, f, torch.tanh(g), c, d.contiguous().view_as(d)], dim=1)
        top, bottom = joined.chunk(2, dim=2)
        return top * bottom


def test_parts_of_channels_and_rows_are_slices():
    module = nn.Sequential(nn.Conv2d(3, 8, 3), Parts())
    graph, found, x = imported(module)
    with torch.no_grad():
        expected = module(x).permute(0, 2, 3, 1).numpy()
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= ROUNDING * np.abs(expected).max()
    assert not any("tanh" in node.op.lower() for node in graph.nodes)


class HalfOnly(nn.Module):
    def forward(self, x):
        return x.mean(dim=2) * 2


def test_a_mean_over_rows_alone_is_refused():
    with pytest.raises(SourceError, match="the mean over the other axis of the image right after"):
        from_torch(HalfOnly(), (3, 8, 8))


class Shifted(nn.Module):
    """AdaBin's weights: two values per output channel around a centre that is not 0."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3, 3, 3))

    def forward(self, x):
        return functional.conv2d(torch.sign(x), self.weight.sign() * 0.5 + 0.3127)


def test_layers_that_look_binarized_and_stay_float_are_noted():
    notes = " ".join(from_torch(Shifted(), (3, 8, 8)).meta["notes"])
    assert "two values per output channel, but not -a and +a" in notes
    latent = nn.Sequential(nn.Conv2d(3, 4, 3), Unsigned(), nn.Conv2d(4, 4, 3))
    notes = " ".join(from_torch(latent, (3, 8, 8)).meta["notes"])
    assert "its inputs are signs, its weights are floats" in notes
    assert "--latent" in notes


class Unsigned(nn.Module):
    def forward(self, x):
        return torch.sign(x)
