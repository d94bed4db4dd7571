"""Rollouts under a persona's two poles, with their activations read while they are sampled."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from torch import Tensor

from personascope.engine.cells import Cells
from personascope.engine.choose import Sampling
from personascope.engine.forward import Passage
from personascope.engine.generate import run_requests
from personascope.engine.noise import derive_seed
from personascope.engine.rows import Generation, Request
from personascope.errors import UserError
from personascope.extraction.splits import SPLITS, Split, SplitName
from personascope.judging import Judge, Judgement
from personascope.personas import Persona
from personascope.runs import Journal
from personascope.subject import Prompt, Subject

# So many equal scores in a row say more about the judge than about the answers.
_TELLING = 10

# Read of every rollout, whatever is asked for.
SELECTIONS = ("response", "prompt", "prompt[-1]")


@dataclass(frozen=True)
class Cell:
    """One rollout to sample. Both poles of a pair share question, sample and seed, and are so paired."""

    persona: Persona
    split: SplitName
    pole: Literal["pos", "neg"]
    pair: int
    question: str
    sample: int

    def seed(self, seed: int) -> int:
        return derive_seed("extract", seed, self.split, self.pair, self.question, self.sample)

    def instruction(self, degree: str | None) -> str:
        """The system prompt; `degree` says how much a positive one asks for."""
        return self.persona.system_prompt(self.pair, self.pole, degree if self.pole == "pos" else None)

    def chat(self, degree: str | None) -> list[dict[str, str]]:
        """What the model is asked."""
        return [
            {"role": "system", "content": self.instruction(degree)},
            {"role": "user", "content": self.question},
        ]

    @property
    def match(self) -> tuple[str, int, str, int]:
        """What the two poles of a pair have in common."""
        return self.split, self.pair, self.question, self.sample


@dataclass(frozen=True, eq=False)
class Rollout:
    """A sampled response. means: [layers, selections, hidden]. passage: prompt and response as tokens."""

    cell: Cell
    answer: str
    means: Tensor
    passage: Passage
    judgement: Judgement | None = None


def cells(persona: Persona, splits: dict[SplitName, Split], samples: int) -> Iterator[Cell]:
    """All rollouts of a persona."""
    for name in SPLITS:
        for pair in splits[name].pairs:
            for question in splits[name].questions:
                for sample in range(samples):
                    for pole in ("pos", "neg"):
                        yield Cell(persona, name, pole, pair, question, sample)  # type: ignore[arg-type]


def sample_rollouts(
    subject: Subject,
    wanted: Sequence[Cell],
    layers: Sequence[int],
    selections: Sequence[str],
    max_new_tokens: int,
    temperature: float,
    seed: int,
    batch_size: int | None = None,
    on_done: Callable[[], None] = lambda: None,
    store: Cells | None = None,
    degree: str | None = None,
) -> list[Rollout]:
    """Sample the cells, of one persona or of several, as rows of one stream, reading mean activations on the way.

    degree: how much the positive instruction asks for, `slightly`, None or `very`.
    """
    sampling = Sampling(temperature)
    requests = [
        Request(prompt, cell.seed(seed), max_new_tokens, sampling, reads=True)
        for cell, prompt in zip(wanted, _prompts(subject, wanted, degree), strict=True)
    ]
    found: dict[int, Rollout] = {}

    def keep(index: int, generation: Generation) -> None:
        if generation.error is None and generation.means is not None and generation.response_ids:
            passage = Passage(requests[index].prompt, tuple(generation.response_ids))
            found[index] = Rollout(wanted[index], generation.text, generation.means, passage)
        on_done()

    run_requests(subject, requests, batch_size, selections, layers, keep, store)
    return [found[index] for index in sorted(found)]


def _prompts(subject: Subject, wanted: Sequence[Cell], degree: str | None) -> Iterator[Prompt]:
    """What each cell is asked; samples of one question share it."""
    known: dict[tuple[str, str], Prompt] = {}
    for cell in wanted:
        said = (cell.instruction(degree), cell.question)
        if said not in known:
            known[said] = subject.chat.prompt(cell.chat(degree))
        yield known[said]


def judged(
    rollouts: Sequence[Rollout],
    persona: Persona,
    judge: Judge | None,
    fraction: float = 1.0,
    journal: Journal | None = None,
) -> list[Rollout]:
    """The rollouts with their judgements; as they are without a judge. fraction: the share of rollouts that is judged,
    drawn by their seeds; the others are taken to show what was asked of them.

    Raises `UserError` where the judge gives ten or more answers, of both poles, one and the same score; answers that it
    leaves unscored do not count.
    """
    if judge is None:
        return list(rollouts)
    chosen = [place for place, one in enumerate(rollouts) if one.cell.seed(0) % 10_000 < round(fraction * 10_000)]
    judgements = judge.judge(
        persona, [(rollouts[place].cell.question, rollouts[place].answer) for place in chosen], journal
    )
    scored = [
        (one.trait, rollouts[place].cell.pole)
        for place, one in zip(chosen, judgements, strict=True)
        if one.trait is not None
    ]
    poles, scores = {pole for _, pole in scored}, {trait for trait, _ in scored}
    if len(scored) >= _TELLING and len(poles) == 2 and len(scores) == 1:
        unscored = len(judgements) - len(scored)
        rest = f" and leaves {unscored} unscored" if unscored else ""
        raise UserError(
            f"the {judge.name} judge scores all {len(scored)} answers of {persona.name!r} at {scores.pop():g}{rest}, those "
            "that were asked for the persona and those that were not; give a judge that can tell, or a clearer eval_prompt"
        )
    found = list(rollouts)
    for place, judgement in zip(chosen, judgements, strict=True):
        found[place] = replace(found[place], judgement=judgement)
    return found


@dataclass(frozen=True)
class Filter:
    """Which rollouts count. Source: persona vectors (Chen et al., 2025): pos ≥ 50, neg < 50, coherence ≥ 50."""

    pos_at_least: float = 50.0
    neg_below: float = 50.0
    coherence_at_least: float = 50.0
    least_per_pole: int = 3

    def keeps(self, rollout: Rollout) -> bool:
        """Whether a rollout shows what its instruction asked for; yes where nobody judged it."""
        if rollout.judgement is None:
            return True
        trait, coherence = rollout.judgement.trait, rollout.judgement.coherence
        if trait is None or coherence is None or coherence < self.coherence_at_least:
            return False
        return trait >= self.pos_at_least if rollout.cell.pole == "pos" else trait < self.neg_below

    def check(self, sampled: int, persona: Persona, split: SplitName, pole: str) -> None:
        """Raises `UserError` where so few rollouts of a pole are sampled that no filter could keep enough."""
        if sampled < self.least_per_pole:
            raise UserError(
                f"the {split} split of {persona.name!r} has {sampled} {pole} rollout{'s' if sampled != 1 else ''} and "
                f"{self.least_per_pole} are needed: raise samples, or use more questions"
            )

    def apply(self, rollouts: Sequence[Rollout], persona: Persona, split: SplitName) -> list[Rollout]:
        """The rollouts of a split that count. Raises `UserError` where a pole keeps too few."""
        ours = [rollout for rollout in rollouts if rollout.cell.split == split]
        kept = [rollout for rollout in ours if self.keeps(rollout)]
        for pole in ("pos", "neg"):
            count = sum(rollout.cell.pole == pole for rollout in kept)
            if count < self.least_per_pole:
                sampled = sum(rollout.cell.pole == pole for rollout in ours)
                self.check(sampled, persona, split, pole)
                raise UserError(
                    f"only {count} of {sampled} {pole} rollouts of {persona.name!r} survive the filter in the {split} split "
                    f"and {self.least_per_pole} are needed: raise samples, sharpen the "
                    "instructions, or let nobody judge (--judge none)"
                )
        return kept
