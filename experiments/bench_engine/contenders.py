"""The work that is timed, and who can do it: each contender is a function without arguments."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

import bnnsim
from bnnsim import kernels

Call = Callable[[], object]
SEED = 20161205
OURS = "bnnsim"  # the names of our contenders start so


@dataclass(frozen=True, slots=True)
class Work:
    """One workload: its binary multiply-accumulates and everyone who does it here."""

    name: str
    macs: float
    calls: dict[str, Call]


def bipolar(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return np.where(rng.random(shape, np.float32) < 0.5, np.int8(1), np.int8(-1))


def products(rows: tuple[int, ...], size: int, threads: int) -> Iterator[Work]:
    """Yield products of (M, size) and (size, size) matrices of -1 and +1."""
    rng = np.random.default_rng(SEED)
    b = bipolar(rng, size, size)
    weights = kernels.pack_weights(b)
    limits = _limits(rng, size, weights.K)
    for M in rows:
        a = bipolar(rng, M, size)
        packed, sums = kernels.pack(a), np.empty((M, size), np.int32)
        bits = np.empty((M, -(-size // 64)), np.uint64)
        calls: dict[str, Call] = {
            OURS: lambda p=packed, o=sums: kernels.gemm(p, weights, out=o),
            f"{OURS}, bits": lambda p=packed, o=bits: kernels.gemm(
                p, weights, thresholds=limits, out=o
            ),
            f"{OURS}, {threads} threads": lambda p=packed, o=sums: kernels.gemm(
                p, weights, threads=threads, out=o
            ),
        }
        calls |= _torch(lambda x, y: x @ y.T, a, b)
        calls |= _onnx("MatMul", a, b.T)
        calls |= _numkong(packed, kernels.pack(b))
        yield Work(f"gemm {M}x{size}x{size}", float(M) * size * size, calls)


def convolutions(sides: tuple[tuple[int, int], ...], threads: int) -> Iterator[Work]:
    """Yield 3x3 convolutions, zero padded, of one (side, side, channels) image."""
    rng = np.random.default_rng(SEED)
    for side, channels in sides:
        x, w = bipolar(rng, 1, side, side, channels), bipolar(rng, channels, 3, 3, channels)
        weights, packed = kernels.pack_weights(w), kernels.pack(x)
        limits = _limits(rng, channels, weights.K)
        sums = np.empty((1, side, side, channels), np.int32)
        bits = np.empty((1, side, side, -(-channels // 64)), np.uint64)

        def ours(p=packed, w=weights, **options: Any) -> Call:
            return lambda: kernels.conv2d(p, w, pads=(1, 1, 1, 1), **options)

        calls = {
            OURS: ours(out=sums),
            f"{OURS}, bits": ours(thresholds=limits, out=bits),
            f"{OURS}, {threads} threads": ours(threads=threads, out=sums),
        }
        nchw = [np.ascontiguousarray(v.transpose(0, 3, 1, 2)) for v in (x, w)]
        calls |= _torch(_convolve, *nchw)
        calls |= _onnx("Conv", *nchw, pads=[1, 1, 1, 1])
        yield Work(f"conv {side}x{side}x{channels}", 9.0 * side * side * channels**2, calls)


def networks(batches: dict[str, tuple[int, ...]], threads: int) -> Iterator[Work]:
    """Yield whole networks, uint8 images to logits."""
    for name, sizes in batches.items():
        graph = bnnsim.load(f"zoo:{name}:random")
        engine = bnnsim.Engine(graph)
        several = bnnsim.Engine(graph, threads=threads)
        shape = graph.tensor(graph.inputs[0]).shape
        macs = sum(_macs(graph, node) for node in graph.nodes)
        for batch in sizes:
            x = np.random.default_rng(SEED).integers(0, 256, (batch, *shape)).astype(np.uint8)
            calls: dict[str, Call] = {
                OURS: lambda e=engine, x=x: e.run(x),
                f"{OURS}, {threads} threads": lambda e=several, x=x: e.run(x),
            }
            yield Work(f"{name}, batch {batch}", macs * batch, calls)


def _macs(graph: bnnsim.Graph, node: Any) -> float:
    if node.op not in ("Dense", "Conv2d"):
        return 0.0
    weight, out = graph.tensor(node.inputs[1]), graph.result(node)
    return float(out.size) * weight.size / weight.shape[0]


def _limits(rng: np.random.Generator, channels: int, K: int) -> kernels.PackedThresholds:
    t = rng.integers(-50, 50, channels).astype(np.int32)
    return kernels.pack_thresholds(t, bipolar(rng, channels), K)


def _convolve(x: Any, w: Any) -> Any:
    import torch

    return torch.nn.functional.conv2d(x, w, padding=1)


def _torch(call: Callable[[Any, Any], object], x: np.ndarray, w: np.ndarray) -> dict[str, Call]:
    if find_spec("torch") is None:
        return {}
    import torch

    torch.set_num_threads(1)
    calls: dict[str, Call] = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        operands = [torch.from_numpy(np.ascontiguousarray(v)).to(dtype) for v in (x, w)]
        calls[f"torch {name}"] = lambda o=operands: call(*o)
    return calls


def _onnx(op: str, x: np.ndarray, w: np.ndarray, **attrs: Any) -> dict[str, Call]:
    """Return one-node onnxruntime models in float32 and in uint8 x int8."""
    if find_spec("onnxruntime") is None or find_spec("onnx") is None:
        return {}
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    calls: dict[str, Call] = {}
    for name, kind, x_type, w_type, result in (
        ("float32", op, np.float32, np.float32, TensorProto.FLOAT),
        ("int8", f"{op}Integer", np.uint8, np.int8, TensorProto.INT32),
    ):
        weight = numpy_helper.from_array(np.ascontiguousarray(w, w_type), "w")
        of = helper.np_dtype_to_tensor_dtype(np.dtype(x_type))
        graph = helper.make_graph(
            [helper.make_node(kind, ["x", "w"], ["y"], **attrs)],
            "one",
            [helper.make_tensor_value_info("x", of, x.shape)],
            [helper.make_tensor_value_info("y", result, None)],
            [weight],
        )
        opset = helper.make_opsetid("", 13)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
        session = onnxruntime.InferenceSession(model.SerializeToString(), options)
        feed = {"x": (x > 0).astype(x_type)}
        calls[f"onnxruntime {name}"] = lambda s=session, f=feed: s.run(None, f)
    return calls


def _numkong(a: np.ndarray, b: np.ndarray) -> dict[str, Call]:
    """Return the packed Hamming distances of rows of bits."""
    if find_spec("numkong") is None:
        return {}
    import numkong

    packed, rows = numkong.hammings_pack(b.view(np.uint8), dtype="uint1"), a.view(np.uint8)
    return {"numkong": lambda: numkong.hammings_packed(rows, packed)}
