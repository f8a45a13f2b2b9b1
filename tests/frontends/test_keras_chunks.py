"""Chunked and compressed HDF5 weights: the same network as the contiguous file."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
from hostile.keras_nets import H, sound

from bnnsim.frontends import keras_chunks
from bnnsim.frontends.keras import from_keras

PACKED = {
    "gzip": {"compression": "gzip"},
    "gzip and shuffle": {"compression": "gzip", "shuffle": True},
    "shuffle": {"shuffle": True},
    "plain chunks": {},
}


@pytest.mark.parametrize("options", PACKED.values(), ids=PACKED)
def test_packed_weights_are_the_same_network(options, tmp_path) -> None:
    plain = sound().save(tmp_path / H)
    expected = from_keras(plain)
    with h5py.File(plain, "r+") as file:
        names: list[str] = []
        file.visit(names.append)
        held = {name: file[name][()] for name in names if isinstance(file[name], h5py.Dataset)}
        for name, values in held.items():
            del file[name]
            chunks = tuple(max(1, size // 2 + size % 2) for size in values.shape)
            file.create_dataset(name, data=values, chunks=chunks, **options)
    found = from_keras(plain)
    assert [node.op for node in found.nodes] == [node.op for node in expected.nodes]
    for tensor in expected.constants():
        assert np.array_equal(found.tensor(tensor.name).data, tensor.data)


@pytest.mark.parametrize("shape", [(1,), (63,), (65, 3), (7, 5, 3, 2), (127, 2)])
def test_ragged_chunks_read_as_h5py_reads_them(shape, tmp_path, rng) -> None:
    values = rng.normal(size=shape).astype(np.float32)
    chunks = tuple(int(rng.integers(1, size + 1)) for size in shape)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        made = file.create_dataset("x", data=values, chunks=chunks, compression="gzip")
        assert keras_chunks.readable(made)
        assert keras_chunks.refusal(made, values.nbytes) == ""
        assert np.array_equal(keras_chunks.read(made), values)


def test_more_numbers_than_stored_bytes_can_mean_are_refused(tmp_path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        made = file.create_dataset("x", data=np.zeros(2**20, "f4"), compression="gzip")
        assert keras_chunks.refusal(made, 4 * 2**20).endswith("bytes stored")
