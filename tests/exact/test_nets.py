"""Whole networks: engine, reference and torch agree on every tensor of every image."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

import bnnsim
from bnnsim import zoo
from bnnsim.data.digits import load_digits
from bnnsim.engine.dispatch import available_isas
from bnnsim.graph.ir import Graph, Node

FEW = 40
TRAINED = [found.name for found in zoo.describe() if found.trained]


def packaged(name: str) -> Graph:
    """Return a trained network that ships with the library."""
    return bnnsim.load(f"zoo:{name}:trained")


def card(name: str) -> dict[str, Any]:
    """Return the training record that lies beside a packaged network."""
    record = (resources.files("bnnsim.data") / f"{name}.json").read_text()
    return cast(dict[str, Any], json.loads(record))


def shaped(images: np.ndarray, graph: Graph) -> np.ndarray:
    """Return (N, 784) pixels as the network takes them."""
    return images.reshape(len(images), *graph.tensor(graph.inputs[0]).shape)


def as_torch(graph: Graph):
    """Return a torch module with the network's weights: sign of a latent -1 or +1 is itself."""
    torch = pytest.importorskip("torch")
    from bnnsim.train.models import bit_mlp, digit_convnet, mlp

    builders = {"mlp-3x2048": mlp, "mnist-convnet": digit_convnet, "mnist-bits": bit_mlp}
    module = builders[graph.name]()
    layers = [n for n in graph.nodes if n.op in ("Dense", "Conv2d", "BatchNorm")]
    parameters = [m for m in module if list(m.parameters())]
    assert len(layers) == len(parameters)
    with torch.no_grad():
        for node, target in zip(layers, parameters, strict=True):
            values = [graph.tensor(n).data for n in node.inputs[1:]]
            if node.op == "BatchNorm":
                slots = (target.weight, target.bias, target.running_mean, target.running_var)
            else:
                slots, values = (target.weight,), [torch_order(graph, node)]
            for slot, value in zip(slots, values, strict=True):
                slot.copy_(torch.from_numpy(value.copy()))
    return module.eval()


def torch_order(graph: Graph, node: Node) -> np.ndarray:
    """Return a weight with its inputs in torch's order: channels before height and width."""
    weight = graph.tensor(node.inputs[1]).data
    if node.op == "Conv2d":
        return weight.transpose(0, 3, 1, 2)
    before = next(n for n in graph.nodes if n.output == node.inputs[0])
    if before.op != "Flatten":
        return weight
    pixels_last = weight.reshape(len(weight), -1, graph.tensor(before.inputs[0]).shape[-1])
    return pixels_last.swapaxes(1, 2).reshape(weight.shape)


def idx(path: Path, offset: int) -> np.ndarray:
    return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=offset)


def mnist_test(data_folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return MNIST's 10,000 test images and labels."""
    mnist = data_folder / "mnist"
    images = idx(mnist / "t10k-images-idx3-ubyte.gz", 16).reshape(-1, 784)
    return images, idx(mnist / "t10k-labels-idx1-ubyte.gz", 8).astype(np.int64)


def random_batch(graph: Graph, images: int, seed: int) -> np.ndarray:
    shape = graph.tensor(graph.inputs[0]).shape
    return np.random.default_rng(seed).integers(0, 256, (images, *shape), np.uint8)


@pytest.mark.parametrize("isa", ["ref", "auto"])
@pytest.mark.parametrize(("name", "images"), [("tfc", 70), ("sfc", 20), ("cnv", 2)])
def test_small_zoo_nets(name: str, images: int, isa: str) -> None:
    graph = bnnsim.load(f"zoo:{name}:random,3")
    assert bnnsim.verify(graph, random_batch(graph, images, 1), isa=isa).ok


@pytest.mark.slow
@pytest.mark.parametrize("isa", ["ref", "auto"])
@pytest.mark.parametrize(
    ("name", "images"),
    [("lfc", 50), ("mlp-3x2048", 20), ("mlp-3x4096", 6), ("svhn-convnet", 2),
     ("cifar10-convnet", 1)],
)  # fmt: skip
def test_large_zoo_nets(name: str, images: int, isa: str) -> None:
    graph = bnnsim.load(f"zoo:{name}:random,4")
    assert bnnsim.verify(graph, random_batch(graph, images, 2), isa=isa).ok


def some_digits(graph: Graph) -> tuple[np.ndarray, np.ndarray]:
    """Return `FEW` digits, evenly spread over the classes, and their labels."""
    images, labels = load_digits()
    chosen = np.arange(FEW) * len(images) // FEW
    return shaped(images[chosen], graph), labels[chosen]


@pytest.mark.parametrize("isa", available_isas())
@pytest.mark.parametrize("name", TRAINED)
def test_packaged_nets_equal_the_reference_on_digits(name: str, isa: str) -> None:
    graph = packaged(name)
    images, labels = some_digits(graph)
    assert bnnsim.verify(graph, images, isa=isa, threads=2).ok
    assert bnnsim.run(graph, images, labels=labels, isa=isa).accuracy > 0.9


@pytest.mark.parametrize("name", TRAINED)
def test_packaged_nets_equal_torch_on_digits(name: str) -> None:
    graph = packaged(name)
    images, _ = some_digits(graph)
    result = bnnsim.verify(graph, images, against=as_torch(graph))
    assert result.ok
    assert result.layers[0].elements == FEW * 10


@pytest.mark.slow
@pytest.mark.parametrize("name", TRAINED)
def test_packaged_nets_equal_torch_and_reference_on_test_images(
    name: str, data_folder: Path
) -> None:
    graph = packaged(name)
    images, labels = mnist_test(data_folder)
    images = shaped(images, graph)
    against_torch = bnnsim.verify(graph, images, against=as_torch(graph))
    assert (against_torch.ok, against_torch.images) == (True, 10_000)
    assert bnnsim.run(graph, images, labels=labels).accuracy == card(name)["test_accuracy"]
    stride = 1 if images.ndim == 2 else 10  # the reference takes 20 ms for a picture
    assert bnnsim.verify(graph, images[::stride]).ok


@pytest.mark.parametrize("name", TRAINED)
def test_packaged_accuracy_on_all_held_out_digits_is_the_recorded_one(name: str) -> None:
    graph = packaged(name)
    images, labels = load_digits()
    result = bnnsim.run(graph, shaped(images, graph), labels=labels)
    assert result.accuracy == card(name)["heldout_accuracy"]


def test_the_convnet_is_right_on_exactly_as_many_digits_as_recorded() -> None:
    graph, record = packaged("mnist-convnet"), card("mnist-convnet")
    images, labels = load_digits()
    decided = bnnsim.run(graph, shaped(images, graph)).outputs.argmax(axis=1)
    assert int((decided == labels).sum()) == record["heldout"]["correct"]
    assert [record[part]["logits_differing_from_torch"] for part in ("heldout", "test")] == [0, 0]
    assert [record[part]["logits"] for part in ("heldout", "test")] == [50_000, 100_000]


@pytest.mark.parametrize("name", TRAINED)
def test_the_record_in_the_file_is_the_one_beside_it(name: str) -> None:
    assert plain(packaged(name).meta["training"]) == card(name)


def plain(value: Any) -> Any:
    """Return a frozen mapping of JSON values as dicts and lists."""
    if isinstance(value, Mapping):
        return {key: plain(inner) for key, inner in value.items()}
    return [plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


@pytest.mark.slow
@pytest.mark.parametrize(("name", "accuracy"), [("lfcW1A1", 0.9840), ("lfcW1A2", 0.9849)])
def test_fpga_digit_nets(data_folder: Path, name: str, accuracy: float) -> None:
    folder = data_folder / "bnn-pynq"
    graph = bnnsim.load(f"pynq:{folder}/mnist-{name}", folding=folder / "golden.json")
    images, labels = mnist_test(data_folder)
    assert bnnsim.run(graph, images, labels=labels).accuracy == accuracy
    assert bnnsim.verify(graph, images).ok


@pytest.mark.slow
def test_fpga_convnet_gives_the_logits_that_the_fpga_printed(data_folder: Path) -> None:
    folder = data_folder / "bnn-pynq"
    golden: Mapping[str, list[int]] = json.loads((folder / "golden.json").read_text())[
        "logits_printed_by_fpga"
    ]
    inputs = np.load(folder / "golden_inputs_u8_chw.npz")
    graph = bnnsim.load(f"pynq:{folder}/cifar10-cnvW1A1", folding=folder / "golden.json")
    assert set(inputs.files) == {key.split("/")[0] for key in golden}
    for key, logits in golden.items():
        image = np.ascontiguousarray(inputs[key.split("/")[0]].transpose(1, 2, 0))[None]
        for isa in ("ref", "auto"):
            assert bnnsim.run(graph, image, isa=isa).outputs[0].tolist() == logits
        assert bnnsim.verify(graph, image).ok
