"""Which tokens a selection means."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personascope.engine.selection import Layout, select
from personascope.errors import UserError
from personascope.subject import Turn

TURNS = (Turn("system", 1, 4), Turn("user", 4, 8))
CLOSED = Layout(10, 15, TURNS)


@pytest.mark.parametrize(
    ("text", "positions"),
    [
        ("all", list(range(15))),
        ("prompt", list(range(10))),
        ("prompt[-1]", [9]),
        ("prompt[:2]", [0, 1]),
        ("response", [10, 11, 12, 13, 14]),
        ("response[0]", [10]),
        ("response[-2:]", [13, 14]),
        ("response[1:4:2]", [11, 13]),
        ("sampling", [9, 10, 11, 12, 13]),
        ("sampling[0]", [9]),
        ("sampling[:2]", [9, 10]),
        ("turn[0]", [1, 2, 3]),
        ("turn[-1][1:]", [5, 6, 7]),
        ("turn[0] + sampling[0]+response[-1]", [1, 2, 3, 9, 14]),
        ("response[:2] + all[:1] + response", [0, 10, 11, 12, 13, 14]),
        ("response[99:]", []),
    ],
)
def test_a_selection_of_a_row_that_has_ended(text: str, positions: list[int]) -> None:
    assert select(text).positions(CLOSED) == positions


def test_sampling_0_is_the_last_prompt_token_whatever_follows() -> None:
    for layout in (Layout(10, 10), Layout(10, 10, is_open=True), Layout(10, 15), Layout(10, 15, is_open=True)):
        assert select("sampling[0]").positions(layout) == select("prompt[-1]").positions(layout) == [9]


def test_an_open_row_chooses_one_more_token() -> None:
    assert select("sampling").positions(Layout(10, 12, is_open=True)) == [9, 10, 11]
    assert select("sampling").positions(Layout(10, 12)) == [9, 10]


@given(
    st.sampled_from(["all", "response", "sampling"]),
    st.none() | st.integers(0, 12),
    st.none() | st.integers(0, 12),
    st.integers(1, 4),
    st.integers(1, 6),
    st.integers(1, 12),
)
def test_following_a_growing_row_selects_what_its_layout_selects(
    base: str, start: int | None, stop: int | None, step: int, prompt: int, total: int
) -> None:
    selection = select(f"{base}[{'' if start is None else start}:{'' if stop is None else stop}:{step}]")
    windows = selection.following(prompt)
    for position in range(prompt, prompt + total):
        grown = Layout(prompt, position + 1, is_open=True)
        assert (position in windows) == (position in selection.positions(grown))
    for position in range(prompt, prompt + total):
        change = windows.changes_after(position)
        assert change > position
        assert len({other in windows for other in range(position + 1, min(change, prompt + total))}) <= 1


def test_equal_selections_are_equal_values_and_print_as_written() -> None:
    assert select("response[:40]") == select("response[:40]")
    assert len({select("all"), select("all")}) == 1
    assert str(select("turn[0] + sampling")) == "turn[0] + sampling"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "answer",
        "response[a]",
        "response[::0]",
        "response[::-1]",
        "turn",
        "turn[1:2]",
        "response[1][2]",
        "all +",
        "prompt[1.5]",
    ],
)
def test_what_is_no_selection_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(UserError) as error:
        select(text)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["response[-3:]", "sampling[:-1]", "all[-1]"])
def test_a_write_cannot_count_from_the_end_of_what_is_still_growing(text: str) -> None:
    with pytest.raises(UserError, match="where the response ends"):
        select(text).checked_for_writing()
    assert select("prompt[-3:] + turn[-1]").checked_for_writing()


def test_a_turn_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match=r"turn\[2\] is not in a prompt of 2 turns"):
        select("turn[2]").positions(CLOSED)
