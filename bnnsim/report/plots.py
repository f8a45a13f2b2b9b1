"""Figures of a result for notebooks and files; the page shows the same ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bnnsim.display import Plain
from bnnsim.errors import InputError, message
from bnnsim.report import figures, roofline
from bnnsim.report.figure import Figure

Values = Mapping[str, Any]


def plot_energy_by_layer(result: Plain | Values, column: int = 0) -> Figure:
    """Return energy per inference by layer, each bar split into components.

    Parameters
    ----------
    result : CostReport, Comparison, or the JSON values of one
    column : int
        Which column of a comparison.
    """
    return figures.layer_energy_figure(_column(result, column), "energy-by-layer")


def plot_energy_by_component(result: Plain | Values) -> Figure:
    """Return the energy of every column split into components, in per cent of its own total."""
    return figures.shares_figure(_columns(result))


def plot_energy(result: Plain | Values) -> Figure:
    """Return the energy per inference of every column with its 90 % interval."""
    return figures.totals_figure(_columns(result))


def plot_latency(result: Plain | Values, column: int = 0) -> Figure:
    """Return the latency of the batch by layer, coloured by what bounds it."""
    styles = figures.limits(_columns(result))
    return figures.layer_latency_figure(_column(result, column), "latency-by-layer", styles)


def plot_roofline(result: Plain | Values, column: int = 0) -> Figure:
    """Return operations per second over operations per byte, one marker per layer with MACs.

    Raises
    ------
    InputError
        If the profile states no memories or no bandwidth.
    """
    chosen = _column(result, column)
    missing = roofline.missing(chosen)
    if missing:
        raise InputError(message(f"columns[{column}]", missing, "a result that has a roofline"))
    styles = roofline.memory_styles(_columns(result))
    return roofline.roofline_figure(chosen, "roofline", styles)


def plot_memory(result: Plain | Values) -> Figure:
    """Return the memory that the network of every column needs at once, by use."""
    return figures.memory_figure(_columns(result))


def plot_ratios(result: Plain | Values) -> Figure:
    """Return the ratios of a comparison's energies with their 90 % intervals.

    Raises
    ------
    InputError
        If the result holds no ratios.
    """
    ratios = _values(result).get("ratios")
    if not ratios:
        raise InputError(message("ratios", "none", "a comparison of two columns or more"))
    return figures.ratios_figure(ratios)


def plot_waterfall(result: Plain | Values, index: int = 0) -> Figure:
    """Return which constants lead from the energy of one profile to that of another.

    Raises
    ------
    InputError
        If the comparison has no waterfall of that index: no columns differ in the profile alone.
    """
    found = _values(result).get("waterfalls", ())
    return figures.waterfall_figure(_pick(found, index, "waterfalls"), index)


def _values(result: Plain | Values) -> Values:
    return result if isinstance(result, Mapping) else result.to_dict()


def _columns(result: Plain | Values) -> Sequence[Values]:
    values = _values(result)
    columns: Sequence[Values] = values.get("columns", [values])
    if not all("energy_by" in column for column in columns):
        got = type(result).__name__
        raise InputError(message("result", got, "what estimate or compare returns"))
    return columns


def _column(result: Plain | Values, index: int) -> Values:
    return _pick(_columns(result), index, "columns")


def _pick(found: Sequence[Values], index: int, what: str) -> Values:
    if not 0 <= index < len(found):
        last = f"0 to {len(found) - 1}" if found else "a result that holds one"
        raise InputError(message(what, index, last))
    return found[index]
