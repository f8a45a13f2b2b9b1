"""Logical actions of a graph: what each node computes, counted without any hardware in sight.

A count is a property of the mathematics: multiply-accumulates, adds, compares, conversions. The
closed forms here are checked against an instrumented executor that loops and counts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from bnnsim.cost.remembered import by_graph
from bnnsim.cost.windows import outputs_inside, pixels_inside, taps_inside
from bnnsim.graph.draws import is_stochastic, rng_bits
from bnnsim.graph.dtypes import TERNARY, DType
from bnnsim.graph.ir import Graph, Node, Tensor
from bnnsim.graph.ops import activations_of, normal_attrs
from bnnsim.graph.quantizers import steps_of

_PLANE_BITS = 4
_WIDEST = 32  # a sum of int32 tensors stays in int32: 32 bits is what their type allows, not needs
LAYOUT_OPS = frozenset({"Flatten", "Reshape", "Slice", "PadChannels", "Concat", "ChannelShuffle"})
MAC_OPS = frozenset({"Dense", "Conv2d"})
_WIDTH_KEEPING = LAYOUT_OPS | {"MaxPool", "AvgPool", "GlobalAvgPool"}


@dataclass(frozen=True, slots=True, order=True)
class Action:
    """One kind of elementary work; its text is ``verb.dtype``, such as ``add.float32``.

    Parameters
    ----------
    verb : str
        ``mac`` (bits only: one XNOR or AND and its share of the count), ``mul``, ``add``,
        ``compare``, ``abs``, ``convert``, ``lookup``, ``gate``, ``pack``, ``draw``, or of floats
        ``exp``, ``log`` and ``divide``, each by a series of products and additions.
    dtype : str
        Operand type; integers carry the width that the values need, such as ``int12``.
    """

    verb: str
    dtype: str

    def __str__(self) -> str:
        return f"{self.verb}.{self.dtype}"


@dataclass(frozen=True, slots=True)
class Operands:
    """The operand types of a Dense or Conv2d, and what they ask of a datapath.

    Parameters
    ----------
    act, weight : DType
        As computed with: pixels that an Encode maps stay the unsigned integers they were.
    planes : int
        Bit-plane pairs per MAC; 0 where the MAC is a multiplication or an addition.
    accumulator_bits : int
        Bits that hold every sum: product bits + ceil(log2 K); 0 for float.
    """

    act: DType
    weight: DType
    planes: int
    accumulator_bits: int

    @property
    def pair(self) -> str:
        """Return ``"act x weight"``."""
        return f"{self.act} x {self.weight}"


@dataclass(frozen=True, slots=True)
class LayerCounts:
    """Logical counts of one node for one image.

    Parameters
    ----------
    macs, macs_valid : int
        Nominal (padding counted), and with taps inside the image only.
    operands : Operands or None
        None for nodes without MACs.
    actions : mapping of Action to int, or None
        None for an op that has no rule here.
    """

    node: Node
    macs: int
    macs_valid: int
    operands: Operands | None
    actions: Mapping[Action, int] | None


@by_graph
def count_actions(graph: Graph) -> tuple[LayerCounts, ...]:
    """Return the logical counts of every node for one image, in execution order."""
    pixels = encoded_bits(graph)
    widths = value_widths(graph, pixels)
    return tuple(_count(graph, node, pixels, widths) for node in graph.nodes)


def encoded_bits(graph: Graph) -> dict[str, int]:
    """Return by tensor the bits of the pixel that it stands for, before any Encode.

    Unsigned graph inputs, those of a grid, what integers an Encode makes of them, and Flatten of
    any. None in weight-only modes, which add activations of their own type in every layer, the
    first included.
    """
    bits: dict[str, int] = {}
    if str(graph.meta.get("mode", "")).startswith("weight-only"):
        return bits
    for name in graph.inputs:
        dtype = graph.tensor(name).dtype
        if dtype.kind == "unsigned":
            bits[name] = dtype.bits
    for node in graph.nodes:
        source, made = node.inputs[0], graph.result(node).dtype
        if node.op == "FromGrid" and made.kind == "unsigned":
            bits[node.output] = made.bits
        if source not in bits:
            continue
        if node.op in ("Flatten", "Reshape"):
            bits[node.output] = bits[source]
        elif node.op == "Encode" and made.is_integer:
            width = made.bits
            if width > _PLANE_BITS:
                is_pixel = width <= bits[source] or _is_affine(graph.tensor(node.inputs[1]))
                bits[node.output] = min(width, bits[source]) if is_pixel else width
    return bits


def _is_affine(table: Tensor) -> bool:
    """Return whether a table is ``mul * pixel + add``; one without data counts as such."""
    if table.data is None or table.size < 2:
        return True
    steps = table.data[1:].astype(int) - table.data[:-1].astype(int)
    return bool((steps == steps[0]).all())


def value_widths(graph: Graph, pixels: Mapping[str, int]) -> dict[str, int]:
    """Return by tensor the bits that its values need: accumulators are narrower than int32."""
    widths = {name: tensor.dtype.bits for name, tensor in graph.tensors.items()}
    for node in graph.nodes:
        if node.op in MAC_OPS:
            operands = classify(graph, node, pixels)
            if operands.accumulator_bits:
                widths[node.output] = operands.accumulator_bits
        elif node.op in _WIDTH_KEEPING:
            widths[node.output] = max(widths[name] for name in activations_of(node))
        elif node.op == "Add" and graph.result(node).dtype.is_integer:
            widest = 1 + max(widths[name] for name in activations_of(node))
            widths[node.output] = min(widest, _WIDEST)
    return widths


def classify(graph: Graph, node: Node, pixels: Mapping[str, int]) -> Operands:
    """Return the operands of a Dense or Conv2d, pixels taken as they were before Encode."""
    x, weight = graph.tensor(node.inputs[0]), graph.tensor(node.inputs[1])
    act = DType("unsigned", pixels[x.name]) if x.name in pixels else x.dtype
    fan_in = weight.size // weight.shape[0]
    return operands_of(act, weight.dtype, fan_in, pixel=x.name in pixels)


@lru_cache(maxsize=4096)
def operands_of(act: DType, weight: DType, fan_in: int, *, pixel: bool = False) -> Operands:
    """Return what a dot product of ``fan_in`` elements of these types asks of a datapath."""
    if act.is_float or weight.is_float:
        return Operands(act, weight, 0, 0)
    product = max(act.bits, weight.bits) if weight.is_light else act.bits + weight.bits
    # A grid keeps its sign beside its bits; by another grid only every other sum can occur.
    product += weight.kind == "bipolar" and weight.bits > 1 and act.kind == "unsigned"
    width = product + (fan_in - 1).bit_length()
    return Operands(act, weight, _planes(act, weight, pixel), width)


def _planes(act: DType, weight: DType, pixel: bool) -> int:
    """Return the bit-plane pairs of one MAC, or 0 where planes are not the natural way."""
    if act.is_light and weight.is_light and TERNARY in (act, weight):
        return 2  # signs and non-zero masks: two planes, also for ternary by ternary
    narrow = act.bits <= _PLANE_BITS and weight.bits <= _PLANE_BITS
    grid = weight.kind == "bipolar" and (pixel or act.kind in ("unsigned", "bipolar"))
    return act.bits * weight.bits if narrow or grid else 0


def _count(
    graph: Graph, node: Node, pixels: Mapping[str, int], widths: Mapping[str, int]
) -> LayerCounts:
    if node.op in MAC_OPS:
        operands = classify(graph, node, pixels)
        macs, valid = count_macs(graph, node)
        return LayerCounts(node, macs, valid, operands, mac_actions(operands, macs))
    rule = _RULES.get(node.op)
    actions = None if rule is None else _tidy(rule(graph, node, widths))
    return LayerCounts(node, 0, 0, None, actions)


def _tidy(actions: Mapping[Action, int]) -> Mapping[Action, int]:
    return MappingProxyType({a: n for a, n in sorted(actions.items()) if n})


def mac_actions(operands: Operands, macs: int) -> Mapping[Action, int]:
    """Return the actions of ``macs`` multiply-accumulates of these operands."""
    act, weight = operands.act, operands.weight
    if operands.planes:
        return _tidy({Action("mac", "bit"): macs * operands.planes})
    if act.is_float or weight.is_float:
        dtype = str(max(act, weight, key=_float_rank))
        add = Action("add", dtype)
        return _tidy({add: macs} if weight.is_light else {Action("mul", dtype): macs, add: macs})
    add = Action("add", f"int{operands.accumulator_bits}")
    if weight.is_light:
        return _tidy({add: macs})
    return _tidy({Action("mul", f"int{max(act.bits, weight.bits)}"): macs, add: macs})


def _float_rank(dtype: DType) -> int:
    return dtype.bits if dtype.is_float else 0


def count_macs(graph: Graph, node: Node) -> tuple[int, int]:
    """Return (nominal, in-image) multiply-accumulates of a Dense or Conv2d for one image."""
    weight = graph.tensor(node.inputs[1])
    if node.op == "Dense":
        return weight.size, weight.size
    x, out, attrs = graph.activation(node), graph.result(node), normal_attrs(node)
    nominal = out.size * (weight.size // weight.shape[0])
    rows, columns = (
        taps_inside(x.shape[a], out.shape[a], weight.shape[1 + a], attrs["stride"][a],
                    attrs["dilation"][a], attrs["pads"][a])
        for a in (0, 1)
    )  # fmt: skip
    return nominal, rows * columns * weight.shape[3] * out.shape[2]


# --- nodes without MACs: (graph, node, widths) -> actions for one image ------------------------

Rule = Callable[[Graph, Node, Mapping[str, int]], Mapping[Action, int]]


def _numeric(graph: Graph, tensor: str, widths: Mapping[str, int]) -> str:
    """Return the type that arithmetic on a tensor works in: float, or the integer width needed."""
    dtype = graph.tensor(tensor).dtype
    return str(dtype) if dtype.is_float else f"int{widths[tensor]}"


def _encode(graph: Graph, node: Node, _: Mapping[str, int]) -> Mapping[Action, int]:
    out = graph.result(node)
    return {Action("lookup", str(out.dtype)): out.size}


def _from_grid(graph: Graph, node: Node, _: Mapping[str, int]) -> Mapping[Action, int]:
    """One product by 1 / scale and one rounding; the zero is added to the integer."""
    out, zero = graph.result(node), normal_attrs(node)["zero"]
    return {
        Action("mul", "float32"): out.size,
        Action("convert", str(out.dtype)): out.size,
        Action("add", f"int{out.dtype.bits}"): out.size * (zero != 0),
    }


def _per_channel(*verbs: str) -> Rule:
    def rule(graph: Graph, node: Node, _: Mapping[str, int]) -> Mapping[Action, int]:
        x, out = graph.activation(node), graph.result(node)
        actions = {Action(verb, str(out.dtype)): out.size for verb in verbs}
        if x.dtype != out.dtype:
            actions[Action("convert", str(out.dtype))] = out.size
        return actions

    return rule


def _compares(number: int) -> Rule:
    def rule(graph: Graph, node: Node, widths: Mapping[str, int]) -> Mapping[Action, int]:
        x = graph.activation(node)
        return {Action("compare", _numeric(graph, x.name, widths)): number * x.size}

    return rule


def _quantize(graph: Graph, node: Node, widths: Mapping[str, int]) -> Mapping[Action, int]:
    x, out = graph.activation(node), graph.result(node).dtype
    numeric = _numeric(graph, x.name, widths)
    if is_stochastic(node):
        # The probability x 2^(n-1) + 2^(n-1) + 0.5 is one add, as scaling by a power of two moves
        # the exponent only, and one conversion to n bits that saturates; then u < p, n bits wide.
        word = f"uint{rng_bits(node)}"
        verbs = [("add", numeric), ("convert", word), ("compare", word), ("draw", word)]
    elif out.is_light:  # compares with 0, or with -1/2 and 1/2
        verbs = [("compare", numeric)] * steps_of(out)
    else:  # two compares clip, a product (on a grid and a sum) gives the level, which is rounded
        numeric = str(x.dtype) if x.dtype.is_float else "float32"
        shift = [("add", numeric)] * (out.kind == "bipolar")
        verbs = [("compare", numeric)] * 2 + [("mul", numeric), *shift, ("convert", str(out))]
    done = Counter([*verbs, *[("pack", "bit")] * out.bits])
    return {Action(verb, dtype): number * x.size for (verb, dtype), number in done.items()}


def _threshold(graph: Graph, node: Node, widths: Mapping[str, int]) -> Mapping[Action, int]:
    x, out = graph.activation(node), graph.result(node)
    steps = graph.tensor(node.inputs[1]).shape[1]
    return {
        Action("compare", _numeric(graph, x.name, widths)): steps * x.size,
        Action("add", f"int{out.dtype.bits}"): (steps - 1) * x.size,
        Action("pack", "bit"): out.dtype.bits * x.size,
    }


def _requantize(graph: Graph, node: Node, widths: Mapping[str, int]) -> Mapping[Action, int]:
    x = graph.activation(node)
    numeric = _numeric(graph, x.name, widths)
    return {
        Action("mul", numeric): x.size,
        Action("add", numeric): x.size,
        Action("compare", numeric): 2 * x.size,
    }


def _max_pool(graph: Graph, node: Node, widths: Mapping[str, int]) -> Mapping[Action, int]:
    x, out, attrs = graph.activation(node), graph.result(node), normal_attrs(node)
    rows, columns = (
        taps_inside(x.shape[a], out.shape[a], attrs["kernel"][a], attrs["stride"][a], 1,
                    attrs["pads"][a])
        for a in (0, 1)
    )  # fmt: skip
    number = rows * columns * out.shape[2] - out.size
    bits = x.dtype.bits == 1  # of either kind: an OR or an AND
    action = Action("gate", "bit") if bits else Action("compare", _numeric(graph, x.name, widths))
    return {action: number}


def _add(graph: Graph, node: Node, widths: Mapping[str, int]) -> Mapping[Action, int]:
    out = graph.result(node)
    return {Action("add", _numeric(graph, out.name, widths)): out.size}


def _average(graph: Graph, node: Node, widths: Mapping[str, int]) -> Mapping[Action, int]:
    """One addition per tap but the first, and one product by 1 / n, of each result."""
    x, out = graph.activation(node), graph.result(node)
    attrs = normal_attrs(node) or {
        "kernel": x.shape[:2], "stride": (1, 1), "pads": (0, 0, 0, 0)
    }  # fmt: skip
    rows, columns = (
        taps_inside(x.shape[a], out.shape[a], attrs["kernel"][a], attrs["stride"][a], 1,
                    attrs["pads"][a])
        for a in (0, 1)
    )  # fmt: skip
    taps = attrs["kernel"][0] * attrs["kernel"][1]
    width = min(widths[x.name] + (taps - 1).bit_length(), _WIDEST)
    numeric = str(x.dtype) if x.dtype.is_float else f"int{width}"
    return {
        Action("add", numeric): rows * columns * out.shape[2] - out.size,
        Action("mul", numeric): out.size,
    }


def _input_scale(graph: Graph, node: Node, widths: Mapping[str, int]) -> Mapping[Action, int]:
    """|x| summed over channels once a pixel, those sums over each window, one product by 1 / n."""
    x, out, attrs = graph.activation(node), graph.result(node), normal_attrs(node)
    image, result = (1, 1, *x.shape)[-3:], (1, 1, *out.shape)[-3:]  # a vector is one pixel
    sides = [
        (image[a], result[a], attrs["kernel"][a], attrs["stride"][a], attrs["dilation"][a],
         attrs["pads"][a])
        for a in (0, 1)
    ]  # fmt: skip
    pixels, taps, windows = (
        inside(*sides[0]) * inside(*sides[1])
        for inside in (pixels_inside, taps_inside, outputs_inside)
    )
    channels, groups = image[2], result[2]
    fan_in = channels // groups * attrs["kernel"][0] * attrs["kernel"][1]
    width = min(widths[x.name] + (fan_in - 1).bit_length(), _WIDEST)
    numeric = str(x.dtype) if x.dtype.is_float else f"int{width}"
    return {
        Action("abs", _numeric(graph, x.name, widths)): pixels * channels,
        Action("add", numeric): pixels * (channels - groups) + (taps - windows) * groups,
        Action("mul", str(out.dtype)): out.size,
        Action("convert", str(out.dtype)): 0 if x.dtype.is_float else out.size,
    }


def _integer_affine(graph: Graph, node: Node, widths: Mapping[str, int]) -> Mapping[Action, int]:
    x, attrs = graph.activation(node), normal_attrs(node)
    numeric = _numeric(graph, x.name, widths)
    products = (attrs["mul"] != 1) + (attrs["div"] != 1)
    return {
        Action("mul", numeric): products * x.size,
        Action("add", numeric): (attrs["add"] != 0) * x.size,
    }


def _prelu(graph: Graph, node: Node, widths: Mapping[str, int]) -> Mapping[Action, int]:
    """One compare with 0 and one product, as hardware without branches does both."""
    return {**_compares(1)(graph, node, widths), **_per_channel("mul")(graph, node, widths)}


def _softmax(graph: Graph, node: Node, _: Mapping[str, int]) -> Mapping[Action, int]:
    """Count the maximum, taken from each element; powers of e, their sum, one of the two ends."""
    x, out = graph.activation(node), graph.result(node)
    dtype, rows = str(out.dtype), out.size // out.shape[-1]
    end = ("log", "add") if normal_attrs(node)["log"] else ("divide", "mul")
    done = Counter({"compare": out.size - rows, "add": 2 * out.size - rows, "exp": out.size})
    done.update({end[0]: rows, end[1]: out.size})
    if x.dtype != out.dtype:
        done["convert"] = out.size
    return {Action(verb, dtype): number for verb, number in done.items()}


def _nothing(graph: Graph, node: Node, _: Mapping[str, int]) -> Mapping[Action, int]:
    return {}


_RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "Encode": _encode,
        "FromGrid": _from_grid,
        "Bias": _per_channel("add"),
        "Scale": _per_channel("mul"),
        "Affine": _per_channel("mul", "add"),
        "BatchNorm": _per_channel("mul", "add"),
        "Relu": _compares(1),
        "PRelu": _prelu,
        "Sigmoid": _per_channel("exp", "add", "divide"),
        "Softmax": _softmax,
        "Clip": _compares(2),
        "Quantize": _quantize,
        "Threshold": _threshold,
        "Requantize": _requantize,
        "MaxPool": _max_pool,
        "Add": _add,
        "Mul": _per_channel("mul"),
        "InputScale": _input_scale,
        "AvgPool": _average,
        "GlobalAvgPool": _average,
        **dict.fromkeys(LAYOUT_OPS, _nothing),
        "IntegerAffine": _integer_affine,
        "Cast": _per_channel(),
    }
)
