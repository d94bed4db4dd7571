"""What steering with a direction does: dose–response, and the layer and α chosen by it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from personascope.directions import Direction, DirectionSet
from personascope.engine.cells import Cells
from personascope.engine.choose import Sampling
from personascope.engine.generate import run_requests
from personascope.engine.noise import derive_seed
from personascope.engine.rows import Request
from personascope.engine.writes import add
from personascope.judging import Judge
from personascope.personas import Persona
from personascope.statistics import mean_interval
from personascope.subject import Subject

ALPHAS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
# The least mean coherence at which a dose is recommended.
COHERENT = 75.0
_LEAST_SCORED = 3


@dataclass(frozen=True)
class Dose:
    """A direction at one layer and α (0: unsteered), and what its responses scored.

    traits, questions: of the responses in which the trait can be told. coherences, answered: of all that were scored, and
    0 where the model gave no finite numbers. tried: how many responses there were to score, if more than were scored.
    """

    persona: str
    layer: int
    alpha: float
    traits: tuple[float, ...]
    coherences: tuple[float, ...]
    questions: tuple[str, ...]
    answered: tuple[str, ...]
    tried: int = 0

    @property
    def trait(self) -> float:
        """Mean trait score, 0–100; 0 where no response could be judged."""
        return float(np.mean(self.traits)) if self.traits else 0.0

    @property
    def coherence(self) -> float:
        """Mean coherence, 0–100."""
        return float(np.mean(self.coherences)) if self.coherences else 0.0

    def describe(self) -> dict[str, Any]:
        """Plain values, with intervals that resample questions."""
        return {
            "persona": self.persona,
            "layer": self.layer,
            "alpha": self.alpha,
            "n": len(self.traits),
            **described("trait", self.traits, self.questions),
            **described("coherence", self.coherences, self.answered),
        }


def described(name: str, values: Sequence[float], questions: Sequence[str]) -> dict[str, Any]:
    """The mean of some scores with an interval that resamples questions; 0 where there are none."""
    scores = np.asarray(tuple(values) or (0.0,))
    interval = mean_interval(scores, tuple(questions) or ("",))
    if len(set(questions)) < 2:
        # One question says nothing about others.
        return {name: interval.estimate, f"{name}_interval": [0.0, 100.0]}
    return {name: interval.estimate, f"{name}_interval": [interval.low, interval.high]}


def wrong_way(unsteered: Dose, steered: Dose) -> float | None:
    """The share of questions whose responses show less of the trait when steered towards it; None where no question
    could be judged both times."""
    before, after = _by_question(unsteered), _by_question(steered)
    shared = [question for question in before if question in after]
    return float(np.mean([after[one] < before[one] for one in shared])) if shared else None


def _by_question(dose: Dose) -> dict[str, float]:
    scores: dict[str, list[float]] = {}
    for question, trait in zip(dose.questions, dose.traits, strict=True):
        scores.setdefault(question, []).append(trait)
    return {question: float(np.mean(values)) for question, values in scores.items()}


@dataclass(frozen=True)
class Trial:
    """A dose to try on some questions."""

    persona: Persona
    direction: Direction
    alpha: float
    questions: tuple[str, ...]


def dose_response(
    subject: Subject,
    trials: Sequence[Trial],
    judge: Judge,
    samples: int = 1,
    max_new_tokens: int = 200,
    temperature: float = 1.0,
    seed: int = 0,
    batch_size: int | None = None,
    on_done: Callable[[], None] = lambda: None,
    store: Cells | None = None,
    tokens: str = "sampling",
    suppress_eos: bool = False,
) -> list[Dose]:
    """Steer without a system prompt and judge what comes: all trials are rows of one stream, paired by their seeds.

    tokens: which are steered, as in `add`.
    """
    rows = [
        (number, question, sample)
        for number, trial in enumerate(trials)
        for question in trial.questions
        for sample in range(samples)
    ]
    requests = [
        Request(
            prompt=subject.chat.prompt(question),
            seed=derive_seed("dose", seed, question, sample),
            max_new_tokens=max_new_tokens,
            sampling=Sampling(temperature),
            writes=(add(trials[number].direction, trials[number].alpha, tokens=tokens),)
            if trials[number].alpha
            else (),
            suppress_eos=suppress_eos,
        )
        for number, question, sample in rows
    ]
    generations = run_requests(subject, requests, batch_size, on_done=lambda *_: on_done(), cells=store)
    journal = store.journal if store is not None else None
    doses = []
    for number, trial in enumerate(trials):
        ours = [
            (question, generation)
            for (of, question, _), generation in zip(rows, generations, strict=True)
            if of == number
        ]
        answers = [(question, generation) for question, generation in ours if generation.error is None]
        broken = [(0.0, question) for question, generation in ours if generation.error is not None]
        judgements = judge.judge(
            trial.persona, [(question, generation.text) for question, generation in answers], journal
        )
        asked = [question for question, _ in answers]
        told = [(one.trait, text) for one, text in zip(judgements, asked, strict=True) if one.trait is not None]
        # An answer too broken to tell the trait in still counts as incoherent.
        scored = [
            (one.coherence, text) for one, text in zip(judgements, asked, strict=True) if one.coherence is not None
        ] + broken
        doses.append(
            Dose(
                trial.persona.name,
                trial.direction.layer,
                trial.alpha,
                tuple(trait for trait, _ in told),
                tuple(coherence for coherence, _ in scored),
                tuple(text for _, text in told),
                tuple(text for _, text in scored),
                len(ours),
            )
        )
    return doses


def candidate_layers(layers: Sequence[int], n_layers: int) -> list[int]:
    """Layers worth steering at: all of a shallow model, six in the middle half of a deep one."""
    if n_layers <= 8:
        return list(layers)
    middle = [layer for layer in layers if n_layers // 4 <= layer <= 3 * n_layers // 4] or list(layers)
    return sorted({middle[round(place)] for place in np.linspace(0, len(middle) - 1, min(6, len(middle)))})


def trials_for(
    persona: Persona, directions: DirectionSet, layers: Sequence[int], alphas: Sequence[float], questions: Sequence[str]
) -> list[Trial]:
    """The grid of doses, and the unsteered one."""
    still = Trial(persona, directions[layers[0]], 0.0, tuple(questions))
    return [
        still,
        *(Trial(persona, directions[layer], alpha, tuple(questions)) for layer in layers for alpha in alphas),
    ]


def best_dose(doses: Sequence[Dose]) -> Dose:
    """The dose with the largest trait × coherence of those that are surely coherent, so that it holds on other questions
    too; of all where none is."""
    steered = [dose for dose in doses if dose.alpha]
    coherent = [dose for dose in steered if is_coherent(dose)]
    return max(coherent or steered, key=lambda dose: dose.trait * dose.coherence)


def finalist_count(tried: int) -> int:
    """How many of so many doses are measured again: four of a wide grid, none of a narrow one."""
    count = min(4, tried // 6)
    return count if count > 1 else 0


def finalists(doses: Sequence[Dose]) -> list[Dose]:
    """The doses worth measuring again: of the largest trait × coherence, coherent ones first.

    The best of many doses that were measured once owes part of its lead to chance.
    """
    steered = [dose for dose in doses if dose.alpha]
    ranked = sorted(steered, key=lambda dose: (dose.coherence < COHERENT, -dose.trait * dose.coherence))
    return ranked[: finalist_count(len(steered))]


def pooled(one: Dose, other: Dose) -> Dose:
    """Two measurements of a dose as one."""
    return replace(
        one,
        traits=one.traits + other.traits,
        coherences=one.coherences + other.coherences,
        questions=one.questions + other.questions,
        answered=one.answered + other.answered,
        tried=one.tried + other.tried,
    )


def is_coherent(dose: Dose) -> bool:
    """Whether a dose is surely coherent: one standard error below its mean coherence still is, of three scored answers or
    more, and of half of all that were tried."""
    if len(dose.coherences) < max(_LEAST_SCORED, dose.tried / 2):
        return False
    return dose.coherence - standard_error(dose.coherences) >= COHERENT


def standard_error(values: Sequence[float]) -> float:
    """Of the mean; 0 for a single value."""
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0
