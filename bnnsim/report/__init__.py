"""Results as text tables, figures and a self-contained HTML page; reads plain data only."""

from bnnsim.report.figure import Figure
from bnnsim.report.plots import (
    plot_energy,
    plot_energy_by_component,
    plot_energy_by_layer,
    plot_latency,
    plot_memory,
    plot_ratios,
    plot_roofline,
    plot_waterfall,
)

__all__ = [
    "Figure", "plot_energy", "plot_energy_by_component", "plot_energy_by_layer", "plot_latency",
    "plot_memory", "plot_ratios", "plot_roofline", "plot_waterfall",
]  # fmt: skip
