"""Which layer of one model holds what a layer of the other does: CKA on the differences of contrast pairs."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from personascope.errors import UserError
from personascope.extraction.steering import candidate_layers
from personascope.transfer.contrast import Contrast

_LEAST_PAIRS = 4


def linear_cka(x: np.ndarray, y: np.ndarray) -> float:
    """How alike two representations of the same rows are, 0..1; x: [n, d], y: [n, e].

    ‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖), columns about their means, Frobenius norms. 0 where either does not vary.
    Source: Kornblith et al. (2019).
    """
    x, y = (each.astype(np.float64) - each.mean(axis=0, dtype=np.float64) for each in (x, y))
    # [n, n] or [d, e], whichever is smaller, gives the same norms.
    if len(x) < min(x.shape[1], y.shape[1]):
        one, other = x @ x.T, y @ y.T
        met, own, others = float((one * other).sum()), np.linalg.norm(one), np.linalg.norm(other)
    else:
        met = float((y.T @ x).ravel() @ (y.T @ x).ravel())
        own, others = np.linalg.norm(x.T @ x), np.linalg.norm(y.T @ y)
    return met / float(own * others) if own > 0 and others > 0 else 0.0


def cka_table(source: Sequence[Contrast], target: Sequence[Contrast]) -> np.ndarray:
    """[layers of the source, layers of the target]: CKA of the differences of the pairs that both have.

    Raises `UserError` where they are too few to tell.
    """
    ours, theirs = [], []
    for one, other in zip(source, target, strict=True):
        place = {match: row for row, match in enumerate(other.matches)}
        shared = [row for row, match in enumerate(one.matches) if match in place]
        ours.append(one.differences[shared].numpy())
        theirs.append(other.differences[[place[one.matches[row]] for row in shared]].numpy())
    x, y = np.concatenate(ours), np.concatenate(theirs)
    if len(x) < _LEAST_PAIRS:
        raise UserError(
            f"layers are chosen by CKA from {_LEAST_PAIRS} contrast pairs on, and there are {len(x)}; set source_layer and "
            "target_layer, or give more pairs"
        )
    return np.array([[linear_cka(x[:, i], y[:, j]) for j in range(y.shape[1])] for i in range(x.shape[1])])


def choose_layers(table: np.ndarray, source_layer: Any, target_layer: Any) -> tuple[int, int]:
    """The pair of layers with the most CKA; a layer that is set stays. In a deep model those of the middle half."""
    rows = candidate_layers(range(table.shape[0]), table.shape[0]) if source_layer == "auto" else [source_layer]
    columns = candidate_layers(range(table.shape[1]), table.shape[1]) if target_layer == "auto" else [target_layer]
    best = max(((table[i, j], i, j) for i in rows for j in columns), key=lambda one: one[0])
    return best[1], best[2]
