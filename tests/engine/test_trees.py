"""Texts that begin alike run in one row, and each is read as if it were alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers as tf
from hypothesis import given
from hypothesis import strategies as st
from zoo import byte_tokenizer, tiny_subject

import personascope as ps
from personascope.engine import trees as module
from personascope.engine.endings import ending_logprobs
from personascope.engine.forward import Passage
from personascope.engine.logits import logprobs_of
from personascope.engine.trees import takes_trees, trees
from personascope.subject import Subject

TEXTS = st.sets(st.lists(st.integers(1, 2), min_size=1, max_size=14).map(tuple), min_size=1, max_size=12)


@given(TEXTS, st.sampled_from([0, 5, 20, 1000]))
def test_each_token_sees_its_own_text_up_to_itself(texts: set[tuple[int, ...]], room: int) -> None:
    made = trees(texts, room)
    assert sorted(text for tree in made for text in tree.texts) == sorted(texts)
    for tree in made:
        seen = np.zeros((len(tree), len(tree)), dtype=bool)
        tree.mark(seen)
        for text, path in zip(tree.texts, tree.paths, strict=True):
            assert tuple(tree.ids[node] for node in path) == text
            assert [tree.depths[node] for node in path] == list(range(len(text)))
            for place, node in enumerate(path):
                assert np.flatnonzero(seen[node]).tolist() == sorted(path[: place + 1])
        assert len(tree.texts) == 1 or len(tree) <= room, "only a text by itself may be longer"
        assert sum(map(len, tree.texts)) >= len(tree)


def test_what_is_shared_stands_once() -> None:
    beginning = (1, 2, 3, 4, 5)
    (tree,) = trees([(*beginning, 6), (*beginning, 7, 8), (*beginning, 7, 9), beginning], 100)
    assert len(tree) == 9 and len(trees([(1, 6), (1, 7)], 100)) == 2, "a token shared does not pay"


def branching(subject: Subject) -> list[Passage]:
    """Responses that fork early, late, twice, in their last token, not at all and beyond a window of eight tokens."""
    draw = torch.Generator().manual_seed(0)

    def some(count: int) -> tuple[int, ...]:
        return tuple(torch.randint(5, 60, (count,), generator=draw).tolist())

    base = some(12)
    ends = [
        (0, ()),
        (12, some(9)),
        (5, some(10)),
        (8, some(3)),
        (12, some(14)),
        (12, some(1)),
        (0, some(4)),
        (0, some(1)),
    ]
    prompts = [subject.chat.raw(text) for text in ("A", "A prompt that is longer")]
    responses = [(*base, *some(4))[: length + 4] + rest for length, rest in ends]
    return [Passage(prompt, response) for prompt in prompts for response in responses]


def test_a_tree_gives_what_each_text_alone_does(zoo_subject: Subject) -> None:
    passages = branching(zoo_subject)
    assert takes_trees(zoo_subject)
    for size in (None, 16):
        together = ending_logprobs(zoo_subject, passages, size)
        for passage, found in zip(passages, together, strict=True):
            assert torch.allclose(found, logprobs_of(zoo_subject, [passage])[0], atol=1e-4)


def test_shared_tokens_are_run_once(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    passages = branching(subject)
    ran = []
    whole = type(subject.model).forward

    def count(self: object, *args: object, **inputs: torch.Tensor) -> object:
        ran.append(inputs["input_ids"].numel())
        return whole(self, *args, **inputs)

    takes_trees(subject)
    monkeypatch.setattr(type(subject.model), "forward", count)
    apart = replace(subject, takes_trees=False)
    tokens = []
    for each in (subject, apart):
        ran.clear()
        ending_logprobs(each, passages, 64)
        tokens.append(sum(ran))
    assert tokens[0] < 0.75 * tokens[1]


def test_half_precision_takes_trees() -> None:
    subject = tiny_subject("llama")
    subject.model.to(torch.bfloat16)
    assert takes_trees(subject)
    passages = branching(subject)
    for found, alone in zip(ending_logprobs(subject, passages), logprobs_of(subject, passages), strict=True):
        assert torch.allclose(found, alone, atol=0.5)


def test_a_model_that_makes_its_own_mask_is_found_out() -> None:
    torch.manual_seed(0)
    config = tf.FalconConfig(
        vocab_size=261, hidden_size=32, num_hidden_layers=3, num_attention_heads=4, alibi=True, initializer_range=0.25
    )
    model = tf.AutoModelForCausalLM.from_config(config).eval()
    subject = ps.load(model, tokenizer=byte_tokenizer())
    passages = branching(subject)
    for passage, found in zip(passages, ending_logprobs(subject, passages), strict=True):
        assert torch.allclose(found, logprobs_of(subject, [passage])[0], atol=1e-4)
    assert subject.takes_trees is False


def test_a_model_that_does_not_heed_the_mask_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = tiny_subject("llama")
    inputs = module.tree_inputs

    def unheeded(*args: object) -> dict[str, object]:
        return {name: value for name, value in inputs(*args).items() if name != "attention_mask"}  # type: ignore[arg-type]

    monkeypatch.setattr(module, "tree_inputs", unheeded)
    assert not takes_trees(subject)


def test_a_tree_stays_inside_the_context() -> None:
    subject = tiny_subject("gpt2")  # Its positions are a table of that length.
    assert subject.context is not None
    prompt = subject.chat.raw("x" * (subject.context - 20))
    beginning = tuple(range(5, 15))
    passages = [Passage(prompt, (*beginning, token, token)) for token in range(20, 26)]
    assert len(prompt) + len(beginning) + 6 * 2 > subject.context
    for passage, found in zip(passages, ending_logprobs(subject, passages), strict=True):
        assert torch.allclose(found, logprobs_of(subject, [passage])[0], atol=1e-4)
