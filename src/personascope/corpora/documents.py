"""A corpus: documents one after the other, however many there are, from files, folders and Hugging Face datasets."""

import codecs
import csv
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from personascope.errors import UserError

# Longer texts are cut to documents of about this many characters, at white space where there is some.
LONGEST = 100_000
_TEXT_FIELDS = ("text", "content", "document", "body", "response", "completion", "prompt")
_CHAT_FIELDS = ("messages", "conversation", "conversations")
_ENDINGS = (".txt", ".jsonl", ".csv", ".parquet")
_CHUNK = 1 << 20
_SAMPLED = 1 << 16


@dataclass(frozen=True)
class Document:
    """One text, or one chat, and where it came from: `name` is the same whenever its corpus is read."""

    name: str
    content: str | list[dict[str, str]]


@dataclass
class Corpus:
    """Documents in a fixed order, as often as they are asked for.

    name: where they come from. fingerprint: what identifies them. left_out: how many records could not be read, by
    reason; counted while documents are read.
    """

    name: str
    fingerprint: str
    _read: Callable[["Corpus"], Iterator[Document]] = field(repr=False)
    left_out: dict[str, int] = field(default_factory=dict)

    def documents(self, skip: int = 0) -> Iterator[Document]:
        """From document number `skip` on."""
        self.left_out.clear()
        return islice(self._read(self), skip, None)

    def leave_out(self, reason: str) -> None:
        self.left_out[reason] = self.left_out.get(reason, 0) + 1


def texts_corpus(texts: Sequence[str | list[dict[str, str]]], name: str = "texts") -> Corpus:
    """A corpus of texts, or chats, in memory. Raises `UserError` on none."""
    if not texts:
        raise UserError("the corpus is empty; give at least one text")
    digest = hashlib.blake2b(json.dumps(list(texts), ensure_ascii=False).encode("utf-8", "replace"), digest_size=16)
    return Corpus(name, digest.hexdigest(), lambda corpus: _cut(corpus, ((f"{i}", one) for i, one in enumerate(texts))))


def read_corpus(source: str | Path, column: str | None = None) -> Corpus:
    """The corpus in a file (.txt, one document a line; .jsonl, .csv, .parquet), or in all such files of a folder.

    A record is a string, or has one of the usual fields for a text or a chat; column: the field to take instead.
    Records that are broken (UTF-8, JSON, no such field) are left out and counted; texts of more than 100,000 characters
    become several documents. Nothing is read whole. Raises `UserError` where there is nothing to read.
    """
    path = Path(source)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in _ENDINGS and file.is_file())
        if not files:
            raise UserError(f"{path} holds no {', '.join(_ENDINGS)} files; give a folder that does")
    elif not path.exists():
        raise UserError(f"{path} does not exist; give a file, a folder, or hf:NAME for a Hugging Face dataset")
    elif path.suffix.lower() not in _ENDINGS:
        raise UserError(f"{path} is of no known kind; use {', '.join(_ENDINGS)}")
    else:
        files = [path]
    if not any(file.stat().st_size for file in files):
        raise UserError(f"{path} is empty; give a corpus with at least one text")

    def read(corpus: Corpus) -> Iterator[Document]:
        found = False
        for file in files:
            for document in _cut(corpus, _records(corpus, file, column)):
                found = True
                yield document
        if not found:
            reasons = ", ".join(f"{reason} ({count})" for reason, count in corpus.left_out.items())
            raise UserError(f"{path} holds no text that can be read: {reasons or 'all of it is blank'}")

    digest = hashlib.blake2b(digest_size=16)
    for file in files:
        digest.update(_identity(file))
    return Corpus(path.name, digest.hexdigest(), read)


def _identity(file: Path) -> bytes:
    """A hash of a file's length and of samples throughout it: enough to tell two corpora apart without reading one."""
    size = file.stat().st_size
    digest = hashlib.blake2b(f"{file.name} {size}".encode(), digest_size=16)
    with open(file, "rb") as data:
        for place in range(64):
            data.seek(place * max(0, size - _SAMPLED) // 63)
            digest.update(data.read(_SAMPLED))
    return digest.digest()


def _records(corpus: Corpus, file: Path, column: str | None) -> Iterator[tuple[str, Any]]:
    """(name, text or chat) of every readable record."""
    readers = {".txt": _lines, ".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}
    try:
        for number, record in readers[file.suffix.lower()](corpus, file):
            content = record_content(record, column)
            if content is None:
                corpus.leave_out(f"no field {column!r}" if column else "no field with a text")
            else:
                yield f"{file.name}:{number}", content
    except (OSError, csv.Error, pa.ArrowException) as error:
        raise UserError(f"{file} cannot be read: {error}") from error


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


def _cut(corpus: Corpus, records: Iterator[tuple[str, Any]]) -> Iterator[Document]:
    """Documents of bearable length, blank ones left out."""
    for name, content in records:
        if not isinstance(content, str):
            yield Document(name, content)
            continue
        if not content.strip():
            continue
        try:
            content.encode()
        except UnicodeEncodeError:
            corpus.leave_out("half a character (a lone surrogate)")
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


def _lines(corpus: Corpus, file: Path) -> Iterator[tuple[str, str]]:
    """The lines of a text file; one too long for memory comes in pieces, a broken one is left out."""
    number, rest, pieces = 1, b"", 0
    with open(file, "rb") as data:
        if data.read(3) != codecs.BOM_UTF8:
            data.seek(0)
        while chunk := data.read(_CHUNK):
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                yield from _decoded(corpus, f"{number}.{pieces}" if pieces else f"{number}", line)
                number, pieces = number + 1, 0
            if len(rest) > 4 * _CHUNK:
                stop = _boundary(rest)
                yield from _decoded(corpus, f"{number}.{pieces}", rest[:stop])
                rest, pieces = rest[stop:], pieces + 1
    if rest:
        yield from _decoded(corpus, f"{number}.{pieces}" if pieces else f"{number}", rest)


def _boundary(data: bytes) -> int:
    """A place to cut bytes at: after the last space, or before the last character's first byte."""
    stop = data.rfind(b" ") + 1
    if stop <= 0:
        stop = len(data) - 1
        while stop > len(data) - 4 and data[stop] & 0xC0 == 0x80:
            stop -= 1
    return stop


def _decoded(corpus: Corpus, name: str, line: bytes) -> Iterator[tuple[str, str]]:
    try:
        text = line.decode().strip()
    except UnicodeDecodeError:
        corpus.leave_out("broken UTF-8")
        return
    if text:
        yield name, text


def _jsonl(corpus: Corpus, file: Path) -> Iterator[tuple[str, Any]]:
    for name, line in _lines(corpus, file):
        try:
            yield name, json.loads(line)
        except (json.JSONDecodeError, RecursionError):
            corpus.leave_out("broken JSON")


def _csv(corpus: Corpus, file: Path) -> Iterator[tuple[str, Any]]:
    # A cell may hold a whole document.
    csv.field_size_limit(1 << 28)
    with open(file, encoding="utf-8-sig", errors="surrogateescape", newline="") as data:
        reader = csv.DictReader(data)
        for row in reader:
            yield str(reader.line_num), row


def _parquet(corpus: Corpus, file: Path) -> Iterator[tuple[str, Any]]:
    number = 0
    with pq.ParquetFile(file) as table:
        for batch in table.iter_batches(batch_size=256):
            for row in batch.to_pylist():
                yield str(number), row
                number += 1
