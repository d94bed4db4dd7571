"""Ridge from sums: the numbers of fitting every penalty on every fold anew, however the rows come."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from personascope.errors import NonFinite, UserError
from personascope.transfer import fit_map, fit_map_from
from personascope.transfer.dealing import Dealing
from personascope.transfer.gathering import gather
from personascope.transfer.gram import Gram
from personascope.transfer.maps import _shuffled

LAMBDAS = [0.01, 0.1, 1.0, 10.0, 100.0]


def paired(
    rows: int = 300, source: int = 12, target: int = 9, noise: float = 2.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of unequal variances and a mean, and a planted map with noise."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(rows, source)) * np.geomspace(0.1, 5, source) + draw.normal(0, 4, source)
    y = x @ draw.normal(size=(source, target)) + draw.normal(0, noise, (rows, target)) + draw.normal(0, 3, target)
    return x, y


def folds_of(groups: list[int] | None, rows: int, folds: int = 5, seed: int = 0) -> np.ndarray:
    dealing = Dealing(folds, seed)
    return dealing.fold_of(dealing.number(groups, rows))


def close(found: torch.Tensor, wanted: np.ndarray, slack: float = 1e-6) -> None:
    np.testing.assert_allclose(found.numpy(), wanted, rtol=0, atol=slack * np.abs(wanted).max())


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("rows", [300, 10])
@pytest.mark.parametrize("penalty", [0.01, 1.0, 100.0])
def test_lambda_means_what_it_means_to_scikit_learn(center: bool, rows: int, penalty: float) -> None:
    x, y = paired(rows, noise=0.5)
    found = fit_map(x, y, [penalty], center=center)
    theirs = Ridge(alpha=penalty, fit_intercept=center, solver="svd").fit(x, y)
    close(found.weight, theirs.coef_.T)
    close(found.bias, theirs.intercept_ if center else np.zeros(9))
    close(found.predict(torch.from_numpy(x)), theirs.predict(x), 1e-5)


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize(("rows", "source", "target"), [(300, 12, 9), (23, 40, 9), (23, 9, 40), (23, 30, 40)])
def test_held_out_errors_are_those_of_refitting(center: bool, rows: int, source: int, target: int) -> None:
    x, y = paired(rows, source, target)
    groups = [row // 4 for row in range(rows)]
    found = fit_map(x, y, LAMBDAS, groups=groups, center=center)
    numbers = folds_of(groups, rows)
    chosen, spread = np.zeros(5), 0.0
    for fold in range(5):
        train, test = numbers != fold, numbers == fold
        for place, penalty in enumerate(LAMBDAS):
            theirs = Ridge(alpha=penalty, fit_intercept=center, solver="svd").fit(x[train], y[train])
            error = float(((theirs.predict(x[test]) - y[test]) ** 2).sum())
            assert found.held_out.errors[fold, place] == pytest.approx(error / (test.sum() * target), rel=1e-8)
            chosen[place] += error
        spread += float(((y[test] - y[train].mean(axis=0)) ** 2).sum())
    np.testing.assert_allclose(found.cv_error, chosen / (rows * target), rtol=1e-8)
    assert found.best_lambda == LAMBDAS[int(chosen.argmin())]
    assert found.r2 == pytest.approx(1 - chosen.min() / spread, rel=1e-8)


def test_bands_add_up_to_the_whole() -> None:
    x, y = paired(source=40, target=35)
    found = fit_map(x, y, LAMBDAS)
    assert [(band.first, band.last) for band in found.bands] == [(1, 10), (11, 30), (31, 35)]
    assert sum(band.share for band in found.bands) == pytest.approx(1)
    numbers = folds_of(None, len(x))
    basis = np.linalg.eigh(np.cov(y.T))[1][:, ::-1]
    lost, spread = np.zeros(35), np.zeros(35)
    for fold in range(5):
        train, test = numbers != fold, numbers == fold
        theirs = Ridge(alpha=found.best_lambda, solver="svd").fit(x[train], y[train])
        lost += (((theirs.predict(x[test]) - y[test]) @ basis) ** 2).sum(axis=0)
        spread += (((y[test] - y[train].mean(axis=0)) @ basis) ** 2).sum(axis=0)
    for band in found.bands:
        part = slice(band.first - 1, band.last)
        assert band.r2 == pytest.approx(1 - lost[part].sum() / spread[part].sum(), rel=1e-8)
    assert found.r2 == pytest.approx(1 - lost.sum() / spread.sum(), rel=1e-8)


X, Y = paired(120, 14, 11)
GROUPS = [row // 7 for row in range(120)]
WHOLE = fit_map(X, Y, LAMBDAS, groups=GROUPS)


@given(st.lists(st.integers(0, 120), max_size=12))
def test_how_rows_come_in_blocks_changes_nothing(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), 120]
    blocks = [(X[a:b], Y[a:b], GROUPS[a:b]) for a, b in pairwise(edges)]
    found = fit_map_from(iter(blocks), LAMBDAS)
    assert torch.equal(found.weight, WHOLE.weight) and torch.equal(found.bias, WHOLE.bias)
    assert np.array_equal(found.held_out.errors, WHOLE.held_out.errors)
    assert found.bands == WHOLE.bands


def test_more_rows_than_are_held_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("personascope.transfer.gathering._CHUNK", 25 * 17)
    pieces = fit_map_from(((X[at : at + 9], Y[at : at + 9], GROUPS[at : at + 9]) for at in range(0, 120, 9)), LAMBDAS)
    np.testing.assert_allclose(pieces.cv_error, WHOLE.cv_error, rtol=1e-10)
    close(pieces.weight, WHOLE.weight.numpy())


@given(st.lists(st.integers(0, 30), min_size=1, max_size=200), st.integers(2, 7), st.integers(0, 3))
def test_no_text_is_in_two_folds(groups: list[int], folds: int, seed: int) -> None:
    numbers = folds_of(groups, len(groups), folds, seed)
    homes = {group: set(numbers[np.array(groups) == group].tolist()) for group in groups}
    assert all(len(home) == 1 for home in homes.values())
    counts = np.bincount([home.pop() for home in homes.values()], minlength=folds)
    assert counts.max() - counts.min() <= 1


def test_sums_of_parts_are_sums_of_the_whole() -> None:
    x, y = paired(60)

    def summed(rows: slice, at: int) -> Gram:
        gram = Gram.empty(x[at], y[at])
        gram.add(x[rows] - x[at], y[rows] - y[at])
        return gram

    whole = summed(slice(None), 0)
    for found in (summed(slice(20), 0) + summed(slice(20, 60), 33), summed(slice(0, 60), 0) - summed(slice(0), 5)):
        assert found.rows == 60
        for name in ("x", "y", "xx", "xy", "yy", "mean_x", "mean_y"):
            np.testing.assert_allclose(getattr(found, name), getattr(whole, name), rtol=1e-10, atol=1e-9)
    rest = (whole - summed(slice(20), 7)).about(x[20:].mean(axis=0), y[20:].mean(axis=0))
    np.testing.assert_allclose(rest.xx, 40 * np.cov(x[20:].T, bias=True), atol=1e-8)


def test_a_massive_mean_costs_no_digits() -> None:
    """A dimension 100σ from 0, and variances that differ by 2e5, in float32 rows."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(2_000, 32)) * np.geomspace(1, 5e-3, 32)
    x[:, 0] += 100.0
    x = x.astype(np.float32)
    planted = draw.normal(size=(32, 8))
    y = (x.astype(np.float64) @ planted + draw.normal(0, 0.01, (2_000, 8))).astype(np.float32)
    wanted = Ridge(alpha=0.01, solver="svd").fit(x.astype(np.float64), y.astype(np.float64)).coef_.T
    close(fit_map(x, y, [0.01]).weight, wanted, 1e-6)
    raw = x.T @ x - len(x) * np.outer(x.mean(axis=0), x.mean(axis=0))
    naive = np.linalg.solve(raw + 0.01 * np.eye(32), x.T @ y - len(x) * np.outer(x.mean(axis=0), y.mean(axis=0)))
    assert np.abs(naive - wanted).max() > 1e-3 * np.abs(wanted).max()


def test_a_planted_map_is_recovered() -> None:
    draw = np.random.default_rng(1)
    planted = draw.normal(size=(20, 6)) @ draw.normal(size=(6, 15))
    x = draw.normal(size=(500, 20))
    found = fit_map(x, x @ planted + 3, LAMBDAS)
    assert found.best_lambda == 0.01 and found.effective_rank == 6 and found.r2 > 0.999999
    close(found.weight, planted, 1e-3)
    np.testing.assert_allclose(found.spectrum, np.linalg.svd(found.weight.numpy())[1], atol=1e-4)
    assert "smallest" in found.doubts[0]


def test_degrees_of_freedom_and_condition() -> None:
    x, y = paired()
    found = fit_map(x, y, [3.0])
    squares = np.linalg.svd(x - x.mean(axis=0))[1] ** 2
    assert found.degrees_of_freedom == pytest.approx((squares / (squares + 3)).sum())
    assert found.condition_number == pytest.approx((squares[0] + 3) / (squares[-1] + 3))


@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize(("rows", "source"), [(300, 12), (12, 12), (15, 40)])
def test_the_condition_number_is_that_of_the_penalised_gram_matrix(rows: int, source: int, center: bool) -> None:
    x, y = paired(rows, source)
    about = x - x.mean(axis=0) if center else x
    wanted = np.linalg.cond(about.T @ about + 3.0 * np.eye(source))
    assert fit_map(x, y, [3.0], center=center).condition_number == pytest.approx(wanted)


def test_relative_penalties_are_in_units_of_the_mean_eigenvalue() -> None:
    x, y = paired()
    found = fit_map(x, y, [0.02], relative=True)
    unit = ((x - x.mean(axis=0)) ** 2).sum() / 12
    assert found.penalty == pytest.approx(0.02 * unit) and found.best_lambda == 0.02
    close(found.weight, fit_map(x, y, [0.02 * unit]).weight.numpy())
    close(fit_map(1000 * x, y, [0.02], relative=True).weight * 1000, found.weight.numpy())


def test_constant_and_repeated_dimensions_do_no_harm() -> None:
    x, y = paired(noise=0.1)
    wanted = fit_map(x, y, [0.0]).weight.numpy()
    constant = np.c_[x, np.full(300, 7.0), np.zeros(300)]
    found = fit_map(constant, np.c_[y, np.full(300, -1e4)], [0.0])
    close(found.weight[:12, :9], wanted)
    assert torch.allclose(found.weight[12:], torch.zeros(2, 10), atol=1e-6)
    assert found.bias[9] == pytest.approx(-1e4)
    twice = fit_map(np.c_[x, x], y, [0.0])
    close(twice.weight, np.r_[wanted, wanted] / 2, 1e-5)
    assert np.isinf(twice.condition_number) or twice.condition_number > 1e12


def test_rows_of_a_few_texts_get_the_least_map_without_a_penalty() -> None:
    x, y = paired(15, 40, 9)
    centred = x - x.mean(axis=0)
    close(fit_map(x, y, [0.0]).weight, np.linalg.pinv(centred, rcond=1e-10) @ (y - y.mean(axis=0)), 1e-5)


def test_controls_know_nothing() -> None:
    """Texts differ from each other: a shuffle inside texts would leave what they have in common."""
    draw = np.random.default_rng(2)
    texts = np.repeat(np.arange(60), 40)
    x = draw.normal(size=(60, 10))[texts] * 3 + draw.normal(size=(2_400, 10))
    y = x @ draw.normal(size=(10, 10)) + draw.normal(size=(2_400, 10))
    found = fit_map(x, y, LAMBDAS, groups=texts)
    assert found.r2 > 0.9
    assert found.held_out.shuffled_r2 is not None and found.held_out.shuffled_r2 < 0.02
    assert found.held_out.random_r2 is not None and found.held_out.random_r2 < 0
    assert all(band.shuffled_r2 is not None and band.shuffled_r2 < 0.05 for band in found.bands)
    bare = fit_map(x, y, LAMBDAS, groups=texts, controls=False)
    assert bare.held_out.shuffled_r2 is None and torch.equal(bare.weight, found.weight)


@pytest.mark.parametrize("held", [1, 25, 100, 100_000])
@pytest.mark.parametrize("length", [1, 40, 130])
def test_controls_know_nothing_however_few_rows_are_held(
    length: int, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("personascope.transfer.gathering._CHUNK", held * 20)
    draw = np.random.default_rng(4)
    texts = np.repeat(np.arange(8_000 // length), length)
    x = draw.normal(size=(len(texts), 10))
    found = fit_map(x, x @ draw.normal(size=(10, 10)), [1.0], groups=texts).held_out
    assert found.r2 > 0.99
    assert found.shuffled_r2 is None or found.shuffled_r2 < 0.05
    assert (found.shuffled_r2 is None) == (held < length / 4), "rows that are not held cannot meet another text's"


def test_a_fold_of_one_text_has_no_control() -> None:
    x, y = paired(500)
    assert fit_map(x, y, LAMBDAS, groups=np.repeat(range(5), 100)).held_out.shuffled_r2 is None
    long = np.repeat(range(10), [400, 10, 10, 10, 10, 10, 10, 10, 10, 20])
    assert fit_map(x, y, LAMBDAS, groups=long).held_out.shuffled_r2 is None, "one of 400 rows, one of 20 at most"
    with pytest.raises(UserError, match="shuffled, and some fold is of one text"):
        _shuffled(gather([(x, y, np.repeat(range(5), 100))]))


def test_without_anything_to_learn_the_map_is_doubted() -> None:
    draw = np.random.default_rng(3)
    found = fit_map(draw.normal(size=(60, 30)), draw.normal(size=(60, 5)), [0.1])
    assert found.r2 < 0 and "no better" in found.doubts[0]


def test_bad_numbers_are_named() -> None:
    x, y = paired(40)
    x[17, 3] = np.nan
    with pytest.raises(NonFinite, match=r"row 17 of X"):
        fit_map(x, y)
    with pytest.raises(NonFinite, match=r"row 17 \(text 4\) of X"):
        fit_map_from([(x[:10], y[:10], [0] * 10), (x[10:], y[10:], [4] * 30)])
    x[17, 3], y[2, 0] = 0.0, np.inf
    with pytest.raises(NonFinite, match=r"row 2 of Y"):
        fit_map(torch.from_numpy(x), torch.from_numpy(y))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"Y": Y[:50]}, "120 rows and Y has 50"),
        ({"groups": [0, 1]}, "2 entries for 120 rows"),
        ({"groups": [0] * 60 + [1] * 60}, "at least 5 texts, and there are 2; give folds=2"),
        ({"X": X[:3], "Y": Y[:3]}, "at least 5 texts, and there are 3"),
        ({"X": X[:0], "Y": Y[:0]}, "no rows"),
        ({"X": X[:, 0]}, r"not \[120\]"),
        ({"X": [["a"]] * 120}, "needs numbers"),
        ({"X": np.full_like(X, 3.3)}, "X does not vary"),
        ({"Y": np.full_like(Y, 0.1)}, "Y does not vary"),
        ({"groups": [[0]] * 120}, "one number or name"),
        ({"lambdas": []}, "no lambda"),
        ({"lambdas": 1.0}, "must be a list"),
        ({"lambdas": [1.0, -1.0]}, "not a penalty"),
        ({"lambdas": [float("nan")]}, "not a penalty"),
        ({"folds": 1}, "2 or more"),
        ({"folds": True}, "2 or more"),
        ({"folds": 2.5}, "2.5 is no whole number"),
    ],
)
def test_bad_input_is_refused(change: dict, words: str) -> None:
    with pytest.raises(UserError, match=words):
        fit_map(**{"X": X, "Y": Y, **change})


def test_blocks_that_differ_are_refused() -> None:
    with pytest.raises(UserError, match="widths"):
        fit_map_from([(X[:10], Y[:10], None), (X[10:, :5], Y[10:], None)])
    with pytest.raises(UserError, match="some have none"):
        fit_map_from([(X[:10], Y[:10], None), (X[10:], Y[10:], GROUPS[10:])])


def test_half_precision_rows_and_named_texts() -> None:
    x, y = torch.from_numpy(X).bfloat16(), torch.from_numpy(Y).half()
    found = fit_map(x, y, LAMBDAS, groups=[f"text {number}" for number in GROUPS])
    wanted = fit_map(x.double(), y.double(), LAMBDAS, groups=GROUPS)
    assert np.array_equal(found.cv_error, wanted.cv_error) and found.texts == wanted.texts == 18


def test_gathered_sums_serve_any_fit() -> None:
    from personascope.transfer import ridge

    gram = gather([(X, Y, GROUPS)])
    assert torch.equal(ridge(gram, LAMBDAS).weight, WHOLE.weight)
    close(ridge(gram, LAMBDAS, center=False).weight, fit_map(X, Y, LAMBDAS, groups=GROUPS, center=False).weight.numpy())


def test_folds_may_be_a_whole_number_of_numpy() -> None:
    x = np.random.default_rng(0).normal(size=(40, 4))
    assert fit_map(x, x, folds=np.int64(4)).digest == fit_map(x, x, folds=4).digest
