"""What a judge is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol, runtime_checkable

from personascope.personas import Persona
from personascope.runs import Journal


@dataclass(frozen=True)
class Judgement:
    """trait: how much of the persona a response shows, 0–100, None where it cannot be told. coherence: 0–100, None
    where it could not be scored. refused: whether the judge declined to score."""

    trait: float | None
    coherence: float | None
    refused: bool = False


class Judge(Protocol):
    """Scores responses."""

    name: ClassVar[str]

    def judge(
        self, persona: Persona, items: Sequence[tuple[str, str]], journal: Journal | None = None
    ) -> list[Judgement]:
        """One judgement per (question, answer). journal: where answers that cost something are kept, and found again."""


@runtime_checkable
class Forgetful(Judge, Protocol):
    """A judge that keeps its answers in a journal, and can be made to ask again."""

    def anew(self) -> Judge:
        """The judge for another round: what was answered in this one is asked again."""


def check_judge(judge: Judge | None, personas: Iterable[Persona]) -> None:
    """Raises `UserError` on a persona that the judge cannot score: before anything is sampled for it."""
    if judge is not None:
        for persona in personas:
            judge.judge(persona, ())
