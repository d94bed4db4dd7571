"""A judge that cannot tell is noticed, one that leaves answers unscored is not taken for it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

import personascope as ps
from personascope.engine.forward import Passage
from personascope.extraction.rollouts import Rollout, cells, judged
from personascope.extraction.splits import split_persona
from personascope.judging import Judgement
from personascope.personas import Persona, load_persona
from personascope.runs import Journal

EVIL = load_persona("evil")


@dataclass
class Listed:
    """Gives its scores in order."""

    scores: Sequence[float | None]
    name: ClassVar[str] = "listed"

    def judge(
        self, persona: Persona, items: Sequence[tuple[str, str]], journal: Journal | None = None
    ) -> list[Judgement]:
        return [Judgement(score, 90.0, score is None) for score in self.scores]


def rollouts(count: int) -> list[Rollout]:
    """As many, the poles in turns."""
    wanted = list(cells(EVIL, split_persona(EVIL, 20), 1))[:count]
    return [Rollout(cell, "Yes.", torch.zeros(1, 1, 2), Passage.__new__(Passage)) for cell in wanted]


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        ([30.0] * 12, "scores all 12 answers of 'evil' at 30, those"),
        ([None, None, *[30.0] * 10], "scores all 10 answers of 'evil' at 30 and leaves 2 unscored"),
    ],
)
def test_one_score_for_all_is_said(scores: list[float | None], said: str) -> None:
    with pytest.raises(ps.UserError, match=said):
        judged(rollouts(12), EVIL, Listed(scores))


@pytest.mark.parametrize(
    "scores", [[30.0, *[None] * 11], [30.0] * 9 + [None] * 3, [100.0, None] * 12, [None] * 12, [30.0] * 11 + [31.0]]
)
def test_scores_of_too_few_or_of_one_pole_say_nothing_about_the_judge(scores: list[float | None]) -> None:
    assert len(judged(rollouts(len(scores)), EVIL, Listed(scores))) == len(scores)
