from __future__ import annotations

from importlib import resources

import numpy as np
import pytest
from test_imagenet import PUBLISHED

from bnnsim import zoo
from bnnsim.engine.reference import execute
from bnnsim.errors import GraphError, SourceError
from bnnsim.graph.ir import Graph

# Weights of each layer, and output pixels that each weight meets.
LAYERS = {
    "mlp-3x2048": [(784 * 2048, 1), (2048 * 2048, 1), (2048 * 2048, 1), (2048 * 10, 1)],
    "mlp-3x4096": [(784 * 4096, 1), (4096 * 4096, 1), (4096 * 4096, 1), (4096 * 10, 1)],
    "mnist-bits": [(784 * 256, 1), (256 * 256, 1), (256 * 10, 1)],
    "mnist-convnet": [
        (3 * 3 * 32, 28 * 28),
        (3 * 3 * 32 * 32, 28 * 28),
        (3 * 3 * 32 * 64, 14 * 14),
        (3 * 3 * 64 * 64, 14 * 14),
        (7 * 7 * 64 * 256, 1),
        (256 * 10, 1),
    ],
    "cifar10-convnet": [
        (3 * 3 * 3 * 128, 32 * 32),
        (3 * 3 * 128 * 128, 32 * 32),
        (3 * 3 * 128 * 256, 16 * 16),
        (3 * 3 * 256 * 256, 16 * 16),
        (3 * 3 * 256 * 512, 8 * 8),
        (3 * 3 * 512 * 512, 8 * 8),
        (4 * 4 * 512 * 1024, 1),
        (1024 * 1024, 1),
        (1024 * 10, 1),
    ],
    "svhn-convnet": [
        (3 * 3 * 3 * 64, 32 * 32),
        (3 * 3 * 64 * 64, 32 * 32),
        (3 * 3 * 64 * 128, 16 * 16),
        (3 * 3 * 128 * 128, 16 * 16),
        (3 * 3 * 128 * 256, 8 * 8),
        (3 * 3 * 256 * 256, 8 * 8),
        (4 * 4 * 256 * 1024, 1),
        (1024 * 1024, 1),
        (1024 * 10, 1),
    ],
    "sfc": [(784 * 256, 1), (256 * 256, 1), (256 * 256, 1), (256 * 10, 1)],
    "tfc": [(784 * 64, 1), (64 * 64, 1), (64 * 64, 1), (64 * 10, 1)],
    "lfc": [(784 * 1024, 1), (1024 * 1024, 1), (1024 * 1024, 1), (1024 * 10, 1)],
    "cnv": [
        (3 * 3 * 3 * 64, 30 * 30),
        (3 * 3 * 64 * 64, 28 * 28),
        (3 * 3 * 64 * 128, 12 * 12),
        (3 * 3 * 128 * 128, 10 * 10),
        (3 * 3 * 128 * 256, 3 * 3),
        (3 * 3 * 256 * 256, 1),
        (256 * 512, 1),
        (512 * 512, 1),
        (512 * 10, 1),
    ],
    "resnet20": [
        (3 * 3 * 3 * 16, 32 * 32),
        *[(3 * 3 * 16 * 16, 32 * 32)] * 6,
        (3 * 3 * 16 * 32, 16 * 16),
        *[(3 * 3 * 32 * 32, 16 * 16)] * 5,
        (3 * 3 * 32 * 64, 8 * 8),
        *[(3 * 3 * 64 * 64, 8 * 8)] * 5,
        (64 * 10, 1),
    ],
}
# The published or hand-computed totals that the sums above must meet.
PARAMETERS = {
    "mlp-3x2048": 10_014_720,
    "mlp-3x4096": 36_806_656,
    "cifar10-convnet": 14_022_016,
    "svhn-convnet": 6_397_632,
    "resnet20": 268_336,
    "mnist-convnet": 870_176,
}
MACS = {
    "mlp-3x2048": 10_014_720,
    "mlp-3x4096": 36_806_656,
    "cifar10-convnet": 616_966_144,
    "svhn-convnet": 158_017_536,
    "cnv": 59_461_376,
    "resnet20": 40_551_040,
    "mnist-convnet": 19_094_528,
}
TRAINED = ("mlp-3x2048", "mnist-convnet", "mnist-bits")


def linear_nodes(graph: Graph) -> list:
    return [node for node in graph.nodes if node.op in ("Dense", "Conv2d")]


def test_names() -> None:
    assert set(zoo.names()) == set(LAYERS) | set(PUBLISHED)


@pytest.mark.parametrize(
    "found", [d for d in zoo.describe() if d.name in LAYERS], ids=lambda d: d.name
)
def test_counts_are_exact(found: zoo.Description) -> None:
    layers = LAYERS[found.name]
    assert found.parameters == sum(weights for weights, _ in layers)
    assert found.macs == sum(weights * places for weights, places in layers)
    assert found.parameters == PARAMETERS.get(found.name, found.parameters)
    assert found.macs == MACS.get(found.name, found.macs)
    images = (32, 32, 3) if "v" in found.name or "resnet" in found.name else (784,)
    assert found.input_shape == ((28, 28, 1) if found.name == "mnist-convnet" else images)
    assert found.trained == (found.name in TRAINED)
    assert len(found.source) > 20


def test_first_layer_of_the_cifar_net() -> None:
    weights, places = LAYERS["cifar10-convnet"][0]
    assert weights * places == 3_538_944


@pytest.mark.parametrize("name", LAYERS)
def test_without_a_seed_there_are_no_weights(name: str) -> None:
    graph = zoo.build(name)
    sizes = [graph.tensor(node.inputs[1]).size for node in linear_nodes(graph)]
    assert sizes == [weights for weights, _ in LAYERS[name]]
    assert not graph.has_weights
    assert graph.meta["source"] == f"zoo:{name}"
    x = np.zeros((1, *graph.tensor("input").shape), graph.tensor("input").dtype.numpy)
    with pytest.raises(GraphError, match=r"no data"):
        execute(graph, x)


@pytest.mark.parametrize("name", ["svhn-convnet", "tfc", "sfc", "cnv"])
def test_with_a_seed_it_runs_and_uses_both_bits(name: str) -> None:
    graph = zoo.build(name, seed=7)
    assert graph.has_weights
    assert "no accuracy" in graph.meta["notes"][0]
    shape = graph.tensor("input").shape
    x = np.random.default_rng(1).integers(0, 256, (2, *shape), np.uint8)
    values = execute(graph, x)
    assert values[graph.outputs[0]].shape == (2, 10)
    for node in graph.nodes:
        if node.op in ("Quantize", "Threshold"):
            assert 0.1 < (values[node.output] == 1).mean() < 0.95
    for node in graph.nodes:
        if node.op == "BatchNorm":
            gamma = graph.tensor(node.inputs[1]).data
            assert gamma is not None
            assert (gamma < 0).any()
            assert (gamma > 0).any()


def test_resnet20_has_the_published_parameters_and_macs() -> None:
    """Table 6 of the paper: 0.27 M; 40.8 M MACs count two projection shortcuts, which A lacks."""
    graph = zoo.build("resnet20")
    trained = [t.size for t in graph.constants() if not t.name.endswith((".mean", ".var"))]
    batch_norms = 2 * (16 * 7 + 32 * 6 + 64 * 6)
    assert sum(trained) == 268_336 + batch_norms + 10 == 269_722
    projections = 16 * 32 * 16 * 16 + 32 * 64 * 8 * 8
    assert MACS["resnet20"] + projections == 40_813_184
    assert [n.op for n in graph.nodes].count("Add") == 9
    assert [n.name for n in graph.nodes if n.op == "Slice"] == ["slice9", "slice15"]


def test_resnet20_runs_with_random_weights() -> None:
    graph = zoo.build("resnet20", seed=3)
    x = np.random.default_rng(1).normal(size=(2, 32, 32, 3)).astype(np.float32)
    y = execute(graph, x)[graph.outputs[0]]
    assert y.shape == (2, 10)
    assert np.isfinite(y).all()
    assert (y[0] != y[1]).any()


def test_seed_decides_the_weights() -> None:
    same, again, other = (zoo.build("tfc", seed=s).constants() for s in (3, 3, 4))
    for left, right in zip(same, again, strict=True):
        assert left.data is not None
        assert right.data is not None
        assert (left.data == right.data).all()
    assert any((a.data != b.data).any() for a, b in zip(same, other, strict=True))


def test_layers_of_the_convnet() -> None:
    graph = zoo.build("cifar10-convnet")
    assert [node.name for node in graph.nodes[:9]] == [
        *("encode", "conv1", "bn1", "sign1", "conv2", "pool2", "bn2", "sign2", "conv3"),
    ]
    assert [node.op for node in graph.nodes[-2:]] == ["Dense", "BatchNorm"]
    convs = [node for node in graph.nodes if node.op == "Conv2d"]
    assert all(node.attrs["pads"] == (1, 1, 1, 1) for node in convs)
    assert all(node.attrs["pad_value"] == 0 for node in convs)


def test_logits_of_fpga_nets_are_popcounts() -> None:
    graph = zoo.build("tfc", seed=1)
    x = np.random.default_rng(2).integers(0, 256, (5, 784), np.uint8)
    values = execute(graph, x)
    bits, weight = values["threshold3.out"] == 1, graph.tensor("dense4.weight").data == 1
    matches = (bits[:, None, :] == weight[None]).sum(axis=2)
    assert (values[graph.outputs[0]] == matches).all()


@pytest.mark.parametrize("name", TRAINED)
def test_trained_nets_have_the_layers_and_shapes_of_their_geometry(name: str) -> None:
    found, geometry = zoo.trained(name), zoo.build(name)
    assert found.has_weights
    assert found.name == name
    for node, stated in zip(found.nodes, geometry.nodes, strict=True):
        assert (node.name, node.op, node.inputs) == (stated.name, stated.op, stated.inputs)
        assert stated.attrs.items() <= node.attrs.items()
    shapes = [[(t.name, t.shape, t.dtype) for t in g.tensors.values()] for g in (found, geometry)]
    assert sorted(shapes[0], key=str) == sorted(shapes[1], key=str)


def test_every_network_in_the_package_has_a_name() -> None:
    files = {path.name for path in (resources.files("bnnsim") / "data").iterdir()}
    stems = {name.rpartition(".")[0] for name in files if name.endswith((".bnn", ".json"))}
    assert stems == set(TRAINED)
    assert all(f"{name}.{end}" in files for name in TRAINED for end in ("bnn", "json"))


def test_nets_that_do_not_come_trained() -> None:
    with pytest.raises(SourceError, match=r"Did you mean 'mnist-convnet'"):
        zoo.trained("mnist-convnt")
    rule = r"expected one of mlp-3x2048, mnist-convnet, mnist-bits\. zoo:tfc:random"
    with pytest.raises(SourceError, match=rule):
        zoo.trained("tfc")


def test_a_damaged_installation_is_named(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(zoo, "files", lambda _: tmp_path)
    with pytest.raises(SourceError, match=r"no file.*mlp-3x2048\.bnn\. Install bnnsim again"):
        zoo.trained("mlp-3x2048")


def test_wrong_names_and_seeds() -> None:
    with pytest.raises(SourceError, match=r"zoo: got 'cvn', expected one of .*Did you mean 'cnv'"):
        zoo.build("cvn")
    for seed in (-1, True, 1.5):
        with pytest.raises(SourceError, match=r"zoo:tfc: seed: got .*, expected an integer"):
            zoo.build("tfc", seed=seed)  # type: ignore[arg-type]
