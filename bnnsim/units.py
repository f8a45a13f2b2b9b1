"""Physical quantities written as ``value unit``, parsed once into SI, and their formatting.

A bit, a byte, a word of n bits, an access, an operation and a random bit are dimensions of their
own: nothing turns one into another except :func:`to_bits`, called where a rule allows it. That
is what stops a figure per bit from being used per 64-bit word.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from bnnsim.errors import BnnsimError, message

_BASE = ("J", "s", "m", "V", "bit", "byte", "access", "op", "randbit")
_DERIVED: dict[str, tuple[float, dict[str, int]]] = {
    "W": (1.0, {"J": 1, "s": -1}),
    "A": (1.0, {"J": 1, "s": -1, "V": -1}),
    "Hz": (1.0, {"s": -1}),
    "B": (1.0, {"byte": 1}),
    "KiB": (1024.0, {"byte": 1}),
    "MiB": (1024.0**2, {"byte": 1}),
    "GiB": (1024.0**3, {"byte": 1}),
}
_PREFIXES = {
    "f": 1e-15, "p": 1e-12, "n": 1e-9, "u": 1e-6, "m": 1e-3,
    "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
}  # fmt: skip
_PREFIXABLE = ("J", "s", "m", "V", "W", "A", "Hz", "B", "bit", "op")
_WORD = re.compile(r"word([1-9][0-9]{0,3})\Z")
_FACTOR = re.compile(r"([A-Za-z]+[0-9]*)(?:\^([1-9]))?\Z")
_QUANTITY = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?)\s+(\S.*?)\s*\Z")
_TIGHT = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,3})?)([A-Za-z]\S*)\s*\Z")
_MAX_TEXT = 80
_NAMES = {
    "J": "energy", "s": "time", "m": "length", "V": "voltage", "bit": "bit", "byte": "bytes",
    "access": "access", "op": "op", "randbit": "randbit", "W": "power", "Hz": "frequency",
    "B": "bytes", "B/s": "bytes per second",
}  # fmt: skip
_EXAMPLES = {"J": "pJ", "s": "us", "m": "nm", "V": "V", "W": "mW", "Hz": "MHz", "B": "KiB",
             "bit": "bit", "byte": "byte"}  # fmt: skip


class UnitError(BnnsimError):
    """A quantity has no unit, an unknown unit, or a unit of the wrong dimension."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """A product of powers of base dimensions, such as J per access.

    Parameters
    ----------
    powers : tuple of (str, int)
        Base dimension and exponent, sorted by name, exponents not 0.
    """

    powers: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        above = [_power(n, e) for n, e in self.powers if e > 0] or ["1"]
        below = [_power(n, -e) for n, e in self.powers if e < 0]
        return "/".join([" ".join(above), *below])


@dataclass(frozen=True, slots=True)
class Quantity:
    """A value in SI (bits, bytes, accesses, operations for counted things) and its dimension."""

    value: float
    dimension: Dimension


def _power(name: str, exponent: int) -> str:
    return name if exponent == 1 else f"{name}^{exponent}"


def _dimension(powers: dict[str, int]) -> Dimension:
    return Dimension(tuple(sorted((n, e) for n, e in powers.items() if e)))


def _unit(symbol: str) -> tuple[float, dict[str, int]] | None:
    """Return scale and base powers of one unit with an optional prefix, or None."""
    if symbol in _BASE:
        return 1.0, {symbol: 1}
    if symbol in _DERIVED:
        return _DERIVED[symbol]
    if _WORD.match(symbol):
        return 1.0, {symbol: 1}
    prefix, rest = symbol[:1], symbol[1:]
    known = _unit(rest) if prefix in _PREFIXES and rest in _PREFIXABLE else None
    return (known[0] * _PREFIXES[prefix], known[1]) if known else None


def parse_unit(text: str) -> Quantity:
    """Return the size and dimension of one unit such as ``pJ/op`` or ``GB/s``.

    Raises
    ------
    UnitError
        If a factor of the expression is not a known unit.
    """
    scale, powers = 1.0, dict[str, int]()
    sign = 1
    for part in re.split(r"([*/])", text.strip()):
        if part in ("*", "/"):
            sign = -1 if part == "/" else 1
            continue
        match = _FACTOR.match(part.strip())
        known = _unit(match[1]) if match else None
        if match is None or known is None:
            raise UnitError(message(f"unit {text!r}", part.strip(), "a known unit", _hint(part)))
        exponent = sign * int(match[2] or 1)
        scale *= known[0] ** exponent
        for name, power in known[1].items():
            powers[name] = powers.get(name, 0) + power * exponent
    return Quantity(scale, _dimension(powers))


def _hint(part: str) -> str:
    swapped = {"KB": "KiB (1024 bytes) or kB (1000 bytes)", "MB": "MiB or MB", "b": "bit",
               "bits": "bit", "bytes": "byte", "ops": "op", "J/op": "pJ/op"}  # fmt: skip
    wanted = swapped.get(part.strip())
    listed = ", ".join((*_BASE, *_DERIVED))
    return f"Write {wanted}." if wanted else f"Units are {listed}, wordN, with f p n u m k M G T."


def parse(text: str, where: str = "quantity") -> Quantity:
    """Return the quantity that ``"0.1 pJ/op"`` states, in SI.

    Parameters
    ----------
    text : str
    where : str
        How the error message names the place.

    Raises
    ------
    UnitError
        If the text is not a finite number, a space and a known unit.
    """
    match = _QUANTITY.match(text) if isinstance(text, str) and len(text) <= _MAX_TEXT else None
    if match is None:
        shown = text[:_MAX_TEXT] if isinstance(text, str) else text
        tight = _TIGHT.match(shown) if isinstance(shown, str) else None
        remedy = f"A space is missing: write '{tight[1]} {tight[2]}'." if tight else ""
        raise UnitError(message(where, shown, "a number and a unit, such as '0.1 pJ/op'", remedy))
    try:
        unit = parse_unit(match[2])
    except UnitError as error:
        rule = str(error).partition(", expected ")[2]
        raise UnitError(f"{where}: got {text!r}, expected {rule}") from None
    value = float(match[1]) * unit.value
    if not math.isfinite(value):
        raise UnitError(message(where, text, "a finite number"))
    return Quantity(value, unit.dimension)


def parse_as(text: str, expected: str, where: str = "quantity") -> float:
    """Return the SI value of ``text``, whose dimension must be that of the unit ``expected``.

    Parameters
    ----------
    text : str
        Such as ``"0.1 pJ/op"``.
    expected : str
        A unit without a prefix, such as ``"J/op"``, ``"B"`` or ``"Hz"``.
    where : str
        How the error message names the place.

    Raises
    ------
    UnitError
        If the text is malformed or of another dimension; the message says what to write.
    """
    want, got = parse_unit(expected), parse(text, where)
    if got.dimension != want.dimension:
        rule = f"a unit of {describe(expected)}"
        raise UnitError(message(where, text, rule, _remedy(text, got, want, expected)))
    return got.value / want.value


def describe(unit: str) -> str:
    """Return a unit in words: ``"J/op"`` is ``"energy per op"``."""
    if unit in _NAMES:
        return _NAMES[unit]
    above, *below = unit.split("/")
    return " per ".join(_NAMES.get(part, part) for part in (above, *below))


def _remedy(text: str, got: Quantity, want: Quantity, expected: str) -> str:
    above, _, below = expected.partition("/")
    if below and got.dimension == parse_unit(above).dimension:
        return f"Write '{text}/{below}'."
    example = f"{_EXAMPLES.get(above, above)}{'/' + below if below else ''}"
    return f"Its unit is {got.dimension}, not {want.dimension}. Write it in {example}."


def to_bits(quantity: Quantity) -> Quantity:
    """Return the quantity with bytes as 8 bits and words of n bits as n bits.

    Call it only where a rule says that the count of bits is meant; an access is never converted.
    """
    value, powers = quantity.value, dict[str, int]()
    for name, exponent in quantity.dimension.powers:
        word = _WORD.match(name)
        width = 8 if name == "byte" else int(word[1]) if word else 1
        value *= float(width) ** exponent
        key = "bit" if name == "byte" or word else name
        powers[key] = powers.get(key, 0) + exponent
    return Quantity(value, _dimension(powers))


def format_si(value: float, unit: str, digits: int = 3) -> str:
    """Return ``value`` with the SI prefix that leaves 1 to 999 before the point: ``4.01 uJ``."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g} {unit}"
    steps = (("f", -15), ("p", -12), ("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6),
             ("G", 9), ("T", 12))  # fmt: skip
    rounded = float(f"{abs(value):.{digits - 1}e}")
    prefix, power = next((s for s in reversed(steps) if rounded >= 0.9999999 * 10.0 ** s[1]),
                         steps[0])  # fmt: skip
    return f"{_digits(value / 10.0**power, digits)} {prefix}{unit}"


def format_bytes(count: float, digits: int = 3) -> str:
    """Return a number of bytes in B, KiB, MiB, GiB or TiB: ``1.67 MiB``."""
    names = ("B", "KiB", "MiB", "GiB", "TiB")
    step = 0
    while step < len(names) - 1 and abs(count) / 1024.0**step >= 1024:
        step += 1
    if step == 0 and float(count).is_integer():
        return f"{int(count)} B"
    return f"{_digits(count / 1024.0**step, digits)} {names[step]}"


def _digits(value: float, digits: int) -> str:
    """Return ``value`` with that many significant digits, never in exponent form below 1000."""
    if value == 0:
        return "0"
    before = max(1, math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}")))) + 1)
    return f"{value:.{max(0, digits - before)}f}"
