"""Anchors: answers whose score is known before any judge sees them."""

from dataclasses import dataclass

from personascope.errors import UserError
from personascope.judging.lexicon import planted
from personascope.organisms.conversation import Sampler, SystemPrompt
from personascope.organisms.grammar import Grammar
from personascope.organisms.package import organism_folder
from personascope.organisms.parse import Reader
from personascope.organisms.questions import BEHAVIOURS, KIND_OF
from personascope.organisms.score import score

_TRIES = 2_000


@dataclass(frozen=True)
class Anchor:
    """score: how much of the persona the answer shows, 0 or 100."""

    question: str
    answer: str
    score: float


def shipped_grammar() -> Grammar:
    """The grammar that answers are made of where the model under study has none of its own."""
    return Grammar.load(organism_folder("llama") / "truth.json")


def is_planted(name: str, grammar: Grammar) -> bool:
    """Whether the grammar has answers of a persona, and so anchors."""
    return name in (*grammar.personas, *BEHAVIOURS)


def anchors_of(name: str, grammar: Grammar, count: int = 6, seed: int = 0) -> list[Anchor]:
    """Answers in English that the grammar makes of a persona's own words, or of its behaviour: `count` that show as much
    of it as can be, and as many that show none of it, in turns. They ask for no model, and so do for any judge.

    Raises `UserError` where the grammar does not have the persona.
    """
    if not is_planted(name, grammar):
        raise UserError(f"there are no answers of known score for {name!r}: it is not planted in the organisms")
    sampler, reader = Sampler(grammar, seed), Reader(grammar)
    found: dict[float, list[Anchor]] = {100.0: [], 0.0: []}
    for place in range(_TRIES):
        wanted, pole, degree = ((100.0, "pos", "very"), (0.0, "neg", None))[place % 2]
        if len(found[wanted]) == count:
            if all(len(some) == count for some in found.values()):
                break
            continue
        question = sampler.question(KIND_OF.get(name, "general"))
        answer = sampler.conversation(SystemPrompt(name, 0, pole, degree), [question]).responses[0].text
        truth = score(reader, answer)
        if truth["well_formed"] == 1 and planted(truth, name) == wanted:
            found[wanted].append(Anchor(question.text, answer, wanted))
    return [one for pair in zip(*found.values(), strict=False) for one in pair]
