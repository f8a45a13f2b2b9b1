"""MNIST from its IDX files, split so that the digits shown in examples are never trained on."""

from __future__ import annotations

import gzip
import hashlib
import math
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bnnsim.errors import InputError, message

Images = NDArray[np.uint8]
Labels = NDArray[np.int64]

MNIST_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


@dataclass(frozen=True, slots=True)
class Split:
    """Images (N, features) uint8 and their labels (N,) int64."""

    images: Images
    labels: Labels


@dataclass(frozen=True, slots=True)
class Splits:
    """What is trained on, what examples show, and the test set."""

    train: Split
    heldout: Split
    test: Split


def idx_bytes(folder: Path, stem: str) -> bytes:
    """Return the uncompressed content of ``folder/stem`` or ``folder/stem.gz``.

    Raises
    ------
    InputError
        If neither is there, or the gzip stream is damaged.
    """
    plain, packed = folder / stem, folder / f"{stem}.gz"
    if plain.is_file():
        return plain.read_bytes()
    if not packed.is_file():
        remedy = "Name the folder that holds MNIST's four IDX files."
        rule = f"{stem} or {stem}.gz in it"
        raise InputError(message("MNIST folder", str(folder), rule, remedy))
    try:
        return gzip.decompress(packed.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(message(packed.name, str(error), "a whole gzip file")) from error


def parse_idx(content: bytes, name: str, *, dims: int) -> NDArray[np.uint8]:
    """Decode an IDX file of unsigned bytes.

    The header is two zero bytes, the type (8 = unsigned byte), the number of dimensions, and each
    dimension as a big-endian 32-bit integer; the values follow, last index fastest.

    Parameters
    ----------
    content : bytes
        The whole file.
    name : str
        Named in errors.
    dims : int
        The number of dimensions that it must have.

    Returns
    -------
    ndarray
        uint8, of the shape in the header.

    Raises
    ------
    InputError
        If the magic number, the number of dimensions or the length does not fit.

    References
    ----------
    LeCun, Cortes, Burges, "The MNIST database of handwritten digits" (web page), IDX format.
    """
    magic = content[:4].hex()
    expected = f"000008{dims:02x}"
    if magic != expected:
        rule = f"{expected} (unsigned bytes, {dims} dimensions)"
        raise InputError(message(f"{name}: magic number", magic, rule))
    start = 4 + 4 * dims
    if len(content) < start:
        raise InputError(message(f"{name}: header", f"{len(content)} bytes", f"{start} bytes"))
    shape = tuple(int(n) for n in np.frombuffer(content[4:start], dtype=">u4"))
    if len(content) - start != math.prod(shape):
        rule = f"{math.prod(shape)} for shape {shape}"
        raise InputError(message(f"{name}: values", len(content) - start, rule))
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape).copy()


def mnist_hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each IDX file's uncompressed content."""
    return {stem: hashlib.sha256(idx_bytes(folder, stem)).hexdigest() for stem in MNIST_FILES}


def mnist_splits(folder: Path, digits: tuple[Images, Labels]) -> Splits:
    """Read MNIST and take the held-out digits out of the training images.

    Parameters
    ----------
    folder : Path
        Holds the four IDX files, gzipped or not.
    digits : (K, 784) uint8 and (K,) int64
        The held-out images, found in the training set by content (`bnnsim.data.digits`).

    Returns
    -------
    Splits
        60,000 - K training images in the file's order, the K held-out ones, 10,000 test images.

    Raises
    ------
    InputError
        If a file does not fit, or the held-out images are not K distinct training images with
        the same labels.
    """
    train, test = (_read_pair(folder, prefix) for prefix in ("train", "t10k"))
    heldout = Split(*digits)
    wanted = {image.tobytes(): int(label) for image, label in zip(*digits, strict=True)}
    rows = [wanted.get(image.tobytes(), -1) for image in train.images]
    found = np.array(rows, dtype=np.int64)
    held = found >= 0
    matched, count = int(held.sum()), len(heldout.labels)
    if matched != count:
        got = f"{matched} matches, {len(train.labels) - matched} images left"
        rule = f"{count} matches, {len(train.labels) - count} images left"
        raise InputError(message("MNIST training images equal to a held-out image", got, rule))
    if not np.array_equal(found[held], train.labels[held]):
        wrong = int((found[held] != train.labels[held]).sum())
        raise InputError(message("held-out labels that differ from MNIST's", wrong, "0"))
    kept = Split(train.images[~held], train.labels[~held])
    return Splits(train=kept, heldout=heldout, test=test)


def _read_pair(folder: Path, prefix: str) -> Split:
    names = f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"
    images = parse_idx(idx_bytes(folder, names[0]), names[0], dims=3)
    labels = parse_idx(idx_bytes(folder, names[1]), names[1], dims=1)
    if len(images) != len(labels):
        rule = f"{len(images)}, as in {names[0]}"
        raise InputError(message(f"{names[1]}: labels", len(labels), rule))
    return Split(images.reshape(len(images), -1), labels.astype(np.int64))
