"""How personas extracted together relate: whose direction tells whose rollouts apart, and what all have in common."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from personascope.directions import DirectionSet
from personascope.extraction.extraction import Relations
from personascope.extraction.quality import mean_activations, mean_projections, separation, unit
from personascope.extraction.rollouts import Rollout
from personascope.statistics import Separation, auroc

# Two directions always have a common part; what three or more share is no one's own.
_LEAST_PERSONAS = 3


def relate(sets: Sequence[DirectionSet], reported: Sequence[Sequence[Rollout]], selection: int) -> Relations | None:
    """Cosines and selectivity of personas extracted together; reported: for each its rollouts of the report split."""
    if len(sets) < 2:
        return None
    names = tuple(one.name for one in sets)
    cosines, selectivity = {}, {}
    for row, layer in enumerate(sets[0].layers):
        units = np.stack([unit(one.vectors[row]) for one in sets])
        cosines[layer] = units @ units.T
        values = [mean_activations(rollouts, row, selection) @ units.T for rollouts in reported]
        positive = [each[_is_positive(rollouts)] for each, rollouts in zip(values, reported, strict=True)]
        table = np.empty((len(sets), len(sets)))
        for i in range(len(sets)):
            against = [each[:, i] for each in positive]
            against[i] = values[i][~_is_positive(reported[i]), i]
            table[i] = [_area(positive[i][:, i], other) for other in against]
        selectivity[layer] = table
    return Relations(names, cosines, selectivity)


def without_common(
    sets: Sequence[DirectionSet], reported: Sequence[Sequence[Rollout]], selection: int
) -> list[dict[int, dict[str, Any]]]:
    """For each persona and layer `auroc_without_common` and `cohens_d_without_common`, with their intervals: what is left
    with the common direction of all *other* personas taken out of its direction; and `common_share`: the share of the
    direction's squared length that it was. Nothing for fewer than three personas."""
    if len(sets) < _LEAST_PERSONAS:
        return [{} for _ in sets]
    found: list[dict[int, dict[str, Any]]] = [{} for _ in sets]
    apart = [Separation(_is_positive(each), [one.cell.question for one in each]) for each in reported]
    for row, layer in enumerate(sets[0].layers):
        for one, rollouts, poles, figures in zip(sets, reported, apart, found, strict=True):
            common = common_direction([other.vectors[row] for other in sets if other is not one])
            vector = one.vectors[row].double()
            along = vector @ common
            rest = (vector - along * common).float()
            share = float(along**2 / (vector @ vector).clamp_min(1e-30))
            values = mean_projections(rest, rollouts, row, selection)
            figures[layer] = {**separation(poles, values, "_without_common"), "common_share": share}
    return found


def common_direction(vectors: Sequence[Tensor]) -> Tensor:
    """[hidden] float64, length 1: the mean of the directions, each at length 1. Zero where they cancel."""
    units = torch.stack([vector.double() / vector.double().norm().clamp_min(1e-30) for vector in vectors])
    mean = units.mean(dim=0)
    return mean / mean.norm().clamp_min(1e-30)


def _is_positive(rollouts: Sequence[Rollout]) -> np.ndarray:
    return np.array([one.cell.pole == "pos" for one in rollouts])


def _area(ours: np.ndarray, others: np.ndarray) -> float:
    """The chance that a value of ours is the larger one."""
    return auroc(np.arange(len(ours) + len(others)) < len(ours), np.concatenate([ours, others]))
