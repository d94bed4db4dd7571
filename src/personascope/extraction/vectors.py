"""Ways to turn two groups of activations into a direction: plain functions (positive, negative) → vectors."""

from collections.abc import Callable

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from personascope.errors import UserError

Method = Callable[[Tensor, Tensor], Tensor]


def mean_difference(positive: Tensor, negative: Tensor) -> Tensor:
    """mean(positive) − mean(negative) of [n, layers, hidden] and [m, layers, hidden]: [layers, hidden]."""
    return (positive.double().mean(dim=0) - negative.double().mean(dim=0)).float()


def logistic_probe(positive: Tensor, negative: Tensor) -> Tensor:
    """Per layer the normal of an L2-regularised logistic regression on standardised activations, in their own units
    again, at the length of the mean difference along it: [layers, hidden]."""
    difference = mean_difference(positive, negative)
    both = torch.cat([positive, negative]).double().numpy()
    labels = np.array([1] * len(positive) + [0] * len(negative))
    vectors = []
    for layer in range(both.shape[1]):
        spread = both[:, layer].std(axis=0)
        spread[spread == 0] = 1.0
        fit = LogisticRegression(C=0.1, max_iter=1000).fit(
            (both[:, layer] - both[:, layer].mean(axis=0)) / spread, labels
        )
        vectors.append(_along(torch.from_numpy(fit.coef_[0] / spread), difference[layer]))
    return torch.stack(vectors)


def paired_pca(positive: Tensor, negative: Tensor) -> Tensor:
    """Per layer the first right singular vector of the paired differences, not centred, at the length of the mean
    difference along it: [layers, hidden]. Row i of both must belong together."""
    if len(positive) != len(negative):
        raise UserError("PCA of paired differences needs as many positive as negative texts, in the same order")
    differences = (positive - negative).double()
    vectors = []
    for layer in range(differences.shape[1]):
        _, _, right = torch.linalg.svd(differences[:, layer], full_matrices=False)
        vectors.append(_along(right[0], differences[:, layer].mean(dim=0)))
    return torch.stack(vectors)


def _along(axis: Tensor, difference: Tensor) -> Tensor:
    """The projection of the mean difference on an axis, so that α means the same for every method."""
    unit = axis.double() / axis.double().norm()
    return (unit * (unit @ difference.double())).float()


METHODS: dict[str, Method] = {
    "mean_difference": mean_difference,
    "logistic_probe": logistic_probe,
    "paired_pca": paired_pca,
}


def method(name: str) -> Method:
    """A method by name. Raises `UserError` on another."""
    if name not in METHODS:
        raise UserError(f"method {name!r} is not known; use {', '.join(METHODS)}")
    return METHODS[name]
