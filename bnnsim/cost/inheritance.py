"""Energies that a profile takes over from one of another node: nothing scales them, so say so."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from bnnsim.units import UnitError, parse_as

_ENERGY_KEYS = ("read", "write", "points", "law")
Node = tuple[float, float]  # nanometres, volts


def inherited_energies(steps: Sequence[tuple[str, Mapping[str, Any], Mapping[str, Any]]]) -> str:
    """Return a sentence on energies that hold at another process or supply, or "".

    Parameters
    ----------
    steps : sequence of (name, own, merged)
        The base first: a file's own keys, and all keys once it is merged with those below it.
    """
    owners: dict[tuple[str, str], tuple[str, Node | None]] = {}
    for name, own, merged in steps:
        for section in ("actions", "memories", "static", "rng"):
            if section not in own:
                continue
            kept = merged.get(section)
            owners = {
                at: owner for at, owner in owners.items()
                if at[0] != section or (isinstance(kept, dict) and at[1] in kept)
            }  # fmt: skip
            for entry in _priced(section, own[section]):
                owners[section, entry] = name, _node(merged)
    here = _node(steps[-1][2])
    foreign: dict[tuple[str, Node], dict[str, None]] = {}
    for (section, _), (name, node) in owners.items():
        if node is not None and here is not None and node != here:
            foreign.setdefault((name, node), {})[section] = None
    if here is None:
        return ""
    return "; ".join(
        f"the energies of {', '.join(sections)} are those of {name}'s {_shown(node)}, "
        f"not scaled to {_shown(here)}"
        for (name, node), sections in foreign.items()
    )


def _priced(section: str, value: Any) -> Iterator[str]:
    """Yield the entries of a section that hold an energy or a power of the chip."""
    if section == "memories" and isinstance(value, list):
        on_chip = [m for m in value if isinstance(m, dict) and m.get("kind") != "dram"]
        if any(m.get(key) is not None for m in on_chip for key in _ENERGY_KEYS):
            yield ""
    elif section == "rng" and isinstance(value, dict):
        if value.get("energy") is not None:
            yield "energy"
    elif isinstance(value, dict):
        yield from value


def _node(raw: Mapping[str, Any]) -> Node | None:
    node = raw.get("node")
    if not isinstance(node, dict):
        return None
    try:
        metres, volts = parse_as(node.get("process", ""), "m"), parse_as(node.get("vdd", ""), "V")
        return round(metres * 1e9, 6), round(volts, 6)  # 45 nm and 0.045 um are the same node
    except UnitError:
        return None


def _shown(node: Node) -> str:
    return f"{node[0]:g} nm, {node[1]:g} V"
