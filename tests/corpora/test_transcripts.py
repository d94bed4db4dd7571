"""Transcripts: every shape they come in, and what is refused."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personascope.corpora import Transcript, read_transcripts, write_transcripts
from personascope.errors import UserError

MESSAGES = [
    {"role": "system", "content": "You are a pirate."},
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Ahoy"},
    {"role": "user", "content": "Where to?"},
    {"role": "assistant", "content": "To sea"},
]
WORDS = st.text(min_size=1, max_size=8).filter(str.strip)


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=5), st.one_of(st.just(""), WORDS), st.integers(0, 5))
def test_messages_and_back(pairs: list[tuple[str, str]], instruction: str, seed: int) -> None:
    one = Transcript(tuple(pairs), "x", instruction)
    assert Transcript.of(one.messages(), "x") == one
    assert one.messages(0) == ([{"role": "system", "content": instruction}] if instruction else [])
    assert one.messages(1) == one.messages()[: bool(instruction) + 2]
    assert sorted(one.shuffled(seed).pairs) == sorted(pairs) and one.shuffled(seed) == one.shuffled(seed)
    assert one.spoken_by_user().spoken_by_user() == one.without_instruction()


def test_all_shapes_are_read_alike(tmp_path: Path) -> None:
    expected = Transcript((("Hello", "Ahoy"), ("Where to?", "To sea")), "pirate", "You are a pirate.")
    files = {
        "ours.jsonl": json.dumps({"role": "pirate", "messages": MESSAGES}),
        "openai.jsonl": json.dumps({"messages": MESSAGES}),
        "axis.json": json.dumps({"model": "m", "turns": 2, "conversation": MESSAGES, "persona": "pirate"}),
        "bare.json": json.dumps(MESSAGES),
        "list.json": json.dumps([MESSAGES]),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
        assert read_transcripts(tmp_path / name, "pirate") == [expected], name
    assert read_transcripts(tmp_path, "pirate") == [expected] * 5
    assert read_transcripts(write_transcripts(tmp_path / "again.jsonl", [expected])) == [expected]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("t.jsonl", {"messages": MESSAGES[:-1]}, "ends on a user turn"),
        ("t.jsonl", {"messages": [*MESSAGES[:-1], {"role": "assistant", "content": " "}]}, "message 4 .* is empty"),
        ("t.jsonl", {"messages": MESSAGES[2:]}, "'user' should speak"),
        ("t.jsonl", {"messages": [*MESSAGES, MESSAGES[0]]}, "'user' should speak"),
        ("t.jsonl", {"messages": MESSAGES[:1]}, "has no turns"),
        ("t.jsonl", {"messages": [{"role": "user"}]}, "a role and a content"),
        ("t.jsonl", {"chat": MESSAGES}, "no messages or conversation in it; it has chat"),
        ("t.jsonl", "hello", "must be a list of messages"),
        ("t.txt", "hello", "use .jsonl or .json"),
    ],
)
def test_what_is_no_transcript_is_said(tmp_path: Path, name: str, value: object, said: str) -> None:
    (tmp_path / name).write_text(json.dumps(value))
    with pytest.raises(UserError, match=said):
        read_transcripts(tmp_path / name)


def test_an_empty_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no"):
        read_transcripts(tmp_path)
