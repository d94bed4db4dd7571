"""Mean projections of responses: one number per response and direction."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from personascope.corpora import Record
from personascope.directions import Direction, DirectionSet
from personascope.engine.cells import Cells
from personascope.engine.choose import Sampling
from personascope.engine.forward import Passage, projections_of
from personascope.engine.generate import run_requests
from personascope.engine.noise import derive_seed
from personascope.engine.rows import Request, duplicates
from personascope.errors import UserError
from personascope.subject import PromptLike, Subject


def check_given(directions: Sequence[DirectionSet], records: Sequence[Record]) -> None:
    """Raise `UserError` unless these are lists of direction sets and of records."""
    if isinstance(directions, DirectionSet) or not all(isinstance(one, DirectionSet) for one in directions):
        raise UserError(
            "directions takes a list of direction sets, such as [evil], as extract and load_directions make"
        )
    strange = next((one for one in records if not isinstance(one, Record)), None)
    if strange is not None:
        raise UserError(
            f"{strange!r:.60} is no record; write ps.Record(prompt, response), the response where there is one"
        )


def check_names(directions: Sequence[Direction]) -> None:
    """Raise `UserError` where two directions share name and layer: their numbers could not be told apart."""
    twice = duplicates(directions)
    if twice is not None:
        raise UserError(f"two directions are called {twice}; give one of them another name with .named(…)")


@dataclass(frozen=True)
class Asking:
    """How a model is asked for responses of its own: `samples` to each prompt."""

    samples: int
    max_new_tokens: int
    temperature: float
    seed: int
    chat: bool
    batch_size: int | None
    cells: Cells | None


def own_responses(subject: Subject, prompts: Sequence[PromptLike], asking: Asking) -> list[list[Passage]]:
    """For each prompt what the model itself says to it; without responses that failed or said nothing.

    Seeds come from the prompt's place, so that two models are asked with the same noise.
    """
    requests = [
        Request(
            prompt=subject.chat.prompt(prompt, chat=asking.chat),
            seed=derive_seed("own", asking.seed, place, sample),
            max_new_tokens=asking.max_new_tokens,
            sampling=Sampling(asking.temperature),
        )
        for place, prompt in enumerate(prompts)
        for sample in range(asking.samples)
    ]
    generations = run_requests(subject, requests, asking.batch_size, cells=asking.cells)
    passages: list[list[Passage]] = [[] for _ in prompts]
    for number, (request, generation) in enumerate(zip(requests, generations, strict=True)):
        if generation.error is None and generation.response_ids:
            passages[number // asking.samples].append(Passage(request.prompt, tuple(generation.response_ids)))
    return passages


def response_projections(
    subject: Subject, passages: Sequence[Passage], directions: Sequence[Direction]
) -> list[np.ndarray]:
    """For each passage [response tokens, directions]: the projections after every response token."""
    return [
        np.stack([row.projections[one.key][len(passage.prompt) :] for one in directions], axis=1).astype(np.float64)
        for passage, row in zip(passages, projections_of(subject, passages, directions), strict=True)
    ]
