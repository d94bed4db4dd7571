"""Continuous sampling: steer for a while, let go, and see how long the persona stays."""

from collections.abc import Callable, Collection, Mapping, Sequence

from personascope.directions import Direction, random_like
from personascope.engine.cells import Cells
from personascope.engine.generate import flat_directions
from personascope.engine.rows import Generation, Request, duplicates
from personascope.engine.work import Work
from personascope.engine.writes import Write, add, check_width
from personascope.errors import UserError
from personascope.persistence.curves import Arm, Persistence
from personascope.persistence.known import known_personas
from personascope.persistence.pairing import Pairing, check_room, steered_tokens
from personascope.personas import Persona
from personascope.subject import Prompt, PromptLike, Subject
from personascope.subject.chat_template import Message

CACHES = ("natural", "carried", "both")
CONTROLS = ("random", "prompted")
# Arms whose steered cache can go on; a prompt that is taken away takes its cache with it.
CARRIED = ("steered", "random")


def persistence(
    subject: Subject,
    directions: Sequence[Direction],
    prompts: PromptLike | Sequence[PromptLike],
    alpha: float | Mapping[str, float] = 1.0,
    n_steer: int = 200,
    n_sample: int = 500,
    cache: str = "natural",
    steer_prompt: bool = False,
    controls: Sequence[str] | None = None,
    samples: int = 1,
    temperature: float = 1.0,
    seed: int = 0,
    chat: bool = True,
    watch: Sequence[Direction] = (),
    personas: Mapping[str, Persona] | None = None,
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
    (a direction of equal length) and `prompted` (the persona by system prompt, taken away after `n_steer` tokens); by
    default both, the second of those directions that have a persona of their name, where there is a chat template. samples:
    rows of each prompt; equal prompts count once. watch: further directions to read. personas: by the directions' names,
    shipped ones by default.

    Raises `UserError` on zero vectors, on numbers of tokens that do not fit, on a prompt that is empty or does not end on a
    user turn, where `prompted` is asked for and cannot be, and as `generate` does. Source: continuous sampling, after
    steering experiments on persona vectors.
    """
    Subject.check(subject)
    steered = flat_directions(directions)
    read = [*steered, *(one for one in flat_directions(watch) if one.key not in {each.key for each in steered})]
    check_settings(subject, steered, read, alpha, n_steer, n_sample, cache, controls)
    known = known_personas() | dict(personas or {})
    told = prompted(subject, steered, controls, chat, known)
    paired = Pairing.of(subject, prompts, samples, temperature, seed, chat)
    asked = {one.key: _under(subject, paired, known[one.name]) for one in told}
    check_room(subject, paired.plain, {"n_steer": n_steer, "n_sample": n_sample})
    check_room(
        subject, [paired.plain[0], *(one for prompts in asked.values() for one in prompts)], {"n_steer": n_steer}
    )
    parts = steered_tokens(n_steer, steer_prompt)

    def steering(direction: Direction) -> tuple[Write, ...]:
        return (add(direction, _alpha(alpha, direction), tokens=parts),)

    whole, goes_on = n_steer + n_sample, cache != "natural"
    first: dict[tuple[str, str], list[Request]] = {}
    first["baseline", ""] = [paired.request(row, n_steer) for row in paired.rows]
    for one in steered:
        first["steered", one.key] = [
            paired.request(row, whole if goes_on else n_steer, writes=steering(one), watch=read if goes_on else ())
            for row in paired.rows
        ]
        if controls is None or "random" in controls:
            other = add(random_like(one, seed), _alpha(alpha, one), tokens=parts)
            first["random", one.key] = [
                paired.request(row, whole if goes_on else n_steer, writes=(other,), watch=read if goes_on else ())
                for row in paired.rows
            ]
        if one.key in asked:
            first["prompted", one.key] = [
                paired.request(row, n_steer, prompt) for row, prompt in enumerate(asked[one.key])
            ]
    sampled = paired.run(first, "steering", batch_size, on_progress, cells)
    second: dict[tuple[str, str], list[Request]] = {}
    for (kind, key), rows_of in sampled.items():
        if not (kind in CARRIED and cache == "carried"):
            second[kind, key] = [
                paired.request(row, n_sample, watch=read, forced=done.response_ids[:n_steer])
                for row, done in enumerate(rows_of)
                if done.error is None
            ]
    went_on = paired.run(second, "letting go", batch_size, on_progress, cells)
    keys = [one.key for one in read]

    def arm(kind: str, key: str, of_cache: str, rows_of: Sequence[Generation]) -> Arm:
        return Arm.of(kind, key, of_cache, rows_of, keys, n_steer, n_sample)

    arms = []
    for (kind, key), found in went_on.items():
        rest = iter(found)
        arms.append(
            arm(kind, key, "natural", [next(rest) if done.error is None else done for done in sampled[kind, key]])
        )
    if goes_on:
        arms += [arm(kind, key, "carried", rows_of) for (kind, key), rows_of in sampled.items() if kind in CARRIED]
    used = {one.key: _alpha(alpha, one) for one in steered}
    labels = [_label(prompt) for prompt in paired.prompts]
    return Persistence(tuple(arms), tuple(keys), paired.units, labels, used, n_steer, n_sample)


def sampling_work(
    subject: Subject,
    directions: Sequence[Direction],
    rows: int,
    n_steer: int,
    n_sample: int,
    cache: str,
    controls: Sequence[str] | None,
    chat: bool,
    personas: Collection[str] | None = None,
) -> Work:
    """What `persistence` runs at most, with so many rows an arm."""
    plain = rows * (1 + len(prompted(subject, directions, controls, chat, personas)))
    steered = rows * len(directions) * (1 + (controls is None or "random" in controls))
    first = Work.of(plain, n_steer) + Work.of(steered, n_steer + (0 if cache == "natural" else n_sample))
    return first + Work.of(plain + (0 if cache == "carried" else steered), n_sample, n_steer)


def check_settings(
    subject: Subject,
    steered: Sequence[Direction],
    read: Sequence[Direction],
    alpha: float | Mapping[str, float],
    n_steer: int,
    n_sample: int,
    cache: str,
    controls: Sequence[str] | None,
) -> None:
    """Raises `UserError` on settings that `persistence` cannot run with."""
    if not steered:
        raise UserError("there is nothing to steer with; give at least one direction")
    for number, name, least in ((n_steer, "n_steer", 1), (n_sample, "n_sample", 8)):
        if number < least:
            raise UserError(f"{name}={number} must be {least} or more")
    if cache not in CACHES:
        raise UserError(f"cache={cache!r} is not known; use 'natural', 'carried' or 'both'")
    unknown = [one for one in controls or () if one not in CONTROLS]
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


def prompted(
    subject: Subject,
    steered: Sequence[Direction],
    controls: Sequence[str] | None,
    chat: bool,
    personas: Collection[str] | None = None,
) -> list[Direction]:
    """The directions whose personas are to be asked for by system prompt. personas: names, by default of those that ship.

    Raises `UserError` where that is asked for by name and a direction has no persona, or the prompt no place for it.
    """
    if controls is not None and "prompted" not in controls:
        return []
    has_place = chat and subject.chat.has_template
    known = known_personas() if personas is None else personas
    found = [one for one in steered if has_place and one.name in known]
    if controls is not None and len(found) < len(steered):
        if not has_place:
            why = "and there is none without a chat template; use one"
        else:
            lacking = next(one for one in steered if one not in found)
            why = f"and {lacking.name!r} is no shipped persona; give its persona file"
        raise UserError(f"control 'prompted' is the persona by system prompt, {why}, or leave that control out")
    return found


def _under(subject: Subject, paired: Pairing, persona: Persona) -> list[Prompt]:
    """Each row's prompt under one of the persona's instructions, in turn, which takes the place of a system prompt."""
    found = []
    for row, unit in enumerate(paired.units):
        prompt = paired.prompts[unit]
        turns: list[Message] = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else list(prompt)
        instruction = persona.system_prompt(row % len(persona.instruction), "pos", None)
        told: Message = {"role": "system", "content": instruction}
        found.append(subject.chat.prompt([told, *(turn for turn in turns if turn["role"] != "system")]))
    return found


def _label(prompt: PromptLike) -> str:
    return prompt if isinstance(prompt, str) else prompt[-1]["content"]
