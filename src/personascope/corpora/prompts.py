"""Prompts, and responses to them, from text, JSONL, CSV and parquet files."""

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from personascope.errors import UserError

_PROMPT_FIELDS = ("messages", "conversation", "prompt", "question", "instruction", "content", "text")
_RESPONSE_FIELDS = ("response", "answer", "completion", "output")


@dataclass(frozen=True)
class Record:
    """A prompt: a string or a list of {"role", "content"}; and a response to it where the file has one."""

    prompt: str | list[dict[str, str]]
    response: str | None = None


def read_prompts(path: str | Path, needs_response: bool = False, allows_empty: bool = False) -> list[Record]:
    """The prompts of a file, by its ending: .txt (one a line), .jsonl, .json (a list), .csv, .parquet.

    In all but .txt a record is a string or has a field `messages`, `conversation`, `prompt`, `question`, `instruction`,
    `content` or `text`, and perhaps `response`, `answer`, `completion` or `output`. An `input` beside an `instruction`
    belongs to it, as in Alpaca's files. A chat that ends on an assistant turn is taken apart into prompt and response
    where responses are needed; allows_empty: a response may be an empty text. Raises `UserError` naming file and line.
    """
    path = Path(path)
    return [_record(path, line, row, needs_response, allows_empty) for line, row in read_values(path)]


def read_values(path: Path) -> list[tuple[int, Any]]:
    """The lines or records of a file, with their numbers, as they stand there. Raises `UserError` where it cannot be read
    or holds nothing."""
    readers = {".txt": _text, ".jsonl": _jsonl, ".json": _json, ".csv": _csv, ".parquet": _parquet}
    if path.suffix.lower() not in readers:
        raise UserError(f"{path} is of no known kind; use {', '.join(readers)}")
    try:
        rows = list(readers[path.suffix.lower()](path))
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 text; save it as UTF-8") from error
    except RecursionError as error:
        raise UserError(f"{path} is nested too deeply to be prompts") from error
    except (OSError, csv.Error) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if not rows:
        raise UserError(f"{path} holds no prompts; write one per line")
    for number, row in rows:
        try:
            json.dumps(row, ensure_ascii=False, default=str).encode()
        except UnicodeEncodeError as error:
            raise UserError(
                f"{path}, record {number} holds half a character (a lone surrogate); mend its text"
            ) from error
    return rows


def _text(path: Path) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), start=1):
        if line.strip():
            yield number, line.strip()


def _jsonl(path: Path) -> Iterator[tuple[int, Any]]:
    for number, line in _text(path):
        try:
            yield number, json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"{path}, line {number}: {_why(error)}; each line must be one JSON value") from error


def _why(error: ValueError | RecursionError) -> str:
    """What is wrong with some JSON, in lower case."""
    if isinstance(error, json.JSONDecodeError):
        return error.msg.lower().removesuffix(" at")
    return "nested too deeply" if isinstance(error, RecursionError) else "a number of too many digits"


def _json(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        data = json.loads(path.read_text(encoding="utf-8-sig"))
    except json.JSONDecodeError as error:
        raise UserError(f"{path}, line {error.lineno}: {_why(error)}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: {_why(error)}") from error
    if isinstance(data, dict):
        data = [data]
    if not isinstance(data, list):
        raise UserError(f"{path} must hold a list of prompts, or one of them")
    yield from enumerate(data, start=1)


def _csv(path: Path) -> Iterator[tuple[int, Any]]:
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        for row in reader:
            yield reader.line_num, row


def _parquet(path: Path) -> Iterator[tuple[int, Any]]:
    try:
        table = pq.read_table(path)
    except ValueError as error:
        raise UserError(f"{path} is not a parquet file: {error}") from error
    yield from enumerate(table.to_pylist(), start=1)


def _record(path: Path, line: int, row: Any, needs_response: bool, allows_empty: bool) -> Record:
    if isinstance(row, str):
        row = {"prompt": row}
    if isinstance(row, list):
        row = {"messages": row}
    if not isinstance(row, dict):
        raise UserError(f"{path}, record {line}: a prompt must be text, a chat, or an object with one")
    prompt = next((row[name] for name in _PROMPT_FIELDS if row.get(name)), None)
    if prompt is None:
        raise UserError(
            f"{path}, record {line}: no {', '.join(_PROMPT_FIELDS)} in it; it has {', '.join(map(str, row)) or 'nothing'}"
        )
    if (
        isinstance(prompt, str)
        and prompt is row.get("instruction")
        and isinstance(row.get("input"), str)
        and row["input"]
    ):
        prompt = f"{prompt}\n\n{row['input']}"
    held = [row[name] for name in _RESPONSE_FIELDS if isinstance(row.get(name), str)]
    response = next((text for text in held if text or allows_empty), None)
    if not isinstance(prompt, str):
        prompt = _messages(path, line, prompt)
        if needs_response and response is None and prompt[-1]["role"] == "assistant" and len(prompt) > 1:
            prompt, response = prompt[:-1], prompt[-1]["content"]
    if needs_response and not isinstance(response, str):
        raise UserError(f"{path}, record {line}: no {', '.join(_RESPONSE_FIELDS)} in it, and responses are asked for")
    return Record(prompt, response if isinstance(response, str) else None)


def _messages(path: Path, line: int, chat: Any) -> list[dict[str, str]]:
    if not isinstance(chat, list) or not all(
        isinstance(m, dict) and isinstance(m.get("role"), str) and isinstance(m.get("content"), str) for m in chat
    ):
        raise UserError(f"{path}, record {line}: a chat must be a list of objects with a role and a content")
    return [{"role": message["role"], "content": message["content"]} for message in chat]
