"""Damaged and hostile .keras archives: each is refused by name, none is unpacked beside it."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest
from frontends.keras_writer import keras_bytes
from hostile.keras_nets import sound
from hostile.refusals import Mutant, check_refused, each


def archive(how=zipfile.ZIP_STORED, drop=(), **entries: bytes) -> bytes:
    """Return the sound archive with other entries, or some dropped."""
    net, buffer = sound(), io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(keras_bytes(net.config(), net.weights))) as old,
        zipfile.ZipFile(buffer, "w", how) as new,
    ):
        held = {info.filename: old.read(info) for info in old.infolist()} | entries
        for name, content in held.items():
            if name not in drop:
                new.writestr(name, content)
    return buffer.getvalue()


def twice() -> bytes:
    buffer = io.BytesIO(archive())
    with zipfile.ZipFile(buffer, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("config.json", "{}")
    return buffer.getvalue()


def encrypted() -> bytes:
    content = bytearray(archive())
    for mark in (b"PK\x03\x04", b"PK\x01\x02"):
        place = content.index(mark)
        content[place + (6 if mark[2] == 3 else 8)] |= 1
    return bytes(content)


BOMB = bytes(2**24)
K = "net.keras: "
ARCHIVES = [
    Mutant("empty", lambda: b"", (f"{K}got", "expected a .keras archive")),
    Mutant("text", lambda: b"PK no archive", (f"{K}got", "expected a .keras archive")),
    Mutant("cut off", lambda: archive()[:-30], (f"{K}got", "expected a .keras archive")),
    Mutant("no config", lambda: archive(drop=["config.json"]), (f"{K}got 'no config.json'",)),
    Mutant("no weights", lambda: archive(drop=["model.weights.h5"]),
           ("got 'no model.weights.h5'",)),
    Mutant("no metadata", lambda: archive(drop=["metadata.json"])),
    Mutant("a name that climbs", lambda: archive(**{"../../sprung": b"x"}),
           ("net.keras: '../../sprung': got 'another entry'",)),
    Mutant("an asset that climbs", lambda: archive(**{"assets/../../sprung": b"x"}),
           ("'assets/../../sprung': got 'another entry'",)),
    Mutant("a name from the root", lambda: archive(**{"/sprung": b"x"}), ("'/sprung': got",)),
    Mutant("an asset", lambda: archive(**{"assets/words.txt": b"x"})),
    Mutant("a pickle", lambda: archive(**{"model.pkl": b"x"}), ("'model.pkl': got 'another ent",)),
    Mutant("a bomb", lambda: archive(zipfile.ZIP_DEFLATED, **{"model.weights.h5": BOMB}),
           ("got 'compressed or encrypted', expected entries stored as they are",)),
    Mutant("a password", encrypted, ("got 'compressed or encrypted'",)),
    Mutant("two configs", twice, (f"{K}got 'entries of one name'",)),
    Mutant("a config of 17 MB", lambda: archive(**{"config.json": b" " * (17 * 2**20)}),
           (f"{K}got 'config.json of more than",)),
    Mutant("a config too deep", lambda: archive(**{"config.json": b"[" * 200_000}),
           (f"{K}config: got", "expected JSON")),
    Mutant("weights that are text", lambda: archive(**{"model.weights.h5": b"x" * 999}),
           ("net.keras: model.weights.h5: got", "expected a sound HDF5 file")),
    Mutant("other weights", lambda: archive(**{"model.weights.h5": numbered({})}),
           ("layer 'stem' (Conv2D): got 'nothing', expected the path 'conv2d/vars'",)),
    Mutant("a weight too few", lambda: archive(**{"model.weights.h5": numbered({"conv2d": 1})}),
           ("layer 'stem' (Conv2D): weights: got 1, expected 2: kernel, bias",)),
    Mutant("a weight in an odd place", lambda: archive(**{"model.weights.h5": numbered(
           {"conv2d": -1})}), ("layer 'stem' (Conv2D): got 'nothing', expected the path '0'",)),
]  # fmt: skip


def numbered(counts: dict[str, int]) -> bytes:
    """Return weights with so many arrays of each layer; -1 is one with a wrong number."""
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file.create_group("layers")
        for slot, count in counts.items():
            for index in range(abs(count)):
                name = f"layers/{slot}/vars/{index if count > 0 else index + 7}"
                file.create_dataset(name, data=np.ones(3, np.float32))
    return buffer.getvalue()


@each(ARCHIVES)
def test_archives(bnnsim, work, mutant):
    Path("net.keras").write_bytes(mutant.change())
    said = bnnsim("lower", "net.keras", "-o", "net.bnn")
    if mutant.says:
        check_refused(said, "net.keras", mutant.says)
        assert [path.name for path in work.iterdir()] == ["net.keras"]
    else:
        assert (said.status, said.err) == (0, "")
