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
    nothing to hold or an answer is empty, `NonFinite` where an answer broke down.
    """
    if not personas or not scripts or not min(map(len, scripts)):
        raise UserError("there is nothing to hold; give at least one role and one turn")
    turns = min(map(len, scripts)) if turns is None else turns
    rows = [(persona, number) for persona in personas for number in range(len(scripts))]
    instructions = [
        "" if persona is None else persona.system_prompt(number % len(persona.instruction), "pos", degree)
        for persona, number in rows
    ]
    pairs: list[list[tuple[str, str]]] = [[] for _ in rows]
    on_progress("talking", len(rows) * turns)
    for turn in range(turns):
        said = user(pairs, [scripts[number] for _, number in rows])
        requests = [
            Request(
                prompt=subject.chat.prompt(
                    [
                        *Transcript(tuple(pairs[row]), None, instructions[row]).messages(),
                        {"role": "user", "content": said[row]},
                    ]
                ),
                seed=derive_seed("simulate", seed, number, turn),
                max_new_tokens=max_new_tokens,
                sampling=Sampling(temperature),
            )
            for row, (_, number) in enumerate(rows)
        ]
        for row, answer in enumerate(
            run_requests(subject, requests, batch_size, on_done=lambda *_: on_progress("", None), cells=cells)
        ):
            if answer.error is not None:
                raise NonFinite(answer.error)
            if not answer.text.strip():
                raise UserError(f"{subject.name} answered {said[row]!r} with nothing; give other turns or another seed")
            pairs[row].append((said[row], answer.text.strip()))
    return [
        Transcript(tuple(pairs[row]), None if persona is None else persona.name, instructions[row])
        for row, (persona, _) in enumerate(rows)
    ]
