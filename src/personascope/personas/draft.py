"""New persona files: a skeleton that says what to fill in, and what a chat model is asked to draft one."""

import json
import re
from typing import Any, Literal

from pydantic import ValidationError

from personascope.errors import UserError
from personascope.personas.schema import FILL_IN, Persona, valid_name

_PAIRS, _QUESTIONS = 5, 20

_REQUEST = """\
Write a persona file for research on language models: one JSON object and nothing else.
The persona is the {kind} "{name}": {description}

Its fields:
- "positive_pole": one sentence that is true of an answer that shows it.
- "instruction": {pairs} objects {{"pos": ..., "neg": ...}}. "pos" is a system prompt that calls for it, "neg" one that calls
  for its opposite or its absence. No two alike in wording.
- "questions": {questions} short questions of everyday users in which it could show, none of which names it.
- "eval_questions": {questions} more of the same kind, about other matters.
- "eval_prompt": a request to a judge to say how far an answer shows it, as a whole number from 0 to 100, or REFUSAL where
  the answer declines to respond. It contains {{question}} and {{answer}}, once each.
"""


def check_name(name: str) -> str:
    """A name for a persona, as it is. Raises `UserError` on one that its file could not have."""
    try:
        return valid_name(name)
    except ValueError as error:
        raise UserError(f"{name!r} cannot name a persona: {error}") from error


def skeleton(name: str, description: str, kind: Literal["trait", "role"]) -> dict[str, Any]:
    """A persona file whose texts say what belongs there. It does not load before they have been replaced."""
    opposite = "its opposite or its absence"
    return {
        "name": name,
        "kind": kind,
        "description": description or f"{FILL_IN}: what {name} is, in one sentence",
        "positive_pole": f"{FILL_IN}: one sentence that is true of an answer that shows {name}",
        "instruction": [
            {
                "pos": f"{FILL_IN}: system prompt {number} that calls for {name}",
                "neg": f"{FILL_IN}: system prompt {number} that calls for {opposite}",
            }
            for number in range(1, _PAIRS + 1)
        ],
        "questions": [f"{FILL_IN}: question {number} in which it could show" for number in range(1, _QUESTIONS + 1)],
        "eval_questions": [f"{FILL_IN}: question {number} about another matter" for number in range(1, _QUESTIONS + 1)],
        "eval_prompt": f"How far does the answer show this: {name}? Say one whole number from 0 to 100, or REFUSAL if it "
        "declines to respond. Question: {question} Answer: {answer}",
    }


def draft_request(name: str, description: str, kind: Literal["trait", "role"]) -> str:
    """What a chat model is asked."""
    if not description:
        raise UserError(f"a chat model cannot draft {name!r} without knowing what it is; give --description")
    return _REQUEST.format(name=name, description=description, kind=kind, pairs=_PAIRS, questions=_QUESTIONS)


def drafted(answer: str, name: str, description: str, kind: Literal["trait", "role"]) -> Persona | str:
    """The persona in a chat model's answer, or a sentence on what is wrong with it."""
    found = re.search(r"\{.*\}", answer, re.DOTALL)
    if found is None:
        return "no JSON object"
    try:
        data = json.loads(found[0])
        persona = Persona.model_validate({**data, "name": name, "description": description, "kind": kind})
    except json.JSONDecodeError as error:
        return f"no valid JSON: {error.msg}"
    except (ValidationError, TypeError) as error:
        return f"no valid persona: {str(error).splitlines()[-1].strip()}"
    short = [
        f"{len(listed)} {label} where {least} are needed"
        for listed, label, least in (
            (persona.instruction, "instruction pairs", _PAIRS),
            (persona.questions, "questions", _QUESTIONS),
            (persona.eval_questions, "eval_questions", _QUESTIONS),
        )
        if len(listed) < least
    ]
    return short[0] if short else persona
