"""The header of a safetensors file, checked entry by entry: damage is named by its place.

The library checks as much before it reads data, but does not always say which tensor is wrong.
"""

from __future__ import annotations

import json
import math
from typing import Any, TypeGuard

from bnnsim.errors import SourceError, message, nearest

_METADATA = "__metadata__"
_BYTES = {
    "BOOL": 1, "U8": 1, "I8": 1, "U16": 2, "I16": 2, "F16": 2, "U32": 4, "I32": 4, "F32": 4,
    "U64": 8, "I64": 8, "F64": 8,
}  # fmt: skip


def check_header(text: bytes, where: str) -> None:
    """Raise unless every entry has a dtype, a shape, and offsets that hold as many bytes.

    Parameters
    ----------
    text : bytes
        The header, as it stands in the file.
    where : str
        The file, for messages.

    Raises
    ------
    SourceError
        Naming the tensor and the field.
    """
    try:
        header = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SourceError(message(where, str(error), "JSON in UTF-8")) from None
    if not isinstance(header, dict):
        raise SourceError(message(where, type(header).__name__, "an object of tensors"))
    for name, entry in header.items():
        place = f"{where}: {name!r}"
        if not isinstance(entry, dict):
            raise SourceError(message(place, entry, "an object"))
        if name == _METADATA:
            _check_metadata(entry, where)
        else:
            _check_entry(entry, place)


def _check_metadata(entry: dict[str, Any], where: str) -> None:
    for key, value in entry.items():
        if not isinstance(value, str):
            raise SourceError(message(f"{where}: {_METADATA}: {key}", value, "a string"))


def _check_entry(entry: dict[str, Any], place: str) -> None:
    dtype = entry.get("dtype")
    if not isinstance(dtype, str) or dtype not in _BYTES:
        hint = nearest(dtype, _BYTES) if isinstance(dtype, str) else ""
        raise SourceError(message(f"{place}: dtype", dtype, f"one of {', '.join(_BYTES)}", hint))
    shape, offsets = entry.get("shape"), entry.get("data_offsets")
    if not _naturals(shape):
        raise SourceError(message(f"{place}: shape", shape, "a list of sizes"))
    wanted = math.prod(shape) * _BYTES[dtype]
    if not _naturals(offsets) or len(offsets) != 2 or offsets[1] - offsets[0] != wanted:
        rule = f"two offsets that hold {wanted} bytes for {dtype} {shape}"
        raise SourceError(message(f"{place}: data_offsets", offsets, rule))


def _naturals(values: Any) -> TypeGuard[list[int]]:
    whole = isinstance(values, list) and all(type(value) is int for value in values)
    return whole and all(0 <= value < 2**63 for value in values)
