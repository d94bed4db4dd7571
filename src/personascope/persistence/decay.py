"""How a curve falls: an exponential to a floor, with intervals that resample the unit that was drawn."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from personascope.errors import UserError
from personascope.statistics import Interval, finite, resampled_means

_RESAMPLES = 200
_LEVEL = 0.95
_LEAST_TOKENS = 8
# Half-lives that are tried: from one token to four times the length; one of the last doubling is no decay that was seen.
_GRID = 160
_SEEN = 2.0
_LEAST_UNITS = 2
_NOTHING = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class Decay:
    """curve(t) = floor + (initial − floor) · 2^(−t / half_life), t in tokens from the first unsteered one.

    initial: in the curve's units; floor: where it goes, NaN where that was not seen; half_life: in tokens, inf where it is
    longer than could be seen. area: the sum of the curve over its tokens, divided by `initial`, in tokens; NaN where it
    does not surely fall. Intervals are 95 % over units. verdict: `decays`; `decays slowly`: it surely falls, in no time that
    the tokens sampled tell; `does not decay`: the beginning is not surely above the end, and `initial` is the mean of it
    all; `no lift`: it is not surely above 0, so that there is nothing to fall; `one prompt`: which says nothing of others,
    so that there are no intervals; or `loops`: no row is left to fit.
    """

    initial: Interval
    floor: Interval
    half_life: Interval
    area: float
    verdict: str

    @classmethod
    def of_loops(cls) -> "Decay":
        """Where every row loops or has failed."""
        return cls(_NOTHING, _NOTHING, _NOTHING, math.nan, "loops")

    @property
    def is_ranked(self) -> bool:
        return self.verdict in ("decays", "decays slowly", "does not decay")

    def describe(self) -> dict[str, Any]:
        """Plain values; None for what is not finite."""
        plain: dict[str, Any] = {"verdict": self.verdict, "area": finite([self.area])[0]}
        for name in ("initial", "floor", "half_life"):
            plain[name], *plain[f"{name}_interval"] = finite(getattr(self, name))
        return plain


def fit_decay(curves: np.ndarray, units: Sequence[Hashable], seed: int = 0) -> Decay:
    """Fit the mean of some curves, [rows, tokens]; units: for each row what it was drawn with, such as its prompt.

    The half-life is searched on a grid and the two linear parameters are solved for (variable projection: Golub &
    Pereyra, 1973), so that there is nothing to start from and nothing to fail to converge. Raises `UserError` for fewer
    than eight tokens.
    """
    curves = np.asarray(curves, dtype=np.float64)
    if curves.ndim != 2 or curves.shape[1] < _LEAST_TOKENS or not len(curves):
        raise UserError(f"a decay needs at least one row of {_LEAST_TOKENS} tokens, not {list(curves.shape)}")
    if len(set(units)) < _LEAST_UNITS:
        mean = curves.mean(axis=0)
        initial, floor, half_life = (Interval(float(one[0]), math.nan, math.nan) for one in fit_curves(mean[None]))
        if math.isinf(half_life.estimate) or not initial.estimate:
            return Decay(initial, _NOTHING, half_life, math.nan, "one prompt")
        return Decay(initial, floor, half_life, float(mean.sum() / initial.estimate), "one prompt")
    means = np.concatenate([curves.mean(axis=0)[None], resampled_means(curves, units, _RESAMPLES, seed)])
    level = _interval(means.mean(axis=1))
    first, quarter = means[:, :_LEAST_TOKENS].mean(axis=1), max(curves.shape[1] // 4, 1)
    if _interval(first).low <= 0 and level.low <= 0:
        return Decay(_interval(first), level, _NOTHING, math.nan, "no lift")
    last = means[:, -quarter:].mean(axis=1)
    # A fast fall shows in the first tokens, a slow one in the first quarter.
    falls = [begins - last for begins in (first, means[:, :quarter].mean(axis=1))]
    if all(np.quantile(fall[1:], (1 - _LEVEL) / 4) <= 0 for fall in falls):
        return Decay(level, _NOTHING, Interval(math.inf, math.inf, math.inf), math.nan, "does not decay")
    initial, floor, half_life = (_interval(values) for values in fit_curves(means))
    if math.isinf(half_life.estimate):
        initial = _interval(first)
        # What is longer than that is taken for infinite, in resamples too.
        half_life = half_life._replace(low=min(half_life.low, _SEEN * curves.shape[1]))
        return Decay(initial, _NOTHING, half_life, float(means[0].sum() / initial.estimate), "decays slowly")
    return Decay(initial, floor, half_life, float(means[0].sum() / initial.estimate), "decays")


def fit_curves(means: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Initial value, floor and half-life (inf where it does not fall) of each of some curves, [curves, tokens]."""
    tokens = means.shape[1]
    times = np.arange(tokens)
    half_lives = np.geomspace(1.0, 4.0 * tokens, _GRID)
    shapes = 2.0 ** (-times / half_lives[:, None])
    centred = shapes - shapes.mean(axis=1, keepdims=True)
    size = (centred**2).sum(axis=1)
    lifts = means @ centred.T / size
    # A curve that rises is no decay, whatever fits it best.
    explained = np.where(lifts > 0, lifts**2 * size, -1.0)
    best = explained.argmax(axis=1)
    rows = np.arange(len(means))
    lift = np.maximum(lifts[rows, best], 0.0)
    floor = means.mean(axis=1) - lift * shapes.mean(axis=1)[best]
    falls = (explained[rows, best] > 0) & (half_lives[best] < _SEEN * tokens)
    level = means.mean(axis=1)
    initial = np.where(falls, floor + lift, level)
    return initial, np.where(falls, floor, level), np.where(falls, half_lives[best], math.inf)


def _interval(values: np.ndarray) -> Interval:
    """The first value, with percentiles of the others."""
    tail = (1 - _LEVEL) / 2
    ordered = np.sort(values[1:])
    low, high = ordered[int(tail * len(ordered))], ordered[min(int((1 - tail) * len(ordered)), len(ordered) - 1)]
    return Interval(float(values[0]), float(low), float(high))
