"""Transcripts made by the subject itself: it answers under a role, to a script or to a chat model that plays the user."""

from collections.abc import Callable, Sequence
from random import Random

from personascope.corpora import Record, Transcript
from personascope.engine.cells import Cells
from personascope.engine.choose import Sampling
from personascope.engine.generate import run_requests
from personascope.engine.noise import derive_seed
from personascope.engine.rows import Request
from personascope.errors import NonFinite, UserError
from personascope.personas import Persona
from personascope.subject import Subject

# An answer may end at once; it is drawn again so many times.
_ATTEMPTS = 5

Script = tuple[str, ...]
# What the user says next in each of some conversations, given their pairs of turns so far and their scripts.
User = Callable[[Sequence[Sequence[tuple[str, str]]], Sequence[Script]], list[str]]


def scripted(so_far: Sequence[Sequence[tuple[str, str]]], scripts: Sequence[Script]) -> list[str]:
    """The user says what the script says, whatever was answered."""
    return [script[len(pairs)] for pairs, script in zip(so_far, scripts, strict=True)]


def scripts_from(records: Sequence[Record], transcripts: int, turns: int, seed: int = 0) -> list[Script]:
    """One script for each transcript: of a chat its user's turns in order, of single prompts so many of them drawn for each.

    Raises `UserError` where there are too few.
    """
    chats = [record.prompt for record in records if not isinstance(record.prompt, str)]
    if chats:
        scripts = [tuple(turn["content"] for turn in chat if turn["role"] == "user") for chat in chats]
        if len(scripts) < transcripts:
            raise UserError(
                f"{transcripts} transcripts need as many chats, and there are {len(scripts)}; ask for fewer"
            )
        short = [number for number, script in enumerate(scripts[:transcripts]) if len(script) < turns]
        if short:
            raise UserError(
                f"chat {short[0]} has {len(scripts[short[0]])} user turns and {turns} are asked for; ask for fewer turns"
            )
        return [script[:turns] for script in scripts[:transcripts]]
    lines = [record.prompt for record in records if isinstance(record.prompt, str)]
    if len(lines) < turns:
        raise UserError(
            f"{turns} turns need as many different prompts, and there are {len(lines)}; ask for fewer turns"
        )
    return [tuple(Random(f"script {seed} {number}").sample(lines, turns)) for number in range(transcripts)]


def simulate(
    subject: Subject,
    personas: Sequence[Persona | None],
    scripts: Sequence[Script],
    turns: int | None = None,
    user: User = scripted,
    degree: str | None = None,
    max_new_tokens: int = 120,
    temperature: float = 1.0,
    seed: int = 0,
    batch_size: int | None = None,
    on_progress: Callable[[str, int | None], None] = lambda *_: None,
    cells: Cells | None = None,
) -> list[Transcript]:
    """Hold a conversation for every persona (None: no role) and script, turn by turn, all of them rows of one stream.

    A persona is given as a system prompt, one of its instructions in turn. Roles share scripts and noise, so that they
    are paired. turns: pairs of turns, as many as the shortest script has by default. Raises `UserError` where there is
    nothing to hold, an answer stays empty or a conversation outgrows the context, `NonFinite` where an answer broke down.
    """
    if not personas or not scripts or not min(map(len, scripts)):
        raise UserError("there is nothing to hold; give at least one role and one turn")
    longest = min(map(len, scripts))
    if turns is None:
        turns = longest
    elif user is scripted and turns > longest:
        raise UserError(f"a script has {longest} turns and {turns} are asked for; ask for fewer")
    rows = [(persona, number) for persona in personas for number in range(len(scripts))]
    instructions = [
        "" if persona is None else persona.system_prompt(number % len(persona.instruction), "pos", degree)
        for persona, number in rows
    ]
    pairs: list[list[tuple[str, str]]] = [[] for _ in rows]
    on_progress("talking", len(rows) * turns)
    for turn in range(turns):
        said = user(pairs, [scripts[number] for _, number in rows])
        prompts = [
            subject.chat.prompt(
                [
                    *Transcript(tuple(pairs[row]), None, instructions[row]).messages(),
                    {"role": "user", "content": said[row]},
                ]
            )
            for row in range(len(rows))
        ]
        for prompt, (persona, number) in zip(prompts, rows, strict=True):
            if subject.context is not None and len(prompt) + max_new_tokens > subject.context:
                raise UserError(
                    f"conversation {number} of {'no role' if persona is None else persona.name} takes {len(prompt)} tokens "
                    f"at turn {turn}, and with {max_new_tokens} more they do not fit {subject.name}'s context of "
                    f"{subject.context}; ask for fewer turns or shorter answers"
                )
        waiting = list(range(len(rows)))
        answers = [""] * len(rows)
        for attempt in range(_ATTEMPTS):
            requests = [
                Request(
                    prompt=prompts[row],
                    seed=derive_seed("simulate", seed, rows[row][1], turn, attempt),
                    max_new_tokens=max_new_tokens,
                    sampling=Sampling(temperature),
                )
                for row in waiting
            ]
            for row, answer in zip(waiting, run_requests(subject, requests, batch_size, cells=cells), strict=True):
                if answer.error is not None:
                    raise NonFinite(answer.error)
                answers[row] = answer.text.strip()
                if answers[row]:
                    on_progress("", None)
            waiting = [row for row in waiting if not answers[row]]
            if not waiting:
                break
        if waiting:
            raise UserError(
                f"{subject.name} answered {said[waiting[0]]!r} with nothing, {_ATTEMPTS} times; give other turns or "
                "another seed"
            )
        for row, text in enumerate(answers):
            pairs[row].append((said[row], text))
    return [
        Transcript(tuple(pairs[row]), None if persona is None else persona.name, instructions[row])
        for row, (persona, _) in enumerate(rows)
    ]
