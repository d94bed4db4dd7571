"""No other way to cut rows into groups costs less than ours."""

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personascope.engine.batches import batches, cuts

LENGTHS = st.lists(st.integers(1, 300), min_size=1, max_size=8)


def cost(lengths: list[int], cut: list[slice], each: float, size: float, rows: int) -> float:
    """Infinite where a group is larger than it may be."""
    total = 0.0
    for part in cut:
        group = lengths[part]
        padded = len(group) * max(group)
        total += each + padded if len(group) <= rows and (padded <= size or len(group) == 1) else float("inf")
    return total


@given(LENGTHS, st.floats(0, 500), st.integers(1, 2_000) | st.just(float("inf")), st.integers(1, 9))
def test_no_other_cut_costs_less(lengths: list[int], each: float, size: float, rows: int) -> None:
    found = cuts(lengths, each, size, rows)
    assert [row for part in found for row in range(part.start, part.stop)] == list(range(len(lengths)))
    every = (bounds for count in range(len(lengths)) for bounds in combinations(range(1, len(lengths)), count))
    others = ([slice(a, b) for a, b in zip((0, *bounds), (*bounds, len(lengths)), strict=True)] for bounds in every)
    least = min(cost(lengths, other, each, size, rows) for other in others)
    assert cost(lengths, found, each, size, rows) == pytest.approx(least)


@given(st.lists(st.integers(1, 80), max_size=200), st.integers(1, 400), st.none() | st.integers(1, 20))
def test_every_text_runs_once_in_a_pass_that_it_fits(lengths: list[int], tokens: int, rows: int | None) -> None:
    groups = batches(lengths, tokens, rows)
    assert sorted(index for group in groups for index in group) == list(range(len(lengths)))
    for group in groups:
        assert len(group) == 1 or len(group) * max(lengths[index] for index in group) <= tokens
        assert rows is None or len(group) <= rows


def test_another_pass_is_had_only_for_what_it_saves() -> None:
    few, short = [100] * 3 + [99], [100] * 3 + [60] * 30
    assert [len(group) for group in batches(few, 2_000)] == [4]
    assert [len(group) for group in batches(short, 14_000)] == [33]
    assert [len(group) for group in batches(short, 4_000)] == [3, 30]
