"""verify against torch and others, layer by layer: what differs, and which ties explain it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

import bnnsim  # noqa: E402
from bnnsim.errors import GraphError, InputError  # noqa: E402
from bnnsim.report.network import verify_blocks  # noqa: E402

IMAGE = (3, 6, 5)


class Net(nn.Module):
    """Images, two signs, a flattening to features in torch's order, and a batch norm of each."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv, self.bn = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
        self.bn1, self.last = nn.BatchNorm1d(4 * 3 * 2), nn.Linear(4 * 3 * 2, 5, bias=False)
        for layer in (self.conv, self.last):
            layer.weight.data = torch.where(layer.weight >= 0, 1.0, -1.0)
        for norm in (self.bn, self.bn1):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)

    def forward(self, x):
        y = nn.functional.max_pool2d(self.bn(self.conv(torch.sign(x))), 2)
        return self.last(torch.sign(self.bn1(y.flatten(1))))


@pytest.fixture
def net():
    return Net().eval()


@pytest.fixture
def graph(net):
    return bnnsim.load(net, input_shape=IMAGE)


def images(n: int = 7) -> np.ndarray:
    x = np.random.default_rng(n).normal(size=(n, *IMAGE[1:], IMAGE[0])).astype(np.float32)
    x[0, 0, 0, 0] = 0
    return x


def rows(result) -> dict[str, tuple[int, int]]:
    return {at.name: (at.mismatches, at.explained) for at in result.layers}


def test_every_layer_is_compared_in_the_graphs_order(net, graph):
    x = images()[1:]  # no tie
    result = bnnsim.verify(graph, x, against=net)
    assert (result.ok, result.finding, result.ties, result.notes) == (True, None, 0, ())
    assert {at.tensor for at in result.layers} == {node.output for node in graph.nodes}


def test_a_wrong_layer_is_the_finding_and_ties_do_not_hide_it(net, graph):
    x = images()
    net.bn.bias.data[2] += 0.5
    result = bnnsim.verify(graph, x, against=net)
    of = rows(result)
    assert of["sign"] == (1, 1)
    assert of["conv1"][0] == of["conv1"][1] > 0
    assert (result.ok, result.finding) == (False, "bn1")
    assert of["bn1"][0] >= len(x) * 6 * 5 > of["bn1"][1]
    said = [str(getattr(block, "text", block)) for block in verify_blocks(result.to_dict())]
    rest = of["bn1"][0] - of["bn1"][1]
    assert any(f"first difference that no tie explains: bn1, {rest} elements" in s for s in said)


def test_a_transposed_image_would_be_seen(net, graph):
    """Order matters to the comparison: the flattened features are the image's, rearranged."""
    pairs = {name: dict(pair) for name, pair in graph.meta["torch"].items()}
    assert pairs["flatten1.out"].pop("channels") == 4
    result = bnnsim.verify(graph.with_meta(torch=pairs), images()[1:], against=net)
    assert result.finding == "flatten1"


def test_a_rounding_next_to_a_threshold_explains_what_follows():
    """A shift that the tolerance allows turns one sign; a larger one is a difference of its own."""

    class Near(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(4, 3, bias=False)
            self.last.weight.data = torch.where(self.last.weight >= 0, 1.0, -1.0)

        def forward(self, x):
            return self.last(torch.sign(x + 1e-7))

    module = Near().eval()
    graph = bnnsim.load(module, input_shape=(4,))
    x = np.array([[3e-7, 1, -1, 2], [1, 1, 1, -1], [5e-3, 1, 1, 1]], np.float32)
    constant = next(n.inputs[1] for n in graph.nodes if n.op == "Bias")
    for shift, finding in ((-5e-7, None), (-1e-2, "bias")):
        moved = replace(graph.tensor(constant), data=np.full(4, shift, np.float32))
        twin = graph.with_nodes(graph.nodes, [moved])
        result = bnnsim.verify(twin, x, against=module)
        assert (result.finding, result.ok) == (finding, False)
        assert dict(rows(result))["sign"] == ((1, 1) if finding is None else (2, 0))


def test_levels_of_few_bits_have_the_factor_of_the_source():
    class Levels(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Linear(16, 3, bias=False)

        def forward(self, x):
            return self.last(torch.round(torch.clamp(x, 0, 1) * 3) / 3)

    module = Levels().eval()
    graph = bnnsim.load(module, input_shape=(16,))
    x = np.random.default_rng(0).uniform(-0.5, 1.5, (40, 16)).astype(np.float32)
    result = bnnsim.verify(graph, x, against=module)
    assert result.ok
    assert "quantize" in rows(result)
    module.forward = lambda x: module.last(torch.round(torch.clamp(x, 0, 1) * 3 + 1e-3) / 3)
    result = bnnsim.verify(graph, x, against=module)
    assert result.notes  # another program: outputs alone


@pytest.mark.parametrize("n", [1, 3, 5])
def test_a_program_for_a_fixed_batch_compares_any_number(n, net):
    program = torch.export.export(net, (torch.zeros(3, *IMAGE),))
    graph = bnnsim.load(program)
    result = bnnsim.verify(graph, images(n), against=program)
    assert (result.finding, result.images, result.notes) == (None, n, ())
    assert result.layers[-1].elements == n * 5
    assert rows(result)["sign"] == (1, 1)


def test_without_pairs_the_outputs_are_compared_and_it_is_said(net, graph, tmp_path):
    x = images()

    def outputs_only(result, why: str) -> None:
        assert [at.name for at in result.layers] == ["output"]
        assert result.notes[0] == f"compared at the outputs only: {why}"
        assert result.layers[0].mismatches == result.layers[0].explained

    other = nn.Sequential(net, nn.Identity()).eval()
    outputs_only(bnnsim.verify(graph, x, against=nn.Sequential(nn.Dropout(), other)),
                 "this is not the program that the network was imported from")  # fmt: skip
    bare = graph.with_meta(torch=None, torch_program="")
    outputs_only(bnnsim.verify(bare, x, against=net), "the network was not imported from torch")
    twin = bnnsim.verify(graph, x, against=net, mode="float16")
    assert [at.name for at in twin.layers] == ["output"]
    assert twin.notes[0] == "compared at the outputs only: the mode is not the source's own"


def test_a_stored_graph_is_compared_with_its_module(net, graph, tmp_path):
    bnnsim.save(graph, tmp_path / "net.bnn")
    result = bnnsim.verify(bnnsim.load(tmp_path / "net.bnn"), images()[1:], against=net)
    assert (result.ok, len(result.layers)) == (True, len(graph.nodes) + 1)


@pytest.mark.parametrize(
    "pair", [None, 3, {"tensor": 1, "factor": 1.0}, {"tensor": "a"},
             {"tensor": "a", "factor": 1.0, "channels": 0}],
)  # fmt: skip
def test_pairs_of_a_file_are_checked(net, graph, pair):
    broken = graph.with_meta(torch={**graph.meta["torch"], "bn1.out": pair})
    with pytest.raises(GraphError, match=r"meta.torch\['bn1.out'\]: got .*, expected a tensor, a"):
        bnnsim.verify(broken, images(), against=net)


def test_pairs_that_the_source_lacks_are_named(net, graph):
    for pair in ({"tensor": "absent", "factor": 1.0}, {"tensor": "linear", "factor": 1.0}):
        broken = graph.with_meta(torch={**graph.meta["torch"], "bn1.out": pair})
        with pytest.raises(InputError, match=r"'bn1.out' in the source: got .*, expected \(6, 5,"):
            bnnsim.verify(broken, images(), against=net)


def test_a_grid_takes_its_first_layers_out_of_the_comparison():
    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 4, 3, bias=False)
            self.conv.weight.data = torch.where(self.conv.weight >= 0, 1.0, -1.0)
            self.bn = nn.BatchNorm2d(4)

        def forward(self, x):
            return torch.where(self.bn(self.conv(x)) >= 0, 1.0, -1.0)

    module = First().eval()
    graph = bnnsim.load(module, input_shape=IMAGE, input_grid="1/256")
    x = (np.random.default_rng(1).integers(0, 256, (4, 6, 5, 3)) / 256).astype(np.float32)
    result = bnnsim.verify(graph, x, against=module)
    assert result.ok
    assert set(rows(result)) == {"bn1", "sign1", "output"}
