"""Read arrays and results, write outputs: every file checked first, none left half-written."""

from __future__ import annotations

import json
import math
import shlex
import tokenize
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from bnnsim.errors import InputError, message
from bnnsim.graph.io import atomic_write, open_regular, read_limited

MAX_HEADER = 10_000
MAX_RESULT_BYTES = 64 * 2**20
# All that numpy raises on a damaged header, which it evaluates as a Python literal.
_HEADER_ERRORS = (
    ValueError, SyntaxError, TypeError, KeyError, EOFError, RecursionError, MemoryError,
    tokenize.TokenError, Warning,
)  # fmt: skip
_READERS = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}


def read_npy(
    path: str,
    *,
    dtypes: str,
    sample: tuple[int, ...] | None = None,
    rows: int | None = None,
) -> np.ndarray:
    """Read a ``.npy`` file whose header says that it is what is wanted.

    Parameters
    ----------
    path : str
    dtypes : str
        Accepted kinds, as in ``"uint8 float32"``, or ``"integers"`` or ``"numbers"``.
    sample : tuple of int, optional
        Shape of one row; the first axis is the number of rows.
    rows : int, optional
        Number of rows wanted.

    Raises
    ------
    InputError
        Before any data is read, if the header or the size of the file is wrong; else if a value
        is NaN or infinite.
    """
    with open_regular(path, ".npy file", InputError) as file:
        shape, dtype = _header(file, path)
        _check(path, shape, dtype, dtypes, sample, rows)
        size = Path(path).stat().st_size - file.tell()
    wanted = math.prod(shape) * dtype.itemsize
    if size != wanted:
        rule = f"{wanted} bytes for {dtype} {shape}"
        raise InputError(message(f"{path}: data", f"{size} bytes", rule, "Save the file again."))
    data: np.ndarray = np.load(path, allow_pickle=False)
    if not (finite := np.isfinite(data)).all():
        place = [int(i) for i in np.argwhere(~finite)[0]]
        bad = data[tuple(place)].item()
        raise InputError(message(f"{path}: value at {place}", bad, "a finite number"))
    return data


def _header(file: BinaryIO, path: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    remedy = "Write it with `numpy.save(path, array)`."
    try:
        version = npy.read_magic(file)
        if version not in _READERS:
            raise ValueError(f"format version {version}")
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # headers that Python 2 wrote
            shape, _, dtype = _READERS[version](file, max_header_size=MAX_HEADER)
    except _HEADER_ERRORS as error:
        what = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(message(path, what, "a .npy file", remedy)) from None
    return shape, dtype


def _check(
    path: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    dtypes: str,
    sample: tuple[int, ...] | None,
    rows: int | None,
) -> None:
    kinds = {"integers": "iu", "numbers": "iuf"}.get(dtypes)
    accepted = dtype.kind in kinds if kinds else str(dtype) in dtypes.split()
    if not accepted:
        rule = dtypes.replace(" ", " or ")
        remedy = "" if kinds else f"Convert it: numpy.save(path, x.astype('{dtypes.split()[-1]}'))."
        if dtypes == "uint8" and dtype.kind == "f":
            remedy = "The network reads bytes: multiply values of 0..1 by 255, round, then convert."
        raise InputError(message(f"{path}: dtype", str(dtype), rule, remedy))
    if not shape or shape[0] == 0:
        raise InputError(message(f"{path}: shape", shape, "at least one row on the first axis"))
    if sample is not None and shape[1:] != sample:
        rule = f"(N, {', '.join(map(str, sample))})" if sample else "(N,)"
        raise InputError(message(f"{path}: shape", shape, rule, _reshaping(shape, sample)))
    if rows is not None and shape[0] != rows:
        raise InputError(message(f"{path}: rows", shape[0], f"{rows}, one per image of --input"))


def _reshaping(shape: tuple[int, ...], sample: tuple[int, ...]) -> str:
    """Return what turns an array of ``shape`` into samples, if something plain does."""
    if len(shape) == 4 and (*shape[2:], shape[1]) == sample:
        return "Images are NHWC: use x.transpose(0, 2, 3, 1)."
    if len(sample) == 1 and math.prod(shape[1:]) == sample[0]:
        return "Use x.reshape(len(x), -1)."
    return "Images are NHWC." if len(sample) == 3 else ""


def check_output(path: str) -> None:
    """Raise before a long run if ``path`` cannot become a file.

    Raises
    ------
    InputError
        If its folder is missing, or it is a folder, a pipe (unless below ``/dev``) or a disk.
    """
    target = Path(path)
    if path == "-":
        raise InputError(message(path, "standard output", "a file name", "Only --json takes -."))
    if target.is_dir() or path.endswith("/"):
        raise InputError(message(path, "a folder", "a file name"))
    try:
        target.resolve()
    except RuntimeError:
        raise InputError(message(path, "a loop of links", "a file name")) from None
    piped = target.is_fifo() or target.is_socket()
    if target.is_block_device() or (piped and not path.startswith("/dev/")):
        rule = "a regular file, or a device such as /dev/null"
        raise InputError(message(path, "a pipe or disk", rule))
    if not target.parent.is_dir():
        remedy = f"Run `mkdir -p {shlex.quote(str(target.parent))}` first."
        raise InputError(message(path, "no such folder", "a folder that exists", remedy))


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write ``data`` to ``path``; a file is replaced only once all is written.

    Raises
    ------
    InputError, SourceError
        If it cannot be written.
    """
    target = Path(path)
    if not target.exists() or target.is_file():
        with atomic_write(target.resolve()) as part:
            part.write_bytes(data)
        return
    try:
        target.write_bytes(data)  # a device or a pipe cannot be replaced, only written to
    except BrokenPipeError:
        raise
    except OSError as error:
        rule = "a device that can be written"
        raise InputError(message(str(path), error.strerror or str(error), rule)) from None


def write_array(path: str | Path, array: np.ndarray) -> None:
    """Write ``array`` as ``.npy``."""
    from io import BytesIO

    buffer = BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_bytes(path, buffer.getvalue())


def to_json(result: Any) -> str:
    """Return ``result`` as indented ASCII JSON, without NaN or infinities."""
    return json.dumps(result, indent=1, allow_nan=False) + "\n"


def read_json(path: str) -> Any:
    """Read a JSON file of at most 64 MiB that holds no NaN.

    Raises
    ------
    InputError
        If it is too large or no JSON; the message says where.
    """
    data = read_limited(path, MAX_RESULT_BYTES, "JSON file", InputError)
    try:
        return json.loads(data.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InputError(message(path, str(error) or "too deep", "JSON in UTF-8")) from None


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")
