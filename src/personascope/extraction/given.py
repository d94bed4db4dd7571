"""Rollouts that were sampled elsewhere: a persona-vectors CSV, or a table of our own shape."""

import csv
import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq

from personascope.engine.forward import Passage, means_of
from personascope.errors import UserError
from personascope.extraction.rollouts import Cell, Rollout
from personascope.extraction.splits import SplitName
from personascope.judging import Judgement
from personascope.judging.rating import visible
from personascope.personas import Persona
from personascope.subject import Prompt, Subject

# `{trait}_{i}_{pos|neg}_{k}`, as persona-vectors numbers its rows.
_QUESTION_ID = re.compile(r".+_\d+_(pos|neg)_\d+")
_BATCH = 64


@dataclass(frozen=True)
class Given:
    """One rollout of a file. prompt: text as the model saw it, markup included, or a chat."""

    question: str
    prompt: str | list[dict[str, str]]
    answer: str
    pole: Literal["pos", "neg"]
    trait: float | None
    coherence: float | None


def read_rollouts(path: str | Path, name: str) -> list[Given]:
    """The rollouts of a `.csv` or `.parquet` file for the persona `name`.

    Columns: `prompt` (templated text, or a list of messages), `answer`, and either `pole` (pos, neg) or persona-vectors'
    `question_id`; `question` (a list of messages can do without); the score column named after the persona, and
    `coherence`, where they are there.
    Raises `UserError` naming the column or the line.
    """
    path = Path(path)
    readers = {".csv": _csv, ".parquet": _parquet}
    if path.suffix not in readers:
        raise UserError(f"{path} is of no known kind of rollouts; use {' or '.join(readers)}")
    try:
        rows = list(readers[path.suffix](path))
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; give a file of rollouts") from error
    except (OSError, ValueError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    if not rows:
        raise UserError(f"{path} holds no rollouts")
    return [_given(path, line, row, name) for line, row in rows]


def given_rollouts(
    subject: Subject, persona: Persona, given: Sequence[Given], layers: Sequence[int], selections: Sequence[str]
) -> list[Rollout]:
    """The rollouts with their activations read in teacher-forced passes, answers tokenized as they follow their prompts.

    Questions are split in three by a hash of their text: three fifths to extract from, one fifth each to choose with and
    to report on. Answers without a token are left out. Raises `UserError` where the file has too few questions.
    """
    passages, kept = [], []
    for one in given:
        prompt = _prompt(subject, one.prompt)
        response = subject.chat.respond(prompt, one.answer) if one.answer.strip() else ()
        if response:
            passages.append(Passage(prompt, response))
            kept.append(one)
    split = _splits(persona, [one.question for one in kept])
    is_scored = any(one.trait is not None for one in given)
    numbers: Counter[tuple[str, str]] = Counter()
    rollouts: list[Rollout] = []
    for start in range(0, len(kept), _BATCH):
        part = slice(start, start + _BATCH)
        means = means_of(subject, passages[part], layers, selections, allows_empty=True)
        for one, passage, each in zip(kept[part], passages[part], means, strict=True):
            cell = Cell(persona, split[one.question], one.pole, 0, one.question, numbers[one.question, one.pole])
            numbers[one.question, one.pole] += 1
            judgement = None
            if is_scored:
                # Where others have a score, none means that the judge declined.
                coherence = 100.0 if one.coherence is None else one.coherence
                judgement = Judgement(one.trait, coherence, refused=one.trait is None)
            rollouts.append(Rollout(cell, visible(one.answer), each.transpose(0, 1), passage, judgement))
    return rollouts


def _prompt(subject: Subject, prompt: str | list[dict[str, str]]) -> Prompt:
    """A chat through the template; templated text as it is, without another BOS."""
    if not isinstance(prompt, str):
        return subject.chat.prompt(prompt)
    bos = getattr(subject.tokenizer, "bos_token", None)
    if bos and prompt.startswith(bos):
        ids = tuple(subject.tokenizer(prompt, add_special_tokens=False)["input_ids"])
        return Prompt(ids, (), prompt)
    return subject.chat.raw(prompt)


def _splits(persona: Persona, questions: Sequence[str]) -> dict[str, SplitName]:
    ordered = sorted(set(questions), key=lambda text: hashlib.blake2b(text.encode()).digest())
    fifth = len(ordered) // 5
    if not fifth:
        raise UserError(
            f"the rollouts of {persona.name!r} answer {len(ordered)} questions; extraction, choice and report need at least 5"
        )
    choose, report = set(ordered[:fifth]), set(ordered[fifth : 2 * fifth])
    return {text: "choose" if text in choose else "report" if text in report else "extract" for text in ordered}


def _csv(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    csv.field_size_limit(1 << 30)
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        for row in reader:
            yield reader.line_num, row


def _parquet(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    yield from enumerate(pq.read_table(path).to_pylist(), start=1)


def _given(path: Path, line: int, row: Mapping[str, Any], name: str) -> Given:
    for column in ("prompt", "answer"):
        if row.get(column) is None:
            held = ", ".join(str(key) for key in row) or "none"
            raise UserError(f"{path}, row {line}: no column {column!r}; it has {held}")
    pole = row.get("pole")
    if pole is None:
        matched = _QUESTION_ID.fullmatch(str(row.get("question_id", "")))
        if matched is None:
            raise UserError(
                f"{path}, row {line}: neither a column 'pole' nor a question_id such as {name}_0_pos_0 says which pole it is"
            )
        pole = matched[1]
    if pole not in ("pos", "neg"):
        raise UserError(f"{path}, row {line}: pole {pole!r} is neither pos nor neg")
    trait, coherence = _score(path, line, row, name), _score(path, line, row, "coherence")
    return Given(
        question=_question(path, line, row),
        prompt=row["prompt"],
        answer=str(row["answer"]),
        pole=pole,  # type: ignore[arg-type]
        trait=trait,
        coherence=coherence,
    )


def _question(path: Path, line: int, row: Mapping[str, Any]) -> str:
    """What was asked: splits must not share a question, whatever system prompt it came with."""
    if row.get("question"):
        return str(row["question"])
    prompt = row["prompt"]
    if isinstance(prompt, list) and prompt and isinstance(prompt[-1], dict):
        return str(prompt[-1].get("content", ""))
    raise UserError(f"{path}, row {line}: no column 'question', and a templated prompt does not say which words are it")


def _score(path: Path, line: int, row: Mapping[str, Any], column: str) -> float | None:
    value = row.get(column)
    if value in (None, ""):
        return None
    try:
        score = float(value)
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}, row {line}: {column} is {value!r} and no number") from error
    # persona-vectors writes NaN for a judge's refusal.
    return None if score != score else score
