"""Directions that mean nothing, to set others against."""

import hashlib

import torch

from personascope.directions.direction import Direction


def random_like(direction: Direction, seed: int = 0) -> Direction:
    """A random direction of equal length at the same layer, the same for the same seed and `name@layer`."""
    text = "\x1f".join(map(str, ("random direction", seed, direction.key)))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    draw = torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
    vector = torch.randn(direction.hidden_size, generator=draw)
    return Direction(vector / vector.norm() * direction.norm, direction.layer, f"random for {direction.name}")
