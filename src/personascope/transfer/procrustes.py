"""Orthogonal maps: a rotation from one space to another, better than ridge where there are few rows."""

from collections.abc import Callable

import numpy as np
import torch

from personascope.transfer.gram import FoldedGram, Gram
from personascope.transfer.held_out import Components, Split, check_varies, random_map, score, singular_values
from personascope.transfer.map import LinearMap

# Of the mean variance, added to every variance before its root is divided by.
_WHITENING = 1e-3


def procrustes(
    gram: FoldedGram,
    whitened: bool = False,
    center: bool = True,
    source_layer: int | None = None,
    target_layer: int | None = None,
) -> LinearMap:
    """The orthogonal map, times one number, that takes x closest to y: W = s·UVᵀ, where UΣVᵀ is the SVD of xy.

    Where widths differ, or rows do not span a space, W turns what they have in common and drops the rest. whitened:
    both sides are whitened first (a thousandth of the mean variance added to each) and y's own variances put back after,
    so that W is no rotation of the raw spaces. Controls are scored if the sums hold shuffled pairs.
    Source: Schönemann (1966); whitening as in Artetxe et al. (2018).
    """
    total = gram.total
    check_varies(total)
    at = total.origin(center)
    components = Components.of(total)
    turn = _whitened if whitened else _rotation
    whole = total.about(*at)
    found = turn(whole, whole.xy)
    scale = _scale(whole, whole.xy, found)
    spectrum = singular_values(scale * found)
    rows, spreads, chosen, shuffled, random = [], [], [], [], []
    for split in Split.each(gram, components, center):
        rows.append(split.test.rows)
        spreads.append(split.spread)
        chosen.append(split.errors(_scaled(turn, split.train, split.train.xy), components))
        if split.train.shuffled is not None:
            shuffled.append(split.errors(_scaled(turn, split.train, split.train.shuffled), components))
            random.append(split.errors(random_map(found.shape, spectrum), components))
    tried = np.array(chosen).sum(axis=1, keepdims=True)
    weight = gram.lift_y(gram.lift_x(scale * found))
    return LinearMap(
        weight=torch.from_numpy(weight),
        bias=torch.from_numpy(gram.bias(at, weight)),
        method="whitened procrustes" if whitened else "procrustes",
        held_out=score(components, gram.width_y, rows, spreads, tried, chosen, shuffled, random),
        rows=total.rows,
        texts=gram.texts,
        is_centered=center,
        source_layer=source_layer,
        target_layer=target_layer,
        scale=scale,
        spectrum=spectrum,
    )


Turn = Callable[[Gram, np.ndarray], np.ndarray]


def _rotation(gram: Gram, xy: np.ndarray) -> np.ndarray:
    """[d_source, d_target]: UVᵀ of xy = UΣVᵀ, over the singular values that are more than rounding."""
    left, values, right = np.linalg.svd(xy, full_matrices=False)
    kept = int((values > np.finfo(np.float64).eps * max(xy.shape) * values[0]).sum())
    return left[:, :kept] @ right[:kept]


def _whitened(gram: Gram, xy: np.ndarray) -> np.ndarray:
    """[d_source, d_target]: whiten x, turn it to whitened y, and give it y's variances."""
    from_x, (from_y, to_y) = _root(gram.xx)[0], _root(gram.yy)
    return from_x @ _rotation(gram, from_x @ xy @ from_y) @ to_y


def _root(square: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A symmetric matrix to the powers −1/2 and 1/2, something added to its diagonal."""
    values, vectors = np.linalg.eigh((square + square.T) / 2)
    roots = np.sqrt(values.clip(0.0) + _WHITENING * values.clip(0.0).mean())
    return (vectors / roots) @ vectors.T, (vectors * roots) @ vectors.T


def _scale(gram: Gram, xy: np.ndarray, weight: np.ndarray) -> float:
    """The number that a map is best multiplied by; 0 where it maps nothing to anything."""
    length = float(np.sum(weight * (gram.xx @ weight)))
    return float(np.sum(xy * weight)) / length if length > 0 else 0.0


def _scaled(turn: Turn, gram: Gram, xy: np.ndarray) -> np.ndarray:
    found = turn(gram, xy)
    return _scale(gram, xy, found) * found
