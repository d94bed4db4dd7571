"""Personascope: find, watch, steer, explain and transport personas in open-weight language models."""

from personascope.directions import Direction, DirectionSet
from personascope.engine import ablate, activations, add, cap, generate, load, replace
from personascope.errors import NonFinite, PersonascopeError, UserError

__version__ = "0.1.0"

__all__ = [
    "Direction",
    "DirectionSet",
    "NonFinite",
    "PersonascopeError",
    "UserError",
    "ablate",
    "activations",
    "add",
    "cap",
    "generate",
    "load",
    "replace",
]
