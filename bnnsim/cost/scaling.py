"""Technology scaling: energies of another node and supply from a known one.

Logic follows the polynomials E(V) = a V^2 + b V + c per node of Stillmaker and Baas; SRAM follows
the square of the feature size, which CACTI shows between 45 and 22 nm (3.9 to 4.5 times). DRAM is
never scaled: it does not depend on the chip's node.

References
----------
A. Stillmaker, B. Baas, "Scaling equations for the accurate prediction of CMOS device performance
from 180 nm to 7 nm", Integration 58, 2017: coefficients of the energy polynomials.
"""

from __future__ import annotations

import math

from bnnsim.errors import ProfileError, message

ENERGY_POLYNOMIALS = {
    130: (7.171, -6.709, 2.904),
    90: (4.762, -4.781, 2.092),
    65: (3.755, -4.398, 1.975),
    45: (1.103, -0.362, 0.2767),
    32: (0.9559, -0.7823, 0.471),
    20: (0.373, -0.1582, 0.04104),
    16: (0.2958, -0.1241, 0.03024),
    14: (0.2363, -0.09675, 0.02239),
    10: (0.2068, -0.09311, 0.02375),
    7: (0.1776, -0.09097, 0.02447),
}
BAND_PER_STEP = 1.3


def _polynomial(node_nm: float, vdd: float) -> float:
    """Return the relative energy at a node between two of the table, in log-log."""
    nodes = sorted(ENERGY_POLYNOMIALS)
    if not nodes[0] <= node_nm <= nodes[-1]:
        rule = f"a process between {nodes[0]} and {nodes[-1]} nm"
        remedy = "Energies of other nodes are not derived: give 'actions' and those of each memory."
        raise ProfileError(message("node.process", f"{node_nm:g} nm", rule, remedy))
    below = max(n for n in nodes if n <= node_nm)
    above = min(n for n in nodes if n >= node_nm)
    low, high = (_at(n, vdd) for n in (below, above))
    if below == above:
        return low
    part = math.log(node_nm / below) / math.log(above / below)
    return math.exp((1 - part) * math.log(low) + part * math.log(high))


def _at(node: int, vdd: float) -> float:
    a, b, c = ENERGY_POLYNOMIALS[node]
    minimum = -b / (2 * a)
    if vdd <= minimum:
        rule = f"a supply above {minimum:.2f} V, where the {node} nm curve has its minimum"
        raise ProfileError(message("node.vdd", f"{vdd:g} V", rule, "Give measured actions."))
    return a * vdd * vdd + b * vdd + c


def logic_factor(node_nm: float, vdd: float, *, from_nm: float, from_vdd: float) -> float:
    """Return energy of logic at (node, supply) over that at (from node, from supply).

    Raises
    ------
    ProfileError
        Outside 7 to 130 nm, or near or below the supply where a curve has its minimum.
    """
    return _polynomial(node_nm, vdd) / _polynomial(from_nm, from_vdd)


def sram_factor(node_nm: float, vdd: float, *, from_nm: float, from_vdd: float) -> float:
    """Return energy of an SRAM access over that at another node: (feature size x supply)^2."""
    return (node_nm * vdd / (from_nm * from_vdd)) ** 2


def scaling_band(node_nm: float, from_nm: float) -> float:
    """Return the extra 90 % factor: 1.3 per step between neighbouring nodes of the table."""
    nodes = sorted(ENERGY_POLYNOMIALS)
    steps = abs(_rank(nodes, node_nm) - _rank(nodes, from_nm))
    return float(BAND_PER_STEP**steps)


def _rank(nodes: list[int], node_nm: float) -> int:
    return sum(1 for n in nodes if n < node_nm)
