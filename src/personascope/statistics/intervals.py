"""Intervals that resample the unit that was drawn."""

from collections.abc import Callable, Hashable, Sequence
from typing import NamedTuple

import numpy as np


class Interval(NamedTuple):
    """An estimate with the bounds of its interval."""

    estimate: float
    low: float
    high: float


def bootstrap(
    units: Sequence[Hashable],
    statistic: Callable[[np.ndarray], float],
    resamples: int = 200,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """A percentile bootstrap over units.

    units: for every observation the unit it was drawn with (a prompt, a document, a seed); whole units are resampled.
    statistic: takes the indices of observations, with repeats. Source: the cluster bootstrap (Davison & Hinkley, 1997).
    """
    members: dict[Hashable, list[int]] = {}
    for index, unit in enumerate(units):
        members.setdefault(unit, []).append(index)
    groups = [np.asarray(group) for group in members.values()]
    estimate = statistic(np.arange(len(units)))
    draw = np.random.default_rng(seed)
    values = [
        statistic(np.concatenate([groups[choice] for choice in draw.integers(len(groups), size=len(groups))]))
        for _ in range(resamples)
    ]
    tail = (1 - level) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return Interval(float(estimate), float(low), float(high))
