"""Intervals: every constant is a log-normal draw, shared wherever two numbers are the same one.

A band b is a 90 % factor: sigma = ln(b) / 1.645. Half of the variance is common to the constants
of one source or node, half is the constant's own. Draws belong to what a constant *is* (its
source, place and value), not to a profile or a run, so that two columns of a comparison share the
draws of the constants that they share, and these cancel in ratios.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from bnnsim.cost.hardware import Constant

DRAWS = 4096
SEED = "bnnsim intervals 1"
_Z90 = 1.645


@dataclass(frozen=True, slots=True)
class Interval:
    """A nominal value with the 5 % and 95 % quantiles of its draws."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """Return the JSON form Q."""
        return {"value": self.value, "low": self.low, "high": self.high}


@lru_cache(maxsize=2048)
def normals(name: str) -> np.ndarray:
    """Return the 4,096 standard normal draws that belong to ``name``, always the same."""
    digest = hashlib.blake2b(f"{SEED}|{name}".encode(), digest_size=16).digest()
    draws = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))
    values = draws.standard_normal(DRAWS)
    values.setflags(write=False)
    return values


def factor(band: float, group: str, own: str) -> np.ndarray:
    """Return 4,096 log-normal factors of mean 1 for a 90 % factor ``band``."""
    if band == 1:
        return np.ones(DRAWS)
    sigma = math.log(band) / _Z90
    mixed = (normals(f"group {group}") + normals(f"own {own}")) * math.sqrt(0.5)
    return np.asarray(np.exp(sigma * mixed - sigma * sigma / 2))


@lru_cache(maxsize=2048)
def constant_factor(constant: Constant) -> np.ndarray:
    """Return the factors by which a constant's true value may differ from the stated one."""
    return factor(constant.band, constant.group, constant.identity)


def interval(value: float, samples: np.ndarray) -> Interval:
    """Return the nominal value with the 5 % and 95 % quantiles of ``samples`` around it."""
    ordered = np.sort(samples)
    low, high = _quantile(ordered, 0.05), _quantile(ordered, 0.95)
    return Interval(float(value), min(low, value), max(high, value))


def _quantile(ordered: np.ndarray, share: float) -> float:
    """Return ``np.quantile`` of sorted samples, which itself would load masked arrays."""
    at = share * (len(ordered) - 1)
    below = int(at)
    part, low, high = at - below, ordered[below], ordered[below + 1]
    step = high - low
    return float(low + step * part if part < 0.5 else high - step * (1 - part))
