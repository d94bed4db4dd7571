"""Rows in slots see their own keys and values and nothing else, however they come, move and go."""

from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from zoo import VOCABULARY, tiny_subject

import personascope as ps
from personascope.engine import recorder, slots
from personascope.engine.generate import run_requests
from personascope.engine.rows import Generation, Request
from personascope.engine.slots import _runs
from personascope.engine.stream import RowStream
from personascope.subject import Prompt, Subject

# What happens before the next step: a row of so many tokens joins, is to give so many more, and goes bad or does not; or one
# is cancelled.
JOINING = st.tuples(
    st.sampled_from([1, 3, 3, 9, 30, 45, 60, 110]), st.sampled_from([2, 2, 6, 30, 70]), st.sampled_from([0, 0, 0, 1, 2])
)
DEEDS = st.lists(st.none() | JOINING | JOINING | st.integers(0, 8), min_size=1, max_size=25)
SUBJECTS = {name: tiny_subject(name) for name in ("llama", "gemma2")}


def request(subject: Subject, number: int, prompt: int, new: int, bad_at: int) -> Request:
    bad = ps.Direction(torch.full((subject.hidden_size,), 1e38), 1, "bad")
    writes = (ps.add(bad, 1e3, tokens=f"response[{10 * bad_at}:]"),) if bad_at else ()
    ids = tuple(5 + (7 * place + number) % 200 for place in range(prompt))
    return Request(Prompt(ids, (), ""), number, new, writes=writes, suppress_eos=True, logprobs=VOCABULARY)


@given(DEEDS, st.integers(1, 4), st.sampled_from(list(SUBJECTS)), st.booleans(), st.sampled_from([16, 64, 256]))
@example([(3, 30, 0), (3, 2, 0), None, None, (45, 6, 0)], 2, "llama", False, 256)
@example([(9, 70, 0), (60, 70, 1), *[None] * 16, (3, 70, 0)], 2, "llama", True, 16)
@settings(max_examples=60)
def test_what_memory_held_before_reaches_no_row(
    deeds: list[Any], places: int, name: str, replays: bool, columns: int
) -> None:
    subject = SUBJECTS[name]
    real = torch.Tensor.new_empty

    def dirty(self: torch.Tensor, *shape: Any, **options: Any) -> torch.Tensor:
        return real(self, *shape, **options).fill_(float("nan"))

    asked: list[Request] = []
    done: dict[int, Generation] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.Tensor, "new_empty", dirty)
        patch.setattr(subject, "replays", replays)
        # Rows are moved often.
        patch.setattr(recorder, "_COLUMNS", columns)
        patch.setattr(slots, "_LEAST_WON", 4)
        stream = RowStream(subject, max_rows=places)
        for deed in [*deeds, *[None] * 300]:
            if isinstance(deed, tuple):
                asked.append(request(subject, len(asked), *deed))
                stream.submit(asked[-1])
            elif isinstance(deed, int) and deed < len(asked):
                stream.cancel(deed)
            done |= {event.row: event.generation for event in stream.step() if event.generation is not None}
            if not len(stream) and deed is None and len(done) == len(asked):
                break
    for number, one in enumerate(asked):
        (alone,) = run_requests(subject, [one])
        found = done[number]
        assert found.finish == alone.finish or found.finish == "cancelled"
        assert found.response_ids == alone.response_ids[: len(found.response_ids)]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 3)), min_size=1, max_size=9), st.integers(0, 4))
def test_every_row_gets_what_is_its_own(rows: list[tuple[int, int]], first: int) -> None:
    places, lengths = zip(*rows, strict=True)
    held: dict[int, tuple[int, int]] = {}
    for taken, source, length in _runs(places, lengths, first):
        count, given = taken.stop - taken.start, source.stop - source.start
        assert count == given or given == 1
        for number, slot in enumerate(range(taken.start, taken.stop)):
            held[slot] = source.start + (number if given > 1 else 0), length
    assert held == {first + number: row for number, row in enumerate(rows)}
