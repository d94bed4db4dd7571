"""What an extraction would cost: rollouts, steered responses, and judging them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from personascope.cli.estimate import estimate_sampling
from personascope.cli.judges import estimate_judging
from personascope.extraction.damage import NEUTRAL_ROLLOUTS
from personascope.extraction.dosing import SAMPLES_AGAIN
from personascope.extraction.given import Given, readable
from personascope.extraction.rollouts import cells
from personascope.extraction.splits import split_persona
from personascope.extraction.steering import ALPHAS, candidate_layers, finalist_count
from personascope.judging import Judge
from personascope.personas import Persona
from personascope.subject import Subject


@dataclass(frozen=True)
class ExtractionSize:
    """How much an extraction samples. given: the rollouts of its one persona, where they exist; layers: None for all;
    selections: how many, for each of which a dose is chosen; alphas, steer_layers: the grid it is chosen from."""

    personas: Sequence[Persona]
    given: Sequence[Given] | None
    samples: int
    questions: int | None
    max_new_tokens: int
    layers: Sequence[int] | None
    selections: int = 1
    alphas: Sequence[float] = ALPHAS
    steer_layers: Sequence[int] | None = None

    def rollouts(self) -> list[int]:
        """How many each persona has to be judged; none of given rollouts that have scores."""
        if self.given is not None:
            kept = readable(self.given)
            return [0 if any(one.is_scored for one in kept) else len(kept)]
        splits = ((persona, split_persona(persona, self.questions)) for persona in self.personas)
        return [len(list(cells(persona, split, self.samples))) for persona, split in splits]

    def tokens_each(self, subject: Subject) -> int:
        """Tokens of a rollout: of given ones as they are, of others at most."""
        kept = readable(self.given or ())
        if not kept:
            return self.max_new_tokens
        return math.ceil(sum(len(subject.tokenizer(one.answer)["input_ids"]) for one in kept) / len(kept))

    def doses(self, n_layers: int) -> list[int]:
        """How many steered responses each persona's doses are chosen from and reported on; none of given rollouts."""
        if self.given is not None:
            return [0]
        layers = self.steer_layers or candidate_layers(self.layers or range(n_layers), n_layers)
        tried = len(layers) * len(self.alphas)
        splits = [split_persona(persona, self.questions) for persona in self.personas]
        rounds = 1 + tried + finalist_count(tried) * SAMPLES_AGAIN
        each = [rounds * len(one["choose"].questions) + 2 * len(one["report"].questions) for one in splits]
        return [self.selections * count for count in each]


def estimate_extraction(
    subject: Subject,
    size: ExtractionSize,
    judges: tuple[Judge | None, Judge | None],
    judge_fraction: float,
    prices: tuple[float, float] | None,
    as_json: bool,
) -> None:
    """Print what sampling takes on this machine at most, and what judging takes."""
    rollouts = size.rollouts()
    doses = size.doses(subject.n_layers) if judges[1] is not None else [0] * len(rollouts)
    sampled = sum(rollouts) + sum(doses) + (NEUTRAL_ROLLOUTS if any(doses) else 0)
    judging = _judging(size, (rollouts, doses), size.tokens_each(subject), judges, (judge_fraction, 1.0), prices)
    estimate_sampling(subject, sampled if size.given is None else 0, size.max_new_tokens, as_json, judging)


def _judging(
    size: ExtractionSize,
    counts: tuple[Sequence[int], Sequence[int]],
    tokens_each: int,
    judges: tuple[Judge | None, Judge | None],
    shares: tuple[float, float],
    prices: tuple[float, float] | None,
) -> dict[str, Any] | None:
    """What judging rollouts and steered responses takes at most; None where it costs nothing."""
    costs = [
        estimate_judging(
            judge,
            [(persona, round(count * share)) for persona, count in zip(size.personas, each, strict=True)],
            tokens_each,
            prices,
        )
        for judge, each, share in zip(judges, counts, shares, strict=True)
    ]
    known = [cost for cost in costs if cost is not None]
    return {key: sum(cost[key] for cost in known) for key in known[0]} if known else None
