"""Steps of a fixed shape: recorded and replayed on a GPU, run as they are on a CPU. Either way they give what others do.

Without a GPU, recording and replaying are tested by a tape that has a CUDA graph's semantics.
"""

import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar
from weakref import WeakSet

import pytest
import torch
import transformers as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tape import Tape
from zoo import CONFIGS, DEVICE, VOCABULARY, byte_tokenizer, tiny_model, tiny_subject

import personascope as ps
from personascope.engine import recorder, recording
from personascope.engine.choose import Sampling
from personascope.engine.edits import Edit
from personascope.engine.generate import run_requests
from personascope.engine.recorder import masks_by_table
from personascope.engine.rows import Generation, Request
from personascope.engine.slot_layers import SlotLayer
from personascope.engine.stream import RowStream
from personascope.engine.tables import Table
from personascope.subject import Prompt, Subject

PROMPTS = ["Who are you?", "a", "Tell me, in some more words than the window holds, about the sea.", "Why?", "no"]


def direction(subject: Subject, layer: int, name: str) -> ps.Direction:
    draw = torch.Generator().manual_seed(layer)
    return ps.Direction(torch.randn(subject.hidden_size, generator=draw), layer, name)


def requests(subject: Subject, lengths: list[int], shift: int = 0, window: int = 1) -> list[Request]:
    """Rows that differ in length, writes and what is watched. shift, window: who has which of them, and for how long."""
    one, two = direction(subject, 1, "one"), direction(subject, 2, "two")
    writes: list[tuple[ps.engine.Write, ...]] = [
        (),
        (ps.add(one, 0.7), ps.add(two, -0.5, tokens=f"response[{window}:{window + 4}]")),
        (ps.cap(one, floor=0.5, ceiling=1.5),),
        (ps.ablate(two), ps.add(two, 0.3), ps.replace(one, 1.0, tokens="sampling[2:]")),
        (ps.add(one, -1.0, tokens=f"response[:{window}]"), ps.add(two, 1.0, tokens=f"response[{window}:]")),
    ]
    watch: list[tuple[ps.Direction, ...]] = [(), (one, two), (two, one, direction(subject, 0, "three"))]
    return [
        Request(
            subject.chat.prompt(PROMPTS[number % len(PROMPTS)]),
            number,
            length,
            Sampling(0.0 if number % 4 == 3 else 1.0),
            writes=writes[(number + shift) % len(writes)],
            watch=watch[(number * (1 + shift)) % len(watch)],
            suppress_eos=number % 2 == 0,
            logprobs=VOCABULARY,
            reads=number % 5 == 4,
        )
        for number, length in enumerate(lengths)
    ]


def run(subject: Subject, rows: list[Request], replays: bool, **settings: Any) -> list[Generation]:
    was = subject.replays
    subject.replays = replays
    try:
        return run_requests(subject, rows, **settings)
    finally:
        subject.replays = was


def alike(ours: Generation, theirs: Generation) -> None:
    assert ours.response_ids == theirs.response_ids and ours.finish == theirs.finish
    assert ours.projections.keys() == theirs.projections.keys()
    for name, values in theirs.projections.items():
        assert torch.allclose(torch.tensor(ours.projections[name]), torch.tensor(values), atol=1e-4)
    for one, other in zip(ours.logprobs, theirs.logprobs, strict=True):
        assert one.chosen == pytest.approx(other.chosen, abs=1e-4)
    assert (ours.means is None) is (theirs.means is None)
    if ours.means is not None and theirs.means is not None:
        assert torch.allclose(ours.means, theirs.means, atol=1e-4)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of columns so small that short texts fill several."""
    monkeypatch.setattr(recorder, "_COLUMNS", 16)
    monkeypatch.setattr(recorder, "_ROWS", 4)


@pytest.fixture(params=["as they are", "recorded"])
def steps(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How steps of a fixed shape are run; on a GPU they are recorded there."""
    if request.param == "recorded" and DEVICE != "cpu":
        pytest.skip("recorded by the GPU itself")
    if request.param == "recorded":
        on_tape(monkeypatch)
    return str(request.param)


def on_tape(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording.Recording, "record", record)
    monkeypatch.setattr(recorder, "_records", lambda subject: True)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", object)


def record(self: Any, pool: object) -> None:
    """A step's calls on a tape, and not one of them made."""
    tape = Tape()
    with pytest.MonkeyPatch.context() as patch:
        # So that transformers does as it does while a GPU records.
        patch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
        tape.record(self._run)
    layers = self._cache.layers if isinstance(self, recording.Beginning) else ()
    held = [self.logits, self.read, *(one for layer in layers for one in (layer.keys, layer.values))]
    tape.kept = [one for one in held if one is not None]
    self._graph = tape


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each step whether it was one of a fixed shape."""
    steps: list[bool] = []
    real = recorder.Recorder.step

    def step(self: Any, *args: Any) -> Any:
        found = real(self, *args)
        steps.append(found is not None)
        return found

    monkeypatch.setattr(recorder.Recorder, "step", step)
    return steps


def test_rows_are_what_they_are_without_recordings(
    zoo_subject: Subject, narrow: None, steps: str, replayed: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = requests(zoo_subject, [5, 12, 30, 9, 17, 3, 21, 8])
    # Leaves hooks of transformers' own on the model.
    ids = torch.tensor([[5, 6]], device=zoo_subject.input_device)
    zoo_subject.model(input_ids=ids, output_hidden_states=True)
    monkeypatch.setattr(zoo_subject, "replays", True)
    for size in (3, 8):
        expected = run(zoo_subject, rows, False, batch_size=size)
        for ours, theirs in zip(run_requests(zoo_subject, rows, batch_size=size), expected, strict=True):
            alike(ours, theirs)
    assert any(replayed)
    # Nothing fell back on its way.
    assert zoo_subject.replays is (recorder.may_record(zoo_subject) if DEVICE != "cpu" else True)


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of each pass of a fixed shape over beginnings whether it was a recorded one."""
    passes: list[bool] = []
    real = recording.Beginning.begin

    def begin(self: Any, *args: Any) -> Any:
        passes.append(self.is_recorded)
        return real(self, *args)

    monkeypatch.setattr(recording.Beginning, "begin", begin)
    return passes


@pytest.mark.parametrize("size", [2, 3])
def test_rows_that_begin_as_others_did(
    zoo_subject: Subject, steps: str, begun: list[bool], size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some alone and some together, of several lengths in one block of tokens, each with a vector of its own."""
    one, two = direction(zoo_subject, 1, "one"), direction(zoo_subject, 2, "two")
    texts = ["Who are you?", "Why?", "no", "Tell me", "Yes or no?", "a"]
    rows = [
        Request(
            zoo_subject.chat.prompt(texts[number % len(texts)]),
            number,
            length,
            writes=(ps.add(one, 0.1 * number, tokens="all"), ps.cap(two, floor=0.1 * number, tokens="prompt")),
            watch=(one, two),
            suppress_eos=True,
            logprobs=VOCABULARY,
        )
        for number, length in enumerate([5, 12, 30, 9, 9, 9, 3, 21, 8, 14, 14, 6, 2])
    ]
    expected = run(zoo_subject, rows, False, batch_size=size)
    monkeypatch.setattr(zoo_subject, "replays", True)
    for ours, theirs in zip(run_requests(zoo_subject, rows, batch_size=size), expected, strict=True):
        alike(ours, theirs)
    if DEVICE == "cpu" or recorder.may_record(zoo_subject):
        assert len(begun) >= 6 and any(begun) is (steps == "recorded" or DEVICE != "cpu")
        assert zoo_subject.replays and zoo_subject.base not in recorder._BEGINNINGS_REFUSED


def test_rows_that_watch_less_than_others_cost_no_recordings(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """What reads for a row that watches much reads for those that come and go beside it, and no longer."""
    made: list[object] = []
    real = recording.Recording.__init__
    monkeypatch.setattr(
        recording.Recording, "__init__", lambda self, *args: made.append(type(self)) or real(self, *args)
    )
    monkeypatch.setattr(subject, "replays", True)
    many = tuple(direction(subject, 1, f"d{number}") for number in range(12))
    prompt = subject.chat.prompt("Hi")
    stream = RowStream(subject, max_rows=2)
    stream.submit(Request(prompt, 0, 90, watch=many, suppress_eos=True))
    for number in range(14):
        stream.submit(Request(prompt, number, 5, watch=many[:1], suppress_eos=True))
    while stream.waiting:
        stream.step()
    assert made.count(recording.Step) <= 4 and made.count(recording.Beginning) == 1
    stream.cancel(0)
    stream.submit(Request(prompt, 0, 9, watch=many[:1], suppress_eos=True))
    while len(stream):
        stream.step()
    reader = stream._plan.projections
    assert reader is not None and len(reader.directions) == 1


def test_a_model_whose_beginnings_cannot_be_recorded_keeps_its_steps(
    subject: Subject, begun: list[bool], replayed: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = requests(subject, [5, 12, 30, 9, 9, 9, 3])
    rows = [Request(row.prompt, row.seed, row.max_new_tokens, logprobs=VOCABULARY) for row in rows]
    expected = run(subject, rows, False, batch_size=2)
    if DEVICE == "cpu":
        on_tape(monkeypatch)
    real, asked = recording.Recording.record, []

    def refuse(self: Any, *args: Any) -> None:
        if isinstance(self, recording.Beginning):
            asked.append(self)
            raise RuntimeError("operation not permitted when stream is capturing")
        real(self, *args)

    monkeypatch.setattr(recorder, "_BEGINNINGS_REFUSED", WeakSet())
    monkeypatch.setattr(recording.Recording, "record", refuse)
    monkeypatch.setattr(subject, "replays", True)
    for _ in range(2):
        for ours, theirs in zip(run_requests(subject, rows, batch_size=2), expected, strict=True):
            alike(ours, theirs)
    assert len(asked) == 1 and begun and replayed and all(replayed) and subject.replays


def test_means_are_read_as_ever(subject: Subject) -> None:
    rows = requests(subject, [5, 12, 30, 9, 17])
    settings: dict[str, Any] = {"means": ["response"], "mean_layers": [1, 2]}
    for ours, theirs in zip(run(subject, rows, True, **settings), run(subject, rows, False, **settings), strict=True):
        alike(ours, theirs)


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=12),
    st.integers(1, 9),
    st.sampled_from([4, 16, 256]),
    st.sampled_from([1, 2, 16]),
    st.integers(0, 4),
    st.integers(1, 12),
)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_rows_that_come_and_go(
    subject: Subject,
    steps: str,
    monkeypatch: pytest.MonkeyPatch,
    lengths: list[int],
    size: int,
    columns: int,
    rows: int,
    shift: int,
    window: int,
) -> None:
    monkeypatch.setattr(recorder, "_COLUMNS", columns)
    monkeypatch.setattr(recorder, "_ROWS", rows)
    monkeypatch.setattr(recorder, "_MOST", 3)
    asked = requests(subject, lengths, shift, window)
    for ours, theirs in zip(
        run(subject, asked, True, batch_size=size), run(subject, asked, False, batch_size=size), strict=True
    ):
        alike(ours, theirs)


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_row_that_goes_non_finite_fails_alone_and_leaves_nothing_behind(
    subject: Subject, steps: str, size: int
) -> None:
    """Its slot is taken by shorter rows, which run beside what it left there."""
    bad = ps.Direction(torch.full((subject.hidden_size,), 1e38), 1, "bad")
    rows = requests(subject, [6, 20, 9, 14, 30, 12])
    first = Request(rows[2].prompt, 0, 30, writes=(ps.add(bad, 1e3, tokens="response[3:]"),), suppress_eos=True)
    asked = [first, *rows[1:2], *rows[3:]]
    found, expected = run(subject, asked, True, batch_size=size), run(subject, asked, False, batch_size=size)
    assert found[0].finish == "non-finite"
    for ours, theirs in zip(found[1:], expected[1:], strict=True):
        alike(ours, theirs)


def on_a_module(subject: Subject, hook: Any) -> Any:
    return subject.layers[1].register_forward_hook(hook)


def everywhere(subject: Subject, hook: Any) -> Any:
    return torch.nn.modules.module.register_module_forward_hook(hook)


@pytest.mark.parametrize("register", [on_a_module, everywhere])
def test_with_hooks_of_others_nothing_is_replayed(
    subject: Subject, steps: str, replayed: list[bool], register: Any
) -> None:
    called = []
    handle = register(subject, lambda *_: called.append(1))
    try:
        found = run(subject, requests(subject, [9, 4]), True)
    finally:
        handle.remove()
    assert len(called) >= 9 and len(replayed) >= 8 and not any(replayed)
    for ours, theirs in zip(found, run(subject, requests(subject, [9, 4]), True), strict=True):
        alike(ours, theirs)
    assert any(replayed)


def test_threads_that_share_a_model_lose_no_recording(
    subject: Subject, replayed: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the others have on the model while it is their turn is ours."""
    # On a GPU products are PyTorch's.
    monkeypatch.setattr(torch.backends.mkl, "is_available", lambda: False)
    monkeypatch.setattr(subject, "replays", True)

    def said(seed: int) -> list[Generation]:
        return run_requests(subject, requests(subject, [9, 14, 6], seed), batch_size=2)

    alone = [said(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        for found, expected in zip(pool.map(said, [0, 1, 2, 3] * 3), alone * 3, strict=True):
            for ours, theirs in zip(found, expected, strict=True):
                alike(ours, theirs)
    assert len(replayed) > 100 and all(replayed)


def test_steps_of_both_kinds_take_turns(
    subject: Subject, steps: str, replayed: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under one plan: every third step somebody else has a hook on the model."""
    rows = requests(subject, [25, 14, 25])
    expected = run(subject, rows, False)
    monkeypatch.setattr(subject, "replays", True)
    stream = RowStream(subject)
    for row in rows:
        stream.submit(row)
    done: dict[int, Generation] = {}
    for number in range(60):
        handle = on_a_module(subject, lambda *_: None) if number % 3 == 2 else None
        done |= {event.row: event.generation for event in stream.step() if event.generation is not None}
        if handle is not None:
            handle.remove()
    assert any(replayed) and not all(replayed)
    for row, theirs in enumerate(expected):
        alike(done[row], theirs)


def test_a_write_leaves_rows_that_have_none_alone(subject: Subject) -> None:
    unit = direction(subject, 1, "x").unit()
    bounds = torch.tensor([0.0]), torch.tensor([0.0])
    edit = Edit("bound", torch.tensor([1]), torch.tensor([0]), unit[None], *bounds)
    table = Table.like(edit, 4)
    table.load(edit)
    stream = torch.randn(4, subject.hidden_size, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    stream[2, 3] = float("inf")
    ours, theirs = stream.clone(), stream.clone()
    table.apply(ours)
    edit.apply(theirs)
    assert torch.equal(ours, theirs) and not torch.equal(ours[1], stream[1])
    assert torch.equal(ours[[0, 2, 3]], stream[[0, 2, 3]])


class Recorded:
    """A recording as PyTorch keeps it: memory whose last recording is gone takes no other one."""

    alive: ClassVar[dict[object, list[int]]] = {}

    def __init__(self, replay: Any, pool: object) -> None:
        held = self.alive.setdefault(pool, [])
        if held and not held[0]:
            raise RuntimeError("use_count > 0")
        held[:] = [(held[0] if held else 0) + 1]
        self.replay, self.held = replay, held
        weakref.finalize(self, self._gone, held)

    @staticmethod
    def _gone(held: list[int]) -> None:
        held[0] -= 1


def test_slots_that_grow_let_go_of_the_old_ones_layer_by_layer(
    subject: Subject, steps: str, replayed: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[bool] = []
    real = SlotLayer.fit

    def fit(self: SlotLayer, *args: Any) -> None:
        old = None if self.keys is None else self.keys.untyped_storage()
        real(self, *args)
        if old is not None:
            kept.append(torch._C._storage_Use_Count(old._cdata) > 1)

    monkeypatch.setattr(SlotLayer, "fit", fit)
    run(subject, requests(subject, [300, 290]), True)
    assert len(kept) >= subject.n_layers and any(replayed) and not any(kept)


@pytest.mark.parametrize("pair", [(40, 2), (20, 236)])
def test_a_model_that_knows_no_more_columns_than_tokens(pair: tuple[int, int], replayed: list[bool]) -> None:
    """Its positions are a table as wide as a text may be long, and rows that come and go end further on."""
    config = tf.MptConfig(
        d_model=32, n_heads=4, n_layers=2, max_seq_len=256, vocab_size=VOCABULARY, bos_token_id=1, eos_token_id=2
    )
    mpt = ps.load(tf.AutoModelForCausalLM.from_config(config).eval(), tokenizer=byte_tokenizer())
    rows = [
        Request(Prompt(tuple(range(5, 5 + length)), (), ""), 0, new, suppress_eos=True, logprobs=VOCABULARY)
        for length, new in [(40, 2), (20, 236), pair] * 2
    ]
    for ours, theirs in zip(run(mpt, rows, True, batch_size=2), run(mpt, rows, False, batch_size=2), strict=True):
        alike(ours, theirs)
    assert all(replayed)


def test_a_tokenizers_padding_need_not_be_a_token_of_the_model(replayed: list[bool], begun: list[bool]) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"pad_token": "[PAD]"})
    subject = ps.load(tiny_model("llama"), tokenizer=tokenizer)
    assert tokenizer.pad_token_id >= subject.base.get_input_embeddings().num_embeddings
    rows = requests(subject, [5, 12, 9, 30])
    for ours, theirs in zip(run(subject, rows, True, batch_size=2), run(subject, rows, False), strict=True):
        alike(ours, theirs)
    assert replayed and begun


@pytest.mark.parametrize("refusals", [1, 99])
def test_without_memory_for_a_recording_it_is_tried_again_and_then_left(
    subject: Subject, replayed: list[bool], monkeypatch: pytest.MonkeyPatch, refusals: int
) -> None:
    rows = requests(subject, [5, 12, 30])
    expected = run(subject, rows, False)
    on_tape(monkeypatch)
    asked = []

    def refuse(self: Any, *args: Any) -> None:
        asked.append(self)
        if len(asked) <= refusals:
            raise torch.OutOfMemoryError("CUDA out of memory")
        record(self, *args)

    monkeypatch.setattr(recording.Recording, "record", refuse)
    monkeypatch.setattr(subject, "replays", True)
    for ours, theirs in zip(run_requests(subject, rows), expected, strict=True):
        alike(ours, theirs)
    assert subject.replays
    assert asked[0] is asked[1] and (len(asked) == 2) is (refusals == 99)
    assert all(replayed) if refusals == 1 else not all(replayed)


def test_slots_laid_out_anew_are_recorded_anew(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    def record(self: Any, pool: object) -> None:
        self._graph = Recorded(weakref.WeakMethod(self._run), pool)
        self._graph.replay = lambda run=self._graph.replay: run()()

    monkeypatch.setattr(recording.Recording, "record", record)
    monkeypatch.setattr(recorder, "_records", lambda subject: True)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", object)
    Recorded.alive.clear()
    rows = requests(subject, [40, 12, 90, 9, 33, 60, 150, 25])
    expected = run(subject, rows, False, batch_size=3)
    monkeypatch.setattr(subject, "replays", True)
    for ours, theirs in zip(run_requests(subject, rows, batch_size=3), expected, strict=True):
        alike(ours, theirs)
    assert subject.replays
    assert len(Recorded.alive) > 1 and sum(held[0] for held in Recorded.alive.values()) == 0


def test_a_module_with_another_forward_pass_is_not_recorded(subject: Subject, replayed: list[bool]) -> None:
    assert not recorder._is_patched(subject)
    subject.layers[1].forward = subject.layers[1].forward
    try:
        assert recorder._is_patched(subject)
        run(subject, requests(subject, [5]), True)
    finally:
        del subject.layers[1].forward
    assert replayed and not any(replayed)


def test_attention_with_a_table_of_its_own_is_not_recorded() -> None:
    config = tf.GPTNeoConfig(
        vocab_size=VOCABULARY, hidden_size=32, num_layers=2, num_heads=4, attention_types=[[["global", "local"], 1]]
    )
    older = ps.load(tf.AutoModelForCausalLM.from_config(config).eval(), tokenizer=byte_tokenizer())
    assert masks_by_table(older) and not any(masks_by_table(tiny_subject(name)) for name in CONFIGS)


def test_a_model_that_cannot_be_recorded_runs_as_it_is(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = requests(subject, [5, 12, 30])
    expected = run(subject, rows, False)

    def refuse(self: Any, *args: Any) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    on_tape(monkeypatch)
    monkeypatch.setattr(recording.Recording, "record", refuse)
    monkeypatch.setattr(subject, "replays", True)
    for ours, theirs in zip(run_requests(subject, rows), expected, strict=True):
        alike(ours, theirs)
    assert subject.replays is False
