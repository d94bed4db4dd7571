"""Which samples of a fine-tuning set would push a model along a persona."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from personascope.comparing.projecting import Asking, check_given, check_names, own_responses, response_projections
from personascope.corpora import Record
from personascope.directions import DirectionSet
from personascope.engine.cells import Cells
from personascope.engine.forward import Passage
from personascope.errors import UserError
from personascope.subject import Subject


@dataclass(frozen=True)
class Screened:
    """One sample along one persona: mean projections over response tokens, in residual-stream units.

    given: of the dataset's response; own: of the model's own one to the same prompt; difference: given − own.
    """

    sample: int
    persona: str
    layer: int
    given: float
    own: float

    @property
    def difference(self) -> float:
        return self.given - self.own

    def describe(self) -> dict[str, Any]:
        return {**vars(self), "difference": self.difference}


@dataclass(frozen=True)
class Screening:
    """All samples along all personas; `left_out`: samples without a response of either kind, by number."""

    rows: tuple[Screened, ...]
    left_out: tuple[int, ...]

    def ranked(self, persona: str) -> list[Screened]:
        """The samples of a persona, those that would push towards it most first. Raises `UserError` on an unknown one."""
        ours = [row for row in self.rows if row.persona == persona]
        if not ours:
            known = ", ".join(sorted({row.persona for row in self.rows}))
            raise UserError(f"nothing was screened along {persona!r}; there are {known}")
        return sorted(ours, key=lambda row: -row.difference)

    def mean(self, persona: str, samples: Sequence[int] | None = None) -> float:
        """Mean projection difference of a persona over some samples: what fine-tuning on them is predicted to move."""
        chosen = None if samples is None else set(samples)
        found = [row.difference for row in self.ranked(persona) if chosen is None or row.sample in chosen]
        if not found:
            raise UserError(f"none of these samples was screened along {persona!r}")
        return float(np.mean(found))


def screen(
    subject: Subject,
    directions: Sequence[DirectionSet],
    records: Sequence[Record],
    samples: int = 1,
    max_new_tokens: int = 120,
    temperature: float = 1.0,
    seed: int = 0,
    chat: bool = True,
    batch_size: int | None = None,
    cells: Cells | None = None,
) -> Screening:
    """For every sample the projection difference between its response and the model's own to the same prompt.

    Directions are read at the layers chosen for reading. samples: own responses averaged over for each prompt; equal
    prompts share theirs. Raises `UserError` where a record has no response.
    Source: persona vectors (Chen et al., 2025), projection difference.
    """
    Subject.check(subject)
    check_given(directions, records)
    if not records:
        raise UserError("the dataset is empty; give samples with a prompt and a response")
    missing = [number for number, one in enumerate(records) if one.response is None]
    if missing:
        raise UserError(f"sample {missing[0]} has no response to screen; give prompts with responses")
    if not directions:
        raise UserError("there are no directions to screen along; give at least one set")
    best = [one.best for one in directions]
    check_names(best)
    prompts: dict[str, int] = {}
    owners = [prompts.setdefault(repr(one.prompt), len(prompts)) for one in records]
    first = [owners.index(place) for place in range(len(prompts))]
    asked = [records[number].prompt for number in first]
    natural = own_responses(subject, asked, Asking(samples, max_new_tokens, temperature, seed, chat, batch_size, cells))
    own: list[np.ndarray | None] = []
    read = iter(response_projections(subject, [each for row in natural for each in row], best))
    for row in natural:
        values = [next(read).mean(axis=0) for _ in row]
        own.append(np.mean(values, axis=0) if values else None)
    given: list[tuple[int, Passage]] = []
    for number, record in enumerate(records):
        assert record.response is not None
        prompt = subject.chat.prompt(record.prompt, chat=chat)
        response = subject.chat.respond(prompt, record.response) if record.response.strip() else ()
        if response and own[owners[number]] is not None:
            given.append((number, Passage(prompt, response)))
    values = response_projections(subject, [passage for _, passage in given], best)
    rows = []
    for (number, _), tokens in zip(given, values, strict=True):
        mine = own[owners[number]]
        assert mine is not None
        for column, one in enumerate(best):
            rows.append(Screened(number, one.name, one.layer, float(tokens[:, column].mean()), float(mine[column])))
    kept = {number for number, _ in given}
    return Screening(tuple(rows), tuple(number for number in range(len(records)) if number not in kept))
