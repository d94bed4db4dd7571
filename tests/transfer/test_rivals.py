"""Orthogonal and reduced-rank maps: planted ones are found, and each is what it is called."""

import numpy as np
import pytest
import torch
from scipy.linalg import orthogonal_procrustes
from scipy.stats import ortho_group

from personascope.errors import UserError
from personascope.transfer import fit_map, gather, procrustes, reduced_rank

DRAW = np.random.default_rng(0)
TURN = ortho_group.rvs(12, random_state=0)
X = DRAW.normal(size=(400, 12)) * np.geomspace(0.5, 3, 12) + DRAW.normal(0, 5, 12)


def test_a_planted_rotation_is_recovered() -> None:
    y = 0.7 * X @ TURN + DRAW.normal(0, 0.05, X.shape) + 2
    found = procrustes(gather([(X, y, None)]), source_layer=1, target_layer=2)
    assert found.scale == pytest.approx(0.7, rel=1e-2) and found.r2 > 0.99
    np.testing.assert_allclose(found.weight.numpy() / found.scale, TURN, atol=0.02)
    np.testing.assert_allclose(found.bias.numpy(), np.full(12, 2.0), atol=0.1)
    assert found.held_out.shuffled_r2 < 0.02 and found.held_out.random_r2 < 0.5


def test_the_map_is_orthogonal_and_the_best_one() -> None:
    y = X @ DRAW.normal(size=(12, 12)) + DRAW.normal(size=X.shape)
    found = procrustes(gather([(X, y, None)]))
    turn = found.weight.numpy() / found.scale
    np.testing.assert_allclose(turn.T @ turn, np.eye(12), atol=1e-5)
    theirs, _ = orthogonal_procrustes(X - X.mean(axis=0), y - y.mean(axis=0))
    np.testing.assert_allclose(turn, theirs, atol=1e-5)
    raw = procrustes(gather([(X, y, None)]), center=False)
    np.testing.assert_allclose(raw.weight.numpy() / raw.scale, orthogonal_procrustes(X, y)[0], atol=1e-5)
    assert not raw.bias.any()


@pytest.mark.parametrize("whitened", [False, True])
def test_held_out_scores_are_those_of_refitting(whitened: bool) -> None:
    from personascope.transfer.dealing import Dealing

    y = X @ DRAW.normal(size=(12, 5)) + DRAW.normal(size=(400, 5))
    found = procrustes(gather([(X, y, None)]), whitened)
    dealing = Dealing(5, 0)
    numbers = dealing.fold_of(dealing.number(None, 400))
    error = 0.0
    for fold in range(5):
        train, test = numbers != fold, numbers == fold
        part = procrustes(gather([(X[train], y[train], None)]), whitened)
        error += float(((part.predict(torch.from_numpy(X[test])).numpy() - y[test]) ** 2).sum())
    assert found.cv_error[0] == pytest.approx(error / y.size, rel=1e-4)


def test_whitening_finds_what_a_rotation_cannot() -> None:
    """A rotation between spaces whose axes were stretched."""
    stretched = (X - X.mean(axis=0)) / X.std(axis=0) @ TURN * np.geomspace(1, 30, 12)
    gram = gather([(X, stretched, None)])
    plain, whitened = procrustes(gram), procrustes(gram, whitened=True)
    assert whitened.r2 > 0.95 > plain.r2 and whitened.method == "whitened procrustes"


def test_few_rows_and_other_widths_turn_what_they_span() -> None:
    few = procrustes(gather([(X[:8], X[:8] @ TURN[:, :5], None)]))
    turn = few.weight.double().numpy() / few.scale
    values = np.linalg.svd(turn)[1]
    assert turn.shape == (12, 5) and np.all(np.minimum(abs(values), abs(values - 1)) < 1e-5)


def test_a_planted_rank_is_found() -> None:
    planted = DRAW.normal(size=(12, 3)) @ DRAW.normal(size=(3, 10))
    y = X @ planted + DRAW.normal(0, 1.0, (400, 10))
    found = reduced_rank(gather([(X, y, None)]), ranks=range(1, 11), lambdas=[0.1])
    assert found.rank == 3 and found.effective_rank == 3 and np.linalg.matrix_rank(found.weight.numpy(), 1e-3) == 3
    assert found.r2 > fit_map(X, y, [0.1]).r2
    assert found.held_out.shuffled_r2 < 0.02


def test_full_rank_is_ridge() -> None:
    y = X @ DRAW.normal(size=(12, 10)) + DRAW.normal(0, 2, (400, 10))
    found, ridge = reduced_rank(gather([(X, y, None)]), ranks=[10]), fit_map(X, y)
    assert found.best_lambda == ridge.best_lambda
    np.testing.assert_allclose(found.weight, ridge.weight, atol=1e-5)
    assert found.r2 == pytest.approx(ridge.r2, rel=1e-8)


def test_the_cut_is_that_of_the_penalised_problem() -> None:
    """Ridge is least squares with √λ·I as further rows; the best of rank r there is a truncated SVD of the fitted rows."""
    y = X @ DRAW.normal(size=(12, 10)) + DRAW.normal(0, 2, (400, 10))
    found = reduced_rank(gather([(X, y, None)]), ranks=[4], lambdas=[50.0])
    longer = np.r_[X - X.mean(axis=0), np.sqrt(50.0) * np.eye(12)]
    full = np.linalg.lstsq(longer, np.r_[y - y.mean(axis=0), np.zeros((12, 10))], rcond=None)[0]
    kept = np.linalg.svd(longer @ full)[2][:4].T
    np.testing.assert_allclose(found.weight, full @ kept @ kept.T, atol=1e-5)


def test_ranks_that_cannot_be_are_refused() -> None:
    gram = gather([(X, X, None)])
    with pytest.raises(UserError, match="rank 13 cannot be"):
        reduced_rank(gram, ranks=[13])
    with pytest.raises(UserError, match="no rank"):
        reduced_rank(gram, ranks=[])
    assert reduced_rank(gram).ranks == (1, 2, 4, 8, 12)
