"""Reading one mapping of a profile: every key checked, every problem kept, none raised early."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bnnsim.cost.hardware import DEFAULT_BANDS, STATUSES, Constant, Datapath
from bnnsim.errors import message, nearest
from bnnsim.units import UnitError, parse, parse_as, to_bits

MAX_INTEGER = 2**40
MAX_NUMBER = 1e30
_PREFIXES = "Check the prefix: m is 1e-3, M 1e6, so mHz is millihertz and MHz megahertz."
PROVENANCE = ("band", "status", "source", "at", "note")
# What a profile without an array has in place of a datapath: nothing is priced by it.
NO_DATAPATH = Datapath("exact", "tree")


def listed(problems: Sequence[str]) -> str:
    """Return the distinct problems, a line each."""
    return "\n".join(dict.fromkeys(problems))


class Fields:
    """One mapping of the file, its path for messages, and the problems found so far.

    Parameters
    ----------
    raw : object
        What stands at this place; a problem is noted if it is no mapping.
    where : str
        File and path to the mapping.
    problems : list of str
        Shared by the whole file.
    sources : mapping of str to str
        Citations by source id.
    """

    def __init__(
        self, raw: object, where: str, problems: list[str], sources: Mapping[str, str]
    ) -> None:
        self.where, self.problems, self.sources = where, problems, sources
        self.raw: dict[str, Any] = raw if isinstance(raw, dict) else {}
        self.known: set[str] = set()
        if raw is not None and not isinstance(raw, dict):
            self.note("", raw, "a mapping")

    def note(self, key: str, got: object, rule: str, remedy: str = "") -> None:
        """Keep a problem with the value at ``key``."""
        shown = got if not isinstance(got, str) else got[:80]
        self.problems.append(message(self.path(key), shown, rule, remedy))

    def path(self, key: str) -> str:
        """Return where ``key`` stands, for messages."""
        separator = "." if ": " in self.where else ": "
        return f"{self.where}{separator}{key}" if key else self.where

    def has(self, key: str) -> bool:
        """Whether the key is there and not null; marks it as known."""
        self.known.add(key)
        return self.raw.get(key) is not None

    def child(self, key: str) -> Fields:
        """Return the mapping below ``key`` (empty if absent)."""
        self.known.add(key)
        return Fields(self.raw.get(key), self.path(key), self.problems, self.sources)

    def text(self, key: str, *, choices: Sequence[str] = (), default: str | None = None) -> str:
        """Return a text; required where there is no default."""
        if not self.has(key):
            return self._missing(key, default, f"one of {', '.join(choices)}" if choices else "")
        value = self.raw[key]
        if not isinstance(value, str) or not value.strip():
            self.note(key, value, "a text")
            return default or ""
        if choices and value not in choices:
            self.note(key, value, f"one of {', '.join(choices)}", nearest(value, choices))
        return value

    def _missing(self, key: str, default: str | None, rule: str) -> str:
        if default is None:
            self.note(key, None, rule or "a text", f"Add '{key}: ...'.")
        return default or ""

    def integer(self, key: str, default: int | None = None, *, low: int = 1) -> int:
        """Return an integer in [low, 2^40]."""
        value = self.raw.get(key, default)
        self.known.add(key)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= MAX_INTEGER:
            self.note(key, value, f"an integer of at least {low}")
            return low
        return value

    def number(
        self, key: str, default: float | None = None, *, low: float = 0.0, high: float = MAX_NUMBER
    ) -> float:
        """Return a number in [low, high]."""
        value = self.raw.get(key, default)
        self.known.add(key)
        plain = isinstance(value, (int, float)) and not isinstance(value, bool)
        if plain and value is not None and low <= value <= high:
            return float(value)
        bounded = f"a number from {low:g} to {high:g}"
        self.note(key, value, bounded if high < MAX_NUMBER else
                  f"a finite number of at least {low:g}")  # fmt: skip
        return max(low, 1.0)

    def flag(self, key: str, default: bool) -> bool:
        """Return true or false."""
        value = self.raw.get(key, default)
        self.known.add(key)
        if not isinstance(value, bool):
            self.note(key, value, "true or false")
            return default
        return value

    def quantity(self, key: str, unit: str, default: float | None = None) -> float:
        """Return the SI value of a ``value unit`` text that is not negative."""
        if not self.has(key):
            if default is None:
                self.note(key, None, f"a quantity in {unit}", f"Add '{key}: ... {unit}'.")
            return default or 0.0
        return self.positive(key, self.raw[key], unit)

    def within(self, key: str, unit: str, low: str, high: str) -> float:
        """Return a quantity from ``low`` to ``high``: what lies beyond is a slip in the prefix."""
        known = len(self.problems)
        value = self.quantity(key, unit)
        bounds = (parse_as(low, unit), parse_as(high, unit))
        if len(self.problems) == known and not bounds[0] <= value <= bounds[1]:
            self.note(key, self.raw[key], f"{low} to {high}", _PREFIXES)
        return value

    def positive(self, key: str, text: object, unit: str) -> float:
        """Return the SI value of ``text``, noting a wrong unit, a negative or a huge value."""
        try:
            value = parse_as(text, unit, self.path(key))  # type: ignore[arg-type]
        except UnitError as error:
            self.problems.append(str(error))
            return 0.0
        if value < 0:
            self.note(key, text, "a value that is not negative")
        if abs(value) > MAX_NUMBER:
            self.note(key, text, f"at most {MAX_NUMBER:g} in SI units")
            return 0.0
        return abs(value)

    def bits(self, key: str, default: int | None = None) -> int:
        """Return a whole number of bits; here a byte counts as 8 bits and wordN as N."""
        if not self.has(key):
            if default is None:
                self.note(key, None, "a number of bits", f"Add '{key}: 64 bit'.")
            return default or 8
        return self.as_bits(key, self.raw[key])

    def size(self, key: str) -> int:
        """Return a size in whole bytes (see `as_bytes`)."""
        return self.as_bytes(key, self.raw[key]) if self.has(key) else self.bits(key) // 8

    def as_bits(self, key: str, text: object) -> int:
        """Return ``text`` (``"64 bit"``, ``"8 KiB"``) as a positive whole number of bits."""
        try:
            quantity = to_bits(parse(text, self.path(key)))  # type: ignore[arg-type]
        except UnitError as error:
            self.problems.append(str(error))
            return 8
        whole = 1 <= quantity.value <= MAX_INTEGER and quantity.value.is_integer()
        if quantity.dimension.powers != (("bit", 1),) or not whole:
            self.note(key, text, "a positive whole number of bits or bytes", "Write '8 KiB'.")
            return 8
        return int(quantity.value)

    def as_bytes(self, key: str, text: object) -> int:
        """Return ``text``, a size as `as_bits` reads it, in whole bytes: at least one."""
        bits = self.as_bits(key, text)
        if bits < 8:
            self.note(key, text, "at least one byte")
        return max(1, bits // 8)

    def texts(
        self, key: str, default: Sequence[str], choices: Sequence[str] = ()
    ) -> tuple[str, ...]:
        """Return a list of texts."""
        value = self.raw.get(key, list(default))
        self.known.add(key)
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            self.note(key, value, "a list of texts")
            return tuple(default)
        for item in value:
            if choices and item not in choices:
                self.note(key, item, f"one of {', '.join(choices)}", nearest(item, choices))
        return tuple(value)

    def constant(self, key: str, unit: str, name: str) -> Constant:
        """Return the quantity at ``key`` with the provenance that stands beside it."""
        return self.provenance(name, self.quantity(key, unit), unit)

    def provenance(self, name: str, value: float, unit: str) -> Constant:
        """Return a constant with this mapping's band, status, source and place."""
        self.known.update(PROVENANCE)
        status = self.text("status", choices=STATUSES)
        source = self.text("source")
        if source and source not in self.sources:
            remedy = nearest(source, self.sources) or "Add it under 'sources'."
            self.note("source", source, "an id under 'sources'", remedy)
        band = self.number("band", DEFAULT_BANDS.get(status, 3.0), low=1.0)
        place = self.text("at")
        cite = self.sources.get(source, source)
        return Constant(name, value, unit, band, source, status, cite, place)

    def nested(self, key: str, value_key: str, unit: str, name: str) -> Constant:
        """Return a constant given as a text that shares this mapping's provenance, or as its own.

        ``bandwidth: 12.8 GB/s`` has the provenance of the memory; ``leakage: {power: 1 mW,
        status: ..., source: ..., at: ...}`` has its own.
        """
        if isinstance(self.raw.get(key), dict):
            own = self.child(key)
            constant = own.constant(value_key, unit, name)
            own.close()
            return constant
        return self.constant(key, unit, name)

    def close(self) -> None:
        """Note every key that nothing has read."""
        for key in self.raw:
            if key not in self.known:
                known = sorted(self.known)
                self.note(key, self.raw[key], f"a key among {', '.join(known)}",
                          nearest(key, known))  # fmt: skip
