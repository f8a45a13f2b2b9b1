"""Read figures off a page that is shown, and say how the JSON's value is written there."""

from __future__ import annotations

from typing import Any

from bnnsim.report.numbers import (
    JOULES,
    RATES,
    SECONDS,
    WATTS,
    count,
    digits,
    interval,
    share,
    unit_of,
)
from bnnsim.units import format_bytes, format_si

# Every cell whose row has a pointer and whose column has a key; on cards the element itself.
CELLS = """
(() => {
  const found = [];
  for (const table of document.querySelectorAll('table')) {
    const heads = [...table.querySelectorAll('thead th')];
    for (const row of table.querySelectorAll('tbody tr[data-at]')) {
      [...row.cells].forEach((cell, i) => {
        if (heads[i].dataset.key) found.push({
          at: heads[i].dataset.key.replace('*', () => row.dataset.at), text: cell.textContent,
          unit: (heads[i].querySelector('.unit') || {textContent: ''}).textContent});
      });
    }
  }
  for (const card of document.querySelectorAll('.card')) {
    for (const item of card.querySelectorAll('[data-key]')) {
      found.push({at: item.dataset.key.replace('*', () => card.dataset.at),
                  text: item.textContent, unit: 'card'});
    }
  }
  return found;
})()
"""
SIZES = {name: size for scale in (JOULES, SECONDS, WATTS) for size, name in scale}
SIZES |= {"KiB": 1024.0, "x": 1.0}
CARD_UNITS = {"energy_per_inference_j": "J", "latency_s": "s"}


def keys_of(pointer: str) -> list[str]:
    return [k.replace("~1", "/").replace("~0", "~") for k in pointer.split("/")[1:]]


def value_at(result: dict[str, Any], pointer: str) -> Any:
    """Return what a pointer leads to; an estimate alone is column 0."""
    found: Any = result if "columns" in result else {"columns": [result]}
    for key in keys_of(pointer):
        found = found[int(key)] if isinstance(found, list) else found.get(key, 0)
    return found


def written(result: dict[str, Any], pointer: str, unit: str) -> str:
    """Return how the page must write a value: three digits, in the unit that its column states."""
    value, keys = value_at(result, pointer), keys_of(pointer)
    column = value_at(result, "/columns/" + (keys[1] if keys[0] == "columns" else "0"))
    if unit == "card":
        return on_card(value, keys)
    if isinstance(value, str):
        return value or "-"
    if "macs" in keys[-2:] or "macs_valid" in keys[-2:]:
        return count(sum(value.values()) if isinstance(value, dict) else value)
    if keys[-2] == "energy_by":
        return component(
            column, value, SIZES[unit.strip("() ").split(",")[0]], single="columns" not in result
        )
    if keys[2:3] == ["assumptions"]:
        item = value_at(result, pointer.rpartition("/")[0])
        plain = keys[-1] == "band" or item["unit"] in ("", "1")
        return digits(value) if plain else format_si(value, item["unit"])
    if keys[-1].endswith("bytes_per_s"):
        return format_si(value, "B/s")
    if value is None:
        return "-"
    size = SIZES[unit.strip("() ").split(",")[0]]
    if isinstance(value, dict):
        whole = keys[-1] == "memory"
        return digits(sum(value.values()) / size) if whole else interval(value, size)
    per_inference = keys[-1] == "energy_j"
    return digits(value / (column["batch"] if per_inference else 1) / size)


def component(column: dict[str, Any], joules: float, size: float, *, single: bool) -> str:
    energy = digits(joules / column["batch"] / size)
    if single or not joules:
        return energy
    return f"{energy} ({share(joules, column['totals']['energy_j']['value'])} %)"


def on_card(value: Any, keys: list[str]) -> str:
    if keys[-1] == "memory":
        return format_bytes(sum(value.values()))
    if keys[-2] == "throughput_per_s":
        size, unit = unit_of(value, RATES)
        return f"{digits(value / size)} {unit}".replace(" 1/s", "/s")
    if keys[-1] == "value":
        return format_si(value, CARD_UNITS[keys[-2]])
    prefix = format_si(value["value"], "J").split()[1]
    size = {"fJ": 1e-15, "pJ": 1e-12, "nJ": 1e-9, "uJ": 1e-6, "mJ": 1e-3, "J": 1.0}[prefix]
    return f"[{digits(value['low'] / size)}, {digits(value['high'] / size)}] {prefix}"


def luminance(colour: tuple[float, ...]) -> float:
    """Return the relative luminance of an sRGB colour (WCAG 2.2, of 0 to 255 each)."""
    linear = [c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4
              for c in colour[:3]]  # fmt: skip
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """Return the contrast ratio of two colours (WCAG 2.2)."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
