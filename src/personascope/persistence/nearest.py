"""Whether roles are told apart by the states that answers begin with."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from personascope.errors import UserError
from personascope.persistence.signature import Insertion
from personascope.statistics import Interval, finite, mean_interval


@dataclass(frozen=True)
class Classification:
    """Nearest centroid among roles. counts: [roles, roles], states of each (row) that were taken for each. accuracy: of
    single states; by_conversation: of a conversation's mean over its points, question by question; both with a 95 %
    interval over transcripts, those that share a control as one; NaN bounds of one."""

    roles: tuple[str | None, ...]
    counts: np.ndarray
    accuracy: Interval
    by_conversation: Interval

    def describe(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "roles": list(self.roles),
            "counts": self.counts.tolist(),
            "accuracy": finite(self.accuracy),
            "by_conversation": finite(self.by_conversation),
        }


def classify(found: Insertion) -> Classification:
    """Which role's centroid each state is nearest to, learned on other transcripts and other questions, all centred by the
    control.

    Halves of each role's transcripts and of the questions take turns. Raises `UserError` with fewer than two roles, two
    transcripts of a role, or two questions. Source: nearest-centroid classification, cross-validated by transcript and
    question.
    """
    roles = tuple(dict.fromkeys(found.roles))
    labels = np.array([roles.index(role) for role in found.roles])
    if len(roles) < 2 or np.bincount(labels).min() < 2 or len(found.questions) < 2:
        raise UserError("roles are told apart on held-out data; give two roles, two transcripts each, two questions")
    halves = _halves(labels, found.drawn)
    parts = np.arange(len(found.questions)) % 2
    centred = found.centred_states().astype(np.float64)
    taken = np.empty(centred.shape[:3], dtype=int)
    as_wholes = np.empty((len(labels), len(parts)), dtype=int)
    for half, part in product((0, 1), (0, 1)):
        learned = centred[:, :, parts != part].mean(axis=(1, 2))
        centroids = np.stack([learned[(labels == role) & (halves != half)].mean(axis=0) for role in range(len(roles))])
        held = np.ix_(halves == half, np.ones(len(found.points), dtype=bool), parts == part)
        taken[held] = _nearest(centred[held], centroids)
        as_wholes[np.ix_(halves == half, parts == part)] = _nearest(centred[held].mean(axis=1), centroids)
    right = (taken == labels[:, None, None]).mean(axis=(1, 2))
    wholes = (as_wholes == labels[:, None]).mean(axis=1)
    counts = np.stack([np.bincount(taken[labels == role].ravel(), minlength=len(roles)) for role in range(len(roles))])
    return Classification(roles, counts, _over(right, found.drawn), _over(wholes, found.drawn))


def _halves(labels: np.ndarray, drawn: Sequence[int]) -> np.ndarray:
    """[transcripts] 0 or 1. Those that share a control, of whatever role, are learned from together or told together, unless
    that would leave nothing of a role to learn from or to tell."""
    units = [list(dict.fromkeys(np.asarray(drawn)[labels == role].tolist())) for role in range(labels.max() + 1)]
    half_of: dict[int, int] = {}
    # Whoever has the fewest controls has the least choice.
    for ours in sorted(units, key=len):
        for unit in ours:
            if unit not in half_of:
                dealt = [half_of[one] for one in ours if one in half_of]
                half_of[unit] = int(2 * sum(dealt) < len(dealt))
    halves = np.array([half_of[unit] for unit in drawn])
    for role in range(len(units)):
        places = np.flatnonzero(labels == role)
        if len(set(halves[places].tolist())) < 2:
            halves[places] = np.arange(len(places)) % 2
    return halves


def _over(values: np.ndarray, units: Sequence[int]) -> Interval:
    if len(set(units)) < 2:
        return Interval(float(values.mean()), math.nan, math.nan)
    return mean_interval(values, units)


def _nearest(states: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """For each of some states, [..., hidden], the number of the centroid it is nearest to."""
    return np.asarray(((centroids**2).sum(axis=1) - 2 * states @ centroids.T).argmin(axis=-1))
