"""Each way in which the world's binarized modules differ, in a small module with forced ties.

`ROWS` is the table of them, printed in docs/frontends.md with what each becomes. All constants are
dyadic, so that torch is exact: where no sign meets 0, engine and torch agree to the last bit; where
one does, they differ by what sign(0) is, and `verify` counts exactly those, layer by layer.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402

import bnnsim  # noqa: E402
from bnnsim.frontends.torch_export import from_torch  # noqa: E402

EPS = 2.0**-10
IMAGES = 24
PAGE = Path(__file__).resolve().parents[2] / "docs" / "frontends.md"
START, END = "<!-- semantics -->\n", "<!-- end -->"


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

    def __init__(self, sign="zero", pad=0, alpha="none", order="conv bn", bias=False,
                 zeros=""):  # fmt: skip
        super().__init__()
        self.sign, self.pad, self.alpha = SIGNS[sign][0], pad, alpha
        self.binarize = torch.sign if zeros == "kept" else plus
        self.order = order.split()
        self.latent = nn.Parameter(torch.randn(8, 3, 3, 3))
        if zeros:
            self.latent.data[:, 0, 1] = 0
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
        bits = self.binarize(self.latent)
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
            "shift": lambda x: x + self.scale.expand_as(x),
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


@dataclass(frozen=True)
class Row:
    """A convention, public code that has it, and the block that stands for it."""

    convention: str
    code: str
    options: dict[str, Any] = field(default_factory=dict, hash=False)

    @property
    def is_plus(self) -> bool:
        """Whether its signs are +1 at 0, as the engine's."""
        return SIGNS[self.options.get("sign", "zero")][1]


TORCH = "most torch code"
ROWS = [
    Row("sign(0) = 0: `x.sign()`", "Bi-Real-net, ReActNet, BinaryNet.pytorch, XNOR-Net-PyTorch"),
    Row("sign(0) = 0, around a straight-through estimator", "Bi-Real-net", {"sign": "ste"}),
    Row("sign(0) = 0, the estimator added last", "`tanh` as slope", {"sign": "late"}),
    Row("sign(0) = 0, the estimator subtracted", "`x - (x - sign).detach()`", {"sign": "early"}),
    Row("sign(0) = 0, after a hardtanh", "BinaryNet.pytorch", {"sign": "clamped"}),
    Row("sign(0) = -1: `(x > 0) * 2 - 1`", "home-made code", {"sign": "greater"}),
    Row("sign(0) = +1: `where(x >= 0, 1, -1)`", "Brevitas, `bnnsim.train`", {"sign": "plus"}),
    Row("sign(0) = +1: `sign(sign(x) + 0.1)`", "larq", {"sign": "twice"}),
    Row("sign(0) = +1, the same as a chain of methods", "larq, in torch", {"sign": "chained"}),
    Row("sign(0) = +1: zeros replaced", "bitorch", {"sign": "filled"}),
    Row("sign(0) = 0 of weights, some of them 0", TORCH, {"zeros": "kept"}),
    Row("sign(0) = +1 of weights, some of them 0", "Brevitas, larq", {"zeros": "plus"}),
    Row("padding by 0", TORCH + ", larq's default", {"pad": 0}),
    Row("padding by +1", "QuickNet", {"pad": 1}),
    Row("padding by +1, sign(0) = +1", "QuickNet", {"pad": 1, "sign": "plus"}),
    Row("padding by -1", "bitorch's default, daBNN", {"pad": -1}),
    Row("padding by -1, sign(0) = +1", "bitorch", {"pad": -1, "sign": "plus"}),
    Row("alpha per channel, in the weights", "XNOR-Net, Bi-Real-net", {"alpha": "channel"}),
    Row("alpha per layer", "DoReFa, larq's zoo", {"alpha": "layer", "pad": 1}),
    Row("alpha learned, after the convolution", "binary-networks-pytorch",
        {"alpha": "learned", "pad": -1}),
    Row("pool before batch norm", "BinaryNet, larq's VGG", {"order": "conv pool bn"}),
    Row("pool after batch norm", "home-made code", {"order": "conv bn pool"}),
    Row("pool after sign", "Brevitas CNV, BNN-PYNQ", {"order": "conv bn sign pool"}),
    Row("ReLU before batch norm", "QuickNet", {"order": "conv relu bn"}),
    Row("ReLU and pool before batch norm", "XNOR-Net-PyTorch", {"order": "conv relu pool bn"}),
    Row("hardtanh before sign and pool", "BinaryNet.pytorch", {"order": "conv bn hardtanh pool"}),
    Row("bias of the convolution", "BinaryNet.pytorch", {"bias": True}),
    Row("bias, alpha and ReLU", "XNOR-Net-PyTorch",
        {"bias": True, "alpha": "channel", "order": "conv relu bn"}),
    Row("PReLU with negative slopes, after batch norm", "ReActNet", {"order": "conv bn prelu"}),
    Row("PReLU with negative slopes, before batch norm", "home-made code",
        {"order": "conv prelu bn"}),
    Row("bias, pool, PReLU, sign(0) = +1", "home-made code",
        {"bias": True, "sign": "plus", "order": "conv pool prelu bn"}),
    Row("a learned threshold: shift before sign", "ReActNet's RSign", {"order": "conv bn shift"}),
    Row("PReLU between shifts", "ReActNet's RPReLU", {"order": "conv bn shift prelu shift"}),
]  # fmt: skip


@cache
def lowered(row: Row, seed: int):
    """Return a row's module and its graph."""
    torch.manual_seed(seed)
    module = Block(**row.options).eval()
    return module, from_torch(module, (3, 8, 6))


def is_sign(graph, layer) -> bool:
    return layer.tensor in {n.output for n in graph.nodes if n.op == "Quantize"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.convention.replace(" ", "_"))
def test_engine_equals_reference_and_torch_but_for_ties(row, seed):
    module, graph = lowered(row, seed)
    weight = "ternary" if row.options.get("zeros") == "kept" else "bit"
    assert str(graph.tensor("conv1.weight").dtype) == weight
    x = inputs()
    ours = np.ascontiguousarray(x.permute(0, 2, 3, 1).numpy())
    assert bnnsim.verify(graph, ours).ok
    tied, _ = ties_of(module, x)
    assert tied.any()
    with torch.no_grad():
        expected = module(x).numpy()
    found = bnnsim.run(graph, ours).outputs
    differs = (found != expected).any(axis=1)
    assert not differs[~tied].any()
    notes = [note for note in graph.meta["notes"] if "sign that is not +1 at 0" in note]
    assert bool(notes) != row.is_plus
    assert differs.any() != row.is_plus
    report = bnnsim.verify(graph, ours, against=module)
    assert_differs_in_ties_alone(report, graph, row)
    if not tied.all():
        assert bnnsim.verify(graph, ours[~tied], against=module).ok
    plain, module.sign = module.sign, plus
    with torch.no_grad():  # torch computes what the engine does, and meets the ties that it counts
        assert (module(x).numpy() == found).all()
    assert ties_of(module, x)[1] == report.ties > 0
    module.sign = plain


def assert_differs_in_ties_alone(report, graph, row) -> None:
    """Check the layers of a report: a sign with a tie differs there, what follows because of it."""
    assert not report.notes
    assert (report.ok, report.finding) == (row.is_plus, None)
    made = {n.output for n in graph.nodes if n.op in ("Conv2d", "BatchNorm", "MaxPool", "Quantize")}
    seen = {layer.tensor for layer in report.layers}
    scaled = {n.inputs[0] for n in graph.nodes if n.op in ("Scale", "Bias", "Affine")}
    assert made - scaled <= seen
    signs = [layer for layer in report.layers if is_sign(graph, layer)]
    assert signs[0].mismatches == (0 if row.is_plus else signs[0].ties)
    assert signs[0].ties > 0
    assert sum(layer.ties for layer in signs) == report.ties
    for layer in report.layers:
        assert layer.explained == layer.mismatches
        assert layer.max_abs_difference == 0 or not row.is_plus


def became(graph) -> str:
    """Return a graph's ops in order, with what tells the conventions apart."""
    words = []
    for node in graph.nodes:
        weight = graph.tensors.get(f"{node.name}.weight")
        pad = f", pad {node.attrs['pad_value']:+d}" if node.attrs.get("pad_value") else ""
        words.append(node.op if weight is None else f"{node.op}({weight.dtype}{pad})")
    return " ".join(words).replace("Quantize", "Sign")


def table(seed: int) -> str:
    """Return the table of the page."""
    lines = ["| convention | as in | becomes | differs from torch |", "|---|---|---|---|"]
    for row in ROWS:
        graph = lowered(row, seed)[1]
        where = "nowhere" if row.is_plus else "at ties"
        lines.append(f"| {row.convention} | {row.code} | {became(graph)} | {where} |")
    return "\n".join(lines) + "\n"


def test_the_page_has_the_table(seed):
    before, rest = PAGE.read_text(encoding="utf-8").split(START)
    held, after = rest.split(END, 1)
    made = table(seed)
    if os.environ.get("BNNSIM_UPDATE_DOCS") == "1":
        PAGE.write_text(f"{before}{START}{made}{END}{after}", encoding="utf-8")
        return
    assert held == made, "run BNNSIM_UPDATE_DOCS=1 pytest tests/frontends/test_torch_semantics.py"


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
