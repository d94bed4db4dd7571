"""What a persona file holds."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

DEGREES: dict[str, str] = {"slightly": " Do so only slightly.", "very": " Do so very strongly."}


# How the texts of a skeleton begin.
FILL_IN = "FILL IN"


def _filled_in(text: str) -> str:
    if text.startswith(FILL_IN):
        raise ValueError(f"still says {FILL_IN}; write what belongs there")
    return text


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be blank")
    return _filled_in(text)


def valid_name(text: str) -> str:
    """A name, as it is. Raises `ValueError` on what is none."""
    # It names files and columns such as evil@3.
    if not re.fullmatch(r"\w[\w .-]*", text):
        raise ValueError("a name has letters, digits, blanks, dots, - and _, and begins with a letter or digit")
    return text


def _with_holes(text: str) -> str:
    for hole in ("{question}", "{answer}"):
        if text and hole not in text:
            raise ValueError(f"lacks {hole}")
    return _filled_in(text)


Text = Annotated[str, AfterValidator(_not_blank)]
Remark = Annotated[str, AfterValidator(_filled_in)]


class InstructionPair(BaseModel):
    """Two system prompts: one that calls for the persona and one that calls for its opposite or its absence."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    pos: Text
    neg: Text


class Persona(BaseModel):
    """A trait or a role, with what is needed to elicit and to judge it.

    Files of the persona-vectors shape (`instruction`, `questions`, `eval_prompt` alone) are valid too; their name is
    that of the file. Source of the shape: persona vectors (Chen et al., 2025).
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, AfterValidator(valid_name)]
    kind: Literal["trait", "role"] = "trait"
    description: Remark = ""
    positive_pole: Remark = ""
    instruction: Annotated[tuple[InstructionPair, ...], Field(min_length=1)]
    questions: Annotated[tuple[Text, ...], Field(min_length=1)]
    eval_questions: tuple[Text, ...] = ()
    eval_prompt: Annotated[str, AfterValidator(_with_holes)] = ""

    @model_validator(mode="after")
    def _splits_are_disjoint(self) -> "Persona":
        both = set(self.questions) & set(self.eval_questions)
        if both:
            raise ValueError(f"{min(both)!r} stands in questions and in eval_questions; keep it in one of them")
        return self

    @property
    def title(self) -> str:
        """The name as a reader would write it."""
        return self.name.replace("_", " ")

    def system_prompt(self, pair: int, pole: Literal["pos", "neg"] = "pos", degree: str | None = None) -> str:
        """The system prompt of instruction `pair`, at degree `slightly`, None or `very`."""
        text: str = getattr(self.instruction[pair], pole)
        return text + DEGREES[degree] if degree else text
