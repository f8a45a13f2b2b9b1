"""Folding: how many elements of each layer's matrix a streaming stage takes per cycle.

A graph may state it in ``meta["folding"]``: node name to ``{"PE", "SIMD"}`` (rows and columns of
the weight matrix per cycle), with ``"MH"`` and ``"MW"`` where the hardware's matrix is padded to
more rows and columns than the layer has. Node names are kept by every pass, so it holds for every
twin. A table keyed ``L0``, ``L1``, ... as in the FPGA tool flow's config header becomes that form
by `with_folding`; its other keys are facts of the layer, not of the folding.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bnnsim.errors import GraphError, message, nearest
from bnnsim.graph.ir import Graph, Node
from bnnsim.graph.ops import normal_attrs

MAC_OPS = ("Dense", "Conv2d")
KEYS = ("PE", "SIMD", "MH", "MW")
_GEOMETRY = ("K", "IFM_CH", "IFM_DIM", "OFM_CH", "OFM_DIM")
_IGNORED = ("WMEM", "TMEM", "WPI", "API", "WPF", "APF")
_MOST = 2**24


@dataclass(frozen=True, slots=True)
class Folding:
    """The matrix of one layer (of one group of channels) and what of it runs per cycle.

    Parameters
    ----------
    pe, simd : int
        Rows and columns per cycle.
    rows, columns : int
        Of the matrix as the hardware has it.
    """

    pe: int
    simd: int
    rows: int
    columns: int

    @property
    def lanes(self) -> int:
        """Products per cycle."""
        return self.pe * self.simd

    @property
    def row_folds(self) -> int:
        """Passes over the rows, the last one ragged."""
        return -(-self.rows // self.pe)

    @property
    def column_folds(self) -> int:
        """Cycles of one pass."""
        return -(-self.columns // self.simd)


def layers_of(graph: Graph) -> tuple[Node, ...]:
    """Return the Dense and Conv2d nodes, in execution order."""
    return tuple(node for node in graph.nodes if node.op in MAC_OPS)


def matrix_of(graph: Graph, node: Node) -> tuple[int, int]:
    """Return rows and columns of a layer's matrix; of one group, where it has several."""
    rows, *columns = graph.tensor(node.inputs[1]).shape
    groups = normal_attrs(node)["groups"] if node.op == "Conv2d" else 1
    taps = 1
    for size in columns:
        taps *= size
    return rows // groups, taps


def stated_folding(graph: Graph) -> dict[str, Folding]:
    """Return what the graph says of its layers, by node name: of all, or nothing.

    Raises
    ------
    GraphError
        Naming the layer and the key, if ``meta["folding"]`` is malformed or does not fit.
    """
    table = graph.meta.get("folding")
    if table is None:
        return {}
    where, layers = f"{graph.name}: meta.folding", layers_of(graph)
    names = [node.name for node in layers]
    if not isinstance(table, Mapping) or set(table) != set(names):
        found = sorted(map(str, table))[:10] if isinstance(table, Mapping) else table
        raise GraphError(message(where, found, f"an entry for each of {', '.join(names)[:200]}"))
    return {n.name: _folding(f"{where}: {n.name}", table[n.name], graph, n) for n in layers}


def with_folding(graph: Graph, table: Mapping[str, Any], where: str) -> Graph:
    """Return the graph with a folding that is keyed ``L0``, ``L1``, ... in execution order.

    Raises
    ------
    GraphError
        Naming the place in ``where``, if it does not fit the graph's layers.
    """
    layers = layers_of(graph)
    names = [f"L{i}" for i in range(len(layers))]
    if set(table) != set(names):
        found = sorted(map(str, table))[:10]
        rule = f"L0 to L{len(names) - 1}, one for each Dense and Conv2d" if names else "no layer"
        raise GraphError(message(where, found, rule))
    plain = {}
    for name, node in zip(names, layers, strict=True):
        entry, place = table[name], f"{where}: {name}"
        if not isinstance(entry, Mapping):
            raise GraphError(message(place, entry, "an object with PE and SIMD"))
        known = (*KEYS, *_GEOMETRY, *_IGNORED)
        for key in entry:
            if key not in known:
                rule = f"keys among {', '.join(known)}"
                raise GraphError(message(f"{place}: {key}", key, rule, nearest(str(key), known)))
        plain[node.name] = {key: entry[key] for key in KEYS if key in entry}
        _folding(place, plain[node.name], graph, node)
        _check_geometry(place, entry, graph, node)
    return graph.with_meta(folding=plain)


def _folding(where: str, entry: object, graph: Graph, node: Node) -> Folding:
    if not isinstance(entry, Mapping) or not set(entry) <= set(KEYS):
        raise GraphError(message(where, entry, f"an object with keys among {', '.join(KEYS)}"))
    rows, columns = matrix_of(graph, node)
    values = {"MH": rows, "MW": columns, **entry}
    for key, least in (("PE", 1), ("SIMD", 1), ("MH", rows), ("MW", columns)):
        value = values.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= _MOST:
            what = f" (those of {node.describe()})" if key in ("MH", "MW") else ""
            rule = f"an integer from {least}{what} to {_MOST}"
            raise GraphError(message(f"{where}: {key}", value, rule))
    return Folding(values["PE"], values["SIMD"], values["MH"], values["MW"])


def _check_geometry(where: str, entry: Mapping[str, Any], graph: Graph, node: Node) -> None:
    """Refuse a table of another network: its kernels, channels and images are not these."""
    if node.op == "Dense":
        due: dict[str, int] = {}
        if "K" in entry:
            raise GraphError(message(f"{where}: K", entry["K"], f"no K: {node.describe()}"))
    else:
        out, kernel, _, channels = graph.tensor(node.inputs[1]).shape
        due = {
            "K": kernel, "IFM_CH": channels, "IFM_DIM": graph.activation(node).shape[0],
            "OFM_CH": out, "OFM_DIM": graph.result(node).shape[0],
        }  # fmt: skip
    for key, value in due.items():
        if entry.get(key, value) != value:
            rule = f"{value}, as {node.describe()} has it"
            raise GraphError(message(f"{where}: {key}", entry[key], rule))
