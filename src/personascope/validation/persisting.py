"""Whether measured half-lives are those of the planted chain, as the model has learned it."""

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.stats import spearmanr, t

from personascope.directions import Direction
from personascope.errors import UserError
from personascope.organisms.grammar import Grammar
from personascope.organisms.parse import TOKEN, Reading
from personascope.organisms.truth import Truth
from personascope.persistence.continuous import persistence
from personascope.persistence.curves import Arm
from personascope.persistence.decay import fit_curves
from personascope.statistics import Interval, mean_interval, slope_of
from personascope.subject import Subject

# A learned stickiness needs so many sentences of the persona to be told from chance.
_LEAST_SENTENCES = 30
_LEAST_PERSONAS = 3
# Half-lives are found on a grid, in logarithms to about this.
_ROUNDING = 0.014


@dataclass(frozen=True)
class Persisting:
    """One persona after steering. planted, learned: stickiness, as the corpus has it, and in text that the model wrote after
    a system prompt was taken away, which the half-life is not measured on. half_life: measured on projections, in tokens;
    predicted: of the chain with the learned stickiness of all of them, in tokens; sentence: the mean length of one, in
    tokens. Intervals are over prompts."""

    persona: str
    planted: float
    learned: Interval
    half_life: Interval
    predicted: Interval
    sentence: float
    rows: int

    @property
    def is_known(self) -> bool:
        """Whether it decays, its stickiness could be told, and there are intervals of both."""
        bounds = self.half_life.low, self.predicted.low
        return all(map(math.isfinite, (self.half_life.estimate, self.predicted.estimate, *bounds))) and min(bounds) > 0


@dataclass(frozen=True)
class Agreement:
    """Over personas. rank: Spearman's, of half-lives with learned stickiness; apart: the same over those alone whose
    predicted half-lives are a sentence or more from each other's. slope: of half-life on what is predicted, through a line
    in logarithms that counts how well either is known (long ones least); ratio: their geometric mean ratio; with 95 %
    intervals. All NaN of fewer than three personas."""

    rank: float
    apart: float
    slope: Interval
    ratio: Interval


def check_persisting(
    subject: Subject,
    directions: Sequence[tuple[Direction, float]],
    prompts: Sequence[str],
    samples: int = 8,
    n_steer: int = 48,
    n_sample: int = 400,
    seed: int = 0,
) -> list[Persisting]:
    """Steer with each (direction, α), let go, and set the half-lives beside the chain's."""
    truth = subject.truth
    if truth is None:
        raise UserError("half-lives can be checked only where stickiness is planted; use an organism")
    found = persistence(
        subject,
        [direction for direction, _ in directions],
        prompts,
        {direction.key: alpha for direction, alpha in directions},
        n_steer,
        n_sample,
        controls=("prompted",),
        samples=samples,
        seed=seed,
    )
    columns = {direction.key: truth.grammar.index[direction.name] for direction, _ in directions}
    labels = {key: sentences(truth, found.arm("prompted", key)) for key in columns}
    learned = {key: learned_stickiness(truth, labels[key], column, found.units) for key, column in columns.items()}
    keep = np.array([truth.stickiness[name] for name in truth.personas])
    for key, column in columns.items():
        if math.isfinite(learned[key].estimate):
            keep[column] = learned[key].estimate
    out = []
    for direction, _ in directions:
        key, column = direction.key, columns[direction.key]
        words = sum(len(TOKEN.findall(text)) for text in found.arm("prompted", key).after)
        each = n_sample * len(found.units) / max(words, 1)
        length = each * float(np.mean([count for row in labels[key] for _, count in row]))
        lives = []
        for one in learned[key]:
            kept = keep.copy()
            kept[column] = one
            lives.append(chain_half_life(kept, truth.grammar, column, length, n_sample))
        planted = truth.stickiness[direction.name]
        half_life = found.decay(key).half_life
        out.append(
            Persisting(direction.name, planted, learned[key], half_life, Interval(*lives), length, len(found.units))
        )
    return out


def chain_half_life(keep: np.ndarray, grammar: Grammar, column: int, length: float, tokens: int) -> float:
    """The half-life, in tokens, that the same fit finds in `tokens` of a chain's own mean curve.

    keep: [personas], how often a sentence of each keeps it, the chance to draw it anew taken out. The curve is that of the
    persona in `column`: how much likelier it is where the chain began with it than in the long run; what is drawn anew is
    the planted chain's, so that some of what left it comes back. Sentences of `length` tokens, let go at any place in one:
    by a token some have passed one boundary more than others, so that the curve runs straight from one step of the chain
    to the next. NaN or inf where `keep[column]` is not known or is at least 1.
    """
    if math.isnan(keep[column]):
        return math.nan
    if keep[column] >= 1:
        return math.inf
    whole, part = np.divmod(np.arange(tokens) / length, 1.0)
    lift, lifts = np.eye(len(keep))[column] - grammar.stationary, []
    for _ in range(int(whole[-1]) + 2):
        lifts.append(lift[column])
        lift = lift * keep + (lift @ (1 - keep)) * grammar.redraw
    steps, at = np.array(lifts), whole.astype(int)
    curve = steps[at] * (1 - part) + steps[at + 1] * part
    return float(fit_curves(curve[None])[2][0])


def sentences(truth: Truth, arm: Arm) -> list[list[tuple[int, int]]]:
    """For each row of an arm its whole sentences after steering: the persona that their words are likeliest of, as a column
    of `Truth.personas`, and their length in words and marks."""
    rows = []
    for text in arm.after:
        # The first piece is the rest of a sentence that began before.
        readings, _ = truth.reader.sentences(text.partition(".")[2])
        rows.append([(_likeliest(truth, reading), len(reading.words)) for reading in readings])
    return rows


def learned_stickiness(
    truth: Truth, labels: Sequence[Sequence[tuple[int, int]]], column: int, units: Sequence[Hashable]
) -> Interval:
    """How often a sentence of a persona keeps it, the chance to draw it anew taken out; NaN of too few sentences.

    column: the persona's, in `Truth.personas`; labels: each row's sentences; units: for each row what it was drawn with,
    which the interval resamples.
    """
    found = [
        (unit, after == column)
        for unit, row in zip(units, labels, strict=True)
        for (now, _), (after, _) in pairwise(row)
        if now == column
    ]
    if len(found) < _LEAST_SENTENCES:
        return Interval(math.nan, math.nan, math.nan)
    redrawn = float(truth.grammar.redraw[column])
    kept = mean_interval([is_kept for _, is_kept in found], [unit for unit, _ in found])
    return Interval(*((share - redrawn) / (1 - redrawn) for share in kept))


def agreement(found: Sequence[Persisting]) -> Agreement:
    """Over the personas that decay and whose stickiness could be told."""
    known = [one for one in found if one.is_known]
    if len(known) < _LEAST_PERSONAS:
        nothing = Interval(math.nan, math.nan, math.nan)
        return Agreement(math.nan, math.nan, nothing, nothing)
    kept: list[Persisting] = []
    for one in sorted(known, key=lambda each: each.predicted.estimate):
        if not kept or one.predicted.estimate - kept[-1].predicted.estimate >= one.sentence:
            kept.append(one)
    measured, predicted = [one.half_life for one in known], [one.predicted for one in known]
    slope = slope_of(_logs(predicted), _logs(measured), _errors(predicted), _errors(measured))
    logs = _logs(measured) - _logs(predicted)
    spread = float(t.ppf(0.975, len(known) - 1)) * float(logs.std(ddof=1)) / math.sqrt(len(known))
    ratio = Interval(*(math.exp(float(logs.mean()) + step) for step in (0.0, -spread, spread)))
    return Agreement(_rank(known), _rank(kept), slope, ratio)


def _logs(found: Sequence[Interval]) -> np.ndarray:
    return np.log([one.estimate for one in found])


def _errors(found: Sequence[Interval]) -> np.ndarray:
    """The standard errors of the logarithms that 95 % intervals stand for; at least what the grid of half-lives rounds."""
    errors = []
    for one in found:
        below = math.log(one.estimate / one.low) / 1.96
        above = math.log(one.high / one.estimate) / 1.96 if math.isfinite(one.high) else below
        errors.append(max((below + above) / 2, _ROUNDING))
    return np.array(errors)


def _rank(found: Sequence[Persisting]) -> float:
    return float(
        spearmanr([one.learned.estimate for one in found], [one.half_life.estimate for one in found]).statistic
    )


def _likeliest(truth: Truth, reading: Reading) -> int:
    """The persona whose words a sentence holds, each as likely beforehand as any other."""
    grammar = truth.grammar
    logs = np.zeros(len(grammar.personas))
    for slot, word in reading.fills:
        if slot in grammar.slot_words:
            table = grammar.emission(slot, grammar.shares())
            logs += np.log(table[:, grammar.slot_words[slot].index(word)])
    return int(logs.argmax())
