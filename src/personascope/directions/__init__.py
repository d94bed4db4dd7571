"""Directions of the residual stream, as values and as files."""

from personascope.directions.direction import Direction, ZeroDirection
from personascope.directions.direction_set import DirectionSet
from personascope.directions.random import random_like

__all__ = ["Direction", "DirectionSet", "ZeroDirection", "random_like"]
