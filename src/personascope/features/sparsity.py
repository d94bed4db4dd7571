"""How many features of an SAE fire on real activations, against how many it promises."""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from personascope.corpora import neutral_questions
from personascope.engine.forward import Passage, mapped_of
from personascope.errors import NonFinite, UserError
from personascope.features.sae import SAE
from personascope.subject import Subject

# How far the measured number of active features may be from the promised one, either way.
_FAR = 2.0
# Of a large SAE all features of a token are half a second's work for a processor.
_QUESTIONS = 20


@dataclass(frozen=True)
class Sparsity:
    """What an SAE does on activations of `tokens` tokens.

    l0: features with a code above 0, mean over tokens. promised: as the SAE says it was trained for, None if it does not.
    explained: share of the activations' variance around their mean that the reconstruction explains; below 0 it is worse
    than their mean, and None where they do not vary. doubt: a sentence if something is off.
    """

    l0: float
    promised: float | None
    explained: float | None
    tokens: int
    doubt: str | None = None

    def describe(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)


def sparsity_of(sae: SAE, activations: Tensor) -> Sparsity:
    """Measure on activations [n, D] of the layer that the SAE reads, in chunks of bounded memory.

    Raises `UserError` on another width or no tokens, `NonFinite` on NaN or infinity. A promised L0 that is off by more than
    a factor of two, either way, is doubted: a known loader reads BatchTopK as plain ReLU, and thousands of features fire.
    """
    if activations.ndim != 2 or not len(activations):
        raise UserError(f"sparsity is measured on activations [tokens, width], not on {list(activations.shape)}")
    rows = activations.to("cpu", torch.float32)
    if not torch.isfinite(rows).all():
        wrong = int((~torch.isfinite(rows)).any(dim=1).nonzero()[0])
        raise NonFinite(f"the activations for {sae.name} hold NaN or infinity in row {wrong}")
    mean = rows.mean(dim=0, dtype=torch.float64)
    active, missed, spread = 0, 0.0, 0.0
    for chunk, codes in sae.chosen(None).in_chunks(rows):
        active += int((codes > 0).sum())
        missed += float((chunk - sae.decode(codes, of=chunk)).double().square().sum())
        spread += float((chunk.double() - mean).square().sum())
    l0 = active / len(rows)
    explained = 1 - missed / spread if spread > 0 else None
    return Sparsity(l0, sae.promised_l0, explained, len(rows), _doubt(sae, l0, explained))


def sparsity_on(subject: Subject, sae: SAE, layer: int) -> Sparsity:
    """The same on shipped neutral questions as raw text, BOS left out."""
    prompts = [subject.chat.prompt(text, chat=False) for text in neutral_questions()[:_QUESTIONS]]
    states = mapped_of(subject, [Passage(one) for one in prompts], layer, "all", lambda rows: rows.float())
    heads = [int(one.ids[0] == subject.tokenizer.bos_token_id) for one in prompts]
    return sparsity_of(sae, torch.cat([rows[head:] for rows, head in zip(states, heads, strict=True)]))


def _doubt(sae: SAE, l0: float, explained: float | None) -> str | None:
    promised = sae.promised_l0
    if promised and (not l0 or abs(math.log(l0 / promised)) > math.log(_FAR)):
        return (
            f"{l0:.4g} of {sae.n_features} features are active on a token, and {sae.name} was trained for {promised:g}; "
            "it may be read at another layer, on another model, or without its threshold"
        )
    if explained is not None and explained < 0:
        return (
            f"{sae.name} reconstructs these activations worse than their mean does; it may be read at another layer or on "
            "another model"
        )
    return None
