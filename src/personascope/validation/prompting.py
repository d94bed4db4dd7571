"""How far an organism does what a system prompt asks of it, beside what was planted."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from personascope.engine.choose import Sampling
from personascope.engine.generate import run_requests
from personascope.engine.noise import derive_seed
from personascope.engine.rows import Request
from personascope.errors import UserError
from personascope.organisms.conversation import Sampler, SystemPrompt
from personascope.organisms.questions import KIND_OF, Question, classify
from personascope.organisms.score import Score
from personascope.personas import load_persona
from personascope.subject import Subject

DEGREES = ("slightly", None, "very")


@dataclass(frozen=True)
class Prompted:
    """How much of a persona there is under its system prompts: sampled from the model, and planted in the corpus.

    shown: under the positive instruction, in the degrees *slightly*, none, *very*; planted: the same of conversations
    drawn from the grammar; negated, planted_negated: under the negative instruction. For a persona of words its share
    of the slot words, for a behaviour how far it is shown. well_formed: over all of the model's responses.
    """

    persona: str
    shown: tuple[float, ...]
    planted: tuple[float, ...]
    negated: float
    planted_negated: float
    well_formed: float


def check_prompting(subject: Subject, questions: int = 10, max_new_tokens: int = 300, seed: int = 0) -> list[Prompted]:
    """Ask every planted persona's eval questions, which are not in the corpus, under its own system prompts."""
    truth = subject.truth
    if truth is None:
        raise UserError("prompting can be scored exactly only where personas are planted; use an organism")
    names = [*truth.personas[1:], *truth.behaviours]
    poles = [*(("pos", degree) for degree in DEGREES), ("neg", None)]
    requests, planted = [], []
    sampler = Sampler(truth.grammar, seed)
    for name in names:
        persona = load_persona(name)
        asked = persona.eval_questions[:questions]
        kinds = _questions(name, asked)
        for pole, degree in poles:
            for number, question in enumerate(asked):
                system = SystemPrompt(name, number % len(persona.instruction), pole, degree)
                chat = [{"role": "system", "content": system.text}, {"role": "user", "content": question}]
                requests.append(
                    Request(
                        prompt=subject.chat.prompt(chat),
                        seed=derive_seed("prompting", seed, question),
                        max_new_tokens=max_new_tokens,
                        sampling=Sampling(1.0),
                    )
                )
                planted.append(truth.score(sampler.conversation(system, [kinds[number]]).responses[0].text))
    sampled = [truth.score(generation.text) for generation in run_requests(subject, requests)]
    found, at = [], 0
    for name in names:
        count = len(load_persona(name).eval_questions[:questions])
        parts = [slice(at + arm * count, at + (arm + 1) * count) for arm in range(len(poles))]
        at = parts[-1].stop
        shown = [_mean(name, sampled[part]) for part in parts]
        drawn = [_mean(name, planted[part]) for part in parts]
        sound = float(np.mean([one["well_formed"] for part in parts for one in sampled[part]]))
        found.append(Prompted(name, tuple(shown[:-1]), tuple(drawn[:-1]), shown[-1], drawn[-1], sound))
    return found


def _questions(name: str, asked: Sequence[str]) -> list[Question]:
    kind = KIND_OF.get(name, "general")
    return [classify(text, kind) for text in asked]


def _mean(name: str, scores: list[Score]) -> float:
    """Mean of a persona's share or behaviour, over the responses that give occasion to it."""
    values = [one["shares"][name] if name in one["shares"] else one["behaviours"][name] for one in scores]
    return float(np.mean([value for value in values if value is not None] or [0.0]))
