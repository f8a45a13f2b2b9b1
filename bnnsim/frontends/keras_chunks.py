"""Read chunked HDF5 data, compressed or not, in memory that its stated shape bounds.

HDF5's own gzip filter grows its buffer to whatever a chunk inflates to. Here every stored chunk is
read as it is and inflated up to the bytes that one chunk holds.
"""

from __future__ import annotations

import math
import zlib
from itertools import product
from typing import Any

import numpy as np

_GZIP, _SHUFFLE = 1, 2  # numbers of HDF5's own filters
_MOST_CHUNKS = 65_536
_DENSEST = 64  # bytes of numbers that one stored byte may stand for
_SLACK = 65_536  # bytes that may be denser: biases that are all 0


def readable(data: Any) -> bool:
    """Return whether a dataset is chunked with no filter but gzip and shuffle."""
    import h5py

    plan = data.id.get_create_plist()
    filters = [plan.get_filter(i)[0] for i in range(plan.get_nfilters())]
    known = filters in ([], [_GZIP], [_SHUFFLE], [_SHUFFLE, _GZIP])
    return bool(plan.get_layout() == h5py.h5d.CHUNKED and known and data.chunks)


def refusal(data: Any, needed: int) -> str:
    """Return why ``needed`` bytes are too many for what is stored, or nothing."""
    grid = _grid(data)
    stored = int(data.id.get_storage_size())
    chunks = math.prod(len(places) for places in grid)
    if chunks > _MOST_CHUNKS or data.id.get_num_chunks() != chunks:
        return f"{data.id.get_num_chunks()} chunks of {chunks}"
    if needed > _DENSEST * stored + _SLACK:
        return f"{stored} bytes stored"
    return ""


def read(data: Any) -> np.ndarray:
    """Return a float32 dataset for which `readable` holds and `refusal` has nothing to say.

    Raises
    ------
    ValueError
        If a chunk does not hold what it should.
    """
    plan = data.id.get_create_plist()
    filters = [plan.get_filter(i)[0] for i in range(plan.get_nfilters())]
    array = np.empty(data.shape, data.dtype)
    size = math.prod(data.chunks) * data.dtype.itemsize
    for start in product(*_grid(data)):
        skipped, raw = data.id.read_direct_chunk(start)
        kept = [number for i, number in enumerate(filters) if not skipped >> i & 1]
        block = np.frombuffer(_unpacked(raw, kept, size), data.dtype).reshape(data.chunks)
        ends = [min(s + c, n) for s, c, n in zip(start, data.chunks, data.shape, strict=True)]
        place = tuple(slice(s, e) for s, e in zip(start, ends, strict=True))
        array[place] = block[tuple(slice(0, e - s) for s, e in zip(start, ends, strict=True))]
    return array


def _grid(data: Any) -> list[range]:
    """Return where chunks start, along every axis."""
    return [range(0, n, c) for n, c in zip(data.shape, data.chunks, strict=True)]


def _unpacked(raw: bytes, filters: list[int], size: int) -> bytes:
    """Return the ``size`` bytes that a stored chunk stands for."""
    if _GZIP in filters:
        try:
            raw = zlib.decompressobj().decompress(raw, size + 1)
        except zlib.error as error:
            raise ValueError(f"a chunk that is not gzip: {error}") from None
    if len(raw) != size:
        raise ValueError(f"a chunk of other than {size} bytes")
    if _SHUFFLE in filters:
        raw = np.frombuffer(raw, np.uint8).reshape(4, -1).T.tobytes()
    return raw
