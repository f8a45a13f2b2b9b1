"""``latency_model: pipeline``: every layer a stage of PE x SIMD lanes, all running at once.

    cycles of a stage per image = ceil(MH / PE) x ceil(MW / SIMD) x output pixels x groups
    interval between results    = the slowest of all stages, input and output
    latency of a batch          = first result + (batch - 1) x interval

The first result is `bnnsim.cost.streaming`'s recurrence over rows. A layer's latency is how much
later its last row leaves than that of all layers before; the slowest stage also has the
(batch - 1) intervals. So the layers' latencies add up to the batch's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from bnnsim.cost.actions import LayerCounts, count_actions, encoded_bits
from bnnsim.cost.hardware import HardwareProfile, Pipeline
from bnnsim.cost.lanes import cycles, foldings
from bnnsim.cost.schedule import NodePlan, Schedule
from bnnsim.cost.stages import Layout
from bnnsim.cost.streaming import arrivals, departures
from bnnsim.errors import ProfileError, message
from bnnsim.graph.folding import Folding, layers_of
from bnnsim.graph.ir import Graph, Node
from bnnsim.graph.ops import normal_attrs

_INPUT, _OUTPUT = "input", "output"
_ENCODING = frozenset({"Encode", "FromGrid"})


@dataclass(frozen=True, slots=True)
class Timing:
    """One image through the stages.

    Parameters
    ----------
    folding : mapping of str to Folding
        By node name.
    derived : bool
        Whether the profile's lanes were shared out, instead of a folding given with the source.
    busy : mapping of str to int
        Cycles per image of ``input``, each stage by node name, and ``output``, in this order.
    last : mapping of str to int
        By node name: the cycle at which the stage's last row leaves; and that of ``output``.
    """

    folding: Mapping[str, Folding]
    derived: bool
    busy: Mapping[str, int]
    last: Mapping[str, int]

    @property
    def interval(self) -> int:
        """Cycles from one result to the next."""
        return max(self.busy.values())

    @property
    def slowest(self) -> str:
        """The first that takes as long as the interval."""
        return max(self.busy, key=lambda name: self.busy[name])


def time_image(graph: Graph, profile: HardwareProfile) -> Timing:
    """Return the folding and the cycles of one image.

    Raises
    ------
    ProfileError, GraphError
        If a stage cannot take a layer's operands, an op has no rule, or a folding does not fit.
    """
    machine = _machine(profile)
    counts = {c.node.name: c for c in count_actions(graph)}
    layers = layers_of(graph)
    for node in graph.nodes:
        _check(graph, profile, node, counts[node.name])
    bits = {name: _stream_bits(graph, machine, name) for name in graph.inputs}
    sent = sum(graph.tensor(name).bits for name in graph.outputs)
    edge = {_INPUT: -(-sum(bits.values()) // machine.bus_bits),
            _OUTPUT: -(-sent // machine.bus_bits)}  # fmt: skip
    repeats = {n.name: _repeats(graph, machine, n, counts[n.name]) for n in layers}
    folding, derived = foldings(graph, repeats, machine.lanes, max(edge.values()), profile.name)
    busy = {n.name: cycles(folding[n.name], repeats[n.name]) for n in layers}
    rows = {n.name: busy[n.name] // _rows(graph, n) for n in layers}
    times = arrivals(graph, bits, machine.bus_bits, rows)
    gone = [departures(graph, times[n], n, machine.bus_bits)[-1] for n in graph.outputs]
    last = {n.name: int(times[n.output][-1]) for n in layers}
    busy = {_INPUT: edge[_INPUT], **busy, _OUTPUT: edge[_OUTPUT]}
    return Timing(folding, derived, busy, {**last, _OUTPUT: int(max(gone))})


def pipeline_schedule(
    graph: Graph, layout: Layout, profile: HardwareProfile, batch: int
) -> Schedule:
    """Return a batch on a streaming profile.

    Raises
    ------
    ProfileError, GraphError
        As `time_image`; also if weights and line buffers do not fit the memory.
    """
    timing, machine = time_image(graph, profile), _machine(profile)
    buffers = sum(_buffer_bytes(graph, node) for node in graph.nodes)
    _check_memory(layout, profile, buffers)
    steady = (batch - 1) * timing.interval
    waits = _waits(graph, timing, steady)
    moved = sum(_stream_bits(graph, machine, name) for name in graph.inputs)
    moved += sum(graph.tensor(name).bits for name in graph.outputs)
    plans, stage = [], _INPUT
    for counts in count_actions(graph):
        node = counts.node
        if node.name in timing.folding:
            stage = node.name
            text = _mapping(timing, node.name)
        else:
            text = f"in the stream after {stage}"
        edge = -(-moved // 8) * batch if node is graph.nodes[0] else 0
        plans.append(
            NodePlan(
                counts, Counter(), waits.get(node.name, {}), edge, 0, text,
                macs_per_cycle=_macs_per_cycle(timing, machine, counts),
            )
        )  # fmt: skip
    return Schedule(1, tuple(plans), 0, buffers, _holes(profile), steady)


def _machine(profile: HardwareProfile) -> Pipeline:
    assert profile.pipeline is not None  # only such profiles come here
    return profile.pipeline


def _waits(graph: Graph, timing: Timing, steady: int) -> dict[str, dict[str, int]]:
    """Return by node, and by what bounds it there, the cycles that it adds to the batch."""
    names = list(timing.folding) or [node.name for node in graph.nodes[:1]]
    slow = timing.slowest if timing.slowest in names else None
    holder = slow or (names[0] if timing.slowest == _INPUT else names[-1])
    found: dict[str, dict[str, int]] = {}
    until, slowest = 0, _INPUT
    for name in names:
        if timing.busy.get(name, 0) > timing.busy[slowest]:
            slowest = name
        # Rows that nothing needs may be made after the result has left.
        end = min(timing.last.get(name, 0), timing.last[_OUTPUT])
        if name == names[-1]:
            end = timing.last[_OUTPUT]
            slowest = _OUTPUT if timing.busy[_OUTPUT] > timing.busy[slowest] else slowest
        added = max(0, end - until) + (steady if name == holder else 0)
        found[name] = {slowest if slowest in (_INPUT, _OUTPUT) else f"stage {slowest}": added}
        until = max(until, end)
    return found


def _mapping(timing: Timing, name: str) -> str:
    f, own = timing.folding[name], timing.busy[name]
    how = ", derived" if timing.derived else ""
    return (f"PE {f.pe} x SIMD {f.simd}{how}: {f.row_folds} x {f.column_folds} folds, "
            f"{own:,} cycles an image")  # fmt: skip


def _macs_per_cycle(timing: Timing, machine: Pipeline, counts: LayerCounts) -> float:
    """Return what the lanes of a stage do with no fold ragged; 0 for what is no stage."""
    if counts.operands is None:
        return 0.0
    own = timing.folding[counts.node.name]
    serial = counts.operands.act.bits if machine.operands == "serial" else 1
    return own.pe * own.simd / serial


def _holes(profile: HardwareProfile) -> tuple[str, ...]:
    if profile.static:
        return ()
    return (f"energy: not estimated (profile {profile.name!r} states none that has a source)",)


def _stream_bits(graph: Graph, machine: Pipeline, name: str) -> int:
    """Return the bits of one image's input that the bus carries."""
    tensor, readers = graph.tensor(name), graph.consumers(name)
    if machine.encode == "chip" or any(node.op not in _ENCODING for node in readers):
        return tensor.bits
    pixels = encoded_bits(graph)
    return max(t.size * pixels.get(t.name, t.dtype.bits) for t in map(graph.result, readers))


def _repeats(graph: Graph, machine: Pipeline, node: Node, counts: LayerCounts) -> int:
    """Return how often the layer's matrix is passed per image."""
    assert counts.operands is not None
    out = graph.result(node).shape
    pixels = out[0] * out[1] if node.op == "Conv2d" else 1
    groups = normal_attrs(node)["groups"] if node.op == "Conv2d" else 1
    serial = counts.operands.act.bits if machine.operands == "serial" else 1
    return int(pixels * groups * serial)


def _rows(graph: Graph, node: Node) -> int:
    return graph.result(node).shape[0] if node.op == "Conv2d" else 1


def _check(graph: Graph, profile: HardwareProfile, node: Node, counts: LayerCounts) -> None:
    """Refuse what no stage can take: floats, integers too wide, random draws."""
    machine = _machine(profile)
    place = f"{node.describe()}: profile {profile.name!r}"
    if node.op == "Quantize" and node.attrs.get("quantizer") == "stochastic_sign":
        rule = "deterministic activations: this profile has no random numbers"
        raise ProfileError(message(place, "stochastic_sign", rule))
    if counts.operands is None:
        return
    pair = (("activations", counts.operands.act, machine.activation_bits),
            ("weights", counts.operands.weight, machine.weight_bits))  # fmt: skip
    for what, dtype, most in pair:
        if dtype.is_float or dtype.bits > most:
            rule = f"integer {what} of at most {most} bits (pipeline.{what[:-1]}_bits)"
            raise ProfileError(message(place, str(dtype), rule, "Choose another mode or profile."))


def _buffer_bytes(graph: Graph, node: Node) -> int:
    """Return what a stage keeps of its input: a vector, or the rows under its windows and stride.

    As slidingwindow.h: (kernel / stride + 1) blocks of stride rows. A pool keeps one pooled row.
    """
    x = graph.activation(node)
    if node.op == "Dense":
        return -(-x.bits // 8)
    if node.op == "Conv2d":
        kernel, stride = graph.tensor(node.inputs[1]).shape[1], normal_attrs(node)["stride"][0]
        return -(-min(kernel + stride, x.shape[0]) * (x.bits // x.shape[0]) // 8)
    if node.op in ("MaxPool", "AvgPool"):
        result = graph.result(node)
        return -(-result.bits // result.shape[0] // 8)
    return 0


def _check_memory(layout: Layout, profile: HardwareProfile, buffers: int) -> None:
    needed = layout.weights_bytes + layout.parameters_bytes + buffers
    room = _machine(profile).memory_bytes
    if needed > room:
        place = f"profile {profile.name!r}: pipeline.memory"
        rule = f"weights, thresholds and line buffers of at most {room} bytes"
        remedy = "Choose a larger chip or a smaller network: a pipeline keeps all of it on chip."
        raise ProfileError(message(place, f"{needed} bytes", rule, remedy))
