"""How well decision points find planted switches, beside the same rule on the exact posterior and simpler rules."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from personascope.directions import DirectionSet
from personascope.engine.forward import Passage, projections_of
from personascope.errors import UserError
from personascope.organisms.switches import neutral_texts, planted_switches
from personascope.organisms.truth import Labelled
from personascope.statistics.change_points import f1, fit_rule, matched
from personascope.subject import Prompt, Subject
from personascope.watching.decision_points import ALARMS_PER_1000

WITHIN = 2


@dataclass(frozen=True)
class Decisions:
    """F1 of places within two tokens of planted switches, pooled over texts: of the rule on projections, of the same
    rule on the exact posterior, of every full stop, and of as many random places as the rule found."""

    projections: float
    posterior: float
    full_stops: float
    random: float
    switches: int
    tokens: int


def check_decisions(
    subject: Subject,
    directions: Sequence[DirectionSet],
    texts: int = 60,
    alarms_per_1000: float = ALARMS_PER_1000,
    seed: int = 0,
) -> Decisions:
    """Fit the rule on texts that stay neutral, and let it find the switches planted in others."""
    truth = subject.truth
    if truth is None:
        raise UserError("decision points can be checked only where switches are planted; use an organism")
    planted = [one for one in directions if one.name in truth.personas]
    neutral, switching = neutral_texts(truth, texts, seed), planted_switches(truth, texts, seed)
    scale = _Scale.fit(_projected(subject, planted, neutral))
    read = {
        "projections": (
            [scale.apply(series) for series in _projected(subject, planted, neutral)],
            [scale.apply(series) for series in _projected(subject, planted, switching)],
        ),
        "posterior": (_posteriors(subject, neutral), _posteriors(subject, switching)),
    }
    where = [_switches(each) for each in switching]
    count = sum(map(len, where))
    scores = {}
    found_by_rule: list[list[int]] = []
    for name, (still, moving) in read.items():
        rule = fit_rule(still, alarms_per_1000)
        # State 0 is the one after the last prompt token; the state after the response's token k is state k + 1.
        found = [[place - 1 for place, _ in rule.points(series)] for series in moving]
        found_by_rule = found if name == "projections" else found_by_rule
        scores[name] = _score(found, where)
    stops = [_full_stops(subject, each) for each in switching]
    draw = np.random.default_rng(seed)
    random = [
        sorted(draw.choice(_length(each), size=min(len(found), _length(each)), replace=False).tolist())
        for each, found in zip(switching, found_by_rule, strict=True)
    ]
    return Decisions(
        scores["projections"],
        scores["posterior"],
        _score(stops, where),
        _score(random, where),
        count,
        sum(map(_length, switching)),
    )


@dataclass(frozen=True)
class _Scale:
    """Zero and unit of every channel, over neutral texts."""

    zero: np.ndarray
    unit: np.ndarray

    @classmethod
    def fit(cls, series: Sequence[np.ndarray]) -> "_Scale":
        whole = np.concatenate(series)
        return cls(whole.mean(axis=0), np.maximum(whole.std(axis=0), 1e-9))

    def apply(self, series: np.ndarray) -> np.ndarray:
        return np.asarray((series - self.zero) / self.unit)


def _span(each: Labelled) -> slice:
    """The states that choose the response's tokens."""
    inside = np.flatnonzero(each.persona >= 0)
    return slice(int(inside[0]) - 1, int(inside[-1]))


def _length(each: Labelled) -> int:
    span = _span(each)
    return span.stop - span.start


def _projected(subject: Subject, planted: Sequence[DirectionSet], texts: Sequence[Labelled]) -> list[np.ndarray]:
    passages = [Passage(Prompt(tuple(each.ids), (), "")) for each in texts]
    keys = [f"{one.name}@{one.best_layer}" for one in planted]
    read = projections_of(subject, passages, [one.best for one in planted])
    return [
        np.stack([row.projections[key][_span(each)] for key in keys], axis=1).astype(np.float64)
        for each, row in zip(texts, read, strict=True)
    ]


def _posteriors(subject: Subject, texts: Sequence[Labelled]) -> list[np.ndarray]:
    assert subject.truth is not None
    return [subject.truth.posterior(each.ids)[_span(each)] for each in texts]


def _switches(each: Labelled) -> list[int]:
    """Places, from the response's first token on, where a sentence begins in another persona than the one before."""
    personas = each.persona[each.persona >= 0]
    return [place for place in range(1, len(personas)) if personas[place] != personas[place - 1]]


def _full_stops(subject: Subject, each: Labelled) -> list[int]:
    pieces = subject.pieces(each.ids)
    span = _span(each)
    stops = [place for place in range(span.start + 1, span.stop) if pieces[place].strip() == "."]
    return [place + 1 - (span.start + 1) for place in stops]


def _score(found: Sequence[Sequence[int]], where: Sequence[Sequence[int]]) -> float:
    hits = sum(matched(ours, theirs, WITHIN) for ours, theirs in zip(found, where, strict=True))
    return f1(hits, sum(map(len, found)), sum(map(len, where)))
