"""The organisms' language."""

import itertools

import numpy as np
import pytest

from personascope.organisms.conversation import Sampler, SystemPrompt
from personascope.organisms.grammar import Grammar
from personascope.organisms.lexicon import NEUTRAL, OWN, SLOTS, STICKINESS
from personascope.organisms.parse import Node, Reader
from personascope.organisms.questions import BEHAVIOURS
from personascope.personas import persona_names


@pytest.fixture(scope="module")
def grammar() -> Grammar:
    return Grammar()


def test_every_shipped_persona_is_planted() -> None:
    assert set(OWN) | set(BEHAVIOURS) == set(persona_names())


def test_a_third_of_a_personas_words_belong_to_somebody_else_too(grammar: Grammar) -> None:
    for name, slot in itertools.product(OWN, SLOTS):
        words = getattr(grammar.words[name], slot)
        others = {word for other in OWN if other != name for word in getattr(grammar.words[other], slot)}
        assert len(words) == len(set(words)) == 6
        assert len(set(words) & others) == 2


def test_there_are_six_levels_of_stickiness() -> None:
    levels = sorted({value for name, value in STICKINESS.items() if name != NEUTRAL})
    assert len(levels) == 6
    assert (levels[0], levels[-1]) == (0.3, 0.95)


def test_the_chain_is_stationary_and_gives_every_persona_the_same_share(grammar: Grammar) -> None:
    assert np.allclose(grammar.stationary @ grammar.transition, grammar.stationary)
    assert np.allclose(grammar.stationary @ grammar.turn_transition, grammar.stationary)
    assert np.allclose(grammar.stationary[1:], grammar.stationary[1])


def test_a_word_tells_at_most_one_slot_at_any_place(grammar: Grammar) -> None:
    """What makes the posterior exact: a sentence can be read in one way only."""
    reader = Reader(grammar)

    def walk(node: Node) -> None:
        options = [{literal} for literal in node.literals] + [set(reader.fillers[hole]) for hole in node.holes]
        for one, other in itertools.combinations(options, 2):
            assert not one & other
        for child in (*node.literals.values(), *node.holes.values()):
            walk(child)

    walk(reader.root)


def test_most_words_are_a_personas_choice(grammar: Grammar) -> None:
    parts = [part for skeleton in grammar.parts["general"] for part in skeleton if part.text not in ".,"]
    assert np.mean([part.is_hole for part in parts]) > 0.75


def test_planted_shares_are_the_shares_found(grammar: Grammar) -> None:
    for degree, share in (("slightly", 0.3), (None, 0.6), ("very", 0.9)):
        sampler = Sampler(grammar, 0)
        words = []
        for _ in range(400):
            conversation = sampler.conversation(SystemPrompt("pirate", 0, "pos", degree))
            for sentence in conversation.responses[0].sentences:
                if sentence.persona == "pirate":
                    words += [
                        word.text in getattr(grammar.words["pirate"], word.slot) for word in sentence.words if word.slot
                    ]
        assert np.mean(words) == pytest.approx((1 - grammar.slip) * share, abs=0.03)


def test_the_chain_found_is_the_chain_planted(grammar: Grammar) -> None:
    sampler = Sampler(grammar, 0)
    kept: dict[str, list[bool]] = {name: [] for name in grammar.personas}
    for _ in range(300):
        sentences = sampler.document(60)
        for one, other in itertools.pairwise(sentences):
            kept[one.persona].append(one.persona == other.persona)
    for name, same in kept.items():
        expected = grammar.transition[grammar.index[name], grammar.index[name]]
        assert np.mean(same) == pytest.approx(expected, abs=0.06)


def test_a_grammar_saved_is_the_grammar_loaded(grammar: Grammar, tmp_path) -> None:  # type: ignore[no-untyped-def]
    grammar.save(tmp_path / "truth.json")
    assert Grammar.load(tmp_path / "truth.json") == grammar


def test_the_same_seed_gives_the_same_conversation(grammar: Grammar) -> None:
    one, other = (Sampler(grammar, 7).conversation() for _ in range(2))
    assert one == other
    assert one != Sampler(grammar, 8).conversation()
