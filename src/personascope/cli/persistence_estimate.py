"""What continuous sampling would cost: the arms, the crossing of text and cache, and the doses tried to match them."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from personascope.cli.judges import estimate_judging
from personascope.directions import Direction
from personascope.engine.work import Work
from personascope.persistence.continuous import sampling_work
from personascope.persistence.crossing import CROSSED, crossing_work
from personascope.persistence.matching import matching_trials
from personascope.persistence.pairing import Pairing
from personascope.personas import Persona
from personascope.subject import PromptLike, Subject


@dataclass(frozen=True)
class PersistenceSize:
    """How much continuous sampling runs. samples: rows of each prompt."""

    steered: Sequence[Direction]
    prompts: Sequence[PromptLike]
    samples: int
    n_steer: int
    n_sample: int
    cache: str
    controls: Sequence[str] | None
    chat: bool
    personas: Collection[str] | None = None

    def work(self, subject: Subject) -> Work:
        """What is sampled for the curves, and where both caches are, for crossing them."""
        rows = len(Pairing.of(subject, self.prompts, self.samples, 1.0, 0, self.chat).units)
        found = sampling_work(
            subject,
            self.steered,
            rows,
            self.n_steer,
            self.n_sample,
            self.cache,
            self.controls,
            self.chat,
            self.personas,
        )
        if self.cache == "both":
            found += crossing_work(len(self.steered), rows, self.n_steer, min(self.n_sample, CROSSED))
        return found


def matching_cost(
    subject: Subject,
    directions: Sequence[Direction],
    prompts: Sequence[str],
    judge: str,
    n_steer: int,
    personas: Mapping[str, Persona] | None = None,
) -> tuple[Work, dict[str, Any] | None]:
    """What is sampled to match doses, and what judging it takes; None where that costs nothing. Raises `UserError` as
    `matched_alphas` does before it samples."""
    scorer, trials = matching_trials(subject, directions, prompts, judge, personas)
    answers = [(trial.persona, len(trial.questions)) for trial in trials]
    work = Work.of(sum(count for _, count in answers), n_steer)
    return work, estimate_judging(scorer, answers, n_steer, None)
