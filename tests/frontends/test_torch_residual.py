"""Residual torch modules: sums, averages, slices, channel pads, and checkpoints as files."""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional
from torch_nets import Do, assert_exact, batch_for, ops, run, shaken
from xnor_formula import assert_rounded, paper_conv

import bnnsim
from bnnsim.cli.entry import main
from bnnsim.engine.execute import Plan
from bnnsim.engine.reference import execute
from bnnsim.errors import SourceError
from bnnsim.frontends.torch_export import from_python, from_torch
from bnnsim.graph.ops import normal_attrs
from bnnsim.passes.precision import to_mode
from bnnsim.train.layers import BinaryConv2d, InputEncoding, Sign
from bnnsim.train.models import ResNet, resnet20, resnet56
from bnnsim.train.norm import BatchNorm

SUM_NOISE = 1e-6  # of the largest value: torch rounds each of up to 48 float32 additions
FLOAT_NOISE = 2e-5  # of the largest output: torch rounds every product and sum of ~20 layers
WEIGHTS = "resnet20-12fca82f.th"
CHECKPOINT = "float/" + WEIGHTS


@pytest.fixture(autouse=True)
def _seeded(seed: int) -> None:
    torch.manual_seed(seed)


def test_sums_slices_and_channel_pads_are_exact() -> None:
    def shortcut(x):
        small = functional.pad(x[:, :, ::2, 1::3], (0, 0, 0, 0, 2, 1), "constant", 0)
        return small + torch.relu(small) + small

    graph = assert_exact(Do(shortcut), (3, 7, 8), example=torch.zeros(2, 3, 7, 8))
    assert ops(graph) == ["Slice", "PadChannels", "Relu", "Add", "Add"]
    (cut,) = (n for n in graph.nodes if n.op == "Slice")
    assert dict(cut.attrs) == {"start": (0, 1, 0), "stop": (7, 8, 3), "step": (2, 3, 1)}


def test_slices_of_slices_join() -> None:
    graph = assert_exact(
        Do(lambda x: x[:, 1:, 1:, ::2][:, ::2, 1::2, 1:]),
        (4, 9, 9),
        example=torch.zeros(2, 4, 9, 9),
    )
    assert ops(graph) == ["Slice"]
    assert graph.nodes[0].attrs["start"] == (2, 2, 1)


def test_sum_in_place_and_of_flattened_images() -> None:
    def both(x):
        y = torch.relu(x)
        y += x
        return y.flatten(1) + torch.relu(x).flatten(1)

    module = nn.Sequential(Do(both), nn.Linear(24, 3))
    module[1].weight.data = torch.randint(-1, 2, (3, 24)).float()
    module[1].bias.data.zero_()
    graph = from_torch(module, example=torch.zeros(2, 4, 2, 3))
    assert ops(graph).count("Add") == 2
    x, ours = batch_for(graph, (4, 2, 3))
    with torch.no_grad():
        expected = module(x).numpy()
    assert np.abs(run(graph, ours) - expected).max() <= SUM_NOISE * np.abs(expected).max()


def test_sum_of_signs_is_an_integer_and_of_sign_and_float_a_float() -> None:
    def signs(x):
        return torch.where(x >= 0, 1.0, -1.0)

    graph = assert_exact(
        Do(lambda x: signs(x) + signs(x - 1) + x), (2, 3, 3), example=torch.zeros(2, 2, 3, 3)
    )
    assert [str(graph.result(n).dtype) for n in graph.nodes if n.op == "Add"] == [
        "int32",
        "float32",
    ]


@pytest.mark.parametrize(
    ("function", "op"),
    [
        (lambda x: functional.avg_pool2d(x, 2), "AvgPool"),
        (lambda x: functional.avg_pool2d(x, 3, 2, 1), "AvgPool"),
        (lambda x: functional.avg_pool2d(x, (2, 3), 1, (1, 0), False, False), "AvgPool"),
        (lambda x: functional.adaptive_avg_pool2d(x, (4, 3)), "AvgPool"),
        (lambda x: functional.adaptive_avg_pool2d(x, 1), "GlobalAvgPool"),
        (lambda x: x.mean((2, 3)), "GlobalAvgPool"),
        (lambda x: x.mean((-1, -2), keepdim=True), "GlobalAvgPool"),
        (lambda x: functional.avg_pool2d(x, (8, 6)).view(x.shape[0], -1), "AvgPool"),
    ],
)
def test_averages(function, op: str) -> None:
    graph = from_torch(Do(function), example=torch.zeros(2, 5, 8, 6))
    assert ops(graph)[0] == op
    x, ours = batch_for(graph, (5, 8, 6))
    expected = function(x).numpy()
    assert run(graph, ours).shape == expected.shape
    assert np.abs(run(graph, ours) - expected).max() <= SUM_NOISE * np.abs(expected).max()


def test_a_binarized_residual_block_is_exact() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Sequential(InputEncoding(), BinaryConv2d(3, 9, 3), BatchNorm(9))
            self.body = nn.Sequential(Sign(), BinaryConv2d(9, 9, 3, padding=1), BatchNorm(9))

        def forward(self, x):
            x = self.head(x)
            return self.body(self.body(x) + x) + x

    graph = assert_exact(shaken(Block()), (3, 6, 7))
    assert ops(graph).count("Add") == 2


@pytest.mark.parametrize("draw", range(3))
def test_small_float_resnets_agree_with_torch(draw: int) -> None:
    torch.manual_seed(draw)
    module = ResNet((2, 1, 1), (5, 8, 13)).eval()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.2)
            layer.running_var.uniform_(0.5, 2)
    graph = from_torch(module, (3, 12, 10))
    x, ours = batch_for(graph, (3, 12, 10))
    with torch.no_grad():
        expected = module(x).numpy()
    found = bnnsim.run(graph, ours).outputs
    assert np.abs(found - expected).max() < FLOAT_NOISE * np.abs(expected).max()
    assert ops(graph).count("Add") == 4
    assert ops(graph).count("Slice") == ops(graph).count("PadChannels") == 2


def test_models_have_the_published_sizes() -> None:
    sizes = [sum(p.numel() for p in make().parameters()) for make in (resnet20, resnet56)]
    assert sizes == [269_722, 853_018]  # 0.27 M and 0.85 M: table 6 of the paper


def test_checkpoints_of_wrapped_modules_load_with_notes(tmp_path) -> None:
    torch.manual_seed(1)
    state = {f"module.{k}": v for k, v in resnet20().state_dict().items()}
    state.pop("module.bn1.num_batches_tracked")
    path = tmp_path / "net.th"
    torch.save({"state_dict": state, "epoch": 3}, path)
    graph = from_python("bnnsim.train.models:resnet20", path, (3, 32, 32), trust=True)
    assert graph.meta["notes"][-2:] == [
        "net.th: weights are its entry 'state_dict'; left out: epoch.",
        "net.th: the prefix 'module.' of every key was left out.",
    ]
    held = graph.tensor("conv1.weight").data
    assert held is not None
    assert (held == state["module.conv1.weight"].numpy().transpose(0, 2, 3, 1)).all()
    torch.save({"state_dict": {"module.other": torch.zeros(1)}}, path)
    with pytest.raises(SourceError, match=r"net\.th: got 'RuntimeError: .*expected a state dict"):
        from_python("bnnsim.train.models:resnet20", path, (3, 32, 32), trust=True)


def test_code_in_a_checkpoint_is_refused(tmp_path) -> None:
    path = tmp_path / "net.th"
    torch.save({"state_dict": {"a": Do(abs)}}, path)
    with pytest.raises(SourceError, match=r"expected a state dict that torch\.save wrote"):
        from_python("bnnsim.train.models:resnet20", path, (3, 32, 32), trust=True)


# --- the trained network -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(data_folder):
    weights, images = data_folder / CHECKPOINT, data_folder / "cifar10/foolbox20_exact.npz"
    if not weights.is_file() or not images.is_file():
        pytest.skip(f"no {CHECKPOINT} or no lossless images in {data_folder}")
    source = "py:bnnsim.train.models:resnet20"
    graph = bnnsim.load(source, weights=weights, input_shape=(3, 32, 32), trust=True)
    module = bnnsim.api.load_module(source, weights=weights, trust=True).eval()
    with np.load(images) as held:
        pixels, labels = held["x"].astype(np.float32) / np.float32(255), held["y"]
    mean, std = (np.array(v, np.float32) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    return graph, module, (pixels - mean) / std, labels


@pytest.mark.slow
def test_trained_resnet20_decides_as_torch_does(trained) -> None:
    graph, module, x, labels = trained
    with torch.no_grad():
        expected = module(torch.from_numpy(x.transpose(0, 3, 1, 2).copy())).numpy()
    found = bnnsim.run(graph, x)
    assert (found.outputs.argmax(1) == expected.argmax(1)).all()
    assert (found.outputs.argmax(1) == labels).all()  # 20 of 20
    assert np.abs(found.outputs - expected).max() < 1e-4  # logits reach 32.7; 6e-6 was measured
    reference = bnnsim.run(graph, x, engine="reference")
    assert (found.outputs == reference.outputs).all()


@pytest.mark.slow
def test_layers_of_the_trained_resnet20_equal_xnor_nets_formula(trained) -> None:
    graph, _, x, _ = trained
    twin = to_mode(graph, "xnor-k", keep_bn=True)
    values = execute(twin, x[:4])
    outputs = Plan(twin, threads=2).run(x[:4], keep=list(values)[1:])
    assert all((outputs[name] == values[name]).all() for name in outputs)
    layers = [node for node in twin.nodes if f"{node.name}.scaled.out" in values]
    assert len(layers) == 18
    for node in layers:
        (sign,) = (n for n in twin.nodes if n.output == node.inputs[0])
        real = values[sign.inputs[0]]
        exact = paper_conv(real, graph.tensor(node.inputs[1]).data, **normal_attrs(node))
        assert_rounded(values[f"{node.name}.alpha.out"], exact)


@pytest.mark.slow
def test_trained_resnet20_is_compared_in_one_command(
    data_folder, trained, tmp_path, capsys
) -> None:
    modes = ("float32", "int8", "weight-only", "binary")
    words = ["compare", "py:bnnsim.train.models:resnet20", "--input-shape", "3,32,32", "--trust"]
    words += ["--weights", str(data_folder / CHECKPOINT), "--profile", "cmos45,asic-example"]
    assert main([*words, "--modes", ",".join(modes), "--json", str(tmp_path / "c.json")]) == 0
    columns = json.loads((tmp_path / "c.json").read_text())["columns"]
    assert len(columns) == 8
    assert all(column["unpriced"] == [] for column in columns)
    assert all(sum(column["totals"]["macs"].values()) == 40_551_040 for column in columns)
    what_if = "what-if: not trained in this precision, no accuracy"
    cost_only = "cost-only twin: some of its constants have no values, no accuracy"
    notes = [[], [cost_only], [what_if], [what_if]]
    emulated = "18 layers of float32 x bit run as float32 x float32 on asic-example"
    assert [note for note in columns[6]["notes"] if emulated in note]
    stated = [[n for n in c.get("notes", []) if "run as" not in n] for c in columns]
    assert stated == notes * 2
    first, second = capsys.readouterr().out.splitlines()[:2]
    assert cost_only in first
    assert what_if in second
    for four in (columns[:4], columns[4:]):
        energy: Mapping[str, float] = {
            c["mode"]: c["totals"]["energy_per_inference_j"]["value"] for c in four
        }
        assert energy["float32"] > energy["weight-only:fp32"] > energy["binary"]
        assert energy["float32"] > energy["int8"] > energy["binary"]
