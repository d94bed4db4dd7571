"""The judge that needs no model: an organism's exact scores."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from personascope.errors import UserError
from personascope.judging.judge import Judgement
from personascope.organisms.score import Score
from personascope.organisms.truth import Truth
from personascope.personas import Persona
from personascope.runs import Journal

# A response whose slots hold this share of a persona's words shows as much of it as one can without being asked for more.
FULL_SHARE = 0.6


@dataclass(frozen=True)
class LexiconJudge:
    """Scores by the organism's own grammar. Source: the planted truth.

    Trait: for a persona of words, its share of the slot words, 100 at a share of 0.6 and above; for a behaviour, how
    far the response shows it, None where it gives no occasion to. Coherence: the share of well-formed sentences.
    """

    truth: Truth
    name: ClassVar[str] = "lexicon"

    def judge(
        self, persona: Persona, items: Sequence[tuple[str, str]], journal: Journal | None = None
    ) -> list[Judgement]:
        if persona.name not in (*self.truth.personas, *self.truth.behaviours):
            raise UserError(
                f"the lexicon judge does not know the persona {persona.name!r}: it is not planted in this organism; let a "
                "chat model judge it, or nobody, in a run of its own: --judge chat or --judge none (judge='none' in Python)"
            )
        return [self._one(persona.name, answer) for _, answer in items]

    def _one(self, name: str, answer: str) -> Judgement:
        score = self.truth.score(answer)
        return Judgement(planted(score, name), 100 * score["well_formed"])


def planted(score: Score, name: str) -> float | None:
    """How much of a persona exact scores show, 0–100; None where the text gives no occasion for it."""
    if name in score["shares"]:
        return 100 * min(1.0, score["shares"][name] / FULL_SHARE)
    shown = score["behaviours"][name]
    return None if shown is None else 100 * shown
