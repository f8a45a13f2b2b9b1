"""Save and load a model graph as a ``.bnn`` file.

A ``.bnn`` is a safetensors file whose header metadata holds the graph as one JSON string, its
schema version and a SHA-256 over that string and every tensor. Bits are stored packed as uint64
words (layout of ``graph/bits.py``), everything else in its numpy dtype. Nothing is pickled, and
every shape, dtype, offset and bound is checked before it is used.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import json
import os
import secrets
import stat
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from bnnsim.errors import BnnsimError, GraphError, SourceError, message
from bnnsim.graph.bits import pack, tail_is_zero, unpack, words_for
from bnnsim.graph.dtypes import BIT, DType
from bnnsim.graph.header import check_header
from bnnsim.graph.ir import Graph, Node, Tensor
from bnnsim.graph.verify import verify

SCHEMA = "bnnsim/graph/1"
MAX_GRAPH_BYTES = 8 * 2**20
MAX_HEADER_BYTES = 2 * MAX_GRAPH_BYTES + 2**20
DECISIONS = ("argmax", "last-set-bit")
_WRITE_AGAIN = "Write the file again with `bnnsim lower`."


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path`` that replaces it only if the block succeeds.

    Raises
    ------
    SourceError
        If the file cannot be written; what stood there before is kept.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    try:
        with part.open("xb") as held:
            _lock(held)
            _remove_abandoned(path)
            yield part
            part.replace(path)
    except OSError as error:
        rule = "a file that can be written, in a folder that exists"
        raise SourceError(message(str(path), error.strerror or str(error), rule)) from None
    finally:
        part.unlink(missing_ok=True)


def _lock(file: BinaryIO) -> bool:
    """Lock ``file`` until it is closed; False if another process holds it, or none can."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _remove_abandoned(path: Path) -> None:
    """Remove temporary files of ``path`` whose process was killed: its lock went with it."""
    for part in path.parent.glob(f".{glob.escape(path.name)}.*.part"):
        with contextlib.suppress(OSError), part.open("rb") as file:
            if _lock(file):
                part.unlink()


def open_regular(path: str | Path, what: str, failure: type[BnnsimError] = SourceError) -> BinaryIO:
    """Open ``path`` for reading; what is no regular file is refused, as a pipe may never end.

    Parameters
    ----------
    path : path
    what : str
        What is expected there, as in ``".bnn file"``, for the message.
    failure : type
        Class of the exception.

    Raises
    ------
    BnnsimError
        Of class ``failure``.
    """
    try:
        mode = Path(path).stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise failure(message(str(path), "a pipe or device", f"a regular file: a {what}"))
        return Path(path).open("rb")
    except (OSError, ValueError) as error:
        got = getattr(error, "strerror", None) or str(error)
        raise failure(message(str(path), got, f"a readable {what}")) from None


def read_limited(
    path: str | Path, limit: int, what: str, failure: type[BnnsimError] = SourceError
) -> bytes:
    """Return the content of a regular file of at most ``limit`` bytes (see `open_regular`)."""
    with open_regular(path, what, failure) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise failure(message(str(path), "a larger file", f"at most {limit} bytes"))
    return data


def save(graph: Graph, path: str | Path) -> None:
    """Write ``graph`` to ``path``; an existing file is replaced only once all is written.

    Raises
    ------
    GraphError
        If the graph breaks a rule, has constants without data, or its JSON exceeds 8 MB.
    SourceError
        If the path cannot be written.
    """
    from safetensors.numpy import save as to_bytes

    path = Path(path)
    verify(graph)
    _check_meta(graph)
    if not graph.has_weights:
        rule = "a graph whose constants have data"
        raise GraphError(message(graph.name, "no weights", rule, "Use zoo:NAME:random."))
    text = json.dumps(_to_dict(graph), separators=(",", ":"), sort_keys=True)
    if len(text.encode()) > MAX_GRAPH_BYTES:
        raise GraphError(message(graph.name, len(text), f"at most {MAX_GRAPH_BYTES} bytes of JSON"))
    arrays = {t.name: _stored(t) for t in graph.constants()}
    metadata = {"schema": SCHEMA, "graph": text, "sha256": _digest(text, arrays)}
    with atomic_write(path) as part:
        part.write_bytes(_reproducible(to_bytes(arrays, metadata=metadata)))


def _reproducible(file: bytes) -> bytes:
    """Return a safetensors file with its header sorted: the library writes it in any order."""
    end = 8 + int.from_bytes(file[:8], "little")
    header = json.dumps(
        json.loads(file[8:end]), separators=(",", ":"), sort_keys=True, ensure_ascii=False
    ).encode()
    header += b" " * (-len(header) % 8)
    return b"".join([struct.pack("<Q", len(header)), header, memoryview(file)[end:]])


def load(path: str | Path) -> Graph:
    """Read and verify a ``.bnn`` file.

    Raises
    ------
    SourceError
        If the file is missing, truncated, tampered with or of another schema; the message names
        the file and the place.
    """
    path = Path(path)
    metadata, arrays = _read(path)
    schema = metadata.get("schema")
    if schema != SCHEMA:
        raise SourceError(message(f"{path}: schema", schema, repr(SCHEMA), _WRITE_AGAIN))
    text = metadata.get("graph")
    if text is None:
        raise SourceError(message(f"{path}: graph", None, "a graph as JSON", _WRITE_AGAIN))
    if len(text.encode()) > MAX_GRAPH_BYTES:
        raise SourceError(message(f"{path}: graph", len(text), f"at most {MAX_GRAPH_BYTES} bytes"))
    if metadata.get("sha256") != _digest(text, arrays):
        rule = "the SHA-256 of the graph and its tensors"
        remedy = f"The file was changed or damaged. {_WRITE_AGAIN}"
        raise SourceError(message(f"{path}: sha256", metadata.get("sha256"), rule, remedy))
    try:
        graph = verify(_from_dict(json.loads(text, parse_constant=_no_constant), arrays))
        return _check_meta(graph)
    except (
        LookupError, TypeError, ValueError, AttributeError, RecursionError, OverflowError
    ) as error:  # fmt: skip
        what = f"{type(error).__name__}: {error}"
        raise SourceError(message(f"{path}: graph", what, "a graph of this schema")) from None
    except BnnsimError as error:
        raise SourceError(f"{path}: {error}") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _check_meta(graph: Graph) -> Graph:
    """Return a model graph whose meta entries have the types that readers rely on."""
    meta = graph.meta
    if "mode" in meta:
        remedy = "Save the graph that load() returned; modes are made from it when they are needed."
        raise GraphError(message(f"{graph.name}: meta.mode", meta["mode"], "a model graph", remedy))
    for key in ("notes", "classes"):
        lines = meta.get(key, [])
        if not isinstance(lines, (list, tuple)) or not all(isinstance(x, str) for x in lines):
            raise GraphError(message(f"{graph.name}: meta.{key}", lines, "a list of strings"))
    if meta.get("decision", DECISIONS[0]) not in DECISIONS:
        rule = f"one of {', '.join(DECISIONS)}"
        raise GraphError(message(f"{graph.name}: meta.decision", meta["decision"], rule))
    return graph


def _read(path: Path) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """Return header metadata and arrays; the library checks offsets against the file's size."""
    from safetensors import SafetensorError, safe_open

    with open_regular(path, ".bnn file") as file:
        size = os.fstat(file.fileno()).st_size
        head = file.read(8)
        length = struct.unpack("<Q", head)[0] if len(head) == 8 else 0
        if not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
            rule = f"a header of 2 to {MAX_HEADER_BYTES} bytes inside a file of {size} bytes"
            remedy = f"The file is truncated or no .bnn file. {_WRITE_AGAIN}"
            raise SourceError(message(f"{path}: header length", length, rule, remedy))
        check_header(file.read(length), f"{path}: header")
    try:
        with safe_open(path, framework="numpy") as tensors:
            metadata = dict(tensors.metadata() or {})
            arrays = {name: tensors.get_tensor(name) for name in tensors.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        remedy = f"The file is truncated or no .bnn file. {_WRITE_AGAIN}"
        raise SourceError(message(str(path), str(error), "a safetensors file", remedy)) from None
    return metadata, arrays


def _digest(text: str, arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(text.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name}|{array.dtype.str}|{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _stored(tensor: Tensor) -> np.ndarray:
    """Return a constant as it stands in the file: bits packed, the rest as they are."""
    assert tensor.data is not None
    if tensor.dtype == BIT:
        return pack(tensor.data)
    return np.ascontiguousarray(tensor.data)


def _restored(where: str, shape: tuple[int, ...], dtype: DType, array: np.ndarray) -> np.ndarray:
    """Return the data of a constant from its stored array, all of it checked."""
    if dtype != BIT:
        if array.shape != shape or array.dtype != dtype.numpy:
            found = f"{array.dtype} {array.shape}"
            raise GraphError(message(where, found, f"{dtype.numpy} {shape}"))
        return array
    packed_shape = (*shape[:-1], words_for(shape[-1])) if shape else ()
    if not shape or array.shape != packed_shape or array.dtype != np.uint64:
        found = f"{array.dtype} {array.shape}"
        raise GraphError(message(where, found, f"uint64 words of shape {packed_shape}"))
    if not tail_is_zero(array, shape[-1]):
        raise GraphError(message(where, "set bits past the end", "zero tail bits"))
    return unpack(array, shape[-1])


def _dtype_to_json(dtype: DType) -> Any:
    if dtype.scale == 1.0 and dtype.zero_point == 0:
        return str(dtype)
    return {"name": str(dtype), "scale": dtype.scale, "zero_point": dtype.zero_point}


def _dtype_from_json(value: Any, where: str) -> DType:
    if isinstance(value, str):
        return DType.parse(value)
    plain = DType.parse(_at(value, "name", str, where))
    scale = float(_at(value, "scale", (int, float), where))
    zero_point = _at(value, "zero_point", int, where)
    return DType(plain.kind, plain.bits, scale, zero_point)


def _to_dict(graph: Graph) -> dict[str, Any]:
    return {
        "name": graph.name,
        "inputs": list(graph.inputs),
        "outputs": list(graph.outputs),
        "meta": dict(graph.meta),
        "nodes": [
            {
                "id": node.id,
                "name": node.name,
                "op": node.op,
                "inputs": list(node.inputs),
                "outputs": list(node.outputs),
                "attrs": dict(node.attrs),
            }
            for node in graph.nodes
        ],
        "tensors": [
            {
                "name": tensor.name,
                "shape": list(tensor.shape),
                "dtype": _dtype_to_json(tensor.dtype),
                "constant": tensor.constant,
            }
            for tensor in graph.tensors.values()
        ],
    }


def _from_dict(plain: Any, arrays: Mapping[str, np.ndarray]) -> Graph:
    tensors = {}
    for index, entry in enumerate(_at(plain, "tensors", list)):
        tensor = _tensor_from_dict(entry, arrays, f"tensors[{index}]")
        if tensor.name in tensors:
            raise GraphError(message("tensors", tensor.name, "unique names"))
        tensors[tensor.name] = tensor
    stray = sorted(set(arrays) - {t.name for t in tensors.values() if t.constant})
    if stray:
        raise GraphError(message("tensors", stray[0], "arrays that the graph describes"))
    nodes = _at(plain, "nodes", list)
    return Graph(
        name=_at(plain, "name", str),
        nodes=tuple(_node_from_dict(entry, f"nodes[{i}]") for i, entry in enumerate(nodes)),
        tensors=tensors,
        inputs=_texts(plain, "inputs"),
        outputs=_texts(plain, "outputs"),
        meta=_at(plain, "meta", dict),
    )


def _node_from_dict(entry: Any, where: str) -> Node:
    attrs = _at(entry, "attrs", dict, where)
    return Node(
        id=_whole(_at(entry, "id", int, where), f"{where}: id"),
        name=_at(entry, "name", str, where),
        op=_at(entry, "op", str, where),
        inputs=_texts(entry, "inputs", where),
        outputs=_texts(entry, "outputs", where),
        attrs={k: tuple(v) if isinstance(v, list) else v for k, v in attrs.items()},
    )


def _tensor_from_dict(entry: Any, arrays: Mapping[str, np.ndarray], place: str) -> Tensor:
    name = _at(entry, "name", str, place)
    where = f"tensor {name!r}"
    shape = tuple(_whole(v, f"{where}: shape") for v in _at(entry, "shape", list, where))
    if any(v < 1 for v in shape) or len(shape) > 8:
        raise GraphError(message(f"{where}: shape", shape, "at most 8 positive dimensions"))
    try:
        dtype = _dtype_from_json(_at(entry, "dtype", (str, dict), where), "dtype")
    except GraphError as error:
        raise GraphError(f"{where}: {error}") from None
    if not _at(entry, "constant", bool, where):
        return Tensor(name, shape, dtype)
    if name not in arrays:
        raise GraphError(message(where, "no array", "data for every constant"))
    return Tensor(name, shape, dtype, True, _restored(where, shape, dtype, arrays[name]))


_RULES: Mapping[Any, str] = {
    str: "a string", int: "an integer", bool: "true or false", list: "a list", dict: "an object",
    (int, float): "a number", (str, dict): "a dtype name or an object",
}  # fmt: skip


def _at(entry: Any, key: str, kind: Any, where: str = "graph") -> Any:
    """Return what stands at ``key`` of a JSON object: it must be there, and of a ``kind``."""
    if not isinstance(entry, dict):
        raise GraphError(message(where, entry, "an object"))
    value = entry.get(key, "nothing")
    wrong_truth = isinstance(value, bool) and kind is not bool
    if key not in entry or wrong_truth or not isinstance(value, kind):
        raise GraphError(message(f"{where}: {key}", value, _RULES[kind]))
    return value


def _texts(entry: Any, key: str, where: str = "graph") -> tuple[str, ...]:
    names = _at(entry, key, list, where)
    for name in names:
        if not isinstance(name, str):
            raise GraphError(message(f"{where}: {key}", name, "a string"))
    return tuple(names)


def _whole(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise GraphError(message(where, value, "an integer from 0 to 2^31 - 1"))
    return value
