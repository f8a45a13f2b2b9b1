"""Small ONNX models written with onnx.helper, and what evaluates them besides bnnsim.

The quantizers of QONNX are written here from its documentation, for onnx's own evaluator;
`test_onnx_oracles.py` holds them against the qonnx package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun

from bnnsim.engine.execute import Plan
from bnnsim.engine.reference import execute as reference_run
from bnnsim.execution import executable
from bnnsim.frontends.onnx_import import from_onnx

BREVITAS, QONNX, FINN = "onnx.brevitas", "qonnx.custom_op.general", "finn.custom_op.general"
_KINDS = {np.dtype("float32"): TensorProto.FLOAT, np.dtype("uint8"): TensorProto.UINT8}


def node(op: str, inputs: Sequence[str], output: str, domain: str = "", **attrs):
    return helper.make_node(
        op, list(inputs), [output], name=f"{op}_{output}", domain=domain, **attrs
    )


def write(
    path: Path,
    nodes: Sequence,
    shape: Sequence[int | str],
    constants: Mapping[str, np.ndarray] | None = None,
    *,
    opset: int = 19,  # the evaluator takes statistics of the batch below 14, and no QDQ below 19
    dtype: type = np.float32,
    output: str = "y",
    result: Sequence[int] | None = None,
) -> Path:
    """Write a model of input ``x`` with the batch first, and output ``y``."""
    held = [numpy_helper.from_array(np.asarray(v), k) for k, v in (constants or {}).items()]
    graph = helper.make_graph(
        list(nodes),
        "net",
        [helper.make_tensor_value_info("x", _KINDS[np.dtype(dtype)], list(shape))],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, result)],
        held,
    )
    domains = {"": opset} | {n.domain: 1 for n in nodes if n.domain}
    opsets = [helper.make_opsetid(domain, version) for domain, version in domains.items()]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def _round(values: np.ndarray, mode: str) -> np.ndarray:
    size, sign = np.abs(values), np.sign(values)
    table = {
        "ROUND": np.round(values),
        "HALF_EVEN": np.round(values),
        "CEIL": np.ceil(values),
        "FLOOR": np.floor(values),
        "UP": sign * np.ceil(size),
        "DOWN": sign * np.floor(size),
        "HALF_UP": sign * np.floor(size + np.float32(0.5)),
        "HALF_DOWN": sign * np.ceil(size - np.float32(0.5)),
    }
    return table[mode]


def _evaluators(domain: str) -> list[type[OpRun]]:
    class Quant(OpRun):
        op_domain = domain

        def _run(self, x, scale, zero, bits, narrow=0, signed=1, rounding_mode="ROUND"):
            levels = x / scale + zero
            width = int(np.asarray(bits).reshape(-1)[0])
            if width == 1 and signed:
                whole = np.where(levels >= 0, np.float32(1), np.float32(-1))
            else:
                low = -(2 ** (width - 1)) + narrow if signed else 0
                high = 2 ** (width - 1) - 1 if signed else 2**width - 1 - narrow
                clipped = np.minimum(np.maximum(levels, np.float32(low)), np.float32(high))
                whole = _round(clipped, rounding_mode)
            return (((whole - zero) * scale).astype(np.float32),)

    class BipolarQuant(OpRun):
        op_domain = domain

        def _run(self, x, scale):
            return ((np.where(x >= 0, 1, -1) * scale).astype(np.float32),)

    class MultiThreshold(OpRun):
        op_domain = domain

        def _run(self, x, table, out_bias=0.0, out_dtype="", out_scale=1.0, data_layout=""):
            axis = -1 if data_layout == "NHWC" else 1
            moved = np.moveaxis(x, axis, -1)
            counts = np.zeros(moved.shape, np.float32)
            for step in range(table.shape[1]):
                counts += moved >= table[:, step]
            y = np.float32(out_scale) * np.moveaxis(counts, -1, axis) + np.float32(out_bias)
            return (y.astype(np.float32),)

    class Trunc(OpRun):
        op_domain = domain

        def _run(self, x, scale, zero, wide, *rest, narrow=0, rounding_mode="FLOOR", signed=1):
            whole = np.round(x / scale + zero)
            if len(rest) == 1:
                step, out_scale = 2.0 ** (wide - rest[0]), scale
                low, high = -np.inf, np.inf
            else:
                out_scale, bits = rest
                step = 2.0 ** np.round(np.log2(out_scale / scale))
                low = -(2.0 ** (bits - 1)) + narrow if signed else 0.0
                high = 2.0 ** (bits - 1) - 1 if signed else 2.0**bits - 1 - narrow
            y = _round(np.clip(whole / step, low, high), rounding_mode) * out_scale
            return (y.astype(np.float32),)

    return [Quant, BipolarQuant, MultiThreshold, Trunc]


def expected(path: Path, x: np.ndarray) -> np.ndarray:
    """Return what onnx's evaluator computes, image by image; x is in the file's order."""
    model = onnx.load(path)
    own = [op for domain in (BREVITAS, QONNX, FINN) for op in _evaluators(domain)]
    evaluator = ReferenceEvaluator(model, new_ops=own)
    return np.concatenate([evaluator.run(None, {"x": x[i : i + 1]})[0] for i in range(len(x))])


def executed(path: Path, x: np.ndarray, **options) -> tuple[np.ndarray, list[str]]:
    """Return the engine's outputs in the file's order, and the ops of the model graph.

    The engine must equal the reference on the model graph, before any pass.
    """
    graph = from_onnx(path, **options)
    channels_last = graph.tensor("input").shape != x.shape[1:]
    ours = np.ascontiguousarray(x.transpose(0, 2, 3, 1)) if channels_last else x
    lowered = executable(graph, "native")
    got = Plan(lowered).run(ours)[lowered.outputs[0]]
    assert (got == reference_run(graph, ours, keep=())[graph.outputs[0]]).all()
    return got.transpose(0, 3, 1, 2) if got.ndim == 4 else got, [n.op for n in graph.nodes]
