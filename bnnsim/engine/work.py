"""What the kernels of a run did: work counted from the shapes that each was really called with.

These counts know nothing of the cost model. They are taken call by call, from the values that went
in and came out, so that the model's predictions can be held against them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from types import MappingProxyType

import numpy as np

from bnnsim.engine.step import Step
from bnnsim.engine.values import Bits, Value, bytes_of, shape_of
from bnnsim.graph.draws import is_stochastic, rng_bits
from bnnsim.graph.dtypes import BIT
from bnnsim.graph.ir import Graph, Node
from bnnsim.graph.ops import normal_attrs

Done = dict[str, int]
Shapes = tuple[tuple[int, ...], tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Work:
    """What one node's kernel did in a whole run.

    Parameters
    ----------
    name : str
    id : int
    op, kernel : str
    calls : int
        One for each tile of the batch and sample.
    bytes_read, bytes_written : int
        Activations as they lie in memory, packed to words; weights are not in it.
    done : mapping of str to int
        ``mac`` (padding counted) and ``mac_valid`` (taps inside the image), ``compare``, ``gate``
        (of two bits), ``add``, ``pack`` (of one bit), ``draw`` and ``random_bits``; empty for ops
        that have no rule here.
    """

    name: str
    id: int
    op: str
    kernel: str
    calls: int
    bytes_read: int
    bytes_written: int
    done: Mapping[str, int]


class WorkCounter:
    """Watch a run (see :class:`bnnsim.engine.execute.Plan`) and add up what its kernels do."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._steps: dict[int, Step] = {}
        self._totals: Counter[tuple[int, str]] = Counter()
        self._lock = Lock()

    def __call__(self, first: int, step: Step, operands: Sequence[Value], made: Value) -> None:
        """Count one call of a step."""
        found = {
            "calls": 1,
            "bytes_read": sum(map(bytes_of, operands)),
            "bytes_written": bytes_of(made),
            **_done(self._graph, step.node, operands, made),
        }
        with self._lock:
            self._steps[step.node.id] = step
            for what, number in found.items():
                self._totals[step.node.id, what] += number

    def result(self) -> tuple[Work, ...]:
        """Return the work of every node that ran, in execution order."""
        return tuple(self._work(self._steps[node.id]) for node in self._graph.nodes
                     if node.id in self._steps)  # fmt: skip

    def _work(self, step: Step) -> Work:
        node = step.node
        totals = {what: n for (id_, what), n in self._totals.items() if id_ == node.id}
        calls, read, written = (totals.pop(k) for k in ("calls", "bytes_read", "bytes_written"))
        return Work(node.name, node.id, node.op, step.kernel, calls, read, written, totals)


def _done(graph: Graph, node: Node, operands: Sequence[Value], made: Value) -> Done:
    rule = _RULES.get(node.op)
    if rule is None:
        return {}
    done = rule(graph, node, (shape_of(operands[0]), shape_of(made)))
    if isinstance(made, Bits) and node.op in ("Quantize", "Threshold"):
        done["pack"] = math.prod(shape_of(made))
    return done


def _dense(graph: Graph, node: Node, shapes: Shapes) -> Done:
    x, out = shapes
    return dict.fromkeys(("mac", "mac_valid"), math.prod(out) * x[-1])


def _conv2d(graph: Graph, node: Node, shapes: Shapes) -> Done:
    x, out = shapes
    _, *kernel, channels = graph.tensor(node.inputs[1]).shape
    attrs = normal_attrs(node)
    inside = _inside(x, out, tuple(kernel), attrs["stride"], attrs["dilation"], attrs["pads"])
    return {
        "mac": math.prod(out) * math.prod(kernel) * channels,
        "mac_valid": out[0] * inside * channels * out[3],
    }


def _max_pool(graph: Graph, node: Node, shapes: Shapes) -> Done:
    x, out = shapes
    attrs = normal_attrs(node)
    inside = _inside(x, out, attrs["kernel"], attrs["stride"], (1, 1), attrs["pads"])
    verb = "gate" if graph.result(node).dtype == BIT else "compare"
    return {verb: out[0] * inside * out[3] - math.prod(out)}


def _inside(
    x: tuple[int, ...], out: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...],
    dilation: tuple[int, ...], pads: tuple[int, ...],
) -> int:  # fmt: skip
    """Return how many (output pixel, tap) pairs of one image read a pixel inside it."""
    found = 1
    for a in (0, 1):
        at = np.arange(out[1 + a])[:, None] * stride[a] - pads[a]
        read = at + np.arange(kernel[a]) * dilation[a]
        found *= int(((read >= 0) & (read < x[1 + a])).sum())
    return found


def _threshold(graph: Graph, node: Node, shapes: Shapes) -> Done:
    return {"compare": math.prod(shapes[0]) * graph.tensor(node.inputs[1]).shape[1]}


def _quantize(graph: Graph, node: Node, shapes: Shapes) -> Done:
    elements = math.prod(shapes[0])
    if graph.result(node).dtype != BIT:
        return {}
    if not is_stochastic(node):
        return {"compare": elements}
    return {"compare": elements, "draw": elements, "random_bits": elements * rng_bits(node)}


def _add(graph: Graph, node: Node, shapes: Shapes) -> Done:
    return {"add": math.prod(shapes[1])}


_RULES: Mapping[str, Callable[[Graph, Node, Shapes], Done]] = MappingProxyType(
    {
        "Dense": _dense,
        "Conv2d": _conv2d,
        "MaxPool": _max_pool,
        "Threshold": _threshold,
        "Quantize": _quantize,
        "Add": _add,
    }
)
