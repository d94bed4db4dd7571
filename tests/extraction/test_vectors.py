"""Ways to make a direction, on activations whose direction is known."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import personascope as ps
from personascope.extraction.vectors import METHODS, mean_difference, method, paired_pca
from personascope.statistics import cosine

HIDDEN = 24


def planted(seed: int, n: int = 60, gap: float = 3.0) -> tuple[torch.Tensor, torch.Tensor, np.ndarray]:
    """(positive, negative) of [n, 2 layers, hidden] around a common mean, and the unit direction between them."""
    draw = np.random.default_rng(seed)
    unit = draw.normal(size=HIDDEN)
    unit /= np.linalg.norm(unit)
    mean = draw.normal(size=HIDDEN) * 5
    pairs = draw.normal(size=(n, 2, HIDDEN)) * 0.5
    positive = mean + gap * unit + pairs + 0.2 * draw.normal(size=pairs.shape)
    negative = mean + pairs + 0.2 * draw.normal(size=pairs.shape)
    return torch.tensor(positive).float(), torch.tensor(negative).float(), unit


@pytest.mark.parametrize("name", list(METHODS))
@given(seed=st.integers(0, 2**32 - 1))
def test_every_method_finds_the_planted_direction_in_sign_and_length(name: str, seed: int) -> None:
    positive, negative, unit = planted(seed)
    for vector in METHODS[name](positive, negative):
        assert cosine(vector.numpy(), unit) > 0.8
        assert float(vector.double() @ torch.from_numpy(unit)) == pytest.approx(3.0, rel=0.25)


@pytest.mark.parametrize("name", list(METHODS))
@given(seed=st.integers(0, 2**32 - 1))
def test_swapping_the_poles_turns_the_direction_round(name: str, seed: int) -> None:
    positive, negative, _ = planted(seed, n=20)
    there, back = METHODS[name](positive, negative), METHODS[name](negative, positive)
    torch.testing.assert_close(there, -back, atol=1e-3, rtol=1e-3)


def test_a_large_common_mean_costs_no_precision() -> None:
    positive, negative, _ = planted(0)
    shifted = mean_difference(positive.double() + 2**20, negative.double() + 2**20)
    torch.testing.assert_close(shifted, mean_difference(positive, negative), atol=1e-6, rtol=1e-5)


def test_pairs_that_do_not_match_and_unknown_methods_are_refused() -> None:
    positive, negative, _ = planted(0)
    with pytest.raises(ps.UserError, match="as many positive as negative"):
        paired_pca(positive, negative[1:])
    with pytest.raises(ps.UserError, match="'magic' is not known"):
        method("magic")
