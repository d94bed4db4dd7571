"""Decay fits: planted half-lives are found, what does not fall is not said to."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from personascope.errors import UserError
from personascope.persistence.decay import fit_decay


def curves(half_life: float, lift: float, floor: float, noise: float, rows: int = 40, tokens: int = 200) -> np.ndarray:
    draw = np.random.default_rng(0)
    fall = np.zeros(tokens) if math.isinf(half_life) else 1 - 2 ** (-np.arange(tokens) / half_life)
    return floor + lift * (1 - fall) + draw.normal(0, noise, (rows, tokens))


@given(st.floats(3, 100), st.floats(0.5, 50), st.floats(-1, 1))
def test_a_planted_decay_is_found(half_life: float, lift: float, floor: float) -> None:
    found = fit_decay(curves(half_life, lift, floor * lift / 4, 1e-6 * lift), range(40))
    assert found.verdict == "decays"
    assert found.half_life.estimate == pytest.approx(half_life, rel=0.03)
    assert found.floor.estimate == pytest.approx(floor * lift / 4, abs=0.05 * lift)
    assert found.initial.estimate == pytest.approx(lift + floor * lift / 4, rel=0.05, abs=0.05 * lift)


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    inside = 0
    for seed in range(60):
        draw = np.random.default_rng(seed)
        rows = 2.0 ** (-np.arange(150) / 20.0) * draw.normal(3, 1.5, (30, 1)) + draw.normal(0, 1, (30, 150))
        interval = fit_decay(rows, range(30)).half_life
        inside += interval.low <= 20 <= interval.high
    assert inside >= 51


def test_what_does_not_fall_is_said_not_to() -> None:
    level = fit_decay(curves(math.inf, 3, 0, 0.2), range(40))
    assert level.verdict == "does not decay" and math.isinf(level.half_life.estimate)
    assert level.describe()["half_life"] is None
    assert level.initial.estimate == pytest.approx(3, rel=0.05)
    # How much of the lift there was in all would be the number of tokens, whatever was sampled.
    assert math.isnan(level.area) and math.isnan(level.floor.estimate)
    rising = fit_decay(curves(20, 3, 0, 0.01)[:, ::-1], range(40))
    assert rising.verdict == "does not decay"


def test_a_fall_longer_than_what_was_sampled_gets_a_bound() -> None:
    draw = np.random.default_rng(2)
    line = np.linspace(3.0, 1.5, 100) + draw.normal(0, 0.05, (40, 100))
    found = fit_decay(line, range(40))
    assert found.verdict == "decays slowly" and found.is_ranked
    assert math.isinf(found.half_life.estimate) and 50 < found.half_life.low <= 200
    assert found.initial.estimate == pytest.approx(3.0, rel=0.05) and math.isnan(found.floor.estimate)
    assert found.area == pytest.approx(75, rel=0.05)


def test_one_prompt_that_does_not_fall_has_neither_floor_nor_area() -> None:
    found = fit_decay(np.full((3, 40), 2.0) + np.linspace(0, 1, 40), ["one"] * 3)
    assert found.verdict == "one prompt" and math.isnan(found.area) and math.isnan(found.floor.estimate)


def test_without_a_lift_there_is_nothing_to_fall() -> None:
    found = fit_decay(curves(20, 0, 0, 1.0), range(40))
    assert found.verdict == "no lift" and math.isnan(found.half_life.estimate) and math.isnan(found.area)


def test_units_are_resampled_whole() -> None:
    """Copies of the same few prompts know no more than they do."""
    draw = np.random.default_rng(1)
    few = 2.0 ** (-np.arange(150) / 20.0) * draw.normal(3, 1.5, (6, 1)) + draw.normal(0, 0.5, (6, 150))
    copied = np.repeat(few, 10, axis=0)
    honest = fit_decay(copied, [row // 10 for row in range(60)]).initial
    bold = fit_decay(copied, range(60)).initial
    assert honest.high - honest.low > 2 * (bold.high - bold.low)


def test_too_few_tokens_are_refused() -> None:
    with pytest.raises(UserError, match="8 tokens"):
        fit_decay(np.zeros((3, 5)), range(3))


def test_one_unit_has_no_intervals() -> None:
    found = fit_decay(curves(20, 3, 0, 0.01), ["one"] * 40)
    assert found.verdict == "one prompt" and math.isnan(found.half_life.low)
    assert found.half_life.estimate == pytest.approx(20, rel=0.1)
    assert found.describe()["half_life_interval"] == [None, None]
