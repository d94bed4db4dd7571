"""A direction as a signed, sparse sum of an SAE's decoder columns."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from personascope.directions import Direction
from personascope.errors import UserError
from personascope.features.sae import SAE

# Random directions of the same length that are decomposed beside it.
_RIVALS = 5


@dataclass(frozen=True, eq=False)
class Term:
    """A feature's part in a direction: `coefficient` times its decoder column, whose cosine to the direction is `cosine`.
    explained: share of the direction's squared length that the terms up to this one make up."""

    feature: int
    coefficient: float
    cosine: float
    explained: float


@dataclass(frozen=True, eq=False)
class Decomposition:
    """direction ≈ Σ coefficient × decoder column. remainder: what is left of it. random_explained: for each number of terms
    the share that as many explain of a random direction, the mean of five: a dictionary explains some of anything."""

    direction: Direction
    sae: str
    terms: tuple[Term, ...]
    remainder: Direction
    random_explained: tuple[float, ...]

    def describe(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "direction": self.direction.key,
            "norm": self.direction.norm,
            "sae": self.sae,
            "remainder": self.remainder.norm,
            "terms": [
                {**vars(term), "random_explained": rival}
                for term, rival in zip(self.terms, self.random_explained, strict=True)
            ],
        }


def decompose(direction: Direction, sae: SAE, terms: int = 10, seed: int = 0) -> Decomposition:
    """The direction by `terms` features of either sign, chosen one after the other by what is left, all coefficients
    fitted anew each time.

    It is not encoded as if it were an activation: an encoder's bias and threshold are made for whole residual streams, and
    a sum has signs (2411.08790). Raises `UserError` on another layer or width than the SAE's, and on too many terms;
    `ZeroDirection`. Source: orthogonal matching pursuit (Pati et al., 1993).
    """
    if sae.layer is not None and sae.layer != direction.layer:
        raise UserError(
            f"{direction.key!r} belongs to another layer than {sae.name}, which reads layer {sae.layer}; extract it there"
        )
    if sae.hidden_size != direction.hidden_size:
        raise UserError(
            f"{direction.key!r} has width {direction.hidden_size} and {sae.name} has {sae.hidden_size}: they come from "
            "different models"
        )
    if not 1 <= terms <= min(sae.n_features, sae.hidden_size):
        raise UserError(f"terms={terms} is not from 1 to {min(sae.n_features, sae.hidden_size)}")
    direction.unit()
    lengths = sae.decoder.norm(dim=1)
    chosen, coefficients, explained = _pursue(direction.vector, sae.decoder, lengths, terms)
    draw = torch.Generator().manual_seed(seed)
    rivals = [
        _pursue(torch.randn(sae.hidden_size, generator=draw), sae.decoder, lengths, terms)[2] for _ in range(_RIVALS)
    ]
    cosines = (sae.decoder[chosen] @ direction.unit()) / lengths[chosen].clamp_min(1e-30)
    remainder = direction.vector - coefficients.float() @ sae.decoder[chosen]
    return Decomposition(
        direction,
        sae.name,
        tuple(
            Term(int(feature), float(coefficient), float(cosine), float(share))
            for feature, coefficient, cosine, share in zip(chosen, coefficients, cosines, explained, strict=True)
        ),
        Direction(remainder, direction.layer, f"{direction.name} remainder"),
        tuple(np.mean([_padded(one, terms) for one in rivals], axis=0)[: len(chosen)].tolist()),
    )


def _pursue(vector: Tensor, columns: Tensor, lengths: Tensor, terms: int) -> tuple[list[int], Tensor, list[float]]:
    """Chosen columns, their coefficients, and the share explained after each; fewer where nothing is left to explain."""
    target = vector.double()
    whole = float(target.square().sum())
    left = target
    chosen: list[int] = []
    explained: list[float] = []
    coefficients = torch.zeros(0, dtype=torch.float64)
    while len(chosen) < terms:
        fit = (columns @ left.float()).abs() / lengths.clamp_min(1e-30)
        fit[lengths == 0] = 0.0
        fit[chosen] = 0.0
        best = int(fit.argmax())
        if float(fit[best]) <= 1e-6 * whole**0.5:
            break
        chosen.append(best)
        basis = columns[chosen].double().T
        coefficients = torch.linalg.lstsq(basis, target[:, None], driver="gelsd").solution[:, 0]
        left = target - basis @ coefficients
        explained.append(1 - float(left.square().sum()) / whole)
    return chosen, coefficients, explained


def _padded(shares: list[float], terms: int) -> list[float]:
    return [*shares, *[shares[-1] if shares else 0.0] * (terms - len(shares))]
