"""What stays when steering stops, beside what the planted chain predicts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from personascope.directions import Direction
from personascope.engine.choose import Sampling
from personascope.engine.generate import run_requests
from personascope.engine.noise import derive_seed
from personascope.engine.rows import Generation, Request
from personascope.engine.writes import add
from personascope.errors import UserError
from personascope.organisms.parse import TOKEN
from personascope.organisms.posterior import Filter
from personascope.organisms.score import score
from personascope.statistics import Interval, mean_interval
from personascope.subject import Subject

# Tokens that sentences of running text have at most: a shorter allowance would leave out rows for their long sentences.
_LONGEST = 24


@dataclass(frozen=True)
class Afterglow:
    """A persona's share of the slot words in the sentences after steering: measured, and as the chain predicts it.

    steered: its share while steering. difference: measured less predicted, with its interval over prompts. The prediction
    starts from the exact posterior over the persona of the last steered sentence, row by row, and lets the planted chain go
    on from there.
    """

    persona: str
    stickiness: float
    steered: float
    measured: float
    predicted: float
    difference: Interval
    rows: int


def check_afterglow(
    subject: Subject,
    directions: Sequence[tuple[Direction, float]],
    prompts: Sequence[str],
    samples: int = 2,
    steer_tokens: int = 60,
    sentences: int = 4,
    seed: int = 0,
) -> list[Afterglow]:
    """Steer with each (direction, α) for some tokens, read the text once more without, go on from there, and look at the
    next few sentences. Keys and values made under steering would hold more of the persona than the text does."""
    truth = subject.truth
    if truth is None:
        raise UserError("what stays can be checked only where stickiness is planted; use an organism")
    requests, owners = [], []
    for number, (direction, alpha) in enumerate(directions):
        for prompt in prompts:
            for sample in range(samples):
                requests.append(
                    Request(
                        prompt=subject.chat.prompt(prompt),
                        seed=derive_seed("afterglow", seed, prompt, sample),
                        max_new_tokens=steer_tokens,
                        sampling=Sampling(1.0),
                        writes=(add(direction, alpha),),
                        suppress_eos=True,
                    )
                )
                owners.append(number)
    begun = run_requests(subject, requests)
    further = [
        replace(one, writes=(), forced=tuple(said.response_ids), max_new_tokens=_LONGEST * (sentences + 1))
        for one, said in zip(requests, begun, strict=True)
    ]
    generations = run_requests(subject, further)
    found = []
    for number, (direction, _) in enumerate(directions):
        ours = [
            (request.prompt.text, row)
            for owner, request, generation in zip(owners, requests, generations, strict=True)
            if owner == number and (row := _row(subject, generation, direction.name, steer_tokens, sentences))
        ]
        if ours:
            units, rows = [unit for unit, _ in ours], np.array([row for _, row in ours])
            steered, measured, predicted = rows.mean(axis=0)
            difference = mean_interval(rows[:, 1] - rows[:, 2], units)
            sticks = truth.stickiness[direction.name]
            found.append(Afterglow(direction.name, sticks, steered, measured, predicted, difference, len(rows)))
    return found


def _row(
    subject: Subject, generation: Generation, persona: str, steer_tokens: int, sentences: int
) -> tuple[float, float, float] | None:
    """(share while steered, share after, predicted share after) of one row; None if no sentence follows."""
    truth = subject.truth
    assert truth is not None
    steered = subject.decode(generation.response_ids[:steer_tokens])
    whole = subject.decode(generation.response_ids)
    # The sentence in which steering stopped is half steered: count from the one after it.
    cut = whole.find(".", len(steered))
    if cut < 0:
        return None
    after = [sentence.strip() + "." for sentence in whole[cut + 1 :].split(".")[:-1]][:sentences]
    if len(after) < sentences:
        return None
    filter_ = Filter(truth.reader)
    for word in TOKEN.findall(whole[: cut + 1]):
        filter_.read(word)
    # What the filter holds now is the belief about the first sentence after; the chain goes on from it.
    grammar = truth.grammar
    belief, expected = filter_.belief.copy(), []
    for _ in range(sentences):
        expected.append(float(belief @ _word_shares(subject, persona)))
        belief = belief @ grammar.transition
    shares = score(truth.reader, " ".join(after))["shares"][persona]
    return score(truth.reader, steered)["shares"][persona], shares, float(np.mean(expected))


def _word_shares(subject: Subject, persona: str) -> np.ndarray:
    """[personas]: in a sentence of each persona, the share of slot words that `persona` has too, shared words included."""
    truth = subject.truth
    assert truth is not None
    grammar = truth.grammar
    own = grammar.words[persona]
    shares = []
    for slot, words in grammar.slot_words.items():
        table = grammar.emission(slot, grammar.shares())
        mine = [index for index, word in enumerate(words) if word in getattr(own, slot)]
        shares.append(table[:, mine].sum(axis=1))
    return np.mean(shares, axis=0)
