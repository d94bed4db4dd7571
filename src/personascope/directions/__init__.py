"""Directions of the residual stream, as values and as files."""

from personascope.directions.direction import Direction, ZeroDirection
from personascope.directions.direction_set import DirectionSet

__all__ = ["Direction", "DirectionSet", "ZeroDirection"]
