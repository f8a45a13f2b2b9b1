"""Whole networks: engine, reference and torch agree on every tensor of every image."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

import bnnsim
from bnnsim.data.digits import load_digits
from bnnsim.graph.ir import Graph

FEW = 100


def packaged() -> Graph:
    """Return the trained network that ships with the library."""
    with resources.as_file(resources.files("bnnsim.data") / "mlp-3x2048.bnn") as path:
        return bnnsim.load(path)


def as_torch(graph: Graph):
    """Return a torch module with the network's weights: sign of a latent -1 or +1 is itself."""
    torch = pytest.importorskip("torch")
    from bnnsim.train.models import mlp

    module = mlp(hidden=2048, depth=3)
    layers = [n for n in graph.nodes if n.op in ("Dense", "BatchNorm")]
    parameters = [m for m in module if list(m.parameters())]
    assert len(layers) == len(parameters)
    with torch.no_grad():
        for node, target in zip(layers, parameters, strict=True):
            values = [torch.from_numpy(graph.tensor(n).data.copy()) for n in node.inputs[1:]]
            if node.op == "Dense":
                target.weight.copy_(values[0])
            else:
                slots = (target.weight, target.bias, target.running_mean, target.running_var)
                for slot, value in zip(slots, values, strict=True):
                    slot.copy_(value)
    return module.eval()


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


@pytest.mark.parametrize("isa", ["ref", "auto"])
def test_packaged_net_on_digits(isa: str) -> None:
    images, labels = load_digits()
    stride = len(images) // FEW
    result = bnnsim.verify(packaged(), images[::stride], isa=isa)
    assert result.ok
    assert bnnsim.run(packaged(), images[::stride], labels=labels[::stride]).accuracy > 0.95


def test_packaged_net_equals_torch_on_digits() -> None:
    graph = packaged()
    module = as_torch(graph)
    images, _ = load_digits()
    result = bnnsim.verify(graph, images[:: len(images) // FEW], against=module)
    assert result.ok
    assert result.layers[0].elements == FEW * 10


@pytest.mark.slow
def test_packaged_net_equals_torch_and_reference_on_all_test_images(data_folder: Path) -> None:
    graph = packaged()
    images, labels = mnist_test(data_folder)
    against_torch = bnnsim.verify(graph, images, against=as_torch(graph))
    assert (against_torch.ok, against_torch.images) == (True, 10_000)
    assert bnnsim.verify(graph, images).ok
    record = json.loads((resources.files("bnnsim.data") / "mlp-3x2048.json").read_text())
    assert bnnsim.run(graph, images, labels=labels).accuracy == record["test_accuracy"]


def test_packaged_accuracy_on_all_held_out_digits_is_the_recorded_one() -> None:
    images, labels = load_digits()
    record = json.loads((resources.files("bnnsim.data") / "mlp-3x2048.json").read_text())
    assert bnnsim.run(packaged(), images, labels=labels).accuracy == record["heldout_accuracy"]


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
