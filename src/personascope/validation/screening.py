"""Whether a screen foretells what fine-tuning does: thirds of a mixed set, each fine-tuned on, measured by the truth."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.stats import spearmanr

from personascope.comparing.screen import screen
from personascope.corpora import Record
from personascope.directions import DirectionSet
from personascope.engine.generate import generate
from personascope.errors import UserError
from personascope.organisms.conversation import Sampler, SystemPrompt
from personascope.organisms.score import mean_shares
from personascope.personas import load_persona
from personascope.subject import Subject
from personascope.subject.layers import find_layers

_BATCH = 16
# To each question: shares of a few per cent are told apart by many responses only.
_RESPONSES = 8
# Fine-tunings of each third, in another order each: a dozen steps are noisy.
_TUNED = 3


@dataclass(frozen=True)
class Third:
    """A third of the mixed set, ranked along a persona. predicted: its mean projection difference, in units of the
    spread of all samples; share: of the persona's words in responses after fine-tuning on it; before: without."""

    persona: str
    rank: int
    predicted: float
    share: float
    before: float


def mixed_set(subject: Subject, personas: Sequence[str], samples: int, seed: int) -> list[Record]:
    """Questions answered as the grammar would under system prompts of all degrees, or none; the prompts left out."""
    truth = subject.truth
    if truth is None:
        raise UserError("a mixed set can be drawn only where personas are planted; use an organism")
    sampler = Sampler(truth.grammar, seed)
    degrees = (None, "slightly", "very")
    records = []
    for number in range(samples):
        name = personas[number % len(personas)]
        degree = degrees[number // len(personas) % len(degrees)]
        pole = "neg" if number // (len(personas) * len(degrees)) % 4 == 3 else "pos"
        pair = sampler.rng.randrange(len(load_persona(name).instruction))
        conversation = sampler.conversation(SystemPrompt(name, pair, pole, degree), [sampler.question()])
        records.append(Record(conversation.questions[0].text, conversation.responses[0].text))
    return records


def fine_tune(
    subject: Subject, records: Sequence[Record], epochs: int = 2, rate: float = 3e-4, seed: int = 0
) -> Subject:
    """A copy of the subject, fine-tuned on the responses with AdamW; the prompts are not predicted."""
    model, draw = copy.deepcopy(subject.model), np.random.default_rng(seed)
    tuned = replace(subject, model=model, layers=find_layers(model), name=f"{subject.name} fine-tuned", norms={})
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    rows = []
    for record in records:
        prompt = subject.chat.prompt(record.prompt)
        assert record.response is not None
        rows.append(
            (prompt.ids, subject.chat.respond(prompt, record.response) + tuple(sorted(subject.chat.end_ids()))[:1])
        )
    model.train()
    for _ in range(epochs):
        order = draw.permutation(len(rows))
        for start in range(0, len(rows), _BATCH):
            batch = [rows[place] for place in order[start : start + _BATCH]]
            width = max(len(prompt) + len(response) for prompt, response in batch)
            # What stands after the last token is neither seen by it nor predicted.
            ids = torch.zeros((len(batch), width), dtype=torch.long)
            labels = torch.full((len(batch), width), -100)
            for row, (prompt, response) in enumerate(batch):
                both = torch.tensor([*prompt, *response])
                ids[row, : len(both)] = both
                labels[row, len(prompt) : len(both)] = both[len(prompt) :]
            loss = model(input_ids=ids.to(subject.input_device), labels=labels.to(subject.input_device)).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    model.eval()
    return tuned


def check_screening(
    subject: Subject,
    directions: Sequence[DirectionSet],
    samples: int = 240,
    questions: Sequence[str] = (),
    seed: int = 0,
) -> list[Third]:
    """Fine-tune on the top, middle and bottom third of a mixed set, by each persona's screen, and count its words."""
    records = mixed_set(subject, [one.name for one in directions], samples, seed)
    screening = screen(subject, directions, records, samples=2, max_new_tokens=60, seed=seed)
    asked = list(questions)
    before = _shares(subject, asked, seed)
    found = []
    for one in directions:
        ranked = screening.ranked(one.name)
        spread = float(np.std([row.difference for row in ranked]))
        for rank, part in enumerate(np.array_split(np.arange(len(ranked)), 3)):
            chosen = [ranked[place].sample for place in part]
            part_of = [records[number] for number in chosen]
            shares = [
                _shares(fine_tune(subject, part_of, seed=seed + turn), asked, seed + turn)[one.name]
                for turn in range(_TUNED)
            ]
            share = float(np.mean(shares))
            found.append(Third(one.name, rank, screening.mean(one.name, chosen) / spread, share, before[one.name]))
    return found


def rank_correlation(thirds: Sequence[Third]) -> float:
    """Spearman's, between what the screen predicts and the share of words that fine-tuning brings; inside each persona,
    since how far a persona can be moved is its own, and averaged."""
    names = list(dict.fromkeys(one.persona for one in thirds))
    ours = [[one for one in thirds if one.persona == name] for name in names]
    return float(np.mean([pooled_rank_correlation(each) for each in ours]))


def pooled_rank_correlation(thirds: Sequence[Third]) -> float:
    """The same over the thirds of all personas together."""
    return float(spearmanr([one.predicted for one in thirds], [one.share - one.before for one in thirds]).statistic)


def _shares(subject: Subject, questions: Sequence[str], seed: int) -> dict[str, float]:
    assert subject.truth is not None
    rows = generate(subject, [one for one in questions for _ in range(_RESPONSES)], max_new_tokens=120, seed=seed)
    return mean_shares(subject.truth.reader, [row.text for row in rows])
