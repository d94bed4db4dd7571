"""A line through points that are uncertain in both directions."""

import math

import numpy as np
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import t

from personascope.statistics.intervals import Interval

# Slopes as angles, short of a vertical line.
_STEEPEST = math.pi / 2 - 1e-3


def slope_of(x: np.ndarray, y: np.ndarray, x_errors: np.ndarray, y_errors: np.ndarray, level: float = 0.95) -> Interval:
    """The slope of y on x, [points] each, with standard errors of both.

    The line is the one that most likely made the points (York, 1966): without `x_errors` it is the weighted least-squares
    line, which errors of x would flatten. The interval holds the slopes that are not much less likely, by Student's t, where
    scatter beyond the errors widens it as it does there; an end that is not seen is infinite. NaN for fewer than three
    points.
    """
    if len(x) < 3:
        return Interval(math.nan, math.nan, math.nan)

    def misfit(angle: float) -> float:
        slope = math.tan(angle)
        weights = 1.0 / (y_errors**2 + (slope * x_errors) ** 2)
        left = y - slope * x
        return float((weights * (left - np.average(left, weights=weights)) ** 2).sum())

    angles = np.linspace(-_STEEPEST, _STEEPEST, 721)
    near = angles[int(np.argmin([misfit(angle) for angle in angles]))]
    step = angles[1] - angles[0]
    best = float(minimize_scalar(misfit, bounds=(near - step, near + step), options={"xatol": 1e-9}).x)
    least, freedom = misfit(best), len(x) - 2
    limit = least + float(t.ppf((1 + level) / 2, freedom)) ** 2 * max(least / freedom, 1.0)

    def end(towards: float) -> float:
        if misfit(towards) <= limit:
            return math.copysign(math.inf, towards)
        steps = np.linspace(best, towards, 721)
        first = next(place for place, angle in enumerate(steps) if misfit(angle) > limit)
        return math.tan(brentq(lambda angle: misfit(angle) - limit, steps[first - 1], steps[first]))

    return Interval(math.tan(best), end(-_STEEPEST), end(_STEEPEST))
