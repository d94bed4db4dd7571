"""Whether one sample tends to larger values than another, by ranks."""

from math import comb

import numpy as np
from scipy.stats import mannwhitneyu, rankdata

from personascope.errors import NonFinite

# Up to so many values in all the distribution is counted out.
_EXACT = 120


def rank_sum_test(one: np.ndarray, other: np.ndarray) -> float:
    """Two-sided p that two samples come from one distribution, by the sum of their ranks.

    Exact given the ties, however many, for up to 120 values in all: every choice of ranks is counted. A normal
    approximation with its correction for ties for more. Raises `NonFinite` on NaN and infinity. Source: Mann & Whitney
    (1947); ties as in Lehmann (1975).
    """
    one, other = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    if not len(one) or not len(other):
        return 1.0
    values = np.concatenate([one, other])
    if not np.isfinite(values).all():
        raise NonFinite("ranks need finite values; NaN or infinity is among those compared")
    if np.all(values == values[0]):
        return 1.0
    if len(values) > _EXACT:
        return float(mannwhitneyu(one, other, method="asymptotic").pvalue)
    # Doubled, mid-ranks are whole numbers.
    ranks = np.rint(2 * rankdata(values)).astype(int)
    counts = _counts(ranks, len(one))
    middle = len(one) * ranks.sum() / len(ranks)
    reach = abs(ranks[: len(one)].sum() - middle)
    sums = np.arange(len(counts))
    beyond = counts[np.abs(sums - middle) >= reach - 1e-9].sum()
    return min(1.0, float(beyond / comb(len(values), len(one))))


def _counts(ranks: np.ndarray, size: int) -> np.ndarray:
    """[sum]: in how many ways `size` of the ranks add up to each sum."""
    table = np.zeros((size + 1, int(np.sort(ranks)[-size:].sum()) + 1))
    table[0, 0] = 1.0
    for rank in ranks:
        table[1:, rank:] += table[:-1, : table.shape[1] - rank].copy()
    return np.asarray(table[size])
