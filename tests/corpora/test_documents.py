"""Corpora: every kind of file gives the same documents, whatever is broken in it is left out and counted."""

import json
import os
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from personascope.corpora import read_corpus, texts_corpus
from personascope.corpora.datasets import stream_dataset
from personascope.corpora.documents import without_text
from personascope.errors import UserError

TEXTS = ["One text.", "Ein zweiter, länger.", "三つ目の文です。"]
CHAT = [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]


def written(folder, kind):
    path = folder / f"corpus.{kind}"
    if kind == "txt":
        path.write_text("\n\n".join(TEXTS) + "\n", encoding="utf-8")
    elif kind == "jsonl":
        path.write_text("\n".join(json.dumps({"text": text}) for text in TEXTS), encoding="utf-8")
    elif kind == "csv":
        quoted = "\n".join('"' + text + '"' for text in TEXTS)
        path.write_text(f"text\n{quoted}\n", encoding="utf-8")
    else:
        pq.write_table(pa.table({"text": TEXTS}), path)
    return path


@pytest.mark.parametrize("kind", ["txt", "jsonl", "csv", "parquet"])
def test_every_kind_of_file_gives_the_same_documents(tmp_path, kind):
    corpus = read_corpus(written(tmp_path, kind))
    first = list(corpus.documents())
    assert [one.content for one in first] == TEXTS
    assert list(corpus.documents()) == first and list(corpus.documents(skip=2)) == first[2:]
    assert len({one.name for one in first}) == 3


def test_a_folder_is_all_files_in_it_and_their_names_tell_them_apart(tmp_path):
    for kind in ("txt", "jsonl"):
        written(tmp_path, kind)
    corpus = read_corpus(tmp_path)
    assert [one.content for one in corpus.documents()] == TEXTS * 2
    assert len({one.name for one in corpus.documents()}) == 6


def test_files_of_the_same_name_in_two_folders_give_documents_of_different_names(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        written(tmp_path / folder, "txt")
    names = [one.name for one in read_corpus(tmp_path).documents()]
    assert names[0] == "a/corpus.txt:1" and len(set(names)) == 6


def test_a_file_whose_name_is_no_utf8_is_read_like_any_other(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt")
    with open(path, "w") as file:
        file.write("One text.\n")
    for source in (path, tmp_path):
        (one,) = read_corpus(source).documents()
        assert one.name == "caf\\xe9.txt:1"


def test_a_long_record_is_read_whole_and_one_beyond_all_measure_left_out_once(tmp_path, monkeypatch):
    path = tmp_path / "c.jsonl"
    text = "word " * 1_500_000
    path.write_text(json.dumps({"text": text}) + '\n{"text": "short"}\n')
    corpus = read_corpus(path)
    assert "".join(one.content for one in corpus.documents()) == text + "short" and not corpus.left_out
    monkeypatch.setattr("personascope.corpora.records._LONGEST_RECORD", 1 << 20)
    assert [one.content for one in corpus.documents()] == ["short"]
    assert corpus.left_out == {"a record of more than 1 MiB": 1}


def test_half_a_character_in_a_chat_is_left_out_too():
    corpus = texts_corpus([[{"role": "user", "content": "\ud800"}], CHAT])
    assert [one.content for one in corpus.documents()] == [CHAT]
    assert corpus.left_out == {"half a character (a lone surrogate)": 1}


def test_another_corpus_has_another_fingerprint_and_the_same_one_keeps_it(tmp_path):
    path = written(tmp_path, "txt")
    first = read_corpus(path).fingerprint
    assert read_corpus(path).fingerprint == first
    path.write_text(path.read_text().replace("One", "Two"))
    assert read_corpus(path).fingerprint != first


@pytest.mark.parametrize(
    "record",
    [
        {"messages": CHAT},
        {"conversations": [{"from": "human", "value": "Hi."}, {"from": "gpt", "value": "Hello."}]},
        CHAT,
    ],
)
def test_chats_stay_chats(tmp_path, record):
    path = tmp_path / "chats.jsonl"
    path.write_text(json.dumps(record))
    assert [one.content for one in read_corpus(path).documents()] == [CHAT]


def test_a_column_can_be_named(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text('{"text": "no", "story": "yes"}\n{"text": "no"}\n')
    corpus = read_corpus(path, column="story")
    assert [one.content for one in corpus.documents()] == ["yes"]
    assert corpus.left_out == {"no field 'story'": 1}


def test_what_is_broken_is_left_out_and_counted(tmp_path):
    path = tmp_path / "broken.jsonl"
    path.write_bytes(b'{"text": "good"}\n{"text": \n\xff\xfe\n{"other": 3}\n{"text": "\\ud800"}\n{"text": "fine"}\n')
    corpus = read_corpus(path)
    assert [one.content for one in corpus.documents()] == ["good", "fine"]
    assert corpus.left_out == {
        "broken JSON": 1,
        "broken UTF-8": 1,
        without_text(None): 1,
        "half a character (a lone surrogate)": 1,
    }


@given(st.text(alphabet="ab ü三\U0001f600", min_size=1, max_size=400), st.integers(1, 40), st.integers(2, 30))
def test_one_huge_line_is_read_in_pieces_that_lose_nothing(text, chunk, longest):
    import tempfile
    from pathlib import Path

    from personascope.corpora import documents, records

    before = records._CHUNK, documents.LONGEST
    records._CHUNK, documents.LONGEST = chunk, longest
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "line.txt"
            path.write_text("x" + text + "x", encoding="utf-8")
            corpus = read_corpus(path)
            found = list(corpus.documents())
        assert "".join(one.content for one in found).replace(" ", "") == ("x" + text + "x").replace(" ", "")
        assert all(len(one.content) <= longest for one in found) and not corpus.left_out
        assert len({one.name for one in found}) == len(found)
    finally:
        records._CHUNK, documents.LONGEST = before


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("none.txt", None, "does not exist"),
        ("c.docx", b"x", "known kind"),
        ("c.txt", b"", "empty"),
        ("c.txt", b" \n \n", "blank"),
        ("c.txt", b"\xff\xff\n", "broken UTF-8"),
        ("c.jsonl", b'{"n": 1}\n', "name another field with --column"),
        ("c.parquet", b"nothing of the kind", "cannot be read"),
    ],
)
def test_what_is_no_corpus_is_said_to_be_none(tmp_path, name, content, says):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=says):
        list(read_corpus(path).documents())


def test_a_file_cut_short_is_found_out_before_the_others_are_read(tmp_path):
    written(tmp_path, "txt")
    (tmp_path / "none.parquet").write_bytes(b"")
    assert len(list(read_corpus(tmp_path).documents())) == 3
    whole = written(tmp_path, "parquet")
    whole.write_bytes(whole.read_bytes()[:100])
    with pytest.raises(UserError, match=r"corpus\.parquet cannot be read"):
        read_corpus(tmp_path)


def test_texts_in_memory_are_a_corpus_and_none_are_not():
    assert [one.content for one in texts_corpus(["a", "", CHAT]).documents()] == ["a", CHAT]
    with pytest.raises(UserError, match="empty"):
        texts_corpus([])
    with pytest.raises(UserError, match="3 is neither"):
        texts_corpus(["a", 3])


def test_a_dataset_is_streamed_in_an_order_that_the_seed_decides(tmp_path):
    pytest.importorskip("datasets")
    texts = [f"text {number}" for number in range(50)]
    (tmp_path / "train.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
    first = [one.content for one in stream_dataset(f"hf:{tmp_path}", seed=1).documents()]
    assert sorted(first) == sorted(texts) and first != texts
    assert [one.content for one in stream_dataset(f"hf:{tmp_path}", seed=1).documents()] == first
    assert [one.content for one in stream_dataset(f"hf:{tmp_path}:train", seed=2).documents()] != first


def test_a_dataset_that_is_not_there_or_has_no_text_is_said_to(tmp_path, monkeypatch):
    pytest.importorskip("datasets")
    (tmp_path / "train.jsonl").write_text('{"n": 1}\n')
    with pytest.raises(UserError, match="--column"):
        list(stream_dataset(f"hf:{tmp_path}").documents())
    with pytest.raises(UserError, match="cannot be opened"):
        stream_dataset(f"hf:{tmp_path}/absent:nosplit")
    with pytest.raises(UserError, match="hf:NAME"):
        stream_dataset("hf:")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(UserError, match="pip install datasets"):
        stream_dataset(f"hf:{tmp_path}")
