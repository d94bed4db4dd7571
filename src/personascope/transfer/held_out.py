"""How well maps do on the folds they were not fitted on, as a whole and by principal components of the target."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from personascope.errors import UserError
from personascope.transfer.gram import FoldedGram, Gram

# Where bands end, two to a decade: 10, 30, 100 …, since variances fall off over many of them.
_ENDS = tuple(lead * 10**power for power in range(1, 8) for lead in (1, 3))


@dataclass(frozen=True)
class Band:
    """Principal components `first` to `last` of the target, from 1, the largest first; share: of its variance.

    r2, shuffled_r2, random_r2: held-out R² of the map, and of its two controls where they were asked for.
    """

    first: int
    last: int
    share: float
    r2: float
    shuffled_r2: float | None = None
    random_r2: float | None = None

    def describe(self) -> dict[str, Any]:
        """Plain values."""
        return dict(vars(self))


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Scores on held-out folds. errors: [folds, choices], the mean squared error of a row and dimension, for every λ or
    rank that was tried; cv_error: [choices], the same over all folds. R² counts from the training mean.

    shuffled_r2: of a map fitted in the same way to pairs of different texts. random_r2: of a map with the same singular
    values and random singular vectors. Both None where they were not asked for, or a fold is of one text, or nearly.
    choice_r2: [choices], R² of every λ or rank that was tried; empty in files from before it was kept.
    """

    errors: np.ndarray
    cv_error: np.ndarray
    r2: float
    fold_r2: tuple[float, ...]
    bands: tuple[Band, ...]
    shuffled_r2: float | None = None
    random_r2: float | None = None
    choice_r2: np.ndarray = field(default_factory=lambda: np.empty(0))


def check_varies(total: Gram) -> None:
    """Raises `UserError` where all rows of one side are alike, to rounding."""
    centred = total.about(total.mean_x, total.mean_y)
    for name, square, mean in (("X", centred.xx, total.mean_x), ("Y", centred.yy, total.mean_y)):
        if square.trace() <= 1e-20 * total.rows * float(mean @ mean):
            raise UserError(f"{name} does not vary: all its rows are alike, and nothing can be learnt from them")


@dataclass(frozen=True, eq=False)
class Components:
    """The principal components of the target: vectors [d_target, d_target] in columns, variances [d_target], falling."""

    vectors: np.ndarray
    variances: np.ndarray

    @classmethod
    def of(cls, total: Gram) -> "Components":
        """From the sums over all rows, about any point."""
        values, vectors = np.linalg.eigh(total.about(total.mean_x, total.mean_y).yy)
        return cls(vectors[:, ::-1].copy(), values[::-1].clip(0.0) / total.rows)

    @property
    def rank(self) -> int:
        """How many components have any variance."""
        return int((self.variances > 1e-13 * self.variances[0]).sum())

    @property
    def bands(self) -> list[tuple[int, int]]:
        """(first, last) of each band, from 1, last included."""
        ends = [*(end for end in _ENDS if end < self.rank), self.rank]
        return [(first + 1, last) for first, last in zip([0, *ends], ends, strict=False)]

    def squares(self, gram: Gram) -> np.ndarray:
        """[d_target]: Σ of the squared component of y, about the Gram's own point."""
        return np.einsum("ij,ij->j", self.vectors, gram.yy @ self.vectors)


@dataclass(frozen=True, eq=False)
class Split:
    """One fold apart from the rest. train, test: sums about the point that the map is fitted about: the training means,
    or 0; spread: [d_target], by component, Σ of squares of the test rows about the training mean of y."""

    train: Gram
    test: Gram
    spread: np.ndarray

    @classmethod
    def each(cls, gram: FoldedGram, components: Components, center: bool) -> Iterator["Split"]:
        """Every fold in turn; the sums are large, so none is kept."""
        total = gram.total
        for fold in gram.folds:
            rest = total - fold
            at, means = rest.origin(center), rest.origin(True)
            test = fold.about(*at)
            spread = components.squares(test if center else fold.about(*means))
            yield cls(rest.about(*at), test, spread)

    def errors(self, weight: np.ndarray, components: Components) -> np.ndarray:
        """[d_target]: by component, the squared error on the test rows of a map [d_source, d_target], summed."""
        turned = weight @ components.vectors
        found = components.squares(self.test)
        found -= 2 * np.einsum("ij,ij->j", turned, self.test.xy @ components.vectors)
        return found + np.einsum("ij,ij->j", turned, self.test.xx @ turned)


def score(
    components: Components,
    width: int,
    rows: Sequence[int],
    spreads: Sequence[np.ndarray],
    tried: np.ndarray,
    chosen: Sequence[np.ndarray],
    shuffled: Sequence[np.ndarray] = (),
    random: Sequence[np.ndarray] = (),
) -> HeldOut:
    """Scores from summed squared errors.

    width: d_target. rows: of each fold. spreads: of each fold, as in `Split`. tried: [folds, choices]. chosen, shuffled,
    random: of each fold [d_target], by component, of the map that was chosen and of its controls.
    """
    spread = np.array(spreads)

    def r2(errors: Sequence[np.ndarray], part: slice = slice(None)) -> float | None:
        if not len(errors):
            return None
        return float(1 - np.array(errors)[:, part].sum() / spread[:, part].sum())

    bands = []
    for first, last in components.bands:
        part = slice(first - 1, last)
        share = float(components.variances[part].sum() / components.variances.sum())
        found = r2(chosen, part)
        assert found is not None
        bands.append(Band(first, last, share, found, r2(shuffled, part), r2(random, part)))
    whole = r2(chosen)
    assert whole is not None
    with np.errstate(divide="ignore", invalid="ignore"):
        by_fold = 1 - np.array(chosen).sum(axis=1) / spread.sum(axis=1)
    return HeldOut(
        errors=tried / (np.array(rows)[:, None] * width),
        cv_error=tried.sum(axis=0) / (sum(rows) * width),
        r2=whole,
        fold_r2=tuple(by_fold.tolist()),
        bands=tuple(bands),
        shuffled_r2=r2(shuffled),
        random_r2=r2(random),
        choice_r2=1 - tried.sum(axis=0) / spread.sum(),
    )


def singular_values(weight: np.ndarray) -> np.ndarray:
    """Singular values, falling; those below 1e-8 of the largest are rounding. Much quicker than by an SVD."""
    smaller = weight if weight.shape[0] <= weight.shape[1] else weight.T
    return np.sqrt(np.linalg.eigvalsh(smaller @ smaller.T)[::-1].clip(0.0))


@lru_cache(maxsize=2)
def _random_columns(width: int, kept: int, seed: int) -> np.ndarray:
    """[width, kept]: orthonormal columns, any as likely as any other."""
    return np.linalg.qr(np.random.default_rng([seed, width]).standard_normal((width, kept)))[0]


def random_map(shape: tuple[int, ...], spectrum: np.ndarray) -> np.ndarray:
    """A map with given singular values and random singular vectors; what is random is so in any coordinates."""
    kept = min(*shape, len(spectrum))
    left, right = _random_columns(shape[0], kept, 0), _random_columns(shape[1], kept, 1)
    return (left * spectrum[:kept]) @ right.T
