"""Walk an exported torch program node by node.

What depends on parameters only is computed once, by torch; the rest goes to the operators of
`bnnsim.frontends.aten`. torch is never imported here: its operators arrive with the program.
"""

from __future__ import annotations

import hashlib
import operator
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from bnnsim.frontends.aten import unsupported
from bnnsim.frontends.aten_joins import HANDLERS
from bnnsim.frontends.elementwise import ELEMENTWISE, Lookup, apply_to_table
from bnnsim.frontends.importer import Activation, Call, Importer, is_symbolic
from bnnsim.frontends.pairs import Pairs

_FRAME = re.compile(r'File "([^"]+)", line ([0-9]+)')
_TRANSPARENT = ("aten.detach", "aten.clone", "aten.alias", "aten.contiguous")
_PURE = ELEMENTWISE | {"aten.tanh", "aten.sigmoid"}  # soft signs, of which estimators take slopes
_REPEATING = ("aten.expand", "aten.expand_as")  # whose readers repeat the elements instead
_UNSEEN = object()


def walk(program: Any, importer: Importer) -> tuple[Activation, dict[str, Any]]:
    """Lower every node that the output needs; return the output, and each tensor's torch node.

    Parameters
    ----------
    program : torch.export.ExportedProgram
        One user input and one output.
    importer : Importer
        Receives the nodes.

    Raises
    ------
    SourceError
        Naming node, operator and source line of what cannot be lowered.
    """
    graph = program.graph_module.graph
    nodes = list(graph.nodes)
    skipped = _straight_through(nodes)
    constant = _constant(nodes, program)
    live = _live(nodes, skipped, [node for node in nodes if _writes(node) and node in constant])
    _refuse_shared_writes([node for node in nodes if node not in constant], importer)
    values: dict[Any, Any] = dict.fromkeys(nodes, _UNSEEN)
    held, pairs = held_tensors(program), Pairs()
    for node in nodes:
        if node not in live:
            continue
        if node.op == "placeholder":
            values[node] = held[node.name] if node.name in held else importer.input(node.name)
        elif node.op == "get_attr":
            values[node] = operator.attrgetter(node.target)(program.graph_module)
        elif node.op == "output":
            output = _output(node, values, importer)
            return output, pairs.finish(importer, {n.name: v for n, v in values.items()})
        elif node in skipped:
            values[node] = values[skipped[node]]
            importer.note_once("x - y + y (straight-through estimator) is lowered to x.")
        else:
            values[node] = _value(node, values, importer)
            pairs.add(node.name, values[node])
    raise importer.refused("output", "none", "a program with one output")


def fingerprint(program: Any) -> str:
    """Return a digest of the names of a program's values in their order, 16 characters."""
    names = " ".join(node.name for node in program.graph_module.graph.nodes)
    return hashlib.sha256(names.encode()).hexdigest()[:16]


def place_of(node: Any) -> str:
    """Return how messages name an fx node, with its source line where known."""
    frames = [f for f in _FRAME.findall(node.meta.get("stack_trace") or "")]
    own = [f for f in frames if "torch" not in PurePath(f[0]).parts] or frames
    where = f" at {PurePath(own[-1][0]).name}:{own[-1][1]}" if own else ""
    return f"node {node.name!r}{where}"


def held_tensors(program: Any) -> dict[str, Any]:
    """Return parameters, buffers and constants by placeholder name."""
    signature = program.graph_signature
    names: dict[str, str] = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    stored: Mapping[str, Any] = {**program.constants, **program.state_dict}
    written: dict[str, Any] = {}  # one copy of each, which the program may write to
    for name in names.values():
        written[name] = stored[name].detach().clone()
    return {placeholder: written[name] for placeholder, name in names.items()}


def _constant(nodes: list[Any], program: Any) -> set[Any]:
    """Return the nodes that depend on parameters only."""
    given = set(program.graph_signature.user_inputs)
    symbolic: set[Any] = set()
    for node in nodes:
        if node.name in given or not symbolic.isdisjoint(node.all_input_nodes):
            symbolic.add(node)
    return set(nodes) - symbolic


def _packet(node: Any) -> str:
    """Return the operator's name without overload and without the in-place mark."""
    if node.op != "call_function" or not hasattr(node.target, "_schema"):
        return ""
    return str(node.target).rpartition(".")[0].removesuffix("_")


def _bare(node: Any) -> Any:
    """Return the node that a chain of detach and clone stands for."""
    while _packet(node) in _TRANSPARENT:
        node = node.args[0]
    return node


def _same(left: Any, right: Any) -> bool:
    """Whether two arguments are one value: the same node, or one operator of the same values."""
    if not hasattr(left, "all_input_nodes") or not hasattr(right, "all_input_nodes"):
        return left is right or (type(left) is type(right) and bool(left == right))
    left, right = _bare(left), _bare(right)
    if left is right:
        return True
    if _packet(left) not in _PURE or left.target != right.target or _writes(left):
        return False
    plain = not left.kwargs and not right.kwargs and len(left.args) == len(right.args)
    return plain and all(map(_same, left.args, right.args))


def _straight_through(nodes: list[Any]) -> dict[Any, Any]:
    """Return the sums of x, y and -y in any order and arrangement, each with its x."""
    found = {}
    for node in nodes:
        parts = _terms(node, 1)
        for terms in ([*_terms(*parts[0]), *parts[1:]], [*parts[:-1], *_terms(*parts[-1])]):
            positive = [term for term, sign in terms if sign > 0]
            negative = [term for term, sign in terms if sign < 0]
            if (len(positive), len(negative)) != (2, 1):
                continue
            for x, y in (positive, positive[::-1]):
                if _same(y, negative[0]):
                    found[node] = x
    return found


def _terms(node: Any, sign: int) -> list[tuple[Any, int]]:
    """Return what a sum or difference of two values adds up, with signs; or the node alone."""
    whole = _bare(node)
    packet = _packet(whole)
    plain = len(whole.args) == 2 and not whole.kwargs
    if packet not in ("aten.add", "aten.sub") or not plain:
        return [(node, sign)]
    left, right = whole.args
    if not hasattr(left, "all_input_nodes") or not hasattr(right, "all_input_nodes"):
        return [(node, sign)]
    return [(left, sign), (right, sign if packet == "aten.add" else -sign)]


def _live(nodes: list[Any], skipped: Mapping[Any, Any], writes: list[Any]) -> set[Any]:
    """Return what the output needs, and every write to a parameter, which others may see."""
    live: set[Any] = set()
    waiting = [*writes, *(node for node in nodes if node.op == "output")]
    while waiting:
        node = waiting.pop()
        if node not in live:
            live.add(node)
            waiting += [skipped[node]] if node in skipped else node.all_input_nodes
    return live


def _value(node: Any, values: dict[Any, Any], importer: Importer) -> Any:
    def resolve(argument: Any) -> Any:
        if isinstance(argument, (list, tuple)):
            return [resolve(item) for item in argument]
        return values[argument] if hasattr(argument, "all_input_nodes") else argument

    args, kwargs = resolve(node.args), {k: resolve(v) for k, v in node.kwargs.items()}
    packet, place = _packet(node), place_of(node)
    if node.target is operator.getitem and args[1] < len(args[0]):
        return args[0][args[1]]
    tags = map(str, getattr(node.target, "tags", ()))
    if "dropout" not in packet and any("nondeterministic_seeded" in tag for tag in tags):
        raise unsupported(importer, place, node.target)
    if not any(map(is_symbolic, (*args, *kwargs.values()))):
        return node.target(*args, **kwargs)  # a write reaches every view of what it writes to
    if packet.startswith("aten.sym_"):
        return node.meta["val"]
    bound = _bind(node.target, args, kwargs)
    symbolic = [arg for arg in bound.values() if is_symbolic(arg)]
    if packet in ELEMENTWISE and all(isinstance(arg, Lookup) for arg in symbolic):
        lookup = apply_to_table(node.target, tuple(args), kwargs)
        if lookup is not None:
            return lookup
    if packet not in HANDLERS:
        raise unsupported(importer, place, node.target)
    result = node.meta["val"]
    several = isinstance(result, (list, tuple))
    first = result[0] if several else result
    call = Call(str(node.target), place, bound, _shape(first, importer, place), str(first.dtype))
    lowered = _lowered(importer, packet, call)
    return lowered if isinstance(lowered, list) else (lowered,) if several else lowered


def _lowered(importer: Importer, packet: str, call: Call) -> Any:
    """Return what an operator becomes, of the shape that torch says."""
    value = HANDLERS[packet](importer, call)
    return value if packet in _REPEATING else importer.checked(value, call.shape, call.place)


def _writes(node: Any) -> bool:
    """Whether an operator works in place."""
    return bool(_packet(node)) and bool(node.target._schema.is_mutable)


def _is_view(node: Any) -> bool:
    """Whether a node's result may share memory with its first argument."""
    packet = _packet(node)
    if not packet or "dropout" in packet:
        return bool(packet)
    returns = node.target._schema.returns
    return bool(returns) and returns[0].alias_info is not None


def _refuse_shared_writes(nodes: list[Any], importer: Importer) -> None:
    """Refuse an in-place operator if what it wrote to is read again by another name."""
    for node in nodes:
        if not _writes(node):
            continue
        origin = node.args[0]
        while _is_view(origin) and not _writes(origin):
            origin = origin.args[0]
        waiting, later = [origin], []
        while waiting:
            users = [user for user in waiting.pop().users if user is not node]
            later += [user for user in users if node < user]
            waiting += [user for user in users if user < node and _is_view(user)]
        if later:
            rule = "no use of its operand after an in-place operator"
            remedy = "Use the plain operator."
            raise importer.refused(place_of(node), str(node.target), rule, remedy)


def _bind(target: Any, args: list[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return every argument by its name in the operator's schema, defaults filled in."""
    if not hasattr(target, "_schema"):
        return {str(i): arg for i, arg in enumerate(args)}
    arguments = target._schema.arguments
    bound = {a.name: a.default_value for a in arguments if a.has_default_value()}
    bound.update(zip((a.name for a in arguments), args, strict=False))
    bound.update(kwargs)
    return {a.name: bound[a.name] for a in arguments if a.name in bound}


def _shape(result: Any, importer: Importer, place: str) -> tuple[int, ...]:
    """Return the torch shape of a result without the batch axis."""
    shape = result.shape
    if not shape or str(shape[0]) != importer.batch:
        rule = f"a result whose first axis is the batch of {importer.batch}"
        raise importer.refused(place, tuple(map(str, shape)), rule)
    return tuple(int(size) for size in shape[1:])


def _output(node: Any, values: Mapping[Any, Any], importer: Importer) -> Activation:
    results = node.args[0]
    if len(results) != 1 or not is_symbolic(values.get(results[0])):
        rule = "one output that depends on the input"
        raise importer.refused("output", f"{len(results)} values", rule)
    return importer.activation(values[results[0]], "output")
