"""How far apart two groups of numbers are."""

import numpy as np
from scipy.stats import rankdata


def auroc(labels: np.ndarray, values: np.ndarray) -> float:
    """The chance that a positive has the larger value, ties counting half; 0.5 where one class is absent."""
    labels = np.asarray(labels, dtype=bool)
    positives = int(labels.sum())
    negatives = len(labels) - positives
    if not positives or not negatives:
        return 0.5
    ranks = rankdata(values)
    return float((ranks[labels].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def cohens_d(labels: np.ndarray, values: np.ndarray) -> float:
    """Difference of the means over the pooled standard deviation; 0 where either class has fewer than two members."""
    labels, values = np.asarray(labels, dtype=bool), np.asarray(values, dtype=np.float64)
    ours, theirs = values[labels], values[~labels]
    if len(ours) < 2 or len(theirs) < 2:
        return 0.0
    freedom = len(ours) + len(theirs) - 2
    pooled = np.sqrt(((len(ours) - 1) * ours.var(ddof=1) + (len(theirs) - 1) * theirs.var(ddof=1)) / freedom)
    return float((ours.mean() - theirs.mean()) / pooled) if pooled > 0 else 0.0


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    """Cosine of the angle between two vectors; 0 where either has no length."""
    one, other = np.asarray(one, dtype=np.float64), np.asarray(other, dtype=np.float64)
    length = np.linalg.norm(one) * np.linalg.norm(other)
    return float(one @ other / length) if length > 0 else 0.0
