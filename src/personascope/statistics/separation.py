"""How far apart two groups of numbers are, with intervals."""

from collections.abc import Hashable, Sequence

import numpy as np

from personascope.statistics.effects import auroc, cohens_d
from personascope.statistics.intervals import Interval, corrected, resampled_counts


class Separation:
    """AUROC and Cohen's d of two groups, with the intervals of `bootstrap` over units: all resamples at once, drawn once
    for however many values the same observations have.

    labels: [observations], whether each is positive; units: what each was drawn with.
    """

    def __init__(self, labels: np.ndarray, units: Sequence[Hashable]) -> None:
        self.labels = np.asarray(labels, dtype=bool)
        counts = resampled_counts(units) if len(self.labels) else np.zeros((1, 0))
        self._positive, self._negative = counts[:, self.labels], counts[:, ~self.labels]

    def auroc(self, values: np.ndarray) -> Interval:
        """The chance that a positive has the larger value."""
        _, rank = np.unique(values, return_inverse=True)
        ours, theirs = (
            _by_rank(counts, rank[chosen], int(rank.max(initial=0)) + 1)
            for counts, chosen in ((self._positive, self.labels), (self._negative, ~self.labels))
        )
        below = theirs.cumsum(axis=1) - theirs / 2
        pairs = ours.sum(axis=1) * theirs.sum(axis=1)
        drawn = np.where(pairs > 0, (ours * below).sum(axis=1) / np.maximum(pairs, 1), 0.5)
        return corrected(auroc(self.labels, values), drawn)

    def cohens_d(self, values: np.ndarray) -> Interval:
        """The difference of the means over the pooled standard deviation."""
        values = np.asarray(values, dtype=np.float64)
        (ours, mean, spread), (theirs, other_mean, other_spread) = (
            _moments(counts, values[chosen])
            for counts, chosen in ((self._positive, self.labels), (self._negative, ~self.labels))
        )
        pooled = np.sqrt((spread + other_spread) / np.maximum(ours + theirs - 2, 1))
        # Equal values have a spread of rounding.
        is_told = (ours >= 2) & (theirs >= 2) & (pooled > 1e-12 * np.abs(values).max(initial=0.0))
        drawn = np.where(is_told, (mean - other_mean) / np.where(is_told, pooled, 1.0), 0.0)
        return corrected(cohens_d(self.labels, values), drawn)


def _by_rank(counts: np.ndarray, ranks: np.ndarray, size: int) -> np.ndarray:
    """[resamples, ranks]: how many observations of a resample have each rank."""
    held = np.zeros((size, len(counts)))
    np.add.at(held, ranks, counts.T)
    return held.T


def _moments(counts: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Per resample: how many, their mean, and the sum of their squared distances from it."""
    number = counts.sum(axis=1)
    mean = counts @ values / np.maximum(number, 1)
    return number, mean, (counts * (values - mean[:, None]) ** 2).sum(axis=1)
