"""Where MNIST lies, and small IDX files in its form."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).parents[2]


def mnist_folder():
    """Return the folder of MNIST's files, which need not exist."""
    data = os.environ.get("BNNSIM_DATA", REPOSITORY.parent / "shared" / "data")
    return Path(data) / "mnist"


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, dtype=">u4").tobytes()
    return header + array.astype(np.uint8).tobytes()


def write_mnist(folder, *, train=23, test=5, packed=False, seed=2):
    """Write four small IDX files of random 28x28 images; return the training arrays."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for prefix, count in (("train", train), ("t10k", test)):
        arrays[f"{prefix}-images-idx3-ubyte"] = rng.integers(0, 256, (count, 28, 28))
        arrays[f"{prefix}-labels-idx1-ubyte"] = rng.integers(0, 10, count)
    for name, array in arrays.items():
        content = idx(array)
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content) if packed else content)
    images = arrays["train-images-idx3-ubyte"].astype(np.uint8).reshape(train, 784)
    return images, arrays["train-labels-idx1-ubyte"].astype(np.int64)
