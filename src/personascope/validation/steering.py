"""What steering does to an organism's words, by exact scores."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from personascope.directions import Direction
from personascope.engine.choose import Sampling
from personascope.engine.generate import run_requests
from personascope.engine.noise import derive_seed
from personascope.engine.rows import Request
from personascope.engine.writes import add
from personascope.errors import UserError
from personascope.subject import Subject


@dataclass(frozen=True)
class Steered:
    """A persona's share of the slot words, and the share of well-formed sentences, with and without steering."""

    persona: str
    layer: int
    alpha: float
    share: float
    well_formed: float
    unsteered_share: float
    unsteered_well_formed: float
    rows: int


def check_steering(
    subject: Subject,
    doses: Sequence[tuple[Direction, float]],
    questions: Sequence[str],
    samples: int = 2,
    max_new_tokens: int = 100,
    seed: int = 0,
) -> list[Steered]:
    """Answer the questions under each (direction, α) and unsteered, with the same seeds, and score the answers."""
    truth = subject.truth
    if truth is None:
        raise UserError("steering can be scored exactly only where personas are planted; use an organism")
    arms: list[tuple[Direction, float] | None] = [None, *doses]
    requests = [
        Request(
            prompt=subject.chat.prompt(question),
            seed=derive_seed("steering", seed, question, sample),
            max_new_tokens=max_new_tokens,
            sampling=Sampling(1.0),
            writes=(add(*arm),) if arm else (),
        )
        for arm in arms
        for question in questions
        for sample in range(samples)
    ]
    scores = [truth.score(generation.text) for generation in run_requests(subject, requests)]
    rows = len(questions) * samples
    unsteered = scores[:rows]
    found = []
    for number, (direction, alpha) in enumerate(doses, start=1):
        steered = scores[number * rows : (number + 1) * rows]
        found.append(
            Steered(
                direction.name,
                direction.layer,
                alpha,
                float(np.mean([one["shares"][direction.name] for one in steered])),
                float(np.mean([one["well_formed"] for one in steered])),
                float(np.mean([one["shares"][direction.name] for one in unsteered])),
                float(np.mean([one["well_formed"] for one in unsteered])),
                rows,
            )
        )
    return found
