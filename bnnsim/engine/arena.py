"""Where buffers lie in an arena: no two that are alive at the same time overlap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Name = TypeVar("Name")


@dataclass(frozen=True, slots=True)
class Lifetime:
    """A buffer's bytes, and the first and the last moment at which it is needed."""

    nbytes: int
    first: int
    last: int

    def meets(self, other: Lifetime) -> bool:
        """Return whether both are needed at some moment."""
        return self.first <= other.last and other.first <= self.last


@dataclass(frozen=True, slots=True)
class Layout(Generic[Name]):
    """Offsets by name, in an arena of ``nbytes``; names stand in the order of their offsets."""

    offsets: Mapping[Name, int]
    nbytes: int


def least_bytes(lifetimes: Sequence[Lifetime]) -> int:
    """Return the most bytes that are needed at one moment: no layout can do with less."""
    moments = {lifetime.first for lifetime in lifetimes}
    return max(
        (sum(x.nbytes for x in lifetimes if x.first <= now <= x.last) for now in moments), default=0
    )


def layout(lifetimes: Mapping[Name, Lifetime]) -> Layout[Name]:
    """Place every buffer, the largest first, into the lowest gap that holds it."""
    placed: list[tuple[int, Name]] = []
    largest_first = sorted(
        lifetimes, key=lambda name: (-lifetimes[name].nbytes, lifetimes[name].first)
    )
    for name in largest_first:
        own = lifetimes[name]
        offset = 0
        for start, other in sorted((s, n) for s, n in placed if lifetimes[n].meets(own)):
            if start >= offset + own.nbytes:
                break
            offset = max(offset, start + lifetimes[other].nbytes)
        placed.append((offset, name))
    placed.sort(key=lambda pair: pair[0])
    end = max((start + lifetimes[name].nbytes for start, name in placed), default=0)
    return Layout({name: start for start, name in placed}, end)
