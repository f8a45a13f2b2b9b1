"""Import trained Keras and larq models from their files, without TensorFlow.

A file is data: its config is read as JSON, its weights as arrays; no code in it is ever run.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bnnsim.errors import SourceError, message
from bnnsim.frontends import larq_quantizers
from bnnsim.frontends.builder import GraphBuilder
from bnnsim.frontends.importer import Activation, Importer
from bnnsim.frontends.keras_activations import quantize, scaled
from bnnsim.frontends.keras_config import Layer, Model, read_model
from bnnsim.frontends.keras_fields import Fields
from bnnsim.frontends.keras_files import keras_file
from bnnsim.frontends.keras_shapes import HANDLERS
from bnnsim.frontends.keras_uses import Probabilities, Use, unsupported
from bnnsim.frontends.keras_weights import WeightFile
from bnnsim.graph.dtypes import FLOAT32, UINT8
from bnnsim.graph.ir import Graph
from bnnsim.graph.shape_rules import MAX_ELEMENTS

_INPUTS = {"float32": FLOAT32, "uint8": UINT8}
_LARGEST = 2**16
_CONSTRAINTS = ("kernel_constraint", "depthwise_constraint", "pointwise_constraint")


def from_keras(
    path: str | Path,
    weights: str | Path | None = None,
    input_shape: Sequence[int] | None = None,
) -> Graph:
    """Lower a Keras or larq model to a graph.

    Parameters
    ----------
    path : path
        A whole model as ``.h5`` (Keras 2) or ``.keras``, or an architecture as ``.json``
        (``model.to_json()``).
    weights : path, optional
        Weights to take in place of the model's own: what ``save_weights`` wrote, or a whole model.
        An architecture needs them.
    input_shape : sequence of int, optional
        (H, W, C) or (features,), where the model leaves sizes of its input open.

    Returns
    -------
    Graph
        Layers as their quantizers say, the latent weights binarized; ``meta["layers"]`` names the
        node that computes what a layer of Keras gives, ``meta["notes"]`` what may differ from
        TensorFlow.

    Raises
    ------
    SourceError
        Naming the file, the layer, the entry or weight, what it holds, the rule and a remedy.
    """
    with keras_file(path, weights) as file:
        model = read_model(file.config, str(path))
        im = _importer(model, str(path), input_shape)
        output, nodes = _walk(im, model, file.weights)
    if output.tensor == "input":
        raise SourceError(message(str(path), "no layer that computes", "at least one layer"))
    meta = {"source": f"keras:{Path(path).name}", "source_kind": "keras", "decision": "argmax"}
    return im.builder.graph(model.name, output.tensor, {**meta, "notes": im.notes, "layers": nodes})


def _importer(model: Model, where: str, input_shape: Sequence[int] | None) -> Importer:
    """Return the importer at the model's input."""
    inputs = [key for key, call in model.calls.items() if call.layer.kind == "InputLayer"]
    if inputs != [model.source]:
        names = [name for name, _ in inputs]
        raise SourceError(message(f"{where}: inputs", names, f"the one input {model.source[0]!r}"))
    source = model.calls[model.source].layer
    fields = source.fields
    kind = fields.choice("dtype", tuple(_INPUTS), "float32")
    shape = _input_shape(fields, input_shape)
    builder = GraphBuilder(shape, _INPUTS[kind])
    ours = (shape[-1], *shape[:-1])
    return Importer(where, builder, "None", ours, None, "plus", source="TensorFlow")


def _input_shape(fields: Fields, given: Sequence[int] | None) -> tuple[int, ...]:
    key = next((k for k in ("batch_input_shape", "batch_shape") if fields.values.get(k)), "")
    key = key or "batch_input_shape"
    whole = fields.get(key)
    rule = "[null, features] or [null, height, width, channels], of positive sizes"
    if not isinstance(whole, list) or len(whole) not in (2, 4):
        raise fields.refused(key, whole, rule)
    shape = whole[1:]
    if given is not None:
        fits = len(given) == len(shape)
        fits = fits and all(own in (None, size) for own, size in zip(shape, given, strict=True))
        if not fits:
            raise fields.refused("input_shape", tuple(given), f"a shape that fits {shape}")
        shape = [int(size) for size in given]
    if None in shape:
        remedy = "Give --input-shape H,W,C (input_shape= in Python), in the order of Keras."
        raise fields.refused(key, whole, "sizes that are all known", remedy)
    if not all(type(size) is int and 1 <= size <= _LARGEST for size in shape):
        raise fields.refused(key, whole, rule)
    if math.prod(shape) > MAX_ELEMENTS:
        raise fields.refused(key, whole, f"at most {MAX_ELEMENTS} elements")
    return tuple(shape)


def _walk(im: Importer, model: Model, weights: WeightFile) -> tuple[Activation, dict[str, str]]:
    """Lower every call; return the output, and the node of each layer."""
    values: dict[tuple[str, int], Any] = {model.source: Activation("input", im.shape)}
    nodes: dict[str, str] = {}
    for key, call in model.calls.items():
        if key == model.source:
            continue
        use = Use(call.layer, tuple(values[read] for read in call.reads), weights)
        values[key] = value = _lowered(im, use)
        last = isinstance(value, Probabilities) and key == model.output
        inner = value.inner if last else value
        if isinstance(inner, Activation) and inner.tensor != "input":
            nodes[call.layer.name] = inner.tensor.removesuffix(".out")
    result = values[model.output]
    if isinstance(result, Probabilities):
        im.note_once("The softmax at the output is left out: outputs are what it was taken of.")
        result = result.inner
    return im.activation(result, "output"), nodes


def _lowered(im: Importer, use: Use) -> Any:
    layer = use.layer
    _check_type(im, layer)
    for key in _CONSTRAINTS:
        if layer.fields.values.get(key) is not None:
            im.note_once("Constraints of weights act in training only and are left out.")
    if larq_quantizers.is_quantizer(layer.kind):
        quantizer = larq_quantizers.quantizer_of(layer.fields, layer.kind)
        value = use.only(im)
        return value if quantizer is None else scaled(*quantize(im, use, value, quantizer))
    if layer.kind not in HANDLERS:
        raise unsupported(im, use)
    value = HANDLERS[layer.kind](im, use)
    layer.fields.check_all_read()
    return value


def _check_type(im: Importer, layer: Layer) -> None:
    """Raise SourceError for a layer that computes in another type than float32."""
    dtype = layer.fields.values.get("dtype", "float32")
    if isinstance(dtype, dict):
        config = dtype.get("config")
        dtype = config.get("name") if isinstance(config, dict) else dtype
    if isinstance(dtype, str) and dtype.startswith("mixed_"):
        im.note_once(f"Layers of the policy {dtype} are computed in float32 here.")
    elif dtype not in ("float32", None):
        raise layer.fields.refused("dtype", dtype, "float32, or a mixed policy")
