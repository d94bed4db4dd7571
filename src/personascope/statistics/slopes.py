"""A line through points that are uncertain in both directions."""

import math

import numpy as np
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import t

from personascope.statistics.intervals import Interval

# Slopes are searched as angles of the points scaled to spread alike, short of a vertical line.
_STEEPEST = math.pi / 2 - 1e-4
_ANGLES = 721


def slope_of(x: np.ndarray, y: np.ndarray, x_errors: np.ndarray, y_errors: np.ndarray, level: float = 0.95) -> Interval:
    """The slope of y on x, [points] each, with standard errors of both, those of y above 0.

    The line is the one that most likely made the points (York, 1966): without `x_errors` it is the weighted least-squares
    line, which errors of x would flatten. The interval holds the slopes that are not much less likely, by Student's t, where
    scatter beyond the errors widens it as it does there; an end that is not seen is infinite. NaN for fewer than three
    points, for points of one x or one y, and where a number or an error is not finite.
    """
    numbers = np.stack([x, y, x_errors, y_errors]).astype(np.float64)
    if len(x) < 3 or not np.isfinite(numbers).all() or np.ptp(x) == 0 or np.ptp(y) == 0:
        return Interval(math.nan, math.nan, math.nan)
    spread = np.ptp(x), np.ptp(y)
    x, y, x_errors, y_errors = numbers / np.array([spread[0], spread[1], spread[0], spread[1]])[:, None]

    def misfit(angle: float) -> float:
        slope = math.tan(angle)
        weights = 1.0 / (y_errors**2 + (slope * x_errors) ** 2)
        left = y - slope * x
        return float((weights * (left - np.average(left, weights=weights)) ** 2).sum())

    angles = np.linspace(-_STEEPEST, _STEEPEST, _ANGLES)
    near = int(np.argmin([misfit(angle) for angle in angles]))
    bounds = angles[max(near - 1, 0)], angles[min(near + 1, _ANGLES - 1)]
    best = float(minimize_scalar(misfit, bounds=bounds, options={"xatol": 1e-9}).x)
    least, freedom = misfit(best), len(x) - 2
    limit = least + float(t.ppf((1 + level) / 2, freedom)) ** 2 * max(least / freedom, 1.0)

    def end(towards: float) -> float:
        if misfit(towards) <= limit:
            return math.copysign(math.inf, towards)
        steps = np.linspace(best, towards, _ANGLES)
        first = next(place for place, angle in enumerate(steps) if misfit(angle) > limit)
        return math.tan(brentq(lambda angle: misfit(angle) - limit, steps[first - 1], steps[first]))

    scale = spread[1] / spread[0]
    return Interval(*(scale * slope for slope in (math.tan(best), end(-_STEEPEST), end(_STEEPEST))))
