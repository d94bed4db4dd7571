"""Sums over paired rows that a linear map can be fitted and scored from, without the rows."""

from dataclasses import dataclass
from functools import reduce

import numpy as np


@dataclass(eq=False)
class Gram:
    """Sums over pairs of rows (x, y), each taken about a fixed point close to its mean.

    rows: how many. at_x, at_y: the points, [d_source] and [d_target]. x, y: Σ(x − at_x), Σ(y − at_y). xx, xy, yy: sums of
    products of the same, [d_source, d_source], [d_source, d_target], [d_target, d_target]. shuffled: as xy, of x with
    the y of another text; None where that was not asked for or cannot be. All float64.

    A dimension whose mean is a hundred times its spread leaves no digits for the spread once it has been squared; hence
    the points.
    """

    rows: int
    at_x: np.ndarray
    at_y: np.ndarray
    x: np.ndarray
    y: np.ndarray
    xx: np.ndarray
    xy: np.ndarray
    yy: np.ndarray
    shuffled: np.ndarray | None = None

    @classmethod
    def empty(cls, at_x: np.ndarray, at_y: np.ndarray) -> "Gram":
        """No rows yet."""
        source, target = len(at_x), len(at_y)
        return cls(
            0,
            at_x,
            at_y,
            np.zeros(source),
            np.zeros(target),
            np.zeros((source, source)),
            np.zeros((source, target)),
            np.zeros((target, target)),
        )

    def add(self, x: np.ndarray, y: np.ndarray) -> None:
        """Take in rows [n, d_source] and [n, d_target], float64, about the points already."""
        self.rows += len(x)
        self.x += x.sum(axis=0)
        self.y += y.sum(axis=0)
        self.xx += x.T @ x
        self.xy += x.T @ y
        self.yy += y.T @ y

    @property
    def mean_x(self) -> np.ndarray:
        """[d_source]: the mean of x, about 0."""
        return self.at_x + self.x / self.rows

    @property
    def mean_y(self) -> np.ndarray:
        """[d_target]: the mean of y, about 0."""
        return self.at_y + self.y / self.rows

    def origin(self, center: bool) -> tuple[np.ndarray, np.ndarray]:
        """The points to fit about: the means, or 0 for a map without a bias."""
        return (self.mean_x, self.mean_y) if center else (np.zeros_like(self.at_x), np.zeros_like(self.at_y))

    def about(self, at_x: np.ndarray, at_y: np.ndarray) -> "Gram":
        """The same sums about other points."""
        a, b = at_x - self.at_x, at_y - self.at_y
        x, y = self.x - self.rows * a, self.y - self.rows * b
        # Σ(x−a)(y−b)ᵀ = Σxyᵀ − (Σx)bᵀ − a(Σ(y−b))ᵀ
        across = np.outer(self.x, b) + np.outer(a, y)
        return Gram(
            self.rows,
            at_x,
            at_y,
            x,
            y,
            self.xx - np.outer(self.x, a) - np.outer(a, x),
            self.xy - across,
            self.yy - np.outer(self.y, b) - np.outer(b, y),
            None if self.shuffled is None else self.shuffled - across,
        )

    def __add__(self, other: "Gram") -> "Gram":
        return self._joined(other, 1)

    def __sub__(self, other: "Gram") -> "Gram":
        """The sums without some of their rows."""
        return self._joined(other, -1)

    def _joined(self, other: "Gram", sign: int) -> "Gram":
        if not (np.array_equal(self.at_x, other.at_x) and np.array_equal(self.at_y, other.at_y)):
            other = other.about(self.at_x, self.at_y)
        return Gram(
            self.rows + sign * other.rows,
            self.at_x,
            self.at_y,
            self.x + sign * other.x,
            self.y + sign * other.y,
            self.xx + sign * other.xx,
            self.xy + sign * other.xy,
            self.yy + sign * other.yy,
            None if self.shuffled is None or other.shuffled is None else self.shuffled + sign * other.shuffled,
        )


@dataclass(frozen=True, eq=False)
class FoldedGram:
    """The sums of every fold, from one pass over the rows; no text is in two folds.

    texts: how many there were. basis_x, basis_y: [width, rows] with orthonormal columns where there were fewer rows
    than dimensions, None otherwise: the sums are then those of the rows' coordinates in it, which loses nothing, since
    rows have no part outside the space they span.
    """

    folds: tuple[Gram, ...]
    texts: int
    basis_x: np.ndarray | None = None
    basis_y: np.ndarray | None = None

    @property
    def total(self) -> Gram:
        """The sums over all rows."""
        return reduce(Gram.__add__, self.folds)

    @property
    def width_x(self) -> int:
        """d_source: how wide the rows of x were."""
        return len(self.folds[0].at_x) if self.basis_x is None else len(self.basis_x)

    @property
    def width_y(self) -> int:
        """d_target: how wide the rows of y were."""
        return len(self.folds[0].at_y) if self.basis_y is None else len(self.basis_y)

    def lift_x(self, columns: np.ndarray) -> np.ndarray:
        """[d_source, …] of what was found in the sums' own coordinates."""
        return columns if self.basis_x is None else self.basis_x @ columns

    def lift_y(self, rows: np.ndarray) -> np.ndarray:
        """[…, d_target] of what was found in the sums' own coordinates."""
        return rows if self.basis_y is None else rows @ self.basis_y.T

    def bias(self, at: tuple[np.ndarray, np.ndarray], weight: np.ndarray) -> np.ndarray:
        """[d_target]: what to add to xW, W [d_source, d_target], so that it takes point to point."""
        return self.lift_y(at[1]) - self.lift_x(at[0]) @ weight
