"""Repetition: whether a text goes round in circles."""

from collections.abc import Sequence

# From here on a text counts as a loop.
LOOP = 0.5
_N = 4


def repeated_share(ids: Sequence[int], n: int = _N) -> float:
    """The share of n-grams of tokens that have come before, 0..1; 0 for a text too short to have any."""
    grams = [tuple(ids[start : start + n]) for start in range(len(ids) - n + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0
