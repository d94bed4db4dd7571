"""How often features fire, and how strongly: counts that add up over a corpus."""

from dataclasses import dataclass
from typing import Any

import numpy as np

# Bins an eighth of an octave wide, from 2⁻¹² to 2²⁰.
FIRST, PER_OCTAVE, BINS = -12, 8, 256
OCTAVES = BINS // PER_OCTAVE


def edges() -> np.ndarray:
    """[257]: the histogram's bounds; what lies outside counts in the first or last bin."""
    return np.asarray(2.0 ** (FIRST + np.arange(BINS + 1) / PER_OCTAVE))


def bins(values: np.ndarray) -> np.ndarray:
    """The histogram bin of each positive activation."""
    # In float32 the logarithm of a value just below a bound is the bound's.
    places = np.floor((np.log2(values, dtype=np.float64) - FIRST) * PER_OCTAVE)
    return np.clip(places, 0, BINS - 1).astype(np.int64)


@dataclass
class Tally:
    """Per feature: in how many tokens it fired, the sum of its activations, and their histogram [features, 256]."""

    tokens: int
    fired: np.ndarray
    total: np.ndarray
    histogram: np.ndarray

    @classmethod
    def empty(cls, features: int) -> "Tally":
        return cls(0, np.zeros(features, np.int64), np.zeros(features), np.zeros((features, BINS), np.int64))

    @classmethod
    def of(cls, values: np.ndarray) -> "Tally":
        """Of activations [tokens, features]."""
        tokens, features = values.shape
        places, columns = np.nonzero(values > 0)
        positive = values[places, columns]
        flat = columns * BINS + bins(positive)
        return cls(
            tokens,
            np.bincount(columns, minlength=features),
            np.bincount(columns, weights=positive.astype(np.float64), minlength=features),
            np.bincount(flat, minlength=features * BINS).reshape(features, BINS),
        )

    def add(self, other: "Tally") -> None:
        self.tokens += other.tokens
        self.fired += other.fired
        self.total += other.total
        self.histogram += other.histogram

    @property
    def rate(self) -> np.ndarray:
        """[features]: share of the tokens."""
        return np.asarray(self.fired / max(1, self.tokens))

    @property
    def mean(self) -> np.ndarray:
        """[features]: mean activation where it fires, 0 where it never does."""
        return np.asarray(self.total / np.maximum(1, self.fired))

    def plain(self) -> dict[str, Any]:
        filled = np.flatnonzero(self.histogram)
        return {
            "tokens": self.tokens,
            "fired": self.fired.tolist(),
            "total": self.total.tolist(),
            "bins": filled.tolist(),
            "counts": self.histogram.ravel()[filled].tolist(),
        }

    @classmethod
    def from_plain(cls, plain: dict[str, Any]) -> "Tally":
        histogram = np.zeros((len(plain["fired"]), BINS), np.int64)
        histogram.ravel()[plain["bins"]] = plain["counts"]
        return cls(plain["tokens"], np.asarray(plain["fired"]), np.asarray(plain["total"]), histogram)
