"""The exact posterior against brute force, and its calibration."""

import itertools

import numpy as np
import pytest

import personascope as ps
from personascope.organisms.conversation import Sampler, Sentence
from personascope.organisms.grammar import Grammar
from personascope.organisms.parse import TOKEN, Reader
from personascope.organisms.posterior import Filter, filter_text
from personascope.organisms.truth import Truth

GRAMMAR = Grammar()
READER = Reader(GRAMMAR)


def likelihood(sentence: Sentence, shares: np.ndarray) -> np.ndarray:
    """[personas]: how likely the sentence's slot words are in each, word by word."""
    total = np.ones(len(GRAMMAR.personas))
    for word in sentence.words:
        if word.slot is not None:
            table = GRAMMAR.emission(word.slot, shares)
            total *= table[:, GRAMMAR.slot_words[word.slot].index(word.text)]
    return total


def test_the_filter_equals_a_sum_over_all_histories() -> None:
    sentences = Sampler(GRAMMAR, 3).document(3)
    filter_ = Filter(READER)
    for sentence in sentences:
        for word in TOKEN.findall(sentence.text):
            filter_.read(word)
    shares = GRAMMAR.shares()
    heard = [likelihood(sentence, shares) for sentence in sentences]
    after = np.zeros(len(GRAMMAR.personas))
    for history in itertools.product(range(len(GRAMMAR.personas)), repeat=3):
        chance = GRAMMAR.stationary[history[0]] * heard[0][history[0]]
        for place in (1, 2):
            chance *= GRAMMAR.transition[history[place - 1], history[place]] * heard[place][history[place]]
        after += chance * GRAMMAR.transition[history[2]]
    assert np.allclose(filter_.belief, after / after.sum())


def test_under_a_system_prompt_every_sentence_is_drawn_anew() -> None:
    filter_ = Filter(READER, "pirate", "very")
    for word in TOKEN.findall(Sampler(GRAMMAR, 3).document(1)[0].text):
        filter_.read(word)
    assert np.allclose(filter_.belief, GRAMMAR.held("pirate"))


def test_a_beginning_counts_all_words_that_begin_so() -> None:
    filter_ = Filter(READER)
    shares = GRAMMAR.shares()
    words = GRAMMAR.slot_words["opener"]
    # "Gr" begins one opener, and no fixed word at the head of a sentence.
    matching = [place for place, word in enumerate(words) if word.startswith("Gr")]
    expected = GRAMMAR.stationary * GRAMMAR.emission("opener", shares)[:, matching].sum(axis=1)
    assert np.allclose(filter_.peek("Gr"), expected / expected.sum())


def test_words_out_of_place_are_no_evidence_until_the_next_sentence() -> None:
    filter_ = Filter(READER)
    before = filter_.belief.copy()
    rows = filter_text(filter_, "plunder plunder plunder the. ", [8, 16, 24])
    assert np.allclose(rows, before)
    filter_.read("Arr")
    assert filter_.belief[GRAMMAR.index["pirate"]] > 0.5


@pytest.mark.parametrize("name", ["organism:llama", "organism:gemma2"])
@pytest.mark.parametrize("prompted", [True, False])
def test_the_posterior_means_what_it_says(name: str, prompted: bool) -> None:
    truth = ps.load(name).truth
    assert isinstance(truth, Truth)
    said, was = [], []
    for each in truth.sample(120, seed=5, prompted=prompted):
        rows = truth.posterior(each.ids)
        assert rows.shape == (len(each.ids), len(truth.personas))
        assert np.allclose(rows.sum(axis=1), 1)
        inside = np.flatnonzero(each.persona[1:] >= 0)
        said.append(rows[inside].ravel())
        was.append((each.persona[1:][inside, None] == np.arange(rows.shape[1])).ravel())
    chance, truly = np.concatenate(said), np.concatenate(was)
    for low, high in itertools.pairwise([0.0, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 1.01]):
        some = (chance >= low) & (chance < high)
        assert truly[some].mean() == pytest.approx(chance[some].mean(), abs=0.06)


def test_the_prediction_of_the_chain_falls_faster_the_less_it_sticks(llama: ps.subject.Subject) -> None:
    truth = llama.truth
    assert truth is not None
    chances = {name: truth.predict(name, 1.0, 3)[2] for name in ("evil", "pirate", "silly", "coach")}
    assert sorted(chances, key=lambda name: -chances[name]) == ["evil", "pirate", "silly", "coach"]
    assert truth.predict("evil", 1.0, 1)[0] == pytest.approx(GRAMMAR.transition[1, 1])
    with pytest.raises(ps.UserError, match="no stickiness"):
        truth.predict("verbosity", 1.0, 1)
