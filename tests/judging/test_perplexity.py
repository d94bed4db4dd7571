"""Perplexity of many responses at once is that of each alone."""

import math

import pytest
import torch
from zoo import tiny_subject

import personascope as ps
from personascope.engine.forward import Passage
from personascope.judging.perplexity import perplexities
from personascope.subject import Prompt, Subject


def test_it_is_that_of_a_plain_pass_over_each_text(zoo_subject: Subject) -> None:
    # Two prompts of unequal lengths are shared, and run once each; two rows say the same.
    texts = ("A", *["A longer text to begin with"] * 5, "Now", "And", "And", "And")
    prompts = [zoo_subject.chat.raw(text) for text in texts]
    draw = torch.Generator().manual_seed(0)
    sizes = (5, 1, 17, 17, 4, 0, 6, 0, 9, 30)
    responses = [tuple(torch.randint(5, 60, (n,), generator=draw).tolist()) for n in sizes]
    responses[3] = responses[2]
    passages = [Passage(*one) for one in zip(prompts, responses, strict=True)]
    found = perplexities(zoo_subject, passages)
    for passage, value in zip(passages, found, strict=True):
        if not passage.response:
            assert value is None
            continue
        ids = torch.tensor([passage.ids])
        with torch.no_grad():
            logits = zoo_subject.model(input_ids=ids, use_cache=False).logits[0].double()
        start = len(passage.prompt)
        loss = torch.nn.functional.cross_entropy(logits[start - 1 : -1], ids[0, start:])
        assert value == pytest.approx(math.exp(float(loss)), rel=1e-4), "prompt tokens are not counted"
    for one, other in zip(perplexities(zoo_subject, passages, batch_tokens=8), found, strict=True):
        assert one == (other if other is None else pytest.approx(other, rel=1e-4))


def test_a_long_prompt_beside_a_long_response_stays_inside_the_context() -> None:
    subject = tiny_subject("gpt2")  # Its positions are a table of that length.
    assert subject.context is not None
    draw = torch.Generator().manual_seed(1)
    long = subject.context - 6
    prompts = [Prompt(tuple(torch.randint(5, 60, (n,), generator=draw).tolist()), (), "") for n in (long, 3)]
    passages = [Passage(prompt, (7, 8, *range(9, 9 + more))) for prompt in prompts for more in (0, 3)]
    passages += [Passage(prompts[1], tuple(torch.randint(5, 60, (n,), generator=draw).tolist())) for n in (long, 40)]
    together, alone = perplexities(subject, passages), [perplexities(subject, [one])[0] for one in passages]
    assert together == pytest.approx(alone, rel=1e-4)


def test_writes_do_not_count(subject: Subject) -> None:
    direction = ps.Direction(torch.ones(subject.hidden_size), 1)
    plain = Passage(subject.chat.raw("A"), (7, 8, 9))
    steered = Passage(subject.chat.raw("A"), (7, 8, 9), (ps.add(direction, 5.0),))
    assert perplexities(subject, [steered]) == perplexities(subject, [plain])
