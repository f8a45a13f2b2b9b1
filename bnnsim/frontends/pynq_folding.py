"""Read and check the folding of an FPGA network: each layer's matrix and how it is split.

A folding is a JSON object ``{"L0": {...}, "L1": {...}, ...}``, or one keyed by network name, or a
file that holds either under ``"folding"``. Keys are those of the FPGA tool flow's config header:
``K IFM_CH IFM_DIM OFM_CH OFM_DIM`` for a convolution, ``MW MH`` (columns, rows) for a dense
layer, and for both ``SIMD PE WPI API`` (weights per word, processing elements, integer bits of
weights and activations).

References
----------
Xilinx/BNN-PYNQ, bnn/src/network/*/hw/config.h.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from bnnsim.errors import SourceError, message, nearest
from bnnsim.graph.io import read_limited

_CONV = ("K", "IFM_CH", "IFM_DIM", "OFM_CH", "OFM_DIM")
_DENSE = ("MW", "MH")
_SPLIT = ("SIMD", "PE", "WPI", "API")
_OPTIONAL = ("WMEM", "TMEM", "WPF", "APF")
_LAYER = re.compile(r"L(0|[1-9][0-9]*)\Z")
_MAX_VALUE = 2**16
_MAX_WEIGHTS = 2**28
_MAX_JSON_BYTES = 2**20
_MAX_LAYERS = 1000
_MOST_PROBLEMS = 20
WORD_BITS = 64


@dataclass(frozen=True, slots=True)
class Geometry:
    """A convolution without padding over a square image."""

    kernel: int
    channels: int
    size: int
    out_size: int


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer's weight matrix and its split over words and processing elements.

    Parameters
    ----------
    name : str
        ``L0``, ``L1``, ...
    columns, rows : int
        Of the weight matrix; a convolution's columns are ordered (ky, kx, input channel).
    simd, pe : int
        Weights per 64-bit word; processing elements. Row r belongs to element r mod pe.
    weight_bits, activation_bits : int
        1 or 2; the last layer's activation bits may be more, meaning plain accumulators.
    geometry : Geometry or None
        None for a dense layer.
    pooled : bool
        Whether 2x2 max-pooling follows.
    """

    name: str
    columns: int
    rows: int
    simd: int
    pe: int
    weight_bits: int
    activation_bits: int
    geometry: Geometry | None = None
    pooled: bool = False


def read_folding(
    folding: str | Path | Mapping[str, Any], folder_name: str, network: str | None = None
) -> tuple[Layer, ...]:
    """Return the layers that ``folding`` describes.

    Parameters
    ----------
    folding : path or mapping
        The JSON, in one of the three forms that the module names.
    folder_name : str
        Where the folding is keyed by network, the network whose name this contains is taken.
    network : str, optional
        The network to take instead.

    Raises
    ------
    SourceError
        Listing every breach: unknown or missing keys, values out of range, layers that do not
        follow one another.
    """
    where, table = folding_table(folding, folder_name, network)
    names = [f"L{i}" for i in range(len(table))]
    if set(table) != set(names) or not 1 <= len(names) <= _MAX_LAYERS:
        found = sorted(map(str, table))[:20]
        raise SourceError(message(where, found, "layers L0, L1, ... without a gap"))
    problems = [text for name in names for text in _key_problems(f"{where}: {name}", table[name])]
    _raise(problems)
    layers = [_layer(name, table[name]) for name in names]
    for layer in layers:
        problems += _split_problems(f"{where}: {layer.name}", layer, table[layer.name], layers[-1])
    linked = [
        replace(layer, pooled=_is_pooled(layer, after))
        for layer, after in zip(layers, [*layers[1:], None], strict=True)
    ]
    problems += _link_problems(where, linked)
    _raise(problems)
    return tuple(linked)


def folding_table(
    folding: str | Path | Mapping[str, Any], name: str, network: str | None = None
) -> tuple[str, Mapping[str, Any]]:
    """Return where a folding stands, and its ``{"L0": {...}, ...}`` as it is there.

    Raises
    ------
    SourceError
        If it is no JSON object, or has no network of this name.
    """
    where, plain = _load(folding)
    return where, _select(where, plain, name, network)


def _raise(problems: Sequence[str]) -> None:
    """Raise one error that lists the problems, if there are any."""
    if problems:
        more = len(problems) - _MOST_PROBLEMS
        rest = [f"and {more} more"] if more > 0 else []
        raise SourceError("\n".join([*problems[:_MOST_PROBLEMS], *rest]))


def _load(folding: str | Path | Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    if isinstance(folding, Mapping):
        return "folding", folding
    path = Path(folding)
    data = read_limited(path, _MAX_JSON_BYTES, "JSON file")
    try:
        plain = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise SourceError(message(str(path), str(error), "a JSON file")) from None
    if not isinstance(plain, dict):
        raise SourceError(message(str(path), type(plain).__name__, "a JSON object"))
    return str(path), plain


def _select(
    where: str, plain: Mapping[str, Any], folder_name: str, network: str | None
) -> Mapping[str, Any]:
    """Return the {"L0": ...} table for this folder."""
    inner = plain.get("folding", plain)
    if not isinstance(inner, Mapping) or not inner:
        raise SourceError(message(f"{where}: folding", inner, "an object of layers or networks"))
    if any(_LAYER.match(str(key)) for key in inner):
        return inner
    fitting = [name for name in inner if str(name).lower() in folder_name.lower()]
    if network is None and len(inner) == 1:
        network = next(iter(inner))
    if network is None and fitting:
        network = max(fitting, key=len)
    if network not in inner:
        rule = f"one of {', '.join(map(repr, inner))}"
        remedy = "Name the network, or rename the folder so that it contains one of these."
        raise SourceError(message(f"{where}: network", network or folder_name, rule, remedy))
    table = inner[network]
    if not isinstance(table, Mapping):
        raise SourceError(message(f"{where}: {network}", table, "an object of layers"))
    return table


def _key_problems(where: str, entry: Any) -> Iterator[str]:
    if not isinstance(entry, Mapping):
        yield message(where, entry, "an object")
        return
    needed = (*(_CONV if "K" in entry else _DENSE), *_SPLIT)
    for key in entry:
        if key not in (*needed, *_OPTIONAL):
            rule = f"keys among {', '.join((*needed, *_OPTIONAL))}"
            yield message(where, key, rule, nearest(str(key), (*needed, *_OPTIONAL)))
    for key in needed:
        if key not in entry:
            yield message(f"{where}: {key}", "nothing", "an integer")
    for key in (*needed, *_OPTIONAL):
        value = entry.get(key, 1)
        fraction = key in ("WPF", "APF") and key in entry
        low, high = (0, 0) if fraction else (1, _MAX_WEIGHTS if key == "WMEM" else _MAX_VALUE)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            rule = "0: fractional bits are not known here" if fraction else f"1 to {high}"
            yield message(f"{where}: {key}", value, f"an integer, {rule}")


def _layer(name: str, entry: Mapping[str, int]) -> Layer:
    if "K" in entry:
        geometry = Geometry(entry["K"], entry["IFM_CH"], entry["IFM_DIM"], entry["OFM_DIM"])
        columns, rows = entry["K"] ** 2 * entry["IFM_CH"], entry["OFM_CH"]
    else:
        geometry, columns, rows = None, entry["MW"], entry["MH"]
    split = (entry["SIMD"], entry["PE"], entry["WPI"], entry["API"])
    return Layer(name, columns, rows, *split, geometry)


def _split_problems(
    where: str, layer: Layer, entry: Mapping[str, int], last: Layer
) -> Iterator[str]:
    if layer.columns * layer.rows > _MAX_WEIGHTS:
        yield message(where, f"{layer.rows} x {layer.columns}", f"at most {_MAX_WEIGHTS} weights")
    if layer.weight_bits not in (1, 2):
        yield message(f"{where}: WPI", layer.weight_bits, "1 or 2 bits")
    if layer is not last and layer.activation_bits not in (1, 2):
        rule = "1 or 2 bits (only the last layer may have more)"
        yield message(f"{where}: API", layer.activation_bits, rule)
    if layer.simd * layer.weight_bits > WORD_BITS:
        rule = f"SIMD x WPI of at most {WORD_BITS}, the bits of a word"
        yield message(f"{where}: SIMD", layer.simd, rule)
    if layer.columns % layer.simd:
        yield message(f"{where}: SIMD", layer.simd, f"a divisor of the {layer.columns} columns")
    if layer.rows % layer.pe:
        yield message(f"{where}: PE", layer.pe, f"a divisor of the {layer.rows} rows")
    if layer is last:
        return  # its padding rows may be missing from the folder
    depth = layer.columns * layer.rows // (layer.simd * layer.pe)
    for key, due, what in (("WMEM", depth, "words"), ("TMEM", layer.rows // layer.pe, "rows")):
        if entry.get(key, due) != due:
            yield message(f"{where}: {key}", entry[key], f"{due} {what} per processing element")


def _is_pooled(layer: Layer, after: Layer | None) -> bool:
    """Whether the next layer reads an image of half the size."""
    if layer.geometry is None or after is None or layer.geometry.out_size % 2:
        return False
    half = layer.geometry.out_size // 2
    if after.geometry is None:
        return after.columns == half * half * layer.rows
    return after.geometry.size == half


def _link_problems(where: str, layers: Sequence[Layer]) -> Iterator[str]:
    for layer in layers:
        shape = layer.geometry
        if shape is not None and shape.out_size != shape.size - shape.kernel + 1:
            rule = f"IFM_DIM - K + 1 = {shape.size - shape.kernel + 1}"
            yield message(f"{where}: {layer.name}: OFM_DIM", shape.out_size, rule)
    for layer, after in pairwise(layers):
        place = f"{where}: {after.name}"
        before, shape = layer.geometry, after.geometry
        if before is None:
            if shape is not None:
                yield message(place, "a convolution", f"no convolution after dense {layer.name}")
            elif after.columns != layer.rows:
                yield message(f"{place}: MW", after.columns, f"{layer.rows}, the rows before it")
            continue
        size = before.out_size // 2 if layer.pooled else before.out_size
        if shape is None and after.columns != size * size * layer.rows:
            rule = f"OFM_DIM^2 x OFM_CH = {size * size * layer.rows} of {layer.name}"
            yield message(f"{place}: MW", after.columns, rule)
        if shape is not None and shape.channels != layer.rows:
            yield message(f"{place}: IFM_CH", shape.channels, f"{layer.rows}, the rows before it")
        if shape is not None and shape.size != size:
            rule = f"{before.out_size}, or its half after pooling"
            yield message(f"{place}: IFM_DIM", shape.size, rule)
