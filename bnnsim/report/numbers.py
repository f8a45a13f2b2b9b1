"""How figures are written: significant digits, intervals, ratios, and text made safe to show."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MICRO, MILLI, KIBI = 1e-6, 1e-3, 1024.0
Scale = Sequence[tuple[float, str]]
JOULES = ((1e-15, "fJ"), (1e-12, "pJ"), (1e-9, "nJ"), (1e-6, "uJ"), (1e-3, "mJ"), (1.0, "J"))
SECONDS = ((1e-12, "ps"), (1e-9, "ns"), (1e-6, "us"), (1e-3, "ms"), (1.0, "s"))
WATTS = ((1e-9, "nW"), (1e-6, "uW"), (1e-3, "mW"), (1.0, "W"), (1e3, "kW"))
RATES = ((1.0, "1/s"), (1e3, "k/s"), (1e6, "M/s"), (1e9, "G/s"))


def digits(value: float, significant: int = 3) -> str:
    """Return ``value`` with that many significant digits: ``12.3``, ``2838``, ``1.2e-05``.

    Digits before the point are never dropped below a million; outside 0.001 to 1,000,000 the
    exponent form is used.
    """
    if value == 0:
        return "0"
    rounded = float(f"{value:.{significant - 1}e}")
    if not math.isfinite(rounded):
        return str(value)
    if not 1e-3 <= abs(rounded) < 1e6:
        return f"{value:.{significant - 1}e}"
    before = math.floor(math.log10(abs(rounded))) + 1
    return f"{value:.{max(0, significant - before)}f}"


def unit_of(value: float, scale: Scale) -> tuple[float, str]:
    """Return the largest unit that is not above ``value``."""
    return next((s for s in reversed(scale) if value >= s[0]), scale[0])


def unit_for(values: Iterable[float], usual: float, scale: Scale) -> tuple[float, str]:
    """Return the unit of a table's figures: the usual one while its largest is easily read."""
    largest = max(values, default=0.0)
    easy = largest == 0 or 1e-3 <= largest / usual < 1e4
    return next(s for s in scale if s[0] == usual) if easy else unit_of(largest, scale)


def interval(quantity: Mapping[str, float], unit: float = 1.0) -> str:
    """Return ``value [low, high]`` of a quantity in multiples of ``unit``."""
    value, low, high = (quantity[key] / unit for key in ("value", "low", "high"))
    return digits(value) if low == value == high else f"{digits(value)} {bounds(quantity, unit)}"


def bounds(quantity: Mapping[str, float], unit: float = 1.0) -> str:
    """Return ``[low, high]`` of a quantity in multiples of ``unit``."""
    return f"[{digits(quantity['low'] / unit)}, {digits(quantity['high'] / unit)}]"


def share(part: float, whole: float) -> str:
    """Return a share in percent, ``<0.1`` for what is there but rounds to nothing."""
    if whole == 0 or part == 0:
        return "0"
    percent = 100 * part / whole
    return "<0.1" if 0 < percent < 0.05 else f"{percent:.1f}"


def count(value: float) -> str:
    """Return a whole number with thousands separated: ``8,398,080``."""
    return f"{value:,.0f}"


def visible(value: Any) -> str:
    """Return text in which every control, bidirectional or unassigned character is escaped.

    Names come from files: a terminal or a page must not act on what they hold.
    """
    text = str(value)
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode()
        for c in text
    )
