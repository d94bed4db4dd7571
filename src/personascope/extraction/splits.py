"""Keeping apart what a direction is made from, what is chosen by, and what is reported."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from personascope.errors import UserError
from personascope.personas import Persona

SplitName = Literal["extract", "choose", "report"]
SPLITS: tuple[SplitName, ...] = ("extract", "choose", "report")


@dataclass(frozen=True)
class Split:
    """Instruction pairs (by number) and questions; no two splits share either."""

    pairs: tuple[int, ...]
    questions: tuple[str, ...]


def split_persona(persona: Persona, questions: int | None = None) -> dict[SplitName, Split]:
    """The three splits of a persona.

    Of its instruction pairs the last is for reporting and the one before for choosing. Eval questions, where there
    are some, are halved between choosing and reporting; otherwise a fifth of the questions goes to each. `questions`
    bounds how many a split takes. Raises `UserError` where there is too little to split.
    """
    pairs = len(persona.instruction)
    if pairs < 3:
        raise UserError(
            f"persona {persona.name!r} has {pairs} instruction pair{'s' if pairs != 1 else ''}; extraction, choice and "
            "report need one each, so write at least 3"
        )
    numbers = tuple(range(pairs))
    extract, choose, report = _questions(persona)
    if min(map(len, (extract, choose, report))) < 1:
        raise UserError(f"persona {persona.name!r} has too few questions to split in three; write at least 5")
    return {
        "extract": Split(numbers[:-2], tuple(extract[:questions])),
        "choose": Split(numbers[-2:-1], tuple(choose[:questions])),
        "report": Split(numbers[-1:], tuple(report[:questions])),
    }


def _questions(persona: Persona) -> tuple[Sequence[str], Sequence[str], Sequence[str]]:
    # A question that a file repeats would stand in two splits, or be one rollout counted twice.
    questions = tuple(dict.fromkeys(persona.questions))
    held_out = tuple(dict.fromkeys(persona.eval_questions))
    if len(held_out) >= 2:
        half = len(held_out) // 2
        return questions, held_out[:half], held_out[half:]
    fifth = len(questions) // 5
    if not fifth:
        return questions, (), ()
    return questions[: -2 * fifth], questions[-2 * fifth : -fifth], questions[-fifth:]
