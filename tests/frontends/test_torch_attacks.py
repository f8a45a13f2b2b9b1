"""Odd torch modules: what they become computes what they do, or is refused by name."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import torch.nn.functional as F  # noqa: E402, N812
from torch import nn  # noqa: E402

from bnnsim import api  # noqa: E402
from bnnsim.engine.reference import execute  # noqa: E402
from bnnsim.errors import SourceError  # noqa: E402


def sign(x):
    return torch.where(x >= 0, 1.0, -1.0)


class Module(nn.Module):
    """A function of an image of 6 channels with binary, integer and normalizing constants."""

    def __init__(self, function, rng):
        super().__init__()
        self.function = function
        self.bits = nn.Parameter(self.random(rng, [-1, 1], (6, 6, 3, 3)))
        self.grouped = nn.Parameter(self.random(rng, [-1, 1], (6, 2, 3, 3)))
        self.whole = nn.Parameter(self.random(rng, range(-3, 4), (6, 6, 3, 3)))
        self.huge = nn.Parameter(self.random(rng, [-1, 1], (4, 6, 15, 15)))
        self.bn, self.plain = nn.BatchNorm2d(6), nn.BatchNorm2d(6, affine=False)
        for bn in (self.bn, self.plain):
            bn.running_mean.copy_(self.random(rng, range(-3, 4), 6))
            bn.running_var.copy_(self.random(rng, [0.25, 1, 4], 6))
        self.bn.weight.data.copy_(torch.tensor([0.0, -2, -1, 0.5, 1, 2]))
        self.bn.bias.data.copy_(self.random(rng, [-0.5, 0.25, 1], 6))

    @staticmethod
    def random(rng, values, shape):
        return torch.from_numpy(rng.choice(np.array(list(values), np.float32), shape))

    def forward(self, x):
        return self.function(self, x)


EXACT = {
    "one convolution called twice": lambda m, x: F.conv2d(
        sign(m.bn(F.conv2d(sign(x), m.bits, padding=1))), m.bits
    ),
    "a sign of a sum of branches": lambda m, x: F.conv2d(
        sign(F.conv2d(sign(x), m.bits, padding=1) + F.conv2d(sign(x), m.whole, padding=1)), m.bits
    ),
    "bits added to themselves": lambda m, x: F.conv2d(sign(sign(x) + sign(x)), m.bits),
    "gamma 0 and negative before a pool": lambda m, x: F.conv2d(
        F.max_pool2d(sign(m.bn(F.conv2d(sign(x), m.bits, padding=1))), 2), m.bits
    ),
    "a batch norm without gamma, twice": lambda m, x: sign(m.plain(m.plain(x))),
    "groups, dilation, stride and uneven pads": lambda m, x: F.conv2d(
        F.pad(sign(x), (1, 2, 0, 3)), m.grouped, groups=3, dilation=2, stride=(2, 1)
    ),
    "an average before a sign": lambda m, x: F.conv2d(
        sign(F.avg_pool2d(F.conv2d(sign(x), m.bits, padding=1), 2)), m.bits
    ),
    "levels rounded, then clamped": lambda m, x: F.conv2d(
        torch.clamp(torch.round(x / 0.25 + 0.0), -8, 7) * 0.25, m.whole
    ),
    "levels rounded, then clamped narrowly": lambda m, x: F.conv2d(
        torch.clamp(torch.round(x / 0.5), -7, 7) * 0.5, m.whole
    ),
    "unsigned levels rounded, then clamped": lambda m, x: F.conv2d(
        torch.clamp(torch.round(F.relu(x) / 0.25), 0, 5) * 0.25, m.whole
    ),
    "levels clamped narrowly, then rounded": lambda m, x: F.conv2d(
        torch.round(torch.clamp(x, -3, 3)), m.whole
    ),
    "a kernel larger than the image": lambda m, x: F.conv2d(sign(x), m.huge, padding=7, stride=4),
    "a difference of activations": lambda m, x: sign(x - F.relu(x) * 2 - m.bn.running_mean[0]) - x,
    "a shuffle of bits by views": lambda m, x: F.conv2d(
        sign(x).view(-1, 2, 3, 8, 8).transpose(1, 2).reshape(-1, 6, 8, 8), m.bits
    ),
    "a shuffle of scaled bits by views": lambda m, x: F.conv2d(
        (sign(x) * 0.5).view(-1, 3, 2, 8, 8).transpose(1, 2).reshape(-1, 6, 8, 8), m.bits
    ),
    "a sign that falls": lambda m, x: torch.where(x <= 0, 1.0, -1.0),
    "a sign that falls, at 0 too": lambda m, x: -sign(x),
    "a falling sign of a clipping": lambda m, x: torch.where(F.hardtanh(x) <= 0, 1.0, -1.0),
    "a falling sign of a clipping at 0": lambda m, x: torch.where(x.clamp(0, 1) <= 0, 1.0, -1.0),
    "signs of clippings that matter": lambda m, x: (
        sign(x.clamp(0.5, 1)) + sign(x.clamp(-1, -0.0)) + sign(x.clamp(0, 1))
    ),
}


def compared(module, rng, size=8):
    """Return torch's outputs and the engine's, which equals the reference."""
    graph = api.load(module, input_shape=(6, size, size))
    x = (rng.integers(-16, 17, (7, size, size, 6)) / 8).astype(np.float32)
    got = api.run(graph, x).outputs
    assert (got == execute(graph, x, keep=())[graph.outputs[0]]).all()
    with torch.no_grad():
        want = module(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()
    return want, got.transpose(0, 3, 1, 2), graph


@pytest.mark.parametrize("name", EXACT)
def test_odd_modules_equal_torch_to_the_bit(name, rng):
    want, got, _ = compared(Module(EXACT[name], rng).eval(), rng)
    assert want.shape == got.shape
    assert (want == got).all()
    assert len(np.unique(want)) > 1, "the case shows nothing"


@pytest.mark.parametrize("name", [n for n in EXACT if "levels" in n or "shuffle" in n])
def test_levels_reach_their_layer_as_integers(name, rng):
    graph = compared(Module(EXACT[name], rng).eval(), rng)[2]
    (conv,) = [node for node in graph.nodes if node.op == "Conv2d"]
    assert graph.activation(conv).dtype.is_integer


def test_a_falling_sign_gives_bits_and_no_affine(rng):
    graph = compared(Module(EXACT["a sign that falls"], rng).eval(), rng)[2]
    assert [node.op for node in graph.nodes] == ["Scale", "Quantize"]


def test_an_image_of_one_pixel(rng):
    function = lambda m, x: sign(m.bn(F.conv2d(sign(x), m.bits, padding=1)))  # noqa: E731
    want, got, _ = compared(Module(function, rng).eval(), rng, size=1)
    assert (want == got).all()


REFUSED = {
    "a view that repeats, at the end": (
        lambda m, x: F.relu(F.adaptive_avg_pool2d(x, 1).expand(-1, -1, 4, 4)),
        r"node 'relu'.*expected \(6, 4, 4\), as the source has it: repeated elements only in prod",
    ),
    "a view that repeats, before a convolution": (
        lambda m, x: F.conv2d(F.adaptive_avg_pool2d(x, 1).expand(-1, -1, 4, 4), m.bits, padding=1),
        r"node 'conv2d'.*expected \(6, 4, 4\), as the source has it",
    ),
    "rounding without a clamp": (
        lambda m, x: F.conv2d(torch.round(m.plain(x)), m.bits),
        r"node 'round.*got 'a rounded value', expected round.*, or a clamp to integers around",
    ),
    "rounding and a clamp to no integer": (
        lambda m, x: torch.clamp(torch.round(m.plain(x)), -0.5, 7.0),
        r"node 'clamp'.*of a rounded value to \[-0.5, 7.0\]', expected integers, at most 0",
    ),
    "weights that are no number": (
        lambda m, x: F.conv2d(sign(x), m.bits / 0 * 0),
        "node 'conv2d'.*got 'values that are not finite', expected finite float32 weights",
    ),
    "activations of 64 bits": (
        lambda m, x: F.conv2d(sign(x).double(), m.bits.double()).float(),
        "float64",
    ),
    "a sum that repeats a pixel": (
        lambda m, x: x + F.adaptive_avg_pool2d(x, 1), r"of \(6, 8, 8\) and \(6, 1, 1\)"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_meaning_is_refused_by_node(name, rng):
    function, text = REFUSED[name]
    with pytest.raises(SourceError, match=text):
        api.load(Module(function, rng).eval(), input_shape=(6, 8, 8))
