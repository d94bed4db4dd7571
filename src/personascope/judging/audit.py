"""Auditing a judge: does it repeat itself, is it swayed by length, does it get what cannot be mistaken right?"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from personascope.errors import UserError
from personascope.judging.anchors import Anchor
from personascope.judging.judge import Forgetful, Judge, Judgement
from personascope.personas import Persona
from personascope.runs import Journal
from personascope.statistics import auroc, bootstrap

_LEAST = 8


@dataclass(frozen=True)
class Item:
    """An answer to be judged. asked_for: whether it was given under an instruction that calls for the persona."""

    question: str
    answer: str
    asked_for: bool


@dataclass(frozen=True)
class Audit:
    """What an audit found; scores are 0–100, intervals 95 % over questions, None where there is too little to tell.

    repeat_difference: mean absolute difference between two rounds of the same trait questions. separation: AUROC of
    trait scores between answers that were asked for the persona and those that were not. length_bias: Spearman
    correlation of trait scores with the answers' length, the two kinds apart and averaged; length_interval. scrambled:
    share of answers whose coherence falls when their words are shuffled, ties counting half. unscored: share without a
    trait score; refused: of those that the judge declined. distinct: different trait scores given. anchors: how many
    answers of known score it scored; anchors_right: share that it puts on the right side of 50; anchor_difference: mean
    absolute difference from what is known; shown_high, shown_low: its mean scores where all of the persona is shown and
    where none of it is. agreement: Spearman correlation with the reference judge; kept_alike: share on whose side of 50
    both agree; bias: mean of judge − reference; reference_length_bias: correlation of that difference with length.
    """

    persona: str
    items: int
    repeat_difference: float
    separation: float | None
    length_bias: float | None
    length_interval: tuple[float, float] | None
    scrambled: float | None
    unscored: float
    refused: float
    distinct: int
    anchors: int = 0
    anchors_right: float | None = None
    anchor_difference: float | None = None
    shown_high: float | None = None
    shown_low: float | None = None
    agreement: float | None = None
    kept_alike: float | None = None
    bias: float | None = None
    reference_length_bias: float | None = None

    def describe(self) -> dict[str, Any]:
        return vars(self).copy()

    @property
    def warnings(self) -> list[str]:
        """What a user should know before trusting the scores, a sentence each."""
        said = []
        if self.distinct <= 1 and self.items >= _LEAST:
            said.append("it gives every answer the same trait score")
        if self.repeat_difference > 10:
            said.append(f"asked twice, it differs by {self.repeat_difference:.0f} points on average")
        if self.separation is not None and self.separation < 0.75:
            said.append(
                f"it hardly tells answers that were asked for the persona from others (AUROC {self.separation:.2f})"
            )
        if self.length_interval is not None and (self.length_interval[0] > 0.2 or self.length_interval[1] < -0.2):
            said.append(f"its trait scores go with length (correlation {self.length_bias:+.2f})")
        if self.scrambled is not None and self.scrambled < 0.9:
            said.append(
                f"in {1 - self.scrambled:.0%} of cases shuffling an answer's words does not lower its coherence"
            )
        if self.anchors_right is not None and self.anchors_right < 0.9:
            said.append(
                f"it is on the wrong side of 50 for {1 - self.anchors_right:.0%} of {self.anchors} answers whose score is "
                "known beforehand"
            )
        if self.unscored > 0.1:
            said.append(f"it leaves {self.unscored:.0%} of answers without a score")
        if self.agreement is not None and self.agreement < 0.7:
            said.append(f"it agrees little with the reference (correlation {self.agreement:.2f})")
        return said


def audit(
    judge: Judge,
    persona: Persona,
    items: Sequence[Item],
    reference: Judge | None = None,
    journal: Journal | None = None,
    seed: int = 0,
    anchors: Sequence[Anchor] = (),
) -> Audit:
    """Ask a judge about the same answers twice, and about their shuffled words and the anchors once.

    reference: a judge that is known to be right, such as the lexicon judge on an organism. anchors: answers of known
    score; those that the judge leaves unscored do not count. Raises `UserError` for
    fewer than eight answers.
    """
    if len(items) < _LEAST:
        raise UserError(f"an audit needs at least {_LEAST} answers, not {len(items)}")
    pairs = [(one.question, one.answer) for one in items]
    first = judge.judge(persona, pairs, journal)
    second = again(judge).judge(persona, pairs, journal)
    both = [
        (a.trait, b.trait) for a, b in zip(first, second, strict=True) if a.trait is not None and b.trait is not None
    ]
    scored = [place for place, one in enumerate(first) if one.trait is not None]
    traits = np.array([first[place].trait for place in scored], dtype=float)
    asked = np.array([items[place].asked_for for place in scored])
    lengths = np.array([len(items[place].answer) for place in scored], dtype=float)
    questions = [items[place].question for place in scored]
    bias = interval = None
    if len(scored) >= _LEAST:
        found = bootstrap(questions, lambda chosen: _within(traits[chosen], lengths[chosen], asked[chosen]))
        bias, interval = found.estimate, (found.low, found.high)
    measured = Audit(
        persona=persona.name,
        items=len(items),
        repeat_difference=float(np.mean([abs(a - b) for a, b in both])) if both else 0.0,
        separation=auroc(asked, traits) if asked.any() and not asked.all() else None,
        length_bias=bias,
        length_interval=interval,
        scrambled=_scrambled(judge, persona, items, first, journal, seed),
        unscored=1 - len(scored) / len(items),
        refused=sum(one.refused for one in first) / len(items),
        distinct=len(set(traits.tolist())),
    )
    measured = _anchored(measured, judge, persona, anchors, journal)
    if reference is None:
        return measured
    known = reference.judge(persona, pairs)
    shared = [place for place in scored if known[place].trait is not None]
    if len(shared) < _LEAST:
        return measured
    ours = np.array([first[place].trait for place in shared], dtype=float)
    theirs = np.array([known[place].trait for place in shared], dtype=float)
    size = np.array([len(items[place].answer) for place in shared], dtype=float)
    return replace(
        measured,
        agreement=_correlation(ours, theirs),
        kept_alike=float(np.mean((ours >= 50) == (theirs >= 50))),
        bias=float(np.mean(ours - theirs)),
        reference_length_bias=_correlation(ours - theirs, size),
    )


def _anchored(
    measured: Audit, judge: Judge, persona: Persona, anchors: Sequence[Anchor], journal: Journal | None
) -> Audit:
    judgements = judge.judge(persona, [(one.question, one.answer) for one in anchors], journal) if anchors else []
    pairs = [
        (one.score, given.trait) for one, given in zip(anchors, judgements, strict=True) if given.trait is not None
    ]
    if not pairs:
        return measured
    known, given = np.array(pairs).T
    return replace(
        measured,
        anchors=len(pairs),
        anchors_right=float(np.mean((known >= 50) == (given >= 50))),
        anchor_difference=float(np.mean(np.abs(known - given))),
        shown_high=float(given[known >= 50].mean()) if (known >= 50).any() else None,
        shown_low=float(given[known < 50].mean()) if (known < 50).any() else None,
    )


def again(judge: Judge) -> Judge:
    """The judge for another round: one that keeps its answers in a journal is asked anew."""
    return judge.anew() if isinstance(judge, Forgetful) else judge


def _scrambled(
    judge: Judge,
    persona: Persona,
    items: Sequence[Item],
    first: Sequence[Judgement],
    journal: Journal | None,
    seed: int,
) -> float | None:
    draw = random.Random(seed)
    shuffled = []
    for one in items:
        words = one.answer.split()
        draw.shuffle(words)
        shuffled.append((one.question, " ".join(words)))
    after = judge.judge(persona, shuffled, journal)
    drops = [
        1.0 if b.coherence < a.coherence else 0.5 if b.coherence == a.coherence else 0.0
        for a, b, one in zip(first, after, items, strict=True)
        if a.coherence is not None and b.coherence is not None and len(one.answer.split()) > 3
    ]
    return float(np.mean(drops)) if drops else None


def _within(values: np.ndarray, lengths: np.ndarray, asked: np.ndarray) -> float:
    """Correlation with length inside either kind, averaged by their sizes: the kinds may differ in both. A kind in which
    nothing varies says nothing."""
    total = weight = 0.0
    for kind in (True, False):
        ours, size = values[asked == kind], lengths[asked == kind]
        if len(ours) >= 3 and np.ptp(ours) > 0 and np.ptp(size) > 0:
            total += len(ours) * _correlation(ours, size)
            weight += len(ours)
    return total / weight if weight else 0.0


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's; 0 where either does not vary."""
    if len(one) < 3 or np.ptp(one) == 0 or np.ptp(other) == 0:
        return 0.0
    return float(spearmanr(one, other).statistic)
