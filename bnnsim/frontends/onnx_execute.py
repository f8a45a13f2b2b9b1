"""Run an ONNX file outside of bnnsim, to hold the engine against it tensor by tensor.

Standard operators run in onnxruntime where it is installed, else in onnx's own evaluator; files
with QONNX operators need the package qonnx.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bnnsim.errors import SourceError, message
from bnnsim.frontends.onnx_file import OnnxModel, import_onnx, read_model, read_proto

Tensors = Mapping[str, np.ndarray]


class OnnxExecutor:
    """An ONNX file that can be run, image by image, with all its tensors.

    Parameters
    ----------
    path : path
        Checked as `bnnsim.frontends.onnx_import.from_onnx` does.

    Raises
    ------
    SourceError
        If what could run the file is not installed, or refuses it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path, self.model = str(path), read_model(path)
        ((self.input, _),) = self.model.inputs.items() or (("", None),)
        custom = any(node.domain for node in self.model.nodes)
        self.name = "qonnx" if custom else "onnxruntime"
        if not custom and importlib.util.find_spec("onnxruntime") is None:
            self.name = "onnx"
        if custom and importlib.util.find_spec("qonnx") is None:
            rule = "the package qonnx, for the file's QONNX operators"
            remedy = "Install it (pip install qonnx), or use --against reference."
            raise SourceError(message(f"{path}: verify against onnx", "no qonnx", rule, remedy))
        makers = {"qonnx": _qonnx, "onnxruntime": _runtime, "onnx": _evaluator}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._run = makers[self.name](self.path, self.model)
        except Exception as error:  # whatever another tool says about the file
            raise self._failed(error) from None

    def _failed(self, error: Exception) -> SourceError:
        text = str(error).strip().splitlines()
        got = f"{type(error).__name__}: {text[0] if text else ''}"
        return SourceError(message(f"{self.path}: {self.name}", got, "a file that it runs"))

    def tensors(self, images: np.ndarray, *, channels_first: bool) -> dict[str, np.ndarray]:
        """Return all tensors of a batch by their names in the file, in its order of axes.

        ``images`` are (N, H, W, C) or (N, features); ``channels_first`` says that the file has
        (N, C, H, W).
        """
        given = images.transpose(0, 3, 1, 2) if channels_first else images
        found: dict[str, list[np.ndarray]] = {}
        for index in range(len(given)):
            image = np.ascontiguousarray(given[index : index + 1])
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    values = self._run({self.input: image})
            except Exception as error:
                raise self._failed(error) from None
            for name, value in values.items():
                found.setdefault(name, []).append(np.asarray(value))
        return {
            name: np.concatenate(parts)
            for name, parts in found.items()
            if parts[0].ndim and len(parts[0]) == 1
        }


Runner = Callable[[Tensors], Tensors]


def _watched(path: str, model: OnnxModel) -> tuple[Any, list[str]]:
    """Return the file with every computed tensor as an output, and their names."""
    onnx = import_onnx()
    proto = read_proto(path)
    names = [name for node in model.nodes for name in node.outputs if name]
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    return proto, names


def _evaluator(path: str, model: OnnxModel) -> Runner:
    from onnx.reference import ReferenceEvaluator

    proto, names = _watched(path, model)
    session = ReferenceEvaluator(proto)
    return lambda feeds: dict(zip(names, session.run(None, dict(feeds)), strict=True))


def _runtime(path: str, model: OnnxModel) -> Runner:
    import onnxruntime

    proto, names = _watched(path, model)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda feeds: dict(zip(names, session.run(names, dict(feeds)), strict=True))


def _qonnx(path: str, _: OnnxModel) -> Runner:
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.fold_constants import FoldConstants
    from qonnx.transformation.infer_shapes import InferShapes

    model = ModelWrapper(path)
    for step in (InferShapes(), FoldConstants(), InferShapes()):
        model = model.transform(step)
    return lambda feeds: execute_onnx(model, dict(feeds), True)
