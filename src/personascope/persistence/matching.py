"""Doses that bring out their personas equally, so that what is compared afterwards is not who was pushed hardest."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import numpy as np

from personascope.directions import Direction
from personascope.engine.cells import Cells
from personascope.errors import UserError
from personascope.extraction.steering import ALPHAS, Dose, Trial, dose_response
from personascope.judging import Judge, judge_for
from personascope.personas import Persona, load_persona
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
    seed: int = 0,
    batch_size: int | None = None,
    on_progress: Callable[[str, int | None], None] = lambda *_: None,
    cells: Cells | None = None,
) -> dict[str, float]:
    """By `name@layer` the smallest α at which responses of `n_steer` tokens score `trait` (0–100) on average.

    α is interpolated between those tried. personas: by the directions' names, shipped ones by default. Raises `UserError`
    without a judge, and naming the direction that never gets there.
    """
    scorer = judge_for(subject, judge)
    if scorer is None:
        raise UserError(
            f"doses can be matched only by a judge, and none knows {subject.name}; give judge='chat', or an alpha"
        )
    trials = [
        Trial((personas or {}).get(one.name) or load_persona(one.name), one, alpha, tuple(prompts))
        for one in directions
        for alpha in (0.0, *alphas)
    ]
    on_progress("matching doses", len(trials) * len(prompts))
    doses = dose_response(
        subject,
        trials,
        scorer,
        max_new_tokens=n_steer,
        seed=seed,
        batch_size=batch_size,
        on_done=lambda: on_progress("", None),
        store=cells,
    )
    size = len(alphas) + 1
    return {
        one.key: _crossing(one, doses[place * size : (place + 1) * size], trait) for place, one in enumerate(directions)
    }


def _crossing(direction: Direction, doses: Sequence[Dose], trait: float) -> float:
    """Where the dose–response first reaches the trait score."""
    for before, after in pairwise(doses):
        if after.trait >= trait:
            if before.trait >= trait:
                return before.alpha
            return float(np.interp(trait, [before.trait, after.trait], [before.alpha, after.alpha]))
    best = max(doses, key=lambda dose: dose.trait)
    raise UserError(
        f"steering with {direction.key} never brings its trait to {trait:g}: the most is {best.trait:.0f} at α = "
        f"{best.alpha:g}; ask for less, or leave it out"
    )
