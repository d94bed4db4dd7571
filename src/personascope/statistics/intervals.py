"""Intervals that resample the unit that was drawn."""

import math
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import norm


class Interval(NamedTuple):
    """An estimate with the bounds of its interval."""

    estimate: float
    low: float
    high: float


def finite(values: Sequence[float]) -> list[float | None]:
    """Numbers as plain values: None for what is not finite."""
    return [value if math.isfinite(value) else None for value in values]


def resampled(
    units: Sequence[Hashable], resamples: int = 200, seed: int = 0, strata: Sequence[Hashable] | None = None
) -> Iterator[np.ndarray]:
    """Indices of observations, of as many units as there are, drawn whole and with repeats; strata: for every observation
    the group its unit belongs to, each of which keeps its number of units."""
    kinds: dict[Hashable, dict[Hashable, list[int]]] = {}
    for index, unit in enumerate(units):
        stratum = kinds.setdefault(None if strata is None else strata[index], {})
        stratum.setdefault(unit, []).append(index)
    groups = [[np.asarray(members) for members in stratum.values()] for stratum in kinds.values()]
    draw = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.concatenate(
            [stratum[choice] for stratum in groups for choice in draw.integers(len(stratum), size=len(stratum))]
        )


def resampled_counts(units: Sequence[Hashable], resamples: int = 200, seed: int = 0) -> np.ndarray:
    """[resamples, observations]: how often each observation is in each resample of their units."""
    return np.stack([np.bincount(chosen, minlength=len(units)) for chosen in resampled(units, resamples, seed)])


def resampled_means(values: np.ndarray, units: Sequence[Hashable], resamples: int = 200, seed: int = 0) -> np.ndarray:
    """[resamples, …]: the mean of observations, [observations, …], in each resample of their units."""
    counts = resampled_counts(units, resamples, seed)
    weights = counts / counts.sum(axis=1, keepdims=True)
    return np.asarray(np.tensordot(weights, values, axes=1))


def bootstrap(
    units: Sequence[Hashable],
    statistic: Callable[[np.ndarray], float],
    resamples: int = 200,
    level: float = 0.95,
    seed: int = 0,
    strata: Sequence[Hashable] | None = None,
) -> Interval:
    """A bias-corrected percentile bootstrap over units.

    units: for every observation the unit it was drawn with (a prompt, a document, a seed); whole units are resampled, in
    each of the strata where they are given. statistic: takes the indices of observations, with repeats. Of few units, a
    statistic of pairs (AUROC, Cohen's d) is larger in most resamples than in the sample, since repeats pair with
    themselves; the correction takes that out. Resamples for which the statistic is NaN are left out, and where more than a
    fifth are, the bounds are NaN. Source: the cluster bootstrap (Davison & Hinkley, 1997) with BC limits
    (Efron, 1981).
    """
    estimate = statistic(np.arange(len(units)))
    drawn = np.array([statistic(chosen) for chosen in resampled(units, resamples, seed, strata)])
    return corrected(estimate, drawn, level)


def corrected(estimate: float, drawn: np.ndarray, level: float = 0.95) -> Interval:
    """The bounds that `bootstrap` takes from a statistic of every resample."""
    values = drawn[~np.isnan(drawn)]
    if len(values) < 0.8 * len(drawn):
        return Interval(float(estimate), math.nan, math.nan)
    # Resamples of the same make as the sample may differ from it by rounding.
    is_equal = np.isclose(values, estimate, rtol=1e-12, atol=1e-15)
    below = np.mean((values < estimate) & ~is_equal) + np.mean(is_equal) / 2
    shift = 2 * norm.ppf(np.clip(below, 1 / len(values), 1 - 1 / len(values)))
    reach = norm.ppf((1 + level) / 2)
    low, high = np.quantile(values, norm.cdf([shift - reach, shift + reach]))
    return Interval(float(estimate), float(low), float(high))


def mean_interval(values: Sequence[float] | np.ndarray, units: Sequence[Hashable]) -> Interval:
    """The mean of some observations, with an interval that resamples the units they were drawn with."""
    observed = np.asarray(values, dtype=np.float64)
    return bootstrap(units, lambda chosen: float(observed[chosen].mean()))
