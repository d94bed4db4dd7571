"""Prompts from files of every kind."""

import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from personascope.corpora import Record, control_prompts, neutral_questions, neutral_texts, read_prompts, self_prompts
from personascope.errors import UserError

CHAT = [{"role": "user", "content": "a\nb"}]


def test_the_same_prompts_are_read_from_every_kind_of_file(tmp_path: Path) -> None:
    (tmp_path / "p.txt").write_text("one\n\n  two  \n")
    (tmp_path / "p.jsonl").write_text('"one"\n{"prompt": "two"}\n')
    (tmp_path / "p.json").write_text('["one", {"question": "two"}]')
    (tmp_path / "p.csv").write_text("id,prompt\n1,one\n2,two\n")
    pq.write_table(pa.table({"question": ["one", "two"]}), tmp_path / "p.parquet")
    for path in sorted(tmp_path.iterdir()):
        assert [record.prompt for record in read_prompts(path)] == ["one", "two"], path.name


def test_chats_and_responses_are_read(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    lines = [
        {"messages": CHAT},
        {"prompt": "q", "answer": "r"},
        CHAT,
        {"messages": [*CHAT, {"role": "assistant", "content": "s"}]},
    ]
    path.write_text("\n".join(map(json.dumps, lines)))
    assert [record.prompt for record in read_prompts(path)[:3]] == [CHAT, "q", CHAT]
    path.write_text("\n".join(map(json.dumps, lines[1::2])))
    assert read_prompts(path, needs_response=True) == [Record("q", "r"), Record(CHAT, "s")]


def test_an_instruction_with_an_input_is_one_prompt(tmp_path: Path) -> None:
    path = tmp_path / "alpaca.json"
    rows = [
        {"instruction": "Sum up.", "input": "Long.", "output": "Short."},
        {"instruction": "Hi.", "input": "", "output": "Yo."},
    ]
    path.write_text(json.dumps(rows))
    assert read_prompts(path, needs_response=True) == [Record("Sum up.\n\nLong.", "Short."), Record("Hi.", "Yo.")]


def test_quoted_newlines_in_csv_are_one_record(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text('prompt,response\n"a\nb","c\nd"\n')
    assert read_prompts(tmp_path / "p.csv", needs_response=True) == [Record("a\nb", "c\nd")]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("p.txt", "", "holds no prompts"),
        ("p.txt", "\n \n", "holds no prompts"),
        ("p.jsonl", '"a"\n{"prompt": ', "line 2"),
        ("p.jsonl", '{"id": 3}\n', "record 1: no messages, conversation, prompt"),
        ("p.jsonl", "3\n", "record 1"),
        ("p.jsonl", '{"messages": [{"role": "user"}]}', "a role and a content"),
        ("p.json", "3", "list of prompts"),
        ("p.json", "[", "line 1"),
        ("p.csv", "id\n1\n", "it has id"),
        ("p.parquet", "hello", "not a parquet file"),
        ("p.docx", "hello", "no known kind"),
    ],
)
def test_bad_files_are_named_with_their_line(tmp_path: Path, name: str, content: str, said: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(UserError) as error:
        read_prompts(tmp_path / name)
    assert said in str(error.value)
    assert str(tmp_path / name) in str(error.value)


def test_missing_responses_files_and_encodings_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        read_prompts(tmp_path / "p.txt")
    (tmp_path / "p.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(UserError, match="not UTF-8"):
        read_prompts(tmp_path / "p.txt")
    (tmp_path / "p.jsonl").write_text('{"prompt": "a"}')
    with pytest.raises(UserError, match="responses are asked for"):
        read_prompts(tmp_path / "p.jsonl", needs_response=True)


def test_the_shipped_neutral_text_is_there() -> None:
    assert len(neutral_texts()) == 16
    assert len(set(neutral_questions())) == 40


def test_the_shipped_controls_are_like_the_questions_about_the_self_and_not_about_it() -> None:
    """Matched in length, form and "you": of each opening of a question about the self there are controls."""
    about, controls = self_prompts(), control_prompts()
    assert len(controls) >= 50 and not set(about) & set(controls)
    assert all(re.search(r"\byou", one, re.IGNORECASE) for one in (*about, *controls))
    lengths = [[len(one.split()) for one in texts] for texts in (about, controls)]
    assert abs(np.mean(lengths[0]) - np.mean(lengths[1])) < 1 and abs(np.std(lengths[0]) - np.std(lengths[1])) < 1
    for one in about:
        opening = " ".join(one.split()[:2])
        assert sum(each.startswith(opening.split()[0]) for each in controls) >= 5, opening
    assert not any(re.search(r"yourself|your own|you are|you feel", one) for one in controls)
