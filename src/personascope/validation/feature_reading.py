"""Reading planted personas with features, and with their rivals: the difference of means and random features."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.stats import rankdata

from personascope.engine.forward import Passage, activations_of
from personascope.features import SAE
from personascope.features.activation import Threshold
from personascope.organisms.truth import Labelled
from personascope.statistics import auroc
from personascope.subject import Prompt, Subject

_CHUNK = 256
_LONGEST = 1_024


@dataclass(frozen=True)
class FeatureReading:
    """Tokens of conversations: states [n, hidden], codes [n, features]; persona: of the next word, −1 outside responses;
    plain: no persona's word; self_talk: the next word's register."""

    states: torch.Tensor
    codes: np.ndarray
    persona: np.ndarray
    plain: np.ndarray
    self_talk: np.ndarray

    @classmethod
    def of(cls, subject: Subject, sae: SAE, conversations: Sequence[Labelled]) -> "FeatureReading":
        passages = [Passage(Prompt(tuple(each.ids[:_LONGEST]), (), "")) for each in conversations]
        assert sae.layer is not None
        # State t is about the word after it; BOS is left out.
        states = [rows[1:-1, 0] for rows in activations_of(subject, passages, [sae.layer], "all")]
        length = [len(rows) for rows in states]
        ahead = [slice(2, 2 + count) for count in length]
        joined = torch.cat(states)
        return cls(
            joined,
            sae.encode(joined).numpy(),
            np.concatenate([each.persona[part] for each, part in zip(conversations, ahead, strict=True)]),
            ~np.concatenate([each.slots[1 : 1 + count] for each, count in zip(conversations, length, strict=True)]),
            np.concatenate([each.self_talk[part] for each, part in zip(conversations, ahead, strict=True)]),
        )


def areas_of(read: FeatureReading, positive: np.ndarray) -> np.ndarray:
    """[features]: AUROC of every feature inside responses."""
    inside = read.persona >= 0
    labels = positive[inside]
    count, others = int(labels.sum()), int((~labels).sum())
    out = np.empty(read.codes.shape[1])
    for start in range(0, len(out), _CHUNK):
        ranks = rankdata(read.codes[inside, start : start + _CHUNK], axis=0)
        out[start : start + _CHUNK] = (ranks[labels].sum(axis=0) - count * (count + 1) / 2) / (count * others)
    return out


def area_of(read: FeatureReading, column: int, values: np.ndarray, plain: bool = False) -> float:
    where = (read.persona >= 0) & (read.plain if plain else True)
    return auroc(read.persona[where] == column, values[where])


def difference_of(read: FeatureReading, column: int) -> torch.Tensor:
    """[hidden]: mean state before the persona's words minus mean state before others'."""
    ours = torch.from_numpy(read.persona == column)
    others = torch.from_numpy((read.persona >= 0) & (read.persona != column))
    return read.states[ours].mean(dim=0) - read.states[others].mean(dim=0)


def random_features(sae: SAE, read: FeatureReading) -> SAE:
    """An SAE of random features, as many of which are active on a token."""
    draw = torch.Generator().manual_seed(0)
    weights = torch.nn.functional.normalize(torch.randn(sae.encoder.shape, generator=draw), dim=1)
    centre = read.states.mean(dim=0)
    active = float((read.codes > 0).sum(axis=1).mean()) / sae.n_features
    values = ((read.states[::7] - centre) @ weights.T).flatten()
    threshold = torch.tensor(float(np.quantile(values.numpy(), 1 - active)))
    nothing = torch.zeros(sae.n_features)
    return SAE(
        weights, nothing, weights, centre, Threshold(threshold.clamp_min(0)), centre, layer=sae.layer, name="random"
    )
