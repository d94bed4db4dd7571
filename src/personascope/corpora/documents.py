"""A corpus: documents one after the other, however many there are, from files, folders and Hugging Face datasets."""

import csv
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from personascope.corpora.records import READERS
from personascope.errors import UserError

# Longer texts are cut to documents of about this many characters, at white space where there is some.
LONGEST = 100_000
_TEXT_FIELDS = ("text", "content", "document", "body", "response", "completion", "prompt")
_CHAT_FIELDS = ("messages", "conversation", "conversations")
_SAMPLED = 1 << 16
# How parts of a record are numbered, whose own name ends with a number.
_PART = re.compile(r"(?<=\d)(?:\.\d+)?(?:/\d+)?$")


@dataclass(frozen=True)
class Document:
    """One text, or one chat, and where it came from: `name` is the same whenever its corpus is read."""

    name: str
    content: str | list[dict[str, str]]


def record_of(document: str) -> str:
    """The record that a document is, or is a part of."""
    return _PART.sub("", document)


@dataclass
class Corpus:
    """Documents in a fixed order, as often as they are asked for.

    name: where they come from. fingerprint: what identifies them. left_out: how many records could not be read, by
    reason; counted while documents are read. seek: documents from a number on, where that is possible without reading
    those before it.
    """

    name: str
    fingerprint: str
    _read: Callable[["Corpus"], Iterator[Document]] = field(repr=False)
    left_out: dict[str, int] = field(default_factory=dict)
    seek: Callable[[int], Iterator[Document]] | None = field(default=None, repr=False)

    def documents(self, skip: int = 0) -> Iterator[Document]:
        """From document number `skip` on."""
        self.left_out.clear()
        return islice(self._read(self), skip, None) if self.seek is None else self.seek(skip)

    def leave_out(self, reason: str) -> None:
        self.left_out[reason] = self.left_out.get(reason, 0) + 1


def texts_corpus(texts: Sequence[str | list[dict[str, str]]], name: str = "texts") -> Corpus:
    """A corpus of texts, or chats, in memory. Raises `UserError` on none, and on anything else."""
    if not texts:
        raise UserError("the corpus is empty; give at least one text")
    wrong = next((one for one in texts if not isinstance(one, str | list)), None)
    if wrong is not None:
        raise UserError(f"a corpus is made of texts and of chats, lists of messages; {wrong!r} is neither")
    digest = hashlib.blake2b(json.dumps(list(texts), ensure_ascii=False).encode("utf-8", "replace"), digest_size=16)
    return Corpus(
        name, digest.hexdigest(), lambda corpus: as_documents(corpus, ((f"{i}", one) for i, one in enumerate(texts)))
    )


def read_corpus(source: str | Path, column: str | None = None) -> Corpus:
    """The corpus in a file (.txt, one document a line; .jsonl, .csv, .parquet), or in all such files of a folder.

    A record is a string, or has one of the usual fields for a text or a chat; column: the field to take instead.
    Records that are broken (UTF-8, JSON, no such field) are left out and counted; texts of more than 100,000 characters
    become several documents. Nothing is read whole. Raises `UserError` where there is nothing to read.
    """
    path = Path(source)
    if path.is_dir():
        found = sorted(file for file in path.rglob("*") if file.suffix.lower() in READERS and file.is_file())
        files = {_printable(file.relative_to(path).as_posix()): file for file in found}
        if not files:
            raise UserError(f"{path} holds no {', '.join(READERS)} files; give a folder that does")
    elif not path.exists():
        raise UserError(f"{path} does not exist; give a file, a folder, or hf:NAME for a Hugging Face dataset")
    elif path.suffix.lower() not in READERS:
        raise UserError(f"{path} is of no known kind; use {', '.join(READERS)}")
    else:
        files = {_printable(path.name): path}
    if not any(file.stat().st_size for file in files.values()):
        raise UserError(f"{path} is empty; give a corpus with at least one text")

    def read(corpus: Corpus) -> Iterator[Document]:
        is_blank = True
        for name, file in files.items():
            for document in as_documents(corpus, _records(corpus, name, file, column)):
                is_blank = False
                yield document
        if is_blank:
            reasons = ", ".join(f"{reason} ({count})" for reason, count in corpus.left_out.items())
            raise UserError(f"{path} holds no text that can be read: {reasons or 'all of it is blank'}")

    digest = hashlib.blake2b(digest_size=16)
    for name, file in files.items():
        _check_whole(file)
        digest.update(_identity(name, file))
    return Corpus(_printable(path.absolute().name), digest.hexdigest(), read)


def _check_whole(file: Path) -> None:
    """Raises `UserError` on a parquet file that was cut short: it has no end, and would be missed late."""
    if file.suffix.lower() != ".parquet" or not file.stat().st_size:
        return
    try:
        pq.read_metadata(file)
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{file} cannot be read: {error}") from error


def _printable(name: str) -> str:
    """A file's name as text, whatever bytes it is made of."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def _identity(name: str, file: Path) -> bytes:
    """A hash of a file's name, length and samples throughout it: enough to tell two corpora apart without reading one."""
    size = file.stat().st_size
    digest = hashlib.blake2b(f"{name} {size}".encode(), digest_size=16)
    with open(file, "rb") as data:
        for place in range(64):
            data.seek(place * max(0, size - _SAMPLED) // 63)
            digest.update(data.read(_SAMPLED))
    return digest.digest()


def _records(corpus: Corpus, name: str, file: Path, column: str | None) -> Iterator[tuple[str, Any]]:
    """(name, text or chat) of every readable record."""
    if not file.stat().st_size:
        return
    try:
        for number, record in READERS[file.suffix.lower()](file, corpus.leave_out):
            content = record_content(record, column)
            if content is None:
                corpus.leave_out(without_text(column))
            else:
                yield f"{name}:{number}", content
    except (OSError, csv.Error, pa.ArrowException) as error:
        raise UserError(f"{file} cannot be read: {error}") from error


def without_text(column: str | None) -> str:
    """Why a record is left out that has no text."""
    names = ", ".join((*_CHAT_FIELDS, *_TEXT_FIELDS))
    return f"no field {column!r}" if column else f"no text in any of {names}; name another field with --column"


def record_content(record: Any, column: str | None = None) -> str | list[dict[str, str]] | None:
    """The text or chat of a record, None where it has none."""
    if isinstance(record, str):
        return record
    if isinstance(record, list):
        record = {"messages": record}
    if not isinstance(record, dict):
        return None
    names = (column,) if column else (*_CHAT_FIELDS, *_TEXT_FIELDS)
    for name in names:
        value = record.get(name)
        if isinstance(value, str) and value.strip():
            return value
        chat = _chat(value)
        if chat is not None:
            return chat
    return None


def _chat(value: Any) -> list[dict[str, str]] | None:
    """A list of messages, ShareGPT's field names understood."""
    if not isinstance(value, list) or not value:
        return None
    turns = []
    for one in value:
        if not isinstance(one, dict):
            return None
        role, content = one.get("role", one.get("from")), one.get("content", one.get("value"))
        if not isinstance(role, str) or not isinstance(content, str):
            return None
        turns.append({"role": {"human": "user", "gpt": "assistant"}.get(role, role), "content": content})
    return turns


def as_documents(corpus: Corpus, records: Iterator[tuple[str, Any]]) -> Iterator[Document]:
    """Documents of bearable length, blank ones left out."""
    for name, content in records:
        if isinstance(content, str) and not content.strip():
            continue
        try:
            json.dumps(content, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            corpus.leave_out("half a character (a lone surrogate)")
            continue
        if not isinstance(content, str):
            yield Document(name, content)
            continue
        start, part = 0, 0
        while start < len(content):
            stop = min(len(content), start + LONGEST)
            if stop < len(content):
                space = max(
                    content.rfind(" ", start + LONGEST // 2, stop), content.rfind("\n", start + LONGEST // 2, stop)
                )
                stop = space + 1 if space > 0 else stop
            if content[start:stop].strip():
                yield Document(name if len(content) <= LONGEST else f"{name}/{part}", content[start:stop])
                part += 1
            start = stop
