"""Import ONNX and QONNX files; only the ``onnx`` package is needed, and only to parse them.

Constants are folded first, so that a layer is recognised by the values of its weights. Operators
on activations are translated to those of the torch front end, which meets the same networks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bnnsim.errors import GraphError, SourceError, message
from bnnsim.frontends.builder import GraphBuilder
from bnnsim.frontends.elementwise import Lookup, apply_to_table
from bnnsim.frontends.importer import Activation, Importer
from bnnsim.frontends.onnx_file import OnnxModel, OnnxNode, read_model
from bnnsim.frontends.onnx_numpy import ELEMENTWISE, MEANING, Budget, fold
from bnnsim.frontends.onnx_quant import DOMAINS, HANDLERS
from bnnsim.frontends.onnx_values import OnnxCall, Permuted, in_flight, through, unsupported
from bnnsim.frontends.pairs import Pairs
from bnnsim.graph.dtypes import FLOAT32, UINT8
from bnnsim.graph.ir import Graph
from bnnsim.graph.shape_rules import MAX_ELEMENTS

_SIGN_ZERO = ("plus", "error")
_ENDS = ("ArgMax", "TopK", "Softmax", "LogSoftmax", "Hardmax")
_ANY_ORDER = frozenset(  # of axes: these are of one element each
    ("Relu", "LeakyRelu", "Clip", "Sign", "Abs", "Neg", "Round", "Sigmoid", "Tanh",
     "HardSigmoid", "HardSwish", "Cast", "Identity", "Dropout")
)  # fmt: skip
_FREE_ELEMENTS = 2**26  # that folding may make beside 16 times the file's own
_FOLD_ERRORS = (ValueError, IndexError, TypeError, KeyError, OverflowError, AttributeError)
_TO_CHANNELS_FIRST = (0, 3, 1, 2)


def from_onnx(
    path: str | Path,
    *,
    input_shape: Sequence[int] | None = None,
    name: str | None = None,
    sign_zero: str = "plus",
) -> Graph:
    """Lower an ``.onnx`` file to a graph.

    Parameters
    ----------
    path : path
        Standard operators of opsets 7 to 23, and those of the domains ``onnx.brevitas``,
        ``qonnx.custom_op.general`` and ``finn.custom_op.general``.
    input_shape : sequence of int, optional
        Of one input in the file's order without the batch, where the file leaves sizes open.
    name : str, optional
        Of the graph; default: the file's name.
    sign_zero : str
        ``plus``: a sign that is not +1 at 0 (``Sign``) becomes one that is, with an entry in the
        graph's ``notes``. ``error``: it is refused.

    Returns
    -------
    Graph
        Images are (H, W, C) where the file has (C, H, W). ``meta["onnx"]`` says which of the
        file's tensors those of the graph are (`bnnsim.frontends.pairs`).

    Raises
    ------
    SourceError
        Naming the file, the node, its operator and domain, and what would be needed.
    """
    if sign_zero not in _SIGN_ZERO:
        raise SourceError(message("sign_zero", sign_zero, f"one of {', '.join(_SIGN_ZERO)}"))
    model = read_model(path)
    importer, start = _importer(model, str(path), input_shape, sign_zero)
    walk = _Walk(model, importer, start)
    try:
        output = walk.output()
    except GraphError as error:
        raise SourceError(f"{path}: {walk.place}: {error}") from None
    meta = {
        "source": str(path),
        "source_kind": "onnx",
        "decision": "argmax",
        "notes": importer.notes,
        "onnx": walk.pairs.found,
        "channels_first": len(importer.shape) == 3 and not isinstance(start[1], Permuted),
    }
    return importer.builder.graph(name or Path(path).stem, output.tensor, meta)


def _importer(
    model: OnnxModel, where: str, input_shape: Sequence[int] | None, sign_zero: str
) -> tuple[Importer, tuple[str, Any]]:
    """Return the importer, and the name and the value of the input."""
    if len(model.inputs) != 1:
        rule = "one input; everything else a constant"
        raise SourceError(message(f"{where}: inputs", sorted(model.inputs), rule))
    ((name, (kind, dims)),) = model.inputs.items()
    place = f"{where}: input {name!r}"
    dtype = {"float32": FLOAT32, "uint8": UINT8}.get(kind)
    if dtype is None:
        raise SourceError(message(place, kind, "float32 or uint8"))
    if len(dims) not in (2, 3, 4):
        raise SourceError(message(place, dims, "(N, features) or (N, C, H, W)"))
    shape = _sizes(dims[1:], input_shape, place)
    image_last = len(shape) == 3 and _is_channels_last(model, name)
    ours = shape if len(shape) < 3 or image_last else (*shape[1:], shape[0])
    importer = Importer(
        name=where,
        builder=GraphBuilder(ours, dtype),
        batch=str(dims[0] or 1),
        shape=(shape[2], *shape[:2]) if image_last else shape,
        pixels=np.arange(256, dtype=np.uint8) if dtype == UINT8 else None,
        sign_zero=sign_zero,
        source="the file",
        known=tuple(sorted({*HANDLERS, *MEANING})),
    )
    value = importer.input(name)
    return importer, (name, Permuted(value, (0, 2, 3, 1)) if image_last else value)


def _sizes(dims: Sequence[int | None], given: Sequence[int] | None, place: str) -> tuple[int, ...]:
    """Return the sizes of one input, those that the file leaves open from ``input_shape``."""
    shape: Sequence[int | None] = dims
    if given is not None:
        fits = len(given) == len(dims) and all(
            d in (None, g) for d, g in zip(dims, given, strict=True)
        )
        if not fits or min(given) < 1:
            raise SourceError(message(f"{place}: input_shape", tuple(given), f"{tuple(dims)}"))
        shape = given
    sizes = tuple(size for size in shape if size is not None)
    if len(sizes) < len(shape):
        remedy = "Give --input-shape (input_shape= in Python), without the batch."
        raise SourceError(message(place, tuple(dims), "sizes that are known", remedy))
    elements = 1
    for size in sizes:
        elements *= size
    if elements > MAX_ELEMENTS:
        raise SourceError(message(place, sizes, f"at most {MAX_ELEMENTS} elements"))
    return sizes


def _is_channels_last(model: OnnxModel, name: str) -> bool:
    """Whether the input's first use but elementwise ones is a transposition to (N, C, H, W)."""
    for node in model.nodes:
        if name in node.inputs:
            if node.op == "Transpose":
                return tuple(node.attrs.get("perm", ())) == _TO_CHANNELS_FIRST
            if node.op not in ELEMENTWISE and node.op != "Identity":
                return False
            name = node.outputs[0]
    return False


class _Walk:
    """The values of the file's tensors so far, and which of the graph's tensors they are."""

    def __init__(self, model: OnnxModel, importer: Importer, start: tuple[str, Any]) -> None:
        self.model, self.im = model, importer
        self.values: dict[str, Any] = {**model.constants, start[0]: start[1], "": None}
        held = sum(array.size for array in model.constants.values())
        self.budget = Budget(16 * held + _FREE_ELEMENTS)
        self.pairs = Pairs()
        self.place = "input"

    def output(self) -> Activation:
        """Lower what the output needs and return the output."""
        im, names = self.im, self._ends()
        live = self._live(names)
        for node in self.model.nodes:
            if any(name in live for name in node.outputs):
                self.place = node.place
                self._lower(node)
        value = self.values[names]
        if not in_flight(value):
            raise im.refused(f"output {names!r}", "a constant", "a result of the input")
        output = through(im, value, "output").activation
        if output.order is not None:
            rule = "a dense layer after it: its features would be in another order"
            raise im.refused(f"output {names!r}", "a flattened image", rule)
        self.pairs.finish(im, self.values)
        self.pairs.add(names, output)
        return output

    def _ends(self) -> str:
        """Return the tensor that is the graph's output: the file's, or what its end decides on."""
        makers = {name: node for node in self.model.nodes for name in node.outputs}
        found = {self._before_end(makers, name) for name in self.model.outputs}
        if len(found) != 1:
            rule = "one output"
            remedy = "Leave the others out of the file's outputs."
            raise self.im.refused("outputs", list(self.model.outputs), rule, remedy)
        return found.pop()

    def _before_end(self, makers: dict[str, OnnxNode], name: str) -> str:
        node = makers.get(name)
        while node is not None and node.op in (*_ENDS, "Identity", "Cast") and not node.domain:
            if node.op in _ENDS or int(node.attrs.get("to", 1)) != 1:
                self.im.note_once(
                    f"{node.place}: left out at the end; the outputs are what it decides on, and "
                    "the class is the index of the largest."
                )
            name = node.inputs[0]
            node = makers.get(name)
        return name

    def _live(self, name: str) -> set[str]:
        live = {name}
        for node in reversed(self.model.nodes):
            if live.intersection(node.outputs):
                live.update(node.inputs)
        return live

    def _lower(self, node: OnnxNode) -> None:
        args = [self.values.get(name) for name in node.inputs]
        self._check_operands(node, args)
        symbolic = [a for a in args if in_flight(a)]
        known = DOMAINS.get(node.domain, ())
        if node.domain and node.op not in known:
            raise unsupported(self.im, node)
        if not symbolic and node.op in MEANING:
            value = self._folded(node, args)
        elif node.op in ELEMENTWISE and all(isinstance(a, Lookup) for a in symbolic):
            value = self._tabled(node, args)
        else:
            value = self._handled(node, args)
        parts = value if isinstance(value, list) else [value]
        for name, part in zip(node.outputs, parts, strict=False):  # training's are not made
            self.values[name] = part
            self.pairs.add(name, part)

    def _check_operands(self, node: OnnxNode, args: list[Any]) -> None:
        if not node.outputs or not node.outputs[0]:
            raise self.im.refused(node.place, "no output", "a node with an output")
        for name, value in zip(node.inputs, args, strict=True):
            if name and value is None:
                got = f"input {name!r}, a further output of its node"
                raise self.im.refused(node.place, got, "the first output of a node")

    def _folded(self, node: OnnxNode, args: list[Any]) -> Any:
        try:
            return fold(node.op, args, node.attrs, self.budget)
        except _FOLD_ERRORS as error:
            raise self._misfit(node, error) from None

    def _misfit(self, node: OnnxNode, error: Exception) -> SourceError:
        got = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        if isinstance(error, ValueError):
            got = str(error).splitlines()[0] if str(error) else "no value"
        return self.im.refused(node.place, got, f"operands and attributes that {node.op} takes")

    def _tabled(self, node: OnnxNode, args: list[Any]) -> Any:
        """Apply an elementwise operator to tables of pixel values where it is a function of one."""

        def evaluate(*operands: Any) -> Any:
            with np.errstate(all="ignore"):
                return MEANING[node.op](operands, node.attrs)

        if node.op in ("Quant", "BipolarQuant", "IntQuant", "QuantizeLinear"):
            return self._handled(node, args)
        try:
            lookup = apply_to_table(evaluate, tuple(args), {})
        except _FOLD_ERRORS as error:
            raise self._misfit(node, error) from None
        return self._handled(node, args) if lookup is None else lookup

    def _handled(self, node: OnnxNode, args: list[Any]) -> Any:
        handler: Callable[..., Any] | None = HANDLERS.get(node.op)
        if handler is None:
            raise unsupported(self.im, node)
        if isinstance(args[0], Permuted) and node.op in _ANY_ORDER:
            inner = self._handled(node, [args[0].inner, *args[1:]])
            return Permuted(inner, args[0].perm)
        call = OnnxCall(self.im, node, args, self.model.opset)
        try:
            return handler(call)
        except _FOLD_ERRORS as error:
            raise self._misfit(node, error) from None
