"""A line through points that are uncertain in both directions."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import curve_fit

from personascope.statistics import slope_of


@given(st.integers(0, 10_000), st.integers(3, 20), st.floats(-3.0, 3.0))
@settings(max_examples=60, deadline=None)
def test_without_errors_of_x_it_is_weighted_least_squares(seed: int, points: int, slope: float) -> None:
    draw = np.random.default_rng(seed)
    x, errors = draw.normal(size=points), draw.uniform(0.1, 1.0, size=points)
    y = 1.5 + slope * x + errors * draw.normal(size=points)
    found = slope_of(x, y, np.zeros(points), errors)
    (_, expected), _ = curve_fit(lambda x, start, slope: start + slope * x, x, y, sigma=errors, absolute_sigma=True)
    assert found.estimate == pytest.approx(expected, abs=1e-3 * max(1.0, expected**2))
    assert found.low < found.estimate < found.high


@given(st.integers(0, 10_000), st.floats(0.5, 2.0))
@settings(max_examples=40, deadline=None)
def test_x_and_y_may_change_places(seed: int, slope: float) -> None:
    draw = np.random.default_rng(seed)
    truth = np.linspace(0, 4, 12)
    x_errors, y_errors = draw.uniform(0.05, 0.2, size=12), draw.uniform(0.05, 0.2, size=12)
    x, y = truth + x_errors * draw.normal(size=12), slope * truth + y_errors * draw.normal(size=12)
    there, back = slope_of(x, y, x_errors, y_errors), slope_of(y, x, y_errors, x_errors)
    assert there.estimate == pytest.approx(1 / back.estimate, rel=1e-3)
    assert (there.low, there.high) == pytest.approx((1 / back.high, 1 / back.low), rel=1e-2)


def test_errors_of_x_do_not_flatten_it_and_its_interval_holds_the_slope() -> None:
    draw = np.random.default_rng(0)
    truth, errors = np.linspace(2.0, 5.0, 12), np.full(12, 0.6)
    found, flat = [], []
    for _ in range(300):
        x, y = truth + errors * draw.normal(size=12), truth + errors * draw.normal(size=12)
        found.append(slope_of(x, y, errors, errors))
        flat.append(slope_of(x, y, np.zeros(12), errors).estimate)
    assert np.median([one.estimate for one in found]) == pytest.approx(1.0, abs=0.05)
    assert np.median(flat) < 0.85
    held = np.mean([one.low <= 1.0 <= one.high for one in found])
    assert held >= 0.92


def test_what_is_not_seen_is_said() -> None:
    assert math.isnan(slope_of(np.arange(2.0), np.arange(2.0), np.ones(2), np.ones(2)).estimate)
    three = np.arange(3.0)
    for x, y, error in ((np.ones(3), three, 0.1), (three, np.array([0.0, np.nan, 1.0]), 0.1), (three, three, np.inf)):
        assert math.isnan(slope_of(x, y, np.full(3, error), np.ones(3)).estimate)
    lost = slope_of(np.array([0.0, 0.1, 0.2]), np.array([0.0, 1.0, 0.5]), np.ones(3), np.ones(3))
    assert (lost.low, lost.high) == (-math.inf, math.inf)


@pytest.mark.parametrize("unit", [1e-6, 1.0, 1e6])
def test_units_are_of_no_account(unit: float) -> None:
    draw = np.random.default_rng(1)
    truth = np.linspace(0, 4, 12)
    x, y = truth + 0.2 * draw.normal(size=12), -truth + 0.2 * draw.normal(size=12)
    errors = np.full(12, 0.2)
    found, plain = slope_of(x, unit * y, errors, unit * errors), slope_of(x, y, errors, errors)
    assert tuple(found) == pytest.approx(tuple(unit * one for one in plain), rel=1e-6)
    assert found.low < found.estimate < found.high
