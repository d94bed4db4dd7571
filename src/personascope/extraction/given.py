"""Rollouts that were sampled elsewhere: a persona-vectors CSV, or a table of our own shape."""

import csv
import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq

from personascope.engine.cells import Cells
from personascope.engine.forward import Passage
from personascope.errors import UserError
from personascope.extraction.passages import passage_means
from personascope.extraction.rollouts import Cell, Rollout
from personascope.extraction.splits import SPLITS, SplitName
from personascope.judging import Judgement
from personascope.judging.rating import visible
from personascope.personas import Persona, persona_names
from personascope.subject import Prompt, Subject

# `{trait}_{i}_{pos|neg}_{k}`, as persona-vectors numbers its rows.
_QUESTION_ID = re.compile(r"(.+)_\d+_(pos|neg)_\d+")
# Scores are 0–100; a mean of them may be off by rounding.
_SLACK = 0.01

# What a table holds beside the scores of personas, whose columns have their names.
_COLUMNS = (
    "prompt",
    "answer",
    "question",
    "question_id",
    "coherence",
    "persona",
    "pole",
    "split",
    "pair",
    "sample",
    "judged",
    "ended",
)


@dataclass(frozen=True)
class Given:
    """One rollout of a file. prompt: text as the model saw it, markup included, or a chat.

    trait, coherence: scores of 0–100; NaN where the judge declined, None where the file has no such column. is_judged:
    False where nobody was asked. split, pair, sample: where it stood in the extraction that sampled it, if one did.
    is_ended: whether the answer ended by itself, so that the template's end of turn follows it. scored_as: another trait
    that the file has scores of, where it has none of the one asked for.
    """

    question: str
    prompt: str | list[dict[str, str]]
    answer: str
    pole: Literal["pos", "neg"]
    trait: float | None
    coherence: float | None
    is_judged: bool = True
    split: SplitName | None = None
    pair: int = 0
    sample: int | None = None
    is_ended: bool = False
    scored_as: str | None = None

    @property
    def is_scored(self) -> bool:
        return self.is_judged and self.trait is not None and not math.isnan(self.trait)


def read_rollouts(path: str | Path, name: str) -> list[Given]:
    """The rollouts of a `.csv` or `.parquet` file for the persona `name`.

    Columns: `prompt` (templated text, or a list of messages), `answer`, and either `pole` (pos, neg) or persona-vectors'
    `question_id`; `question` (a list of messages can do without); the score column named after the persona, and
    `coherence`, where they are there; and what `rollout_table` writes beside them, `persona` among it: the rows of
    another one are left out.
    Raises `UserError` naming the column or the line, also of a score that is none from 0 to 100.
    """
    path = Path(path)
    if name in _COLUMNS:
        raise UserError(
            f"a table of rollouts has a column {name!r} that is no score, so that a persona of that name cannot have one; "
            "rename the persona in its file"
        )
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
    ours = [(line, row) for line, row in rows if row.get("persona") in (None, "", name)]
    if not ours:
        held = ", ".join(sorted({str(row["persona"]) for _, row in rows}))
        raise UserError(f"{path} holds rollouts of {held} and none of {name!r}; give --trait one of those")
    other = _scored_as(ours[0][1], name)
    return [replace(_given(path, line, row, name), scored_as=other) for line, row in ours]


def given_rollouts(
    subject: Subject,
    persona: Persona,
    given: Sequence[Given],
    layers: Sequence[int],
    selections: Sequence[str],
    store: Cells | None = None,
) -> list[Rollout]:
    """The rollouts with their activations read in teacher-forced passes, answers tokenized as they follow their prompts;
    one for each that `readable` keeps, in that order.

    Where they do not say their split, questions are split in three by a hash of their text: three fifths to extract from,
    one fifth each to choose with and to report on. Raises `UserError` where the file has too few questions.
    """
    kept = readable(given)
    passages = [_passage(subject, one) for one in kept]
    splits = [one.split for one in kept if one.split is not None]
    if not splits or len(splits) < len(kept):
        by_question = _splits(persona, [one.question for one in kept])
        splits = [by_question[one.question] for one in kept]
    is_scored = any(one.is_scored for one in kept)
    numbers: Counter[tuple[str, str]] = Counter()
    rollouts: list[Rollout] = []
    means = passage_means(subject, passages, layers, selections, store)
    for one, split, passage, each in zip(kept, splits, passages, means, strict=True):
        number = numbers[one.question, one.pole]
        numbers[one.question, one.pole] += 1
        sample = number if one.sample is None else one.sample
        cell = Cell(persona, split, one.pole, one.pair, one.question, sample)
        judgement = _judgement(one) if is_scored and one.is_judged else None
        rollouts.append(Rollout(cell, visible(one.answer), each.transpose(0, 1), passage, judgement))
    return rollouts


def readable(given: Sequence[Given]) -> list[Given]:
    """Those with an answer to read."""
    return [one for one in given if one.answer.strip()]


def _judgement(one: Given) -> Judgement:
    """Where others have a score, none means that the judge declined; a file without a column of coherence says nothing
    against any answer."""
    declined = one.trait is None or math.isnan(one.trait)
    coherence = 100.0 if one.coherence is None else None if math.isnan(one.coherence) else one.coherence
    return Judgement(None if declined else one.trait, coherence, refused=declined)


def _passage(subject: Subject, one: Given) -> Passage:
    prompt = _prompt(subject, one.prompt)
    closing = tuple(sorted(subject.chat.end_ids()))[:1] if one.is_ended else ()
    return Passage(prompt, subject.chat.respond(prompt, one.answer) + closing)


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
    if not isinstance(row["prompt"], str | list):
        raise UserError(f"{path}, row {line}: prompt is {row['prompt']!r}, and neither text nor a list of messages")
    pole = row.get("pole")
    if pole is None:
        matched = _QUESTION_ID.fullmatch(str(row.get("question_id", "")))
        if matched is None:
            raise UserError(
                f"{path}, row {line}: neither a column 'pole' nor a question_id such as {name}_0_pos_0 says which pole it is"
            )
        pole = matched[2]
    if pole not in ("pos", "neg"):
        raise UserError(f"{path}, row {line}: pole {pole!r} is neither pos nor neg")
    split = row.get("split") or None
    if split not in (None, *SPLITS):
        raise UserError(f"{path}, row {line}: split {split!r} is none of {', '.join(SPLITS)}; rename the column")
    trait, coherence = _score(path, line, row, name), _score(path, line, row, "coherence")
    return Given(
        question=_question(path, line, row),
        prompt=row["prompt"],
        answer=str(row["answer"]),
        pole=pole,  # type: ignore[arg-type]
        trait=trait,
        coherence=coherence,
        is_judged=_is(row, "judged", True),
        split=split,
        pair=_count(path, line, row, "pair") or 0,
        sample=_count(path, line, row, "sample"),
        is_ended=_is(row, "ended", False),
    )


def _scored_as(row: Mapping[str, Any], name: str) -> str | None:
    """Another trait that a table has a column of, where it has none of this one."""
    matched = _QUESTION_ID.fullmatch(str(row.get("question_id", "")))
    traits = {*persona_names(), *([matched[1]] if matched else [])}
    return None if name in row else next((column for column in row if column in traits), None)


def _is(row: Mapping[str, Any], column: str, otherwise: bool) -> bool:
    value = row.get(column)
    return otherwise if value in (None, "") else str(value).lower() in ("true", "1")


def _count(path: Path, line: int, row: Mapping[str, Any], column: str) -> int | None:
    value = row.get(column)
    if value in (None, ""):
        return None
    if not re.fullmatch(r"\d{1,9}", str(value)):
        raise UserError(f"{path}, row {line}: {column} is {value!r} and no number from 0 up; rename the column")
    return int(value)


def _question(path: Path, line: int, row: Mapping[str, Any]) -> str:
    """What was asked: splits must not share a question, whatever system prompt it came with."""
    if row.get("question"):
        return str(row["question"])
    prompt = row["prompt"]
    if isinstance(prompt, list) and prompt and isinstance(prompt[-1], dict):
        return str(prompt[-1].get("content", ""))
    raise UserError(f"{path}, row {line}: no column 'question', and a templated prompt does not say which words are it")


def _score(path: Path, line: int, row: Mapping[str, Any], column: str) -> float | None:
    if column not in row:
        return None
    value = row[column]
    # persona-vectors writes NaN for a judge's refusal, and pandas NaN as nothing.
    if value in (None, ""):
        return math.nan
    try:
        score = float(value)
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}, row {line}: {column} is {value!r} and no number") from error
    if score < -_SLACK or score > 100 + _SLACK:
        raise UserError(
            f"{path}, row {line}: {column} is {value!r}, and scores are from 0 to 100; mend or drop the row"
        )
    return score
