"""How well projections read the planted persona of the next word, beside the exact posterior and simpler readers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from personascope.directions import DirectionSet
from personascope.engine.forward import Passage, projections_of
from personascope.errors import UserError
from personascope.organisms.truth import Labelled, Truth
from personascope.statistics import auroc
from personascope.subject import Prompt, Subject

# Half-lives, in tokens, that counting words may choose from: the best one counts, since the rival should be strong.
_HALF_LIVES = (3.0, 6.0, 12.0)


@dataclass(frozen=True)
class Reading:
    """AUROC of four readers of one persona: after each token, is the next word's sentence in it?

    `words`: decayed counts of the persona's words. `embedding`: the projection at layer 0. `chosen`: the projection at the
    layer that was chosen for this persona by itself. `neutral_*`: the same on tokens that are no persona's word.
    """

    persona: str
    layer: int
    projection: float
    posterior: float
    words: float
    embedding: float
    chosen_layer: int
    chosen: float
    neutral_projection: float
    neutral_posterior: float
    neutral_words: float


def check_reading(
    subject: Subject, directions: Sequence[DirectionSet], conversations: Sequence[Labelled], layer: int | None = None
) -> list[Reading]:
    """Read conversations of the organism's own language with directions at one layer, or each at the one chosen for it."""
    truth = subject.truth
    if truth is None:
        raise UserError("reading can be checked only where personas are planted; use an organism")
    planted = [one for one in directions if one.name in truth.personas]
    at = {one.name: one.best_layer if layer is None else layer for one in planted}
    watched = [one[each] for one in planted for each in sorted({at[one.name], one.best_layer, one.layers[0]})]
    passages = [Passage(Prompt(tuple(each.ids), (), "")) for each in conversations]
    projected = projections_of(subject, passages, watched)
    posteriors = [truth.posterior(each.ids) for each in conversations]
    labels = _joined([each.persona[1:] for each in conversations])
    # Row t is about the word after token t; only words inside responses count.
    counted = labels >= 0
    plain = counted & ~_joined([each.slots[:-1] for each in conversations])
    readings = []
    for one in planted:
        column = truth.personas.index(one.name)
        planted_here = labels == column

        def area(values: np.ndarray, where: np.ndarray, planted_here: np.ndarray = planted_here) -> float:
            return auroc(planted_here[where], values[where])

        posterior = _joined([rows[:-1, column] for rows in posteriors])
        best, chosen, first = (
            _joined([row.projections[f"{one.name}@{each}"][:-1] for row in projected])
            for each in (at[one.name], one.best_layer, one.layers[0])
        )
        counts = [_word_counts(subject, truth, conversations, one.name, half_life) for half_life in _HALF_LIVES]
        readings.append(
            Reading(
                persona=one.name,
                layer=at[one.name],
                projection=area(best, counted),
                posterior=area(posterior, counted),
                words=max(area(values, counted) for values in counts),
                embedding=area(first, counted),
                chosen_layer=one.best_layer,
                chosen=area(chosen, counted),
                neutral_projection=area(best, plain),
                neutral_posterior=area(posterior, plain),
                neutral_words=max(area(values, plain) for values in counts),
            )
        )
    return readings


def common_layer(directions: Sequence[DirectionSet]) -> int:
    """The layer at which single tokens of all personas are told apart best on average, on extraction's report split."""
    layers = directions[0].layers
    return max(layers, key=lambda layer: float(np.nanmean([one.quality[layer]["token_auroc"] for one in directions])))


def _word_counts(
    subject: Subject, truth: Truth, conversations: Sequence[Labelled], persona: str, half_life: float
) -> np.ndarray:
    """After each token, how many of the persona's words there have been, older ones counting less."""
    own = {word for words in truth.lexicons[persona] for word in words}
    decay = 0.5 ** (1 / half_life)
    out = []
    for each in conversations:
        count, series = 0.0, []
        for piece in subject.pieces(each.ids):
            count = count * decay + (piece.strip() in own)
            series.append(count)
        out.append(np.asarray(series[:-1]))
    return _joined(out)


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts)
