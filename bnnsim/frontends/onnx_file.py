"""Read an ONNX file: sizes, offsets, names and types are checked before anything is allocated."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from bnnsim.errors import SourceError, message
from bnnsim.graph.io import open_regular

MAX_FILE_BYTES = 2**31 - 1  # protobuf's own limit
_MAX_NODES = 100_000
_STANDARD = ("", "ai.onnx")
OPSETS = (7, 23)
INSTALL = "Install it: pip install 'bnnsim[onnx]'."
_FIELDS: Mapping[str, str] = {
    "float32": "float_data", "float64": "double_data", "int64": "int64_data",
    "uint32": "uint64_data", "uint64": "uint64_data",
}  # fmt: skip
_TYPES = (
    "float32", "float64", "float16", "bool",
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class OnnxNode:
    """One node of the file.

    Parameters
    ----------
    op, domain : str
        ``domain`` is empty for the standard operators.
    name, place : str
        Its name, or one made from its index; how messages call it.
    inputs, outputs : tuple of str
    attrs : mapping of str to value
        Numbers, text, lists, ndarrays.
    """

    op: str
    domain: str
    name: str
    place: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """What a file holds: nodes in execution order, constants, and one input.

    Parameters
    ----------
    nodes : tuple of OnnxNode
    constants : mapping of str to ndarray
    inputs : mapping of str to (element type, dimensions)
        Dimensions are None where the file leaves them open.
    outputs : tuple of str
    opset : int
        Of the standard operators.
    """

    nodes: tuple[OnnxNode, ...]
    constants: Mapping[str, np.ndarray]
    inputs: Mapping[str, tuple[str, tuple[int | None, ...]]]
    outputs: tuple[str, ...]
    opset: int


def import_onnx() -> Any:
    """Return the ``onnx`` package, or say how to install it."""
    try:
        import onnx
    except ImportError:
        raise SourceError(message("onnx", "not installed", "the package onnx", INSTALL)) from None
    return onnx


def read_model(path: str | Path) -> OnnxModel:
    """Read and check a file.

    Raises
    ------
    SourceError
        Naming the file and the place in it.
    """
    proto = read_proto(path)
    where, graph = str(path), proto.graph
    _check_parts(proto, where)
    constants: dict[str, np.ndarray] = {}
    for tensor in graph.initializer:
        if tensor.name in constants or not tensor.name:
            raise _refused(where, f"initializer {tensor.name!r}", "no or a second one of that name")
        constants[tensor.name] = array_of(tensor, f"{where}: initializer {tensor.name!r}", path)
    nodes = [_node(node, i, where, path) for i, node in enumerate(graph.node)]
    inputs = {
        value.name: _declared(value, where) for value in graph.input if value.name not in constants
    }
    outputs = tuple(value.name for value in graph.output)
    ordered = _in_order(nodes, {*inputs, *constants}, where)
    made = {name for node in ordered for name in node.outputs}
    for name in outputs:
        if name not in made:
            raise SourceError(message(f"{where}: output", name, "a tensor that a node computes"))
    return OnnxModel(ordered, constants, inputs, outputs, _opset(proto, where))


def read_proto(path: str | Path) -> Any:
    """Return the file's ModelProto, parsed and otherwise unchecked."""
    onnx = import_onnx()
    where = str(path)
    with open_regular(path, ".onnx file") as file:
        try:
            data = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise SourceError(message(where, error.strerror, "a readable .onnx file")) from None
    if len(data) > MAX_FILE_BYTES:
        raise SourceError(message(where, "more than 2 GiB", "at most protobuf's 2 GiB"))
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(data)
    except Exception as error:  # protobuf raises its own DecodeError, or others when out of depth
        raise SourceError(message(where, _first_line(error), "an ONNX model")) from None
    if not data or not proto.HasField("graph"):
        raise SourceError(message(where, "no graph", "an ONNX model"))
    return proto


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _refused(where: str, place: str, got: object, rule: str = "one of a name") -> SourceError:
    return SourceError(message(f"{where}: {place}", got, rule))


def _check_parts(proto: Any, where: str) -> None:
    if len(proto.graph.node) > _MAX_NODES:
        rule = f"at most {_MAX_NODES}"
        raise SourceError(message(f"{where}: graph", f"{len(proto.graph.node)} nodes", rule))
    if not proto.graph.node or not proto.graph.output:
        raise SourceError(message(f"{where}: graph", "no nodes or no output", "a network"))
    remedy = "Export the model with its functions inlined and its tensors dense."
    for what, found in (
        ("functions", proto.functions),
        ("sparse initializers", proto.graph.sparse_initializer),
    ):
        if found:
            raise SourceError(message(f"{where}: {what}", f"{len(found)}", "none", remedy))


def _opset(proto: Any, where: str) -> int:
    versions = [o.version for o in proto.opset_import if o.domain in _STANDARD]
    version = int(versions[0]) if versions else 0
    low, high = OPSETS
    if not low <= version <= high:
        remedy = "Convert it: onnx.version_converter.convert_version(model, 18)."
        raise SourceError(message(f"{where}: opset", version, f"{low} to {high}", remedy))
    return version


def _declared(value: Any, where: str) -> tuple[str, tuple[int | None, ...]]:
    """Return element type and dimensions of an input; None is left open."""
    place = f"{where}: input {value.name!r}"
    if not value.type.HasField("tensor_type"):
        raise SourceError(message(place, "no tensor", "a tensor with element type and shape"))
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        raise SourceError(message(place, "no shape", "a tensor with element type and shape"))
    dims: list[int | None] = []
    for dim in tensor.shape.dim:
        size = int(dim.dim_value) if dim.HasField("dim_value") else None
        if size is not None and size < 0:
            raise SourceError(message(place, f"a dimension of {size}", "positive dimensions"))
        dims.append(size or None)
    return _type_name(tensor.elem_type, place), tuple(dims)


def _type_name(number: int, place: str) -> str:
    """Return numpy's name of an element type, or refuse the type."""
    onnx = import_onnx()
    try:
        name = str(onnx.helper.tensor_dtype_to_np_dtype(number))
    except (KeyError, ValueError, TypeError):
        name = f"element type {number}"
    if name not in _TYPES:
        raise SourceError(message(place, name, f"one of {', '.join(_TYPES)}"))
    return name


def array_of(tensor: Any, place: str, path: str | Path) -> np.ndarray:
    """Return a TensorProto's array; its shape must agree with the bytes that are there."""
    name = _type_name(tensor.data_type, place)
    dtype = np.dtype(name)
    shape = tuple(int(dim) for dim in tensor.dims)
    if any(dim < 0 for dim in shape) or len(shape) > 8:
        raise SourceError(message(f"{place}: shape", shape, "at most 8 sizes, none negative"))
    if tensor.HasField("segment"):
        raise SourceError(message(place, "a segment of a tensor", "a whole tensor"))
    need = math.prod(shape) * dtype.itemsize
    external = tensor.data_location == tensor.EXTERNAL
    if external or tensor.HasField("raw_data"):
        raw = _external(tensor, place, path, need) if external else tensor.raw_data
        if len(raw) != need:
            rule = f"{need} bytes of {name} for shape {shape}"
            raise SourceError(message(place, f"{len(raw)} bytes", rule))
        return np.frombuffer(raw, dtype.newbyteorder("<")).astype(dtype, copy=False).reshape(shape)
    field = getattr(tensor, _FIELDS.get(name, "int32_data"))
    if len(field) != math.prod(shape):
        rule = f"{math.prod(shape)} for shape {shape}"
        raise SourceError(message(place, f"{len(field)} values of {name}", rule))
    return _typed(field, dtype, place).reshape(shape)


def _typed(field: Any, dtype: np.dtype, place: str) -> np.ndarray:
    if dtype == np.float16:  # its bits stand in the lower half of an int32
        values = np.array(field, np.int64)
        if ((values < 0) | (values >= 2**16)).any():
            raise SourceError(message(place, "more than 16 bits", "the bits of float16"))
        return values.astype(np.uint16).view(np.float16)
    values = np.array(field, None if dtype.kind in "fiub" and field else dtype)
    if dtype.kind in "iu" and values.size:
        limits = np.iinfo(dtype)
        if values.min() < limits.min or values.max() > limits.max:
            rule = f"values of {dtype} from {limits.min} to {limits.max}"
            raise SourceError(message(place, "a value outside its type", rule))
    return values.astype(dtype)


def _external(tensor: Any, place: str, path: str | Path, need: int) -> bytes:
    """Return data that lies in a file beside the model, if it is inside that file."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    beside = PurePosixPath(location)
    plain = beside.name == location and location not in ("", ".", "..") and "\\" not in location
    file = Path(path).parent / location if plain and "\0" not in location else None
    if file is None or file.is_symlink():
        rule = "the name of a file beside the model, without folders"
        raise SourceError(message(f"{place}: external data: location", location, rule))
    numbers = {"offset": "0", "length": str(need)} | {
        key: entries[key] for key in ("offset", "length") if key in entries
    }
    for key, text in numbers.items():
        if not (text.isascii() and text.isdecimal() and len(text) <= 18):
            rule = "a number of bytes"
            raise SourceError(message(f"{place}: external data: {key}", text, rule))
    offset, length = int(numbers["offset"]), int(numbers["length"])
    with open_regular(file, f"file of external data, {place}") as opened:
        size = file.stat().st_size
        if length != need or offset + length > size:
            rule = f"{need} bytes inside the {size} of {location}"
            got = f"{length} bytes at {offset}"
            raise SourceError(message(f"{place}: external data", got, rule))
        opened.seek(offset)
        return opened.read(length)


def _node(node: Any, index: int, where: str, path: str | Path) -> OnnxNode:
    name = node.name or f"{node.op_type}_{index}"
    domain = "" if node.domain in _STANDARD else node.domain
    what = f"{node.op_type}, {domain}" if domain else node.op_type
    place = f"node {name!r} ({what})"
    outputs = tuple(node.output)
    attrs = {a.name: _attribute(a, f"{where}: {place}: attribute {a.name!r}", path)
             for a in node.attribute}  # fmt: skip
    return OnnxNode(node.op_type, domain, name, place, tuple(node.input), outputs, attrs)


def _attribute(attribute: Any, place: str, path: str | Path) -> Any:
    kinds = type(attribute)
    if attribute.type == kinds.TENSOR:
        return array_of(attribute.t, place, path)
    values: Mapping[int, Callable[[], Any]] = {
        kinds.INT: lambda: int(attribute.i),
        kinds.FLOAT: lambda: float(attribute.f),
        kinds.STRING: lambda: attribute.s.decode("utf-8", "replace"),
        kinds.INTS: lambda: [int(i) for i in attribute.ints],
        kinds.FLOATS: lambda: [float(f) for f in attribute.floats],
        kinds.STRINGS: lambda: [s.decode("utf-8", "replace") for s in attribute.strings],
    }
    if attribute.type not in values:
        rule = "a number, text, a list of them or a tensor"
        remedy = "Control flow and functions have no meaning in the graph."
        raise SourceError(message(place, f"type {attribute.type}", rule, remedy))
    value: Any = values[attribute.type]()
    return value


def _in_order(found: Iterable[OnnxNode], known: set[str], where: str) -> tuple[OnnxNode, ...]:
    """Return the nodes so that each comes after what it reads."""
    nodes = list(found)
    makers = _makers(nodes, known, where)
    missing = [{name for name in node.inputs if name in makers} for node in nodes]
    readers: dict[str, list[int]] = {}
    for index, names in enumerate(missing):
        for name in names:
            readers.setdefault(name, []).append(index)
    ready = [index for index, names in enumerate(missing) if not names]
    ordered = []
    while ready:  # the earliest in the file first
        node = nodes[heapq.heappop(ready)]
        ordered.append(node)
        for name in node.outputs:
            for reader in readers.pop(name, ()):
                missing[reader].discard(name)
                if not missing[reader]:
                    heapq.heappush(ready, reader)
    if len(ordered) < len(nodes):
        stuck = next(index for index, names in enumerate(missing) if names)
        got = f"a cycle through {min(missing[stuck])!r}"
        raise SourceError(message(f"{where}: {nodes[stuck].place}", got, "a graph without cycles"))
    return tuple(ordered)


def _makers(nodes: list[OnnxNode], known: set[str], where: str) -> set[str]:
    """Return the names of all computed tensors; each has one node, and each input is there."""
    makers: set[str] = set()
    for node in nodes:
        for name in filter(None, node.outputs):
            if name in makers or name in known:
                rule = "tensors that one node computes"
                raise SourceError(message(f"{where}: {node.place}: output", name, rule))
            makers.add(name)
    for node in nodes:
        for name in filter(None, node.inputs):
            if name not in makers and name not in known:
                rule = "a tensor that an input, an initializer or a node provides"
                raise SourceError(message(f"{where}: {node.place}: input", name, rule))
    return makers
