"""Noise and the choice of tokens."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from personascope.engine.choose import Sampling, choose
from personascope.engine.noise import derive_seed, gumbel
from personascope.engine.row import Row, draw
from personascope.engine.rows import Request
from personascope.errors import UserError
from personascope.subject import Prompt

CPU = torch.device("cpu")


def test_noise_is_standard_gumbel() -> None:
    noise = gumbel(list(range(20)), [3] * 20, 5_000, CPU).numpy().ravel()
    assert stats.kstest(noise, stats.gumbel_r.cdf).pvalue > 0.001
    assert np.isfinite(noise).all()


@given(st.integers(0, 2**63 - 1), st.integers(0, 4000))
def test_noise_depends_on_seed_index_and_token_alone(seed: int, index: int) -> None:
    alone = gumbel([seed], [index], 300, CPU)
    company = gumbel([1, seed, 2], [0, index, 9], 400, CPU)
    assert torch.equal(alone[0], company[1, :300])
    assert not torch.equal(alone, gumbel([seed], [index + 1], 300, CPU))
    assert not torch.equal(alone, gumbel([seed ^ 1], [index], 300, CPU))


def test_rows_indices_and_tokens_are_uncorrelated() -> None:
    by_row = torch.cat([gumbel([seed], [0], 4000, CPU) for seed in range(30)]).numpy()
    by_index = torch.cat([gumbel([5], [index], 4000, CPU) for index in range(30)]).numpy()
    for table in (by_row, by_index):
        correlations = np.corrcoef(table)[np.triu_indices(30, 1)]
        assert np.abs(correlations).max() < 5 / np.sqrt(4000)
    assert abs(np.corrcoef(by_row[0, :-1], by_row[0, 1:])[0, 1]) < 5 / np.sqrt(4000)


def test_the_hash_is_the_unsigned_arithmetic_it_claims() -> None:
    """int32 multiplication must wrap on every device as uint32 does."""
    from personascope.engine.noise import _scramble

    tokens = np.arange(10_000, dtype=np.uint32) * np.uint32(2654435761)
    expected = tokens.copy()
    for shift, factor in ((16, 0x21F0AAAD), (15, 0xD35A2D97)):
        expected ^= expected >> np.uint32(shift)
        expected *= np.uint32(factor)
    expected ^= expected >> np.uint32(15)
    got = torch.from_numpy(tokens.view(np.int32).copy())
    _scramble(got, torch.empty_like(got))
    assert np.array_equal(got.numpy().view(np.uint32), expected)


def test_noise_is_what_it_was() -> None:
    """Runs are resumed and repeated by it, on any machine."""
    noise = gumbel([0, 1, 2**63 - 1, 12345678901234567], [0, 5, 77, 400], 1_000, CPU)
    expected = [[-1.1962936, 0.1860797], [0.4430395, -0.1157146], [2.6073811, 0.0824594], [-0.8143188, 1.0032010]]
    assert np.allclose(noise[:, :2].numpy(), expected, atol=1e-6)


def test_noise_does_not_depend_on_the_rows_beside_it() -> None:
    """More numbers than are made at once."""
    together = gumbel(list(range(300)), [7] * 300, 1_500, CPU)
    for row in (0, 86, 87, 88, 299):
        assert torch.equal(together[row], gumbel([row], [7], 1_500, CPU)[0])


def draws(logits: torch.Tensor, sampling: Sampling, count: int = 20_000) -> np.ndarray:
    chosen, _ = choose(logits.repeat(count, 1), [sampling] * count, list(range(count)), [0] * count)
    return np.bincount(chosen.numpy(), minlength=logits.shape[-1]) / count


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_tokens_are_drawn_from_the_tempered_distribution(temperature: float) -> None:
    logits = torch.tensor([1.0, 0.0, -1.0, 2.0])
    assert np.allclose(draws(logits, Sampling(temperature)), (logits / temperature).softmax(0).numpy(), atol=0.015)


def test_top_k_then_top_p_as_in_transformers() -> None:
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    logits = torch.tensor([2.0, 1.5, 1.0, 0.5, 0.0, -1.0])
    for k, p, t in ((3, 1.0, 1.0), (0, 0.7, 1.0), (4, 0.8, 0.7), (1, 0.5, 1.0), (0, 0.05, 1.5)):
        scores = TemperatureLogitsWarper(t)(None, logits[None])
        scores = TopKLogitsWarper(k)(None, scores) if k else scores
        scores = TopPLogitsWarper(p)(None, scores) if p < 1 else scores
        expected = scores.softmax(-1)[0].numpy()
        got = draws(logits, Sampling(t, p, k))
        assert np.allclose(got, expected, atol=0.015)
        assert not got[expected == 0].any()


def test_temperature_0_is_greedy_beside_rows_that_are_not() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0]]).repeat(3, 1)
    sampling = [Sampling(0.0), Sampling(5.0), Sampling(0.0, 0.5, 2)]
    for seed in range(50):
        chosen, _ = choose(logits.clone(), sampling, [seed] * 3, [0] * 3)
        assert chosen[0] == chosen[2] == 1


def test_of_equals_the_first_is_chosen_as_argmax_does() -> None:
    logits = torch.randint(0, 3, (200, 40), generator=torch.Generator().manual_seed(0)).float()
    chosen, _ = choose(logits.clone(), [Sampling(0.0)] * 200, [0] * 200, [0] * 200)
    assert torch.equal(chosen, logits.argmax(dim=1))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("sampling", [Sampling(0.0), Sampling(1e30), Sampling(1.0, 0.5, 3)])
def test_what_a_token_is_chosen_for_tells_logits_that_are_no_numbers(bad: float, sampling: Sampling) -> None:
    logits = torch.zeros(3, 50)
    logits[1, 20] = bad
    _, peaks = choose(logits, [sampling] * 3, [0, 1, 2], [0] * 3)
    assert torch.isfinite(peaks).tolist() == [True, False, True]


@pytest.mark.parametrize(
    "bad",
    [
        {"temperature": -1.0},
        {"temperature": float("nan")},
        {"temperature": 1e31},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"top_k": -1},
    ],
)
def test_settings_out_of_range_are_refused(bad: dict) -> None:
    with pytest.raises(UserError):
        Sampling(**bad)


def test_seeds_are_derived_from_content() -> None:
    assert derive_seed("a", 1) == derive_seed("a", 1)
    assert len({derive_seed("a", 1), derive_seed("a", 2), derive_seed("b", 1), derive_seed("a1")}) == 4
    assert 0 <= derive_seed("x") < 2**63


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
@pytest.mark.parametrize("place", [1, 7])
def test_a_logit_that_is_no_number_fails_its_row_where_ends_are_banned_too(wrong: float, place: int) -> None:
    """Token 7 ends a response: what a ban would hide is still seen."""
    logits = torch.zeros(4, 9)
    logits[1:3, place] = wrong
    rows = [
        Row(number, Request(Prompt((1,), (), ""), number, 3, suppress_eos=number < 2, logprobs=2), [])
        for number in range(4)
    ]
    chosen = draw(rows, logits, {7})
    assert [token is None for token in chosen] == [False, True, True, False]
    assert chosen[0] != 7 and [len(row.logprobs) for row in rows] == [1, 0, 0, 1]
