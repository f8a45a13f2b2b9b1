"""A planned node, as the planner makes it and the executor runs it.

A step is compiled, numpy, or a view. A compiled one lists calls of kernels; what they read and
write are places, which segments.py puts into memory and one call into C runs. A numpy one is a
function of values. Planners build compiled steps with :class:`Recipe`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np

from bnnsim.engine import _kernels
from bnnsim.engine.dispatch import select
from bnnsim.engine.planes import reads_planes
from bnnsim.engine.values import BIT_GRID, Array, Buffer, Form, Value, form_of, grid_of
from bnnsim.graph.draws import Draws, needed
from bnnsim.graph.ir import Graph, Node, Tensor
from bnnsim.graph.ops import activations_of, normal_attrs

# A buffer: the tensor that it belongs to, and which it is of that tensor's; temporary ones of the
# step that makes a tensor are numbered on.
Place: TypeAlias = tuple[str, int]


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A call of a kernel with the places that it reads and writes, one or two of each."""

    call: _kernels.Call
    x: tuple[Place, ...]
    out: tuple[Place, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A planned node, or two that one kernel computes.

    Parameters
    ----------
    node : Node
    kernel : str
    run : callable, optional
        Of the values of the activations: the value of the output. Only of numpy steps.
    draw : callable, optional
        Of the activation and the random numbers, in the place of ``run``.
    first : Node, optional
        The node before ``node`` that the same kernel computes; its output is never stored.
    calls : tuple of PlannedCall
        Of compiled steps. None, without ``run`` and ``draw``: the output is its input, seen in
        another form or shape.
    temporary : mapping of Place to Buffer
        What the calls write for each other.
    """

    node: Node
    kernel: str
    run: Callable[..., Value] | None = None
    draw: Callable[[Any, Draws], Value] | None = None
    first: Node | None = None
    calls: tuple[PlannedCall, ...] = ()
    temporary: Mapping[Place, Buffer] = field(default_factory=dict)

    @property
    def reads(self) -> tuple[str, ...]:
        """The names of the step's activations, in the order that ``apply`` takes them."""
        return activations_of(self.first or self.node)

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The nodes that the step computes."""
        return (self.node,) if self.first is None else (self.first, self.node)

    @property
    def is_numpy(self) -> bool:
        """Whether the step is a function of values."""
        return self.run is not None or self.draw is not None

    @property
    def is_view(self) -> bool:
        """Whether the output is the input's memory."""
        return not self.is_numpy and not self.calls

    @property
    def draws(self) -> bool:
        """Whether the step needs random numbers."""
        return self.draw is not None or self.kernel.startswith("stochastic_pack")

    def apply(self, *values: Value, draws: Draws | None) -> Value:
        """Return the value of a numpy step's output."""
        if self.draw is not None:
            (x,) = values
            return self.draw(x, needed(self.node, draws))
        assert self.run is not None
        return self.run(*values)


@dataclass(frozen=True, slots=True)
class Held:
    """A tensor, or a temporary one, in the memory of a compiled step."""

    form: Form
    places: tuple[Place, ...]


@dataclass(slots=True)
class Recipe:
    """The calls of one compiled step, as a planner adds them up.

    Parameters
    ----------
    graph : Graph
    node : Node
        Its output is what the calls make.
    isa : str
    first : Node, optional
        The node before it that the same kernel computes; the step reads its inputs.
    """

    graph: Graph
    node: Node
    isa: str
    first: Node | None = None
    calls: list[PlannedCall] = field(default_factory=list)
    temporary: dict[Place, Buffer] = field(default_factory=dict)

    def read(self, index: int = 0) -> Held:
        """Return an activation of the step."""
        name = activations_of(self.first or self.node)[index]
        return _held(name, tensor_form(self.graph, name))

    @property
    def output(self) -> Held:
        """The output of the node."""
        return _held(self.node.output, tensor_form(self.graph, self.node.output))

    def scratch(self, form: Form) -> Held:
        """Return memory that lives while the step runs."""
        first = len(self.output.places) + len(self.temporary)
        held = _held(self.node.output, form, first)
        self.temporary.update(zip(held.places, form.buffers, strict=True))
        return held

    def call(self, op: str, x: Held, out: Held, *, x2: Held | None = None, **fields: Any) -> Held:
        """Add a kernel's call on one image, see ``_kernels.Call``; return ``out``."""
        call = _kernels.Call(op, self.isa, **fields)
        inputs = x.places if x2 is None else (*x.places, *x2.places)
        self.calls.append(PlannedCall(call, inputs, out.places))
        return out

    def by_pixel(self, op: str, x: Held, out: Held, **fields: Any) -> Held:
        """Add the call of a kernel that takes rows of channels, such as ``threshold_pack``."""
        rows, channels = x.form.rows, x.form.channels
        return self.call(op, x, out, M=rows, N=channels, **fields)

    def by_image(self, op: str, x: Held, out: Held, **fields: Any) -> Held:
        """Add the call of a kernel between arrays and planes, whose images lie apart."""
        sizes: dict[str, Any] = {"M": 1, "K": x.form.rows, "N": x.form.channels}
        return self.call(op, x, out, grid=x.form.grid or out.form.grid, **sizes, **fields)

    def planes(self, x: Held) -> Held:
        """Return a tensor of integers on a grid as planes; bits are one plane as they lie."""
        if x.form.kind == "bits":
            return Held(replace(x.form, kind="planes", grid=BIT_GRID), x.places)
        if x.form.kind == "planes":
            return x
        grid = grid_of(self.graph.tensor(activations_of(self.first or self.node)[0]).dtype)
        held = self.scratch(replace(x.form, kind="planes", grid=grid))
        return self.by_image("pack_planes", x, held, dtype=x.form.dtype)

    def dense(self, x: Held, dtype: np.dtype | None = None) -> Held:
        """Return a tensor of integers as an array, in ``dtype`` if that is given."""
        if x.form.kind == "bits":
            array = Form("array", x.form.shape, np.dtype(np.int8))
            x = self.by_pixel("unpack_bit", x, self.scratch(array))
        if x.form.kind == "planes":
            array = Form("array", x.form.shape, x.form.dtype)
            x = self.by_image("unpack_planes", x, self.scratch(array), out_dtype=array.dtype)
        assert x.form.kind == "array"
        if dtype is None or x.form.dtype == dtype:
            return x
        wider = self.scratch(Form("array", x.form.shape, dtype))
        return self.scale(x, wider, 1, np.zeros((1, x.form.channels), np.int32))

    def scale(self, x: Held, out: Held, mul: int, offset: Array) -> Held:
        """Write ``mul * x + offset``; offset has a row for every pixel, or one for all."""
        dtypes = {"dtype": x.form.dtype, "out_dtype": out.form.dtype}
        fields = {"weights": offset, "K": len(offset), "pad_value": mul}
        return self.by_pixel("scale_int", x, out, **fields, **dtypes)

    @property
    def unpacked(self) -> Held:
        """The output of the node if it is an array, or else an array for :meth:`deliver`."""
        form = self.output.form
        return self.output if form.kind == "array" else self.scratch(array_form(form))

    def deliver(self, made: Held) -> None:
        """Bring what :attr:`unpacked` gave into the form of the output."""
        if self.output.form.kind != "array":
            self.store(made)

    def store(self, levels: Held) -> Held:
        """Write an array to the output, which is of bits or planes."""
        if self.output.form.kind == "planes":
            return self.by_image("pack_planes", levels, self.output, dtype=levels.form.dtype)
        return self.by_pixel("pack_sign", levels, self.output, dtype=levels.form.dtype)

    def step(self, kernel: str) -> Step:
        """Return the step; traces name ``kernel``, an op."""
        name = select(kernel, self.isa).name if kernel != "view" else kernel
        calls = tuple(self.calls)
        return Step(self.node, name, first=self.first, calls=calls, temporary=self.temporary)


def array_form(form: Form) -> Form:
    """Return the form of the same elements as an array."""
    return Form("array", form.shape, form.dtype)


def _held(name: str, form: Form, first: int = 0) -> Held:
    return Held(form, tuple((name, first + i) for i in range(len(form.buffers))))


def tensor_form(graph: Graph, name: str) -> Form:
    """Return how an activation lies in memory.

    Pixels stay bytes until sums are formed of them; levels that only products of planes read are
    planes.
    """
    tensor, producer = graph.tensor(name), graph.producer(name)
    if producer is not None and producer.op == "Flatten":
        image = tensor_form(graph, producer.inputs[0])
        if image.kind == "pixels":
            return replace(image, shape=tensor.shape)
    affine = None if producer is None else affine_pixels(graph, producer)
    if affine is None:
        form = form_of(tensor.dtype, tensor.shape)
        if form.kind == "array" and grid_of(tensor.dtype) and reads_planes(graph, name):
            return replace(form, kind="planes", grid=grid_of(tensor.dtype))
        return form
    return Form("pixels", tensor.shape, tensor.dtype.numpy, *affine)


def affine_pixels(graph: Graph, node: Node) -> tuple[int, int] | None:
    """Return (mul, add) if an Encode maps byte p to the integer ``mul * p + add``, else None."""
    dtype = graph.result(node).dtype
    if node.op != "Encode" or dtype.is_light or not dtype.is_integer or dtype.numpy.itemsize == 1:
        return None
    table = constant(graph, node, 1)
    mul, add = int(table[1]) - int(table[0]), int(table[0])
    same = (table == mul * np.arange(len(table)) + add).all()
    return (mul, add) if same else None


def constant(graph: Graph, node: Node, index: int) -> Array:
    """Return the data of a constant input of a node."""
    data = graph.tensor(node.inputs[index]).data
    assert data is not None  # reference.check_weights
    return data


def fan_in(weight: Tensor) -> int:
    """Return how many products one output of a weight sums."""
    return weight.size // weight.shape[0]


def product_fields(graph: Graph, node: Node) -> dict[str, Any]:
    """Return the sizes of a Dense or Conv2d as a call takes them."""
    x, weight = graph.activation(node), graph.tensor(node.inputs[1])
    if node.op == "Dense":
        return {"M": 1, "N": weight.shape[0], "K": weight.shape[1]}
    attrs = normal_attrs(node)
    window = {name: attrs[name] for name in ("stride", "dilation", "pads", "groups")}
    window |= {"image": x.shape[:2], "kernel": weight.shape[1:3]}
    window |= {"channels": x.shape[2], "out_channels": weight.shape[0]}
    return {"window": window, "pad_value": attrs["pad_value"]}
