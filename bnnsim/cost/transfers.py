"""Memory accesses of a stage outside its loop nest: plain passes, parameters, the chip's edge."""

from __future__ import annotations

from collections import Counter

from bnnsim.cost.context import Context
from bnnsim.cost.hardware import HardwareProfile
from bnnsim.cost.memory import home, off_chip
from bnnsim.cost.stages import Stage, stored_bytes
from bnnsim.cost.traffic import ACTIVATIONS, IO, WEIGHTS, Accesses, move, words
from bnnsim.graph.ir import Node, Tensor
from bnnsim.graph.ops import normal_attrs


def other_accesses(context: Context, stage: Stage, position: int) -> Accesses:
    """Return the accesses of a stage outside its loop nest for one group of images."""
    if context.where is None:
        return Counter()
    found = operand_accesses(context, stage) if stage.weights else plain_accesses(context, stage)
    found.update(edge_accesses(context, stage))
    found.update(parameter_accesses(context, stage, position))
    return found


def plain_accesses(context: Context, stage: Stage) -> Accesses:
    """Return the accesses of a stage without MACs: every input read once, the result written."""
    found: Accesses = Counter()
    runs = _slice_runs(context, stage.head)
    for tensor in stage.reads:
        cut = runs if tensor is stage.reads[0] else None
        found.update(_whole(context, tensor, "read", context.graph.inputs, cut))
    for tensor in (stage.writes, *stage.maps):
        found.update(_whole(context, tensor, "write", context.graph.outputs))
    return found


def operand_accesses(context: Context, stage: Stage) -> Accesses:
    """Return what the output stage of a layer reads to add or multiply, and its scale maps."""
    found: Accesses = Counter()
    if context.where is not None:
        for tensor in stage.operands:
            found.update(_whole(context, tensor, "read", context.graph.inputs))
        for tensor in stage.maps:
            found.update(_whole(context, tensor, "write", context.graph.outputs))
    return found


def _slice_runs(context: Context, head: Node) -> tuple[int, int] | None:
    """Return (runs, elements of each) that a Slice reads: what lies together in memory, or None.

    Whole rows lie together where only rows are left out; else the channels of one pixel do. A step
    over channels reads what is between as well.
    """
    if head.op != "Slice":
        return None
    attrs, out, x = normal_attrs(head), context.graph.result(head), context.graph.activation(head)
    rows, columns, channels = out.shape
    span = (channels - 1) * attrs["step"][2] + 1
    if attrs["step"][1] == 1 and span == x.shape[2]:
        return rows, columns * span
    return rows * columns, span


def _whole(
    context: Context,
    tensor: Tensor,
    verb: str,
    edge: tuple[str, ...],
    runs: tuple[int, int] | None = None,
) -> Accesses:
    """Return the accesses of a tensor of all images in flight, or of runs of its elements."""
    where, profile = context.where, context.profile
    off = where is not None and tensor.name in where.spilled
    memory = off_chip(profile) if off else home(profile, "activations") or off_chip(profile)
    if memory is None:
        return Counter()
    category = IO if memory.off_chip and tensor.name in edge else ACTIVATIONS
    number = words(tensor.bits * context.images, memory)
    if runs is not None:
        number = context.images * runs[0] * words(runs[1] * tensor.dtype.bits, memory)
    return Counter({(memory.name, verb, category): number})


def edge_accesses(context: Context, stage: Stage) -> Accesses:
    """Return the copies of resident graph inputs and outputs across the chip's edge."""
    outer, chip = off_chip(context.profile), home(context.profile, "activations")
    found: Accesses = Counter()
    if context.where is None or outer is None or chip is None:
        return found
    for tensor in new_inputs(context, stage):
        if tensor.name not in context.where.spilled:
            found += move(tensor.bits * context.images, outer, chip, IO, ACTIVATIONS)
    out = stage.writes
    if out.name in context.graph.outputs and out.name not in context.where.spilled:
        found += move(out.bits * context.images, chip, outer, ACTIVATIONS, IO)
    return found


def new_inputs(context: Context, stage: Stage) -> list[Tensor]:
    """Return the graph inputs that this stage is the first to read."""
    first, stages = context.layout.first_readers, context.layout.stages
    inputs = context.graph.inputs
    return [t for t in stage.reads if t.name in inputs and stages[first[t.name]] is stage]


def io_bits(context: Context, stage: Stage) -> int:
    """Return the bits of graph inputs and outputs that this stage brings in or sends out."""
    sent = [stage.writes] if stage.writes.name in context.graph.outputs else []
    return sum(t.bits for t in (*new_inputs(context, stage), *sent)) * context.images


def parameter_accesses(context: Context, stage: Stage, position: int) -> Accesses:
    """Return one read of thresholds, scales and biases per group, from off chip if not kept."""
    found: Accesses = Counter()
    if context.where is None:
        return found
    bits = 8 * sum(map(stored_bytes, stage.parameters))
    chip, outer = home(context.profile, "weights"), off_chip(context.profile)
    if bits and chip is not None:
        if outer is not None and position not in context.where.pinned:
            found += move(bits, outer, chip, WEIGHTS, WEIGHTS)
        found[chip.name, "read", WEIGHTS] += words(bits, chip)
    elif bits and outer is not None:
        found[outer.name, "read", WEIGHTS] += words(bits, outer)
    return found


def memory_cycles(profile: HardwareProfile, accesses: Accesses) -> dict[str, int]:
    """Return the cycles that the ports of each on-chip memory are busy."""
    cycles = {}
    for memory in (m for m in profile.memories if not m.off_chip):
        reads, writes = (
            sum(n for (name, v, _), n in accesses.items() if name == memory.name and v == verb)
            for verb in ("read", "write")
        )
        if memory.shared_ports:
            busy = -(-(reads + writes) // (memory.shared_ports * memory.banks))
        else:
            busy = max(-(-reads // (memory.read_ports * memory.banks)),
                       -(-writes // (memory.write_ports * memory.banks)))  # fmt: skip
        cycles[memory.name] = busy
    return cycles


def off_chip_bytes(context: Context, accesses: Accesses) -> int:
    """Return the bytes that the batch moves across the chip's edge in whole bursts."""
    outer = off_chip(context.profile)
    if outer is None:
        return 0
    bursts = sum(n for (name, _, _), n in accesses.items() if name == outer.name)
    return bursts * outer.word_bits // 8 * context.repeats
