"""Each way in which the world's binarized modules differ, in a small module with forced ties.

All constants are dyadic, so that torch is exact: where no sign meets 0, engine and torch agree to
the last bit; where one does, they differ by what sign(0) is, and `verify` counts exactly those.
"""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

import bnnsim  # noqa: E402
from bnnsim.frontends.torch_export import from_torch  # noqa: E402

EPS = 2.0**-10
IMAGES = 24


def plus(x):
    return torch.where(x >= 0, 1.0, -1.0)


SIGNS = {
    "zero": (torch.sign, False),
    "plus": (plus, True),
    "twice": (lambda x: torch.sign(torch.sign(x) + 0.1), True),
    "chained": (lambda x: x.sign().add(0.1).sign(), True),
    "greater": (lambda x: (x > 0).float() * 2 - 1, False),
    "filled": (lambda x: torch.where(x.sign() == 0, torch.ones_like(x), x.sign()), True),
    "clamped": (lambda x: functional.hardtanh(x).sign(), False),
    "ste": (lambda x: x.clamp(-1, 1) + (x.sign() - x.clamp(-1, 1)).detach(), False),
    "late": (lambda x: x.sign().detach() + x.tanh() - x.tanh().detach(), False),
    "early": (lambda x: x.clone() - (x.detach() - x.sign()), False),
}


class Block(nn.Module):
    """Sign, padded conv of bits, what a recipe puts behind it, sign, dense of bits."""

    def __init__(self, sign="zero", pad=0, alpha="none", order="conv bn", bias=False):
        super().__init__()
        self.sign, self.pad, self.alpha = SIGNS[sign][0], pad, alpha
        self.order = order.split()
        self.latent = nn.Parameter(torch.randn(8, 3, 3, 3))
        self.head = nn.Parameter(torch.randn(5, 8 * 4 * 3))
        self.bias = nn.Parameter(torch.randint(-2, 3, (8,)).float()) if bias else None
        self.scale = nn.Parameter(2.0 ** torch.randint(-2, 2, (1, 8, 1, 1)))
        self.slope = nn.Parameter(torch.tensor([-0.5, 0.25, -1, 0, 0.5, -0.25, 1, 2]))
        self.bn = nn.BatchNorm2d(8, eps=EPS)
        self.bn.weight.data = torch.tensor([1.0, -1, 2, 0.5, -2, 1, 0, -0.5])
        self.bn.bias.data = torch.tensor([0.0, 0, 1, 0, -1, 0.5, 0, 0])
        self.bn.running_mean.data = torch.randint(-2, 3, (8,)).float()
        self.bn.running_var.data.fill_(4 - EPS)

    def weight(self):
        bits = plus(self.latent)
        if self.alpha == "channel":
            return bits * self.scale.view(8, 1, 1, 1)
        return bits * 0.5 if self.alpha == "layer" else bits

    def step(self, name, x):
        if name == "conv":
            if self.pad:
                x = functional.conv2d(functional.pad(x, (1, 1, 1, 1), value=float(self.pad)),
                                      self.weight(), self.bias)  # fmt: skip
            else:
                x = functional.conv2d(x, self.weight(), self.bias, padding=1)
            return x * self.scale if self.alpha == "learned" else x
        if name == "pool":
            return functional.max_pool2d(x, 2)
        return {
            "bn": self.bn,
            "sign": self.sign,
            "relu": torch.relu,
            "hardtanh": functional.hardtanh,
            "prelu": lambda x: functional.prelu(x, self.slope),
            "dropout": functional.dropout if self.training else lambda x: x,
        }[name](x)

    def forward(self, x):
        x = self.sign(x)
        for name in self.order:
            x = self.step(name, x)
        if "pool" not in self.order:
            x = functional.max_pool2d(x, 2)
        return functional.linear(self.sign(x.flatten(1)), plus(self.head))


def ties_of(module, x) -> tuple[np.ndarray, int]:
    """Return which images meet a sign at exactly 0 in torch, and how many elements do."""
    met, plain = [], module.sign

    def watching(value):
        met.append((value == 0).flatten(1))
        return plain(value)

    module.sign = watching
    with torch.no_grad():
        module(x)
    module.sign = plain
    found = torch.cat(met, dim=1)
    return found.any(dim=1).numpy(), int(found.sum())


def inputs(n=IMAGES):
    """Return images of small integers, the last third of them without a zero."""
    x = torch.randint(-2, 3, (n, 3, 8, 6)).float()
    x[2 * n // 3 :] += torch.where(x[2 * n // 3 :] == 0, 1.0, 0.0)
    return x


CASES = [
    *({"sign": sign} for sign in SIGNS),
    *({"sign": sign, "pad": pad} for sign in ("zero", "plus") for pad in (1, -1)),
    *({"alpha": alpha, "pad": pad} for alpha, pad in
      (("channel", 0), ("layer", 1), ("learned", -1))),
    *({"order": order} for order in (
        "conv pool bn", "conv bn pool", "conv bn sign pool", "conv relu bn", "conv relu pool bn",
        "conv bn hardtanh pool", "conv bn prelu", "conv prelu bn")),
    {"bias": True, "alpha": "channel", "order": "conv relu bn"},
    {"bias": True, "sign": "plus", "order": "conv pool prelu bn"},
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_engine_equals_reference_and_torch_but_for_ties(case, seed):
    torch.manual_seed(seed)
    module = Block(**case).eval()
    graph = from_torch(module, (3, 8, 6))
    assert str(graph.tensor(graph.nodes[1].inputs[1]).dtype) == "bit"
    x = inputs()
    ours = np.ascontiguousarray(x.permute(0, 2, 3, 1).numpy())
    assert bnnsim.verify(graph, ours).ok
    report = bnnsim.verify(graph, ours, against=module)
    tied, _ = ties_of(module, x)
    assert tied.any()
    with torch.no_grad():
        expected = module(x).numpy()
    found = bnnsim.run(graph, ours).outputs
    differs = (found != expected).any(axis=1)
    assert not differs[~tied].any()
    is_plus = SIGNS[case.get("sign", "zero")][1]
    notes = [note for note in graph.meta["notes"] if "sign that is not +1 at 0" in note]
    assert bool(notes) != is_plus
    assert report.ok == is_plus
    assert differs.any() != is_plus
    module.sign = plus  # torch computes what the engine does, and meets the ties that it counts
    with torch.no_grad():
        assert (module(x).numpy() == found).all()
    assert ties_of(module, x)[1] == report.ties > 0


def test_a_few_steps_of_training_change_nothing(seed):
    torch.manual_seed(seed)
    module = Block(sign="ste", order="conv pool bn").train()
    latent = module.latent
    module.weight = lambda: plus(latent).detach() - latent.detach() + latent
    optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
    for _ in range(3):
        loss = functional.cross_entropy(module(inputs()), torch.randint(0, 5, (IMAGES,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    graph = from_torch(module.eval(), (3, 8, 6))
    assert str(graph.tensor("conv1.weight").dtype) == "bit"
    x = inputs()
    ours = np.ascontiguousarray(x.permute(0, 2, 3, 1).numpy())
    assert bnnsim.verify(graph, ours).ok
    with torch.no_grad():
        module.sign = plus
        assert (module(x).numpy() == bnnsim.run(graph, ours).outputs).all()
