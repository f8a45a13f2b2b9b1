"""Estimate: energy E = A c + static power x time, latency and memory of a graph on a profile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from bnnsim.cost.actions import LayerCounts
from bnnsim.cost.datapath import emulation_note, stand_in
from bnnsim.cost.hardware import Constant, HardwareProfile
from bnnsim.cost.intervals import Interval, constant_factor, factor, interval
from bnnsim.cost.kernel_calls import kernel_schedule
from bnnsim.cost.latency import latency_draws, stage_seconds
from bnnsim.cost.machine import levels, peak_macs_per_s
from bnnsim.cost.pipeline import pipeline_schedule
from bnnsim.cost.pricing import Price, outside_powers, power_constants, prices
from bnnsim.cost.profile import load_profile
from bnnsim.cost.result import Assumption, CostReport, LayerCost, Samples
from bnnsim.cost.schedule import CATEGORIES, NodePlan, Schedule, schedules
from bnnsim.cost.sensitivity import mapping_flips, require_search, sensitivities, total_joules
from bnnsim.cost.stages import Layout, lay_out
from bnnsim.errors import InputError, ProfileError, message
from bnnsim.graph.ir import WHAT_IF, Graph

__all__ = ["CostReport", "estimate"]

MAX_BATCH = 1 << 20
STEADY_BAND = 1.03
_STEADY = (
    "factor on a pipeline's interval between results: tolerance of the oscillator, refresh and "
    "arbitration of the memory that feeds it; a judgement"
)
_STRUCTURES = {
    "array": "factor on everything on chip for wiring, clock and control that no count covers",
    "pipeline": "factor on the time to the first result, for handshakes, pipeline depth and full "
    "FIFOs that no rule covers",
    "kernels": "factor on time and energy for how far kernels stay from their ceilings: stalls, "
    "address arithmetic, other threads",
}


def estimate(
    graph: Graph,
    profile: HardwareProfile | str,
    *,
    batch: int = 1,
    mode: str | None = None,
    synthetic: bool | None = None,
    record: Mapping[str, Any] | None = None,
    allow_unpriced: bool = False,
    toggles: Mapping[int, float] | None = None,
    activity: Mapping[str, Any] | None = None,
    flip: bool = False,
    progress: Callable[[int], object] | None = None,
) -> CostReport:
    """Return what a batch through a lowered graph costs on a profile.

    Parameters
    ----------
    graph : Graph
        Lowered for one mode; constants need no data.
    profile : HardwareProfile or str
        A profile, or the name or path of one.
    batch : int
        Images per call.
    mode, synthetic, record : optional
        What the report says of the graph (by default what its ``meta`` says) and of its making.
    allow_unpriced : bool
        Leave ops without a price out of the totals and list them, instead of raising.
    toggles : mapping of int to float, optional
        By node id: measured share of product bits that change from one pixel to the next. Scales
        the energy of these products where the profile states its ``reference_activity``.
    activity : mapping, optional
        JSON values for the report: the statistics that ``toggles`` were taken from.
    flip : bool
        Search the mapping again with each constant at the ends of its band.
    progress : callable, optional
        Told 1 after each of these searches.

    Raises
    ------
    InputError
        If the batch is no positive integer of at most 2^20.
    ProfileError
        If an op or a dtype pair has no price, or the network does not fit the memories.
    """
    _check_batch(batch)
    chip = load_profile(profile) if isinstance(profile, str) else profile
    layout = lay_out(graph)
    plan = partial(_planned, graph, layout, batch, allow_unpriced, toggles or {})
    if flip:
        require_search(chip)
    schedule = plan(chip)
    flips = tuple(mapping_flips(chip, schedule, plan, progress)) if flip else ()
    stated = dict(graph.meta)
    name = mode if mode is not None else str(stated.get("mode", "native"))
    made_up = synthetic if synthetic is not None else bool(stated.get("synthetic", False))
    report = _report(graph, layout, chip, schedule, (batch, name, made_up, record or {}))
    return replace(report, activity=activity or {}, flips=flips)


def _planned(
    graph: Graph, layout: Layout, batch: int, allow_unpriced: bool, toggles: Mapping[int, float],
    chip: HardwareProfile,
) -> Schedule:  # fmt: skip
    """Return the schedule with the least energy of those that the profile allows."""
    found: Sequence[Schedule]
    if chip.pipeline is not None:
        found = [pipeline_schedule(graph, layout, chip, batch)]
    elif chip.kernels is not None:
        found = [kernel_schedule(graph, layout, chip, batch, allow_unpriced=allow_unpriced)]
    else:
        found = schedules(graph, chip, batch, allow_unpriced=allow_unpriced)
    options = [_at_activity(option, chip, toggles) for option in found]
    return options[0] if len(options) == 1 else min(options, key=partial(total_joules, chip))


def _at_activity(
    schedule: Schedule, profile: HardwareProfile, toggles: Mapping[int, float]
) -> Schedule:
    """Return the schedule with the products of nodes in ``toggles`` at their measured activity."""
    reference = profile.array.reference_activity
    if reference is None or not toggles:
        return schedule
    nodes = (
        replace(plan, logic_scale=toggles[plan.counts.node.id] / reference.value_si)
        if plan.counts.node.id in toggles else plan
        for plan in schedule.nodes
    )  # fmt: skip
    return replace(schedule, nodes=tuple(nodes))


def _check_batch(batch: object) -> None:
    if isinstance(batch, bool) or not isinstance(batch, int) or not 1 <= batch <= MAX_BATCH:
        raise InputError(message("batch", batch, f"an integer from 1 to {MAX_BATCH}"))


def _report(
    graph: Graph, layout: Layout, profile: HardwareProfile, schedule: Schedule,
    stated: tuple[int, str, bool, Mapping[str, Any]],
) -> CostReport:  # fmt: skip
    batch, mode, synthetic, record = stated
    priced = prices(profile)
    watts = sum(c.value_si for c in power_constants(profile))
    layers = tuple(_layer(graph, profile, plan, priced, watts) for plan in schedule.nodes)
    energy_by = {c: sum(layer.energy_by.get(c, 0.0) for layer in layers) for c in CATEGORIES}
    joules, seconds = sum(energy_by.values()), sum(layer.latency_s for layer in layers)
    with np.errstate(over="ignore", invalid="ignore"):  # an infinite total is refused below
        samples = _samples(profile, schedule, priced)
    _check_finite(profile, joules, seconds, samples)
    pairs = [plan.counts for plan in schedule.nodes if plan.counts.operands is not None]
    return CostReport(
        model=graph.name,
        profile=profile.name,
        mode=mode,
        synthetic=synthetic,
        batch=batch,
        energy=interval(joules, samples.energy_j),
        latency=interval(seconds, samples.latency_s),
        power=_ratio(joules, seconds, samples.energy_j, samples.latency_s),
        throughput=_ratio(float(batch), seconds, np.float64(batch), samples.latency_s),
        memory={
            "weights_bytes": layout.weights_bytes,
            "parameters_bytes": layout.parameters_bytes,
            "peak_activation_bytes": schedule.peak_bytes,
            "scratch_bytes": schedule.scratch_bytes,
        },
        macs=_by_pair(graph, pairs, "macs"),
        macs_valid=_by_pair(graph, pairs, "macs_valid"),
        rng_bits=sum(plan.priced["rng.energy", "rng"] for plan in schedule.nodes),
        off_chip_bytes=sum(plan.off_chip_bytes for plan in schedule.nodes),
        energy_by=energy_by,
        layers=layers,
        assumptions=_assumptions(profile, schedule, priced, seconds, joules),
        sensitivity=sensitivities(profile, schedule, seconds, joules),
        unpriced=schedule.unpriced,
        notes=(*_notes(graph, synthetic), *profile.notes, *_emulation(profile, pairs, layers)),
        record=record,
        memories=levels(profile),
        action_joules={name: price.joules for name, price in priced.items()},
        samples=samples,
    )


def _check_finite(
    profile: HardwareProfile, joules: float, seconds: float, samples: Samples
) -> None:
    highest = samples.energy_j.max(), samples.latency_s.max()
    with np.errstate(over="ignore", invalid="ignore"):
        power = np.divide(highest[0], samples.latency_s.min() or np.inf)
    if not np.isfinite([joules, seconds, *highest, power]).all():
        found = f"{joules:g} J in {seconds:g} s"
        remedy = "Check the constants of the profile and their bands."
        where = f"profile {profile.name}: totals"
        raise ProfileError(message(where, found, "finite energies and times", remedy))


def _notes(graph: Graph, synthetic: bool) -> tuple[str, ...]:
    """Return what the graph's mode takes away from the meaning of the numbers."""
    if synthetic:
        return ("cost-only twin: some of its constants have no values, no accuracy",)
    if graph.meta.get("what_if"):
        return (WHAT_IF,)
    return ()


def _emulation(
    profile: HardwareProfile, counts: Sequence[LayerCounts], layers: Sequence[LayerCost]
) -> Iterator[str]:
    """Yield which layers run as a wider pair than their own, and how many."""
    run_as = {layer.id: layer.run_as for layer in layers if layer.run_as}
    found = Counter(
        (c.operands.pair, run_as[c.node.id])
        for c in counts if c.operands is not None and c.node.id in run_as
    )  # fmt: skip
    for (pair, wider), number in found.items():
        yield emulation_note(profile, pair, wider, number)


def _ratio(above: float, below: float, over: Any, under: np.ndarray) -> Interval:
    if below <= 0:
        return Interval(0.0, 0.0, 0.0)
    return interval(above / below, over / under)


def _by_pair(graph: Graph, counts: Sequence[Any], what: str) -> dict[str, int]:
    found: Counter[str] = Counter()
    for c in counts:
        act, weight = (graph.tensor(name).dtype for name in c.node.inputs[:2])
        found[f"{act} x {weight}"] += getattr(c, what)
    return dict(found)


def _layer(
    graph: Graph, profile: HardwareProfile, plan: NodePlan, priced: Mapping[str, Price],
    watts: float,
) -> LayerCost:  # fmt: skip
    counts, node = plan.counts, plan.counts.node
    seconds, bound = stage_seconds(profile, plan)
    energy_by: dict[str, float] = {}
    physical: Counter[str] = Counter()
    for name, category, number in plan.weighted():
        if number:
            energy_by[category] = energy_by.get(category, 0.0) + number * priced[name].joules
    for (name, _), number in plan.priced.items():
        if number:
            physical[name] += number
    if watts * seconds:
        energy_by["static"] = watts * seconds
    weight = str(graph.tensor(node.inputs[1]).dtype) if counts.operands is not None else ""
    return LayerCost(
        name=node.name,
        id=node.id,
        op=node.op,
        act_dtype=str(graph.activation(node).dtype),
        weight_dtype=weight,
        out_dtype=str(graph.result(node).dtype),
        macs=counts.macs,
        macs_valid=counts.macs_valid,
        logical_actions={str(a): n for a, n in (counts.actions or {}).items()},
        physical_actions=dict(physical),
        energy_j=sum(energy_by.values()),
        energy_by=energy_by,
        latency_s=seconds,
        bound_by=bound,
        mapping=plan.mapping,
        peak_macs_per_s=_peak(graph, profile, plan),
        run_as=_run_as(graph, profile, plan),
    )


def _peak(graph: Graph, profile: HardwareProfile, plan: NodePlan) -> float:
    operands, node = plan.counts.operands, plan.counts.node
    if operands is None:
        return 0.0
    if profile.pipeline is not None:
        return plan.macs_per_cycle * profile.clock_hz
    weight = graph.tensor(node.inputs[1])
    return peak_macs_per_s(profile, operands, weight.size // weight.shape[0])


def _run_as(graph: Graph, profile: HardwareProfile, plan: NodePlan) -> str:
    operands, node = plan.counts.operands, plan.counts.node
    if operands is None or profile.pipeline is not None:
        return ""
    weight = graph.tensor(node.inputs[1])
    return stand_in(profile, operands, weight.size // weight.shape[0], node.describe())


def _samples(profile: HardwareProfile, schedule: Schedule, priced: Mapping[str, Price]) -> Samples:
    """Return 4,096 draws of energy and latency, every constant and the structure varied."""
    pairs = {p.counts.operands.pair for p in schedule.nodes if p.counts.operands is not None}
    datapaths = ", ".join(sorted(pairs))
    steady = schedule.steady_cycles / profile.clock_hz
    seconds = latency_draws(profile, schedule) - steady
    seconds = seconds * _structural(profile, datapaths, "latency")
    seconds = seconds + steady * _structural(profile, datapaths, "interval", STEADY_BAND)
    operators: Any = 0.0
    inside: Any = 0.0
    outside: Any = 0.0
    reference = profile.array.reference_activity
    for (name, follows), number in schedule.totals.items():
        price = priced[name]
        joules = number * price.joules * constant_factor(price.constant)
        if follows and reference is not None:
            joules = joules * constant_factor(reference)
        if price.outside:
            outside = outside + joules
        elif price.overhead:
            operators = operators + joules
        else:
            inside = inside + joules
    if profile.overhead is not None:
        operators = operators * constant_factor(profile.overhead)
    for power in power_constants(profile):
        drawn = power.value_si * constant_factor(power) * seconds
        if power in outside_powers(profile):
            outside = outside + drawn
        else:
            inside = inside + drawn
    energy = (operators + inside) * _structural(profile, datapaths, "energy") + outside
    return Samples(np.broadcast_to(energy, seconds.shape), seconds)


def _structural(
    profile: HardwareProfile, datapaths: str, what: str, band: float | None = None
) -> np.ndarray:
    """Return factors for what the model leaves out.

    Half is common to everything on a profile, half to the operand types that run. What extends a
    profile is that chip with changes, and has its factors.
    """
    group = f"structure of {profile.root or profile.name}: {what}"
    return factor(band or profile.structural_band, group, f"{group} with {datapaths}")


def _assumptions(
    profile: HardwareProfile, schedule: Schedule, priced: Mapping[str, Price], seconds: float,
    joules: float,
) -> tuple[Assumption, ...]:  # fmt: skip
    """Return every constant that the energy rests on, the largest share first, then the structure.

    Shares of constants sum to 1; those of the reference activity and the structural factor are all
    that they multiply.
    """
    parts: dict[Constant, float] = {}
    added = outside = scaled = 0.0
    for (name, follows), number in schedule.totals.items():
        price = priced[name]
        bare = number * price.joules / (price.overhead or 1.0)
        added += number * price.joules - bare
        outside += bare if price.outside else 0.0
        scaled += number * price.joules if follows else 0.0
        parts[price.constant] = parts.get(price.constant, 0.0) + bare
    shares = [*parts.items()]
    shares += [(c, c.value_si * seconds) for c in power_constants(profile)]
    if profile.overhead is not None:
        shares.append((profile.overhead, added))
    outside += sum(c.value_si for c in outside_powers(profile)) * seconds
    shares.sort(key=lambda s: -s[1])
    if scaled and (reference := profile.array.reference_activity):
        shares.append((reference, scaled))
    rows = [
        Assumption(c.name, c.value_si, c.dimension, c.status, f"{c.source}, {c.at}", c.band,
                   part / joules)
        for c, part in shares if part
    ]  # fmt: skip
    cover = 1 - outside / joules if joules else 0.0
    rows += _rates(schedule)
    if schedule.steady_cycles:
        rows.append(Assumption("interval", 1.0, "1", "assumed", _STEADY, STEADY_BAND, 0.0))
    what = _STRUCTURES[profile.latency_model]
    rows.append(Assumption("structure", 1.0, "1", "assumed", what, profile.structural_band,
                           max(0.0, cover)))  # fmt: skip
    return tuple(rows)


def _rates(schedule: Schedule) -> Iterator[Assumption]:
    """Yield the rates of a processor that the time rests on, in the order of their use."""
    calls = [call for plan in schedule.nodes for call in plan.calls]
    used = dict.fromkeys(c for call in calls for work in call.work.values() for c, n in work if n)
    used |= dict.fromkeys(call.launch for call in calls if call.launch is not None)
    for c in used:
        yield Assumption(c.name, c.value_si, c.dimension, c.status, f"{c.source}, {c.at}", c.band,
                         0.0)  # fmt: skip
