"""What a judge is."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from personascope.personas import Persona


@dataclass(frozen=True)
class Judgement:
    """trait: how much of the persona a response shows, 0–100, None where it cannot be told. coherence: 0–100."""

    trait: float | None
    coherence: float


class Judge(Protocol):
    """Scores responses."""

    name: ClassVar[str]

    def judge(self, persona: Persona, items: Sequence[tuple[str, str]]) -> list[Judgement]:
        """One judgement per (question, answer)."""
