"""Published and freshly exported QONNX networks against qonnx's own executor, tensor by tensor."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("qonnx")

from onnx_nets import QONNX, expected, node, write

from bnnsim.engine.execute import Plan
from bnnsim.execution import executable, reference_tensors
from bnnsim.frontends.onnx_import import from_onnx
from bnnsim.train.data import idx_bytes, parse_idx

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
F = np.float32


class Qonnx:
    """A model in qonnx's executor."""

    def __init__(self, path: Path) -> None:
        from qonnx.core.modelwrapper import ModelWrapper
        from qonnx.transformation.fold_constants import FoldConstants
        from qonnx.transformation.infer_shapes import InferShapes

        model = ModelWrapper(str(path))
        for step in (InferShapes(), FoldConstants(), InferShapes()):
            model = model.transform(step)
        self.model = model

    def tensors(self, image: np.ndarray) -> dict[str, np.ndarray]:
        from qonnx.core.onnx_exec import execute_onnx

        name = self.model.graph.input[0].name
        return execute_onnx(self.model, {name: image}, True)


def compare(path: Path, images: np.ndarray) -> dict[str, tuple[int, int, float]]:
    """Return per tensor its elements, how many differ, and by how much at most.

    ``images`` are (N, H, W, C). The engine must equal the reference on the tensors it forms.
    """
    graph = from_onnx(path)
    pairs = graph.meta["onnx"]
    ours = reference_tensors(graph, images, list(pairs))
    lowered = executable(graph, "native")
    kept = [name for name in pairs if name in lowered.tensors]
    for name, got in Plan(lowered, keep=kept).run(images, keep=kept).items():
        assert (got == ours[name]).all(), name
    theirs = Qonnx(path)
    found = {name: (0, 0, 0.0) for name in pairs}
    for i in range(len(images)):
        tensors = theirs.tensors(np.ascontiguousarray(images[i : i + 1].transpose(0, 3, 1, 2)))
        for name, pair in pairs.items():
            mine = ours[name][i : i + 1].astype(F) * F(pair["factor"])
            mine = mine.transpose(0, 3, 1, 2) if mine.ndim == 4 else mine
            apart = np.abs(mine - tensors[pair["tensor"]].reshape(mine.shape))
            size, differ, worst = found[name]
            found[name] = (
                size + apart.size, differ + int((apart > 0).sum()), max(worst, float(apart.max()))
            )  # fmt: skip
    return found


def assert_only_batch_norms_round_apart(found: dict[str, tuple[int, int, float]]) -> None:
    for name, (_, differ, worst) in found.items():
        if name.startswith("bn"):
            assert worst < 4e-6, name
        else:
            assert differ == 0, name


@pytest.mark.parametrize(("name", "share"), [("TFC_1W1A", 0.9296), ("TFC_1W2A", 0.9474)])
def test_tfc_equals_qonnx_node_by_node_and_has_its_accuracy(name, share, data_folder) -> None:
    path = data_folder / "qonnx" / f"{name}.onnx"
    images, labels = (
        parse_idx(idx_bytes(data_folder / "mnist", stem), stem, dims=dims)
        for stem, dims in (("t10k-images-idx3-ubyte", 3), ("t10k-labels-idx1-ubyte", 1))
    )
    x = (images / 255).astype(F).reshape(-1, 28, 28, 1)
    graph = executable(from_onnx(path), "native")
    logits = Plan(graph).run(x)[graph.outputs[0]]
    assert (logits.argmax(axis=1) == labels).mean() == share
    found = compare(path, x[:1000])
    assert len(found) == 18
    assert sum(size for size, _, _ in found.values()) > 3_000_000
    assert_only_batch_norms_round_apart(found)


def shaken(model, rng) -> None:
    """Give batch norms random statistics of both signs, some with exact ties at small sums."""
    import torch

    def put(values):
        return torch.tensor(values, dtype=torch.float32)

    for layer in model.modules():
        if isinstance(layer, (torch.nn.BatchNorm1d, torch.nn.BatchNorm2d)):
            n = layer.num_features
            layer.weight.data = put(rng.choice([-1, 1], n) * rng.uniform(0.3, 1.5, n))
            layer.bias.data = put(rng.normal(0, 0.5, n))
            layer.running_mean = put(rng.normal(0, 10, n))
            layer.running_var = put(rng.uniform(50, 2000, n))
            layer.running_mean[::8] = layer.running_mean[::8].round()
            layer.bias.data[::8] = 0  # the batch norm of that sum is 0 exactly, both ways


@pytest.mark.parametrize("name", ["cnv_1w1a", "cnv_1w2a", "cnv_2w2a"])
def test_brevitas_cnv_equals_qonnx(name, tmp_path, rng, seed) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("brevitas")
    from brevitas.export import export_qonnx
    from brevitas_examples.bnn_pynq.models import model_with_cfg

    torch.manual_seed(seed)
    model, _ = model_with_cfg(name, pretrained=False)
    shaken(model, rng)
    path = tmp_path / f"{name}.onnx"
    with contextlib.redirect_stdout(io.StringIO()):
        export_qonnx(model.eval(), torch.rand(1, 3, 32, 32), str(path))
    found = compare(path, rng.random((4, 32, 32, 3), dtype=F))
    kinds = {"".join(c for c in key.split(".")[0] if c.isalpha()) for key in found}
    assert {"conv", "bn", "pool", "dense"} <= kinds
    assert_only_batch_norms_round_apart(found)


@pytest.mark.parametrize("mode", ["ROUND", "CEIL", "FLOOR", "UP", "DOWN", "HALF_UP", "HALF_DOWN"])
def test_the_evaluators_of_our_own_tests_are_qonnx(mode, tmp_path, rng) -> None:
    constants = {
        "s": F(0.5),
        "z": F(1),
        "n": F(3),
        "m": F(2),
        "zero": F(0),
        "t": rng.normal(size=(7, 3)).astype(F),
    }
    x = (rng.integers(-30, 31, (1, 7)) / 8).astype(F)
    quant = node("Quant", ["x", "s", "z", "n"], "a", QONNX, signed=1, narrow=1, rounding_mode=mode)
    for last in (
        node("Trunc", ["a", "s", "zero", "n", "m"], "y", QONNX, rounding_mode=mode),
        node("MultiThreshold", ["a", "t"], "y", QONNX, out_scale=0.5, out_bias=-1.0,
             out_dtype="INT3"),
        node("BipolarQuant", ["a", "s"], "y", QONNX),
    ):  # fmt: skip
        used = {name: constants[name] for name in (*quant.input[1:], *last.input[1:])}
        path = write(tmp_path / "net.onnx", [quant, last], (1, 7), used, result=(1, 7))
        assert (Qonnx(path).tensors(x)["y"] == expected(path, x)).all()
