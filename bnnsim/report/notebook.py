"""What a notebook shows of a result: its tables and one figure, styles that reach nothing else.

And what ``print`` shows of it: its lines and its first tables.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bnnsim.report import costs, figures, network, simulation
from bnnsim.report.check import kind_of
from bnnsim.report.figure import Figure, chart_css
from bnnsim.report.html import environment
from bnnsim.report.tables import Block, Mark, Table
from bnnsim.report.text import plain

Result = Mapping[str, Any]
BLOCKS: Mapping[str, Callable[[Result], list[Block]]] = {
    "estimate": costs.estimate_blocks,
    "compare": costs.compare_blocks,
    "simulate": simulation.simulate_blocks,
    "run": network.run_blocks,
    "verify": network.verify_blocks,
    "inspect": network.inspect_blocks,
}


def fragment(result: Result) -> str:
    """Return a result as one HTML element, to stand anywhere in a page.

    Parameters
    ----------
    result : mapping
        JSON values of a kind in `BLOCKS`.
    """
    blocks = BLOCKS[kind_of(result)](result)
    tables = [block for block in blocks if isinstance(block, Table)]
    html: str = environment().get_template("fragment.html").render(
        chart_css=chart_css(),
        marks=[block.text for block in blocks if isinstance(block, Mark)],
        lines=[block for block in blocks if isinstance(block, str)],
        first=tables[:1],
        figure=_figure(result),
        more=tables[1:],
    )  # fmt: skip
    return html


def summary(result: Result) -> str:
    """Return a result as short text: warnings and lines, then what it comes to as tables.

    Parameters
    ----------
    result : mapping
        JSON values of a kind in `BLOCKS`.
    """
    blocks = BLOCKS[kind_of(result)](result)
    tables = [block for block in blocks if isinstance(block, Table)]
    lines = [block for block in blocks if not isinstance(block, Table)]
    columns = result.get("columns")
    if columns:
        tables = [costs.summary_table(columns), *costs.ratio_tables(result["ratios"])]
    elif "energy_by" in result:
        tables = [costs.totals_table(result), costs.components_table([result])]
    else:
        tables = tables[:1]
    return plain([*lines, *tables]).rstrip("\n")


def _figure(result: Result) -> Figure | None:
    columns: Sequence[Result] = result.get("columns", [result])
    if not columns or "energy_by" not in columns[0]:
        return None
    return figures.shares_figure(columns)
