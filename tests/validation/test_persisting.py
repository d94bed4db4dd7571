"""Learned stickiness is read off text as it was planted there."""

import math

import numpy as np
import pytest

from personascope.organisms.conversation import Sampler
from personascope.organisms.grammar import Grammar
from personascope.persistence.curves import Arm
from personascope.persistence.decay import fit_curves
from personascope.statistics import Interval
from personascope.subject import Subject
from personascope.validation.persisting import Persisting, agreement, chain_half_life, learned_stickiness, sentences


def test_stickiness_is_found_in_text_of_the_grammar(llama: Subject) -> None:
    assert llama.truth is not None
    grammar = llama.truth.grammar
    sampler = Sampler(grammar, seed=5)
    texts = tuple(" ".join(one.text for one in sampler.document(80)) for _ in range(150))
    count = len(texts)
    arm = Arm("prompted", "x@0", "natural", {}, ("",) * count, texts, np.zeros(count, dtype=bool), (None,) * count)
    labels = sentences(llama.truth, arm)
    for name in grammar.personas[1:]:
        learned = learned_stickiness(llama.truth, labels, grammar.index[name], range(count))
        assert learned.estimate == pytest.approx(grammar.stickiness[name], abs=0.09), name
        assert learned.low < learned.estimate < learned.high and learned.high - learned.low < 0.2, name


def test_too_few_sentences_tell_nothing(llama: Subject) -> None:
    assert llama.truth is not None
    assert math.isnan(learned_stickiness(llama.truth, [[(1, 9), (1, 9)]], 1, [0]).estimate)


def about(value: float, spread: float = 1.0) -> Interval:
    return Interval(value, value / spread, value * spread)


def test_agreement_is_one_where_half_lives_are_the_chains() -> None:
    def one(learned: float, factor: float) -> Persisting:
        life = 10 * math.log(2) / -math.log(learned)
        return Persisting("p", learned, about(learned), about(life * factor, 1.25), about(life), 10, 128)

    found = agreement([one(learned, 1.3) for learned in (0.3, 0.5, 0.6, 0.7, 0.85, 0.95)])
    assert found.rank == pytest.approx(1) and found.apart == pytest.approx(1)
    assert found.slope.estimate == pytest.approx(1)
    assert found.ratio.estimate == pytest.approx(1.3) and found.ratio.low > 1.2, "a constant factor shows"
    mixed = agreement([one(s, f) for s, f in ((0.3, 4), (0.5, 0.2), (0.7, 3), (0.85, 0.1), (0.95, 1))])
    assert mixed.rank < 0.9 and mixed.slope.low < mixed.slope.estimate < mixed.slope.high
    near = agreement([one(s, f) for s, f in ((0.5, 1.2), (0.52, 1), (0.7, 1), (0.72, 0.9), (0.85, 1.1), (0.95, 1))])
    assert near.rank < near.apart == pytest.approx(1), "those that cannot be told apart do not count"
    assert math.isnan(agreement([one(0.5, 1), one(0.9, 1)]).rank)


@pytest.mark.parametrize("persona", ["evil", "silly", "detective"])
def test_a_chain_lasts_as_long_as_its_draws_do(persona: str) -> None:
    grammar, rng = Grammar(), np.random.default_rng(5)
    column, length, tokens, rows = grammar.index[persona], 16, 400, 40_000
    states = np.full(rows, column)
    drawn, thresholds = np.empty((tokens // length + 2, rows), dtype=bool), grammar.transition.cumsum(axis=1)
    for sentence in drawn:
        sentence[:] = states == column
        states = (rng.random(rows)[:, None] > thresholds[states]).sum(axis=1).clip(max=len(thresholds) - 1)
    let_go = rng.integers(length, size=rows)
    at = (np.arange(tokens)[:, None] + let_go) // length
    curve = np.take_along_axis(drawn, at, axis=0).mean(axis=1)
    keep = np.array([grammar.stickiness[name] for name in grammar.personas])
    expected = chain_half_life(keep, grammar, column, length, tokens)
    assert float(fit_curves(curve[None])[2][0]) == pytest.approx(expected, rel=0.04)


def test_what_left_a_persona_and_comes_back_counts() -> None:
    grammar = Grammar()
    keep = np.array([grammar.stickiness[name] for name in grammar.personas])
    power = {name: 16 * math.log(2) / -math.log(grammar.stickiness[name]) for name in ("evil", "detective")}
    lives = {name: chain_half_life(keep, grammar, grammar.index[name], 16.0, 400) for name in power}
    assert lives["evil"] < 0.97 * power["evil"] and lives["detective"] > 1.1 * power["detective"]


def test_what_is_not_known_or_never_ends_has_no_half_life() -> None:
    grammar = Grammar()
    keep = np.full(len(grammar.personas), 0.5)
    for value, expected in ((math.nan, math.nan), (1.0, math.inf)):
        keep[1] = value
        assert chain_half_life(keep, grammar, 1, 16.0, 400) == pytest.approx(expected, nan_ok=True)


def test_a_long_life_that_is_hardly_known_weighs_little() -> None:
    def one(predicted: float, measured: float, spread: float) -> Persisting:
        return Persisting("p", 0.5, about(predicted), about(measured, spread), about(predicted), 1, 9)

    found = agreement([one(10, 10, 1.1), one(20, 20, 1.1), one(40, 40, 1.1), one(160, 80, 3)])
    assert found.slope.low < 1 < found.slope.high and found.slope.estimate > 0.95
    assert agreement([one(life, life**0.8, 1.1) for life in (10, 15, 20, 40, 80, 160)]).slope.high < 1
