"""``latency_model: kernels``: a CPU, GPU or microcontroller runs kernels one after the other.

    time of a call  = launch + the longest of compute and each level
    compute         = MACs of the busiest unit / (MACs per cycle x clock)
                      + elementwise operations / (units x operations per cycle x clock)
    level           = bytes through it / bandwidth

A unit takes whole tiles of pixels x channels, and dot products in whole granules. A layer's kernel
takes the nodes of its output stage with it (``epilogue: fused``) or leaves each to a kernel of its
own; ``convolution: im2col`` writes the windows in a kernel before it.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace

from bnnsim.cost.actions import Action, count_actions
from bnnsim.cost.calls import LAUNCH, Call
from bnnsim.cost.context import Context
from bnnsim.cost.datapath import Execution, execution
from bnnsim.cost.hardware import Constant, HardwareProfile, Kernels
from bnnsim.cost.kernel_traffic import Homes, Moved, level_bytes
from bnnsim.cost.mapping import Loops
from bnnsim.cost.nests import loops_of
from bnnsim.cost.profile_kernels import OPERATIONS
from bnnsim.cost.schedule import NODE_CATEGORY, NodePlan, Priced, Schedule, unpriced
from bnnsim.cost.stages import ON_READ, Layout, Stage, stored_bytes
from bnnsim.cost.traffic import ACTIVATIONS, WEIGHTS
from bnnsim.errors import ProfileError, message
from bnnsim.graph.dtypes import DType
from bnnsim.graph.ir import Graph, Node

COMPUTE, RANDBITS = "compute", "rng.energy"
_COUNTED = 32  # ones of the activations are counted in words of so many bits


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a node adds up to: its calls, its priced actions, and words for the mapping."""

    calls: tuple[Call, ...]
    priced: Priced
    text: str


def kernel_schedule(
    graph: Graph, layout: Layout, profile: HardwareProfile, batch: int, *, allow_unpriced: bool
) -> Schedule:
    """Return a batch on a processor.

    Raises
    ------
    ProfileError
        If an op, a pair or a type has no rate or, with ``energy: actions``, no energy; or if the
        last level cannot hold the network.
    """
    kernels = _kernels(profile)
    counts = {c.node.id: c for c in count_actions(graph)}
    images, times = (batch, 1) if kernels.batching == "together" else (1, batch)
    context = Context(graph, profile, counts, layout, None, images, times)
    missing = unpriced(counts.values(), profile)
    if missing and not allow_unpriced:
        raise ProfileError(missing[0])
    plans: dict[int, NodePlan] = {}
    scratch = 0
    for position, stage in enumerate(layout.stages):
        found = _stage_plans(context, stage, position)
        plans.update(found)
        scratch = max(scratch, _window_bytes(context, stage))
    for node in (n for n in graph.nodes if n.op in ON_READ):
        plans[node.id] = NodePlan(counts[node.id], Counter(), {}, 0, 0, "while operands are read")
    nodes = tuple(plans[node.id] for node in graph.nodes)
    holes = missing + _holes(profile, nodes, allow_unpriced)
    return Schedule(images, nodes, scratch, layout.peak_bytes * images, holes)


def _kernels(profile: HardwareProfile) -> Kernels:
    assert profile.kernels is not None  # only such profiles come here
    return profile.kernels


def _holes(
    profile: HardwareProfile, plans: tuple[NodePlan, ...], allow_unpriced: bool
) -> tuple[str, ...]:
    """Return what the energy leaves out; with ``energy: actions`` that is an error."""
    kernels = _kernels(profile)
    if kernels.energy == "none":
        return (f"energy: not estimated (profile {profile.name!r} states none that has a source)",)
    if kernels.energy == "power":
        return ()
    used = dict.fromkeys(name for plan in plans for (name, _), n in plan.priced.items() if n)
    bare = [key for key in map(energy_key, used) if key not in kernels.energies and key != LAUNCH]
    rule = f"an energy of {', '.join(dict.fromkeys(bare))}"
    said = message(f"profile {profile.name!r}: kernels.energies", None, rule,
                   "Add it with a source, or pass allow_unpriced.")  # fmt: skip
    if bare and not allow_unpriced:
        raise ProfileError(said)
    return (said,) if bare else ()


def energy_key(action: str) -> str:
    """Return the key under ``energies`` of a counted action, such as ``L2`` of ``L2.read``."""
    if action == RANDBITS:
        return "randbit"
    for start in ("macs.", "operations."):
        if action.startswith(start):
            return action.removeprefix(start)
    return action.removesuffix(".read").removesuffix(".write")


def _stage_plans(context: Context, stage: Stage, position: int) -> dict[int, NodePlan]:
    """Return the plan of every node of a stage."""
    kernels, head = _kernels(context.profile), stage.head
    fused = kernels.epilogue == "fused"
    inside = stage.nodes if fused else (head,)
    found = {head.id: _head_plan(context, stage, position, inside)}
    for node in stage.nodes[1:]:
        if fused:
            priced = _operations(context, node)[1]
            found[node.id] = _Plan((), priced, f"in the kernel of {head.name}")
        else:
            found[node.id] = _own_kernel(context, stage, node, position)
    return {key: _node_plan(context, key, plan) for key, plan in found.items()}


def _node_plan(context: Context, node_id: int, plan: _Plan) -> NodePlan:
    kernels = _kernels(context.profile)
    outer = [level for level in kernels.levels if level.kind == "dram"]
    lines = sum(
        plan.priced[name, category] * level.line_bits // 8
        for level in outer for name, category in plan.priced
        if name in (f"{level.name}.read", f"{level.name}.write")
    )  # fmt: skip
    return NodePlan(context.counts[node_id], plan.priced, {}, lines, 0, plan.text, calls=plan.calls)


def _head_plan(context: Context, stage: Stage, position: int, inside: tuple[Node, ...]) -> _Plan:
    """Return the kernel of a stage, and before it that which writes the windows, if any."""
    profile, kernels = context.profile, _kernels(context.profile)
    work: list[tuple[Constant, float]] = []
    priced: Priced = Counter()
    for node in inside:
        done, own = _operations(context, node)
        work += done
        priced.update(own if node is stage.head else {})
    homes = _homes(context, stage, position)
    if stage.weights is None:
        moved = _plain(context, stage, inside[-1])
        return _Plan((_call(context, work, moved, homes, priced),), priced, "one kernel")
    loops = loops_of(context, stage.head)
    operands = context.counts[stage.head.id].operands
    assert operands is not None
    run = execution(profile, operands, loops.fan_in, stage.head.describe())
    work[:0] = _products(context, loops, run, priced)
    windows = _window_bytes(context, stage)
    moved = _layer_bytes(context, stage, loops, inside[-1], windows)
    calls: tuple[Call, ...] = (_call(context, work, moved, homes, priced),)
    if windows:
        unrolled = Moved(stored_bytes(stage.reads[0]) * context.images,
                         windows, 0, windows)  # fmt: skip
        calls = (_call(context, [], unrolled, homes, priced), *calls)
    return _Plan(calls, priced, _text(kernels, loops, run, operands.pair, bool(windows)))


def _text(kernels: Kernels, loops: Loops, run: Execution, pair: str, unrolled: bool) -> str:
    tiles = _tiles(kernels, loops)
    note = "" if run.pair == pair else f" (run as {run.pair})"
    ones = " by AND" if run.pair == "bit x bit" and kernels.bit_products == "and" else ""
    first = "windows written first, then " if unrolled else ""
    return (f"{first}{tiles:,} tiles of {kernels.tile_pixels} x {kernels.tile_channels} "
            f"on {kernels.units} unit{'s' * (kernels.units > 1)}{ones}{note}")  # fmt: skip


def _own_kernel(context: Context, stage: Stage, node: Node, position: int) -> _Plan:
    """Return the kernel of a node behind a layer that does not take it in."""
    graph = context.graph
    work, priced = _operations(context, node)
    tensors = [graph.tensor(name) for name in node.inputs]
    read = sum(stored_bytes(t) for t in tensors if not t.constant) * context.images
    held = sum(stored_bytes(t) for t in tensors if t.constant)
    wrote = stored_bytes(graph.result(node)) * context.images
    homes = replace(_homes(context, stage, position), activations=read + wrote)
    call = _call(context, work, Moved(read, read, 0, wrote, held), homes, priced)
    return _Plan((call,), priced, "one kernel")


def _homes(context: Context, stage: Stage, position: int) -> Homes:
    layout, images = context.layout, context.images
    live = sum(layout.live[position].values()) * images + _window_bytes(context, stage)
    everything = layout.weights_bytes + layout.parameters_bytes
    return Homes(live, layout.constant_bytes[position], layout.peak_bytes * images, everything)


def _window_bytes(context: Context, stage: Stage) -> int:
    """Return the bytes of the windows that im2col writes; none where a window is a pixel."""
    kernels = _kernels(context.profile)
    if stage.weights is None or kernels.convolution != "im2col" or stage.head.op != "Conv2d":
        return 0
    loops = loops_of(context, stage.head)
    if loops.kernel == (1, 1) and loops.stride == (1, 1):
        return 0
    return -(-loops.pixels * loops.fan_in * loops.groups * stage.reads[0].dtype.bits // 8)


def _layer_bytes(context: Context, stage: Stage, loops: Loops, last: Node, windows: int) -> Moved:
    """Return what the kernel of a Dense or Conv2d moves."""
    kernels, images = _kernels(context.profile), context.images
    assert stage.weights is not None
    bits = stage.reads[0].dtype.bits
    taken = -(-loops.pixels * loops.fan_in * loops.groups * bits // 8)
    fused = last is not stage.head or len(stage.nodes) == 1
    return Moved(
        inputs=windows or stored_bytes(stage.reads[0]) * images,
        window_inputs=taken,
        weights=stored_bytes(stage.weights),
        outputs=stored_bytes(stage.writes if fused else context.graph.result(stage.head)) * images,
        parameters=sum(map(stored_bytes, stage.parameters)) if fused else 0,
        operands=sum(map(stored_bytes, stage.operands)) * images if fused else 0,
        groups=loops.groups,
        input_passes=-(-loops.channels_out // kernels.tile_channels),
        weight_passes=-(-loops.pixels // kernels.tile_pixels),
    )


def _plain(context: Context, stage: Stage, last: Node) -> Moved:
    """Return what the kernel of a stage without weights moves."""
    read = sum(map(stored_bytes, stage.reads)) * context.images
    fused = last is not stage.head or len(stage.nodes) == 1
    wrote = stored_bytes(stage.writes if fused else context.graph.result(stage.head))
    held = sum(map(stored_bytes, stage.parameters)) if fused else 0
    return Moved(read, read, 0, wrote * context.images, held)


def _tiles(kernels: Kernels, loops: Loops) -> int:
    across = -(-loops.channels_out // kernels.tile_channels)
    return loops.groups * across * -(-loops.pixels // kernels.tile_pixels)


def _products(
    context: Context, loops: Loops, run: Execution, priced: Priced
) -> list[tuple[Constant, float]]:
    """Price the products of a layer; return the work of the busiest unit.

    Planes of bits are so many products. Where bits are multiplied by AND, the ones of the
    activations are counted as well, a word at a time.
    """
    profile, kernels = context.profile, _kernels(context.profile)
    table = kernels.depthwise if loops.channels_in == 1 < loops.groups else kernels.macs
    rate = table.get(run.pair, kernels.macs[run.pair])
    granule = kernels.granules[run.pair] if rate is kernels.macs[run.pair] else 1
    planes = run.operands.planes if run.pair == "bit x bit" else 1
    deep = loops.kernel[0] * loops.kernel[1] * granule * -(-loops.channels_in // granule) * planes
    tile = kernels.tile_pixels * kernels.tile_channels
    waves = -(-_tiles(kernels, loops) // kernels.units)
    done = _tiles(kernels, loops) * tile * deep
    priced[f"macs.{run.pair}", COMPUTE] += done * context.repeats
    work = [(rate, waves * tile * deep / profile.clock_hz)]
    if run.pair == "bit x bit" and kernels.bit_products == "and":
        read = loops.images * loops.rows_in * loops.columns_in * loops.channels_in * loops.groups
        words = math.ceil(read * run.operands.act.bits / _COUNTED)
        found = _operation(context.profile, "int32", "counting ones")
        priced[found.name, COMPUTE] += words * context.repeats
        work.append((found, words / (kernels.units * profile.clock_hz)))
    return work


def _operations(context: Context, node: Node) -> tuple[list[tuple[Constant, float]], Priced]:
    """Return the elementwise work of a node and its priced operations; none for MACs."""
    counts, kernels = context.counts[node.id], _kernels(context.profile)
    priced: Priced = Counter()
    work: list[tuple[Constant, float]] = []
    if counts.operands is not None:
        return work, priced
    for action, number in (counts.actions or {}).items():
        done = number * context.images
        constant, done = _rate(context.profile, action, done, node)
        category = {"pack": "packing", "draw": "rng"}.get(action.verb, NODE_CATEGORY.get(node.op))
        name = RANDBITS if action.verb == "draw" else constant.name
        priced[name, category or "elementwise"] += done * context.repeats
        work.append((constant, done / (kernels.units * context.profile.clock_hz)))
    return work, priced


def _rate(
    profile: HardwareProfile, action: Action, number: int, node: Node
) -> tuple[Constant, int]:
    """Return the rate of an action, and how often it happens: random bits one by one."""
    kernels = _kernels(profile)
    if action.verb != "draw":
        return _operation(profile, action.dtype, str(action)), number
    if kernels.randbits is None:
        place = f"{node.describe()}: profile {profile.name!r}: kernels.randbits"
        rule = "random bits per cycle for stochastic nodes"
        raise ProfileError(message(place, None, rule, "Add 'randbits:'."))
    return kernels.randbits, number * DType.parse(action.dtype).bits


def _operation(profile: HardwareProfile, dtype: str, what: str) -> Constant:
    """Return the rate of elementwise work on a type: the narrowest listed that is as wide."""
    listed = _kernels(profile).operations
    for name in _wide_enough(DType.parse(dtype)):
        if name in listed:
            return listed[name]
    place = f"profile {profile.name!r}: kernels.operations"
    rule = f"a rate for {what}: {' or '.join(_wide_enough(DType.parse(dtype)))}"
    raise ProfileError(message(place, ", ".join(listed), rule, "Add it with a source."))


def _wide_enough(dtype: DType) -> list[str]:
    if dtype.is_float:
        return [str(dtype)] + ["float32"] * (dtype.bits < DType.parse("float32").bits)
    integers = [name for name in OPERATIONS if not DType.parse(name).is_float]
    return [n for n in integers if DType.parse(n).bits >= dtype.bits] or integers[-1:]


def _call(
    context: Context, work: list[tuple[Constant, float]], moved: Moved, homes: Homes, priced: Priced
) -> Call:
    """Return one call with its traffic, which is priced in whole lines."""
    kernels = _kernels(context.profile)
    busy = {COMPUTE: tuple(work)}
    through = level_bytes(kernels, moved, homes, context.profile.name)
    for level in kernels.levels:
        read, weights, wrote = (-(-8 * n // level.line_bits) for n in through[level.name])
        for verb, category, lines in (("read", ACTIVATIONS, read), ("read", WEIGHTS, weights),
                                      ("write", ACTIVATIONS, wrote)):  # fmt: skip
            if lines:
                priced[f"{level.name}.{verb}", category] += lines * context.repeats
        busy[level.name] = ((level.bandwidth, (read + weights + wrote) * level.line_bits / 8),)
    if kernels.launch is not None:
        priced[LAUNCH, LAUNCH] += context.repeats
    return Call(busy, kernels.launch, context.repeats)
