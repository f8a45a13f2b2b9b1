"""Turn nodes into steps: a kernel, its packed constants, and a function from value to value.

Planning is done once per graph: weights are packed, kernels are chosen and named. Ops over bits,
ternaries and integers get compiled kernels; float Dense, Conv2d and elementwise ops run the
reference's own numpy, so that the two cannot differ.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np

from bnnsim.engine import _kernels, reference
from bnnsim.engine.dispatch import select
from bnnsim.engine.fused import compared_sums, plan_compared
from bnnsim.engine.step import Step
from bnnsim.engine.step import constant as _constant
from bnnsim.engine.step import fan_in as _fan_in
from bnnsim.engine.values import Array, Bits, Pixels, Planes, Value, to_dense, to_planes, to_value
from bnnsim.graph import bits
from bnnsim.graph.draws import Draws, is_stochastic, rng_bits
from bnnsim.graph.dtypes import BIT, DType
from bnnsim.graph.ir import Graph, Node, Tensor
from bnnsim.graph.ops import activations_of, constants_of, normal_attrs
from bnnsim.graph.quantizers import SIGN

NUMPY = "numpy"
Multiply: TypeAlias = Callable[[Any], Array]
_MAX_BYTE_FAN_IN = 65_793  # sums of byte products stay in int32 up to here (bnnsim.h)
_KERNEL_INTEGERS = ("uint8", "int8", "int16", "int32")


def plan(graph: Graph, isa: str, keep: Container[str] = ()) -> tuple[Step, ...]:
    """Return the steps of ``graph`` in execution order.

    Sums that nothing but a threshold reads are compared inside the kernel that forms them, and
    have no tensor, unless ``keep`` holds their name.

    Raises
    ------
    GraphError
        If a constant has no data.
    KernelError
        If the instruction set is unknown or cannot run here.
    """
    reference.check_weights(graph)
    compared = {
        node.name: sums
        for node in graph.nodes
        if (sums := compared_sums(graph, node, isa)) is not None and sums.output not in keep
    }
    without = {sums.name for sums in compared.values()}
    return tuple(
        plan_compared(graph, compared[node.name], node, isa)
        if node.name in compared
        else _PLANNERS.get(node.op, _plan_numpy)(graph, node, isa)
        for node in graph.nodes
        if node.name not in without
    )


def _plan_numpy(graph: Graph, node: Node, isa: str) -> Step:
    """Run the reference's numpy on dense values."""
    first = len(activations_of(node))
    constants = [_constant(graph, node, first + i) for i in range(len(constants_of(node)))]
    meaning, attrs, dtype = reference.OPS[node.op], normal_attrs(node), graph.result(node).dtype

    def run(*activations: Value) -> Value:
        dense = [to_dense(x, isa) for x in activations]
        return to_value(meaning([*dense, *constants], attrs, dtype), dtype, isa)

    return Step(node, NUMPY, run)


# --- input encoding ----------------------------------------------------------------------------


def _affine_pixels(graph: Graph, node: Node) -> tuple[int, int] | None:
    """Return (mul, add) if an Encode maps byte p to the integer ``mul * p + add``, else None."""
    table, dtype = _constant(graph, node, 1), graph.result(node).dtype
    if not _is_dense(dtype) or not dtype.is_integer or dtype.numpy.itemsize == 1:
        return None
    mul, add = int(table[1]) - int(table[0]), int(table[0])
    same = (table == mul * np.arange(len(table)) + add).all()
    return (mul, add) if same else None


def _plan_encode(graph: Graph, node: Node, isa: str) -> Step:
    """Leave pixels as the bytes they are where the next sums can scale afterwards."""
    affine = _affine_pixels(graph, node)
    if affine is None:
        return _plan_numpy(graph, node, isa)
    dtype = graph.result(node).dtype.numpy
    return Step(node, "view", lambda x: Pixels(x, *affine, dtype))


def _encoded_by(graph: Graph, node: Node) -> tuple[int, int] | None:
    """Return (mul, add) of the Encode that a layer reads its pixels from, if they are affine."""
    before = graph.producer(node.inputs[0])
    if before is None or before.op != "Encode":
        return None
    return _affine_pixels(graph, before)


# --- Dense and Conv2d --------------------------------------------------------------------------


def _plan_linear(graph: Graph, node: Node, isa: str) -> Step:
    x, weight = (graph.tensor(name) for name in node.inputs)
    prefix = "gemm" if node.op == "Dense" else "conv2d"
    options: dict[str, Any] = {"isa": isa}
    if node.op == "Conv2d":
        options |= normal_attrs(node)
    affine = _encoded_by(graph, node)
    if affine is not None and _scales_after(node, weight, affine):
        kernel = f"{prefix}_byte"
        constant = _constant(graph, node, 1)
        return Step(node, select(kernel, isa).name, _pixel_linear(x, constant, affine, options))
    family = _family(x.dtype, weight, options.get("pad_value", 0))
    if family is None:
        return _plan_numpy(graph, node, isa)
    kernel = f"{prefix}_{family}"
    run = _LINEAR[family](kernel, _constant(graph, node, 1), x.shape[-1], options)
    return Step(node, select(kernel, isa).name, run)


def _family(x: DType, weight: Tensor, pad_value: int) -> str | None:
    """Return which kernels multiply these operands, or None where numpy does."""
    if x.is_light and weight.dtype.is_light:
        return "bit" if x == weight.dtype == BIT else "ternary"
    if x.is_float or weight.dtype.numpy != np.int8 or str(x.numpy) not in _KERNEL_INTEGERS:
        return None
    limits = np.iinfo(x.numpy)
    is_byte = _is_dense(x) and x.numpy.itemsize == 1 and limits.min <= pad_value <= limits.max
    if is_byte and _fan_in(weight) <= _MAX_BYTE_FAN_IN:
        return "byte"
    return "int_bit" if weight.dtype == BIT else "int"


def _scales_after(node: Node, weight: Tensor, affine: tuple[int, int]) -> bool:
    """Return whether byte sums can be scaled afterwards: inside int32, with pads that add 0."""
    largest = int(max(-weight.dtype.low, weight.dtype.high))
    reach = _fan_in(weight) * largest * (abs(affine[0]) * 255 + abs(affine[1]))
    attrs = normal_attrs(node)
    padded = any(attrs.get("pads", ())) and attrs["pad_value"] != 0
    fits = reach < 2**31 and _fan_in(weight) <= _MAX_BYTE_FAN_IN
    return weight.dtype.numpy == np.int8 and fits and not padded


def _pixel_linear(
    x: Tensor, weight: Array, affine: tuple[int, int], options: dict[str, Any]
) -> Multiply:
    """Return sums over ``mul * p + add`` from sums over bytes p: a tap off the image adds 0."""
    mul, add = affine
    if weight.ndim == 4:
        options = {**options, "pad_value": 0}  # pads, where there are any, add nothing
    sum_bytes = _byte_linear("gemm_byte" if weight.ndim == 2 else "conv2d_byte", weight, 0, options)
    of_ones = sum_bytes(np.ones((1, *x.shape), np.uint8))
    offset = (of_ones.astype(np.int64) * add).astype(np.int32)

    def run(pixels: Pixels) -> Array:
        sums = sum_bytes(np.ascontiguousarray(pixels.raw))
        sums *= np.int32(mul)
        sums += offset
        return sums

    return run


def _bit_linear(kernel: str, weight: Array, channels: int, options: dict[str, Any]) -> Multiply:
    words = bits.pack(weight)
    if kernel == "gemm_bit":
        gemm_weights = _kernels.pack_gemm_weights(words, channels, options["isa"])
        return lambda x: _kernels.gemm_bit(x.words, gemm_weights, channels, **options)
    conv_weights = _kernels.pack_conv_weights(
        words, channels, groups=options["groups"], isa=options["isa"]
    )
    return lambda x: _kernels.conv2d_bit(x.words, conv_weights, channels, **options)


def _ternary_linear(kernel: str, weight: Array, channels: int, options: dict[str, Any]) -> Multiply:
    sign, mask = bits.pack_mask(weight > 0), bits.pack_mask(weight != 0)
    multiply = getattr(_kernels, kernel)

    def run(x: Bits | Planes) -> Array:
        planes = to_planes(x)
        result: Array = multiply(planes.sign, planes.mask, sign, mask, channels, **options)
        return result

    return run


def _byte_linear(kernel: str, weight: Array, _: int, options: dict[str, Any]) -> Multiply:
    held = np.ascontiguousarray(weight)
    if kernel == "gemm_byte":
        gemm_weights = _kernels.pack_gemm_byte_weights(held, options["isa"])
        return lambda x: _kernels.gemm_byte(x, gemm_weights, **options)
    groups, isa = options["groups"], options["isa"]
    conv_weights = _kernels.pack_conv_byte_weights(held, groups=groups, isa=isa)
    return lambda x: _kernels.conv2d_byte(x, conv_weights, **options)


def _int_bit_linear(kernel: str, weight: Array, _: int, options: dict[str, Any]) -> Multiply:
    words, multiply = bits.pack(weight), getattr(_kernels, kernel)
    return lambda x: multiply(to_dense(x, options["isa"]), words, **options)


def _int_linear(kernel: str, weight: Array, _: int, options: dict[str, Any]) -> Multiply:
    held, multiply = np.ascontiguousarray(weight), getattr(_kernels, kernel)
    return lambda x: multiply(to_dense(x, options["isa"]), held, **options)


_LINEAR: Mapping[str, Callable[[str, Array, int, dict[str, Any]], Multiply]] = MappingProxyType(
    {
        "bit": _bit_linear,
        "ternary": _ternary_linear,
        "byte": _byte_linear,
        "int_bit": _int_bit_linear,
        "int": _int_linear,
    }
)


# --- quantization ------------------------------------------------------------------------------


def _rows(x: Array, dtype: type) -> Array:
    """Return ``x`` as (pixels, channels) of a type that the kernels take."""
    return np.ascontiguousarray(x.reshape(-1, x.shape[-1]), dtype)


def _plan_quantize(graph: Graph, node: Node, isa: str) -> Step:
    dtype = graph.activation(node).dtype
    if is_stochastic(node):
        return _plan_stochastic(node, isa)
    if node.attrs["quantizer"] != SIGN:
        return _plan_numpy(graph, node, isa)
    if str(dtype) == "float64" or dtype.numpy.itemsize > 4 or not _is_dense(dtype):
        return _plan_numpy(graph, node, isa)
    held = np.int32 if dtype.is_integer else np.float32

    def run(value: Array | Pixels) -> Bits:
        x = to_dense(value, isa)
        words = _kernels.pack_sign(_rows(x, held), isa=isa)
        return Bits(words.reshape(*x.shape[:-1], -1), x.shape[-1])

    return Step(node, select("pack_sign", isa).name, run)


def _plan_stochastic(node: Node, isa: str) -> Step:
    bits = rng_bits(node)

    def draw(value: Value, draws: Draws) -> Bits:
        x = to_dense(value, isa)
        seed, node_id, sample = draws.stream(node)
        words = _kernels.stochastic_pack(
            _rows(x, np.float32),
            bits,
            seed=seed,
            node=node_id,
            sample=sample,
            first=draws.first_image * (x.size // len(x)),
            isa=isa,
        )
        return Bits(words.reshape(*x.shape[:-1], -1), x.shape[-1])

    return Step(node, select("stochastic_pack", isa).name, None, draw)


def _is_dense(dtype: DType) -> bool:
    """Return whether values of a type lie in memory as plain numpy arrays."""
    return not dtype.is_light


def _plan_threshold(graph: Graph, node: Node, isa: str) -> Step:
    x, out = graph.activation(node).dtype, graph.result(node).dtype
    thresholds, direction = _constant(graph, node, 1), _constant(graph, node, 2)
    base = normal_attrs(node)["base"]
    fits = out.kind == "bipolar" or out.numpy.itemsize == 1
    if not _is_dense(x) or str(x.numpy) not in _KERNEL_INTEGERS or not fits:
        return _plan_numpy(graph, node, isa)
    if out == BIT:
        return Step(
            node,
            select("threshold_pack", isa).name,
            _bit_threshold(np.ascontiguousarray(thresholds[:, 0]), direction, isa),
        )

    # The kernel counts in int8; more levels than that wrap around, and back in the wider type.
    start = -128 if out.kind == "bipolar" else base - 128 * (out.kind == "unsigned")

    def run(value: Array | Pixels) -> Value:
        x = to_dense(value, isa)
        levels: Array = _kernels.multi_threshold(
            _rows(x, np.int32), thresholds, direction, start, isa=isa
        ).reshape(x.shape)
        if out.kind == "bipolar":
            levels = 2 * (levels.astype(np.int16) + 128) - int(out.high)
        elif out.kind == "unsigned":
            levels = levels.view(np.uint8) ^ np.uint8(128)
        return to_value(levels, out, isa)

    return Step(node, select("multi_threshold", isa).name, run)


def _bit_threshold(thresholds: Array, direction: Array, isa: str) -> Callable[[Any], Bits]:
    def run(value: Array | Pixels) -> Bits:
        x = to_dense(value, isa)
        words = _kernels.threshold_pack(_rows(x, np.int32), thresholds, direction, isa=isa)
        return Bits(words.reshape(*x.shape[:-1], -1), x.shape[-1])

    return run


# --- windows and shapes ------------------------------------------------------------------------


def _plan_max_pool(graph: Graph, node: Node, isa: str) -> Step:
    dtype = graph.activation(node).dtype
    attrs = normal_attrs(node)
    options: dict[str, Any] = {
        "window": attrs["kernel"],
        "stride": attrs["stride"],
        "pads": attrs["pads"],
        "isa": isa,
    }
    if dtype == BIT:
        channels = graph.activation(node).shape[-1]
        has_minimum = len(node.inputs) > 1
        minimum = _constant(graph, node, 1) if has_minimum else np.zeros(channels, np.uint8)
        use_and = bits.pack_mask(minimum.astype(bool))
        return Step(
            node,
            select("maxpool_bit", isa).name,
            lambda x: Bits(_kernels.maxpool_bit(x.words, use_and, **options), x.channels),
        )
    if len(node.inputs) > 1 or dtype.is_float or str(dtype.numpy) not in ("int8", "int32"):
        return _plan_numpy(graph, node, isa)
    return Step(
        node,
        select("maxpool_int", isa).name,
        lambda x: to_value(_kernels.maxpool_int(to_dense(x, isa), **options), dtype, isa),
    )


def _plan_flatten(graph: Graph, node: Node, isa: str) -> Step:
    dtype, channels = graph.activation(node).dtype, graph.activation(node).shape[-1]
    size = graph.result(node).size
    if dtype != BIT or channels % bits.WORD_BITS:
        return _plan_numpy(graph, node, isa)
    return Step(node, "view", lambda x: Bits(x.words.reshape(len(x), -1), size))


_PLANNERS: Mapping[str, Callable[[Graph, Node, str], Step]] = MappingProxyType(
    {
        "Encode": _plan_encode,
        "Dense": _plan_linear,
        "Conv2d": _plan_linear,
        "Quantize": _plan_quantize,
        "Threshold": _plan_threshold,
        "MaxPool": _plan_max_pool,
        "Flatten": _plan_flatten,
    }
)
