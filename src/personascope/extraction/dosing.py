"""Choosing the layer and α to steer with, and measuring what they do on other questions."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from personascope.directions import DirectionSet
from personascope.engine.cells import Cells
from personascope.extraction.damage import neutral_kl
from personascope.extraction.rollouts import Rollout
from personascope.extraction.splits import Split, SplitName
from personascope.extraction.steering import (
    COHERENT,
    Dose,
    Trial,
    best_dose,
    candidate_layers,
    described,
    dose_response,
    finalists,
    is_coherent,
    pooled,
    trials_for,
    wrong_way,
)
from personascope.judging import Judge
from personascope.personas import Persona
from personascope.subject import Subject

# How often each question is asked when the best doses are measured again, and what sets these answers apart.
SAMPLES_AGAIN, _OTHER_SEED = 2, 7_919

# Called with a word for the phase, and how many rollouts it will take when it begins (None: one more is done).
OnProgress = Callable[[str, int | None], None]


@dataclass(frozen=True)
class Dosing:
    """How doses are tried: the grid, and how their responses are sampled and judged."""

    judge: Judge
    alphas: tuple[float, ...]
    layers: Sequence[int] | None
    max_new_tokens: int
    temperature: float
    seed: int
    batch_size: int | None
    on_progress: OnProgress
    store: Cells | None

    def run(self, subject: Subject, phase: str, trials: list[Trial], samples: int = 1, seed: int = 0) -> list[Dose]:
        self.on_progress(phase, samples * sum(len(trial.questions) for trial in trials))
        return dose_response(
            subject,
            trials,
            self.judge,
            samples,
            self.max_new_tokens,
            self.temperature,
            self.seed + seed,
            self.batch_size,
            lambda: self.on_progress("", None),
            self.store,
        )


def with_steering(
    subject: Subject,
    personas: Sequence[Persona],
    sets: Sequence[DirectionSet],
    splits: dict[str, dict[SplitName, Split]],
    prompted: Sequence[Sequence[Rollout]],
    dosing: Dosing,
) -> list[DirectionSet]:
    """The sets with the layer and α to steer with: chosen on one split's questions, measured on another's.

    prompted: each persona's rollouts of the report split, all that were judged; those under its positive instruction
    are the rival, what asking for the persona brings.
    """
    pairs = list(zip(personas, sets, strict=True))
    grid = []
    for persona, directions in pairs:
        layers = dosing.layers or candidate_layers(directions.layers, subject.n_layers)
        questions = splits[persona.name]["choose"].questions
        grid.append(trials_for(persona, directions, list(layers), dosing.alphas, questions))
    doses = iter(dosing.run(subject, "trying doses", [trial for trials in grid for trial in trials]))
    tried = [[next(doses) for _ in trials] for trials in grid]
    best = _settled(subject, grid, tried, dosing)
    check = [
        trials_for(persona, directions, [dose.layer], [dose.alpha], splits[persona.name]["report"].questions)
        for (persona, directions), dose in zip(pairs, best, strict=True)
    ]
    reported = iter(dosing.run(subject, "measuring the chosen dose", [trial for trials in check for trial in trials]))
    damage = neutral_kl(
        subject,
        [(directions[dose.layer], dose.alpha) for (_, directions), dose in zip(pairs, best, strict=True)],
        dosing.seed,
        dosing.batch_size,
        dosing.store,
    )
    out = []
    for (persona, directions), dose, all_doses, rollouts, kl in zip(pairs, best, tried, prompted, damage, strict=True):
        unsteered, steered = next(reported), next(reported)
        steering = {
            "unsteered": unsteered.describe(),
            "steered": steered.describe(),
            "wrong_way": wrong_way(unsteered, steered),
            "neutral": kl,
            "system_prompt": _rival(persona, rollouts, dosing),
        }
        choices = {
            **directions.choices,
            "steer_layer": dose.layer,
            "alpha": dose.alpha,
            "steer_reason": reason(dose, all_doses),
            "steering": steering,
            "doses": [one.describe() for one in all_doses],
        }
        out.append(replace(directions, choices=choices))
    return out


def _settled(subject: Subject, grid: Sequence[list[Trial]], tried: Sequence[list[Dose]], dosing: Dosing) -> list[Dose]:
    """The best dose of each persona, once its finalists have been measured again; `tried` gets what is known of them then."""
    places = [[doses.index(one) for one in finalists(doses)] for doses in tried]
    trials = [one[place] for one, chosen in zip(grid, places, strict=True) for place in chosen]
    again = iter(
        [] if not trials else dosing.run(subject, "measuring the best again", trials, SAMPLES_AGAIN, _OTHER_SEED)
    )
    best = []
    for doses, chosen in zip(tried, places, strict=True):
        for place in chosen:
            doses[place] = pooled(doses[place], next(again))
        best.append(best_dose([doses[place] for place in chosen] or doses))
    return best


def reason(chosen: Dose, tried: Sequence[Dose]) -> str:
    """Why this dose, in one sentence."""
    steered = [dose for dose in tried if dose.alpha]
    got = f"trait {chosen.trait:.0f} at coherence {chosen.coherence:.0f}"
    coherent = sum(map(is_coherent, steered))
    if not coherent:
        return (
            f"none of {len(steered)} doses is surely coherent (mean less one standard error at least {COHERENT:g}); this one "
            f"has the largest trait × coherence, {got}"
        )
    return (
        f"the largest trait × coherence among the {coherent} of {len(steered)} doses that are surely coherent (mean less one "
        f"standard error at least {COHERENT:g}): {got}, on the questions kept for choosing"
    )


def _rival(persona: Persona, rollouts: Sequence[Rollout], dosing: Dosing) -> dict[str, Any] | None:
    """What the positive instruction brings on the questions that are reported on, scored by the judge of the doses; None
    where nothing could be scored."""
    asked = [one for one in rollouts if one.cell.pole == "pos"]
    journal = dosing.store.journal if dosing.store is not None else None
    scores = dosing.judge.judge(persona, [(one.cell.question, one.answer) for one in asked], journal)
    told = [
        (score.trait, one.cell.question) for score, one in zip(scores, asked, strict=True) if score.trait is not None
    ]
    scored = [
        (score.coherence, one.cell.question)
        for score, one in zip(scores, asked, strict=True)
        if score.coherence is not None
    ]
    if not told:
        return None
    return {
        "n": len(told),
        **described("trait", [value for value, _ in told], [question for _, question in told]),
        **described("coherence", [value for value, _ in scored], [question for _, question in scored]),
    }
