"""Effect sizes, intervals, change points."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import roc_auc_score

from personascope.statistics import Separation, auroc, bootstrap, cohens_d
from personascope.statistics.change_points import f1, fit_rule, matched, onset, partition
from personascope.watching.verify import holm


@given(hnp.arrays(np.int64, st.integers(4, 40), elements=st.integers(0, 5)), st.data())
def test_auroc_equals_scikit_learns(values: np.ndarray, data: st.DataObject) -> None:
    labels = np.array(data.draw(st.lists(st.booleans(), min_size=len(values), max_size=len(values))))
    if labels.all() or not labels.any():
        assert auroc(labels, values) == 0.5
    else:
        assert auroc(labels, values) == pytest.approx(roc_auc_score(labels, values))


def test_cohens_d_of_two_normals_is_their_distance() -> None:
    draw = np.random.default_rng(0)
    values = np.concatenate([draw.normal(1.5, 1, 4000), draw.normal(0, 1, 4000)])
    assert cohens_d(np.arange(8000) < 4000, values) == pytest.approx(1.5, abs=0.06)
    assert cohens_d(np.array([True, False]), np.array([1.0, 0.0])) == 0.0


def test_an_interval_over_units_covers_the_truth_where_one_over_observations_does_not() -> None:
    draw = np.random.default_rng(1)
    covered = {"units": 0, "observations": 0}
    for _ in range(60):
        values = np.repeat(draw.normal(0, 1, 20), 10) + draw.normal(0, 0.1, 200)
        for name, units in (("units", np.repeat(np.arange(20), 10)), ("observations", np.arange(200))):
            interval = bootstrap(units.tolist(), lambda chosen, values=values: float(values[chosen].mean()))
            covered[name] += interval.low <= 0 <= interval.high
    assert covered["units"] >= 50
    assert covered["observations"] <= 35


def noisy_steps(seed: int, places: list[int], size: float, tokens: int = 240) -> np.ndarray:
    draw = np.random.default_rng(seed)
    noise = draw.normal(0, 1, (tokens, 3))
    level = np.zeros(tokens)
    for number, place in enumerate(places):
        level[place:] += size if number % 2 == 0 else -size
    return noise + level[:, None] * np.array([1.0, 0.5, 0.0])


def test_the_rule_keeps_its_rate_of_false_alarms_and_finds_steps() -> None:
    neutral = [noisy_steps(seed, [], 0.0) for seed in range(40)]
    rule = fit_rule(neutral, alarms_per_1000=2.0)
    fresh = [noisy_steps(seed, [], 0.0) for seed in range(100, 140)]
    alarms = sum(len(rule.points(series)) for series in fresh)
    assert alarms / sum(map(len, fresh)) * 1000 == pytest.approx(2.0, abs=1.5)
    places = [60, 120, 180]
    hits = sum(
        matched([p for p, _ in rule.points(noisy_steps(seed, places, 4.0))], places, 2) for seed in range(200, 220)
    )
    assert hits >= 0.9 * 60
    for seed in range(200, 210):
        assert all(gain >= rule.penalty * 0.99 for _, gain in rule.points(noisy_steps(seed, places, 4.0)))


def cost(series: np.ndarray, cuts: tuple[int, ...], penalty: float) -> float:
    parts = np.split(series, cuts)
    return sum(float(((part - part.mean(axis=0)) ** 2).sum()) for part in parts) + penalty * len(cuts)


@given(
    hnp.arrays(np.float64, st.tuples(st.integers(3, 11), st.integers(1, 2)), elements=st.integers(-4, 4)),
    st.sampled_from([0.5, 3.0, 12.0]),
    st.integers(1, 4),
)
def test_no_other_partition_costs_less(series: np.ndarray, penalty: float, least: int) -> None:
    found = tuple(partition(series, penalty, least))
    tokens = len(series)
    allowed = [
        cuts
        for count in range(tokens)
        for cuts in itertools.combinations(range(1, tokens), count)
        if not cuts or min(b - a for a, b in itertools.pairwise((0, *cuts, tokens))) >= least
    ]
    assert found in allowed
    assert cost(series, found, penalty) <= min(cost(series, cuts, penalty) for cuts in allowed) + 1e-9


def test_changes_do_not_depend_on_level_or_channel_order() -> None:
    series = noisy_steps(3, [100], 3.0)
    rule = fit_rule([noisy_steps(seed, [], 0.0) for seed in range(1, 20)], 1.0)
    plain = [place for place, _ in rule.points(series)]
    assert len(plain) == 1
    assert [place for place, _ in rule.points(series + 1e4)] == plain
    assert [place for place, _ in rule.points(series[:, ::-1])] == plain


@pytest.mark.parametrize("rise", [1, 3, 6])
def test_the_onset_of_a_gradual_change_is_where_it_begins(rise: int) -> None:
    level = np.clip((np.arange(80) - 40 + 1) / rise, 0, 1)
    series = np.stack([level * 5, -level * 3], axis=1)
    (cut,) = partition(series, 50.0)
    assert onset(series, 0, cut, 80) == 40


def test_matching_takes_every_place_once() -> None:
    assert matched([10], [9, 11], 2) == 1
    assert matched([9, 10], [9, 11], 2) == 2
    assert matched([20], [9, 11], 2) == 0
    assert f1(0, 0, 0) == 0.0
    assert f1(2, 2, 4) == pytest.approx(2 / 3)


def test_holm_rejects_in_order_until_the_first_that_fails() -> None:
    assert holm([0.01, 0.04, 0.03]) == [True, False, False]
    assert holm([0.01, 0.02, 0.024]) == [True, True, True]
    assert holm([]) == []


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5), st.integers(0, 4)), min_size=4, max_size=40))
@settings(max_examples=40, deadline=None)
def test_all_resamples_at_once_give_what_one_after_the_other_gives(seen: list[tuple[bool, int, int]]) -> None:
    labels, values = np.array([one[0] for one in seen]), np.array([one[1] / 3 for one in seen])
    units = [one[2] for one in seen]
    apart = Separation(labels, units)
    assert apart.auroc(values) == bootstrap(units, lambda chosen: auroc(labels[chosen], values[chosen]))
    assert np.allclose(
        apart.cohens_d(values), bootstrap(units, lambda chosen: cohens_d(labels[chosen], values[chosen])), atol=1e-6
    )
