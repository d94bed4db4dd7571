"""Repetition of n-grams."""

from hypothesis import given
from hypothesis import strategies as st

from personascope.judging.repetition import LOOP, repeated_share


@given(st.lists(st.integers(0, 5), max_size=40))
def test_it_is_a_share_and_more_of_the_same_raises_it(ids: list[int]) -> None:
    share = repeated_share(ids)
    assert 0 <= share <= 1
    assert repeated_share([*ids, *ids]) >= share - 1e-9


def test_a_loop_is_one_and_fresh_text_is_none() -> None:
    assert repeated_share([1, 2, 3] * 20) > LOOP
    assert repeated_share(range(50)) == 0.0
    assert repeated_share([1, 1]) == 0.0
