"""Doses that bring out their personas equally, so that what is compared afterwards is not who was pushed hardest."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from personascope.directions import Direction
from personascope.engine.cells import Cells
from personascope.errors import UserError
from personascope.extraction.steering import ALPHAS, Dose, Trial, dose_response
from personascope.judging import Judge, check_judge, judge_for
from personascope.persistence.known import known_personas
from personascope.personas import Persona
from personascope.subject import Subject


def matched_alphas(
    subject: Subject,
    directions: Sequence[Direction],
    prompts: Sequence[str],
    trait: float = 60.0,
    judge: str | Judge | None = "auto",
    personas: Mapping[str, Persona] | None = None,
    alphas: Sequence[float] = ALPHAS,
    n_steer: int = 200,
    steer_prompt: bool = False,
    temperature: float = 1.0,
    seed: int = 0,
    batch_size: int | None = None,
    on_progress: Callable[[str, int | None], None] = lambda *_: None,
    cells: Cells | None = None,
) -> dict[str, float]:
    """By `name@layer` the smallest α at which responses of `n_steer` tokens score `trait` (0–100) on average, steered and
    sampled as `persistence` does; the prompts should be others than those that are measured on.

    α is interpolated between those tried. personas: by the directions' names, shipped ones by default. Raises `UserError`
    without a judge or prompts, on a direction of no persona, and naming one that never gets there or is there unsteered.
    """
    scorer, trials = matching_trials(subject, directions, prompts, judge, personas, alphas)
    on_progress("matching doses", len(trials) * len(prompts))
    doses = dose_response(
        subject,
        trials,
        scorer,
        max_new_tokens=n_steer,
        temperature=temperature,
        seed=seed,
        batch_size=batch_size,
        on_done=lambda: on_progress("", None),
        store=cells,
        tokens="sampling+prompt" if steer_prompt else "sampling",
        suppress_eos=True,
    )
    size = len(alphas) + 1
    return {
        one.key: _crossing(one, doses[place * size : (place + 1) * size], trait) for place, one in enumerate(directions)
    }


def matching_trials(
    subject: Subject,
    directions: Sequence[Direction],
    prompts: Sequence[str],
    judge: str | Judge | None = "auto",
    personas: Mapping[str, Persona] | None = None,
    alphas: Sequence[float] = ALPHAS,
) -> tuple[Judge, list[Trial]]:
    """Who judges, and the doses that are tried: for every direction none, then each α. Raises `UserError` without a judge,
    without prompts, and on a direction of no persona or of one that the judge does not know."""
    scorer = judge_for(subject, judge)
    if scorer is None:
        raise UserError(
            f"doses can be matched only by a judge, and none knows {subject.name}; give judge='chat', or an alpha"
        )
    if not prompts:
        raise UserError(
            "there are no prompts to search doses on: the neutral questions are all measured on; leave some of them out, or "
            "give an alpha instead"
        )
    known = known_personas() | dict(personas or {})
    nameless = [one.name for one in directions if one.name not in known]
    if nameless:
        raise UserError(
            f"{nameless[0]!r} is no shipped persona, so that it cannot be judged; give its persona file, or an alpha instead"
        )
    check_judge(scorer, (known[one.name] for one in directions))
    return scorer, [
        Trial(known[one.name], one, alpha, tuple(prompts)) for one in directions for alpha in (0.0, *alphas)
    ]


def _crossing(direction: Direction, doses: Sequence[Dose], trait: float) -> float:
    """Where the dose–response first reaches the trait score."""
    if doses[0].trait >= trait:
        raise UserError(
            f"unsteered responses already score {doses[0].trait:.0f} for {direction.name}; ask for more than {trait:g}"
        )
    for before, after in pairwise(doses):
        if after.trait >= trait:
            return float(np.interp(trait, [before.trait, after.trait], [before.alpha, after.alpha]))
    best = max(doses, key=lambda dose: dose.trait)
    raise UserError(
        f"steering with {direction.key} never brings its trait to {trait:g}: the most is {best.trait:.0f} at α = "
        f"{best.alpha:g}; ask for less, or leave it out"
    )
