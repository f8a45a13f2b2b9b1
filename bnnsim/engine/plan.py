"""Turn nodes into steps: kernels with their packed constants, or the reference's numpy.

Planning is done once per graph: weights are packed, kernels are chosen and named, and how every
tensor lies in memory is settled. Products, thresholds, pools and elementwise ops of int32 and
float32 get compiled kernels. A Dense of floats, and every other op, runs the reference's own numpy,
so that the two cannot differ; docs/exactness.md says how sums of floats in kernels may.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np

from bnnsim.engine import _kernels, reference
from bnnsim.engine.dispatch import select
from bnnsim.engine.fused import bit_kernel, bit_weights, compared_sums, plan_compared
from bnnsim.engine.lookups import add_byte_bit, byte_map, plan_floats
from bnnsim.engine.planes import MAX_BYTE_FAN_IN, by_planes, plane_weights
from bnnsim.engine.pointwise import KERNEL_INTEGERS, POINTWISE, plan_encode_bits, plan_float_pool
from bnnsim.engine.step import Held, Recipe, Step, affine_pixels, product_fields, tensor_form
from bnnsim.engine.step import constant as _constant
from bnnsim.engine.step import fan_in as _fan_in
from bnnsim.engine.values import Array, Bits, Form, Value, to_dense, to_value
from bnnsim.graph import bits
from bnnsim.graph.draws import Draws, is_stochastic, rng_bits
from bnnsim.graph.dtypes import BIT, DType
from bnnsim.graph.ir import Graph, Node, Tensor
from bnnsim.graph.ops import activations_of, constants_of, normal_attrs
from bnnsim.graph.quantizers import SIGN

NUMPY = "numpy"
_Planner: TypeAlias = Callable[[Graph, Node, str], Step]


def plan(
    graph: Graph, isa: str, keep: Container[str] = (), *, fast_float: bool = False
) -> tuple[Step, ...]:
    """Return the steps of ``graph`` in execution order.

    Sums that nothing but a threshold reads are compared inside the kernel that forms them, and
    have no tensor, unless ``keep`` holds their name. With ``fast_float`` float layers form their
    sums in float32.

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
    linear: _Planner = partial(_plan_linear, fast=fast_float)
    planners = {**_PLANNERS, "Dense": linear, "Conv2d": linear}
    without = {sums.name for sums in compared.values()}
    return tuple(
        plan_compared(graph, compared[node.name], node, isa)
        if node.name in compared
        else planners.get(node.op, _plan_numpy)(graph, node, isa)
        for node in graph.nodes
        if node.name not in without
    )


def _plan_numpy(graph: Graph, node: Node, isa: str) -> Step:
    """Run the reference's numpy on dense values."""
    first = len(activations_of(node))
    constants = [_constant(graph, node, first + i) for i in range(len(constants_of(node)))]
    if node.op == "Dense":
        constants = [np.asarray(weight, np.float64) for weight in constants]  # once, not every run
    meaning, attrs, dtype = reference.OPS[node.op], normal_attrs(node), graph.result(node).dtype
    form = tensor_form(graph, node.output)

    def run(*activations: Value) -> Value:
        dense = [to_dense(x, isa) for x in activations]
        return to_value(meaning([*dense, *constants], attrs, dtype), form, isa)

    return Step(node, NUMPY, run)


def _plan_with(
    planner: Callable[[Graph, Node, str], Step | None], graph: Graph, node: Node, isa: str
) -> Step:
    """Return a planner's step, or the reference's numpy where it has none."""
    return planner(graph, node, isa) or _plan_numpy(graph, node, isa)


# --- input encoding ----------------------------------------------------------------------------


def _plan_encode(graph: Graph, node: Node, isa: str) -> Step:
    """Leave pixels as the bytes they are where the next sums can scale afterwards."""
    if affine_pixels(graph, node) is None:
        return _plan_with(plan_encode_bits, graph, node, isa)
    return Recipe(graph, node, isa).step("view")


# --- Dense and Conv2d --------------------------------------------------------------------------


def _plan_linear(graph: Graph, node: Node, isa: str, *, fast: bool) -> Step:
    weight = graph.tensor(node.inputs[1])
    recipe, fields = Recipe(graph, node, isa), product_fields(graph, node)
    held = recipe.read()
    prefix = "gemm" if node.op == "Dense" else "conv2d"
    map_ = byte_map(graph, node) if isa == "avx2" else None  # others multiply bytes faster
    if map_ is not None:
        return add_byte_bit(recipe, node, map_)
    if held.form.kind == "pixels":
        if not _scales_after(node, weight, (held.form.mul, held.form.add)):
            return _plan_numpy(graph, node, isa)
        return _pixel_linear(recipe, held, fields)
    family = _family(graph, node)
    if family is None:
        return plan_floats(graph, node, isa, fast=fast) or _plan_numpy(graph, node, isa)
    _LINEAR[family](recipe, held, fields)
    return recipe.step(f"{prefix}_{family}")


def _family(graph: Graph, node: Node) -> str | None:
    """Return which kernels multiply a layer's operands, or None where numpy does."""
    weight, pad_value = graph.tensor(node.inputs[1]), normal_attrs(node).get("pad_value", 0)
    x = graph.activation(node).dtype
    if x == weight.dtype == BIT:
        return "bit"
    if by_planes(graph, node):
        return "planes"
    if x.is_float or weight.dtype.numpy != np.int8 or str(x.numpy) not in KERNEL_INTEGERS:
        return None
    limits = np.iinfo(x.numpy)
    is_byte = _is_dense(x) and x.numpy.itemsize == 1 and limits.min <= pad_value <= limits.max
    if is_byte and _fan_in(weight) <= MAX_BYTE_FAN_IN:
        return "byte"
    return "int_bit" if weight.dtype == BIT else "int"


def _scales_after(node: Node, weight: Tensor, affine: tuple[int, int]) -> bool:
    """Return whether byte sums can be scaled afterwards: inside int32, with pads that add 0."""
    largest = int(max(-weight.dtype.low, weight.dtype.high))
    reach = _fan_in(weight) * largest * (abs(affine[0]) * 255 + abs(affine[1]))
    attrs = normal_attrs(node)
    padded = any(attrs.get("pads", ())) and attrs["pad_value"] != 0
    fits = reach < 2**31 and _fan_in(weight) <= MAX_BYTE_FAN_IN
    return weight.dtype.numpy == np.int8 and fits and not padded


def _pixel_linear(recipe: Recipe, x: Held, fields: dict[str, Any]) -> Step:
    """Form sums over ``mul * p + add`` from sums over bytes p: a tap off the image adds 0."""
    node, isa = recipe.node, recipe.isa
    if node.op == "Conv2d":
        fields = fields | {"pad_value": 0}  # pads, where there are any, add nothing
    weight = np.ascontiguousarray(_constant(recipe.graph, node, 1))
    ones = np.ones((1, *x.form.shape), np.uint8)
    if node.op == "Dense":
        of_ones = _kernels.gemm_byte(ones, weight, isa=isa)
    else:
        options = normal_attrs(node) | {"pad_value": 0}
        of_ones = _kernels.conv2d_byte(ones, weight, isa=isa, **options)
    _byte_linear(recipe, x, fields)
    sums, offset = recipe.output, (of_ones.astype(np.int64) * x.form.add).astype(np.int32)
    if (x.form.mul, x.form.add) != (1, 0):
        recipe.scale(sums, sums, x.form.mul, offset.reshape(-1, sums.form.channels))
    return recipe.step("gemm_byte" if node.op == "Dense" else "conv2d_byte")


def _bit_linear(recipe: Recipe, x: Held, fields: dict[str, Any]) -> None:
    weights = bit_weights(recipe.graph, recipe.node, recipe.isa)
    recipe.call(bit_kernel(recipe.node), x, recipe.output, weights=weights, **fields)


def _planes_linear(recipe: Recipe, x: Held, fields: dict[str, Any]) -> None:
    x, weights = recipe.planes(x), plane_weights(recipe.graph, recipe.node, recipe.isa)
    op = "gemm_planes" if recipe.node.op == "Dense" else "conv2d_planes"
    recipe.call(op, x, recipe.output, weights=weights, grid=x.form.grid, **fields)


def _byte_linear(recipe: Recipe, x: Held, fields: dict[str, Any]) -> None:
    weight, isa = np.ascontiguousarray(_constant(recipe.graph, recipe.node, 1)), recipe.isa
    dtype = x.form.buffers[0].dtype
    if recipe.node.op == "Dense":
        packed = _kernels.pack_gemm_byte_weights(weight, isa)
        recipe.call("gemm_byte", x, recipe.output, weights=packed, dtype=dtype, **fields)
    else:
        groups = fields["window"]["groups"]
        packed = _kernels.pack_conv_byte_weights(weight, groups=groups, isa=isa)
        recipe.call("conv2d_byte", x, recipe.output, weights=packed, dtype=dtype, **fields)


def _int_bit_linear(recipe: Recipe, x: Held, fields: dict[str, Any]) -> None:
    x, words = recipe.dense(x), bits.pack(_constant(recipe.graph, recipe.node, 1))
    op = "gemm_int_bit" if recipe.node.op == "Dense" else "conv2d_int_bit"
    recipe.call(op, x, recipe.output, weights=words, dtype=x.form.dtype, **fields)


def _int_linear(recipe: Recipe, x: Held, fields: dict[str, Any]) -> None:
    x, held = recipe.dense(x), np.ascontiguousarray(_constant(recipe.graph, recipe.node, 1))
    op = "gemm_int" if recipe.node.op == "Dense" else "conv2d_int"
    recipe.call(op, x, recipe.output, weights=held, dtype=x.form.dtype, **fields)


_LINEAR: Mapping[str, Callable[[Recipe, Held, dict[str, Any]], None]] = MappingProxyType(
    {
        "bit": _bit_linear,
        "planes": _planes_linear,
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
        return _plan_stochastic(graph, node, isa)
    if node.attrs["quantizer"] != SIGN:
        return _plan_numpy(graph, node, isa)
    if str(dtype) == "float64" or dtype.numpy.itemsize > 4 or not _is_dense(dtype):
        return _plan_numpy(graph, node, isa)
    recipe = Recipe(graph, node, isa)
    x = recipe.read()
    if x.form.kind == "array" and str(x.form.dtype) in ("uint8", "int16"):
        x = recipe.dense(x, np.dtype(np.int32))
    if x.form.kind == "array" and str(x.form.dtype) in ("int8", "int32", "float32"):
        recipe.by_pixel("pack_sign", x, recipe.output, dtype=x.form.dtype)
        return recipe.step("pack_sign")
    held = np.int32 if dtype.is_integer else np.float32

    def run(value: Value) -> Bits:
        x = to_dense(value, isa)
        words = _kernels.pack_sign(_rows(x, held), isa=isa)
        return Bits(words.reshape(*x.shape[:-1], -1), x.shape[-1])

    return Step(node, select("pack_sign", isa).name, run)


def _plan_stochastic(graph: Graph, node: Node, isa: str) -> Step:
    random_bits, recipe = rng_bits(node), Recipe(graph, node, isa)
    x = recipe.read()
    if x.form.kind == "array" and x.form.dtype == np.float32:
        recipe.by_pixel("stochastic_pack", x, recipe.output, node=node.id, bits=random_bits)
        return recipe.step("stochastic_pack")

    def draw(value: Value, draws: Draws) -> Bits:
        x = to_dense(value, isa)
        seed, node_id, sample = draws.stream(node)
        words = _kernels.stochastic_pack(
            _rows(x, np.float32),
            random_bits,
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
    recipe = Recipe(graph, node, isa)
    held = recipe.read()
    fits = out.kind == "bipolar" or out.numpy.itemsize == 1
    if held.form.kind != "array" or str(x.numpy) not in KERNEL_INTEGERS or not fits:
        return _plan_numpy(graph, node, isa)
    sums = recipe.dense(held, np.dtype(np.int32))
    t, direction = _constant(graph, node, 1), _constant(graph, node, 2)
    fields = {"weights": np.ascontiguousarray(t), "weights2": np.ascontiguousarray(direction)}
    if out == BIT:
        recipe.by_pixel("threshold_pack", sums, recipe.output, **fields)
        return recipe.step("threshold_pack")
    _plan_levels(recipe, sums, fields | {"K": t.shape[1]}, out)
    return recipe.step("multi_threshold")


def _plan_levels(recipe: Recipe, sums: Held, fields: dict[str, Any], out: DType) -> None:
    """Count met thresholds in int8, as the kernel does, and bring the counts to the levels."""
    base, made = normal_attrs(recipe.node)["base"], recipe.unpacked
    if out.kind in ("signed", "ternary"):
        recipe.by_pixel("multi_threshold", sums, made, pad_value=base, **fields)
    else:
        # More levels than int8 has above 0: count from -128, and add that back in the wider type.
        grid = out.kind == "bipolar"
        mul, add = (2, 256 - int(out.high)) if grid else (1, 128)
        start = -128 if grid else base - 128
        levels = recipe.scratch(Form("array", sums.form.shape, np.dtype(np.int8)))
        recipe.by_pixel("multi_threshold", sums, levels, pad_value=start, **fields)
        recipe.scale(levels, made, mul, np.full((1, sums.form.channels), add, np.int32))
    recipe.deliver(made)


# --- windows and shapes ------------------------------------------------------------------------


def _plan_max_pool(graph: Graph, node: Node, isa: str) -> Step:
    dtype, recipe = graph.activation(node).dtype, Recipe(graph, node, isa)
    attrs, x = normal_attrs(node), recipe.read()
    window = {name: attrs[name] for name in ("kernel", "stride", "pads")}
    window["image"] = x.form.shape[:2]
    if dtype == BIT:
        minimum = _constant(graph, node, 1) if len(node.inputs) > 1 else np.zeros(x.form.channels)
        use_and = bits.pack_mask(minimum.astype(bool))
        recipe.call("maxpool_bit", x, recipe.output, weights=use_and, N=len(use_and), window=window)
        return recipe.step("maxpool_bit")
    is_known = x.form.kind != "pixels" and str(dtype.numpy) in KERNEL_INTEGERS
    if len(node.inputs) > 1 or not is_known:
        return _plan_with(plan_float_pool, graph, node, isa)
    x, pooled = recipe.dense(x), recipe.unpacked
    fields: dict[str, Any] = {"N": x.form.channels, "dtype": x.form.dtype, "window": window}
    recipe.call("maxpool_int", x, pooled, **fields)
    recipe.deliver(pooled)
    return recipe.step("maxpool_int")


def _plan_flatten(graph: Graph, node: Node, isa: str) -> Step:
    """See the pixels of an image as one row; bits of ragged pixels are packed anew."""
    x = tensor_form(graph, activations_of(node)[0])
    recipe, whole = Recipe(graph, node, isa), x.channels % bits.WORD_BITS == 0
    out = recipe.output.form
    if x.kind == out.kind and (x.kind in ("array", "pixels") or (x.kind == "bits" and whole)):
        return recipe.step("view")
    flat = recipe.dense(recipe.read())
    recipe.store(Held(Form("array", out.shape, flat.form.dtype), flat.places))
    return recipe.step("pack_planes" if out.kind == "planes" else "pack_sign")


_PLANNERS: Mapping[str, _Planner] = MappingProxyType(
    {
        "Encode": _plan_encode,
        "Quantize": _plan_quantize,
        "Threshold": _plan_threshold,
        "MaxPool": _plan_max_pool,
        "Flatten": _plan_flatten,
        **{op: partial(_plan_with, planner) for op, planner in POINTWISE.items()},
    }
)
