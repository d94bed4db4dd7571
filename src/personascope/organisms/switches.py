"""Texts for decision points: responses with planted switches of persona, and responses without any."""

from personascope.organisms.conversation import Conversation, Response, Sampler
from personascope.organisms.lexicon import NEUTRAL
from personascope.organisms.truth import Labelled, Truth

_RUN = (4, 10)
_RUNS = (3, 5)
_NEUTRAL_SENTENCES = 20


def planted_switches(truth: Truth, n: int, seed: int = 0) -> list[Labelled]:
    """`n` responses of three to five stretches, each of four to ten sentences in one persona, another every time."""
    sampler = Sampler(truth.grammar, seed)
    return [truth.label(_response(sampler, _stretches(sampler))) for _ in range(n)]


def neutral_texts(truth: Truth, n: int, seed: int = 0) -> list[Labelled]:
    """`n` responses of twenty neutral sentences."""
    sampler = Sampler(truth.grammar, seed)
    return [truth.label(_response(sampler, [(NEUTRAL, _NEUTRAL_SENTENCES)])) for _ in range(n)]


def _stretches(sampler: Sampler) -> list[tuple[str, int]]:
    """(persona, sentences) of each stretch."""
    rng = sampler.rng
    stretches: list[tuple[str, int]] = []
    for _ in range(rng.randint(*_RUNS)):
        others = [name for name in sampler.grammar.personas if not stretches or name != stretches[-1][0]]
        stretches.append((rng.choice(others), rng.randint(*_RUN)))
    return stretches


def _response(sampler: Sampler, stretches: list[tuple[str, int]]) -> Conversation:
    sentences = tuple(sentence for persona, count in stretches for sentence in sampler.stretch(persona, count))
    return Conversation(None, (sampler.question(),), (Response(sentences, {}),))
