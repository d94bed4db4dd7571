"""How long a carried vector is at α = 1."""

from typing import Literal

from personascope.directions import Direction

Normalize = Literal["residual", "unit", "native"]


def scaled(direction: Direction, normalize: Normalize, residual_norm: float, fraction: float) -> Direction:
    """The direction at its length for α = 1.

    `residual`: `fraction` of residual_norm, the target's median at that layer, so that no vector's own length, the
    oracle's least of all, tells how hard to push. `unit`: 1. `native`: as it was carried. Raises `ZeroDirection` where
    a direction without length is to be given one.
    """
    if normalize == "native":
        return direction
    length = 1.0 if normalize == "unit" else fraction * residual_norm
    return Direction(direction.unit() * length, direction.layer, direction.name, direction.provenance)
