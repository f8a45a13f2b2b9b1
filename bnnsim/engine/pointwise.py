"""Plan what works element by element on integers or floats, and the pools of floats, for kernels.

Each planner returns None where the reference's numpy does the work: other types than int32 and
float32, operands that are broadcast, and pools with a minimum.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from bnnsim.engine import _kernels
from bnnsim.engine.step import Held, Recipe, Step, constant
from bnnsim.engine.values import Array, Form
from bnnsim.graph.dtypes import BIT, FLOAT32
from bnnsim.graph.ir import Graph, Node
from bnnsim.graph.ops import activations_of, constants_of, normal_attrs

KERNEL_INTEGERS = ("uint8", "int8", "int16", "int32")


def plan_affine(graph: Graph, node: Node, isa: str) -> Step | None:
    """Take away, multiply by and add constants of each channel."""
    recipe, terms = Recipe(graph, node, isa), _affine_terms(graph, node)
    plain = all(term.dtype == np.float32 and term.ndim == 1 for term in terms.values())
    if not plain or not _are_known(graph, recipe) or graph.result(node).dtype != FLOAT32:
        return None
    held, which = _kernels.affine_terms(
        recipe.output.form.channels, *(terms.get(name) for name in ("shift", "scale", "bias"))
    )
    x = recipe.read()
    x = recipe.dense(x) if x.form.dtype != np.float32 else x
    recipe.by_pixel("affine", x, recipe.output, weights=held, pad_value=which, dtype=x.form.dtype)
    return recipe.step("affine")


def _affine_terms(graph: Graph, node: Node) -> dict[str, Array]:
    """Return what is taken away, multiplied by and added, in this order, of what there is."""
    terms = [constant(graph, node, 1 + i) for i in range(len(constants_of(node)))]
    if node.op == "BatchNorm":
        gamma, beta, mean, var = terms
        scale = gamma / np.sqrt(var + np.float32(normal_attrs(node)["eps"]))
        return {"shift": mean, "scale": scale, "bias": beta}
    names = {"Bias": ("bias",), "Scale": ("scale",), "Affine": ("scale", "bias")}[node.op]
    return dict(zip(names, terms, strict=True))


def _are_known(graph: Graph, recipe: Recipe) -> bool:
    """Return whether kernels read the types of all activations."""
    names = activations_of(recipe.node)
    forms = [recipe.read(i).form for i in range(len(names))]
    dtypes = [graph.tensor(name).dtype for name in names]
    return all(
        form.kind != "pixels" and (dtype == FLOAT32 or str(form.dtype) in KERNEL_INTEGERS)
        for form, dtype in zip(forms, dtypes, strict=True)
    )


def _as(recipe: Recipe, index: int, dtype: np.dtype) -> Held:
    """Return an activation as int32 or float32; what is float32 already stays it."""
    x = recipe.read(index)
    if x.form.dtype == np.float32:
        return x
    x = recipe.dense(x, np.dtype(np.int32) if dtype == np.int32 else None)
    if dtype == np.int32:
        return x
    terms, which = _kernels.affine_terms(x.form.channels, None, None, None)
    made = recipe.scratch(Form("array", x.form.shape, dtype))
    return recipe.by_pixel("affine", x, made, weights=terms, pad_value=which, dtype=x.form.dtype)


def _call(recipe: Recipe, what: str, x: Held, **fields: Any) -> Step:
    code = _kernels.POINTWISE.index(what)
    recipe.by_pixel("pointwise", x, recipe.output, pad_value=code, dtype=x.form.dtype, **fields)
    return recipe.step("pointwise")


def _kernel_dtype(graph: Graph, recipe: Recipe) -> np.dtype | None:
    """Return the type that the kernel works in, the output's, or None where none takes it."""
    out, form = graph.result(recipe.node).dtype, recipe.output.form
    held = out == FLOAT32 or (out.is_integer and form.kind == "array" and form.dtype == np.int32)
    return form.dtype if held and _are_known(graph, recipe) else None


def plan_sum(graph: Graph, node: Node, isa: str) -> Step | None:
    """Add or multiply two tensors of one shape."""
    recipe = Recipe(graph, node, isa)
    dtype = _kernel_dtype(graph, recipe)
    a, b = (graph.tensor(name) for name in activations_of(node))
    attrs = normal_attrs(node)
    if dtype is None or a.shape != b.shape or attrs.get("groups", 1) != 1:
        return None
    x, x2 = (_as(recipe, i, dtype) for i in range(2))
    return _call(recipe, "add" if node.op == "Add" else "multiply", x, x2=x2)


def plan_clip(graph: Graph, node: Node, isa: str) -> Step | None:
    """Raise to a least value and lower to a greatest; a Relu has none of these."""
    recipe, attrs = Recipe(graph, node, isa), normal_attrs(node)
    dtype = _kernel_dtype(graph, recipe)
    if dtype is None or recipe.read().form.dtype != dtype:
        return None
    top = np.inf if dtype == np.float32 else np.iinfo(np.int32).max
    ends = (0, top) if node.op == "Relu" else (attrs["low"], attrs["high"])
    return _call(recipe, "clip", recipe.read(), weights=np.array(ends).astype(dtype))


def plan_prelu(graph: Graph, node: Node, isa: str) -> Step | None:
    """Multiply what is below 0 by a slope of each channel."""
    recipe, slope = Recipe(graph, node, isa), constant(graph, node, 1)
    dtype = _kernel_dtype(graph, recipe)
    if dtype != np.float32 or slope.dtype != np.float32 or slope.ndim != 1:
        return None
    terms = np.ascontiguousarray(np.broadcast_to(slope, recipe.output.form.shape[-1:]))
    return _call(recipe, "prelu", _as(recipe, 0, dtype), weights=terms)


def plan_ratio(graph: Graph, node: Node, isa: str) -> Step | None:
    """Scale integers by a ratio that leaves integers."""
    recipe, attrs = Recipe(graph, node, isa), normal_attrs(node)
    dtype = _kernel_dtype(graph, recipe)
    terms = [attrs[name] for name in ("mul", "add", "div")]
    if dtype != np.int32 or graph.activation(node).dtype.is_float or not _fit(terms):
        return None
    return _call(recipe, "ratio", _as(recipe, 0, dtype), weights=np.array(terms, np.int32))


def _fit(terms: list[int]) -> bool:
    """Return whether a kernel's int64 holds what it does with them."""
    return all(abs(term) < 2**31 for term in terms) and terms[-1] >= 1


def plan_encode_bits(graph: Graph, node: Node, isa: str) -> Step | None:
    """Encode bytes to bits by one comparison, where the table changes its sign once."""
    recipe, table = Recipe(graph, node, isa), constant(graph, node, 1)
    changes = np.flatnonzero(np.diff(table)) + 1
    x = recipe.read()
    if graph.result(node).dtype != BIT or x.form.dtype != np.uint8 or len(changes) != 1:
        return None
    first, mul = int(changes[0]), int(table[-1])  # rising: x - first, falling: first - 1 - x
    offset = -first if mul > 0 else first - 1
    sums = recipe.scratch(Form("array", x.form.shape, np.dtype(np.int32)))
    recipe.scale(x, sums, mul, np.full((1, x.form.channels), offset, np.int32))
    recipe.store(sums)
    return recipe.step("pack_sign")


def plan_float_pool(graph: Graph, node: Node, isa: str) -> Step | None:
    """Pool windows over floats, or the whole image."""
    recipe, attrs = Recipe(graph, node, isa), normal_attrs(node)
    x = recipe.read()
    floats = graph.activation(node).dtype == graph.result(node).dtype == FLOAT32
    if not floats or len(node.inputs) > 1:
        return None
    image = x.form.shape[:2]
    if node.op == "GlobalAvgPool":
        window, how = {"kernel": image}, "average"
    else:
        window = {name: attrs[name] for name in ("kernel", "stride", "pads")}
        padded = "average_padded" if attrs.get("count_include_pad") else "average"
        how = "largest" if node.op == "MaxPool" else padded
    code = _kernels.FLOAT_POOLS.index(how)
    window |= {"image": image}
    recipe.call("pool_float", x, recipe.output, N=x.form.channels, window=window, pad_value=code)
    return recipe.step("pool_float")


def plan_concat(graph: Graph, node: Node, isa: str) -> Step | None:
    """Copy rows of channels side by side; bits where each part is whole words."""
    recipe, out = Recipe(graph, node, isa), Recipe(graph, node, isa).output
    parts = [recipe.read(i) for i in range(len(activations_of(node)))]
    if any(part.form.kind != out.form.kind for part in parts) or out.form.kind == "planes":
        return None
    if out.form.kind == "bits" and any(part.form.channels % 64 for part in parts):
        return None
    sizes = [part.form.buffers[0].nbytes // part.form.rows for part in parts]
    first = 0
    for part, size in zip(parts, sizes, strict=True):
        rows: dict[str, Any] = {"M": out.form.rows, "N": size, "K": sum(sizes), "pad_value": first}
        recipe.call("copy_channels", part, out, **rows)
        first += size
    return recipe.step("copy_channels")


POINTWISE: Mapping[str, Callable[[Graph, Node, str], Step | None]] = MappingProxyType(
    {
        "Bias": plan_affine,
        "Scale": plan_affine,
        "Affine": plan_affine,
        "BatchNorm": plan_affine,
        "Add": plan_sum,
        "Mul": plan_sum,
        "Relu": plan_clip,
        "Clip": plan_clip,
        "PRelu": plan_prelu,
        "IntegerAffine": plan_ratio,
        "AvgPool": plan_float_pool,
        "GlobalAvgPool": plan_float_pool,
        "Concat": plan_concat,
    }
)
