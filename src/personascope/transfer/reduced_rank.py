"""Ridge cut down to few dimensions: how many a map needs."""

from collections.abc import Sequence

import numpy as np
import torch

from personascope.errors import UserError
from personascope.transfer.gram import FoldedGram
from personascope.transfer.held_out import Components, Split, check_varies, random_map, score, singular_values
from personascope.transfer.map import LinearMap
from personascope.transfer.ridge import LAMBDAS, check_lambdas, least
from personascope.transfer.spectral import Fitted, Tested


def reduced_rank(
    gram: FoldedGram,
    ranks: Sequence[int] | None = None,
    lambdas: Sequence[float] = LAMBDAS,
    center: bool = True,
    relative: bool = False,
    source_layer: int | None = None,
    target_layer: int | None = None,
) -> LinearMap:
    """The ridge map of a given rank with the least penalised error, W V_r V_rᵀ, for the rank that does best held out.

    V_r: the first r eigenvectors of Wᵀ(xx + λ)W. The penalty is the best one at full rank; `cv_error` is by rank.
    ranks: all powers of two, and the full rank, where None are given. Raises `UserError` on a rank that cannot be.
    Source: Mukherjee & Zhu (2011).
    """
    check_lambdas(lambdas)
    tried = tuple(float(each) for each in lambdas)
    total = gram.total
    check_varies(total)
    components, at = Components.of(total), total.origin(center)
    whole = Fitted.of(total.about(*at), components, center, gram.width_x)
    tests = [Tested.of(split, components, center, gram.width_x) for split in Split.each(gram, components, center)]
    full = min(test.fitted.met.shape[axis] for test in tests for axis in (0, 1))
    chosen_ranks = _ranks(ranks, full)
    best = tried[least(np.array([test.choice(tried, relative) for test in tests]), tried)]
    cuts = [_Cut.of(test.fitted, test.fitted.met, best, relative) for test in tests]
    places = np.array(chosen_ranks) - 1
    errors = np.array([cut.errors(test)[places] for cut, test in zip(cuts, tests, strict=True)])
    rank = chosen_ranks[int(errors.sum(axis=0).argmin())]
    found = _Cut.of(whole, whole.met, best, relative).weight(rank)
    spectrum = singular_values(found)
    chosen = [test.by_component(cut.weight(rank)) for cut, test in zip(cuts, tests, strict=True)]
    shuffled, random = [], []
    for test in tests:
        if test.fitted.shuffled is not None:
            control = _Cut.of(test.fitted, test.fitted.shuffled, best, relative).weight(rank)
            shuffled.append(test.by_component(control))
            random.append(test.by_component(random_map(control.shape, spectrum)))
    rows, spreads = [test.rows for test in tests], [test.spread for test in tests]
    weight = gram.lift_y(gram.lift_x(whole.vectors @ found @ components.vectors.T))
    penalty = float(whole.penalties([best], relative)[0])
    return LinearMap(
        weight=torch.from_numpy(weight),
        bias=torch.from_numpy(gram.bias(at, weight)),
        method="reduced-rank ridge",
        held_out=score(components, gram.width_y, rows, spreads, errors, chosen, shuffled, random),
        rows=total.rows,
        texts=gram.texts,
        is_centered=center,
        source_layer=source_layer,
        target_layer=target_layer,
        lambdas=tried,
        best_lambda=best,
        is_relative=relative,
        penalty=penalty,
        ranks=chosen_ranks,
        rank=rank,
        spectrum=spectrum,
        degrees_of_freedom=whole.degrees_of_freedom(penalty),
        condition_number=whole.condition_number(penalty),
    )


class _Cut:
    """A ridge map, [k, d_target] from eigenvectors to components, and the order in which its directions are given up:
    columns [d_target, k], the most important first."""

    def __init__(self, ridge: np.ndarray, order: np.ndarray) -> None:
        self.ridge = ridge
        self.order = order

    @classmethod
    def of(cls, fitted: Fitted, met: np.ndarray, best: float, relative: bool) -> "_Cut":
        shrunk = fitted.shrink(fitted.penalties([best], relative)[0])[:, None]
        # WᵀW weighted by xx + λ is met·met weighted by 1/(Λ + λ).
        _, _, right = np.linalg.svd(np.sqrt(shrunk) * met, full_matrices=False)
        return cls(shrunk * met, right.T)

    def weight(self, rank: int) -> np.ndarray:
        """[k, d_target]: the map of that rank."""
        kept = self.order[:, :rank]
        return (self.ridge @ kept) @ kept.T

    def errors(self, test: Tested) -> np.ndarray:
        """[ranks 1, 2, …]: squared errors on a fold, summed."""
        turned = self.ridge @ self.order
        gains = np.einsum("ij,ij->j", turned, 2 * test.xy @ self.order - test.xx @ turned)
        return test.yy.sum() - np.cumsum(gains)


def _ranks(ranks: Sequence[int] | None, full: int) -> tuple[int, ...]:
    if ranks is None:
        return (*(2**power for power in range(full.bit_length()) if 2**power < full), full)
    for rank in ranks:
        if not 1 <= rank <= full:
            raise UserError(f"rank {rank} cannot be: these rows allow ranks 1 to {full}")
    if not len(ranks):
        raise UserError(f"there is no rank to try; give some from 1 to {full}")
    return tuple(ranks)
