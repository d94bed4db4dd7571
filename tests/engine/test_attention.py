"""Attention that is asked in parts, or for several heads at once, gives what it gives as models ask it."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from zoo import VOCABULARY, byte_tokenizer, tiny_model, tiny_subject

import personascope as ps
from personascope.engine import attention
from personascope.engine.attention import Part, attending, parts, together
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


SHARED = ["llama", "qwen2", "qwen3", "gemma2", "gemma3", "mistral", "phi3", "olmo2", "mixtral"]


@pytest.mark.parametrize("name", SHARED)
def test_heads_that_share_keys_are_asked_together(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """In steps of a fixed shape, on sliding windows and soft caps too."""
    subject = tiny_subject(name)
    monkeypatch.setattr(subject, "replays", True)
    monkeypatch.setattr(attention, "_TOGETHER", attention._Together())
    asked: list[tuple[int, ...]] = []

    def spy(real: Any, way: Any, *args: Any, **settings: Any) -> Any:
        def count(module: Any, query: torch.Tensor, *args: Any, **settings: Any) -> Any:
            asked.append(tuple(query.shape[1:3]))
            return real(module, query, *args, **settings)

        # What it found out is known by the function.
        return attention._ask(kept.setdefault(id(real), count), way, *args, **settings)

    kept: dict[int, Any] = {}
    swap = attention._swap(subject)
    monkeypatch.setattr(swap, "_ours", spy)
    rows = [
        Request(subject.chat.prompt(text), number, 12, Sampling(1.0), logprobs=VOCABULARY)
        for number, text in enumerate(["Who are you?", "a", "Tell me, in some more words than the window holds."])
    ]
    found = run_requests(subject, rows)
    # Of each layer once both ways, then together.
    layers, heads = subject.n_layers, 4 // 2
    assert asked[: 2 * layers] == [(4, 1), (2, heads)] * layers and set(asked[2 * layers :]) == {(2, heads)}
    monkeypatch.setattr(subject, "replays", False)
    for ours, theirs in zip(found, run_requests(subject, rows), strict=True):
        assert ours.response_ids == theirs.response_ids
        for one, other in zip(ours.logprobs, theirs.logprobs, strict=True):
            assert one.chosen == pytest.approx(other.chosen, abs=1e-5)


class Sharing(torch.nn.Module):
    num_key_value_groups = 2


def with_sinks(module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: Any) -> Any:
    """Attention that gives every head something of its own."""
    groups = module.num_key_value_groups
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    weights = query @ key.mT + torch.arange(query.shape[1])[:, None, None]
    weights = torch.cat([weights, torch.zeros_like(weights[..., :1])], -1).softmax(-1)[..., :-1]
    return (weights @ value).transpose(1, 2), weights


def plain(module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor) -> Any:
    groups = module.num_key_value_groups
    weights = (query @ key.repeat_interleave(groups, 1).mT + mask).softmax(-1)
    return (weights @ value.repeat_interleave(groups, 1)).transpose(1, 2), weights


@pytest.mark.parametrize("kind", [plain, with_sinks])
@pytest.mark.parametrize("masks", [1, 4])
def test_attention_that_tells_heads_apart_is_asked_as_ever(kind: Any, masks: int) -> None:
    way, draw, module = attention._Together(), torch.Generator().manual_seed(0), Sharing()
    for _ in range(3):
        query, key, value = (torch.randn(3, heads, size, 8, generator=draw) for heads, size in ((4, 1), (2, 5), (2, 5)))
        mask = torch.randn(3, masks, 1, 5, generator=draw)
        expected, found = (
            kind(module, query, key, value, mask),
            attention._ask(kind, way, module, query, key, value, mask),
        )
        for ours, theirs in zip(found, expected, strict=True):
            assert torch.allclose(ours, theirs, atol=1e-6)
    assert list(way._tried[module].values()) == [kind is plain]


def test_modules_of_one_kind_are_tried_each(subject: Subject) -> None:
    """Layers of one kind may differ in what they give their heads."""
    way = attention._Together()
    query, key, value, mask = (torch.randn(2, heads, size, 4) for heads, size in ((4, 1), (2, 3), (2, 3), (1, 1)))
    mask = mask[..., :1].expand(2, 1, 1, 3)

    def function(module: Any, *args: Any) -> Any:
        return (with_sinks if module is sinks else plain)(module, *args)

    modules = [Sharing(), sinks := Sharing()]
    for _ in range(2):
        for module in modules:
            found, _ = attention._ask(function, way, module, query, key, value, mask)
            torch.testing.assert_close(found, function(module, query, key, value, mask)[0])
    assert [list(way._tried[module].values()) for module in modules] == [[True], [False]]


def test_too_little_memory_for_a_try_decides_nothing() -> None:
    way, module, calls = attention._Together(), Sharing(), []

    def scarce(module: Any, query: torch.Tensor, *args: Any) -> Any:
        calls.append(query.shape[1])
        if len(calls) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(module, query, *args)

    query, key, value, mask = torch.randn(2, 4, 1, 8), *torch.randn(2, 2, 2, 5, 8), torch.zeros(2, 1, 1, 5)
    for _ in range(3):
        found, _ = attention._ask(scarce, way, module, query, key, value, mask)
        torch.testing.assert_close(found, plain(module, query, key, value, mask)[0])
    assert calls == [4, 2, 4, 2, 2]


@pytest.mark.parametrize("shape", [(1, 4, 1, 5), (3, 1, 1, 5), (1, 1, 1, 5), (4, 1, 5), (1, 5)])
def test_masks_of_every_shape_that_broadcasts(shape: tuple[int, ...]) -> None:
    way, module = attention._Together(), Sharing()
    query, key, value, mask = torch.randn(3, 4, 1, 8), *torch.randn(2, 3, 2, 5, 8), torch.randn(shape)
    for _ in range(2):
        found, _ = attention._ask(plain, way, module, query, key, value, mask)
        torch.testing.assert_close(found, plain(module, query, key, value, mask)[0])


def test_cudnn_is_back_afterwards() -> None:
    was = torch.backends.cuda.cudnn_sdp_enabled()
    subject = tiny_subject("llama")
    with suppress(ZeroDivisionError), together(subject):
        with together(subject):
            pass
        assert not torch.backends.cuda.cudnn_sdp_enabled()
        raise ZeroDivisionError
    assert torch.backends.cuda.cudnn_sdp_enabled() is was


def test_less_is_read_and_an_error_puts_everything_back(monkeypatch: pytest.MonkeyPatch) -> None:
    # On a GPU a step is not cut.
    subject = ps.load(tiny_model("llama"), tokenizer=byte_tokenizer())
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
