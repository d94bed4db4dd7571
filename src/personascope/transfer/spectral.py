"""Sums in the coordinates in which ridge is a division: eigenvectors of x's Gram matrix, components of the target."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from personascope.transfer.gram import Gram
from personascope.transfer.held_out import Components, Split


@dataclass(frozen=True, eq=False)
class Fitted:
    """Ridge for every penalty at once: W = E (A / (Λ + λ)), in the target's components.

    values, vectors: Λ [k] and E [d_source, k], eigenvalues and -vectors of xx; met: A = Eᵀ xy, [k, d_target];
    shuffled: the same of shuffled pairs. width: d_source, of which the rows may span only k.
    """

    values: np.ndarray
    vectors: np.ndarray
    met: np.ndarray
    shuffled: np.ndarray | None
    width: int

    @classmethod
    def of(cls, gram: Gram, components: Components, center: bool, width: int) -> "Fitted":
        """From sums about the point to fit about; width: of the rows of x before they were reduced."""
        values, vectors = np.linalg.eigh((gram.xx + gram.xx.T) / 2)
        # n rows span no more than n dimensions, one less about their mean: the rest of the values is rounding.
        spanned = max(1, min(len(values), gram.rows - center))
        values, vectors = values[-spanned:].clip(0.0), vectors[:, -spanned:]
        across = [gram.xy] if gram.shuffled is None else [gram.xy, gram.shuffled]
        met = [vectors.T @ (each @ components.vectors) for each in across]
        return cls(values, vectors, met[0], met[1] if len(met) > 1 else None, width)

    @property
    def unit(self) -> float:
        """tr(xx)/d_source."""
        return float(self.values.sum()) / self.width

    def penalties(self, lambdas: Sequence[float], relative: bool) -> np.ndarray:
        """[λ]: in the units of the Gram matrix."""
        return np.array(lambdas) * (self.unit if relative else 1.0)

    def shrink(self, penalty: float) -> np.ndarray:
        """[k]: 1/(Λ + λ), and 0 where that is 1 over rounding."""
        summed = self.values + penalty
        is_rounding = summed <= np.finfo(np.float64).eps * len(summed) * self.values[-1]
        return np.where(is_rounding, 0.0, 1.0 / np.where(is_rounding, 1.0, summed))

    def weight(self, penalty: float) -> np.ndarray:
        """[k, d_target]: the map from eigenvectors to components."""
        return self.shrink(penalty)[:, None] * self.met

    def degrees_of_freedom(self, penalty: float) -> float:
        """Σ Λ/(Λ + λ)."""
        return float(self.values @ self.shrink(penalty))

    def condition_number(self, penalty: float) -> float:
        """Of xx + λ: its largest over its smallest eigenvalue; infinite where the smallest is 0."""
        least = self.values[0] if len(self.values) == self.width else 0.0
        smallest = float(least + penalty)
        return float(self.values[-1] + penalty) / smallest if smallest > 0 else math.inf


@dataclass(frozen=True, eq=False)
class Tested:
    """A fold's fit on the rest, and the sums of the fold itself in the same coordinates.

    rows: of the fold. xx: H = Eᵀ xx E; xy: D = Eᵀ xy; yy: [d_target], Σ y² by component; spread: the same about the
    training mean. The fit's own vectors are not kept.
    """

    fitted: Fitted
    rows: int
    spread: np.ndarray
    xx: np.ndarray
    xy: np.ndarray
    yy: np.ndarray

    @classmethod
    def of(cls, split: Split, components: Components, center: bool, width: int) -> "Tested":
        fitted = Fitted.of(split.train, components, center, width)
        basis, test = fitted.vectors, split.test
        return cls(
            replace(fitted, vectors=np.empty((0, 0))),
            test.rows,
            split.spread,
            xx=basis.T @ (test.xx @ basis),
            xy=basis.T @ (test.xy @ components.vectors),
            yy=split.spread if center else components.squares(test),
        )

    def errors(self, penalties: np.ndarray) -> np.ndarray:
        """[λ]: squared errors on the fold, summed: Σy² − 2Σ rᵢ(A∘D)ᵢ + Σ rᵢrⱼ(H∘AAᵀ)ᵢⱼ with r = 1/(Λ + λ)."""
        shrunk = np.array([self.fitted.shrink(penalty) for penalty in penalties])
        linear = np.einsum("ij,ij->i", self.fitted.met, self.xy)
        square = self.xx * (self.fitted.met @ self.fitted.met.T)
        return self.yy.sum() - 2 * shrunk @ linear + np.einsum("li,li->l", shrunk @ square, shrunk)

    def by_component(self, turned: np.ndarray) -> np.ndarray:
        """[d_target]: the same by component for a map from eigenvectors to components."""
        bent = 2 * self.xy - self.xx @ turned
        return self.yy - np.einsum("ij,ij->j", turned, bent)

    def choice(self, lambdas: Sequence[float], relative: bool) -> np.ndarray:
        """[λ]: `errors` of penalties given in either unit."""
        return self.errors(self.fitted.penalties(lambdas, relative))
