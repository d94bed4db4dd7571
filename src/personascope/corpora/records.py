"""The records in files of text: lines, JSONL, CSV and parquet, one after the other."""

import codecs
import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

_CHUNK = 1 << 20
# A record of JSON has to be read whole; one longer than this is left out.
_LONGEST_RECORD = 1 << 26
LeaveOut = Callable[[str], None]


def _lines(file: Path, leave_out: LeaveOut, longest: int | None = None) -> Iterator[tuple[str, str]]:
    """The lines of a text file. One longer than `longest` bytes (4 MiB by default) comes in pieces, `3.0`, `3.1`, …; a
    broken one is left out."""
    longest = 4 * _CHUNK if longest is None else longest
    number, rest, pieces = 1, b"", 0
    with open(file, "rb") as data:
        if data.read(3) != codecs.BOM_UTF8:
            data.seek(0)
        while chunk := data.read(_CHUNK):
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                yield from _decoded(leave_out, f"{number}.{pieces}" if pieces else f"{number}", line)
                number, pieces = number + 1, 0
            if len(rest) > longest:
                stop = _boundary(rest)
                yield from _decoded(leave_out, f"{number}.{pieces}", rest[:stop])
                rest, pieces = rest[stop:], pieces + 1
    if rest:
        yield from _decoded(leave_out, f"{number}.{pieces}" if pieces else f"{number}", rest)


def _boundary(data: bytes) -> int:
    """A place to cut bytes at: after the last space, or before the last character's first byte."""
    stop = data.rfind(b" ") + 1
    if stop <= 0:
        stop = len(data) - 1
        while stop > len(data) - 4 and data[stop] & 0xC0 == 0x80:
            stop -= 1
    return stop


def _decoded(leave_out: LeaveOut, name: str, line: bytes) -> Iterator[tuple[str, str]]:
    try:
        text = line.decode().strip()
    except UnicodeDecodeError:
        leave_out("broken UTF-8")
        return
    if text:
        yield name, text


def _jsonl(file: Path, leave_out: LeaveOut) -> Iterator[tuple[str, Any]]:
    for name, line in _lines(file, leave_out, _LONGEST_RECORD):
        if "." in name:
            if name.endswith(".0"):
                leave_out(f"a record of more than {_LONGEST_RECORD >> 20} MiB")
            continue
        try:
            yield name, json.loads(line)
        except (ValueError, RecursionError):
            leave_out("broken JSON")


def _csv(file: Path, leave_out: LeaveOut) -> Iterator[tuple[str, Any]]:
    # A cell may hold a whole document.
    csv.field_size_limit(1 << 28)
    with open(file, encoding="utf-8-sig", errors="surrogateescape", newline="") as data:
        reader = csv.DictReader(data)
        for row in reader:
            yield str(reader.line_num), row


def _parquet(file: Path, leave_out: LeaveOut) -> Iterator[tuple[str, Any]]:
    number = 0
    with pq.ParquetFile(file) as table:
        for batch in table.iter_batches(batch_size=256):
            for row in batch.to_pylist():
                yield str(number), row
                number += 1


READERS = {".txt": _lines, ".jsonl": _jsonl, ".csv": _csv, ".parquet": _parquet}
