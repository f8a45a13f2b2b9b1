"""Other libraries on the same arrays: each function returns the calls of those installed here."""

from __future__ import annotations

import warnings
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import numpy as np

from experiments.bench_engine.clock import Call

NEEDS = {"torch": ("torch",), "onnxruntime": ("onnxruntime", "onnx"), "numkong": ("numkong",)}
OPSET = 13


def installed() -> dict[str, str]:
    """Return the versions of the peers that can be timed here."""
    return {
        peer: version(peer)
        for peer, modules in NEEDS.items()
        if all(find_spec(module) is not None for module in modules)
    }


def skipped() -> dict[str, str]:
    """Return why each of the other peers is not timed."""
    missing = {peer: modules for peer, modules in NEEDS.items() if peer not in installed()}
    return {peer: f"not installed: {', '.join(m)}" for peer, m in missing.items()}


def product_calls(
    a: np.ndarray, b: np.ndarray, packed_a: np.ndarray, packed_b: np.ndarray
) -> dict[str, Call]:
    """Return calls for ``a @ b.T``, int8 values of -1 and +1, by everyone but us."""
    calls: dict[str, Call] = {}
    if "torch" in installed():
        import torch

        x, w = torch.from_numpy(a), torch.from_numpy(b)
        calls |= _torch_floats(lambda x, w: x @ w.T, x, w)
        calls["torch int8"] = lambda: torch._int_mm(x, w.T)
    if "onnxruntime" in installed():
        calls |= _onnx_node("MatMul", a, np.ascontiguousarray(b.T))
    if "numkong" in installed():
        import numkong

        rows = packed_a.view(np.uint8)
        weights = numkong.hammings_pack(packed_b.view(np.uint8), dtype="uint1")
        calls["numkong"] = lambda: numkong.hammings_packed(rows, weights)
    return calls


def convolution_calls(x: np.ndarray, w: np.ndarray) -> dict[str, Call]:
    """Return calls for a 3x3 convolution, zero padded, of NHWC ``x`` with (N, 3, 3, C) ``w``."""
    x, w = (np.ascontiguousarray(v.transpose(0, 3, 1, 2)) for v in (x, w))
    calls: dict[str, Call] = {}
    if "torch" in installed():
        import torch

        def convolve(x: Any, w: Any) -> Any:
            return torch.nn.functional.conv2d(x, w, padding=1)

        calls |= _torch_floats(convolve, torch.from_numpy(x), torch.from_numpy(w))
        calls["torch int8"] = _quantized_convolution(x, w)
    if "onnxruntime" in installed():
        calls |= _onnx_node("Conv", x, w, pads=[1, 1, 1, 1])
    return calls


def _torch_floats(call: Any, x: Any, w: Any) -> dict[str, Call]:
    import torch

    torch.set_num_threads(1)
    calls: dict[str, Call] = {}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        operands = x.to(dtype), w.to(dtype)
        calls[f"torch {name}"] = lambda o=operands: call(*o)
    return calls


def _quantized_convolution(x: np.ndarray, w: np.ndarray) -> Call:
    import torch

    with warnings.catch_warnings():  # quantized tensors: the only int8 convolution torch has here
        warnings.simplefilter("ignore")
        to = torch.quantize_per_tensor
        image = to(torch.from_numpy(x).float(), 1.0, 1, torch.quint8)
        weights = to(torch.from_numpy(w).float(), 1.0, 0, torch.qint8)
    pack, run = torch.ops.quantized.conv2d_prepack, torch.ops.quantized.conv2d
    packed = pack(weights, None, [1, 1], [1, 1], [1, 1], 1)
    return lambda: run(image, packed, 9.0, 128)


def session(model: Any, threads: int = 1) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def _onnx_node(op: str, x: np.ndarray, w: np.ndarray, **attrs: Any) -> dict[str, Call]:
    """Return one-node models in float32 and in uint8 x int8."""
    one, zero = np.float32(1), np.zeros((), np.uint8)
    if op == "Conv":
        scales = {"s": one, "z": zero, "zw": zero.astype(np.int8)}
        int8 = "QLinearConv", ["x", "s", "z", "w", "s", "zw", "s", "z"], scales, np.uint8
    else:
        int8 = "MatMulInteger", ["x", "w"], {}, np.int32
    return {
        "onnxruntime float32": _onnx_call(
            (op, ["x", "w"], {}, np.float32), x, w, np.float32, attrs
        ),
        "onnxruntime int8": _onnx_call(int8, x > 0, w.astype(np.int8), np.uint8, attrs),
    }


def _onnx_call(
    node: tuple[str, list[str], dict[str, Any], Any], x: np.ndarray, w: np.ndarray,
    x_type: Any, attrs: dict[str, Any],
) -> Call:  # fmt: skip
    from onnx import helper, numpy_helper

    op, inputs, constants, result = node
    of = [helper.np_dtype_to_tensor_dtype(np.dtype(dtype)) for dtype in (x_type, result)]
    weight = w.astype(np.float32) if x_type is np.float32 else w
    graph = helper.make_graph(
        [helper.make_node(op, inputs, ["y"], **attrs)],
        "one",
        [helper.make_tensor_value_info("x", of[0], x.shape)],
        [helper.make_tensor_value_info("y", of[1], None)],
        [numpy_helper.from_array(np.asarray(v), n) for n, v in ({"w": weight} | constants).items()],
    )
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    run, feed = session(model.SerializeToString()).run, {"x": x.astype(x_type)}
    return lambda: run(None, feed)
