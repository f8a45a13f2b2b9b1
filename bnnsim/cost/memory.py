"""Where tensors live: residency by capacity and batch, and what each stage has left.

Feature maps stay on chip while the live set fits; weights stay on chip for good while they fit
beside the largest live set (binary weights often do where float ones do not); the rest comes from
off-chip memory, weights once per batch.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from bnnsim.cost.hardware import HardwareProfile, Memory
from bnnsim.cost.stages import Layout
from bnnsim.errors import ProfileError, message

_TILE_SHARE = 8


@dataclass(frozen=True, slots=True)
class Residency:
    """Which tensors stay on chip for a batch that is in memory at once.

    Parameters
    ----------
    spilled : frozenset of str
        Activations that live off chip.
    pinned : frozenset of int
        Positions of the stages whose weights and parameters stay on chip.
    free_weights, free_activations : tuple of int
        Bytes left by stage for tiles of weights and of activations; equal where one memory
        serves both.
    shared : bool
        Whether weights and activations share one memory.
    """

    spilled: frozenset[str]
    pinned: frozenset[int]
    free_weights: tuple[int, ...]
    free_activations: tuple[int, ...]
    shared: bool


def home(profile: HardwareProfile, operand: str) -> Memory | None:
    """Return the largest on-chip memory for ``weights`` or ``activations``, or None."""
    on_chip = [m for m in profile.chain(operand) if not m.off_chip]
    return on_chip[-1] if on_chip else None


def off_chip(profile: HardwareProfile) -> Memory | None:
    """Return the off-chip memory, or None."""
    return next((m for m in profile.memories if m.off_chip), None)


def residency(layout: Layout, profile: HardwareProfile, images: int) -> Residency:
    """Return what stays on chip while ``images`` images go through the network layer by layer.

    The largest live tensors leave the chip first. Stages keep their weights on chip in order of
    execution while these fit; unless all do, an eighth of the memory is left for tiles.

    Raises
    ------
    ProfileError
        If something does not fit and the profile has no off-chip memory.
    """
    acts, weights = home(profile, "activations"), home(profile, "weights")
    shared = acts is not None and acts is weights
    room = (acts.size_bytes or 0) if acts else 0
    spilled = _spill(layout, room, images)
    used = [_resident(live, spilled) * images for live in layout.live]
    weight_room = (weights.size_bytes or 0) if weights else 0
    left = weight_room - (max(used, default=0) if shared else 0)
    pinned, taken = _pin(layout, left, weight_room)
    _require_off_chip(profile, layout, spilled, pinned)
    free_weights = tuple(weight_room - taken - (u if shared else 0) for u in used)
    free_acts = free_weights if shared else tuple(room - u for u in used)
    return Residency(spilled, pinned, free_weights, free_acts, shared)


def _resident(live: Mapping[str, int], spilled: Collection[str]) -> int:
    return sum(size for name, size in live.items() if name not in spilled)


def _spill(layout: Layout, room: int, images: int) -> frozenset[str]:
    spilled: set[str] = set()
    for live in layout.live:
        by_size = sorted(live, key=lambda name: (-live[name], name))
        while by_size and _resident(live, spilled) * images > room:
            spilled.add(by_size.pop(0))
    return frozenset(spilled)


def _pin(layout: Layout, left: int, room: int) -> tuple[frozenset[int], int]:
    if sum(layout.constant_bytes) > left:
        left -= room // _TILE_SHARE
    pinned, taken = set(), 0
    for i, size in enumerate(layout.constant_bytes):
        if taken + size <= left:
            pinned.add(i)
            taken += size
    return frozenset(pinned), taken


def _require_off_chip(
    profile: HardwareProfile, layout: Layout, spilled: frozenset[str], pinned: frozenset[int]
) -> None:
    loose = [i for i, size in enumerate(layout.constant_bytes) if size and i not in pinned]
    if off_chip(profile) is not None or not (spilled or loose):
        return
    what = (
        f"tensor {min(spilled)!r}"
        if spilled
        else (f"the weights of {layout.stages[loose[0]].head.name!r}")
    )
    remedy = "Add a memory of kind dram, enlarge one, or lower the batch."
    place = f"profile {profile.name!r}: memories"
    rule = "memories that hold the network"
    raise ProfileError(message(place, f"no room on chip for {what}", rule, remedy))
