"""`personascope insert simulate`: hold conversations under roles, to ask questions in."""

from pathlib import Path
from typing import Annotated, Any

import typer

from personascope.cli.estimate import estimate_sampling
from personascope.cli.terminal import (
    BatchOption,
    DeviceOption,
    DtypeOption,
    EstimateOption,
    JsonOption,
    ModelArgument,
    OutOption,
    SeedOption,
    emit,
    progress,
    quiet_libraries,
    say,
)
from personascope.corpora import Record, neutral_questions, read_prompts, write_transcripts
from personascope.engine import load
from personascope.engine.cells import Cells
from personascope.errors import UserError
from personascope.persistence.simulate import User, scripted, scripts_from, simulate
from personascope.personas import load_persona
from personascope.runs import Config, RunFolder, cell_key


def simulate_command(
    model: ModelArgument,
    role: Annotated[
        list[str], typer.Option("--role", help="a persona, its file, or none (no role: the control); several times")
    ],
    transcripts: Annotated[int, typer.Option("--transcripts", help="conversations of each role", min=1)] = 6,
    turns: Annotated[int, typer.Option("--turns", help="pairs of turns in each", min=1)] = 8,
    user: Annotated[
        str,
        typer.Option(
            "--user",
            help="what the user says: a file of prompts or chats, or chat (the model of PERSONASCOPE_USER_*); neutral "
            "questions by default",
        ),
    ] = "",
    degree: Annotated[str | None, typer.Option("--degree", help="how strongly: slightly or very")] = None,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", help="of each answer", min=1)] = 120,
    temperature: Annotated[float, typer.Option("--temperature")] = 1.0,
    out: OutOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = None,
    dtype: DtypeOption = "auto",
    batch_size: BatchOption = None,
    estimate: EstimateOption = False,
    as_json: JsonOption = False,
) -> None:
    """Hold conversations under roles, on the same user turns, and write transcripts.jsonl."""
    quiet_libraries()
    if degree not in (None, "slightly", "very"):
        raise UserError(f"--degree {degree!r} is not known; use slightly or very, or leave it out")
    personas = [None if one == "none" else load_persona(one) for one in dict.fromkeys(role)]
    lines = [Record(text) for text in neutral_questions()] if user in ("", "chat") else read_prompts(user)
    scripts = scripts_from(lines, transcripts, 1 if user == "chat" else turns, seed)
    subject = load(model, device=device, dtype=dtype)
    if estimate:
        estimate_sampling(subject, len(personas) * transcripts * turns, max_new_tokens, as_json)
        return
    identity: dict[str, Any] = {
        "turns": turns,
        "user": user,
        "degree": degree,
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
    }
    extent = {"roles": [str(one) for one in dict.fromkeys(role)], "scripts": [list(script) for script in scripts]}
    path = out or Path("runs") / f"simulate-{cell_key(model=model, seed=seed, **identity, **extent)[:8]}"
    config = Config(identity, extent, {"device": str(subject.input_device), "batch_size": batch_size})
    folder = RunFolder.open(path, "simulate", config, subject.describe(), seed)
    with folder.running(), progress() as advance:
        speaks: User = scripted
        if user == "chat":
            from personascope.judging.endpoint import Endpoint
            from personascope.persistence.chat_user import ChatUser

            speaks = ChatUser(Endpoint.from_environment(prefix="PERSONASCOPE_USER"), folder.journal, seed)
        found = simulate(
            subject,
            personas,
            scripts,
            turns,
            speaks,
            degree,
            max_new_tokens,
            temperature,
            seed,
            batch_size,
            advance,
            Cells(folder.path, folder.journal, {"model": subject.name}),
        )
        file = write_transcripts(folder.path / "transcripts.jsonl", found)
    if as_json:
        emit({"run": folder.path, "transcripts": file, "count": len(found), "turns": turns})
        return
    for one in (found[0], found[-1])[: len(found)]:
        say(f"{one.role or 'no role'}: {one.pairs[0][0]} → {one.pairs[0][1][:160]}")
    print(file)
