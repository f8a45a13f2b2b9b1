"""The whole networks that are timed, images in to logits out, and what others make of them.

Others run the same layers with the same weights and a ReLU for each sign, batch norm folded into
biases, as their users would: the answers differ, the work does not.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import bnnsim
from experiments.bench_engine import peers
from experiments.bench_engine.clock import Call
from experiments.bench_engine.kernel_work import SEED, several
from experiments.bench_engine.sampling import OURS, Row, Work

CALIBRATION_IMAGES = 4
SLOW_BATCH = 1000  # from here on a call takes seconds, and float peers are left to smaller batches


@dataclass(frozen=True, slots=True)
class Layer:
    """A weighted layer: weight (N, K) or (N, C, R, S); ``pool`` follows it."""

    weight: np.ndarray
    pad: int
    pool: bool
    last: bool


def layers_of(graph: bnnsim.Graph) -> list[Layer]:
    """Return the weighted layers; a dense one after a flatten reads channels first."""
    nodes = [node for node in graph.nodes if node.op in ("Dense", "Conv2d", "MaxPool")]
    weighted = [i for i, node in enumerate(nodes) if node.op != "MaxPool"]
    layers, shape = [], ()
    for i in weighted:
        weight = graph.tensor(nodes[i].inputs[1]).data.astype(np.float32)
        if weight.ndim == 4:
            weight = weight.transpose(0, 3, 1, 2)
        elif len(shape) == 3:
            weight = weight.reshape(-1, *shape).transpose(0, 3, 1, 2).reshape(len(weight), -1)
        pool = i + 1 < len(nodes) and nodes[i + 1].op == "MaxPool"
        pad = nodes[i].attrs["pads"][0] if weight.ndim == 4 else 0
        layers.append(Layer(np.ascontiguousarray(weight), pad, pool, i == weighted[-1]))
        shape = graph.result(nodes[i + pool]).shape
    return layers


def networks(batches: dict[str, tuple[int, ...]], threads: int) -> Iterator[Work]:
    """Yield whole networks, uint8 images to logits."""
    for name, sizes in batches.items():
        graph = bnnsim.load(f"zoo:{name}:random")
        engine, shared = bnnsim.Engine(graph), bnnsim.Engine(graph, threads=threads)
        layers, shape = layers_of(graph), graph.tensor(graph.inputs[0]).shape
        models = _onnx_models(layers, shape) if "onnxruntime" in peers.installed() else {}
        module = _torch_module(layers) if "torch" in peers.installed() else None
        macs = sum(_macs(graph, node) for node in graph.nodes)
        for batch in sizes:
            rng = np.random.default_rng(SEED)
            x = rng.integers(0, 256, (batch, *shape), np.uint8)
            calls: dict[str, Call] = {
                OURS: partial(engine.run, x),
                several(threads): partial(shared.run, x),
            }
            planes = np.ascontiguousarray(np.moveaxis(x, -1, 1))
            if module is not None:
                calls |= _torch_calls(module, planes)
            for kind, model in models.items():
                if batch < SLOW_BATCH or kind == "int8":
                    run = peers.session(model).run
                    calls[f"onnxruntime {kind}"] = partial(run, None, {"x": planes})
            if x.ndim == 2 and "numkong" in peers.installed():
                calls["numkong"] = _numkong_mlp(layers, x)
            yield Work(f"{name}, batch {batch}", macs * batch, calls)


def profiles(batches: dict[str, tuple[int, ...]], rounds: int) -> Iterator[Row]:
    """Yield where the time of each network goes on one thread, step by step."""
    for name, sizes in batches.items():
        graph = bnnsim.load(f"zoo:{name}:random")
        engine, shape = bnnsim.Engine(graph), graph.tensor(graph.inputs[0]).shape
        for batch in sizes:
            x = np.random.default_rng(SEED).integers(0, 256, (batch, *shape), np.uint8)
            found = engine.profile(x, rounds=rounds if batch < SLOW_BATCH else min(rounds, 5))
            yield {"work": f"{name}, batch {batch}", **found.to_dict()}


def _macs(graph: bnnsim.Graph, node: Any) -> float:
    if node.op not in ("Dense", "Conv2d"):
        return 0.0
    weight, out = graph.tensor(node.inputs[1]), graph.result(node)
    return float(out.size) * weight.size / weight.shape[0]


def _torch_module(layers: list[Layer]) -> Any:
    import torch

    parts: list[Any] = []
    for layer in layers:
        if layer.weight.ndim == 4:
            out, channels, kernel, _ = layer.weight.shape
            part = torch.nn.Conv2d(channels, out, kernel, padding=layer.pad)
        else:
            part = torch.nn.Linear(*layer.weight.shape[::-1])
            parts.append(torch.nn.Flatten())
        part.weight.data = torch.from_numpy(layer.weight)
        parts += [part, *([torch.nn.MaxPool2d(2)] if layer.pool else [])]
        parts += [] if layer.last else [torch.nn.ReLU(inplace=True)]
    return torch.nn.Sequential(*parts).eval()


def _torch_calls(module: Any, x: np.ndarray) -> dict[str, Call]:
    import torch

    torch.set_num_threads(1)
    images = torch.from_numpy(x)

    def run(module: Any, dtype: Any) -> Any:
        with torch.inference_mode():
            return module(images.to(dtype) * (2 / 255) - 1)

    calls: dict[str, Call] = {}
    if len(x) < SLOW_BATCH:
        calls["torch float32"] = partial(run, module, torch.float32)
        half = deepcopy(module).to(torch.bfloat16)
        calls["torch bfloat16"] = partial(run, half, torch.bfloat16)
    if images.ndim == 2:  # dynamic quantization has no convolutions
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            bytes_ = torch.ao.quantization.quantize_dynamic(module, {torch.nn.Linear})
        calls["torch int8"] = partial(run, bytes_, torch.float32)
    return calls


def _onnx_models(layers: list[Layer], shape: tuple[int, ...]) -> dict[str, bytes]:
    """Return the float32 model, and int8 as onnxruntime's static quantization makes it (QDQ)."""
    from onnxruntime.quantization import CalibrationDataReader, quantize_static

    class Random(CalibrationDataReader):
        def __init__(self) -> None:
            rng = np.random.default_rng(SEED)
            of = (1, *shape[-1:], *shape[:-1])
            images = rng.integers(0, 256, (CALIBRATION_IMAGES, *of), np.uint8)
            self.left = [{"x": image} for image in images]

        def get_next(self) -> dict[str, np.ndarray] | None:
            return self.left.pop() if self.left else None

    with tempfile.TemporaryDirectory() as folder:
        path, quantized = Path(folder) / "float32.onnx", Path(folder) / "int8.onnx"
        path.write_bytes(_float_model(layers, shape).SerializeToString())
        quantize_static(path, quantized, Random(), per_channel=True)
        return {"float32": path.read_bytes(), "int8": quantized.read_bytes()}


def _float_model(layers: list[Layer], shape: tuple[int, ...]) -> Any:
    from onnx import TensorProto, helper, numpy_helper

    scale, one = np.float32(2 / 255), np.float32(1)
    constants = {"scale": scale, "one": one}
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["f", "scale"], ["m"]),
        helper.make_node("Sub", ["m", "one"], ["a0"]),
    ]
    for i, layer in enumerate(layers):
        at, w, bias, out = f"a{i}", f"w{i}", f"b{i}", f"a{i + 1}"
        constants |= {w: layer.weight, bias: np.zeros(len(layer.weight), np.float32)}
        if layer.weight.ndim == 4:
            pads = [layer.pad] * 4
            nodes.append(helper.make_node("Conv", [at, w, bias], [f"c{i}"], pads=pads))
        else:
            nodes.append(helper.make_node("Flatten", [at], [f"r{i}"]))
            nodes.append(helper.make_node("Gemm", [f"r{i}", w, bias], [f"c{i}"], transB=1))
        kept = f"p{i}" if layer.pool else out
        nodes.append(helper.make_node("Identity" if layer.last else "Relu", [f"c{i}"], [kept]))
        if layer.pool:
            side = {"kernel_shape": [2, 2], "strides": [2, 2]}
            nodes.append(helper.make_node("MaxPool", [kept], [out], **side))
    graph = helper.make_graph(
        nodes, "net",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, ["n", *shape[-1:], *shape[:-1]])],
        [helper.make_tensor_value_info(f"a{len(layers)}", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(v), name) for name, v in constants.items()],
    )  # fmt: skip
    opset = helper.make_opsetid("", peers.OPSET)
    return helper.make_model(graph, opset_imports=[opset], ir_version=8)


def _numkong_mlp(layers: list[Layer], x: np.ndarray) -> Call:
    """Return a dense network of packed Hamming distances, its first layer in numpy's float32."""
    import numkong

    first, *rest = [layer.weight for layer in layers]
    transposed = np.ascontiguousarray(first.T)
    packed = [
        numkong.hammings_pack(np.packbits(w > 0, axis=1), dtype="uint1") for w in rest
    ]  # fmt: skip
    halves = [np.full(len(w), w.shape[1] // 2, np.uint32) for w in rest]

    def run() -> np.ndarray:
        bits = np.packbits(x.astype(np.float32) @ transposed >= 0, axis=1)
        for weights, half in zip(packed[:-1], halves[:-1], strict=True):
            distances = np.asarray(numkong.hammings_packed(bits, weights))
            bits = np.packbits(distances <= half, axis=1)
        return np.asarray(numkong.hammings_packed(bits, packed[-1])).astype(np.float32)

    return run
