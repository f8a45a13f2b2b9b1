"""Read weights from the two HDF5 layouts of Keras, trusting nothing that the file says.

Only groups and datasets of the file itself that hard links lead to are opened: no link to another
file, nothing virtual; chunks may be packed by gzip, and what they hold is bounded beforehand. A
dataset's type, shape and stored bytes are compared with what the config says before any of it is
read, so no size in a file drives an allocation.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np

from bnnsim.errors import SourceError, message, nearest
from bnnsim.frontends import keras_chunks
from bnnsim.frontends.keras_config import Layer

_MAX_NAMES = 4096
_MAX_DEPTH = 32
_AGAIN = "Save the model again with Keras."
_FOLDERS = ("layers", "_layer_checkpoint_dependencies")  # of model.weights.h5, by version

Shapes = Mapping[str, tuple[int, ...]]


@contextlib.contextmanager
def hdf5_errors(where: str) -> Iterator[None]:
    """Turn whatever the HDF5 library raises about a damaged file into a SourceError."""
    try:
        yield
    except SourceError:
        raise
    except (OSError, RuntimeError, LookupError, TypeError, ValueError, OverflowError) as error:
        what = str(error).strip("'\"").splitlines()[0] if str(error) else type(error).__name__
        raise SourceError(message(where, what, "a sound HDF5 file", _AGAIN)) from None


def open_hdf5(file: BinaryIO, where: str) -> Any:
    """Return an open file as its root group.

    Raises
    ------
    SourceError
        If h5py is not installed or the file is no HDF5 file.
    """
    try:
        import h5py
    except ImportError:
        remedy = "Install it: pip install 'bnnsim[keras]'."
        raise SourceError(message(where, "no h5py", "h5py to read it with", remedy)) from None
    with hdf5_errors(where):
        return h5py.File(file, "r")


def text_attribute(group: Any, name: str, where: str, limit: int) -> str | None:
    """Return an attribute that is one string of at most ``limit`` bytes, or None without it."""
    with hdf5_errors(f"{where}: {name}"):
        if name not in group.attrs:
            return None
        held = group.attrs.get_id(name)
        if held.shape != () or held.dtype.kind not in "OS" or held.dtype.itemsize > limit:
            got = f"{held.dtype} of shape {held.shape}"
            raise SourceError(message(f"{where}: {name}", got, "one string"))
        value = group.attrs[name]
        text = value.decode() if isinstance(value, bytes) else value
    if not isinstance(text, str) or len(text) > limit:
        rule = f"one string of at most {limit} bytes"
        raise SourceError(message(f"{where}: {name}", text, rule))
    return text


def _texts_attribute(group: Any, name: str, where: str) -> list[str]:
    """Return an attribute that lists strings; long lists are split into name0, name1, ..."""
    numbered = (f"{name}{index}" for index in range(_MAX_NAMES))
    parts = [name] if name in group.attrs else []
    if not parts:
        for part in numbered:
            if part not in group.attrs:
                break
            parts.append(part)
    if not parts:
        raise SourceError(message(f"{where}: {name}", "nothing", "a list of names", _AGAIN))
    found: list[str] = []
    for part in parts:
        held = group.attrs.get_id(part)
        if len(held.shape) != 1 or held.shape[0] > _MAX_NAMES or held.dtype.itemsize > 2**16:
            got = f"{held.dtype} of shape {held.shape}"
            raise SourceError(message(f"{where}: {part}", got, f"at most {_MAX_NAMES} names"))
        values = [v.decode() if isinstance(v, bytes) else v for v in group.attrs[part]]
        if not all(isinstance(value, str) for value in values):
            raise SourceError(message(f"{where}: {part}", values, "names"))
        found.extend(values)
    return found


def _child(group: Any, path: str, where: str) -> Any:
    """Return what hard links alone lead to, step by step."""
    import h5py

    steps = [step for step in path.split("/") if step]
    if not 1 <= len(steps) <= _MAX_DEPTH:
        raise SourceError(message(f"{where}: path", path, f"1 to {_MAX_DEPTH} names"))
    for step in steps:
        if not isinstance(group, h5py.Group):
            raise SourceError(message(where, f"no group before {step!r}", f"the path {path!r}"))
        link = group.get(step, getlink=True)
        if link is None:
            raise SourceError(message(where, "nothing", f"the path {path!r} in it", _AGAIN))
        if not isinstance(link, h5py.HardLink):
            rule = "data in the file itself, and no link"
            raise SourceError(message(f"{where}: {path}", type(link).__name__, rule, _AGAIN))
        group = group[step]
    return group


@dataclass(slots=True)
class WeightFile:
    """The weights of a model by layer.

    Parameters
    ----------
    root : h5py.Group
        The group that has a group for each layer.
    where : str
        The file, for messages.
    legacy : bool
        Weights are found by their names; otherwise they are numbered.
    left : int
        Bytes that may yet be read: at first, as many as the file has.
    """

    root: Any
    where: str
    legacy: bool
    left: int
    read: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)

    def of(self, layer: Layer, shapes: Shapes) -> dict[str, np.ndarray]:
        """Return the weights of a layer, float32, in the shapes that its config gives them.

        Parameters
        ----------
        layer : Layer
        shapes : mapping of str to tuple of int
            All its weights, in the order of Keras.

        Raises
        ------
        SourceError
            Naming the layer, the weight, what the file holds, and what it should.
        """
        place = f"{self.where}: layer {layer.name!r} ({layer.kind})"
        if layer.name not in self.read:
            with hdf5_errors(place):
                held = self._named(layer, place) if self.legacy else self._numbered(layer, place)
                if self.legacy:
                    _check_names(list(held), list(shapes), place)
                elif len(held) != len(shapes):
                    rule = f"{len(shapes)}: {', '.join(shapes)}"
                    raise SourceError(message(f"{place}: weights", len(held), rule, _AGAIN))
                paired = dict(zip(shapes, held.values(), strict=True))
                chosen = held if self.legacy else paired
                self.read[layer.name] = {
                    name: self._array(chosen[name], shape, f"{place}: {name}")
                    for name, shape in shapes.items()
                }
        return self.read[layer.name]

    def _named(self, layer: Layer, place: str) -> dict[str, Any]:
        group = _child(self.root, layer.name, place)
        _require_group(group, place)
        held: dict[str, Any] = {}
        for path in _texts_attribute(group, "weight_names", place):
            name = path.rsplit("/", 1)[-1].split(":")[0]
            if name in held:
                rule = "one weight of each name"
                raise SourceError(message(f"{place}: weight_names", path, rule))
            held[name] = _child(group, path, place)
        return held

    def _numbered(self, layer: Layer, place: str) -> dict[str, Any]:
        group = _child(self.root, f"{layer.slot}/vars", place)
        _require_group(group, place)
        if len(group) > _MAX_NAMES:
            raise SourceError(message(f"{place}: weights", len(group), f"at most {_MAX_NAMES}"))
        return {str(index): _child(group, str(index), place) for index in range(len(group))}

    def _array(self, data: Any, shape: tuple[int, ...], where: str) -> np.ndarray:
        """Return a dataset that is what it should be, all of it in the file."""
        import h5py

        if not isinstance(data, h5py.Dataset):
            raise SourceError(message(where, type(data).__name__, "a dataset"))
        if data.shape != shape or data.dtype != np.float32:
            got, rule = f"{data.dtype} of shape {data.shape}", f"float32 of shape {shape}"
            remedy = "The weights are of another model, or the file is damaged."
            raise SourceError(message(where, got, rule, remedy))
        plan = data.id.get_create_plist()
        plain = plan.get_layout() in (h5py.h5d.CONTIGUOUS, h5py.h5d.COMPACT)
        chunked = keras_chunks.readable(data)
        if not (plain or chunked) or plan.get_external_count() or (plain and plan.get_nfilters()):
            rule = "data in the file itself, contiguous or in chunks, plain or by gzip and shuffle"
            raise SourceError(message(where, "another layout or filter", rule, _AGAIN))
        array = np.asarray(self._stored(data, 4 * math.prod(shape), where, chunked), np.float32)
        if not np.isfinite(array).all():
            bad = array[~np.isfinite(array)][0].item()
            raise SourceError(message(where, bad, "finite numbers", "Check the training."))
        return array

    def _stored(self, data: Any, needed: int, where: str, chunked: bool) -> Any:
        """Return a dataset's numbers, after the check that its stored bytes can be that many."""
        stored = int(data.id.get_storage_size())
        self.left -= stored
        wrong = f"{stored} bytes stored" if stored != needed or self.left < 0 else ""
        if chunked and self.left >= 0:
            wrong = keras_chunks.refusal(data, needed)
        if wrong:
            rule = f"{needed} bytes that no other weight uses"
            raise SourceError(message(where, wrong, rule, _AGAIN))
        if not chunked:
            return data[()]
        try:
            return keras_chunks.read(data)
        except ValueError as error:
            rule = "chunks of the stated shape"
            raise SourceError(message(where, str(error), rule, _AGAIN)) from None


def _require_group(group: Any, place: str) -> None:
    import h5py

    if not isinstance(group, h5py.Group):
        raise SourceError(message(place, type(group).__name__, "a group of weights", _AGAIN))


def _check_names(found: list[str], wanted: list[str], place: str) -> None:
    missing = [name for name in wanted if name not in found]
    stray = [name for name in found if name not in wanted]
    if missing:
        rule = f"the weights {', '.join(wanted)}"
        raise SourceError(message(place, found, rule, nearest(missing[0], found) or _AGAIN))
    if stray:
        rule = f"only the weights {', '.join(wanted) or 'none'}, as its config has it"
        raise SourceError(message(place, stray[0], rule))


def legacy_weights(root: Any, where: str, size: int) -> WeightFile:
    """Return the weights of a whole-model .h5 file, or of one that ``save_weights`` wrote."""
    with hdf5_errors(where):
        group = root if "layer_names" in root.attrs or "layer_names0" in root.attrs else None
        if group is None:
            group = _child(root, "model_weights", where)
            _require_group(group, where)
    return WeightFile(group, where, True, size)


def numbered_weights(root: Any, where: str, size: int) -> WeightFile:
    """Return the weights of a ``model.weights.h5``."""
    with hdf5_errors(where):
        name = next((name for name in _FOLDERS if name in root), _FOLDERS[0])
        group = _child(root, name, where)
        _require_group(group, where)
    return WeightFile(group, where, False, size)
