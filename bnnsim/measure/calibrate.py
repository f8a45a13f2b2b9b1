"""Measure a CPU into a profile of the ``kernels`` latency model."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date

from bnnsim.cost.profile import load_profile
from bnnsim.engine.dispatch import resolve
from bnnsim.measure.probes import Probe, cache_sizes, probes
from bnnsim.measure.timing import Sampler, band, seconds_of, undisturbed
from bnnsim.record import record

_BASES = {"avx512": "cpu-avx512", "avx2": "cpu-avx2", "neon": "arm-neon", "ref": "cpu-avx2"}
ROUNDS = 7
_LEAST_BAND = 1.1
# Elements that a kernel of the engine takes at once, where the packaged profile means others.
_GRANULES = {"int8 x int8": 4}
_SIGNIFICANT = 4


@dataclass(slots=True)
class Measured:
    """Rates found for one constant: one for each probe, and the bands of their samples."""

    rates: list[float] = field(default_factory=list)
    spreads: list[float] = field(default_factory=list)
    whats: list[str] = field(default_factory=list)

    def add(self, probe: Probe, rounds: list[float]) -> None:
        """Take a probe in: the seconds of one call, undisturbed, by round."""
        self.rates.append(probe.amount / undisturbed(rounds))
        self.spreads.append(band(rounds, _LEAST_BAND))
        self.whats.append(probe.what)

    @property
    def value(self) -> float:
        """Geometric mean of the probes' rates, per second."""
        return statistics.geometric_mean(self.rates)

    @property
    def band(self) -> float:
        """The wider of the spread between probes and that between rounds."""
        return band(self.rates, max(self.spreads))

    def at(self) -> str:
        """Return what was timed, in words."""
        return "; ".join(dict.fromkeys(self.whats))


def measurements(isa: str, *, small: bool = False) -> int:
    """Return how many measurements `calibrate_cpu` makes."""
    return (1 if small else ROUNDS) * sum(
        1 for _ in probes(resolve(isa), cache_sizes(), small=True)
    )


def calibrate_cpu(
    name: str,
    *,
    isa: str = "auto",
    sample: Sampler = seconds_of,
    caches: Mapping[str, int] | None = None,
    small: bool = False,
    progress: Callable[[int], None] | None = None,
) -> str:
    """Return the YAML of a profile of one core of this machine, measured.

    All probes are timed in turn, several rounds of it, so that a busy minute of the machine meets
    all of them. A constant is the geometric mean over its probes of amount / seconds, undisturbed.
    Its band covers 9 of 10 rounds, and 9 of 10 probes where that is more. Energy is not measured.

    Parameters
    ----------
    name : str
        Of the profile.
    isa : str
        Instruction set of the kernels, as for :class:`bnnsim.Engine`.
    sample : callable
        Returns the seconds of one call, several times; a test gives its own.
    caches : mapping of str to int, optional
        Bytes by name; by default what the system says.
    small : bool
        Tiny shapes and one round, to try it out: the rates mean nothing.
    progress : callable, optional
        Called with 1 after each probe of each round.
    """
    chosen = resolve(isa)
    sizes = dict(cache_sizes() if caches is None else caches)
    timed = [(probe, list[float]()) for probe in probes(chosen, sizes, small=small)]
    for _ in range(1 if small else ROUNDS):
        for probe, seconds in timed:
            seconds.append(undisturbed(sample(probe.work)))
            if progress is not None:
                progress(1)
    found: dict[str, Measured] = {}
    for probe, seconds in timed:
        found.setdefault(probe.constant, Measured()).add(probe, seconds)
    return _yaml(name, chosen, sizes, found)


def _yaml(name: str, isa: str, caches: Mapping[str, int], found: Mapping[str, Measured]) -> str:
    base = load_profile(_BASES[isa])
    assert base.kernels is not None  # _BASES are processors
    clock, machine = base.clock_hz, record().cpu
    cite = f"bnnsim calibrate cpu on {machine}, one core, {isa} kernels, {date.today()}"
    lines = [
        f"# One core of {machine}, measured by `bnnsim calibrate cpu`. Rates are per cycle of the",
        "# stated clock, which is nominal: only rate x clock was measured.",
        "schema: bnnsim/profile/1",
        f"extends: {_BASES[isa]}",
        f"name: {name}",
        f'description: "one core of {machine}, {isa} kernels, measured; energy not estimated"',
        "kind: cpu",
        "sources:",
        f'  machine: {{cite: "{cite}", kind: measured}}',
        "kernels:",
        "  first_layer: wider         # the engine multiplies pixels as bytes",
        f"  launch: {{time: {1e6 / found['launch'].value:.4g} us, {_provenance(found['launch'])}}}",
        "  macs:",
    ]
    for pair, granule in base.kernels.granules.items():
        if (rate := found.get(f"macs.{pair}")) is not None:
            fields = (
                f"per_cycle: {_figure(rate.value / clock)}, granule: {_GRANULES.get(pair, granule)}"
            )
            lines.append(f'    "{pair}": {{{fields}, {_provenance(rate)}}}')
    lines.append("  operations:")
    for key in ("bit", "int32", "float32"):
        lines.append(f"    {key}: {_per_cycle(found[f'operations.{key}'], clock)}")
    lines += [f"  randbits: {_per_cycle(found['randbits'], clock)}", "  levels:"]
    for level, size in caches.items():
        lines.append(
            f"    - {{name: {level}, size: {size // 1024} KiB, {_bandwidth(found[level])}}}"
        )
    lines.append(f"    - {{name: dram, kind: dram, {_bandwidth(found['dram'])}}}")
    return "\n".join(lines) + "\n"


def _figure(value: float) -> str:
    return f"{value:.{_SIGNIFICANT}g}"


def _per_cycle(rate: Measured, clock: float) -> str:
    return f"{{per_cycle: {_figure(rate.value / clock)}, {_provenance(rate)}}}"


def _bandwidth(rate: Measured) -> str:
    return f"bandwidth: {_figure(rate.value / 1e9)} GB/s, {_provenance(rate)}"


def _provenance(rate: Measured) -> str:
    return f'status: measured, source: machine, at: "{rate.at()}", band: {rate.band:.3g}'
