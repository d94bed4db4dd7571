"""The engine's laws, on every architecture of the zoo."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from zoo import VOCABULARY

import personascope as ps
from personascope.engine.choose import Sampling
from personascope.engine.forward import Passage, activations_of, projections_of
from personascope.engine.generate import run_requests
from personascope.engine.logits import logits_of
from personascope.engine.rows import Generation, Request
from personascope.engine.stream import RowStream
from personascope.subject import Subject

PROMPTS = [
    "Who are you?",
    "a",
    "Tell me, in some more words than the window holds, about the sea.",
    "Why is it so?",
    "no",
]
SEEDS = list(range(100, 100 + len(PROMPTS)))


def direction(subject: Subject, layer: int, name: str = "x", seed: int = 1, norm: float = 3.0) -> ps.Direction:
    vector = torch.randn(subject.hidden_size, generator=torch.Generator().manual_seed(seed + layer))
    return ps.Direction(vector * norm / vector.norm(), layer, name)


def close(actual: torch.Tensor, expected: torch.Tensor) -> bool:
    """Within 1e-5 of the largest magnitude, as the first law says."""
    return bool((actual - expected).abs().max() <= 1e-5 * max(1.0, float(expected.abs().max())))


def distributions(generation: ps.engine.Generation) -> torch.Tensor:
    """[response, vocabulary]: the log-probabilities each token was chosen from."""
    rows = torch.full((len(generation.logprobs), VOCABULARY), float("nan"))
    for row, token in enumerate(generation.logprobs):
        for token_id, value in token.top:
            rows[row, token_id] = value
    return rows


def hugging_face_logits(subject: Subject, ids: list[int]) -> torch.Tensor:
    with torch.inference_mode():
        return subject.model(input_ids=torch.tensor([ids], device=subject.input_device)).logits[0].cpu()


def test_law_1_without_writes_logits_equal_hugging_faces(zoo_subject: Subject) -> None:
    passages = [Passage(zoo_subject.chat.prompt(prompt)) for prompt in PROMPTS]
    for passage, ours in zip(passages, logits_of(zoo_subject, passages, "all"), strict=True):
        assert close(ours, hugging_face_logits(zoo_subject, list(passage.ids)))
    for out in ps.generate(zoo_subject, PROMPTS, max_new_tokens=14, seed=SEEDS, logprobs=VOCABULARY):
        expected = hugging_face_logits(zoo_subject, out.token_ids)[out.prompt_length - 1 : -1].log_softmax(-1)
        assert close(distributions(out), expected)


def test_law_2_a_row_alone_equals_the_row_in_any_batch(zoo_subject: Subject) -> None:
    settings = {"max_new_tokens": 16, "logprobs": VOCABULARY}
    alone = [ps.generate(zoo_subject, [p], seed=[s], **settings)[0] for p, s in zip(PROMPTS, SEEDS, strict=True)]
    for order in ([0, 1, 2, 3, 4], [4, 2, 0, 3, 1]):
        for batch_size in (None, 2):
            together = ps.generate(
                zoo_subject,
                [PROMPTS[i] for i in order],
                seed=[SEEDS[i] for i in order],
                batch_size=batch_size,
                **settings,
            )
            for index, out in zip(order, together, strict=True):
                assert out.response_ids == alone[index].response_ids
                assert close(distributions(out), distributions(alone[index]))


@pytest.mark.parametrize("tokens", ["all", "sampling", "response[1:4]", "prompt[-1]"])
def test_law_2_rows_that_begin_alike_are_begun_once_and_equal_those_alone(zoo_subject: Subject, tokens: str) -> None:
    """Two prompts, with a write to all of a row in three strengths, or with one that begins at the last token."""
    prompts = [PROMPTS[0], PROMPTS[2], PROMPTS[0], PROMPTS[0], PROMPTS[2], PROMPTS[0]]
    vector, watch = direction(zoo_subject, 1), [direction(zoo_subject, 2)]
    writes = {alpha: ps.add(vector, alpha, tokens=tokens) for alpha in (0.5, -0.5)}
    rows = [
        Request(
            zoo_subject.chat.prompt(prompt),
            seed,
            9,
            Sampling(1.0),
            writes=(writes[0.5 if seed % 2 else -0.5],) if seed else (),
            watch=tuple(watch),
            logprobs=VOCABULARY,
            reads=True,
        )
        for seed, prompt in enumerate(prompts)
    ]
    means = ["prompt", "response"]
    # The norms that sinks are told by are measured once.
    run_requests(zoo_subject, rows[:1], means=means)
    begun: list[int] = []
    handle = zoo_subject.model.get_input_embeddings().register_forward_pre_hook(
        lambda _, inputs: begun.append(len(inputs[0]) if inputs[0].shape[1] > 1 else 0)
    )
    try:
        together = run_requests(zoo_subject, rows, means=means)
    finally:
        handle.remove()
    if zoo_subject.cache == "slots":
        assert sum(begun) == (2 if tokens != "all" else len({(prompts[n], bool(n), n % 2) for n in range(len(rows))}))
    for row, out in zip(rows, together, strict=True):
        (alone,) = run_requests(zoo_subject, [row], means=means)
        assert out.response_ids == alone.response_ids
        assert close(distributions(out), distributions(alone))
        assert out.means is not None and alone.means is not None and close(out.means, alone.means)
        for name, values in alone.projections.items():
            assert close(torch.tensor(out.projections[name]), torch.tensor(values))


@pytest.mark.parametrize(
    "tokens",
    ["all", "prompt", "response", "response[2:5]", "sampling", "sampling[:3]", "turn[0][-4:] + sampling[1::2]"],
)
def test_law_3_a_cache_changes_nothing_whatever_is_written(zoo_subject: Subject, tokens: str) -> None:
    writes = [
        ps.add(direction(zoo_subject, 1), 0.7, tokens=tokens),
        ps.cap(direction(zoo_subject, 2, "y"), floor=0.5, ceiling=1.5, tokens=tokens),
        ps.ablate(direction(zoo_subject, 2, "z"), tokens=tokens),
    ]
    prompts = PROMPTS[:3]
    for prompt, out in zip(
        prompts,
        ps.generate(
            zoo_subject, prompts, steer=writes, max_new_tokens=7, seed=SEEDS[:3], logprobs=VOCABULARY, suppress_eos=True
        ),
        strict=True,
    ):
        start = zoo_subject.chat.prompt(prompt)
        for count, cached in enumerate(distributions(out)):
            passage = Passage(start, tuple(out.response_ids[:count]), tuple(writes), is_open=True)
            scratch = logits_of(zoo_subject, [passage], "all")[0][-1].log_softmax(-1)
            assert close(cached, scratch)


def test_law_4_writes_do_exactly_what_they_say(zoo_subject: Subject) -> None:
    passage = Passage(zoo_subject.chat.prompt(PROMPTS[2]), tuple(range(10, 30)))
    selected = torch.zeros(len(passage), dtype=torch.bool)
    selected[len(passage.prompt) - 1 : len(passage.prompt) + 4] = True
    v = direction(zoo_subject, 2)

    def stream(*writes: ps.engine.Write) -> torch.Tensor:
        steered = Passage(passage.prompt, passage.response, writes)
        return activations_of(zoo_subject, [steered], [2], "all", "after")[0][:, 0]

    plain = stream()
    added = stream(ps.add(v, 0.3, tokens="sampling[:5]"))
    assert torch.equal(added[selected], plain[selected] + 0.3 * v.vector)
    assert torch.equal(added[~selected], plain[~selected])
    undone = stream(ps.add(v, 0.3), ps.add(v, -0.3))
    ulp = torch.finfo(torch.float32).eps * torch.maximum(plain.abs(), (plain + 0.3 * v.vector).abs())
    assert bool(((undone - plain).abs() <= 4 * ulp).all())
    ablated = stream(ps.ablate(v, tokens="all"))
    assert bool(((ablated @ v.unit()).abs() <= 1e-5 * ablated.norm(dim=1)).all())
    along = plain @ v.unit()
    low, high = along.quantile(0.25).item(), along.quantile(0.75).item()
    capped = stream(ps.cap(v, floor=low, ceiling=high, tokens="all"))
    slack = 1e-5 * capped.norm(dim=1)
    assert bool((capped @ v.unit() >= low - slack).all())
    assert bool((capped @ v.unit() <= high + slack).all())
    inside = (along > low) & (along < high)
    assert torch.equal(capped[inside], plain[inside])
    replaced = stream(ps.replace(v, 1.25, tokens="all"))
    assert bool(((replaced @ v.unit() - 1.25).abs() <= 1e-5 * replaced.norm(dim=1)).all())


def test_law_5_reading_while_generating_equals_reading_afterwards(zoo_subject: Subject) -> None:
    watch = [direction(zoo_subject, layer, name) for layer in range(zoo_subject.n_layers) for name in ("x", "y")]
    writes = [ps.add(direction(zoo_subject, 1), 0.5), ps.ablate(direction(zoo_subject, 2, "y"), tokens="response[3:]")]
    outs = ps.generate(zoo_subject, PROMPTS, steer=writes, watch=watch, max_new_tokens=11, seed=SEEDS)
    passages = [
        Passage(zoo_subject.chat.prompt(prompt), tuple(out.response_ids), tuple(writes))
        for prompt, out in zip(PROMPTS, outs, strict=True)
    ]
    for out, after in zip(outs, projections_of(zoo_subject, passages, watch), strict=True):
        for key, values in out.projections.items():
            assert len(values) == len(out.token_ids) == len(out.tokens)
            assert close(torch.tensor(values), torch.tensor(after.projections[key]))
        for layer, norms in out.norms.items():
            assert close(torch.tensor(norms), torch.tensor(after.norms[layer]))


def test_law_6_an_interrupted_pass_leaves_the_model_as_it_was(
    zoo_subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = hooks(zoo_subject)
    expected = ps.generate(zoo_subject, PROMPTS, max_new_tokens=5, seed=SEEDS)
    ps.activations(zoo_subject, PROMPTS, layers=[1])
    calls = 0

    def interrupt(*_: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr("personascope.engine.edits.Edit.apply", interrupt)
    monkeypatch.setattr("personascope.engine.tables.Table.apply", interrupt)
    with pytest.raises(KeyboardInterrupt):
        ps.generate(zoo_subject, PROMPTS, steer=[ps.add(direction(zoo_subject, 1), 1.0)], max_new_tokens=9)
    monkeypatch.undo()
    assert hooks(zoo_subject) == before
    again = ps.generate(zoo_subject, PROMPTS, max_new_tokens=5, seed=SEEDS)
    assert [out.token_ids for out in again] == [out.token_ids for out in expected]


def hooks(subject: Subject) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in subject.model.modules())


def test_law_6_a_row_that_goes_non_finite_fails_alone(zoo_subject: Subject) -> None:
    huge = direction(zoo_subject, 1, norm=1.0) * 3e38
    steer = [[], [ps.add(huge, 10.0, tokens="sampling[3:]")], []]
    watch = [direction(zoo_subject, 2)]
    outs = ps.generate(
        zoo_subject,
        PROMPTS[:3],
        steer=steer,
        watch=watch,
        max_new_tokens=8,
        seed=SEEDS[:3],
        suppress_eos=True,
        logprobs=1,
    )
    alone = ps.generate(
        zoo_subject,
        [PROMPTS[0], PROMPTS[2]],
        watch=watch,
        max_new_tokens=8,
        seed=[SEEDS[0], SEEDS[2]],
        suppress_eos=True,
    )
    assert [outs[0].token_ids, outs[2].token_ids] == [out.token_ids for out in alone]
    assert outs[1].finish == "non-finite"
    assert "layer" in (outs[1].error or "")
    assert len(outs[1].response_ids) == len(outs[1].logprobs) == 2
    assert len(outs[1].projections["x@2"]) == len(outs[1].token_ids)
    assert all(bool(torch.isfinite(torch.tensor(values)).all()) for values in outs[1].projections.values())


def test_law_7_temperature_0_equals_hugging_face_greedy(zoo_subject: Subject) -> None:
    for prompt, out in zip(PROMPTS, ps.generate(zoo_subject, PROMPTS, temperature=0, max_new_tokens=12), strict=True):
        ids = torch.tensor([zoo_subject.chat.prompt(prompt).ids], device=zoo_subject.input_device)
        ends = sorted(zoo_subject.end_ids)
        with torch.inference_mode():
            greedy = zoo_subject.model.generate(
                ids, max_new_tokens=12, do_sample=False, eos_token_id=ends, pad_token_id=0
            )
        assert out.response_ids == greedy[0, ids.shape[1] :].tolist()


def test_law_8_steering_a_layer_leaves_the_layers_up_to_it_alone(zoo_subject: Subject) -> None:
    layer = 2
    watch = [direction(zoo_subject, other, "w") for other in range(zoo_subject.n_layers)]
    steer = [ps.add(direction(zoo_subject, layer), 2.0, tokens="sampling[:5]")]
    outs = ps.generate(zoo_subject, PROMPTS, steer=steer, watch=watch, max_new_tokens=12, seed=SEEDS, suppress_eos=True)
    clean = [Passage(zoo_subject.chat.prompt(p), tuple(out.response_ids)) for p, out in zip(PROMPTS, outs, strict=True)]
    for out, natural in zip(outs, projections_of(zoo_subject, clean, watch), strict=True):
        later = slice(out.prompt_length + 5, None)
        for other in range(zoo_subject.n_layers):
            carried, fresh = (
                torch.tensor(values[f"w@{other}"])[later] for values in (out.projections, natural.projections)
            )
            assert close(carried, fresh) == (other <= layer)


@given(
    st.lists(
        st.tuples(st.text("ab ?", min_size=1, max_size=40), st.integers(0, 9), st.integers(1, 12)),
        min_size=2,
        max_size=6,
    )
)
def test_rows_that_come_and_go_are_the_rows_they_are_alone(subject: Subject, rows: list[tuple[str, int, int]]) -> None:
    from personascope.engine.rows import Request

    requests = [Request(subject.chat.prompt(text), seed, length, suppress_eos=True) for text, seed, length in rows]
    stream = ps.engine.RowStream(subject, max_rows=3)
    place, got = {}, {}
    for request in requests:
        place[stream.submit(request)] = request
        for event in stream.step():
            if event.generation is not None:
                got[event.row] = event.generation
    while len(stream):
        for event in stream.step():
            if event.generation is not None:
                got[event.row] = event.generation
    for number, request in place.items():
        alone = ps.generate(
            subject,
            [request_text(request)],
            max_new_tokens=request.max_new_tokens,
            seed=[request.seed],
            suppress_eos=True,
            chat=True,
        )
        assert got[number].response_ids == alone[0].response_ids


def request_text(request: ps.engine.Request) -> str:
    return request.prompt.text.split("user\n", 1)[1].split("<|end|>", 1)[0]


def test_rows_that_join_and_end_at_once_leave_no_plan_behind(subject: Subject) -> None:
    """As many live rows after a pass as before it, and they are others: what they write and read is planned anew."""
    direction = ps.Direction(torch.randn(subject.hidden_size, generator=torch.Generator().manual_seed(0)), 1, "up")
    prompts = [subject.chat.prompt(text) for text in ("Hello there", "Tell me a thing about it", "What now?")]
    push = ps.add(direction, 30.0)
    first = Request(prompts[0], 1, 8, suppress_eos=True, reads=True, watch=(direction,))
    late = Request(prompts[1], 2, 8, suppress_eos=True, reads=True, watch=(direction,), writes=(push,))
    brief = Request(prompts[2], 3, 1, suppress_eos=True)

    def ended(stream: RowStream, steps: int | None = None) -> dict[int, Generation]:
        found = {}
        while len(stream) and steps != 0:
            found |= {event.row: event.generation for event in stream.step() if event.generation}
            steps = None if steps is None else steps - 1
        return found

    together = RowStream(subject, 8, means=["response"])
    together.submit(first)
    ended(together, 3)
    together.submit(late)
    together.submit(brief)
    found = ended(together)
    for row, request in enumerate((first, late)):
        alone = RowStream(subject, 8, means=["response"])
        alone.submit(request)
        (expected,) = ended(alone).values()
        assert found[row].response_ids == expected.response_ids
        assert torch.allclose(found[row].means, expected.means, rtol=1e-4, atol=1e-4)
        assert np.allclose(found[row].projections["up@1"], expected.projections["up@1"], rtol=1e-3, atol=1e-3)
