"""The shipped personas, and persona files from disk."""

import difflib
import json
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from personascope.errors import UserError
from personascope.personas.schema import Persona

_LIBRARY = resources.files(__package__) / "library"


@cache
def persona_names() -> tuple[str, ...]:
    """Names of the shipped personas, in alphabetical order."""
    return tuple(
        sorted(entry.name.removesuffix(".json") for entry in _LIBRARY.iterdir() if entry.name.endswith(".json"))
    )


def load_persona(source: str | Path | Persona) -> Persona:
    """A shipped persona by name, or a persona file by path (anything that ends in .json or holds a slash).

    A name may be written with spaces. Files of the persona-vectors shape load as they are, question files with nested
    categories too.
    Raises `UserError` naming the nearest shipped persona, or the file, its line and its field.
    """
    if isinstance(source, Persona):
        return source
    if not isinstance(source, str | Path):
        raise UserError(f"{source!r:.60} is no persona; give the name of a shipped one, a persona file or a ps.Persona")
    if isinstance(source, Path) or source.endswith(".json") or "/" in source:
        return _from_file(Path(source))
    name = source.replace(" ", "_")
    if name not in persona_names():
        near = difflib.get_close_matches(source, persona_names(), n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        # A text that is too long for a name is an error of its own.
        with suppress(OSError):
            if Path(f"{source}.json").is_file():
                hint = f"there is a file {source}.json here: give that name; "
        raise UserError(
            f"persona {source!r} is not known; {hint}`personascope traits` lists all {len(persona_names())}"
        )
    return _shipped(name)


@cache
def _shipped(name: str) -> Persona:
    return Persona.model_validate_json((_LIBRARY / f"{name}.json").read_text(encoding="utf-8"))


def _from_file(path: Path) -> Persona:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"persona file {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UserError(f"persona file {path} is not UTF-8 text; save it as UTF-8") from error
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(
            f"persona file {path}, line {error.lineno}: {error.msg.lower().removesuffix(' at')}; correct the JSON there"
        ) from error
    except (ValueError, RecursionError) as error:
        why = "nested too deeply" if isinstance(error, RecursionError) else "a number of too many digits"
        raise UserError(f"persona file {path}: {why}; correct the JSON there") from error
    if not isinstance(data, dict):
        raise UserError(f"persona file {path} must hold one JSON object with instruction and questions")
    data.setdefault("name", path.stem)
    for field in ("questions", "eval_questions"):
        if isinstance(data.get(field), dict):
            data[field] = _flatten(data[field])
    try:
        return Persona.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        line = _line_of(text, first["loc"] or ("eval_questions",))
        where = ".".join(str(part) for part in first["loc"]) or "eval_questions"
        raise UserError(f"persona file {path}, line {line}, field {where}: {_said(first, data)}") from error


def _said(error: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """What is wrong with a field, in words that fit a JSON file."""
    message: str = error["msg"].removeprefix("Value error, ")
    if error["type"] == "tuple_type":
        return "must be a list, in [ ]"
    if error["type"] == "too_short":
        return "holds nothing; write at least one"
    if error["type"] == "missing":
        strange = [key for key in data if key not in Persona.model_fields] if len(error["loc"]) == 1 else []
        near = difflib.get_close_matches(str(error["loc"][-1]), strange, 1)
        return f"is missing; did you mean {near[0]!r} to be it?" if near else "is missing"
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(error["loc"][-1]), list(Persona.model_fields), 1)
        return f"is not known; did you mean {near[0]!r}?" if near else "is not known; leave it out"
    return message[:1].lower() + message[1:] if not message.startswith("'") else message


def _flatten(questions: Any) -> list[Any]:
    """Questions of a nested {category: {…: [questions]}} in reading order."""
    if isinstance(questions, dict):
        return [question for part in questions.values() for question in _flatten(part)]
    if isinstance(questions, list):
        return [question for part in questions for question in _flatten(part)]
    return [questions]


def _line_of(text: str, location: tuple[int | str, ...]) -> int:
    """Line of the innermost field of `location` that stands in the file, from 1."""
    position = 0
    for part in location:
        if isinstance(part, str):
            found = text.find(f'"{part}"', position)
            if found >= 0:
                position = found
        else:
            position = _nth_item(text, position, part)
    return text.count("\n", 0, position) + 1


def _nth_item(text: str, position: int, index: int) -> int:
    """Where item `index` of the JSON array that opens after `position` begins; `position` if it can't be told."""
    decoder = json.JSONDecoder()
    cursor = text.find("[", position) + 1
    for at in range(index + 1):
        while cursor < len(text) and text[cursor] in " \t\r\n,":
            cursor += 1
        if at == index:
            return cursor
        try:
            _, cursor = decoder.raw_decode(text, cursor)
        except json.JSONDecodeError:
            return position
    return position
