"""The generations of an experiment: every condition on every prompt, all of them rows of one stream."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from personascope.engine.cells import Cells, request_key
from personascope.engine.choose import Sampling
from personascope.engine.generate import run_requests
from personascope.engine.noise import derive_seed
from personascope.engine.rows import Generation, Request
from personascope.engine.writes import add
from personascope.personas import Persona
from personascope.subject import Subject
from personascope.transfer.carrying import Carried
from personascope.transfer.conditions import Method
from personascope.transfer.config import TransferConfig
from personascope.transfer.maps import Setting

Part = Literal["development", "test"]


@dataclass(frozen=True)
class Prompts:
    """What is asked: development chooses α, test reports; no question is in both. spare: what more could be asked."""

    development: tuple[str, ...]
    test: tuple[str, ...]
    spare: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        return self.development + self.test

    @property
    def askable(self) -> tuple[str, ...]:
        """What is asked, and what will be if more is asked for."""
        return self.all + self.spare


@dataclass(frozen=True)
class Row:
    """One response to sample. persona: whom it is steered to, None for the baseline, which all share. alpha: 0 where
    nothing is added. sample: which of the prompt's seeds."""

    persona: str | None
    method: Method
    alpha: float
    part: Part
    prompt: str
    sample: int
    setting: Setting

    def describe(self) -> dict[str, Any]:
        """Plain values."""
        own = {name: value for name, value in vars(self).items() if name != "setting"}
        return {**own, **vars(self.setting)}


def grid(
    config: TransferConfig, personas: Sequence[str], prompts: Prompts, main: Setting, swept: Sequence[Setting]
) -> list[Row]:
    """The rows of an experiment. Conditions share prompts and seeds, so that they are paired. One response to each
    development prompt; sweeps run on test prompts alone."""

    def asked(setting: Setting, parts: Sequence[Part]) -> Iterator[tuple[Part, str, int]]:
        for part in parts:
            for prompt in getattr(prompts, part):
                for sample in range(config.seeds if part == "test" else 1):
                    yield part, prompt, sample

    both: tuple[Part, Part] = ("development", "test")
    rows = [Row(None, "baseline", 0.0, *one, main) for one in asked(main, both)]
    for setting in (main, *swept):
        is_main = setting == main
        methods = config.steered if is_main else [one for one in config.sweep.methods if one != "baseline"]
        doses = config.alpha_values if is_main else config.swept_alphas
        rows += [
            Row(persona, method, alpha, *one, setting)
            for persona in personas
            for method in methods
            for alpha in ((0.0,) if method == "system_prompt" else doses)
            for one in asked(setting, both if is_main else ("test",))
        ]
    return rows


def requests_of(
    subject: Subject,
    rows: Sequence[Row],
    carried: Sequence[Carried],
    personas: Mapping[str, Persona],
    config: TransferConfig,
) -> list[Request]:
    """What the stream is given for each row."""
    vectors = {(one.persona, one.method, one.setting): one.direction for one in carried}
    writes = {
        (*key, row.alpha): (add(vectors[key], row.alpha),)
        for row in rows
        if (key := (row.persona or "", row.method, row.setting)) in vectors
    }
    chats = {}
    for row in rows:
        system = personas[row.persona or ""].system_prompt(0) if row.method == "system_prompt" else ""
        if (system, row.prompt) not in chats:
            turns = [{"role": "user", "content": row.prompt}]
            turns = [{"role": "system", "content": system}, *turns] if system else turns
            chats[system, row.prompt] = subject.chat.prompt(turns)
    return [
        Request(
            prompt=chats[
                personas[row.persona or ""].system_prompt(0) if row.method == "system_prompt" else "", row.prompt
            ],
            seed=seed_of(config, row),
            max_new_tokens=config.max_new_tokens,
            sampling=Sampling(config.temperature),
            writes=writes.get((row.persona or "", row.method, row.setting, row.alpha), ()),
        )
        for row in rows
    ]


def seed_of(config: TransferConfig, row: Row) -> int:
    """The same of every condition."""
    return derive_seed("transfer", config.seed, row.prompt, row.sample)


def run_grid(
    subject: Subject,
    requests: Sequence[Request],
    store: Cells,
    batch_size: int | None = None,
    on_progress: Callable[[str, int | None], None] = lambda *_: None,
) -> list[Generation]:
    """One response per request, in one stream; those in the store are not sampled again, nor is the same row twice, such
    as an oracle's in two settings of a sweep."""
    keys = [request_key(subject, request, {}) for request in requests]
    once = dict(zip(reversed(keys), reversed(requests), strict=True))
    on_progress("generating", len(once))
    found = run_requests(
        subject, list(once.values()), batch_size, on_done=lambda *_: on_progress("", None), cells=store
    )
    by_key = dict(zip(once, found, strict=True))
    return [by_key[key] for key in keys]
