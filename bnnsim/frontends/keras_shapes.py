"""What Keras layers without weights become: pools, shapes, merges, activations.

They join the handlers of ``keras_layers.py``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bnnsim.frontends.elementwise import table_type
from bnnsim.frontends.importer import Activation, Clipped, Importer, Padded, Scaled
from bnnsim.frontends.keras_activations import activated, function, rectified
from bnnsim.frontends.keras_layers import HANDLERS, NO_PADS, same_pads
from bnnsim.frontends.keras_uses import Use, append, image_shape, lowers, shape_of
from bnnsim.graph.dtypes import FLOAT32, UINT8

__all__ = ["HANDLERS"]


@lowers(
    "Dropout", "SpatialDropout2D", "GaussianDropout", "GaussianNoise", "AlphaDropout",
    "ActivityRegularization",
)  # fmt: skip
def _identity(im: Importer, use: Use) -> Any:
    for key in ("data_format", "l1", "l2"):
        use.fields.get(key, None)
    return use.only(im)


@lowers("Activation")
def _activation(im: Importer, use: Use) -> Any:
    use.fields.get("activation")
    return activated(im, use, use.only(im))


@lowers("Softmax")
def _softmax(im: Importer, use: Use) -> Any:
    if use.fields.get("axis", -1) not in (-1, [-1]):
        raise use.fields.refused("axis", use.fields.get("axis"), "the last axis")
    return function(im, use, use.only(im), "softmax")


@lowers("ReLU")
def _relu(im: Importer, use: Use) -> Any:
    fields = use.fields
    for key in ("negative_slope", "threshold"):
        if fields.number(key, 0.0) != 0:
            raise fields.refused(key, fields.get(key), "0: max(x, 0), clipped or not")
    if fields.get("max_value", None) is None:
        return rectified(im, use, use.only(im))
    top = fields.number("max_value")
    if top < 0:
        raise fields.refused("max_value", top, "a number from 0 on")
    return Clipped(im.activation(use.only(im), use.place), 0.0, float(np.float32(top)))


@lowers("LeakyReLU")
def _leaky_relu(im: Importer, use: Use) -> Any:
    fields = use.fields
    key = "negative_slope" if "negative_slope" in fields.values else "alpha"
    return _sloped(im, use, np.float32(fields.number(key, 0.3)))


@lowers("PReLU")
def _prelu(im: Importer, use: Use) -> Any:
    x = im.activation(use.only(im), use.place)
    shape = shape_of(im, x)
    shared = use.fields.get("shared_axes", None) or []
    kept = tuple(1 if axis in shared else size for axis, size in enumerate(shape, 1))
    if any(size != 1 for size in kept[:-1]):
        remedy = "Train it with shared_axes=[1, 2]."
        raise use.fields.refused("shared_axes", shared, "slopes per channel", remedy)
    return _sloped(im, use, use.held({"alpha": kept})["alpha"].reshape(-1))


def _sloped(im: Importer, use: Use, slopes: Any) -> Activation:
    """Append x where x >= 0, else x times the slope of its channel."""
    x = im.floats(use.only(im), use.place)
    each = np.broadcast_to(slopes, shape_of(im, x)[-1])
    return append(im, use, "PRelu", x, {"slope": (each, FLOAT32)}, label="prelu")


@lowers("Rescaling")
def _rescaling(im: Importer, use: Use) -> Any:
    """Append x * scale + offset; of pixels, a table of 256 values."""
    scale, offset = (
        np.float32(use.fields.number("scale")),
        np.float32(use.fields.number("offset", 0)),
    )
    x = im.activation(use.only(im), use.place)
    if im.dtype(x) == UINT8:
        table = np.arange(256, dtype=np.float32) * scale + offset
        return append(im, use, "Encode", x, {"table": (table, table_type(table))}, label="encode")
    channels = shape_of(im, x)[-1]
    constants = {"scale": (np.full(channels, scale), FLOAT32)}
    if offset == 0:
        return append(im, use, "Scale", x, constants, label="scale")
    constants["bias"] = (np.full(channels, offset), FLOAT32)
    return append(im, use, "Affine", x, constants, label="affine")


# --- windows -----------------------------------------------------------------------------------


def _pool_window(im: Importer, use: Use, x: Activation) -> dict[str, Any]:
    fields = use.fields
    fields.choice("data_format", ("channels_last",), "channels_last")
    kernel = fields.pair("pool_size", (2, 2))
    stride = kernel if fields.get("strides", None) is None else fields.pair("strides")
    same = fields.choice("padding", ("valid", "same"), "valid") == "same"
    shape = image_shape(im, use, x)
    pads = same_pads(shape, kernel, stride) if same else NO_PADS
    return {"label": "pool", "kernel": kernel, "stride": stride, "pads": pads}


def _bordered(im: Importer, use: Use, value: Padded, window: dict[str, Any]) -> dict[str, Any]:
    if any(window["pads"]):
        raise im.refused(use.place, "padding 'same' after ZeroPadding2D", "padding 'valid'")
    return {**window, "pads": value.pads}


@lowers("MaxPooling2D", "MaxPool2D")
def _max_pool(im: Importer, use: Use) -> Any:
    value = use.only(im)
    if isinstance(value, Scaled) and isinstance(value.inner, Activation):
        window = _pool_window(im, use, value.inner)
        return Scaled(append(im, use, "MaxPool", value.inner, **window), value.factor)
    bordered = isinstance(value, Padded)
    x = value.inner if bordered else im.activation(value, use.place)
    window = _pool_window(im, use, x)
    if bordered:
        if value.value != 0 or not _never_negative(im, x):
            rule = "values from 0 on (after a ReLU), of which a border of zeros changes no maximum"
            raise im.refused(use.place, "ZeroPadding2D before a maximum", rule)
        window = _bordered(im, use, value, window)
    return append(im, use, "MaxPool", x, **window)


def _never_negative(im: Importer, x: Activation) -> bool:
    makers = [node for node in im.builder.nodes if node.output == x.tensor]
    clipped = bool(makers) and makers[0].op == "Clip" and makers[0].attrs["low"] >= 0
    return im.dtype(x).low >= 0 or clipped or (bool(makers) and makers[0].op == "Relu")


@lowers("AveragePooling2D", "AvgPool2D")
def _average_pool(im: Importer, use: Use) -> Any:
    value = use.only(im)
    bordered = isinstance(value, Padded) and value.value == 0
    x = im.floats(value.inner if bordered else value, use.place)
    window = _pool_window(im, use, x)
    if bordered:
        window = {**_bordered(im, use, value, window), "count_include_pad": True}
    im.note_average()
    return append(im, use, "AvgPool", x, **window)


@lowers("GlobalAveragePooling2D", "GlobalAvgPool2D")
def _global_average(im: Importer, use: Use) -> Any:
    x = im.floats(use.only(im), use.place)
    im.note_average()
    return _flat_unless_kept(im, use, append(im, use, "GlobalAvgPool", x, label="pool"))


@lowers("GlobalMaxPooling2D", "GlobalMaxPool2D")
def _global_max(im: Importer, use: Use) -> Any:
    x = im.activation(use.only(im), use.place)
    kernel = shape_of(im, x)[:2]
    return _flat_unless_kept(
        im, use, append(im, use, "MaxPool", x, label="pool", kernel=kernel, stride=kernel)
    )


def _flat_unless_kept(im: Importer, use: Use, pooled: Activation) -> Activation:
    use.fields.choice("data_format", ("channels_last",), "channels_last")
    if use.fields.truth("keepdims", False):
        return pooled
    return append(im, use, "Flatten", pooled, label="flatten")


@lowers("ZeroPadding2D")
def _zero_padding(im: Importer, use: Use) -> Any:
    use.fields.choice("data_format", ("channels_last",), "channels_last")
    borders, value = use.fields.borders("padding"), use.only(im)
    before = NO_PADS
    if isinstance(value, Padded):
        before, value = value.pads, value.inner
    x = im.activation(value, use.place)
    image_shape(im, use, x)
    both = [a + b for a, b in zip(before, borders, strict=True)]
    return Padded(x, (both[0], both[1], both[2], both[3]), 0.0) if any(both) else x


@lowers("Cropping2D")
def _cropping(im: Importer, use: Use) -> Any:
    use.fields.choice("data_format", ("channels_last",), "channels_last")
    top, left, bottom, right = use.fields.borders("cropping")
    x = im.activation(use.only(im), use.place)
    shape = image_shape(im, use, x)
    stop = (shape[0] - bottom, shape[1] - right, shape[2])
    if stop[0] <= top or stop[1] <= left:
        raise use.fields.refused(
            "cropping", use.fields.get("cropping"), f"less than all of {shape}"
        )
    return append(im, use, "Slice", x, label="crop", start=(top, left, 0), stop=stop)


# --- shapes ------------------------------------------------------------------------------------


@lowers("Flatten")
def _flatten(im: Importer, use: Use) -> Any:
    use.fields.choice("data_format", ("channels_last",), "channels_last")
    value = use.only(im)
    if isinstance(value, Scaled) and isinstance(value.inner, Activation):
        return Scaled(_flat(im, use, value.inner), value.factor)
    return _flat(im, use, im.activation(value, use.place))


def _flat(im: Importer, use: Use, x: Activation) -> Activation:
    return x if len(shape_of(im, x)) == 1 else append(im, use, "Flatten", x, label="flatten")


@lowers("Reshape")
def _reshape(im: Importer, use: Use) -> Any:
    target = use.fields.get("target_shape")
    x = im.activation(use.only(im), use.place)
    shape = shape_of(im, x)
    if not isinstance(target, list) or not all(type(v) is int for v in target):
        raise use.fields.refused("target_shape", target, "a list of whole numbers")
    known = math.prod(v for v in target if v != -1)
    if target.count(-1) == 1 and known > 0:
        target = [math.prod(shape) // known if v == -1 else v for v in target]
    if tuple(target) == shape:
        return x
    if len(target) == 1:
        return _flat(im, use, x)
    if len(target) != 3 or math.prod(target) != math.prod(shape) or min(target) < 1:
        rule = f"[features] or [height, width, channels] of the elements of {list(shape)}"
        raise use.fields.refused("target_shape", target, rule)
    return append(im, use, "Reshape", x, label="reshape", shape=tuple(target))


# --- merges ------------------------------------------------------------------------------------


def _operands(im: Importer, use: Use) -> list[Activation]:
    if len(use.inputs) < 2:
        raise im.refused(use.place, f"{len(use.inputs)} input", "at least two inputs")
    single = [Use(use.layer, (value,), use.weights).only(im) for value in use.inputs]
    return [im.activation(value, use.place) for value in single]


@lowers("Add")
def _add(im: Importer, use: Use) -> Any:
    total, *others = _operands(im, use)
    for x in others:
        a, b = total, x
        if not (im.dtype(a).is_integer and im.dtype(b).is_integer):
            a, b = im.floats(a, use.place), im.floats(b, use.place)
        total = append(im, use, "Add", a, label="add", also=(b.tensor,))
    return total


@lowers("Concatenate")
def _concatenate(im: Importer, use: Use) -> Any:
    operands = _operands(im, use)
    axis, rank = use.fields.get("axis", -1), len(shape_of(im, operands[0]))
    if axis not in (-1, rank):
        raise use.fields.refused("axis", axis, "the last axis, that of the channels")
    if len({im.dtype(x) for x in operands}) > 1:
        operands = [im.floats(x, use.place) for x in operands]
    others = tuple(x.tensor for x in operands[1:])
    return append(im, use, "Concat", operands[0], label="concat", also=others)


@lowers("Multiply")
def _multiply(im: Importer, use: Use) -> Any:
    product, *others = (im.floats(x, use.place) for x in _operands(im, use))
    for x in others:
        a, b = product, x
        if math.prod(shape_of(im, a)) < math.prod(shape_of(im, b)):
            a, b = b, a
        if len(shape_of(im, a)) != len(shape_of(im, b)):
            got = f"shapes {shape_of(im, a)} and {shape_of(im, b)}"
            raise im.refused(use.place, got, "as many axes of both")
        product = append(im, use, "Mul", a, label="mul", also=(b.tensor,))
    return product
