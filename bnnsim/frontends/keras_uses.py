"""The use of a Keras layer: what it reads, what it appends to the graph, and who lowers it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from bnnsim.errors import GraphError, SourceError, nearest
from bnnsim.frontends.importer import Activation, Importer
from bnnsim.frontends.keras_config import Layer
from bnnsim.frontends.keras_fields import Fields
from bnnsim.frontends.keras_weights import Shapes, WeightFile


@dataclass(frozen=True, slots=True)
class Probabilities:
    """The softmax of an activation, which is left out where it is the model's output."""

    inner: Activation


@dataclass(frozen=True, slots=True)
class Use:
    """One call of a layer: what it is, what it reads, and where its weights are."""

    layer: Layer
    inputs: tuple[Any, ...]
    weights: WeightFile

    @property
    def fields(self) -> Fields:
        """The layer's config."""
        return self.layer.fields

    @property
    def place(self) -> str:
        """How messages name the layer."""
        return f"layer {self.layer.name!r} ({self.layer.kind})"

    def held(self, shapes: Shapes) -> dict[str, np.ndarray]:
        """Return the layer's weights, which have these shapes."""
        return self.weights.of(self.layer, shapes)

    def only(self, im: Importer) -> Any:
        """Return the one value that the layer reads."""
        if len(self.inputs) != 1:
            raise im.refused(self.place, f"{len(self.inputs)} inputs", "one input")
        (value,) = self.inputs
        if isinstance(value, Probabilities):
            return append(im, self, "Softmax", value.inner, label="softmax")
        return value


Handler = Callable[[Importer, Use], Any]
HANDLERS: dict[str, Handler] = {}


def lowers(*kinds: str) -> Callable[[Handler], Handler]:
    """Register a handler for classes of layers."""

    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(kinds, handler))
        return handler

    return register


def made(im: Importer, tensor: str) -> Activation:
    """Return a tensor of the graph as an activation, whose shape has its channels first."""
    shape = im.builder.tensor(tensor).shape
    return Activation(tensor, (shape[-1], *shape[:-1]))


def append(
    im: Importer, use: Use, op: str, x: Activation, constants: Any = None, **a: Any
) -> Activation:
    """Append a node; what breaks a rule of the graph is an error of the layer."""
    try:
        return made(im, im.builder.add(op, x.tensor, constants, **a))
    except GraphError as error:
        _, _, rule = str(error).partition(": ")
        text = rule.rstrip(".")
        raise im.refused(
            use.place, text, "shapes and values that the graph has a meaning for"
        ) from None


def shape_of(im: Importer, x: Activation) -> tuple[int, ...]:
    """Return the shape of an activation as Keras has it, without the batch axis."""
    return im.builder.tensor(x.tensor).shape


def image_shape(im: Importer, use: Use, x: Activation) -> tuple[int, int, int]:
    """Return the shape of an image, or refuse what is none."""
    shape = shape_of(im, x)
    if len(shape) != 3:
        raise im.refused(use.place, f"an input of shape {shape}", "an image (H, W, C)")
    return shape[0], shape[1], shape[2]


def unsupported(im: Importer, use: Use) -> SourceError:
    """Return the error for a class of layers that has no meaning in the graph."""
    kind = use.layer.kind
    remedy = nearest(kind, HANDLERS) or "Leave it out of the model, or write it with these."
    if kind == "Lambda":
        remedy = "Its code is stored in the file and never run here: write it with layers."
    elif kind in ("Sequential", "Functional", "Model"):
        remedy = "Put the layers of the inner model into the outer one."
    elif kind in ("TFOpLambda", "SlicingOpLambda"):
        remedy = "Use a layer (Add, Multiply, Activation, ...) in place of an operator on tensors."
    rule = f"one of {', '.join(sorted(HANDLERS))}, or a quantizer of larq"
    return im.refused(f"layer {use.layer.name!r}", kind, rule, remedy)
