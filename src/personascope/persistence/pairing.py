"""Rows that are paired: row r of every arm has the same prompt and the same noise."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from personascope.directions import Direction
from personascope.engine.cells import Cells
from personascope.engine.choose import Sampling
from personascope.engine.generate import listed_prompts, run_requests
from personascope.engine.noise import derive_seed
from personascope.engine.rows import Generation, Request
from personascope.engine.writes import Write
from personascope.errors import UserError
from personascope.subject import Prompt, PromptLike, Subject

ArmName = TypeVar("ArmName", bound=Hashable)


# Prompts below which intervals that resample them are too narrow, and what was not seen to fall may just be too few.
ENOUGH = 5


@dataclass(frozen=True, eq=False)
class Pairing:
    """prompts: each once; units: for each row the number of its prompt; plain: for each row its prompt as tokens."""

    subject: Subject
    prompts: tuple[PromptLike, ...]
    units: tuple[int, ...]
    plain: tuple[Prompt, ...]
    seeds: tuple[int, ...]
    temperature: float

    @classmethod
    def of(
        cls,
        subject: Subject,
        prompts: PromptLike | Sequence[PromptLike],
        samples: int,
        temperature: float,
        seed: int,
        chat: bool,
    ) -> "Pairing":
        """`samples` rows of each prompt; equal prompts count once. Raises `UserError` as `check_prompts` does."""
        if samples < 1:
            raise UserError(f"samples={samples} must be 1 or more")
        listed = tuple({str(prompt): prompt for prompt in listed_prompts(prompts)}.values())
        check_prompts(listed)
        units = tuple(place for place in range(len(listed)) for _ in range(samples))
        plain = [subject.chat.prompt(prompt, chat=chat) for prompt in listed]
        seeds = [derive_seed("persist", seed, str(prompt), sample) for prompt in listed for sample in range(samples)]
        return cls(subject, listed, units, tuple(plain[unit] for unit in units), tuple(seeds), temperature)

    @property
    def rows(self) -> range:
        return range(len(self.units))

    def request(
        self,
        row: int,
        tokens: int,
        prompt: Prompt | None = None,
        writes: Sequence[Write] = (),
        watch: Sequence[Direction] = (),
        forced: Sequence[int] = (),
    ) -> Request:
        """A row with its own noise, ends suppressed; after its own prompt unless another is given."""
        return Request(
            prompt=prompt or self.plain[row],
            seed=self.seeds[row],
            max_new_tokens=tokens,
            sampling=Sampling(self.temperature),
            writes=tuple(writes),
            watch=tuple(watch),
            suppress_eos=True,
            forced=tuple(forced),
        )

    def run(
        self,
        arms: Mapping[ArmName, Sequence[Request]],
        what: str,
        batch_size: int | None,
        on_progress: Callable[[str, int | None], None],
        cells: Cells | None,
    ) -> dict[ArmName, list[Generation]]:
        """All arms as rows of one stream."""
        requests = [request for rows in arms.values() for request in rows]
        on_progress(what, len(requests))
        found = iter(
            run_requests(self.subject, requests, batch_size, on_done=lambda *_: on_progress("", None), cells=cells)
        )
        return {arm: [next(found) for _ in rows] for arm, rows in arms.items()}


def steered_tokens(n_steer: int, steer_prompt: bool) -> str:
    """The selection that is steered: where the first `n_steer` tokens are chosen, and the prompt too if asked."""
    return f"sampling[:{n_steer}]" + ("+prompt" if steer_prompt else "")


def check_prompts(prompts: Sequence[PromptLike]) -> None:
    """Raises `UserError` on an empty prompt, an empty turn, and a chat that does not end on what the user says."""
    for number, prompt in enumerate(prompts):
        if isinstance(prompt, str):
            if not prompt.strip():
                raise UserError(f"prompt {number} is empty; give it words or leave it out")
            continue
        for place, turn in enumerate(prompt):
            if not str(turn.get("content", "")).strip():
                raise UserError(f"prompt {number}: message {place} is empty; give it words or leave it out")
        if not prompt or prompt[-1].get("role") != "user":
            raise UserError(
                f"prompt {number} does not end on a user turn, and the answer to one is sampled; leave out what follows it"
            )


def check_room(subject: Subject, prompts: Sequence[Prompt], tokens: Mapping[str, int]) -> None:
    """Raises `UserError` where the longest prompt with so many tokens, by name, does not fit the context."""
    longest = max(map(len, prompts)) + sum(tokens.values())
    if subject.context is not None and longest > subject.context:
        parts = " + ".join(f"{count} ({name})" for name, count in tokens.items())
        raise UserError(
            f"a prompt with {parts} tokens takes {longest}, more than {subject.name}'s context of {subject.context}; "
            "ask for fewer"
        )
