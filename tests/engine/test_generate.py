"""Generation beyond the laws: settings, ends, caches of other kinds, bookkeeping."""

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
import transformers as tf
from zoo import VOCABULARY, byte_tokenizer, tiny_subject

import personascope as ps
from personascope.engine import late
from personascope.engine.forward import Passage, activations_of, means_of, projections_of
from personascope.engine.generate import run_requests
from personascope.engine.logits import logits_of
from personascope.engine.rows import Request
from personascope.engine.stream import RowStream
from personascope.errors import NonFinite, UserError
from personascope.subject import Subject

PROMPTS = ["Who are you?", "a", "Tell me, in some more words, about the sea."]
V = torch.linspace(-1, 1, 32)


def qwen3_next() -> Subject:
    torch.manual_seed(0)
    config = tf.Qwen3NextConfig(
        vocab_size=VOCABULARY,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=48,
        head_dim=8,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=16,
        shared_expert_intermediate_size=16,
        linear_num_key_heads=2,
        linear_num_value_heads=4,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        layer_types=["linear_attention", "full_attention", "linear_attention"],
        pad_token_id=0,
        initializer_range=0.2,
    )
    return ps.load(tf.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval(), tokenizer=byte_tokenizer())


def mamba() -> Subject:
    torch.manual_seed(0)
    config = tf.MambaConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=3, state_size=4, pad_token_id=0, initializer_range=0.2
    )
    return ps.load(tf.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval(), tokenizer=byte_tokenizer())


@pytest.fixture(
    scope="module", params=[lambda: tiny_subject("gemma2"), qwen3_next, mamba], ids=["slots", "own", "none"]
)
def cached(request: pytest.FixtureRequest) -> Subject:
    """A subject for every kind of cache."""
    subject: Subject = request.param()
    return subject


def test_every_kind_of_cache_is_found() -> None:
    assert [tiny_subject("gemma2").cache, qwen3_next().cache, mamba().cache] == ["slots", "own", "none"]


def test_steered_and_watched_rows_are_the_same_whatever_the_cache(cached: Subject) -> None:
    steer = [ps.add(ps.Direction(V, 0), 0.5, tokens="sampling[1:4]"), ps.ablate(ps.Direction(V, 1), tokens="response")]
    watch = [ps.Direction(V, layer) for layer in range(cached.n_layers)]
    outs = ps.generate(
        cached, PROMPTS, steer=steer, watch=watch, max_new_tokens=7, seed=[1, 2, 3], suppress_eos=True, logprobs=1
    )
    for prompt, out in zip(PROMPTS, outs, strict=True):
        start = cached.chat.prompt(prompt)
        passage = Passage(start, tuple(out.response_ids), tuple(steer))
        read = projections_of(cached, [passage], watch)[0]
        for key, values in out.projections.items():
            assert torch.allclose(torch.tensor(values), torch.tensor(read.projections[key]), atol=1e-4)
        for count, token in enumerate(out.logprobs):
            scratch = Passage(start, tuple(out.response_ids[:count]), tuple(steer), is_open=True)
            expected = logits_of(cached, [scratch], "all")[0][-1].log_softmax(0)
            assert token.chosen == pytest.approx(float(expected[out.response_ids[count]]), abs=1e-4)


def test_means_read_on_the_way_are_means_of_activations(cached: Subject) -> None:
    selections = ["response", "prompt", "prompt[-1]", "response[2:5]"]
    requests = [
        Request(cached.chat.prompt(p), seed, 8, suppress_eos=True, reads=True) for seed, p in enumerate(PROMPTS)
    ]
    for request, out in zip(requests, run_requests(cached, requests, means=selections), strict=True):
        passage = Passage(request.prompt, tuple(out.response_ids))
        assert out.means is not None
        for column, selection in enumerate(selections):
            whole = activations_of(cached, [passage], range(cached.n_layers), selection)[0]
            assert torch.allclose(out.means[:, column], whole.mean(dim=0), atol=1e-4)


def test_forced_tokens_are_gone_on_from(cached: Subject) -> None:
    steer = (ps.add(ps.Direction(V, 0), 0.5, tokens="sampling[:5]"),)
    prompt = cached.chat.prompt(PROMPTS[0])
    whole = Request(prompt, 7, 9, writes=steer, suppress_eos=True)
    first = run_requests(cached, [whole])[0]
    for kept in (0, 3, 8):
        rest = Request(prompt, 7, 9 - kept, writes=steer, suppress_eos=True, forced=tuple(first.response_ids[:kept]))
        again = run_requests(cached, [rest])[0]
        assert again.response_ids == first.response_ids


def test_a_watched_row_reads_its_last_token_too(subject: Subject) -> None:
    for length in (0, 1, 5):
        out = ps.generate(subject, ["Hello"], watch=[ps.Direction(V, 1)], max_new_tokens=length, suppress_eos=True)[0]
        assert len(out.response_ids) == length
        assert len(out.token_ids) == len(out.tokens) == len(out.projections["direction@1"]) == len(out.norms[1])


def test_rows_end_on_any_end_token_and_never_when_suppressed(subject: Subject) -> None:
    ends = subject.end_ids
    assert len(ends) == 2
    outs = ps.generate(subject, ["x"] * 60, max_new_tokens=40)
    assert any(out.finish == "end" for out in outs)
    for out in outs:
        assert not set(out.response_ids[:-1]) & ends
        assert (out.finish == "end") == (out.response_ids[-1] in ends)
        assert not any(special in out.text for special in ("</s>", "<|end|>"))
    assert not any(
        set(out.response_ids) & ends for out in ps.generate(subject, ["x"] * 60, max_new_tokens=40, suppress_eos=True)
    )


def test_a_stop_string_ends_the_row_and_is_not_in_its_text(subject: Subject) -> None:
    free = ps.generate(subject, ["x"], max_new_tokens=30, seed=[5], suppress_eos=True)[0]
    stop = next(piece for piece in free.response_tokens[3:] if piece.strip())
    out = ps.generate(subject, ["x"], max_new_tokens=30, seed=[5], suppress_eos=True, stop=stop)[0]
    assert out.finish == "stop"
    assert stop not in out.text
    assert out.response_ids == free.response_ids[: len(out.response_ids)]


def test_a_row_stops_at_the_end_of_the_context() -> None:
    subject = tiny_subject("gpt2")
    subject.__dict__["context"] = 40
    out = ps.generate(subject, ["Hello"], max_new_tokens=100, suppress_eos=True)[0]
    assert (out.finish, len(out.token_ids)) == ("context", 40)
    with pytest.raises(ps.UserError, match="context of 40"):
        ps.generate(subject, ["x" * 100])


def test_an_integer_seed_gives_every_row_its_own_and_shows_it(subject: Subject) -> None:
    outs = ps.generate(subject, ["x"] * 5, seed=3, suppress_eos=True)
    assert len({out.seed for out in outs}) == len({tuple(out.response_ids) for out in outs}) == 5
    for seeds in ([out.seed for out in outs], [np.int64(out.seed) for out in outs]):
        again = ps.generate(subject, ["x"] * 5, seed=seeds, suppress_eos=True)
        assert [out.response_ids for out in again] == [out.response_ids for out in outs]
    with pytest.raises(ps.UserError, match=r"seed=\[1.5\] is no list of whole numbers"):
        ps.generate(subject, ["x"], seed=[1.5])


def test_sampling_defaults_of_the_model_are_not_inherited() -> None:
    subject, other = tiny_subject("llama"), tiny_subject("llama")
    other.model.generation_config.update(temperature=0.1, top_k=1, do_sample=True, repetition_penalty=3.0)
    assert ps.generate(subject, ["x"])[0].response_ids == ps.generate(other, ["x"])[0].response_ids


def test_rows_may_each_have_writes_of_their_own(subject: Subject) -> None:
    v = ps.Direction(3 * V, 1)
    steer = [[], [ps.add(v, 1.0)], [ps.add(v, 1.0), ps.cap(v, ceiling=0.5)], [ps.ablate(v)]]
    seeds = [1, 2, 3, 4]
    together = ps.generate(subject, ["Hello"] * 4, steer=steer, seed=seeds)
    for row, seed in enumerate(seeds):
        alone = ps.generate(subject, ["Hello"], steer=steer[row], seed=[seed])[0]
        assert alone.response_ids == together[row].response_ids
        assert alone.writes == together[row].writes
    assert [len(out.writes) for out in together] == [0, 1, 2, 1]


def test_relative_steering_counts_in_median_norms(subject: Subject) -> None:
    from personascope.engine.norms import median_norm

    v = ps.Direction(V, 2)
    absolute = ps.add(v, 0.3 * median_norm(subject, 2) / v.norm)
    relative = ps.add(v, 0.3, relative=True)
    outs = [
        ps.generate(subject, ["Hello"], steer=[write], watch=[ps.Direction(V, 3)], seed=[1])[0]
        for write in (absolute, relative)
    ]
    assert torch.allclose(
        torch.tensor(outs[0].projections["direction@3"]), torch.tensor(outs[1].projections["direction@3"]), atol=1e-4
    )
    assert set(subject.norms) == set(range(subject.n_layers))


def test_a_row_can_be_cancelled(subject: Subject) -> None:
    stream = ps.engine.RowStream(subject)
    kept = stream.submit(Request(subject.chat.prompt("a"), 1, 10, suppress_eos=True))
    gone = stream.submit(Request(subject.chat.prompt("b"), 2, 10, suppress_eos=True))
    waiting = ps.engine.RowStream(subject, max_rows=1)
    stream.step()
    stream.step()
    stream.cancel(gone)
    events = [event for _ in range(20) for event in stream.step()]
    ends = {event.row: event.generation for event in events if event.generation}
    assert ends[gone].finish == "cancelled"
    assert 2 <= len(ends[gone].response_ids) <= 3
    assert ends[kept].finish == "length"
    assert len(stream) == len(waiting) == 0


def test_a_turn_that_a_prompt_does_not_have_is_refused_before_others_are_disturbed(subject: Subject) -> None:
    stream = RowStream(subject, 4)
    stream.submit(Request(subject.chat.prompt("Hello"), 0, 4, suppress_eos=True))
    stream.step()
    push = ps.add(ps.Direction(torch.ones(subject.hidden_size), 1, "x"), 1.0, tokens="turn[5]")
    with pytest.raises(UserError, match=r"turn\[5\]"):
        stream.submit(Request(subject.chat.prompt("x"), 1, 4, writes=(push,)))
    while len(stream):
        ended = [event.generation for event in stream.step() if event.generation]
    assert ended[0] is not None and len(ended[0].response_ids) == 4


def test_threads_that_share_a_model_do_not_share_what_is_done_to_it(subject: Subject) -> None:
    direction = ps.Direction(torch.randn(subject.hidden_size, generator=torch.Generator().manual_seed(0)), 1, "x")

    def said(strength: int) -> tuple[list[int], list[float]]:
        push = [ps.add(direction, 4.0 * strength)] if strength else None
        (one,) = ps.generate(subject, ["Hello"], push, [direction], 24, seed=[strength], suppress_eos=True)
        return one.response_ids, one.projections["x@1"].tolist()

    alone = [said(strength) for strength in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(said, [0, 1, 2, 3] * 3)) == alone * 3


def test_after_a_write_what_was_written_is_read_too(subject: Subject) -> None:
    direction = ps.Direction(V / V.norm(), 2, "x")
    pushes = [ps.add(direction, 3.0, tokens="all"), ps.add(ps.Direction(V / V.norm(), 1, "y"), 2.0, tokens="response")]
    before, after = (
        ps.generate(subject, ["Hello", "Why?"], pushes, [direction], 6, seed=3, suppress_eos=True, when=when)
        for when in ("before", "after")
    )
    for one, other in zip(before, after, strict=True):
        assert one.token_ids == other.token_ids
        np.testing.assert_allclose(other.projections["x@2"] - one.projections["x@2"], 3.0, atol=1e-4)
    stream = RowStream(subject)
    stream.submit(Request(subject.chat.prompt("x"), 0, 3, watch=(direction,)))
    with pytest.raises(UserError, match="one moment"):
        stream.submit(Request(subject.chat.prompt("x"), 0, 3, watch=(direction,), when="after"))


def test_means_that_count_from_the_end_are_those_of_the_text(subject: Subject) -> None:
    push = ps.add(ps.Direction(torch.ones(subject.hidden_size), 1, "x"), 0.5)
    requests = [
        Request(subject.chat.prompt(text), seed, new, writes=writes, suppress_eos=True, reads=True)
        for seed, (text, new, writes) in enumerate((("Hello", 9, ()), ("And another", 5, (push,)), ("Hi", 2, ())))
    ]
    asked = ["response[-3:]", "response", "all[-1]"]
    for request, one in zip(requests, run_requests(subject, requests, means=asked), strict=True):
        passage = Passage(request.prompt, tuple(one.response_ids), request.writes)
        expected = means_of(subject, [passage], range(subject.n_layers), asked)[0].transpose(0, 1)
        assert one.means is not None
        torch.testing.assert_close(one.means, expected, atol=1e-4, rtol=1e-4)


def test_a_row_that_is_cancelled_before_it_began_has_no_means(subject: Subject) -> None:
    stream = RowStream(subject, 1, ["response[-3:]", "response"])
    first, second = (
        stream.submit(Request(subject.chat.prompt(text), 0, 5, suppress_eos=True, reads=True)) for text in ("A", "B")
    )
    stream.step()
    stream.cancel(second)
    found = {}
    while len(stream):
        found |= {event.row: event.generation for event in stream.step() if event.generation}
    assert found[second].finish == "cancelled" and found[second].means is None
    assert found[first].means is not None and found[first].means.shape[1] == 2


def test_where_the_end_has_no_number_that_row_alone_fails(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    real = late.means_of

    def means(subject: Subject, passages: Any, *rest: Any, **options: Any) -> torch.Tensor:
        if any(passage.prompt.text.count("bad") for passage in passages):
            raise NonFinite("layer 2 gives NaN")
        return real(subject, passages, *rest, **options)

    monkeypatch.setattr(late, "means_of", means)
    requests = [
        Request(subject.chat.prompt(text), 0, 3, suppress_eos=True, reads=True) for text in ("good", "bad one", "fine")
    ]
    found = run_requests(subject, requests, means=["response[-2:]"])
    assert [one.error for one in found] == [None, "layer 2 gives NaN", None]
    assert found[0].means is not None and found[1].finish == "non-finite"


def test_an_interrupted_stream_says_so(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = ps.engine.RowStream(subject)
    stream.submit(Request(subject.chat.prompt("a"), 1, 10))
    monkeypatch.setattr(stream, "_choose", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        stream.step()
    with pytest.raises(ps.PersonascopeError, match="interrupted"):
        stream.step()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda s: ps.generate(s, []), "no prompts"),
        (lambda s: ps.generate(s, ["x"], seed=[1, 2]), "2 numbers for 1 rows"),
        (lambda s: ps.generate(s, ["x"], steer=[[], []]), "2 lists of writes for 1 rows"),
        (lambda s: ps.generate(s, ["x"], steer=[[], ps.add(ps.Direction(V, 1), 1.0)]), "mixes writes"),
        (lambda s: ps.generate(s, ["x"], max_new_tokens=-1), "max_new_tokens=-1"),
        (lambda s: ps.generate(s, ["x"], watch=[ps.Direction(V, 1)] * 2), "both called 'direction@1'"),
        (lambda s: ps.generate(s, ["x"], watch=[ps.Direction(torch.ones(31), 1)]), "width 31"),
        (lambda s: ps.generate(s, ["x"], watch=[ps.Direction(V, 9)]), "layer 9"),
        (lambda s: ps.generate(s, ["x"], steer=[ps.add(ps.Direction(V, 9), 1.0)]), "layer 9"),
        (lambda s: ps.generate(s, ["x"], watch=[ps.Direction(torch.zeros(32), 1)]), "all zeros"),
        (lambda s: ps.add(ps.Direction(V, 1), float("inf")), "alpha=inf"),
        (lambda s: ps.add(V, 1.0), "Direction or a DirectionSet"),
        (lambda s: ps.ablate(ps.Direction(torch.zeros(32), 1)), "all zeros"),
        (lambda s: ps.cap(ps.Direction(V, 1)), "a floor, a ceiling or both"),
        (lambda s: ps.cap(ps.Direction(V, 1), floor=2, ceiling=1), "floor ≤ ceiling"),
        (lambda s: ps.replace(ps.Direction(V, 1), float("nan")), "value=nan"),
        (lambda s: ps.add(ps.Direction(V, 1), 10**400), "finite number"),
        (lambda s: ps.replace(ps.Direction(V, 1), "x"), "finite number"),  # type: ignore[arg-type]
        (lambda s: ps.cap(ps.Direction(V, 1), ceiling=-math.inf), "finite numbers"),
        (lambda s: ps.generate(s, ["x"], steer=3), "steer=3"),
        (lambda s: ps.generate(s, ["x"], watch=None), "watch takes"),
        (lambda s: ps.generate(s, ["x"], top_k="2"), "top_k='2'"),
        (lambda s: ps.generate(s, ["x"], top_p="2"), "top_p='2'"),
        (lambda s: ps.generate(s, ["x"], logprobs="2"), "logprobs='2'"),
        (lambda s: ps.generate(s, ["x"], stop=[3]), "stop=[3]"),
        (lambda s: ps.generate(s, ["x"], batch_size=1.5), "batch_size=1.5"),
        (lambda s: ps.generate(s, ["x"], watch=[ps.Direction(V, 1)], when="later"), "when='later'"),
        (lambda s: ps.activations(s, [None]), "prompt 0 is None"),
        (lambda s: ps.activations(s, ["x"], layers=[]), "names no layer"),
        (lambda s: ps.activations(s, ["x"], layers=[1, 1]), "names a layer twice"),
        (lambda s: ps.activations(s, ["x"], layers=[7]), "layer 7 is out of range"),
        (lambda s: ps.activations(s, ["x"], tokens="response"), "selects nothing"),
        (lambda s: ps.activations(s, [""]), "empty text"),
        (lambda s: ps.activations(s, ["x" * 600]), "context of 512"),
    ],
)
def test_bad_input_is_one_plain_sentence(subject: Subject, call, said: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ps.UserError) as error:
        call(subject)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_what_memory_held_before_reaches_no_row(llama: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room for keys and values is taken as it comes: rows that join shorter and longer ones see none of it."""
    prompts = ["tea " * (3 + 40 * (place % 5)) for place in range(12)]
    # Where steps are recorded room is zeros.
    monkeypatch.setattr(llama, "replays", False)
    expected = ps.generate(llama, prompts, max_new_tokens=40, seed=3)
    real = torch.Tensor.new_empty
    taken = []

    def dirty(self: torch.Tensor, *shape: Any, **options: Any) -> torch.Tensor:
        taken.append(shape)
        return real(self, *shape, **options).fill_(float("nan"))

    monkeypatch.setattr(torch.Tensor, "new_empty", dirty)
    for rows in (2, 5, 12):
        found = ps.generate(llama, prompts, max_new_tokens=40, seed=3, batch_size=rows)
        assert [one.response_ids for one in found] == [one.response_ids for one in expected]
        assert not any(one.error for one in found)
    assert taken
