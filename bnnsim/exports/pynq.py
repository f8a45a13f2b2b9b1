"""Write a lowered network as an FPGA parameter folder, as the BNN-PYNQ tool flow packs it.

`bnnsim.frontends.pynq` reads such folders and says what they mean; this is its inverse:

- the hardware tests ``accumulator > threshold``. In a 1-bit network the accumulator counts
  matches, (K + dot) / 2; in one with ternary values it is the dot product; a first convolution
  has 8 fractional bits;
- a channel whose threshold falls gets its weights negated, so that it rises;
- row r of a matrix belongs to element r mod PE; a 64-bit word holds SIMD weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bnnsim.errors import GraphError, message
from bnnsim.graph.dtypes import BIT, TERNARY
from bnnsim.graph.folding import stated_folding
from bnnsim.graph.ir import Graph, Node
from bnnsim.graph.ops import normal_attrs
from bnnsim.graph.ranges import INT32_MAX, INT32_MIN

_WORD_BITS, _MOST_PE = 64, 16
_NEVER = 2**62
_PLAIN_ACCUMULATORS = 16  # bits of activations that the tool flow states for the last layer
_PIXELS = np.arange(256)
_BITS_OF_PIXELS = np.where(_PIXELS >= 128, 1, -1)
_Q17_OF_PIXELS = np.clip((256 * (2 * _PIXELS - 255) + 255) // 510, -128, 127)


@dataclass(frozen=True, slots=True)
class _Layer:
    """A Dense or Conv2d, and the Threshold after it if any."""

    linear: Node
    threshold: Node | None = None


def to_pynq(graph: Graph) -> dict[str, bytes]:
    """Return the files of a parameter folder, by name, ``folding.json`` among them.

    Parameters
    ----------
    graph : Graph
        Lowered: thresholds folded, pools on bits. PE and SIMD are those of ``meta["folding"]``,
        or divisors of the matrices: up to 16 elements and as many weights as fill a word.

    Raises
    ------
    GraphError
        Naming the first node that such hardware does not have, and why.
    """
    import json

    layers = _layers(graph)
    ternary = any(graph.tensor(t).dtype == TERNARY for t in graph.tensors)
    files: dict[str, bytes] = {}
    table: dict[str, dict[str, int]] = {}
    for index, layer in enumerate(layers):
        entry = _entry(graph, layer)
        table[f"L{index}"] = entry
        matrix, bounds = _matrix(graph, layer, popcount=not ternary, is_first=index == 0)
        if index == 0 and layer.linear.op == "Dense" and _looks_padded(matrix):
            rule = "a last column that does not look like the hardware's padding"
            raise refused(layer.linear, "a last column of only +1", rule)
        files.update(_packed(index, matrix, bounds, entry))
    files["folding.json"] = (json.dumps({"folding": table}, indent=1) + "\n").encode()
    classes = graph.meta.get("classes")
    if classes:
        files["classes.txt"] = "\n".join(map(str, classes)).encode()
    return files


def _looks_padded(matrix: np.ndarray) -> bool:
    """Whether a reader would take the last inputs of whole 64-bit words for padding."""
    return matrix.shape[1] % _WORD_BITS == 0 and bool((matrix[:, -1] == 1).all())


def refused(node: Node, got: object, rule: str) -> GraphError:
    """Return the error for a node that the hardware does not have."""
    remedy = "See docs/frontends.md for what such a folder can hold."
    return GraphError(message(node.describe(), got, f"{rule}, for --to pynq", remedy))


def _layers(graph: Graph) -> list[_Layer]:
    """Return the layers in order, after checking every node of the graph."""
    layers: list[_Layer] = []
    is_image = len(graph.tensor(graph.inputs[0]).shape) == 3
    for index, node in enumerate(graph.nodes):
        if len(graph.consumers(node.output)) > 1:
            raise refused(node, "a result that several nodes read", "a chain of layers")
        if (index == 0) != (node.op == "Encode"):
            rule = "an encoding of pixels first, and nowhere else"
            raise refused(node, node.op, rule)
        if node.op == "Encode":
            _check_encoding(graph, node, is_image)
        elif node.op in ("Dense", "Conv2d"):
            _check_linear(graph, node)
            layers.append(_Layer(node))
        elif node.op == "Threshold":
            layers[-1:] = [_thresholded(graph, node, layers)]
        elif node.op in ("MaxPool", "Flatten", "IntegerAffine"):
            _check_other(graph, node, layers)
        else:
            rule = "Dense, Conv2d, Threshold, MaxPool and Flatten"
            raise refused(node, node.op, rule)
    _check_ends(graph, layers, is_image=is_image)
    return layers


def _check_ends(graph: Graph, layers: Sequence[_Layer], *, is_image: bool) -> None:
    """Check that sums leave the hardware at the end only."""
    for layer in layers[:-1]:
        if layer.threshold is None:
            raise refused(layer.linear, "no threshold", "thresholds after all layers but the last")
    if not layers or (is_image and layers[-1].threshold is not None):
        rule = "a last layer that gives its sums, in a network that starts with a convolution"
        raise refused(graph.nodes[-1], graph.nodes[-1].op, rule)


def _check_encoding(graph: Graph, node: Node, is_image: bool) -> None:
    table = graph.tensor(node.inputs[1]).data
    due = _Q17_OF_PIXELS if is_image else _BITS_OF_PIXELS
    if table is None or not np.array_equal(table, due):
        what = "2 p / 255 - 1 in steps of 1/128" if is_image else "+1 from 128 on and -1 below"
        raise refused(node, "another table", f"the hardware's encoding of pixels, {what}")


def _check_linear(graph: Graph, node: Node) -> None:
    weight = graph.tensor(node.inputs[1])
    if weight.data is None or weight.dtype not in (BIT, TERNARY):
        got = "no weights" if weight.data is None else str(weight.dtype)
        raise refused(node, got, "weights of bits or -1, 0 and +1")
    if node.op == "Conv2d":
        attrs, x = normal_attrs(node), graph.activation(node)
        plain = attrs["stride"] == attrs["dilation"] == (1, 1) and attrs["groups"] == 1
        square = x.shape[0] == x.shape[1] and weight.shape[1] == weight.shape[2]
        if not plain or any(attrs["pads"]) or not square:
            rule = "no padding, stride 1, one group, square images and kernels"
            raise refused(node, f"{dict(node.attrs)}", rule)


def _thresholded(graph: Graph, node: Node, layers: Sequence[_Layer]) -> _Layer:
    if not layers or node.inputs[0] != layers[-1].linear.output:
        raise refused(node, "another input", "the sums of a layer")
    out, base = graph.result(node).dtype, normal_attrs(node)["base"]
    steps = graph.tensor(node.inputs[1]).shape[1]
    if out != BIT and (out != TERNARY or base != -1 or steps != 2):
        raise refused(node, f"{steps} steps to {out}", "bits, or -1, 0 and +1")
    return _Layer(layers[-1].linear, node)


def _check_other(graph: Graph, node: Node, layers: Sequence[_Layer]) -> None:
    x = graph.activation(node)
    if node.op == "MaxPool":
        attrs = normal_attrs(node)
        plain = attrs["kernel"] == attrs["stride"] == (2, 2) and not any(attrs["pads"])
        even = x.shape[0] % 2 == 0 and x.shape[1] % 2 == 0
        behind = bool(layers) and layers[-1].threshold is not None
        if not (plain and even and behind) or len(node.inputs) > 1:
            rule = "2x2 maxima of a thresholded image of even size; a pool behind the quantizer"
            raise refused(node, f"{dict(node.attrs)}", rule)
    elif node.op == "Flatten" and len(x.shape) == 3 and not layers:
        raise refused(node, "before the first layer", "vectors, or a convolution first")
    elif node.op == "IntegerAffine":
        attrs = normal_attrs(node)
        columns = int(np.prod(graph.tensor(layers[-1].linear.inputs[1]).shape[1:])) if layers else 0
        due = {"mul": 1, "add": columns, "div": 2}
        if attrs != due or node.output not in graph.outputs:
            raise refused(node, f"{attrs}", "the count of matches, (K + dot) / 2, at the end")


def _entry(graph: Graph, layer: _Layer) -> dict[str, int]:
    """Return the layer's part of the folding."""
    node, weight = layer.linear, graph.tensor(layer.linear.inputs[1])
    rows, columns = weight.shape[0], int(np.prod(weight.shape[1:]))
    wide = 1 if weight.dtype == BIT else 2
    most = _WORD_BITS // wide
    stated = stated_folding(graph).get(node.name)
    simd, pe = _divisor(columns, most), _divisor(rows, _MOST_PE)
    if stated is not None:
        simd, pe = stated.simd, stated.pe
        if columns % simd or rows % pe or simd > most:
            rule = f"divisors of its {rows} rows and {columns} columns, SIMD at most {most}"
            raise refused(node, {"PE": pe, "SIMD": simd}, rule)
    levels = _PLAIN_ACCUMULATORS
    if layer.threshold is not None:
        levels = graph.tensor(layer.threshold.inputs[1]).shape[1]
    split = {"SIMD": simd, "PE": pe, "WPI": wide, "API": levels}
    if node.op == "Dense":
        return {"MW": columns, "MH": rows, **split}
    sides = {"IFM_DIM": graph.activation(node).shape[0], "OFM_DIM": graph.result(node).shape[0]}
    return {"K": weight.shape[1], "IFM_CH": weight.shape[3], "OFM_CH": rows, **sides, **split}


def _divisor(number: int, most: int) -> int:
    return max(d for d in range(1, min(number, most) + 1) if number % d == 0)


def _matrix(
    graph: Graph, layer: _Layer, *, popcount: bool, is_first: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return weights (rows, columns), and what sums must exceed, (rows, steps) int64."""
    weight: Any = graph.tensor(layer.linear.inputs[1]).data
    matrix = weight.reshape(len(weight), -1).astype(np.int8)
    if layer.threshold is None:
        return matrix, None
    held, direction = (graph.tensor(name).data for name in layer.threshold.inputs[1:])
    assert held is not None
    assert direction is not None
    due, falls = held.astype(np.int64), direction < 0
    never = np.where(falls[:, None], due == INT32_MIN, due == INT32_MAX)
    always = np.where(falls[:, None], due == INT32_MAX, due == INT32_MIN)
    due = np.where(falls[:, None], -due, due)  # dot <= t is -dot >= -t
    matrix = np.where(falls[:, None], -matrix, matrix)
    if is_first and layer.linear.op == "Conv2d":
        bounds = 2 * (due - 1)  # of acc / 128 > t / 256
    elif popcount:
        bounds = -(-(due + matrix.shape[1]) // 2) - 1
    else:
        bounds = due - 1
    return matrix, np.where(never, _NEVER, np.where(always, -_NEVER, bounds))


def _packed(
    index: int, matrix: np.ndarray, bounds: np.ndarray | None, entry: dict[str, int]
) -> Iterator[tuple[str, bytes]]:
    """Yield the names and the bytes of a layer's files."""
    for element in range(entry["PE"]):
        own = matrix[element :: entry["PE"]].reshape(-1, entry["SIMD"])
        fields = (own > 0)[..., None] if entry["WPI"] == 1 else _two_bits(own)
        bits = np.zeros((len(own), _WORD_BITS), np.uint8)
        flat = fields.reshape(len(own), -1)
        bits[:, : flat.shape[1]] = flat
        words = np.packbits(bits, axis=1, bitorder="little")
        yield f"{index}-{element}-weights.bin", words.tobytes()
        if bounds is not None:
            values = np.ascontiguousarray(bounds[element :: entry["PE"]], "<i8")
            yield f"{index}-{element}-thres.bin", values.tobytes()


def _two_bits(values: np.ndarray) -> np.ndarray:
    """Return -1, 0 and +1 as two bits in two's complement, the lower first."""
    return np.stack([values != 0, values < 0], axis=-1)
