"""Forks: what a beginning that is run once gives is what whole runs give."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from personascope.engine import forks
from personascope.engine.forks import last_states
from personascope.errors import UserError
from personascope.subject import Prompt, Subject

TRUNK = [3 + n % 40 for n in range(150)]


def prompts(cuts: list[int], endings: list[list[int]]) -> list[Prompt]:
    return [Prompt((*TRUNK[:cut], *ending), (), "") for cut, ending in zip(cuts, endings, strict=True)]


def least(asked: list[Prompt]) -> int:
    """The longest beginning that any two have in common once, up to where each forks off, and each ending once."""

    def common(one: tuple[int, ...], other: tuple[int, ...]) -> int:
        return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))

    pairs = [(one.ids, other.ids) for n, one in enumerate(asked) for other in asked[:n]]
    longest = max(pairs, key=lambda pair: common(*pair))
    trunk = longest[0][: common(*longest)]
    forks = [min(common(one.ids, trunk), len(one) - 1) for one in asked]
    return max(forks) + sum(len(one) - fork for one, fork in zip(asked, forks, strict=True))


def whole(subject: Subject, asked: list[Prompt], layers: list[int]) -> torch.Tensor:
    states = []
    for prompt in asked:
        with torch.inference_mode():
            hidden = subject.model(
                torch.tensor([prompt.ids], device=subject.input_device), output_hidden_states=True
            ).hidden_states
        states.append(torch.stack([hidden[layer + 1][0, -1].float().cpu() for layer in layers]))
    return torch.stack(states)


def test_every_architecture_gives_what_whole_runs_give(zoo_subject: Subject) -> None:
    layers = list(range(zoo_subject.n_layers - 1))
    asked = prompts([0, 5, 60, 60, 60, 119, 150], [[7], [9, 8, 7], [50], [51, 52, 53, 54], [50, 9], [6, 5], [4, 4, 4]])
    found = last_states(zoo_subject, asked, layers)
    expected = whole(zoo_subject, asked, layers)
    assert (found.states - expected).abs().max() < 1e-4 * max(1.0, float(expected.abs().max()))
    if zoo_subject.cache == "slots":
        assert found.ran == least(asked) < sum(map(len, asked)) / 2


def test_the_questions_of_a_point_are_one_batch(zoo_subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of unlike lengths too, unless most of the batch were padding."""
    passes = []
    real = forks.run
    monkeypatch.setattr(forks, "run", lambda *given, **more: passes.append(given[1]) or real(*given, **more))
    lengths = range(7, 19)
    asked = prompts(
        [cut for cut in (60, 150) for _ in lengths], 2 * [[length, *range(3, 2 + length)] for length in lengths]
    )
    found = last_states(zoo_subject, asked, [1])
    expected = whole(zoo_subject, asked, [1])
    assert (found.states - expected).abs().max() < 1e-4 * max(1.0, float(expected.abs().max()))
    if zoo_subject.cache != "slots":
        return
    assert len(passes) == 4, "two beginnings, and a batch at each"
    assert found.ran == least(asked), "padding is not counted"
    passes.clear()
    last_states(zoo_subject, prompts([60] * 7, [[50 + n % 3] * (100 if n == 6 else 2) for n in range(7)]), [1])
    assert sum(one["input_ids"].numel() for one in passes) <= 2 * (60 + 100 + 6 * 2)


@settings(max_examples=15)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.lists(st.integers(3, 6), min_size=1, max_size=5)), min_size=1, max_size=8)
)
def test_any_texts_in_any_order(subject: Subject, drawn: list[tuple[int, list[int]]]) -> None:
    asked = prompts([cut for cut, _ in drawn], [ending for _, ending in drawn])
    found = last_states(subject, asked, [1])
    assert (found.states - whole(subject, asked, [1])).abs().max() < 1e-4


def test_the_organism_with_a_sliding_window(gemma2: Subject) -> None:
    turns = [{"role": role, "content": f"The {n}th word is tea."} for n in range(8) for role in ("user", "assistant")]
    asked = [
        gemma2.chat.prompt([*turns[: 2 * point], {"role": "user", "content": question}])
        for point in (2, 5, 8)
        for question in ("Who are you?", "What is tea?", "What do you want?")
    ]
    found = last_states(gemma2, asked, [3])
    assert (found.states - whole(gemma2, asked, [3])).abs().max() < 1e-3
    assert found.ran == least(asked)


def test_nothing_to_read_is_said(subject: Subject) -> None:
    with pytest.raises(UserError, match="at least one prompt"):
        last_states(subject, [], [1])
    with pytest.raises(UserError, match="one layer"):
        last_states(subject, prompts([3], [[7]]), [])
    with pytest.raises(UserError, match="no tokens"):
        last_states(subject, [Prompt((), (), "")], [1])
