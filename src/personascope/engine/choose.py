"""Choosing the next token of each row."""

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import SupportsFloat

import torch
from torch import Tensor

from personascope.engine.noise import gumbel
from personascope.errors import UserError

# Times any noise still a finite float32.
_HOTTEST = 1e30


@dataclass(frozen=True)
class Sampling:
    """How a row's tokens are drawn. temperature 0 is greedy; top_k 0 and top_p 1 keep every token."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0

    def __post_init__(self) -> None:
        if not isinstance(self.temperature, SupportsFloat) or not 0.0 <= self.temperature <= _HOTTEST:
            raise UserError(
                f"temperature={self.temperature!r} must be 0 (greedy) or a positive number up to {_HOTTEST:g}"
            )
        if not isinstance(self.top_p, SupportsFloat) or not 0.0 < self.top_p <= 1.0:
            raise UserError(f"top_p={self.top_p!r} must lie above 0 and at most at 1")
        if not isinstance(self.top_k, Integral) or self.top_k < 0:
            raise UserError(f"top_k={self.top_k!r} must be 0 (all tokens) or a whole number above")


def choose(
    logits: Tensor, sampling: Sequence[Sampling], seeds: Sequence[int], indices: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """[rows] int64: the tokens chosen from logits [rows, vocabulary] float32, which this may overwrite; and [rows], what
    each was chosen for, which is no finite number where one of the row's logits is NaN or infinite.

    Row r takes the argmax of logits/T + noise, where the noise depends on its seed and response index alone: the
    Gumbel-max draw from its distribution (Maddison et al., 2014), whoever else is in the batch.
    """
    kinds = {id(one): one for one in sampling}.values()
    if any(one.top_k or one.top_p < 1.0 for one in kinds):
        logits = _keep_top(logits, sampling)
    if all(one.temperature == 1.0 for one in kinds):
        logits += gumbel(seeds, indices, logits.shape[1], logits.device)
    elif noisy := [row for row, one in enumerate(sampling) if one.temperature > 0]:
        everywhere = len(noisy) == len(sampling)
        heat = torch.tensor([sampling[row].temperature for row in noisy], device=logits.device)[:, None]
        noise = gumbel([seeds[r] for r in noisy], [indices[r] for r in noisy], logits.shape[1], logits.device).mul_(
            heat
        )
        if everywhere:
            logits += noise
        else:
            logits[noisy] += noise
    # One pass for both: a maximum is NaN where any number is.
    best = logits.max(dim=1)
    return best.indices, best.values


def _keep_top(logits: Tensor, sampling: Sequence[Sampling]) -> Tensor:
    """The logits with −inf outside each row's top k, and outside the nucleus of what remains."""
    ordered, order = logits.sort(dim=1, descending=True)
    heat = torch.tensor([max(one.temperature, 1e-6) for one in sampling], device=logits.device)[:, None]
    most = torch.tensor([one.top_k or logits.shape[1] for one in sampling], device=logits.device)[:, None]
    mass = torch.tensor([one.top_p for one in sampling], device=logits.device)[:, None]
    late = torch.arange(logits.shape[1], device=logits.device)[None] >= most
    probability = (ordered / heat).masked_fill(late, float("-inf")).softmax(dim=1)
    before = probability.cumsum(dim=1) - probability
    # The best token always stays; top_p = 1 keeps even what rounding puts beyond the whole mass.
    dropped = ((before >= mass) & (mass < 1.0)) | late
    dropped[:, 0] = False
    return logits.masked_fill(torch.zeros_like(dropped).scatter_(1, order, dropped), float("-inf"))
