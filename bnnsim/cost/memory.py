"""Where tensors live: residency by capacity and batch, and what each stage has left.

Feature maps may stay on chip while the live set fits, weights for good while they fit beside the
largest live set (binary weights often do where float ones do not); the rest comes from off-chip
memory, weights once per batch. Which of them stay is a search: `residency.py`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate

from bnnsim.cost.hardware import HardwareProfile, Memory
from bnnsim.cost.stages import Layout
from bnnsim.errors import ProfileError, message

_SHARES, _UNITS = 32, 1024


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


def candidates(layout: Layout, profile: HardwareProfile, images: int) -> list[Residency]:
    """Return what may stay on chip while ``images`` images go through layer by layer.

    The family is the same for memories of any size; those of its members are returned that fit.
    So a larger memory can do all that a smaller one can, with more room left for tiles. Members
    are every combination of maps off chip (the largest leave first, until none is left) and of
    weights kept for good (sets that come closest to 1/32 to 32/32 and 2^-6 to 2^-12 of all bytes).

    Raises
    ------
    ProfileError
        If something does not fit and the profile has no off-chip memory.
    """
    acts, weights = home(profile, "activations"), home(profile, "weights")
    shared = acts is not None and acts is weights
    room = (acts.size_bytes or 0) if acts else 0
    weight_room = (weights.size_bytes or 0) if weights else 0
    found = []
    for spilled, used in _map_choices(layout, images):
        most = max(used, default=0)
        for pinned, taken in _weight_choices(layout.constant_bytes):
            if most + (taken if shared else 0) > room or taken > weight_room:
                continue
            free_weights = tuple(weight_room - taken - (u if shared else 0) for u in used)
            free_acts = free_weights if shared else tuple(room - u for u in used)
            found.append(Residency(spilled, pinned, free_weights, free_acts, shared))
    if off_chip(profile) is None:
        everything = frozenset(range(len(layout.stages)))
        found = [one for one in found if not one.spilled and one.pinned == everything]
        if not found:
            _refuse(layout, profile, images, room)
    return found


def _resident(live: Mapping[str, int], spilled: Collection[str]) -> int:
    return sum(size for name, size in live.items() if name not in spilled)


def _map_choices(layout: Layout, images: int) -> list[tuple[frozenset[str], list[int]]]:
    """Return sets of maps off chip, from none to all, with the bytes in use by stage."""
    found = []
    room = images * layout.peak_bytes
    while True:
        spilled = _spill(layout, room, images)
        used = [_resident(live, spilled) * images for live in layout.live]
        found.append((spilled, used))
        if not any(used):
            return found
        room = max(used) - 1


def _spill(layout: Layout, room: int, images: int) -> frozenset[str]:
    """Return the maps that leave the chip so that the others fit, the largest first."""
    spilled: set[str] = set()
    for live in layout.live:
        by_size = sorted(live, key=lambda name: (-live[name], name))
        while by_size and _resident(live, spilled) * images > room:
            spilled.add(by_size.pop(0))
    return frozenset(spilled)


@lru_cache(maxsize=256)
def _weight_choices(sizes: tuple[int, ...]) -> tuple[tuple[frozenset[int], int], ...]:
    """Return sets of stages whose constants stay on chip, the largest first, with their bytes."""
    total = sum(sizes)
    shares = [n / _SHARES for n in range(_SHARES, 0, -1)]
    shares += [2.0**-n for n in range(_SHARES.bit_length(), 13)]
    everything = frozenset(range(len(sizes)))
    free = frozenset(i for i, size in enumerate(sizes) if not size)
    filled = (_fill(sizes, share * total) for share in shares)
    sets = dict.fromkeys([everything, *filled, free])
    return tuple((pinned, sum(sizes[i] for i in pinned)) for pinned in sets)


def _fill(sizes: Sequence[int], room: float) -> frozenset[int]:
    """Return the set that comes closest to ``room``; early stages go first.

    Sizes are rounded up to 1/1024 of the room.
    """
    unit = max(room / _UNITS, 1e-9)
    units = [math.ceil(size / unit - 1e-6) for size in sizes]
    sums = [1]  # bit n: some of the last stages take n units
    for size in reversed(units):
        sums.append((sums[-1] | sums[-1] << min(size, _UNITS + 1)) & ((1 << (_UNITS + 1)) - 1))
    left = sums[-1].bit_length() - 1
    pinned = set()
    for i, size in enumerate(units):
        rest = sums[len(sizes) - 1 - i]
        if size <= left and rest >> (left - size) & 1:
            pinned.add(i)
            left -= size
    return frozenset(pinned)


def _refuse(layout: Layout, profile: HardwareProfile, images: int, room: int) -> None:
    """Raise the error of a network that does not fit a chip without off-chip memory."""
    spilled = _spill(layout, room, images)
    weights = home(profile, "weights")
    kept = accumulate(layout.constant_bytes)
    left = (weights.size_bytes or 0) if weights else 0
    loose = next((i for i, size in enumerate(kept) if size > left), len(layout.stages) - 1)
    what = (
        f"tensor {min(spilled)!r}"
        if spilled
        else f"the weights of {layout.stages[loose].head.name!r}"
    )
    remedy = "Add a memory of kind dram, enlarge one, or lower the batch."
    place = f"profile {profile.name!r}: memories"
    rule = "memories that hold the network"
    raise ProfileError(message(place, f"no room on chip for {what}", rule, remedy))
