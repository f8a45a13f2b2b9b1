from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch_nets import Do, assert_exact, ops, run, shaken  # noqa: E402

import bnnsim  # noqa: E402
from bnnsim.errors import SourceError  # noqa: E402
from bnnsim.frontends.torch_export import from_pt2, from_python, from_torch  # noqa: E402
from bnnsim.train.layers import BinaryConv2d, BinaryDense, Dropout, InputEncoding, Sign  # noqa: E402
from bnnsim.train.models import convnet, mlp  # noqa: E402
from bnnsim.train.norm import BatchNorm  # noqa: E402


@pytest.fixture(autouse=True)
def _seeded(seed: int):
    torch.manual_seed(seed)


@pytest.mark.parametrize("width", [1, 63, 65])
def test_mlp_equals_torch(width: int) -> None:
    module = shaken(mlp(inputs=31, hidden=width, depth=2, classes=7, hidden_dropout=0.5))
    graph = assert_exact(module, (31,))
    assert [n.name for n in graph.nodes] == [
        *("encode", "dense1", "bn1", "sign1", "dense2", "bn2", "sign2", "dense3", "bn3"),
    ]
    assert [n.id for n in graph.nodes] == list(range(9))
    assert str(graph.tensor("encode.table").dtype) == "int16"
    assert all(str(graph.tensor(f"dense{i}.weight").dtype) == "bit" for i in (1, 2, 3))
    pairs = graph.meta["torch"]
    assert set(pairs) == {n.output for n in graph.nodes}
    assert graph.with_meta(torch=None, torch_program=None).meta == {
        "torch": None,
        "torch_program": None,
        "source": "torch:Sequential",
        "source_kind": "torch",
        "decision": "argmax",
        "notes": [],
    }


def test_graph_keeps_its_values_when_the_module_is_trained_on() -> None:
    module = shaken(nn.Sequential(*mlp(inputs=31, hidden=9, depth=1), nn.Linear(10, 3)))
    graph = from_torch(module, (31,))
    kept = {t.name: t.data.copy() for t in graph.tensors.values() if t.data is not None}
    with torch.no_grad():
        for value in (*module.parameters(), *module.buffers()):
            value.add_(3)
    assert len(kept) > 10
    assert [name for name in kept if (graph.tensor(name).data != kept[name]).any()] == []


def test_convnet_equals_torch() -> None:
    graph = assert_exact(shaken(convnet(width=5, dense=33, image_size=16)), (3, 16, 16))
    assert graph.tensor("input").shape == (16, 16, 3)
    assert ops(graph).count("Conv2d") == 6
    assert graph.nodes[1].attrs["pads"] == (1, 1, 1, 1)


@pytest.mark.parametrize("pad_value", [-1, 0, 1])
@pytest.mark.parametrize("geometry", [{}, {"stride": 2}, {"dilation": 2}, {"groups": 3}])
def test_binary_convolution_equals_torch(pad_value: int, geometry: dict) -> None:
    second = BinaryConv2d(9, 6, 3, padding=2, pad_value=pad_value, **geometry)
    module = nn.Sequential(
        InputEncoding(), BinaryConv2d(2, 9, 3), BatchNorm(9), Sign(), second, nn.Flatten(),
        BatchNorm(6 * second(torch.zeros(1, 9, 7, 5)).shape[2:].numel()), Sign(),
        BinaryDense(6 * second(torch.zeros(1, 9, 7, 5)).shape[2:].numel(), 4),
    )  # fmt: skip
    graph = assert_exact(shaken(module), (2, 9, 7))
    conv = next(node for node in graph.nodes if node.name == "conv2")
    assert conv.attrs["pad_value"] == pad_value
    assert conv.attrs["pads"] == (2, 2, 2, 2)


def test_asymmetric_padding_joins_the_convolution() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = BinaryConv2d(3, 4, (3), padding=1)
            self.second = BinaryConv2d(4, 5, 2)

        def forward(self, x):
            x = self.first(functional.pad(x.float() - 100, (1, 0, 2, 3)))
            x = torch.ops.bnnsim.sign(x)
            return self.second(functional.pad(x, (0, 2), value=-1.0))

    graph = assert_exact(Net(), (3, 5, 6))
    first, second = (node for node in graph.nodes if node.op == "Conv2d")
    assert (first.attrs["pads"], first.attrs["pad_value"]) == ((3, 2, 4, 1), 0)
    assert (second.attrs["pads"], second.attrs["pad_value"]) == ((0, 0, 0, 2), -1)


@pytest.mark.parametrize("kernel", [(2, 3), (4, 1)])
def test_same_padding(kernel: tuple[int, int]) -> None:
    layer = nn.Conv2d(2, 3, kernel, padding="same", dilation=2, bias=False)
    layer.weight.data.sign_()
    assert_exact(nn.Sequential(InputEncoding(), layer), (2, 7, 9))
    layer.padding = "valid"
    assert_exact(nn.Sequential(InputEncoding(), layer), (2, 7, 9))


def test_flattening_an_image_of_one_channel_keeps_its_order() -> None:
    module = nn.Sequential(nn.Flatten(), InputEncoding(), BinaryDense(20, 3))
    graph = assert_exact(module, (1, 4, 5))
    assert ops(graph) == ["Flatten", "Encode", "Dense"]
    assert_exact(module, (4, 5))


def test_what_follows_a_flattened_image_is_reordered() -> None:
    growing = Do(lambda x: x * torch.arange(1.0, 25))
    module = nn.Sequential(nn.Flatten(), InputEncoding(), BatchNorm(24), Sign(), growing)
    assert_exact(shaken(nn.Sequential(*module, BinaryDense(24, 3))), (2, 3, 4))
    with pytest.raises(SourceError, match=r"output: got 'a flattened image', expected a dense"):
        from_torch(module, (2, 3, 4))


def test_image_output_is_channels_last() -> None:
    graph = assert_exact(nn.Sequential(InputEncoding(), BinaryConv2d(2, 5, 3)), (2, 6, 7))
    assert graph.tensor(graph.outputs[0]).shape == (4, 5, 5)


@pytest.mark.parametrize("padding", [0, 1])
def test_max_pooling(padding: int) -> None:
    pool = nn.MaxPool2d(3, stride=2, padding=padding)
    conv = BinaryConv2d(1, 4, 2)
    assert_exact(shaken(nn.Sequential(InputEncoding(), conv, pool, BatchNorm(4))), (1, 8, 9))


@pytest.mark.parametrize(
    ("function", "dtype"),
    [
        (lambda x: x.float() * 2 - 255, "int16"),
        (lambda x: x.float() - 128, "int8"),
        (lambda x: (x.to(torch.float32) / 255 - 0.5) / 0.5, "float32"),
        (lambda x: torch.where(x >= 128, 1.0, -1.0), "bit"),
        (lambda x: (x > 127).float().mul(2).sub_(1), "bit"),
        (lambda x: torch.ops.bnnsim.sign(x.float() - 77), "bit"),
        (lambda x: -(x.float() * 1000), "int32"),
        (lambda x: torch.round(x.float() / 37).clamp(0, 3), "int8"),
    ],
)
def test_input_encodings_become_tables(function, dtype: str) -> None:
    module = nn.Sequential(Do(function), BinaryDense(9, 4))
    graph = from_torch(module.eval(), (9,))
    table = graph.tensor("encode.table")
    assert str(table.dtype) == dtype
    with torch.no_grad():
        expected = function(torch.arange(256, dtype=torch.uint8)).numpy()
    assert table.data is not None
    assert (table.data == expected).all()
    if dtype != "float32":
        assert_exact(module, (9,))


def test_plain_pixels_need_no_table() -> None:
    graph = assert_exact(nn.Sequential(Do(lambda x: x.float()), BinaryDense(9, 4)), (9,))
    assert ops(graph) == ["Dense"]
    assert str(graph.tensor("input").dtype) == "uint8"


def test_normalization_per_channel_stays_a_layer() -> None:
    mean = torch.tensor([3.0, 5, 7]).view(3, 1, 1)
    module = nn.Sequential(Do(lambda x: (x.float() - mean) / 4), BinaryConv2d(3, 2, 1))
    graph = assert_exact(module, (3, 2, 2))
    assert ops(graph) == ["Bias", "Scale", "Conv2d"]
    graph = from_torch(nn.Sequential(Do(lambda x: x.float() / mean), BinaryConv2d(3, 2, 1)),
                       (3, 2, 2))  # fmt: skip
    assert (graph.tensor("scale.scale").data == 1 / np.float32([3, 5, 7])).all()
    assert any("quotient by a constant is the product" in note for note in graph.meta["notes"])


def test_float_input_is_taken_where_uint8_is_not() -> None:
    graph = assert_exact(nn.Sequential(Sign(), BinaryDense(9, 4)), (9,), example=torch.zeros(2, 9))
    assert str(graph.tensor("input").dtype) == "float32"
    graph = from_torch(nn.Linear(9, 4).eval(), (9,))
    assert str(graph.tensor("input").dtype) == "float32"


def test_pt2_needs_trust(tmp_path: Path) -> None:
    module = shaken(mlp(inputs=6, hidden=9, depth=1))
    x = torch.randint(0, 256, (3, 6), dtype=torch.uint8)
    with torch.no_grad():
        program = torch.export.export(module, (x,), strict=False)
        expected = module(x).numpy()
    path = tmp_path / "net.pt2"
    torch.export.save(program, path)
    with pytest.raises(SourceError, match=r"net\.pt2: loading it runs code .*pickles.* --trust"):
        from_pt2(path)
    graph = from_pt2(path, trust=True)
    assert graph.name == "net"
    assert (run(graph, x.numpy()) == expected).all()
    with pytest.raises(SourceError, match=r"no such file"):
        from_pt2(tmp_path / "none.pt2", trust=True)
    path.write_bytes(b"nothing")
    with pytest.raises(SourceError, match=r"net\.pt2: got .*, expected a \.pt2 archive"):
        from_pt2(path, trust=True)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_python_sources(tmp_path: Path, monkeypatch, suffix: str) -> None:
    from safetensors.torch import save_file

    module = shaken(mlp(inputs=6, hidden=9, depth=1))
    path = tmp_path / f"weights{suffix}"
    save = save_file if suffix == ".safetensors" else torch.save
    save(module.state_dict(), path)
    (tmp_path / "my_own_net.py").write_text(
        "from bnnsim.train.models import mlp\n"
        "def net():\n    return mlp(inputs=6, hidden=9, depth=1)\n"
    )
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    with pytest.raises(SourceError, match=r"py:my_own_net:net: loading .* is imported"):
        from_python("my_own_net:net", path, (6,))
    graph = from_python("my_own_net:net", path, (6,), trust=True)
    assert graph.name == "net"
    assert sys.path == before
    x = torch.randint(0, 256, (3, 6), dtype=torch.uint8)
    with torch.no_grad():
        assert (run(graph, x.numpy()) == module(x).numpy()).all()
    sys.modules.pop("my_own_net")


def test_python_sources_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"py: got 'os', expected module:callable"):
        from_python("os", trust=True)
    with pytest.raises(SourceError, match=r"No module named 'no_such_module_here'"):
        from_python("no_such_module_here:net", trust=True)
    with pytest.raises(SourceError, match=r"got 'no_such_name', expected the name of a call"):
        from_python("os:no_such_name", trust=True)
    with pytest.raises(SourceError, match=r"missing required argument.*, expected an importable"):
        from_python("os:mkdir", trust=True)
    with pytest.raises(SourceError, match=r"getcwd: got 'str', expected a torch\.nn\.Module"):
        from_python("os:getcwd", trust=True)
    torch.save({"other": torch.zeros(1)}, tmp_path / "w.pth")
    with pytest.raises(SourceError, match=r"w\.pth: got .*, expected a state dict of this module"):
        from_python("bnnsim.train.models:mlp", tmp_path / "w.pth", (784,), trust=True)


def test_a_name_that_a_module_lacks_has_a_hint_and_models_are_in_train() -> None:
    with pytest.raises(SourceError, match=r"got 'resnet2', .* bnnsim\.train\. Did you mean 'resne"):
        from_python("bnnsim.train:resnet2", trust=True)
    graph = bnnsim.load("py:bnnsim.train:resnet20", input_shape=(3, 32, 32), trust=True)
    assert (graph.name, graph.tensor(graph.inputs[0]).shape) == ("resnet20", (32, 32, 3))


def test_load_takes_an_example_and_names_a_module_by_its_class() -> None:
    class Net(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = torch.nn.Linear(4, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.last(x)

    module = Net()
    for example in (torch.zeros(2, 4), np.zeros((2, 4), np.float32)):
        graph = bnnsim.load(module, example=example)
        assert (graph.name, graph.tensor(graph.inputs[0]).shape) == ("Net", (4,))
    assert from_torch(module, (4,)).name == bnnsim.load(module, input_shape=(4,)).name == "Net"
    with pytest.raises(SourceError, match=r"example: got 'zoo:tfc', expected no example for a"):
        bnnsim.load("zoo:tfc", example=torch.zeros(2, 4))


def test_dropout_of_our_own_leaves_nothing() -> None:
    module = nn.Sequential(InputEncoding(), Dropout(0.5), BinaryDense(5, 2))
    assert ops(assert_exact(module, (5,))) == ["Encode", "Dense"]
