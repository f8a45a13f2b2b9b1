"""The layers of a Keras model and who reads whom, from its config alone."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bnnsim.errors import SourceError, message
from bnnsim.frontends.keras_fields import Fields

_MAX_LAYERS = 20_000
_CHAIN, _GRAPHS = "Sequential", ("Functional", "Model")
_INPUT = "InputLayer"
_OURS = "Larq>"  # the package under which some versions of larq register their classes
_HARMLESS = ("training", "mask", "name")  # arguments of calls that change nothing in inference

Key = tuple[str, int]  # a layer's name, and which of its calls


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """A layer as the file describes it.

    Parameters
    ----------
    name, kind : str
        Its name, and its class without the package that registered it.
    fields : Fields
        Its config.
    slot : str
        Where ``model.weights.h5`` keeps its weights: the class in snake case, numbered.
    """

    name: str
    kind: str
    fields: Fields
    slot: str


@dataclass(frozen=True, slots=True)
class LayerCall:
    """One use of a layer: what it reads, in order."""

    layer: Layer
    reads: tuple[Key, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """A model with one input and one output: its calls, each after those that it reads."""

    name: str
    calls: Mapping[Key, LayerCall]
    source: Key
    output: Key


def read_model(config: Any, where: str) -> Model:
    """Return the model that a config describes.

    Raises
    ------
    SourceError
        Naming the file, the layer, the entry, what it holds and the rule.
    """
    if not isinstance(config, dict):
        raise SourceError(message(f"{where}: config", type(config).__name__, "an object"))
    root = Fields(f"{where}: config", config)
    kind = root.text("class_name")
    if kind not in (_CHAIN, *_GRAPHS):
        rule = "a Sequential or Functional model"
        remedy = "A subclassed model is code, not data: rebuild it as a functional one."
        raise root.refused("class_name", kind, rule, remedy)
    inner = root.get("config")
    fields = (
        Fields(root.where, {"layers": inner}) if isinstance(inner, list) else root.inner("config")
    )
    layers = _layers(fields, where)
    name = fields.get("name", kind)
    read = _chain if kind == _CHAIN else _functional
    calls, source, output = read(fields, layers)
    ordered = {key: calls[key] for key in _order(calls, output, where)}
    return Model(name if isinstance(name, str) and name else kind, ordered, source, output)


def _layers(fields: Fields, where: str) -> list[tuple[Layer, Fields]]:
    """Return every layer with its entry, which a functional model keeps its links in."""
    entries = fields.get("layers")
    if not isinstance(entries, list) or not 1 <= len(entries) <= _MAX_LAYERS:
        got = len(entries) if isinstance(entries, list) else entries
        raise fields.refused("layers", got, f"a list of 1 to {_MAX_LAYERS} layers")
    layers: list[tuple[Layer, Fields]] = []
    names: set[str] = set()
    slots: dict[str, int] = {}
    for index, values in enumerate(entries):
        if not isinstance(values, dict):
            raise fields.refused(f"layers[{index}]", values, "an object")
        entry = Fields(f"{where}: layers[{index}]", values)
        kind = entry.text("class_name").removeprefix(_OURS)
        config = entry.inner("config")
        name = entry.get("name", None) or config.get("name", None)
        if not isinstance(name, str) or not name or name in names:
            raise entry.refused("name", name, "a name of its own")
        names.add(name)
        count = slots[kind] = slots.get(kind, -1) + 1
        slot = _snake(kind) + (f"_{count}" if count else "")
        place = f"{where}: layer {name!r} ({kind})"
        layers.append((Layer(name, kind, Fields(place, config.values), slot), entry))
    return layers


def _snake(name: str) -> str:
    """Return a class name as Keras numbers its weights by: QuantConv2D is quant_conv2d."""
    split = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", split).lower()


Calls = dict[Key, LayerCall]


def _chain(fields: Fields, layers: Sequence[tuple[Layer, Fields]]) -> tuple[Calls, Key, Key]:
    """Return the calls of a Sequential model; older files leave its InputLayer out."""
    calls: Calls = {}
    before: tuple[Key, ...] = ()
    first = layers[0][0]
    if first.kind != _INPUT:
        implied = Layer(f"{first.name}_input", _INPUT, _implied_input(fields, first), "")
        layers = [(implied, fields), *layers]
    for layer, _ in layers:
        calls[layer.name, 0] = LayerCall(layer, before)
        before = ((layer.name, 0),)
    keys = list(calls)
    return calls, keys[0], keys[-1]


def _implied_input(fields: Fields, first: Layer) -> Fields:
    config = first.fields.values
    shape = config.get("batch_input_shape") or config.get("batch_shape")
    shape = shape or fields.get("build_input_shape", None)
    return Fields(first.fields.where, {"batch_input_shape": shape, "dtype": config.get("dtype")})


def _functional(fields: Fields, layers: Sequence[tuple[Layer, Fields]]) -> tuple[Calls, Key, Key]:
    calls: Calls = {}
    for layer, entry in layers:
        nodes = entry.get("inbound_nodes")
        if not isinstance(nodes, list):
            raise entry.refused("inbound_nodes", nodes, "a list")
        if layer.kind == _INPUT:
            nodes = [[]]
        for index, node in enumerate(nodes):
            place = Fields(f"{layer.fields.where}: inbound_nodes", {})
            calls[layer.name, index] = LayerCall(layer, tuple(_links(node, place)))
    return calls, _end(fields, "input_layers"), _end(fields, "output_layers")


def _links(node: Any, place: Fields) -> Iterator[Key]:
    """Yield what one call reads: lists of Keras 2, or objects that hold tensors of Keras 3."""
    if isinstance(node, dict):
        _check_arguments(node.get("kwargs"), place)
        node = node.get("args")
    waiting = [node]
    while waiting:
        value = waiting.pop(0)
        if isinstance(value, dict):
            config = value.get("config")
            history = config.get("keras_history") if isinstance(config, dict) else None
            if value.get("class_name") != "__keras_tensor__" or history is None:
                raise place.refused("argument", value, "the output of a layer")
            value = history
        if _is_link(value):
            _check_arguments(value[3] if len(value) == 4 else None, place)
            yield _link(value, place)
        elif isinstance(value, list):
            waiting[:0] = value
        else:
            raise place.refused("argument", value, "the output of a layer")


def _is_link(value: Any) -> bool:
    return isinstance(value, list) and len(value) in (3, 4) and isinstance(value[0], str)


def _link(value: Any, place: Fields) -> Key:
    name, call, output = value[:3]
    if type(call) is not int or type(output) is not int or call < 0 or output != 0:
        raise place.refused("link", value, "[layer, call, 0]: layers with one output")
    return name, call


def _check_arguments(arguments: Any, place: Fields) -> None:
    extra = arguments or {}
    named = (
        {k: v for k, v in extra.items() if k not in _HARMLESS} if isinstance(extra, dict) else extra
    )
    if named or (isinstance(extra, dict) and extra.get("training")):
        remedy = "Use layers (Add, Activation, ...) in place of operators on tensors."
        raise place.refused("arguments", extra, "a call with tensors only", remedy)


def _end(fields: Fields, key: str) -> Key:
    """Return the only input or output of a functional model."""
    value = fields.get(key)
    if isinstance(value, list) and len(value) == 1 and not _is_link(value):
        value = value[0]
    if not _is_link(value):
        raise fields.refused(key, value, "one layer: [[name, 0, 0]]")
    return _link(value, Fields(f"{fields.where}: {key}", {}))


def _order(calls: Calls, output: Key, where: str) -> list[Key]:
    """Return the calls that the output needs, each after those that it reads."""
    done: dict[Key, None] = {}
    entered: set[Key] = set()
    waiting = [output]
    while waiting:
        key = waiting[-1]
        if key not in calls:
            rule = "a call of a layer that the config describes"
            raise SourceError(message(f"{where}: config", f"{key[0]}[{key[1]}]", rule))
        missing = [read for read in calls[key].reads if read not in done]
        if key in done or not missing:
            done[waiting.pop()] = None
        elif key in entered:
            rule = "layers that do not read their own output"
            raise SourceError(
                message(f"{calls[key].layer.fields.where}: inbound_nodes", key[0], rule)
            )
        else:
            entered.add(key)
            waiting.extend(reversed(missing))
    return list(done)
