"""Intervals from leaving out one unit at a time, for statistics that resampling with repeats would bias."""

import math
from collections.abc import Sequence

import numpy as np

from personascope.statistics.intervals import Interval

_REACH = 1.959964
# Of a cosine of 1, so that it has a place on Fisher's scale.
_BOUND = 1 - 1e-12


def jackknife_correlation(estimate: float, left_out: Sequence[np.ndarray]) -> Interval:
    """A 95 % interval of a correlation or cosine, on Fisher's scale.

    left_out: for every stratum the statistic with each of its units left out; with fewer than two of them in any, the
    bounds are NaN. Source: the jackknife (Tukey, 1958), in strata, on Fisher's scale (1915).
    """
    if not left_out or min(map(len, left_out)) < 2:
        return Interval(estimate, math.nan, math.nan)
    strata = [np.arctanh(np.clip(each, -_BOUND, _BOUND)) for each in left_out]
    reach = _REACH * math.sqrt(sum((len(each) - 1) * float(each.var()) for each in strata))
    middle = math.atanh(min(max(estimate, -_BOUND), _BOUND))
    return Interval(estimate, min(estimate, math.tanh(middle - reach)), max(estimate, math.tanh(middle + reach)))
