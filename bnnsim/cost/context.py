"""What every step of planning a stage needs to know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from bnnsim.cost.actions import LayerCounts
from bnnsim.cost.hardware import HardwareProfile
from bnnsim.cost.memory import Residency
from bnnsim.cost.stages import Layout
from bnnsim.graph.ir import Graph


@dataclass(frozen=True, slots=True)
class Context:
    """One group of images on one profile.

    Parameters
    ----------
    counts : mapping of int to LayerCounts
        By node id.
    layout : Layout
        Stages, liveness and sizes.
    where : Residency or None
        None where the profile is arithmetic only.
    images, repeats : int
        Images in flight, and groups of images in the batch.
    """

    graph: Graph
    profile: HardwareProfile
    counts: Mapping[int, LayerCounts]
    layout: Layout
    where: Residency | None
    images: int
    repeats: int
