"""What an estimate returns: frozen rows and totals, and their JSON form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bnnsim.cost.intervals import Interval
from bnnsim.cost.machine import Level
from bnnsim.display import Displayed

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class LayerCost:
    """The cost of one node, for the whole batch where not said otherwise.

    Parameters
    ----------
    macs, macs_valid : int
        Of one image: nominal, and with taps inside the image only.
    logical_actions : mapping of str to int
        Of one image, free of hardware.
    physical_actions : mapping of str to int
        By constant of the profile.
    bound_by : str
        The resource that takes longest; empty for nodes that run inside another's pass.
    peak_macs_per_s : float
        What the array could do with these operands at best; 0 for nodes without MACs.
    run_as : str
        The pair of types that stands in for one that ``ops_per_pe`` lacks; else empty.
    """

    name: str
    id: int
    op: str
    act_dtype: str
    weight_dtype: str
    out_dtype: str
    macs: int
    macs_valid: int
    logical_actions: Mapping[str, int]
    physical_actions: Mapping[str, int]
    energy_j: float
    energy_by: Mapping[str, float]
    latency_s: float
    bound_by: str
    mapping: str
    peak_macs_per_s: float
    run_as: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form of a layer."""
        return {name: _plain(getattr(self, name)) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Assumption:
    """One constant that an estimate rests on, and how much of the energy does."""

    constant: str
    value: float
    unit: str
    status: str
    source: str
    band: float
    share_of_energy: float

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form of an assumption."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """How far the energy moves with one constant: it follows from E = A c, without a search.

    Parameters
    ----------
    constant, status : str
    band : float
    percent_per_10_percent : float
        Percent of the nominal energy that 10 % more of the constant adds.
    low_percent, high_percent : float
        Percent that it adds at the ends of its band, at value / band and value x band.
    """

    constant: str
    status: str
    band: float
    percent_per_10_percent: float
    low_percent: float
    high_percent: float

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form of a sensitivity."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Flip:
    """What a search of the mapping with one constant at an end of its band finds.

    Parameters
    ----------
    constant : str
    factor : float
        On its value: the band, or one over it.
    flips : bool
        Whether another mapping, residency or group size wins.
    layers : int
        How many layers then do other accesses.
    kept_j, searched_j : float
        Joules of the batch at that end with the nominal choice, and with the one found there.
    """

    constant: str
    factor: float
    flips: bool
    layers: int
    kept_j: float
    searched_j: float

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form of a flip."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Samples:
    """The draws behind the intervals of a report, (4096,) each."""

    energy_j: np.ndarray
    latency_s: np.ndarray


@dataclass(frozen=True, slots=True)
class CostReport(Displayed):
    """What a batch costs on a profile; the JSON form is :meth:`to_dict`.

    Parameters
    ----------
    energy, latency, power, throughput : Interval
        Joules and seconds of the batch, watts, inferences per second.
    memory : mapping of str to int
        ``weights_bytes``, ``parameters_bytes``, ``peak_activation_bytes``, ``scratch_bytes``.
    macs, macs_valid : mapping of str to int
        Of one image, by pair of operand types.
    energy_by : mapping of str to float
        Joules of the batch by component; sums to the energy.
    unpriced : tuple of str
        Work left out of the totals.
    notes : tuple of str
        What a reader must know before the numbers: a twin that was not trained, for example.
    record : mapping
        How the report came about.
    memories : tuple of Level
        Of the profile, nearest to the array first.
    action_joules : mapping of str to float
        Price of each physical action, overhead included; not part of the JSON.
    samples : Samples
        Draws of energy and latency, for ratios; not part of the JSON.
    activity : mapping
        JSON values: how the bits behaved on data that the estimate was given; empty without any.
    sensitivity : tuple of Sensitivity
        By constant, the largest first.
    flips : tuple of Flip
        Empty unless asked for.
    """

    model: str
    profile: str
    mode: str
    synthetic: bool
    batch: int
    energy: Interval
    latency: Interval
    power: Interval
    throughput: Interval
    memory: Mapping[str, int]
    macs: Mapping[str, int]
    macs_valid: Mapping[str, int]
    rng_bits: int
    off_chip_bytes: int
    energy_by: Mapping[str, float]
    layers: tuple[LayerCost, ...]
    assumptions: tuple[Assumption, ...]
    unpriced: tuple[str, ...]
    notes: tuple[str, ...]
    record: Mapping[str, Any]
    memories: tuple[Level, ...]
    action_joules: Mapping[str, float] = field(repr=False, compare=False)
    samples: Samples = field(repr=False, compare=False)
    activity: Mapping[str, Any] = field(default_factory=dict, repr=False)
    sensitivity: tuple[Sensitivity, ...] = ()
    flips: tuple[Flip, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the report in the form of schemas/estimate.schema.json."""
        return {
            "schema": SCHEMA,
            "model": self.model,
            "profile": self.profile,
            "mode": self.mode,
            "synthetic": self.synthetic,
            "batch": self.batch,
            "totals": self.totals(),
            "energy_by": dict(self.energy_by),
            "layers": [layer.to_dict() for layer in self.layers],
            "assumptions": [a.to_dict() for a in self.assumptions],
            "sensitivity": [s.to_dict() for s in self.sensitivity],
            **({"flips": [f.to_dict() for f in self.flips]} if self.flips else {}),
            "unpriced": list(self.unpriced),
            "notes": list(self.notes),
            "record": dict(self.record),
            "memories": [level.to_dict() for level in self.memories],
            **({"activity": dict(self.activity)} if self.activity else {}),
        }

    def totals(self) -> dict[str, Any]:
        """Return what stands under ``totals`` of the JSON form."""
        each = Interval(*(q / self.batch for q in _triple(self.energy)))
        return {
            "energy_j": self.energy.to_dict(),
            "energy_per_inference_j": each.to_dict(),
            "latency_s": self.latency.to_dict(),
            "throughput_per_s": self.throughput.to_dict(),
            "power_w": self.power.to_dict(),
            "memory": dict(self.memory),
            "macs": dict(self.macs),
            "macs_valid": dict(self.macs_valid),
            "rng_bits": self.rng_bits,
            "off_chip_bytes": self.off_chip_bytes,
        }

    def to_json(self, *, indent: int | None = None) -> str:
        """Return the report as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)


def _plain(value: Any) -> Any:
    return dict(value) if isinstance(value, Mapping) else value


def _triple(q: Interval) -> tuple[float, float, float]:
    return q.value, q.low, q.high
