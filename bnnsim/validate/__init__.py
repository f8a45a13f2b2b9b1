"""Predicted against published silicon: the points, what each asks of the model, and the score."""

from bnnsim.validate.points import Point, read_points
from bnnsim.validate.score import Validation, validate

__all__ = ["Point", "Validation", "read_points", "validate"]
