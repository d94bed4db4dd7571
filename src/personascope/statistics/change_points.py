"""Where a multivariate series changes its level."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# A level lasts at least so many tokens.
LEAST = 4
# A change begins at most so many tokens before the best single step, and takes at most so many to be complete.
_REACH, _RAMP = 6, 8
_HALVINGS = 12


@dataclass(frozen=True)
class ChangeRule:
    """Cuts a series into stretches of constant level, such that the squared distance to the levels plus `penalty` per
    cut is least. Source: optimal partitioning (Jackson et al., 2005), pruned as in PELT (Killick et al., 2012).

    penalty: in squared units of the series. least: shortest stretch, in tokens.
    """

    penalty: float
    least: int = LEAST

    def points(self, series: np.ndarray) -> list[tuple[int, float]]:
        """(place, gain) of every change; series is [tokens, channels]. place: where the new level begins to show. gain:
        by how much the cut lowers the squared distance, at least the penalty."""
        cuts = partition(series, self.penalty, self.least)
        edges = [0, *cuts, len(series)]
        return [
            (onset(series, edges[number - 1], cut, edges[number + 1]), _gain(series, edges[number - 1 : number + 2]))
            for number, cut in enumerate(cuts, start=1)
        ]


def partition(series: np.ndarray, penalty: float, least: int = LEAST) -> list[int]:
    """First places of all stretches but the first, for the least cost; series is [tokens, channels]."""
    tokens = len(series)
    sums, squares = _cumulated(series)
    best = np.full(tokens + 1, np.inf)
    best[0] = -penalty
    before = np.zeros(tokens + 1, dtype=int)
    until = np.full(tokens + 1, tokens + 1)
    starts = np.zeros(0, dtype=int)
    for end in range(least, tokens + 1):
        starts = np.append(starts, end - least)
        costs = best[starts] + _cost(sums, squares, starts, end)
        chosen = int(np.argmin(costs))
        best[end], before[end] = costs[chosen] + penalty, starts[chosen]
        # A start that is worse even without the penalty of a further cut is never the best one again once a cut can
        # fall here, which it can for ends that leave room for a shortest stretch.
        worse = starts[costs > best[end]]
        until[worse] = np.minimum(until[worse], end + least)
        starts = starts[until[starts] > end + 1]
    cuts: list[int] = []
    place = int(before[tokens])
    while place > 0:
        cuts.append(place)
        place = int(before[place])
    return cuts[::-1]


def onset(series: np.ndarray, start: int, cut: int, end: int) -> int:
    """Where the change that is best cut at `cut` begins, between `start` and `end`.

    A reader gathers evidence over some tokens, so its level rises gradually and one step fits best in the middle. Of
    all ramps between the two levels, along the line that joins them, the one that fits best tells where it began.
    """
    inner = min(3, cut - start - 1), min(3, end - cut - 1)
    low = series[start : cut - inner[0]].mean(axis=0)
    rise = series[cut + inner[1] : end].mean(axis=0) - low
    length = float(rise @ rise)
    if length == 0.0:
        return cut
    first, last = max(start + 1, cut - _REACH), min(end, cut + _REACH)
    at = np.arange(first, last)
    done = (series[first:last] - low) @ rise / length
    begins, lengths = np.arange(first, cut + 1), np.arange(1, _RAMP + 1)
    ramps = np.clip((at - begins[:, None, None] + 1) / lengths[None, :, None], 0.0, 1.0)
    errors = ((ramps - done) ** 2).sum(axis=-1).min(axis=1)
    return int(begins[np.argmin(errors)])


def fit_rule(neutral: Sequence[np.ndarray], alarms_per_1000: float, least: int = LEAST) -> ChangeRule:
    """The rule that makes at most `alarms_per_1000` cuts per 1,000 tokens of series without changes, [tokens, channels]."""
    allowed = alarms_per_1000 * sum(map(len, neutral)) / 1000
    # No cut lowers the cost by more than all the cost there is, and the number of cuts falls as the penalty rises.
    low, high = 0.0, max(float(((series - series.mean(axis=0)) ** 2).sum()) for series in neutral) + 1e-9
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if sum(len(partition(series, middle, least)) for series in neutral) > allowed:
            low = middle
        else:
            high = middle
    return ChangeRule(high, least)


def _cumulated(series: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    centred = series - series.mean(axis=0)
    sums = np.concatenate([np.zeros((1, series.shape[1])), np.cumsum(centred, axis=0, dtype=np.float64)])
    return sums, np.concatenate([[0.0], np.cumsum((centred**2).sum(axis=1), dtype=np.float64)])


def _cost(sums: np.ndarray, squares: np.ndarray, starts: np.ndarray, end: int) -> np.ndarray:
    """Squared distance to the mean of each stretch from `starts` to `end`."""
    totals = sums[end] - sums[starts]
    return np.asarray(squares[end] - squares[starts] - (totals**2).sum(axis=1) / (end - starts))


def _gain(series: np.ndarray, edges: Sequence[int]) -> float:
    start, cut, end = edges
    sums, squares = _cumulated(series)
    whole, left = _cost(sums, squares, np.array([start]), end), _cost(sums, squares, np.array([start]), cut)
    return float((whole - left - _cost(sums, squares, np.array([cut]), end))[0])


def matched(found: Sequence[int], planted: Sequence[int], within: int) -> int:
    """How many planted places are found, each by a place of its own at most `within` away."""
    free = sorted(found)
    hits = 0
    for place in sorted(planted):
        near = next((one for one in free if abs(one - place) <= within), None)
        if near is not None:
            free.remove(near)
            hits += 1
    return hits


def f1(hits: int, found: int, planted: int) -> float:
    """Harmonic mean of precision and recall; 0 where nothing was found or planted."""
    return 2 * hits / (found + planted) if found + planted else 0.0
