"""Where a multivariate series changes its level."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ChangeRule:
    """A two-window test: the whitened distance between the means before and after a token, thresholded at its peaks.

    window: tokens on either side. whiten: [channels, channels], scales the difference of the means to unit covariance
    on series without changes. threshold: least squared distance of a change.
    """

    window: int
    whiten: np.ndarray
    threshold: float

    def statistic(self, series: np.ndarray) -> np.ndarray:
        """[tokens]: squared distance at each token between what comes before it and what begins with it; series is
        [tokens, channels]. 0 within two tokens of either end."""
        return statistic(series, self.window, self.whiten)

    def points(self, series: np.ndarray) -> list[tuple[int, float]]:
        """(token, statistic) of every change: the largest values above the threshold, no two within a window's half."""
        return [peak for peak in peaks(self.statistic(series), self.window // 2) if peak[1] >= self.threshold]


def statistic(series: np.ndarray, window: int, whiten: np.ndarray) -> np.ndarray:
    """See `ChangeRule.statistic`."""
    tokens = len(series)
    sums = np.concatenate([np.zeros((1, series.shape[1])), np.cumsum(series, axis=0, dtype=np.float64)])
    at = np.arange(tokens)
    left, right = np.maximum(at - window, 0), np.minimum(at + window, tokens)
    before, after = at - left, right - at
    usable = (before >= 2) & (after >= 2)
    out = np.zeros(tokens)
    at, left, right = at[usable], left[usable], right[usable]
    difference = (sums[right] - sums[at]) / (right - at)[:, None] - (sums[at] - sums[left]) / (at - left)[:, None]
    # A difference of means over few tokens is noisier: scale it to that of two full windows.
    scale = np.sqrt(2 / window / (1 / (right - at) + 1 / (at - left)))
    out[usable] = ((difference * scale[:, None]) @ whiten.T).__pow__(2).sum(axis=1)
    return out


def peaks(values: np.ndarray, apart: int) -> list[tuple[int, float]]:
    """(place, value) of the largest values, in order of place, none within `apart` places of a larger one."""
    taken: list[int] = []
    blocked = np.zeros(len(values), dtype=bool)
    for place in np.argsort(-values, kind="stable"):
        if values[place] <= 0:
            break
        if not blocked[place]:
            taken.append(int(place))
            blocked[max(0, place - apart) : place + apart + 1] = True
    return [(place, float(values[place])) for place in sorted(taken)]


def fit_rule(neutral: Sequence[np.ndarray], window: int, alarms_per_1000: float) -> ChangeRule:
    """The rule that raises `alarms_per_1000` alarms per 1,000 tokens on series without changes, each [tokens, channels]."""
    channels = neutral[0].shape[1]
    plain = np.eye(channels)
    differences = np.concatenate([_differences(series, window) for series in neutral])
    if len(differences) > channels:
        covariance = differences.T @ differences / len(differences)
        # A little of the mean variance everywhere: with few neutral runs the small directions are not known well.
        covariance += 0.05 * np.trace(covariance) / channels * plain
        values, vectors = np.linalg.eigh(covariance)
        whiten = (vectors / np.sqrt(np.maximum(values, 1e-12))) @ vectors.T
    else:
        whiten = plain
    heights = sorted(
        (height for series in neutral for _, height in peaks(statistic(series, window, whiten), window // 2)),
        reverse=True,
    )
    allowed = int(alarms_per_1000 * sum(map(len, neutral)) / 1000)
    threshold = heights[allowed] * (1 + 1e-9) if allowed < len(heights) else 0.0
    return ChangeRule(window, whiten, max(threshold, 1e-9))


def _differences(series: np.ndarray, window: int) -> np.ndarray:
    """Differences of the means of neighbouring full windows."""
    if len(series) < 2 * window:
        return np.empty((0, series.shape[1]))
    sums = np.concatenate([np.zeros((1, series.shape[1])), np.cumsum(series, axis=0, dtype=np.float64)])
    at = np.arange(window, len(series) - window + 1)
    return np.asarray((sums[at + window] - 2 * sums[at] + sums[at - window]) / window)


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
