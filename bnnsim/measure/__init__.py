"""Measure the machine into a profile, and hold a profile against the machine."""

from __future__ import annotations

from bnnsim.measure.calibrate import calibrate_cpu, measurements
from bnnsim.measure.check import DEFAULT_NETS, CheckResult, check_cpu

__all__ = ["DEFAULT_NETS", "CheckResult", "calibrate_cpu", "check_cpu", "measurements"]
