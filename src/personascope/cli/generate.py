"""`personascope generate`: sample responses, steered or not."""

from pathlib import Path
from typing import Annotated

import typer

from personascope.cli.doubts import say_doubts
from personascope.cli.signs import printable_lines
from personascope.cli.steer import HELP as STEER_HELP
from personascope.cli.steer import notes, parse_steer
from personascope.cli.terminal import (
    BatchOption,
    DeviceOption,
    DtypeOption,
    JsonOption,
    ModelArgument,
    SeedOption,
    emit,
    quiet_libraries,
    say,
)
from personascope.corpora import Record, read_prompts
from personascope.directions.doors import load_directions
from personascope.engine import generate, load
from personascope.errors import NonFinite, UserError
from personascope.runs import write_json

PROMPTS_HELP = (
    "a .txt (one a line), .jsonl, .json, .csv or .parquet file; a record is a text, a chat (a list of role and content), or "
    "has one under messages, conversation, prompt, question, instruction, content or text"
)


def generate_command(
    model: ModelArgument,
    prompt: Annotated[list[str] | None, typer.Option("--prompt", help="a prompt; may be given several times")] = None,
    prompts: Annotated[Path | None, typer.Option("--prompts", help=PROMPTS_HELP)] = None,
    directions: Annotated[list[Path] | None, typer.Option("--directions", help="for --steer; several times")] = None,
    steer: Annotated[list[str] | None, typer.Option("--steer", help=STEER_HELP)] = None,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=1)] = 120,
    temperature: Annotated[float, typer.Option("--temperature")] = 1.0,
    top_p: Annotated[float, typer.Option("--top-p")] = 1.0,
    top_k: Annotated[int, typer.Option("--top-k")] = 0,
    chat: Annotated[bool, typer.Option("--chat/--no-chat", help="through the chat template, or as raw text")] = True,
    suppress_eos: Annotated[bool, typer.Option("--suppress-eos", help="never end before --max-new-tokens")] = False,
    seed: SeedOption = 0,
    device: DeviceOption = None,
    dtype: DtypeOption = "auto",
    batch_size: BatchOption = None,
    out: Annotated[Path | None, typer.Option("--out", help="also write what --json prints to this file")] = None,
    as_json: JsonOption = False,
) -> None:
    """Sample one response per prompt."""
    quiet_libraries()
    records = gather(prompt, prompts)
    if steer and directions is None:
        raise UserError("--steer needs --directions, a folder that `personascope extract` or `demo` wrote")
    sets = load_directions(directions) if directions else []
    writes = parse_steer(steer or [], sets)
    steered = {direction.name for write in writes for direction in write.directions}
    say_doubts(one for one in sets if one.name in steered)
    for line in notes(steer or [], writes, sets):
        say(line)
    subject = load(model, device=device, dtype=dtype)
    outs = generate(
        subject,
        [record.prompt for record in records],
        steer=writes,
        max_new_tokens=max_new_tokens,
        temperature=temperature,
        top_p=top_p,
        top_k=top_k,
        seed=seed,
        chat=chat,
        suppress_eos=suppress_eos,
        batch_size=batch_size,
    )
    rows = [
        {"prompt": record.prompt, "text": one.text, "finish": one.finish, "seed": one.seed, "error": one.error}
        for record, one in zip(records, outs, strict=True)
    ]
    plain = {"model": subject.name, "writes": [line for write in writes for line in write.describe()], "rows": rows}
    if as_json:
        emit(plain)
    for record, one in () if as_json else zip(records, outs, strict=True):
        said = record.prompt if isinstance(record.prompt, str) else record.prompt[-1]["content"]
        text = one.text if one.error is None else f"[failed: {one.error}]"
        print(f"> {printable_lines(said)}\n{printable_lines(text)}\n")
        if one.finish == "context":
            say(f"note: this response ended where the context of {subject.context} tokens did")
    # Last, so that what was sampled has been printed where the file cannot be written.
    if out is not None:
        write_json(out, plain)
    failed = [one.error for one in outs if one.error]
    if failed:
        raise NonFinite(f"{len(failed)} of {len(outs)} rows failed; the first: {failed[0]}")


def gather(prompt: list[str] | None, prompts: Path | None, needs_response: bool = False) -> list[Record]:
    """The prompts of `--prompt` and of a file. Raises `UserError` without any."""
    records = [Record(text) for text in prompt or []]
    if any(not record.prompt for record in records):
        raise UserError("--prompt is empty; write something to ask")
    if prompts is not None:
        records += read_prompts(prompts, needs_response)
    if not records:
        raise UserError("there is nothing to ask; give --prompt TEXT or a file of prompts")
    return records


COMMAND = generate_command
