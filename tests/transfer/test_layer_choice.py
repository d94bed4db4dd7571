"""CKA against its formula, and the layers chosen by it."""

import numpy as np
import pytest
import torch

from personascope.directions import DirectionSet
from personascope.errors import UserError
from personascope.transfer.contrast import Contrast
from personascope.transfer.layers import _Rows, choose_layers, cka_table, linear_cka

DRAW = np.random.default_rng(1)


@pytest.mark.parametrize(("n", "d", "e"), [(30, 5, 7), (6, 20, 9), (6, 20, 3)])
def test_cka_is_the_alignment_of_the_two_similarity_matrices(n: int, d: int, e: int) -> None:
    x, y = DRAW.normal(size=(n, d)) + 3, DRAW.normal(size=(n, e))
    y[:, 0] += x[:, 0]
    centre = np.eye(n) - 1 / n
    k, m = centre @ x @ x.T @ centre, centre @ y @ y.T @ centre
    assert linear_cka(x, y) == pytest.approx((k * m).sum() / np.sqrt((k * k).sum() * (m * m).sum()))


def test_turns_and_lengths_change_nothing() -> None:
    x = DRAW.normal(size=(40, 6))
    turn, _ = np.linalg.qr(DRAW.normal(size=(6, 6)))
    assert linear_cka(x, 5 * x @ turn + 2) == pytest.approx(1.0)
    assert linear_cka(x, np.ones((40, 3))) == 0.0


def contrast(differences: np.ndarray, matches: list[int]) -> Contrast:
    layers = tuple(range(differences.shape[1]))
    directions = DirectionSet("evil", layers, torch.from_numpy(differences.mean(axis=0)).float())
    return Contrast(
        "evil", directions, tuple(matches), torch.from_numpy(differences).float(), np.full(len(layers), np.nan)
    )


def test_the_layers_that_hold_the_same_are_chosen_by_the_pairs_that_both_have() -> None:
    x, y = DRAW.normal(size=(40, 3, 8)), DRAW.normal(size=(40, 4, 5))
    turn = DRAW.normal(size=(8, 5))
    y[:, 2] = x[:, 1] @ turn
    order = DRAW.permutation(40)
    source, target = contrast(x, list(range(40))), contrast(y[order][:30], order[:30].tolist())
    table = cka_table([source], [target])
    assert table.shape == (3, 4)
    assert choose_layers(table) == (1, 2)
    some = cka_table([source], [target], 1, "auto")
    assert np.isnan(some[[0, 2]]).all() and np.array_equal(some[1], table[1]) and choose_layers(some) == (1, 2)
    assert choose_layers(cka_table([source], [target], "auto", 3))[1] == 3
    with pytest.raises(UserError, match="4 contrast pairs on, and there are 2"):
        cka_table([contrast(x[:2], [0, 1])], [contrast(y[:2], [0, 1])])


def test_no_layer_is_multiplied_out_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    plain = _Rows.of
    monkeypatch.setattr(_Rows, "of", lambda rows: made.append(1) or plain(rows))
    source, target = (contrast(DRAW.normal(size=(12, layers, 20)), list(range(12))) for layers in (16, 6))
    table = cka_table([source], [target])
    assert len(made) == 6 + 6 and np.isfinite(table).sum() == 36, "six candidates of the deep one"
    held = source.differences[:, 4].numpy(), target.differences[:, 1].numpy()
    assert table[4, 1] == pytest.approx(linear_cka(*held))
