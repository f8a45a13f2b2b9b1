"""The real larq 0.14 on TensorFlow against the graphs of the files that it saved.

larq needs Keras 2 and numpy below 2, so it runs in an environment of its own, ``.venv-larq`` beside
the sources, which is made once; where no registry gives its packages, these tests are skipped.
``larq_models.py`` builds the networks there and records what every layer gives.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from frontends.keras_writer import DEFAULTS, numbered_bytes, snake, write_whole

import bnnsim
from bnnsim.engine.reference import execute
from bnnsim.frontends.keras import from_keras
from bnnsim.frontends.keras_fields import Fields
from bnnsim.frontends.larq_quantizers import quantized, read_quantizer

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
HOME = ROOT / ".venv-larq"
PACKAGES = (
    "larq==0.14.0", "tensorflow-cpu==2.16.2", "tf-keras==2.16.0", "numpy<2", "h5py>=3.11",
)  # fmt: skip
ROUNDING = 1e-6  # of a layer's largest value: float32 sums in another order
TIE = 1e-4  # of a quantizer's input from where it changes, beyond which rounding decides nothing


def larq_python() -> Path:
    """Return the python of larq's environment, which is made if it is not there."""
    python, stamp = HOME / "bin" / "python", HOME / ".made"
    if not stamp.exists() or stamp.read_text() != "\n".join(PACKAGES):
        made = subprocess.run(
            [sys.executable, "-m", "venv", "--clear", str(HOME)], capture_output=True
        )
        install = [str(python), "-m", "pip", "install", "--quiet", *PACKAGES]
        if made.returncode or subprocess.run(install, capture_output=True, timeout=900).returncode:
            pytest.skip(f"{', '.join(PACKAGES)}: no registry gives them to {sys.executable}")
        stamp.write_text("\n".join(PACKAGES))
    return python


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("larq")
    script = Path(__file__).with_name("larq_models.py")
    quiet = {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | quiet
    done = subprocess.run(
        [str(larq_python()), str(script), str(folder)],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


def names(folder: Path) -> list[str]:
    found = sorted(path.stem for path in folder.glob("*.npz"))
    assert len(found) >= 40
    return found


def distance_to_a_tie(graph: bnnsim.Graph, values: dict[str, np.ndarray]) -> np.ndarray:
    """Return for each image how near a quantizer's float input comes to where it changes."""
    nearest = np.full(len(next(iter(values.values()))), np.inf)
    for node in graph.nodes:
        x = values[node.inputs[0]].astype(np.float64)
        if node.op != "Quantize" or graph.activation(node).dtype.is_integer:
            continue
        if node.attrs["quantizer"] == "sign":
            far = np.abs(x)
        else:  # halfway between two levels
            top = 2 ** node.attrs["bits"] - 1
            far = np.abs(np.abs(np.clip(x, 0, 1) * top % 1) - 0.5) / top
        nearest = np.minimum(nearest, far.reshape(len(x), -1).min(axis=1))
    return nearest


def compare(graph: bnnsim.Graph, z: Any, name: str) -> tuple[int, int]:
    """Compare every layer; return the number of values, and of images with a decided tie.

    An image may differ from some layer on only if a quantizer met a tie in it.
    """
    values = execute(graph, z["x"])
    ties = distance_to_a_tie(graph, values) < TIE
    apart, count = np.zeros(len(z["x"]), bool), 0
    for layer, node in graph.meta["layers"].items():
        ours, theirs = values[f"{node}.out"], z[f"out/{layer}"]
        assert ours.shape == theirs.shape, (name, layer)
        if layer in softmaxed(z):
            exp = np.exp(ours.astype(np.float64) - ours.max(axis=-1, keepdims=True))
            ours = exp / exp.sum(axis=-1, keepdims=True)
        if np.issubdtype(ours.dtype, np.integer):
            off = ours != theirs
        else:
            off = np.abs(ours - theirs) > ROUNDING * max(1, np.abs(theirs).max())
        off = off.reshape(len(off), -1).any(axis=1)
        assert not (off & ~ties).any(), (name, layer)
        apart |= off
        count += ours.size
    return count, int(apart.sum())


def softmaxed(z: Any) -> list[str]:
    """Return the layers whose output sums to 1: a softmax that the graph leaves out."""
    outs = {key.removeprefix("out/"): z[key] for key in z.files if key.startswith("out/")}
    return [k for k, y in outs.items() if (y >= 0).all() and np.allclose(y.sum(-1), 1, atol=1e-5)]


def test_every_layer_equals_larqs(recorded):
    total = apart = images = 0
    for name in names(recorded):
        z = np.load(recorded / f"{name}.npz")
        graph = from_keras(recorded / f"{name}.h5")
        count, off = compare(graph, z, name)
        total, apart, images = total + count, apart + off, images + len(z["x"])
        assert bnnsim.verify(graph, z["x"]).ok, name
    print(f"{total} values of {images} images; {apart} images decided otherwise at a tie")
    assert total > 100_000
    assert apart <= images // 20


def test_both_forms_hold_one_model(recorded):
    for name in names(recorded):
        a, b = (from_keras(recorded / f"{name}.{suffix}") for suffix in ("h5", "keras"))
        assert a.nodes == b.nodes, name
        for tensor in a.constants():
            np.testing.assert_array_equal(tensor.data, b.tensor(tensor.name).data)
    whole = from_keras(recorded / "quicknet.h5")
    for weights in ("quicknet_weights.h5", "quicknet.weights.h5"):
        graph = from_keras(recorded / "quicknet.json", recorded / weights)
        assert graph.nodes == whole.nodes
        for tensor in whole.constants():
            np.testing.assert_array_equal(tensor.data, graph.tensor(tensor.name).data)


def test_every_kernel_is_quantized_as_larq_does(recorded):
    kinds: dict[str, int] = {}
    for name in names(recorded):
        z = np.load(recorded / f"{name}.npz")
        with h5py.File(recorded / f"{name}.h5") as file:
            for layer in json.loads(file.attrs["model_config"])["config"]["layers"]:
                for part in ("kernel", "depthwise", "pointwise"):
                    config = layer["config"]
                    quantizer = read_quantizer(Fields(name, config), f"{part}_quantizer")
                    if quantizer is None:
                        continue
                    short = part if part == "kernel" else f"{part}_kernel"
                    place = f"{config['name']}/{short}"
                    latent = file["model_weights"][config["name"]][f"{place}:0"][()]
                    q = quantized(latent, quantizer)
                    ours = q.values * (1 if q.scale is None else q.scale.astype(np.float64))
                    theirs = z[f"weight/{place}"]
                    if q.scale is None:
                        np.testing.assert_array_equal(ours, theirs)
                    else:
                        assert np.abs(ours - theirs).max() < 1e-6, (name, place)
                    kinds[quantizer.name] = kinds.get(quantizer.name, 0) + ours.size
    assert len(kinds) >= 7, kinds


def listing(group: h5py.Group) -> dict[str, Any]:
    """Return groups, datasets and attributes of a file, with their types."""
    found: dict[str, Any] = {}

    def visit(path: str, item: Any) -> None:
        attrs = {key: str(item.attrs.get_id(key).dtype) for key in item.attrs}
        held = (item.shape, str(item.dtype)) if isinstance(item, h5py.Dataset) else None
        found[path] = (held, attrs)

    group.visititems(visit)
    return found | {"": {key: str(group.attrs.get_id(key).dtype) for key in group.attrs}}


def weights_of(file: h5py.File) -> dict[str, dict[str, np.ndarray]]:
    root = file["model_weights"]
    return {
        layer: {
            path.split("/")[-1].split(":")[0]: root[layer][path][()]
            for path in root[layer].attrs["weight_names"]
        }
        for layer in root.attrs["layer_names"]
    }


def test_the_writer_of_our_tests_writes_as_keras_does(recorded):
    """Else the fast tests would read files of a form of their own."""
    seen = set()
    for name in names(recorded):
        buffer = io.BytesIO()
        with h5py.File(recorded / f"{name}.h5") as file, h5py.File(buffer, "w") as own:
            if file.attrs["keras_version"].startswith("3"):
                continue  # has names of its own, which test_keras.py writes
            config, weights = json.loads(file.attrs["model_config"]), weights_of(file)
            write_whole(own, config, weights)
            del own["model_weights"].attrs["layer_names"]
            own["model_weights"].create_group("top_level_model_weights").attrs["weight_names"] = []
            own["model_weights"].attrs["layer_names"] = list(weights)
            theirs = {k: v for k, v in listing(file).items() if "optimizer_weights" not in k}
            theirs[""].pop("training_config", None)
            assert listing(own) == theirs, name
        for layer in config["config"]["layers"]:
            if layer["class_name"] in DEFAULTS:
                keys = set(layer["config"]) - {"name", "trainable", "dtype"}
                assert keys == set(DEFAULTS[layer["class_name"]]), layer["class_name"]
                seen.add(layer["class_name"])
        if config["class_name"] == "Functional":
            _check_archive(recorded / f"{name}.keras", weights, name)
    assert seen == set(DEFAULTS)


def _check_archive(path: Path, weights: dict[str, dict[str, np.ndarray]], name: str) -> None:
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
        assert [entry.filename for entry in archive.infolist()] == [
            "metadata.json", "config.json", "model.weights.h5",
        ]  # fmt: skip
        real = io.BytesIO(archive.read("model.weights.h5"))
    own = io.BytesIO(numbered_bytes(config, weights))
    with h5py.File(real) as theirs, h5py.File(own) as ours:
        assert listing(ours) == listing(theirs), name
    assert snake("QuantConv2D") == "quant_conv2d"
