"""Read the entries of a Keras config, each checked for its type, and tell which were not read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bnnsim.errors import SourceError, message, nearest

_LARGEST = 2**31 - 1
_FLOAT32_MAX = float.fromhex("0x1.fffffep127")
# What says how a layer was trained, named or saved, and nothing of what it computes.
_NEUTRAL = (
    "name", "trainable", "dtype", "batch_input_shape", "batch_shape", "input_shape", "autocast",
    "momentum", "renorm_momentum", "synchronized", "fused", "rate", "seed", "noise_shape", "stddev",
    "sparse", "ragged", "optional", "sparsity", "implementation", "build_config",
)  # fmt: skip
_NEUTRAL_ENDS = ("_initializer", "_regularizer", "_constraint")
_MISSING: Any = object()


@dataclass(slots=True)
class Fields:
    """The entries of a JSON object, and where it stands.

    Parameters
    ----------
    where : str
        File and place, for messages.
    values : mapping
    read : set of str
        The entries that were asked for.
    """

    where: str
    values: Mapping[str, Any]
    read: set[str] = field(default_factory=set)

    def refused(self, key: str, got: object, rule: str, remedy: str = "") -> SourceError:
        """Return the error for an entry that breaks a rule."""
        return SourceError(message(f"{self.where}: {key}", got, rule, remedy))

    def get(self, key: str, default: Any = _MISSING) -> Any:
        """Return an entry of any type.

        Raises
        ------
        SourceError
            If there is none, and no default.
        """
        self.read.add(key)
        if key in self.values:
            return self.values[key]
        if default is _MISSING:
            raise self.refused(key, "nothing", "an entry of that name")
        return default

    def text(self, key: str, default: Any = _MISSING) -> str:
        """Return an entry that is a string."""
        value = self.get(key, default)
        if not isinstance(value, str):
            raise self.refused(key, value, "a string")
        return value

    def choice(self, key: str, known: tuple[str, ...], default: Any = _MISSING) -> str:
        """Return an entry that is one of the ``known`` strings."""
        value = self.get(key, default)
        if value not in known:
            remedy = nearest(value, known) if isinstance(value, str) else ""
            raise self.refused(key, value, f"one of {', '.join(map(repr, known))}", remedy)
        return str(value)

    def truth(self, key: str, default: Any = _MISSING) -> bool:
        """Return an entry that is true or false."""
        value = self.get(key, default)
        if not isinstance(value, bool):
            raise self.refused(key, value, "true or false")
        return value

    def number(self, key: str, default: Any = _MISSING) -> float:
        """Return an entry that is a finite number."""
        value = self.get(key, default)
        if not _is_number(value):
            raise self.refused(key, value, "a number of float32's range")
        return float(value)

    def positive(self, key: str, default: Any = _MISSING) -> int:
        """Return an entry that is a whole number from 1 on."""
        value = self.get(key, default)
        if not _is_whole(value, 1):
            raise self.refused(key, value, f"a whole number from 1 to {_LARGEST}")
        return int(value)

    def pair(self, key: str, default: Any = _MISSING) -> tuple[int, int]:
        """Return an entry of height and width, which may be one number for both."""
        value = self.get(key, default)
        both = [value, value] if _is_whole(value, 1) else value
        if not (isinstance(both, (list, tuple)) and len(both) == 2):
            raise self.refused(key, value, "two whole numbers")
        if not all(_is_whole(size, 1) for size in both):
            raise self.refused(key, value, f"two whole numbers from 1 to {_LARGEST}")
        return int(both[0]), int(both[1])

    def borders(self, key: str) -> tuple[int, int, int, int]:
        """Return an entry [[top, bottom], [left, right]] as (top, left, bottom, right)."""
        value = self.get(key)
        sides = [value, value] if _is_whole(value, 0) else value
        rule = f"[[top, bottom], [left, right]], whole numbers from 0 to {_LARGEST}"
        if not (isinstance(sides, list) and len(sides) == 2):
            raise self.refused(key, value, rule)
        ends = [[side, side] if _is_whole(side, 0) else side for side in sides]
        for side in ends:
            if not (
                isinstance(side, list) and len(side) == 2 and all(_is_whole(v, 0) for v in side)
            ):
                raise self.refused(key, value, rule)
        (top, bottom), (left, right) = ends
        return top, left, bottom, right

    def inner(self, key: str) -> Fields:
        """Return an entry that is an object, as fields of their own."""
        value = self.get(key)
        if not isinstance(value, dict):
            raise self.refused(key, value, "an object")
        return Fields(f"{self.where}: {key}", value)

    def check_all_read(self) -> None:
        """Raise SourceError for an entry that was not read and may say what a layer computes."""
        for key, value in self.values.items():
            neutral = key in _NEUTRAL or key.endswith(_NEUTRAL_ENDS)
            if key not in self.read and not neutral and value not in (None, False, [], {}):
                rule = f"no entry but {', '.join(sorted(self.read))} and those of training"
                remedy = nearest(key, self.read) or "What it means for the layer is not known here."
                raise self.refused(key, value, rule, remedy)


def _is_whole(value: Any, low: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= _LARGEST


def _is_number(value: Any) -> bool:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return number and abs(value) <= _FLOAT32_MAX
