"""The numpy meaning of every op: slow, obvious, and the definition the kernels must equal.

Arrays carry a leading batch axis N; images are NHWC. Integer sums are formed in float64 where
they are exact (``graph/ranges.py`` keeps accumulators inside int32). Float Dense and Conv2d form
products and sums in float64, in the order of ``engine/float_sums.py``, and round once to the output
dtype. Elementwise ops stand in ``graph/elementwise.py``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import cache
from types import MappingProxyType

import numpy as np

from bnnsim.engine.float_sums import dense_sums, window_sums
from bnnsim.errors import GraphError, InputError, message
from bnnsim.graph.draws import Draws, is_stochastic, needed, stochastic_sign
from bnnsim.graph.dtypes import DType
from bnnsim.graph.elementwise import ELEMENTWISE, Array, Attrs, Meaning, to_dtype
from bnnsim.graph.grids import grid_of
from bnnsim.graph.ir import Graph, Node, Tensor
from bnnsim.graph.ops import normal_attrs
from bnnsim.graph.shape_rules import window_output


def execute(
    graph: Graph, x: Array, *, keep: Collection[str] | None = None, draws: Draws | None = None
) -> dict[str, Array]:
    """Run ``graph`` on a batch.

    Parameters
    ----------
    graph : Graph
        With data for every constant.
    x : ndarray, shape (N, features) or (N, H, W, C)
        In the numpy dtype of the graph's input.
    keep : collection of str, optional
        Names of activation tensors to return beside the outputs; None returns all.
    draws : Draws, optional
        Which random numbers stochastic nodes use; only graphs that have such nodes need it.

    Returns
    -------
    dict of str to ndarray
        Values by tensor name, bits as int8 -1 and +1.

    Raises
    ------
    GraphError
        If a constant has no data, or a stochastic node has no draws.
    InputError
        If ``x`` does not fit the graph's input.
    """
    check_input(graph, x)
    check_weights(graph)
    values: dict[str, Array] = {graph.inputs[0]: x}
    for node in graph.nodes:
        operands = [_operand(graph.tensor(name), values) for name in node.inputs]
        values[node.output] = apply(node, operands, graph.result(node).dtype, draws)
    wanted = values if keep is None else {*keep, *graph.outputs}
    return {name: value for name, value in values.items() if name in wanted}


def apply(node: Node, operands: list[Array], dtype: DType, draws: Draws | None = None) -> Array:
    """Return the output of one node: ``operands`` in the order of its inputs, activations first."""
    if is_stochastic(node):
        return stochastic_sign(node, operands[0], needed(node, draws))
    return OPS[node.op](operands, normal_attrs(node), dtype)


def check_input(graph: Graph, x: Array) -> None:
    """Raise InputError unless ``x`` is a batch that fits the graph's input."""
    spec = graph.tensor(graph.inputs[0])
    where = f"input of {graph.name}"
    if x.shape[1:] != spec.shape or x.ndim != len(spec.shape) + 1:
        raise InputError(
            message(
                where,
                x.shape,
                f"shape (N, {', '.join(map(str, spec.shape))})",
                "Images are N, height, width, channels; vectors are N, features.",
            )
        )
    held = spec.dtype.numpy
    if x.dtype != held:
        remedy = f"Convert with x.astype({str(held)!r}) if the values allow it."
        raise InputError(message(where, str(x.dtype), f"dtype {held}", remedy))
    grids = [node for node in graph.consumers(spec.name) if node.op == "FromGrid"]
    for node in grids:
        grid_of(normal_attrs(node)).check(x, where)
    if grids:
        return
    if held.kind in "iu" and (spec.dtype.low, spec.dtype.high) == _range(held):
        return
    if not (valid := spec.dtype.valid(x)).all():
        place = [int(i) for i in np.argwhere(~valid)[0]]
        bad = x[tuple(place)].item()
        raise InputError(message(f"{where}{place}", bad, f"values that {spec.dtype} holds"))


@cache
def _range(held: np.dtype) -> tuple[int, int]:
    """Return the least and the greatest value of an integer dtype."""
    return int(np.iinfo(held).min), int(np.iinfo(held).max)


def check_weights(graph: Graph) -> None:
    """Raise GraphError if a constant has no data, so that the graph cannot be executed."""
    if graph.has_weights:
        return
    if not graph.meta.get("synthetic"):
        missing = next(t.name for t in graph.constants() if t.data is None)
        rule = "data for every constant"
        remedy = "This network can be estimated, not run; load trained or random weights."
        raise GraphError(message(f"{graph.name}: {missing!r}", "no data", rule, remedy))
    mode = graph.meta["mode"]
    remedy = (
        "This is a cost-only twin: it can be estimated, not run, for the source has not the values "
        f"that {mode} needs, such as ranges of activations or batch norms before its thresholds. "
        "Price it with `estimate` (without activity), or choose another mode."
    )
    rule = "a mode whose twin can be executed"
    raise GraphError(message(f"{graph.name}: mode", f"{mode}, a cost-only twin", rule, remedy))


def _operand(tensor: Tensor, values: Mapping[str, Array]) -> Array:
    if tensor.constant:
        assert tensor.data is not None
        return tensor.data
    return values[tensor.name]


# --- linear ops --------------------------------------------------------------------------------


def _dense(operands: list[Array], _: Attrs, dtype: DType) -> Array:
    rows, weight = (np.asarray(operand, np.float64) for operand in operands)
    return to_dtype(rows @ weight.T if dtype.is_integer else dense_sums(rows, weight), dtype)


def _conv2d(operands: list[Array], attrs: Attrs, dtype: DType) -> Array:
    x, weight = (operand.astype(np.float64) for operand in operands)
    top, left, bottom, right = attrs["pads"]
    border = ((0, 0), (top, bottom), (left, right), (0, 0))
    padded = np.pad(x, border, constant_values=attrs["pad_value"])
    size = window_output(
        x.shape[1:3],
        weight.shape[1:3],
        stride=attrs["stride"],
        pads=attrs["pads"],
        dilation=attrs["dilation"],
    )
    n_out, *_, channels = weight.shape
    per_group = n_out // attrs["groups"]
    sums_of = _integer_sums if dtype.is_integer else _float_sums
    total = np.empty((len(x), *size, n_out))
    for g in range(attrs["groups"]):
        ins = slice(g * channels, (g + 1) * channels)
        outs = slice(g * per_group, (g + 1) * per_group)
        total[..., outs] = sums_of(padded[..., ins], weight[outs], size, attrs)
    return to_dtype(total, dtype)


def _integer_sums(padded: Array, weight: Array, size: tuple[int, int], attrs: Attrs) -> Array:
    """Convolve, tap after tap: exact in any order."""
    total = np.zeros((len(padded), *size, len(weight)))
    for r, s in np.ndindex(*weight.shape[1:3]):
        total += shifted(padded, (r, s), size, attrs) @ weight[:, r, s].T
    return total


def _float_sums(padded: Array, weight: Array, size: tuple[int, int], attrs: Attrs) -> Array:
    """Convolve one image after the other, every window a row of taps times channels."""
    images = []
    for image in padded:
        taps = [shifted(image[None], tap, size, attrs) for tap in np.ndindex(*weight.shape[1:3])]
        rows = np.stack(taps, axis=-2).reshape(size[0] * size[1], -1)
        images.append(window_sums(rows, weight.reshape(len(weight), -1)))
    return np.reshape(images, (len(padded), *size, len(weight)))


def shifted(padded: Array, tap: tuple[int, ...], size: tuple[int, int], attrs: Attrs) -> Array:
    """Return, for every output pixel, the padded pixel that kernel position ``tap`` meets."""
    (stride_y, stride_x), (dilation_y, dilation_x) = attrs["stride"], attrs["dilation"]
    y, x = tap[0] * dilation_y, tap[1] * dilation_x
    stop_y, stop_x = y + (size[0] - 1) * stride_y + 1, x + (size[1] - 1) * stride_x + 1
    return padded[:, y:stop_y:stride_y, x:stop_x:stride_x]


# --- windows and shapes ------------------------------------------------------------------------


def _max_pool(operands: list[Array], attrs: Attrs, dtype: DType) -> Array:
    x, *minimum = operands
    negate = minimum[0].astype(bool) if minimum else np.zeros(x.shape[-1], bool)
    signed = np.where(negate, -x.astype(np.float64), x)
    top, left, bottom, right = attrs["pads"]
    padded = np.pad(signed, ((0, 0), (top, bottom), (left, right), (0, 0)), constant_values=-np.inf)
    size = window_output(x.shape[1:3], attrs["kernel"], stride=attrs["stride"], pads=attrs["pads"])
    windows = {"stride": attrs["stride"], "dilation": (1, 1)}
    taps = [shifted(padded, tap, size, windows) for tap in np.ndindex(*attrs["kernel"])]
    best = np.max(taps, axis=0)
    pooled: Array = np.where(negate, -best, best).astype(x.dtype)
    return pooled


def _average_pool(operands: list[Array], attrs: Attrs, dtype: DType) -> Array:
    (x,) = operands
    top, left, bottom, right = attrs["pads"]
    border = ((0, 0), (top, bottom), (left, right), (0, 0))
    size = window_output(x.shape[1:3], attrs["kernel"], stride=attrs["stride"], pads=attrs["pads"])
    windows = {"stride": attrs["stride"], "dilation": (1, 1)}
    padded = np.pad(x.astype(np.float64), border)
    inside = np.pad(np.ones((1, *x.shape[1:3], 1)), border)
    total, taps = np.zeros((len(x), *size, x.shape[-1])), np.zeros((1, *size, 1))
    for tap in np.ndindex(*attrs["kernel"]):
        total += shifted(padded, tap, size, windows)
        taps += 1 if attrs["count_include_pad"] else shifted(inside, tap, size, windows)
    return _mean(total, taps, dtype)


def _global_average_pool(operands: list[Array], _: Attrs, dtype: DType) -> Array:
    x = operands[0].astype(np.float64)
    total = np.zeros((len(x), 1, 1, x.shape[-1]))
    for i, j in np.ndindex(*x.shape[1:3]):
        total += x[:, i : i + 1, j : j + 1]
    return _mean(total, np.array(x.shape[1] * x.shape[2]), dtype)


def _mean(total: Array, taps: Array, dtype: DType) -> Array:
    """Return ``total / taps``, rounded once: integers half to even, without a quotient between."""
    if dtype.is_float:
        return to_dtype(total / taps, dtype)
    whole, count = total.astype(np.int64), taps.astype(np.int64)
    half_up, rest = np.divmod(2 * whole + count, 2 * count)
    tie_to_odd = (rest == 0) & (half_up % 2 == 1)
    return (half_up - tie_to_odd).astype(dtype.numpy)


def _input_scale(operands: list[Array], attrs: Attrs, dtype: DType) -> Array:
    """Return A * k of XNOR-Net: A the mean of |x| over channels, k a box of equal weights."""
    (x,) = operands
    rows, columns, channels = (1, 1, *x.shape[1:])[-3:]  # a vector is one pixel
    groups = (attrs["groups"], channels // attrs["groups"])
    grouped = np.abs(x.astype(np.float64)).reshape(len(x), rows, columns, *groups)
    # Contiguous channels are summed in one order, whatever made them.
    total = np.ascontiguousarray(grouped).sum(axis=-1)
    window = {key: attrs[key] for key in ("stride", "pads", "dilation")}
    size = window_output((rows, columns), attrs["kernel"], **window)
    top, left, bottom, right = attrs["pads"]
    padded = np.pad(total, ((0, 0), (top, bottom), (left, right), (0, 0)))
    box = sum(shifted(padded, tap, size, attrs) for tap in np.ndindex(*attrs["kernel"]))
    taps = groups[1] * np.prod(attrs["kernel"])
    mean = to_dtype(box / taps, dtype)
    return mean if x.ndim == 4 else mean.reshape(len(x), 1)


def _slice(operands: list[Array], attrs: Attrs, _: DType) -> Array:
    places = zip(attrs["start"], attrs["stop"], attrs["step"], strict=True)
    return operands[0][:, *(slice(*place) for place in places)]


def _pad_channels(operands: list[Array], attrs: Attrs, _: DType) -> Array:
    (x,) = operands
    return np.pad(x, (*[(0, 0)] * (x.ndim - 1), (attrs["before"], attrs["after"])))


def _concat(operands: list[Array], _: Attrs, __: DType) -> Array:
    return np.concatenate(operands, axis=-1)


def _channel_shuffle(operands: list[Array], attrs: Attrs, _: DType) -> Array:
    (x,) = operands
    groups = (attrs["groups"], x.shape[-1] // attrs["groups"])
    return x.reshape(*x.shape[:-1], *groups).swapaxes(-1, -2).reshape(x.shape)


def _softmax(operands: list[Array], attrs: Attrs, dtype: DType) -> Array:
    x = np.ascontiguousarray(operands[0], np.float64)
    shifted_down = x - x.max(axis=-1, keepdims=True)
    powers = np.exp(shifted_down)
    total = powers.sum(axis=-1, keepdims=True)
    return to_dtype(shifted_down - np.log(total) if attrs["log"] else powers / total, dtype)


def _reshape(operands: list[Array], attrs: Attrs, _: DType) -> Array:
    (x,) = operands
    return x.reshape(len(x), *attrs["shape"])


def _flatten(operands: list[Array], _: Attrs, __: DType) -> Array:
    (x,) = operands
    return x.reshape(len(x), np.prod(x.shape[1:], dtype=np.int64))


OPS: Mapping[str, Meaning] = MappingProxyType(
    {
        **ELEMENTWISE,
        "Dense": _dense,
        "Conv2d": _conv2d,
        "MaxPool": _max_pool,
        "AvgPool": _average_pool,
        "GlobalAvgPool": _global_average_pool,
        "InputScale": _input_scale,
        "Slice": _slice,
        "PadChannels": _pad_channels,
        "Softmax": _softmax,
        "Concat": _concat,
        "ChannelShuffle": _channel_shuffle,
        "Flatten": _flatten,
        "Reshape": _reshape,
    }
)
