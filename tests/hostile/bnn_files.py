"""Take a ``.bnn`` apart, put it together again right or wrong, and run what came of it."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from cli.commands import Command, Said
from hostile.refusals import Kept, check_refused
from safetensors.numpy import load, save

from bnnsim.graph.io import SCHEMA, _digest

Header = dict[str, Any]


def split(file: bytes) -> tuple[Header, bytes]:
    """Return the header and the data of a safetensors file."""
    end = 8 + struct.unpack("<Q", file[:8])[0]
    return json.loads(file[8:end]), file[end:]


def join(header: Any, data: bytes) -> bytes:
    """Return a file of ``header``, as JSON or as the text that it is, and ``data``."""
    text = header if isinstance(header, str) else json.dumps(header)
    return struct.pack("<Q", len(text.encode())) + text.encode() + data


def with_header(file: bytes, change: Callable[[Header], object]) -> bytes:
    """Return ``file`` with its header changed in place and its data left alone."""
    header, data = split(file)
    change(header)
    return join(header, data)


def with_graph(file: bytes, change: Callable[[Any], object] | str) -> bytes:
    """Return ``file`` with its graph changed, or replaced by a text, under a hash that fits."""
    if isinstance(change, str):
        return _sealed(load(file), change)
    plain = json.loads(split(file)[0]["__metadata__"]["graph"])
    change(plain)
    return _sealed(load(file), json.dumps(plain))


def with_array(file: bytes, name: str, change: Callable[[np.ndarray], np.ndarray | None]) -> bytes:
    """Return ``file`` with one array changed, or left out, under a hash that fits."""
    arrays = load(file)
    new = change(arrays.pop(name).copy())
    if new is not None:
        arrays[name] = np.ascontiguousarray(new)
    return _sealed(arrays, split(file)[0]["__metadata__"]["graph"])


def _sealed(arrays: dict[str, np.ndarray], text: str) -> bytes:
    return save(arrays, {"schema": SCHEMA, "graph": text, "sha256": _digest(text, arrays)})


def run(bnnsim: Command, kept: Kept, file: bytes) -> Said:
    """Run ``file`` as net.bnn of the working folder, to y.npy."""
    Path("net.bnn").write_bytes(file)
    return bnnsim("run", "net.bnn", "--input", kept / "x.npy", "-o", "y.npy")


def check(bnnsim: Command, kept: Kept, work: Path, file: bytes, says: Sequence[str]) -> None:
    """Run ``file`` and hold what happens against ``says``: refused there, or nothing changed."""
    said = run(bnnsim, kept, file)
    if says:
        check_refused(said, "net.bnn: ", says)
        assert [path.name for path in work.iterdir()] == ["net.bnn"]
    else:
        assert (said.status, said.err) == (0, "")
        assert (work / "y.npy").read_bytes() == (kept / "y.npy").read_bytes()
