"""Transcripts: conversations that were held under a role, and their files."""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from personascope.corpora.prompts import read_values
from personascope.errors import UserError
from personascope.runs import write_text

_CHAT_FIELDS = ("messages", "conversation")
_ROLE_FIELDS = ("role", "persona")

Messages = list[dict[str, str]]


@dataclass(frozen=True)
class Transcript:
    """Pairs of turns, each what a user said and what was answered, under an instruction or none.

    role: the name of the persona that answers; None: none in particular. instruction: the system prompt, empty for none.
    is_spoken_by_user: whether the speakers were exchanged, so that each pair begins with what was answered.
    """

    pairs: tuple[tuple[str, str], ...]
    role: str | None = None
    instruction: str = ""
    is_spoken_by_user: bool = False

    @classmethod
    def of(cls, messages: Sequence[Any], role: str | None = None, where: str = "a transcript") -> "Transcript":
        """From {"role", "content"} messages: perhaps a system prompt, then user and assistant in turn.

        Raises `UserError` on an empty turn, on turns that do not alternate, and where the last one is not the
        assistant's.
        """
        for place, one in enumerate(messages):
            if not isinstance(one, dict) or not all(isinstance(one.get(part), str) for part in ("role", "content")):
                raise UserError(f"{where}: message {place} must be an object with a role and a content, both text")
            if not one["content"].strip():
                raise UserError(f"{where}: message {place} ({one['role']}) is empty; give it words or leave it out")
        has_system = bool(messages) and messages[0]["role"] == "system"
        turns = list(messages[1:] if has_system else messages)
        if not turns:
            raise UserError(f"{where} has no turns; give at least one question and its answer")
        for place, one in enumerate(turns):
            expected = ("user", "assistant")[place % 2]
            if one["role"] != expected:
                raise UserError(
                    f"{where}: message {place + has_system} is of {one['role']!r} where {expected!r} should speak; user "
                    "and assistant take turns, after one system prompt at most"
                )
        if len(turns) % 2:
            raise UserError(f"{where} ends on a user turn; leave it out, or let the model answer it")
        said = [one["content"] for one in turns]
        instruction = messages[0]["content"] if has_system else ""
        return cls(tuple(zip(said[::2], said[1::2], strict=True)), role, instruction)

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def asked(self) -> tuple[str, ...]:
        """What the user said, in order, whoever says it now."""
        return tuple(pair[self.is_spoken_by_user] for pair in self.pairs)

    def messages(self, point: int | None = None) -> Messages:
        """The chat up to and with so many pairs of turns; all of it by default."""
        opening = [{"role": "system", "content": self.instruction}] if self.instruction else []
        turns = [
            {"role": role, "content": content}
            for pair in self.pairs[:point]
            for role, content in zip(("user", "assistant"), pair, strict=True)
        ]
        return [*opening, *turns]

    def without_instruction(self) -> "Transcript":
        """The same turns with no system prompt before them."""
        return replace(self, instruction="")

    def spoken_by_user(self) -> "Transcript":
        """The same words with the speakers exchanged inside each pair: the user says what was answered, and the assistant
        what was asked. No instruction."""
        return replace(
            self,
            pairs=tuple((answer, question) for question, answer in self.pairs),
            instruction="",
            is_spoken_by_user=not self.is_spoken_by_user,
        )

    def shuffled(self, seed: int = 0) -> "Transcript":
        """The same pairs in another order, the same one for all that was held on the same user turns; as it is where there
        is no other."""
        draw, order = random.Random(f"shuffled {seed} {self.asked}"), list(range(len(self)))
        told = self.asked if len(set(self.asked)) > 1 else self.pairs
        if len(set(told)) > 1:
            while tuple(told[place] for place in order) == told:
                draw.shuffle(order)
        return replace(self, pairs=tuple(self.pairs[place] for place in order))

    def plain(self) -> dict[str, Any]:
        """One line of a transcripts file."""
        return {"role": self.role, "messages": self.messages()}


def read_transcripts(path: str | Path, role: str | None = None) -> list[Transcript]:
    """The transcripts of a .jsonl, .json or .parquet file, or of all .json and .jsonl files of a folder.

    Each is a list of messages, or an object with `messages` or `conversation`, and perhaps the name of who answers as
    `role` or `persona` (null: no role): ours, OpenAI's messages, and the assistant-axis files. role: for those that say
    nothing of it. Of a run folder, its transcripts. Raises `UserError` naming file and record.
    """
    path = Path(path)
    if (path / "transcripts.jsonl").is_file():
        path = path / "transcripts.jsonl"
    if path.is_dir():
        files = sorted(one for one in path.iterdir() if one.suffix.lower() in (".json", ".jsonl"))
        if not files:
            raise UserError(f"{path} holds no .json or .jsonl files; give a file of transcripts or a folder of them")
        return [transcript for file in files for transcript in read_transcripts(file, role)]
    if path.suffix.lower() in (".txt", ".csv"):
        raise UserError(f"{path}: transcripts are chats, which text and CSV files cannot hold; use .jsonl or .json")
    values = read_values(path)
    # A file that is one list of messages is one transcript.
    if values and all(isinstance(value, dict) and isinstance(value.get("content"), str) for _, value in values):
        values = [(1, [value for _, value in values])]
    return [_transcript(value, role, f"{path}, record {number}") for number, value in values]


def write_transcripts(path: Path, transcripts: Sequence[Transcript]) -> Path:
    """One JSON object a line, as `read_transcripts` takes them."""
    lines = [json.dumps(one.plain(), ensure_ascii=False) for one in transcripts]
    return write_text(path, "\n".join(lines) + "\n")


def _transcript(value: Any, role: str | None, where: str) -> Transcript:
    if isinstance(value, list):
        return Transcript.of(value, role, where)
    if not isinstance(value, dict):
        raise UserError(f"{where}: a transcript must be a list of messages, or an object with one")
    chat = next((value[name] for name in _CHAT_FIELDS if isinstance(value.get(name), list)), None)
    if chat is None:
        raise UserError(f"{where}: no {' or '.join(_CHAT_FIELDS)} in it; it has {', '.join(value) or 'nothing'}")
    named = [value[name] for name in _ROLE_FIELDS if name in value]
    if named and not (named[0] is None or (isinstance(named[0], str) and named[0].strip())):
        raise UserError(f"{where}: its role must be a name, or null for no role")
    return Transcript.of(chat, named[0] if named else role, where)
