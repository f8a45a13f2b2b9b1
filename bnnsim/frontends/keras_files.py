"""The files of Keras: whole-model .h5, .keras archives, and a config beside a file of weights."""

from __future__ import annotations

import contextlib
import io
import json
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from bnnsim.errors import SourceError, message
from bnnsim.frontends.keras_weights import (
    WeightFile,
    legacy_weights,
    numbered_weights,
    open_hdf5,
    text_attribute,
)
from bnnsim.graph.io import open_regular, read_limited

_MAX_CONFIG = 16 * 2**20
_CONFIG, _METADATA, _WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
_ASSETS = "assets/"
_WHAT = "Keras model"
_AGAIN = "Save the model again with Keras."


@dataclass(frozen=True, slots=True)
class KerasFile:
    """A model's config, not yet looked at, and its weights."""

    config: Any
    weights: WeightFile


@contextlib.contextmanager
def keras_file(path: str | Path, weights: str | Path | None) -> Iterator[KerasFile]:
    """Open a model, and its weights in another file if one is given.

    Raises
    ------
    SourceError
        If a file is missing, damaged or of another form.
    """
    where, suffix = str(path), Path(path).suffix.lower()
    with contextlib.ExitStack() as held:
        if suffix == ".json":
            text = read_limited(path, _MAX_CONFIG, _WHAT).decode(errors="replace")
            if weights is None:
                rule = "weights beside an architecture"
                remedy = "Give --weights FILE.h5 (weights= in Python)."
                raise SourceError(message(where, "no weights", rule, remedy))
            own = None
        else:
            opener = _archive if suffix == ".keras" else _whole
            text, own = opener(held, held.enter_context(open_regular(path, _WHAT)), where)
        found = own if weights is None else _weights_of(held, Path(weights))
        assert found is not None
        yield KerasFile(_parsed(text, where), found)


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SourceError(message(f"{where}: config", str(error), "JSON", _AGAIN)) from None


def _size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def _whole(held: Any, file: BinaryIO, where: str) -> tuple[str, WeightFile]:
    """Return config and weights of a whole-model .h5."""
    root = held.enter_context(open_hdf5(file, where))
    text = text_attribute(root, "model_config", where, _MAX_CONFIG)
    if text is None:
        rule = "a whole model with the attribute model_config"
        remedy = (
            "Save it with model.save(FILE.h5), or give its architecture (model.to_json()) as the "
            "source NET.json and this file as --weights."
        )
        raise SourceError(message(where, "weights alone", rule, remedy))
    return text, legacy_weights(root, where, _size(file))


def _archive(held: Any, file: BinaryIO, where: str) -> tuple[str, WeightFile]:
    """Return config and weights of a .keras archive; nothing is extracted to the disk."""
    try:
        archive = held.enter_context(zipfile.ZipFile(file))
        _check_entries(archive, where)
        config = _entry(archive, _CONFIG, _MAX_CONFIG)
        weights = _entry(archive, _WEIGHTS, _size(file))
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, NotImplementedError) as error:
        rule = "a .keras archive"
        raise SourceError(message(where, str(error), rule, _AGAIN)) from None
    inside = f"{where}: {_WEIGHTS}"
    root = held.enter_context(open_hdf5(io.BytesIO(weights), inside))
    return config.decode(errors="replace"), numbered_weights(root, inside, len(weights))


def _check_entries(archive: zipfile.ZipFile, where: str) -> None:
    """Raise unless the archive holds its three files, stored as they are, and at most assets."""
    known = (_METADATA, _CONFIG, _WEIGHTS)
    names = {entry.filename for entry in archive.infolist()}
    if len(names) != len(archive.infolist()):
        raise SourceError(message(where, "entries of one name", "one entry of each name", _AGAIN))
    for entry in archive.infolist():
        place = f"{where}: {entry.filename!r}"
        inside = entry.filename.startswith(_ASSETS) and ".." not in entry.filename.split("/")
        if entry.filename not in known and not inside:
            rule = f"no entry but {', '.join(known)}"
            raise SourceError(message(place, "another entry", rule, _AGAIN))
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            rule = "entries stored as they are, as Keras writes them"
            remedy = "Pack them again without compression and password."
            raise SourceError(message(place, "compressed or encrypted", rule, remedy))
    missing = [name for name in (_CONFIG, _WEIGHTS) if name not in names]
    if missing:
        raise SourceError(message(where, f"no {missing[0]}", "a .keras archive with it", _AGAIN))


def _entry(archive: zipfile.ZipFile, name: str, limit: int) -> bytes:
    """Return a stored entry, which must be no longer than ``limit``."""
    with archive.open(name) as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"{name} of more than {limit} bytes")
    return data


def _weights_of(held: Any, path: Path) -> WeightFile:
    """Return the weights of a file of weights, or of a whole model."""
    file = held.enter_context(open_regular(path, "file of Keras weights"))
    if path.suffix.lower() == ".keras":
        return _archive(held, file, str(path))[1]
    root = held.enter_context(open_hdf5(file, str(path)))
    if any(name in root for name in ("layers", "_layer_checkpoint_dependencies")):
        return numbered_weights(root, str(path), _size(file))
    return legacy_weights(root, str(path), _size(file))
