"""Directions as sparse sums: against scikit-learn's pursuit, and sums that were planted."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import orthogonal_mp

from personascope.directions import Direction
from personascope.directions.direction import ZeroDirection
from personascope.errors import UserError
from personascope.features.activation import Relu
from personascope.features.decompose import decompose
from personascope.features.sae import SAE


def sae_of(decoder: torch.Tensor, layer: int | None = 2) -> SAE:
    features, width = decoder.shape
    return SAE(decoder.clone(), torch.zeros(features), decoder, torch.zeros(width), Relu(), layer=layer)


@pytest.fixture
def sae() -> SAE:
    return sae_of(torch.randn(64, 24, generator=torch.Generator().manual_seed(0)))


def test_a_planted_sum_is_found_with_its_signs(sae):
    direction = Direction(3.0 * sae.decoder[5] - 2.0 * sae.decoder[40], 2, "planted")
    found = decompose(direction, sae, terms=6)
    assert {(term.feature, round(term.coefficient, 3)) for term in found.terms} == {(5, 3.0), (40, -2.0)}
    assert found.terms[-1].explained == pytest.approx(1.0, abs=1e-6)
    assert found.remainder.norm < 1e-4 * direction.norm


@pytest.mark.parametrize("seed", range(5))
def test_it_is_scikit_learns_orthogonal_matching_pursuit(sae, seed):
    direction = Direction(torch.randn(24, generator=torch.Generator().manual_seed(seed)), 2)
    found = decompose(direction, sae, terms=5)
    lengths = sae.decoder.norm(dim=1)
    unit_columns = (sae.decoder / lengths[:, None]).double().numpy().T
    weights = orthogonal_mp(unit_columns, direction.vector.double().numpy(), n_nonzero_coefs=5)
    expected = {int(i): weights[i] / float(lengths[i]) for i in np.flatnonzero(weights)}
    assert {term.feature: pytest.approx(term.coefficient, rel=1e-3) for term in found.terms} == expected


def test_what_is_explained_grows_and_the_rest_is_the_remainder(sae):
    direction = Direction(torch.randn(24, generator=torch.Generator().manual_seed(9)), 2)
    found = decompose(direction, sae, terms=8)
    shares = [term.explained for term in found.terms]
    assert shares == sorted(shares) and 0 < shares[0] < shares[-1] <= 1
    assert found.remainder.norm**2 == pytest.approx((1 - shares[-1]) * direction.norm**2, rel=1e-4)
    rebuilt = sum(term.coefficient * sae.decoder[term.feature] for term in found.terms) + found.remainder.vector
    assert torch.allclose(rebuilt, direction.vector, atol=1e-5)


def test_a_random_direction_is_explained_as_well_as_its_rivals(sae):
    shares = [
        decompose(Direction(torch.randn(24, generator=torch.Generator().manual_seed(s)), 2), sae, 4, seed=s + 50)
        for s in range(8)
    ]
    ours = np.mean([one.terms[-1].explained for one in shares])
    theirs = np.mean([one.random_explained[-1] for one in shares])
    assert ours == pytest.approx(theirs, abs=0.08)


def test_features_without_a_column_are_never_chosen():
    decoder = torch.eye(6)
    decoder[0] = 0.0
    found = decompose(Direction(torch.ones(6), 2), sae_of(decoder), terms=6)
    assert 0 not in {term.feature for term in found.terms} and len(found.terms) == 5


def test_a_dictionary_without_columns_explains_nothing():
    found = decompose(Direction(torch.ones(6), 2), sae_of(torch.zeros(6, 6)), terms=3)
    assert found.terms == () and found.random_explained == () and found.remainder.norm == found.direction.norm


@pytest.mark.parametrize(
    ("direction", "terms", "error", "says"),
    [
        (Direction(torch.ones(24), 3), 3, UserError, "layer 2"),
        (Direction(torch.ones(23), 2), 3, UserError, "width"),
        (Direction(torch.ones(24), 2), 0, UserError, "terms=0"),
        (Direction(torch.ones(24), 2), 25, UserError, "24"),
        (Direction(torch.zeros(24), 2), 3, ZeroDirection, "zeros"),
    ],
)
def test_what_cannot_be_decomposed(sae, direction, terms, error, says):
    with pytest.raises(error, match=says):
        decompose(direction, sae, terms)
