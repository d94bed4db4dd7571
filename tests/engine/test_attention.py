"""Attention that is asked in parts gives what it gives as a whole."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from zoo import VOCABULARY, tiny_subject

from personascope.engine import attention
from personascope.engine.attention import Part, attending, parts
from personascope.engine.choose import Sampling
from personascope.engine.generate import run_requests
from personascope.engine.rows import Request
from personascope.subject import Subject

CALL = 100


@given(st.lists(st.integers(1, 300), min_size=1, max_size=8))
def test_a_part_begins_at_the_first_column_that_it_has(lengths: list[int]) -> None:
    cut = parts(lengths, attention._CALL_BYTES // CALL)
    assert [row for part in cut for row in range(part.rows.start, part.rows.stop)] == list(range(len(lengths)))
    for part in cut:
        assert part.start == max(lengths) - max(lengths[part.rows])
    if sum(lengths) >= (1 - attention._WASTE) * len(lengths) * max(lengths):
        assert len(cut) == 1


def test_rows_are_what_they_are_whole(zoo_subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """On every architecture, sliding windows included: of each what PyTorch's attention does, in as many parts as rows."""
    prompts = ["Who are you?", "a", "Tell me, in some more words than the window holds, about the sea.", "Why?", "no"]
    rows = [
        Request(zoo_subject.chat.prompt(prompts[number % 5]), number, length, Sampling(1.0), logprobs=VOCABULARY)
        for number, length in enumerate([5, 25, 14, 3, 30, 9, 17, 8])
    ]
    expected = run_requests(zoo_subject, rows, batch_size=4)
    asked = []

    def spy(cut: list[Part], columns: int) -> Any:
        asked.append(len(cut))
        return attending(cut, columns)

    monkeypatch.setattr(attention, "_CALL_BYTES", 1)
    monkeypatch.setattr("personascope.engine.passes.attending", spy)
    before = ALL_ATTENTION_FUNCTIONS["sdpa"]
    found = run_requests(zoo_subject, rows, batch_size=4)
    if zoo_subject.input_device.type == "cpu":
        assert max(asked) == 4
    assert ALL_ATTENTION_FUNCTIONS["sdpa"] is before
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.response_ids == theirs.response_ids
        for one, other in zip(ours.logprobs, theirs.logprobs, strict=True):
            assert one.chosen == pytest.approx(other.chosen, abs=1e-5)


def test_a_model_that_leaves_out_old_columns_is_cut_where_rows_begin() -> None:
    draw = torch.Generator().manual_seed(0)
    lengths, width = [9, 3, 5], 6
    query, key, value = (torch.randn(3, 2, size, 4, generator=draw) for size in (1, width, width))
    mask = (torch.arange(width) >= width - torch.tensor(lengths)[:, None])[:, None, None]
    module = torch.nn.Module()
    attend = ALL_ATTENTION_FUNCTIONS["sdpa"]
    expected, _ = attend(module, query, key, value, mask)
    cut = [Part(slice(0, 1), 0), Part(slice(1, 2), 6), Part(slice(2, 3), 4)]
    with attending(cut, 9):
        found, _ = ALL_ATTENTION_FUNCTIONS["sdpa"](module, query, key, value, mask)
    assert torch.allclose(found, expected, atol=1e-6)


def test_less_is_read_and_an_error_puts_everything_back(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    real, columns = torch.nn.functional.scaled_dot_product_attention, []

    def count(query: torch.Tensor, key: torch.Tensor, *args: Any, **settings: Any) -> torch.Tensor:
        columns.append(key.shape[0] * key.shape[2])
        return real(query, key, *args, **settings)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", count)
    rows = [Request(subject.chat.prompt(text), 0, 9, suppress_eos=True) for text in ("a " * 60, "a", "b")]
    read = []
    for call in (10**9, 1):
        monkeypatch.setattr(attention, "_CALL_BYTES", call)
        columns.clear()
        run_requests(subject, rows)
        read.append(sum(columns))
    assert read[1] < 0.7 * read[0]
    before = ALL_ATTENTION_FUNCTIONS["sdpa"]

    def fail(query: torch.Tensor, key: torch.Tensor, *args: Any, **settings: Any) -> torch.Tensor:
        if key.shape[0] == 1 < key.shape[2] - query.shape[2]:
            raise KeyboardInterrupt
        return real(query, key, *args, **settings)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", fail)
    with pytest.raises(KeyboardInterrupt):
        run_requests(subject, rows)
    assert ALL_ATTENTION_FUNCTIONS["sdpa"] is before


def test_threads_do_not_see_each_others_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_CALL_BYTES", 1)
    subjects = [tiny_subject("llama"), tiny_subject("qwen2")]
    before = ALL_ATTENTION_FUNCTIONS["sdpa"]

    def rows(subject: Subject) -> list[Request]:
        texts = ["a", "Tell me, in some more words than the window holds, about the sea.", "Why?", "no no no"]
        return [
            Request(subject.chat.prompt(texts[number % 4]), number, 6 + 5 * number, suppress_eos=True)
            for number in range(8)
        ]

    expected = [[one.response_ids for one in run_requests(one, rows(one), batch_size=4)] for one in subjects]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(3):
            asked = [pool.submit(run_requests, subjects[n % 2], rows(subjects[n % 2]), 4) for n in (0, 1)]
            for number, found in enumerate(asked):
                assert [one.response_ids for one in found.result()] == expected[number]
    assert ALL_ATTENTION_FUNCTIONS["sdpa"] is before


def test_what_somebody_else_puts_there_meanwhile_stays() -> None:
    """And what they found there, ours, put back after we are gone, does not call itself."""
    real = ALL_ATTENTION_FUNCTIONS["sdpa"]
    cut = [Part(slice(0, 1), 0), Part(slice(1, 2), 0)]
    query, key = torch.randn(2, 1, 3, 4), torch.randn(2, 1, 3, 4)
    try:
        with attending(cut, 3):
            found = ALL_ATTENTION_FUNCTIONS["sdpa"]
            theirs = ALL_ATTENTION_FUNCTIONS["sdpa"] = lambda *_, **__: ("theirs", None)
        assert ALL_ATTENTION_FUNCTIONS["sdpa"] is theirs
        ALL_ATTENTION_FUNCTIONS["sdpa"] = found
        with attending(cut, 3):
            expected, _ = real(torch.nn.Module(), query, key, key, None)
            again, _ = ALL_ATTENTION_FUNCTIONS["sdpa"](torch.nn.Module(), query, key, key, None)
        assert torch.equal(again, expected)
    finally:
        ALL_ATTENTION_FUNCTIONS["sdpa"] = real
