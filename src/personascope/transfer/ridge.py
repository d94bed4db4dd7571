"""Ridge regression for many penalties from folded sums: one eigendecomposition a fold."""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch

from personascope.errors import UserError
from personascope.transfer.gathering import Block, gather
from personascope.transfer.gram import FoldedGram
from personascope.transfer.held_out import Components, HeldOut, Split, check_varies, random_map, score, singular_values
from personascope.transfer.map import LinearMap
from personascope.transfer.spectral import Fitted, Tested

LAMBDAS = (0.01, 0.1, 1.0, 10.0, 100.0)


def fit_map(
    X: Any,
    Y: Any,
    lambdas: Sequence[float] = LAMBDAS,
    folds: int = 5,
    groups: Any = None,
    center: bool = True,
    relative: bool = False,
    source_layer: int | None = None,
    target_layer: int | None = None,
    controls: bool = True,
    seed: int = 0,
) -> LinearMap:
    """The ridge map from paired activations, with the penalty of the least cross-validated error.

    X: [n, d_source], Y: [n, d_target], arrays or tensors, row by row of the same place in a text. groups: [n], the text
    of each row, which no two folds share; None: every row is a text. lambdas: penalties as scikit-learn's `Ridge` takes
    them, on the rows about their mean; relative: in units of tr(G)/d_source, G their Gram matrix. center=False fits
    without means and bias. controls: score a map of shuffled pairs and a random one too. Float64 throughout.
    Raises `UserError` on rows that do not pair up, too few texts, unusable penalties; `NonFinite` naming row and text.
    Source: Hoerl & Kennard (1970); persona transfer by ridge regression.
    """
    check_lambdas(lambdas)
    return ridge(gather([(X, Y, groups)], folds, seed, controls), lambdas, center, relative, source_layer, target_layer)


def fit_map_from(
    blocks: Iterable[Block],
    lambdas: Sequence[float] = LAMBDAS,
    folds: int = 5,
    center: bool = True,
    relative: bool = False,
    source_layer: int | None = None,
    target_layer: int | None = None,
    controls: bool = True,
    seed: int = 0,
) -> LinearMap:
    """`fit_map` of more rows than memory holds, read once: blocks of (X, Y, groups), in any sizes."""
    check_lambdas(lambdas)
    return ridge(gather(blocks, folds, seed, controls), lambdas, center, relative, source_layer, target_layer)


def ridge(
    gram: FoldedGram,
    lambdas: Sequence[float] = LAMBDAS,
    center: bool = True,
    relative: bool = False,
    source_layer: int | None = None,
    target_layer: int | None = None,
) -> LinearMap:
    """`fit_map` from sums that were gathered before; controls are scored if the sums hold shuffled pairs."""
    check_lambdas(lambdas)
    tried = tuple(float(each) for each in lambdas)
    total = gram.total
    check_varies(total)
    components = Components.of(total)
    at = total.origin(center)
    whole = Fitted.of(total.about(*at), components, center, gram.width_x)
    tests = [Tested.of(split, components, center, gram.width_x) for split in Split.each(gram, components, center)]
    errors = np.array([test.choice(tried, relative) for test in tests])
    best = least(errors, tried)
    penalty = whole.penalties(tried, relative)[best]
    turned = whole.weight(penalty)
    spectrum = singular_values(turned)
    held = _score(components, gram.width_y, tests, errors, tried[best], relative, spectrum)
    weight = gram.lift_y(gram.lift_x(whole.vectors @ turned @ components.vectors.T))
    return LinearMap(
        weight=torch.from_numpy(weight),
        bias=torch.from_numpy(gram.bias(at, weight)),
        method="ridge",
        held_out=held,
        rows=total.rows,
        texts=gram.texts,
        is_centered=center,
        source_layer=source_layer,
        target_layer=target_layer,
        lambdas=tried,
        best_lambda=tried[best],
        is_relative=relative,
        penalty=float(penalty),
        spectrum=spectrum,
        degrees_of_freedom=whole.degrees_of_freedom(penalty),
        condition_number=whole.condition_number(penalty),
    )


def _score(
    components: Components,
    width: int,
    tests: Sequence[Tested],
    errors: np.ndarray,
    best: float,
    relative: bool,
    spectrum: np.ndarray,
) -> HeldOut:
    penalties = [test.fitted.penalties([best], relative)[0] for test in tests]
    chosen = [test.by_component(test.fitted.weight(each)) for test, each in zip(tests, penalties, strict=True)]
    shuffled, random = [], []
    for test, penalty in zip(tests, penalties, strict=True):
        if test.fitted.shuffled is not None:
            shuffled.append(test.by_component(test.fitted.shrink(penalty)[:, None] * test.fitted.shuffled))
            random.append(test.by_component(random_map(test.xy.shape, spectrum)))
    rows, spreads = [test.rows for test in tests], [test.spread for test in tests]
    return score(components, width, rows, spreads, errors, chosen, shuffled, random)


def least(errors: np.ndarray, lambdas: Sequence[float]) -> int:
    """Which penalty has the least error, [folds, λ] summed over folds; of equal ones the larger, which bends less."""
    return max(range(len(lambdas)), key=lambda place: (-errors[:, place].sum(), lambdas[place]))


def check_lambdas(lambdas: Sequence[float]) -> None:
    if np.ndim(lambdas) != 1 or isinstance(lambdas, str):
        raise UserError(f"lambdas={lambdas!r} must be a list of penalties, such as [1.0]")
    if not len(lambdas):
        raise UserError("there is no lambda to try; give at least one, such as lambdas=[1.0]")
    for each in lambdas:
        if not (isinstance(each, (int, float, np.number)) and math.isfinite(each) and each >= 0):
            raise UserError(f"lambda {each!r} is not a penalty; give finite numbers from 0 up")
