"""Check and read the binary files of an FPGA parameter folder.

``L-P-weights.bin`` and ``L-P-thres.bin`` belong to layer L and processing element P. Weights are
little-endian uint64 words that hold SIMD fields each, least significant first: one bit (1 is +1,
0 is -1) or two bits in two's complement. Thresholds are little-endian int64, row by row. Every
name and size is checked before a file is read, so sizes in the folding never drive an allocation.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bnnsim.errors import SourceError, message
from bnnsim.frontends.pynq_folding import Layer
from bnnsim.graph.io import read_limited

_NAME = re.compile(r"(0|[1-9][0-9]*)-(0|[1-9][0-9]*)-(weights|thres)\.bin\Z")
_THRESHOLDS_PER_ROW = {1: 1, 2: 2}
_MAX_CLASSES_BYTES = 2**16
_MAX_PROBLEMS = 20
_BYTES = 8
_WRONG_FOLDING = "Is the folding that of this network, and the folder complete?"


@dataclass(frozen=True, slots=True)
class Matrix:
    """A layer's parameters in the folder's own convention.

    Parameters
    ----------
    weight : ndarray, (rows, columns) int8
        In {-1, +1} or {-1, 0, +1}.
    thresholds : ndarray, (rows, n) int64, or None
        None where the layer gives its accumulators.
    """

    weight: np.ndarray
    thresholds: np.ndarray | None


@dataclass(slots=True)
class _Check:
    """The sizes of the folder's .bin files, and what is wrong with them."""

    folder: Path
    sizes: dict[str, int]
    problems: list[str]

    def report(self, problem: str) -> None:
        """Record a problem; so many that the rest would only repeat them are raised at once."""
        self.problems.append(problem)
        if len(self.problems) >= _MAX_PROBLEMS:
            raise SourceError("\n".join([*self.problems, "There may be more."]))

    def blocks(self, name: str, unit: int, allowed: range) -> int:
        """Return how many blocks of ``unit`` bytes the file holds; missing is 0."""
        size = self.sizes.get(name, 0)
        count = size // unit
        if size % unit or count not in allowed:
            if 0 in allowed and name not in self.sizes:
                return 0
            low, high = allowed[0] * unit, allowed[-1] * unit
            span = f"{low}" if low == high else f"{low} to {high}, a multiple of {unit},"
            got = "no such file" if name not in self.sizes else f"{size} bytes"
            got = "no regular file" if size < 0 else got
            rule = f"a file of {span} bytes"
            self.report(message(f"{self.folder}: {name}", got, rule, _WRONG_FOLDING))
            count = min(max(count, allowed[0]), allowed[-1])
        return count


def read_classes(folder: Path) -> list[str] | None:
    """Return the lines of ``classes.txt``, or None if there is no such file."""
    path = folder / "classes.txt"
    if not os.path.lexists(path):
        return None
    data = read_limited(path, _MAX_CLASSES_BYTES, "text, a class a line")
    lines = data.decode(errors="replace").split("\n")
    classes = [line.strip() for line in lines if line.strip()]
    if not classes:
        raise SourceError(message(str(path), "no line", "a class a line"))
    return classes


def read_matrices(folder: Path, layers: Sequence[Layer], notes: list[str]) -> list[Matrix]:
    """Read every layer's weights and thresholds.

    The last layer of a network that starts with a convolution has no thresholds; threshold files
    there are left unread, as the hardware does. The last layer may hold fewer rows than the
    folding says.

    Parameters
    ----------
    folder : Path
    layers : sequence of Layer
    notes : list of str
        Remarks are appended.

    Raises
    ------
    SourceError
        One error that lists every file that is missing, stray or of the wrong size, or the first
        value that is none.
    """
    check = _Check(folder, _bin_sizes(folder), [])
    thresholded = [_has_thresholds(check, layers, index) for index in range(len(layers))]
    rows = _checked_rows(check, layers, thresholded)
    last = len(layers) - 1
    if not thresholded[last] and f"{last}-0-thres.bin" in check.sizes:
        notes.append(f"L{last}: threshold files not read, the layer gives its accumulators.")
    return [
        Matrix(
            _weights(folder, index, layer, rows[index], notes),
            _thresholds(folder, index, layer, rows[index]) if thresholded[index] else None,
        )
        for index, layer in enumerate(layers)
    ]


def _checked_rows(
    check: _Check, layers: Sequence[Layer], thresholded: Sequence[bool]
) -> list[list[int]]:
    """Return the rows of every layer's processing elements, after checking every file."""
    _report_stray(check, layers)
    rows = []
    for index, layer in enumerate(layers):
        counts = _rows_per_element(check, index, layer, index == len(layers) - 1)
        if thresholded[index]:
            _check_thresholds(check, index, layer, counts)
        rows.append(counts)
    if check.problems:
        raise SourceError("\n".join(check.problems))
    return rows


def _bin_sizes(folder: Path) -> dict[str, int]:
    """Return the size in bytes of every regular .bin file; others of that name have size -1."""
    try:
        with os.scandir(folder) as entries:
            found = [(e.name, e.stat()) for e in entries if e.name.endswith(".bin")]
    except OSError as error:
        rule = "a readable folder of L-P-weights.bin and L-P-thres.bin files"
        raise SourceError(message(str(folder), error.strerror, rule)) from None
    return {name: s.st_size if stat.S_ISREG(s.st_mode) else -1 for name, s in found}


def _has_thresholds(check: _Check, layers: Sequence[Layer], index: int) -> bool:
    if index < len(layers) - 1:
        return True
    dense_net = layers[0].geometry is None
    known_bits = layers[-1].activation_bits in _THRESHOLDS_PER_ROW
    return dense_net and known_bits and f"{index}-0-thres.bin" in check.sizes


def _report_stray(check: _Check, layers: Sequence[Layer]) -> None:
    for name in sorted(check.sizes):
        match = _NAME.match(name)
        if match is None:
            rule = "L-P-weights.bin or L-P-thres.bin"
        elif int(match[1]) >= len(layers):
            rule = f"layers up to {len(layers) - 1}"
        elif int(match[2]) >= layers[int(match[1])].pe:
            rule = f"processing elements up to {layers[int(match[1])].pe - 1} in this layer"
        else:
            continue
        check.report(message(str(check.folder), name, rule, _WRONG_FOLDING))


def _rows_per_element(check: _Check, index: int, layer: Layer, is_last: bool) -> list[int]:
    unit, full = layer.columns // layer.simd * _BYTES, layer.rows // layer.pe
    rows: list[int] = []
    for element in range(layer.pe):
        # Row r belongs to element r mod PE: counts fall by at most one along the elements.
        allowed = range(full, full + 1)
        if is_last:
            first = rows[0] if rows else full
            low = 1 if element == 0 else first - 1
            allowed = range(low, (rows[-1] if rows else full) + 1)
        rows.append(check.blocks(f"{index}-{element}-weights.bin", unit, allowed))
    return rows


def _check_thresholds(check: _Check, index: int, layer: Layer, rows: Sequence[int]) -> None:
    unit = _THRESHOLDS_PER_ROW[layer.activation_bits] * _BYTES
    for element, count in enumerate(rows):
        allowed = range(count, layer.rows // layer.pe + 1)
        check.blocks(f"{index}-{element}-thres.bin", unit, allowed)


def _weights(
    folder: Path, index: int, layer: Layer, rows: Sequence[int], notes: list[str]
) -> np.ndarray:
    weight = np.zeros((sum(rows), layer.columns), np.int8)
    used = layer.simd * layer.weight_bits
    spare = False
    for element, count in enumerate(rows):
        if not count:
            continue
        path = folder / f"{index}-{element}-weights.bin"
        words = _read(path, "<u8", count * layer.columns // layer.simd)
        spare |= used < 64 and bool((words >> np.uint64(used)).any())
        fields = _fields(words, layer).reshape(count, layer.columns)
        if (fields < -1).any():
            row, column = (int(i) for i in np.argwhere(fields < -1)[0])
            place = f"{path}: row {row}, column {column}"
            raise SourceError(message(place, -2, "-1, 0 or 1", _WRONG_FOLDING))
        weight[element :: layer.pe] = fields
    if spare:
        notes.append(f"{layer.name}: bits past the {used} used of a word are set; left unread.")
    return weight


def _fields(words: np.ndarray, layer: Layer) -> np.ndarray:
    """Return (words, SIMD) int8 weights."""
    as_bytes = words.astype("<u8", copy=False).view(np.uint8).reshape(-1, _BYTES)
    bits = np.unpackbits(as_bytes, axis=1, bitorder="little").astype(np.int8)
    if layer.weight_bits == 1:
        return 2 * bits[:, : layer.simd] - 1
    pairs = bits.reshape(len(bits), -1, 2)[:, : layer.simd]
    return np.asarray(pairs[..., 0] - 2 * pairs[..., 1])


def _thresholds(folder: Path, index: int, layer: Layer, rows: Sequence[int]) -> np.ndarray:
    per_row = _THRESHOLDS_PER_ROW[layer.activation_bits]
    thresholds = np.zeros((sum(rows), per_row), np.int64)
    for element, count in enumerate(rows):
        if count:
            path = folder / f"{index}-{element}-thres.bin"
            values = _read(path, "<i8", count * per_row)
            thresholds[element :: layer.pe] = values.reshape(count, per_row)
    return thresholds


def _read(path: Path, dtype: str, count: int) -> np.ndarray:
    try:
        values = np.fromfile(path, dtype, count)
    except OSError as error:
        raise SourceError(message(str(path), error.strerror, "a readable file")) from None
    if len(values) != count:
        rule = f"{count} of {_BYTES} bytes"
        raise SourceError(message(str(path), f"{len(values)} numbers", rule))
    return values
