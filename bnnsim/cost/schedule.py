"""From stages to counts of a profile's constants, cycles and mappings, for a batch.

The batch goes through the network in groups of images: layer by layer inside a group, so weights
from off chip are read once per group. Of some group sizes the one with the least energy is taken;
the last group may be smaller.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

from bnnsim.cost.actions import LayerCounts, count_actions
from bnnsim.cost.calls import Call
from bnnsim.cost.context import Context
from bnnsim.cost.datapath import action_prices, k_steps, mac_prices
from bnnsim.cost.hardware import HardwareProfile
from bnnsim.cost.memory import off_chip
from bnnsim.cost.nests import Choice, Run, choose, run_of
from bnnsim.cost.pricing import NO_ENERGY
from bnnsim.cost.remembered import by_graph
from bnnsim.cost.residency import search
from bnnsim.cost.stages import ON_READ, Stage, lay_out
from bnnsim.cost.traffic import ACTIVATIONS, IO, WEIGHTS
from bnnsim.cost.transfers import (
    io_bits,
    memory_cycles,
    off_chip_bytes,
    other_accesses,
)  # fmt: skip
from bnnsim.errors import ProfileError, message
from bnnsim.graph.bits import WORD_BITS
from bnnsim.graph.dtypes import BIT
from bnnsim.graph.ir import Graph, Node

Priced = Counter[tuple[str, str]]
CATEGORIES = (
    "compute", "elementwise", "normalization", "scaling", "packing", WEIGHTS, ACTIVATIONS, IO,
    "rng", "launch", "static",
)  # fmt: skip
_MAX_PARTS = 16
NODE_CATEGORY = {
    "Encode": "packing", "FromGrid": "packing", "Bias": "normalization", "Affine": "normalization",
    "BatchNorm": "normalization", "Threshold": "normalization", "Requantize": "scaling",
    "IntegerAffine": "scaling", "Scale": "scaling", "Mul": "scaling", "InputScale": "scaling",
    "Relu": "elementwise", "Clip": "elementwise", "PRelu": "elementwise",
    "Sigmoid": "elementwise", "Softmax": "elementwise",
    "Quantize": "elementwise", "MaxPool": "elementwise", "Cast": "elementwise",
    "Add": "elementwise", "AvgPool": "elementwise", "GlobalAvgPool": "elementwise",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class NodePlan:
    """What one node asks of the hardware for the whole batch.

    Parameters
    ----------
    counts : LayerCounts
        For one image.
    priced : Counter of (constant name, category)
        Physical actions.
    cycles : mapping of str to int
        Clock cycles that each on-chip resource is busy; empty for nodes inside a stage.
    off_chip_bytes : int
    fill_cycles : int
        Cycles before the first result of a pass and after the last operand.
    mapping : str
    logic_scale : float or None
        Measured over reference activity, where the energy of the node's products follows it.
    macs_per_cycle : float
        Of a streaming stage at best; what an array does depends on the profile alone.
    calls : tuple of Call
        Of a processor, in place of cycles: its kernels.
    """

    counts: LayerCounts
    priced: Priced
    cycles: Mapping[str, int]
    off_chip_bytes: int
    fill_cycles: int
    mapping: str
    logic_scale: float | None = None
    macs_per_cycle: float = 0.0
    calls: tuple[Call, ...] = ()

    def follows(self, category: str) -> bool:
        """Return whether the energy of a category follows the measured activity."""
        return category == "compute" and self.logic_scale is not None

    def weighted(self) -> Iterator[tuple[str, str, float]]:
        """Yield constant, category and count of all actions, products scaled by activity."""
        scale = self.logic_scale
        for (name, category), number in self.priced.items():
            if scale is not None and category == "compute":
                yield name, category, number * scale
            else:
                yield name, category, number


@dataclass(frozen=True)
class Schedule:
    """A batch on a profile.

    Parameters
    ----------
    images : int
        Images in flight; the last group of the batch may have fewer.
    nodes : tuple of NodePlan
        In the graph's order.
    scratch_bytes : int
        The largest double-buffered tiles of a stage.
    peak_bytes : int
        Activations in memory at once.
    unpriced : tuple of str
        Work that the profile has no price for.
    steady_cycles : int
        Of all cycles, those of a pipeline's intervals between results: its stages were built for
        them, so that they have a narrow band of their own in place of the structural factor.
    """

    images: int
    nodes: tuple[NodePlan, ...]
    scratch_bytes: int
    peak_bytes: int
    unpriced: tuple[str, ...]
    steady_cycles: int = 0

    @cached_property
    def totals(self) -> Mapping[tuple[str, bool], float]:
        """Counts by constant, those that follow the measured activity apart."""
        total: dict[tuple[str, bool], float] = {}
        for plan in self.nodes:
            for name, category, number in plan.weighted():
                key = name, plan.follows(category)
                total[key] = total.get(key, 0) + number
        return total


def schedules(
    graph: Graph, profile: HardwareProfile, batch: int, *, allow_unpriced: bool
) -> tuple[Schedule, ...]:
    """Return one schedule per group size that the memories allow.

    They are remembered for profiles that differ only in prices of operators and in powers.

    Raises
    ------
    ProfileError
        If an op has no price and ``allow_unpriced`` is false, or the network does not fit.
    """
    holes = unpriced(count_actions(graph), profile)
    if holes and not allow_unpriced:
        raise ProfileError(holes[0])
    return found(graph, _mapped_to(profile), batch)


def _mapped_to(profile: HardwareProfile) -> HardwareProfile:
    """Return a profile without what no schedule rests on, equal for all that differ only in it."""
    return replace(
        profile, description="", calibrated_on=(), sources={}, overhead=None, static=(),
        actions=dict.fromkeys(profile.actions, NO_ENERGY), io=profile.io and NO_ENERGY,
        structural_band=1.0, root="", notes=(),
    )  # fmt: skip


@by_graph
def found(graph: Graph, profile: HardwareProfile, batch: int) -> tuple[Schedule, ...]:
    """Return the schedules of `schedules` on a profile as `_mapped_to` leaves it."""
    counts = {c.node.id: c for c in count_actions(graph)}
    options: list[Schedule] = []
    failure: ProfileError | None = None
    for images in _group_sizes(batch):
        groups, rest = divmod(batch, images)
        try:
            whole = (images, images * groups)
            schedule = _schedule(graph, profile, counts, whole)
            if rest:
                last = _schedule(graph, profile, counts, (rest, rest))
                schedule = _joined(schedule, last)
            options.append(schedule)
        except ProfileError as error:
            failure = error
    if not options and failure is not None:
        raise failure
    return tuple(options)


def _group_sizes(batch: int) -> list[int]:
    """Return sizes to try: divisors, near-equal parts, 2^k, 3 and 6 up to the batch.

    The last are the same for all batches, so that what is best for a few images stays at hand.
    """
    divisors = {d for d in range(1, math.isqrt(batch) + 1) if batch % d == 0}
    parts = {-(-batch // n) for n in range(1, min(batch, _MAX_PARTS) + 1)}
    steps = {3, 6, *(1 << n for n in range(batch.bit_length()))}
    divisors |= {batch // d for d in divisors}
    return sorted(size for size in divisors | parts | steps if size <= batch)


def _joined(first: Schedule, last: Schedule) -> Schedule:
    """Return both schedules one after the other: counts, cycles and bytes add."""
    nodes = tuple(
        replace(
            a,
            priced=a.priced + b.priced,
            cycles={k: a.cycles.get(k, 0) + b.cycles.get(k, 0) for k in {**a.cycles, **b.cycles}},
            off_chip_bytes=a.off_chip_bytes + b.off_chip_bytes,
            fill_cycles=a.fill_cycles + b.fill_cycles,
        )
        for a, b in zip(first.nodes, last.nodes, strict=True)
    )
    scratch = max(first.scratch_bytes, last.scratch_bytes)
    return replace(first, nodes=nodes, scratch_bytes=scratch)


def unpriced(counts: Iterable[LayerCounts], profile: HardwareProfile) -> tuple[str, ...]:
    """Return what to say of each node whose op has no counts."""
    return tuple(
        message(c.node.describe(), c.node.op, f"an op that profile {profile.name!r} prices",
                "Pass allow_unpriced to leave it out of the totals.")
        for c in counts if c.actions is None
    )  # fmt: skip


def _schedule(
    graph: Graph, profile: HardwareProfile, counts: Mapping[int, LayerCounts],
    batching: tuple[int, int],
) -> Schedule:  # fmt: skip
    images, batch = batching
    layout, chip = lay_out(graph), profile.scope == "chip"
    holes = unpriced(counts.values(), profile)
    context = Context(graph, profile, counts, layout, None, images, batch // images)
    runs = [run_of(context, stage) for stage in layout.stages]
    if chip:
        context = replace(context, where=search(context, runs))
    plans: dict[int, NodePlan] = {}
    scratch = 0
    for position, run in enumerate(runs):
        stage_plans, tiles = _stage_plans(context, run, position)
        plans.update(stage_plans)
        scratch = max(scratch, tiles)
    for node in graph.nodes:
        if node.op in ON_READ:
            priced = _node_prices(context, node)
            plans[node.id] = NodePlan(counts[node.id], priced, {}, 0, 0, "on the way to the array")
    if not chip:
        holes += (f"memory and input/output: profile {profile.name!r} is arithmetic only",)
    elif off_chip(profile) is None and profile.io is None:
        holes += (f"input and output: profile {profile.name!r} has no off-chip memory and no io",)
    peak = layout.peak_bytes * images
    return Schedule(images, tuple(plans[n.id] for n in graph.nodes), scratch, peak, holes)


def _stage_plans(
    context: Context, run: Run | None, position: int
) -> tuple[dict[int, NodePlan], int]:
    """Return the plan of every node of a stage, and the bytes of its tiles."""
    stage = context.layout.stages[position]
    head = stage.head
    cycles, text, tiles, fill = dict[str, int](), "", 0, 0
    priced = {node.id: _node_prices(context, node) for node in stage.nodes}
    accesses = other_accesses(context, stage, position)
    if run is not None:
        choice = None
        if run.layer is not None and context.where is not None:
            choice = choose(context, context.where, position, run.layer)
            accesses = choice.order.accesses + accesses
            tiles = choice.tile_bytes
        cycles, text = _mac_stage(context, stage, run, choice, priced[head.id])
        fill = (context.profile.array.rows + context.profile.array.columns) * context.repeats
    for (memory, verb, category), number in accesses.items():
        priced[head.id][f"{memory}.{verb}", category] += number * context.repeats
    later = sum(_elements(context.graph, n) for n in stage.nodes)
    if stage.weights is not None:
        later -= context.graph.result(head).size
    busy = -(-later * context.images // context.profile.array.columns)
    cycles = {**cycles, "elementwise": busy, **memory_cycles(context.profile, accesses)}
    edge = io_bits(context, stage)
    if edge and context.profile.io is not None and off_chip(context.profile) is None:
        priced[head.id]["io", IO] += edge * context.repeats
    plans = {}
    for node in stage.nodes:
        first = node is head
        plans[node.id] = NodePlan(
            counts=context.counts[node.id],
            priced=priced[node.id],
            cycles={k: v * context.repeats for k, v in cycles.items()} if first else {},
            off_chip_bytes=off_chip_bytes(context, accesses) if first else 0,
            fill_cycles=fill if first else 0,
            mapping=text if first else f"in the output stage of {head.name}",
        )
    return plans, tiles


def _elements(graph: Graph, node: Node) -> int:
    """Return how many elements pass a lane: a pool or average takes in every one, bits by words."""
    if node.op not in ("MaxPool", "AvgPool", "GlobalAvgPool", "InputScale"):
        return graph.result(node).size
    taken = graph.activation(node)
    return -(-taken.size // WORD_BITS) if taken.dtype == BIT else taken.size


def _node_prices(context: Context, node: Node) -> Priced:
    """Return the priced operations of a node without MACs, for the batch."""
    priced: Priced = Counter()
    counts, profile = context.counts[node.id], context.profile
    if counts.operands is not None or not counts.actions:
        return priced
    batch = context.images * context.repeats
    for action, number in counts.actions.items():
        if action.verb == "draw":
            priced["rng.energy", "rng"] += draw_bits(profile, action.dtype, number * batch, node)
            continue
        category = "packing" if action.verb == "pack" else NODE_CATEGORY[node.op]
        for name, factor in action_prices(profile, action):
            priced[name, category] += factor * number * batch
    return priced


def draw_bits(profile: HardwareProfile, dtype: str, draws: int, node: Node) -> int:
    """Return the random bits of ``draws``: all n, or the 2 - 2^(1 - n) that a lazy draw looks at.

    With ``skip_saturated`` only the unsaturated share draws at all. Fractions are rounded up.

    Raises
    ------
    ProfileError
        If the profile has no random number generator.
    """
    if profile.rng is None:
        place = f"{node.describe()}: profile {profile.name!r}: rng"
        raise ProfileError(message(place, None, "a generator for stochastic nodes", "Add 'rng:'."))
    bits = int(dtype.removeprefix("uint"))
    if profile.rng.skip_saturated:
        draws = math.ceil(draws * profile.rng.unsaturated)
    if not profile.rng.lazy:
        return draws * bits
    return -(-draws * (2**bits - 1) // 2 ** (bits - 1))


def _mac_stage(
    context: Context, stage: Stage, run: Run, choice: Choice | None, priced: Priced
) -> tuple[dict[str, int], str]:
    """Price a Dense or Conv2d into ``priced``; return its cycles and its mapping in words."""
    profile, node, loops, how = context.profile, stage.head, run.loops, run.execution
    operands = context.counts[node.id].operands
    assert operands is not None
    taps, channels = loops.kernel[0] * loops.kernel[1], loops.channels_in
    outputs = context.graph.result(node).size * context.images * context.repeats
    for name, number in mac_prices(profile, how, outputs, taps, channels).items():
        priced[name, "compute"] += number
    passes = -(-loops.channels_out // profile.array.columns)
    cycles = loops.groups * passes * loops.pixels * how.cycles
    note = "" if how.pair == operands.pair else f" (run as {how.pair})"
    if choice is None:
        steps = len(k_steps(profile.array, how, taps, channels))
        return {"compute": cycles * steps}, f"compute only{note}"
    cycles *= sum(map(len, choice.nest.steps))
    return {"compute": cycles}, f"{choice.nest.tiling}; {choice.order.name} at the array{note}"
