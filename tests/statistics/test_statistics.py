"""Effect sizes, intervals, change points."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from sklearn.metrics import roc_auc_score

from personascope.statistics import auroc, bootstrap, cohens_d
from personascope.statistics.change_points import f1, fit_rule, matched, peaks, statistic
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
    rule = fit_rule(neutral, 8, alarms_per_1000=2.0)
    fresh = [noisy_steps(seed, [], 0.0) for seed in range(100, 140)]
    alarms = sum(len(rule.points(series)) for series in fresh)
    assert alarms / sum(map(len, fresh)) * 1000 == pytest.approx(2.0, abs=1.5)
    places = [60, 120, 180]
    hits = sum(
        matched([p for p, _ in rule.points(noisy_steps(seed, places, 4.0))], places, 2) for seed in range(200, 220)
    )
    assert hits >= 0.9 * 60


def test_the_statistic_does_not_depend_on_level_or_channel_order() -> None:
    series = noisy_steps(0, [100], 2.0)
    plain = statistic(series, 8, np.eye(3))
    assert np.allclose(statistic(series + 100.0, 8, np.eye(3)), plain)
    assert np.allclose(statistic(series[:, ::-1], 8, np.eye(3)), plain)


@given(hnp.arrays(np.float64, st.integers(1, 60), elements=st.floats(0, 9)), st.integers(1, 8))
def test_peaks_are_apart_and_every_high_place_is_near_one(values: np.ndarray, apart: int) -> None:
    found = peaks(values, apart)
    places = [place for place, _ in found]
    assert all(other - one > apart for one, other in itertools.pairwise(places))
    for place in np.flatnonzero(values > 0):
        assert any(abs(place - peak) <= apart and height >= values[place] for peak, height in found)


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
