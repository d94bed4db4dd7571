"""The rank-sum test against scipy's exact one, and against all exchanges where there are ties."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu, rankdata

from personascope.statistics import holm, rank_sum_test


@given(st.permutations(range(11)), st.integers(1, 10))
def test_without_ties_it_is_the_exact_mann_whitney_test(values, size):
    one, other = np.array(values[:size], dtype=float), np.array(values[size:], dtype=float)
    assert rank_sum_test(one, other) == pytest.approx(mannwhitneyu(one, other, method="exact").pvalue, abs=1e-12)


@given(st.lists(st.integers(0, 3), min_size=4, max_size=9), st.data())
def test_with_ties_it_counts_every_exchange(values, data):
    size = data.draw(st.integers(1, len(values) - 1))
    ranks = rankdata(values)
    sums = np.array([sum(ranks[list(chosen)]) for chosen in combinations(range(len(values)), size)])
    middle = ranks.sum() * size / len(values)
    expected = np.mean(np.abs(sums - middle) >= abs(ranks[:size].sum() - middle) - 1e-9)
    found = rank_sum_test(np.array(values[:size], dtype=float), np.array(values[size:], dtype=float))
    assert found == pytest.approx(expected, abs=1e-12)


def test_twelve_against_twelve_prompts_cannot_be_smaller_than_one_in_all_exchanges():
    assert rank_sum_test(np.arange(12.0) + 100, np.arange(12.0)) == pytest.approx(2 / 2_704_156)


def test_large_samples_agree_with_the_exact_count():
    draw = np.random.default_rng(0)
    one, other = draw.normal(0.5, 1, 60), draw.normal(0, 1, 60)
    approximate = mannwhitneyu(one, other, method="asymptotic").pvalue
    assert rank_sum_test(one, other) == pytest.approx(approximate, rel=0.1)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_rejects_as_the_stepwise_rule_does(values):
    adjusted = holm(values)
    for level in (0.01, 0.05, 0.3):
        rejected, order = set(), np.argsort(values, kind="stable")
        for step, index in enumerate(order):
            if values[index] * (len(values) - step) > level:
                break
            rejected.add(int(index))
        assert {i for i, p in enumerate(adjusted) if p <= level} == rejected
