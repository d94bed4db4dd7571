"""`personascope persona`: persona files of one's own."""

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from personascope.cli.terminal import JsonOption, emit, say
from personascope.errors import UserError
from personascope.personas import Persona
from personascope.personas.draft import check_name, draft_request, drafted, skeleton
from personascope.runs import write_json

app = typer.Typer(help="Persona files of one's own.", no_args_is_help=True)


@app.command("new", short_help="Draft a persona file, or write a skeleton to fill in.")
def new(
    name: Annotated[str, typer.Argument(help="such as cheerful")],
    description: Annotated[str, typer.Option("--description", help="what it is, in a sentence")] = "",
    kind: Annotated[str, typer.Option("--kind", help="trait or role")] = "trait",
    out: Annotated[Path | None, typer.Option("--out", help="file to write; NAME.json by default")] = None,
    as_json: JsonOption = False,
) -> None:
    """Draft a persona file with the chat model of PERSONASCOPE_JUDGE_*, or write a skeleton to fill in."""
    check_name(name)
    path = out or Path(f"{name}.json")
    if kind not in ("trait", "role"):
        raise UserError(f"--kind {kind!r} is neither trait nor role")
    if path.exists():
        raise UserError(f"{path} is there already; give another --out")
    sort: Literal["trait", "role"] = "role" if kind == "role" else "trait"
    has_model = bool(os.environ.get("PERSONASCOPE_JUDGE_BASE_URL"))
    if has_model:
        persona = _ask(name, description, sort)
        write_json(path, persona.model_dump(mode="json"))
    else:
        write_json(path, skeleton(name, description, sort))
    if as_json:
        emit({"file": path, "drafted": has_model})
        return
    if has_model:
        say("drafted; read every line before you use it: what the file says is what gets measured")
    else:
        say(
            "a skeleton: replace every text that begins with FILL IN (PERSONASCOPE_JUDGE_BASE_URL and _MODEL draft one)"
        )
    print(path)


def _ask(name: str, description: str, kind: Literal["trait", "role"]) -> Persona:
    from personascope.judging.endpoint import Endpoint, EndpointFailed
    from personascope.judging.reply import Reply

    found: list[Persona] = []
    wrong: list[str] = []

    def take(_: int, reply: Reply) -> bool:
        result = drafted(reply.text, name, description, kind)
        (wrong if isinstance(result, str) else found).append(result)  # type: ignore[arg-type]
        return not isinstance(result, str)

    question = [{"role": "user", "content": draft_request(name, description, kind)}]
    try:
        Endpoint.from_environment().ask([question], take, max_tokens=4096, temperature=0.7)
    except EndpointFailed as error:
        detail = f"; the last had {wrong[-1]}" if wrong else ""
        raise EndpointFailed(f"no draft of {name!r} was of use{detail}: {error}") from error
    return found[0]


COMMAND = app
