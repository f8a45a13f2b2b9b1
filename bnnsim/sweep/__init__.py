"""Many points of model, profile, mode and batch, estimated one after the other or many at once."""

from __future__ import annotations

from bnnsim.sweep.point import Point
from bnnsim.sweep.run import Summary, run_sweep
from bnnsim.sweep.spec import read_spec

__all__ = ["Point", "Summary", "read_spec", "run_sweep"]
