"""Which layer of one model holds what a layer of the other does: CKA on the differences of contrast pairs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from personascope.errors import UserError
from personascope.extraction.steering import candidate_layers
from personascope.transfer.contrast import Contrast

LEAST_PAIRS = 4


@dataclass(frozen=True, eq=False)
class _Rows:
    """Rows about their mean [n, d]. gram: [n, n], None where that is the larger. norm: of either similarity matrix."""

    rows: np.ndarray
    gram: np.ndarray | None
    norm: float

    @classmethod
    def of(cls, x: np.ndarray) -> "_Rows":
        rows = x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)
        gram = rows @ rows.T if len(rows) < rows.shape[1] else None
        return cls(rows, gram, float(np.linalg.norm(rows.T @ rows if gram is None else gram)))

    def alignment(self, other: "_Rows") -> float:
        if not (self.norm > 0 and other.norm > 0):
            return 0.0
        if self.gram is not None and other.gram is not None:
            met = float((self.gram * other.gram).sum())
        else:
            met = float(np.square(other.rows.T @ self.rows).sum())
        return met / (self.norm * other.norm)


def linear_cka(x: np.ndarray, y: np.ndarray) -> float:
    """How alike two representations of the same rows are, 0..1; x: [n, d], y: [n, e].

    ‖YᵀX‖² / (‖XᵀX‖ ‖YᵀY‖), columns about their means, Frobenius norms. 0 where either does not vary.
    Source: Kornblith et al. (2019).
    """
    return _Rows.of(x).alignment(_Rows.of(y))


def cka_table(
    source: Sequence[Contrast], target: Sequence[Contrast], source_layer: Any = "auto", target_layer: Any = "auto"
) -> np.ndarray:
    """[layers of the source, layers of the target]: CKA of the differences of the pairs that both have; NaN at layers that
    are not for choice.

    Raises `UserError` where they are too few to tell.
    """
    ours, theirs = [], []
    for one, other in zip(source, target, strict=True):
        place = {match: row for row, match in enumerate(other.matches)}
        shared = [row for row, match in enumerate(one.matches) if match in place]
        ours.append(one.differences[shared].numpy())
        theirs.append(other.differences[[place[one.matches[row]] for row in shared]].numpy())
    x, y = np.concatenate(ours), np.concatenate(theirs)
    if len(x) < LEAST_PAIRS:
        raise UserError(too_few_pairs(len(x)))
    table = np.full((x.shape[1], y.shape[1]), np.nan)
    columns = {layer: _Rows.of(y[:, layer]) for layer in _for_choice(target_layer, y.shape[1])}
    for row in _for_choice(source_layer, x.shape[1]):
        held = _Rows.of(x[:, row])
        for column, rows in columns.items():
            table[row, column] = held.alignment(rows)
    return table


def choose_layers(table: np.ndarray) -> tuple[int, int]:
    """The pair of layers with the most CKA, of equal ones the first."""
    row, column = np.unravel_index(np.nanargmax(table), table.shape)
    return int(row), int(column)


def too_few_pairs(count: int) -> str:
    return (
        f"layers are chosen by CKA from {LEAST_PAIRS} contrast pairs on, and there are {count}; set source_layer and "
        "target_layer, or give more pairs"
    )


def _for_choice(asked: Any, n_layers: int) -> list[int]:
    """The layer that is set; otherwise all, of a deep model some of the middle half."""
    return candidate_layers(range(n_layers), n_layers) if asked == "auto" else [asked]
