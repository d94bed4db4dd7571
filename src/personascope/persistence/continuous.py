"""Continuous sampling: steer for a while, let go, and see how long the persona stays."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import torch

from personascope.directions import Direction
from personascope.engine.cells import Cells
from personascope.engine.choose import Sampling
from personascope.engine.generate import flat_directions, listed_prompts, run_requests
from personascope.engine.noise import derive_seed
from personascope.engine.rows import Generation, Request, duplicates
from personascope.engine.writes import add, check_width
from personascope.errors import UserError
from personascope.persistence.curves import Arm, Persistence
from personascope.personas import Persona, load_persona, persona_names
from personascope.subject import Prompt, PromptLike, Subject
from personascope.subject.chat import Message

CACHES = ("natural", "carried", "both")
CONTROLS = ("random", "prompted")


def persistence(
    subject: Subject,
    directions: Sequence[Direction],
    prompts: PromptLike | Sequence[PromptLike],
    alpha: float | Mapping[str, float] = 1.0,
    n_steer: int = 200,
    n_sample: int = 500,
    cache: str = "natural",
    steer_prompt: bool = False,
    controls: Sequence[str] = CONTROLS,
    samples: int = 1,
    temperature: float = 1.0,
    seed: int = 0,
    chat: bool = True,
    watch: Sequence[Direction] = (),
    batch_size: int | None = None,
    on_progress: Callable[[str, int | None], None] = lambda *_: None,
    cells: Cells | None = None,
) -> Persistence:
    """Steer each row with h ← h + αv while `n_steer` tokens are chosen, then sample `n_sample` tokens without, ends
    suppressed, and read every direction at each of them.

    alpha: one for all, or by `name@layer`, as `matched_alphas` finds them. cache: `natural`: after steering the text is
    encoded once more, without it; `carried`: the cache that was made under steering goes on; `both`. At and below the
    steered layer they do not differ (for equal ids), above it they tell text from cache. steer_prompt: steer the prompt
    too. controls: beside the steered rows and those of no steering, paired with them by prompt, seed and position, `random`
    (a direction of equal length) and `prompted` (the persona by system prompt, taken away after `n_steer` tokens; only of
    personas that ship). samples: rows of each prompt; equal prompts count once. watch: further directions to read.

    Raises `UserError` on zero vectors, on numbers of tokens that do not fit, and as `generate` does. Source: continuous
    sampling, after steering experiments on persona vectors.
    """
    listed = list({str(prompt): prompt for prompt in listed_prompts(prompts)}.values())
    steered = flat_directions(directions)
    read = [*steered, *(one for one in flat_directions(watch) if one.key not in {each.key for each in steered})]
    _check(subject, steered, read, alpha, n_steer, n_sample, cache, controls, samples)
    plain = [subject.chat.prompt(prompt, chat=chat) for prompt in listed for _ in range(samples)]
    if subject.context is not None:
        longest = max(map(len, plain)) + n_steer + n_sample
        if longest > subject.context:
            raise UserError(
                f"a prompt with {n_steer} + {n_sample} tokens takes {longest}, more than {subject.name}'s context of "
                f"{subject.context}; ask for fewer"
            )
    seeds = [derive_seed("persist", seed, str(prompt), sample) for prompt in listed for sample in range(samples)]
    parts = f"sampling[:{n_steer}]" + ("+prompt" if steer_prompt else "")

    def request(row: int, direction: Direction | None, tokens: int, prompt: Prompt | None = None) -> Request:
        """Steered with a direction, or not."""
        write = () if direction is None else (add(direction, _alpha(alpha, direction), tokens=parts),)
        return Request(
            prompt=prompt or plain[row],
            seed=seeds[row],
            max_new_tokens=tokens,
            sampling=Sampling(temperature),
            writes=write,
            suppress_eos=True,
        )

    rows = range(len(plain))
    first: dict[tuple[str, str], list[Request]] = {}
    whole = n_steer + n_sample
    first["baseline", ""] = [replace(request(row, None, whole), watch=tuple(read)) for row in rows]
    for one in steered:
        length = n_steer if cache == "natural" else whole
        reads = () if cache == "natural" else tuple(read)
        first["steered", one.key] = [replace(request(row, one, length), watch=reads) for row in rows]
        if "random" in controls:
            other = _random(one, seed)
            first["random", one.key] = [request(row, other, n_steer) for row in rows]
        persona = _shipped(one.name)
        if "prompted" in controls and persona is not None and chat and subject.chat.has_template:
            asked = [_under(subject, prompt, persona, row) for row, prompt in enumerate(_each(listed, samples))]
            first["prompted", one.key] = [request(row, None, n_steer, asked[row]) for row in rows]
    sampled = _run(subject, first, batch_size, on_progress, cells, "steering")
    second = {
        arm: [
            replace(
                request(row, None, n_sample),
                forced=tuple(sampled[arm][row].response_ids[:n_steer]),
                watch=tuple(read),
            )
            for row in rows
        ]
        for arm in first
        if arm[0] != "baseline" and not (arm[0] == "steered" and cache == "carried")
    }
    went_on = _run(subject, second, batch_size, on_progress, cells, "letting go")
    arms = [Arm.of("baseline", "", "natural", sampled["baseline", ""], n_steer)]
    for (kind, key), rows_of in went_on.items():
        arms.append(Arm.of(kind, key, "natural", rows_of, n_steer))
    if cache != "natural":
        arms += [Arm.of("steered", one.key, "carried", sampled["steered", one.key], n_steer) for one in steered]
    units = [place for place in range(len(listed)) for _ in range(samples)]
    used = {one.key: _alpha(alpha, one) for one in steered}
    labels = [_label(prompt) for prompt in listed]
    return Persistence(tuple(arms), tuple(one.key for one in read), tuple(units), labels, used, n_steer, n_sample)


def _run(
    subject: Subject,
    arms: Mapping[tuple[str, str], Sequence[Request]],
    batch_size: int | None,
    on_progress: Callable[[str, int | None], None],
    cells: Cells | None,
    what: str,
) -> dict[tuple[str, str], list[Generation]]:
    """All arms as rows of one stream."""
    requests = [request for rows in arms.values() for request in rows]
    on_progress(what, len(requests))
    found = iter(run_requests(subject, requests, batch_size, on_done=lambda *_: on_progress("", None), cells=cells))
    return {arm: [next(found) for _ in rows] for arm, rows in arms.items()}


def _check(
    subject: Subject,
    steered: Sequence[Direction],
    read: Sequence[Direction],
    alpha: float | Mapping[str, float],
    n_steer: int,
    n_sample: int,
    cache: str,
    controls: Sequence[str],
    samples: int,
) -> None:
    if not steered:
        raise UserError("there is nothing to steer with; give at least one direction")
    for number, name, least in ((n_steer, "n_steer", 1), (n_sample, "n_sample", 8), (samples, "samples", 1)):
        if number < least:
            raise UserError(f"{name}={number} must be {least} or more")
    if cache not in CACHES:
        raise UserError(f"cache={cache!r} is not known; use 'natural', 'carried' or 'both'")
    unknown = [one for one in controls if one not in CONTROLS]
    if unknown:
        raise UserError(f"control {unknown[0]!r} is not known; use {' or '.join(map(repr, CONTROLS))}")
    twice = duplicates(steered)
    if twice:
        raise UserError(f"two directions are both called {twice!r}; rename one with .named('…')")
    check_width(read, subject.hidden_size, subject.n_layers, subject.name)
    for one in read:
        one.unit()
    if isinstance(alpha, Mapping):
        missing = [one.key for one in steered if one.key not in alpha]
        if missing:
            raise UserError(f"alpha says nothing of {missing[0]!r}; it has {', '.join(alpha) or 'nothing'}")


def _alpha(alpha: float | Mapping[str, float], direction: Direction) -> float:
    return float(alpha[direction.key] if isinstance(alpha, Mapping) else alpha)


def _random(direction: Direction, seed: int) -> Direction:
    """A random direction of equal length at the same layer."""
    draw = torch.Generator().manual_seed(derive_seed("random direction", seed, direction.key) % 2**63)
    vector = torch.randn(direction.hidden_size, generator=draw)
    return Direction(vector / vector.norm() * direction.norm, direction.layer, f"random for {direction.name}")


def _shipped(name: str) -> Persona | None:
    return load_persona(name) if name in persona_names() else None


def _each(prompts: Sequence[PromptLike], samples: int) -> list[PromptLike]:
    return [prompt for prompt in prompts for _ in range(samples)]


def _under(subject: Subject, prompt: PromptLike, persona: Persona, row: int) -> Prompt:
    """The prompt under one of the persona's instructions, in turn; it takes the place of a system prompt."""
    turns: list[Message] = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
    system: Message = {"role": "system", "content": persona.system_prompt(row % len(persona.instruction), "pos", None)}
    return subject.chat.prompt([system, *(turn for turn in turns if turn["role"] != "system")])


def _label(prompt: PromptLike) -> str:
    return prompt if isinstance(prompt, str) else prompt[-1]["content"]
