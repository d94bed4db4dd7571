"""Statistics: effect sizes, intervals, and change points."""

from personascope.statistics.correction import holm
from personascope.statistics.effects import auroc, cohens_d, cosine
from personascope.statistics.intervals import Interval, bootstrap, finite, mean_interval, resampled_means
from personascope.statistics.jackknife import jackknife_correlation
from personascope.statistics.permutation import label_test, least_p, sign_flip_test
from personascope.statistics.rank_sum import rank_sum_test
from personascope.statistics.separation import Separation
from personascope.statistics.slopes import slope_of

__all__ = [
    "Interval",
    "Separation",
    "auroc",
    "bootstrap",
    "cohens_d",
    "cosine",
    "finite",
    "holm",
    "jackknife_correlation",
    "label_test",
    "least_p",
    "mean_interval",
    "rank_sum_test",
    "resampled_means",
    "sign_flip_test",
    "slope_of",
]
