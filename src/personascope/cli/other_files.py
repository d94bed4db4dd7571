"""Files that `personascope import` is given and that hold no vectors: personas, rollouts, transcripts."""

import csv
import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow.parquet as pq

from personascope.cli.terminal import emit
from personascope.corpora import read_transcripts
from personascope.errors import UserError
from personascope.personas import Persona, load_persona, persona_names
from personascope.personas.draft import check_name
from personascope.runs import write_json
from personascope.runs.files import file_name

Kind = Literal["persona", "rollouts", "transcripts"]

_CHATS = ("conversation", "messages")


def kind_of(path: Path) -> Kind | None:
    """What a .json, .jsonl, .csv or .parquet file holds; None: something else, or nothing that can be read."""
    if path.suffix in (".csv", ".parquet"):
        columns = _columns(path)
        if {"prompt", "answer"} <= set(columns):
            return "rollouts"
        return "transcripts" if set(_CHATS) & set(columns) else None
    if path.suffix not in (".json", ".jsonl"):
        return None
    plain = _first(path)
    if isinstance(plain, dict):
        if "projections" in plain:
            return None
        if "questions" in plain or {"instruction", "eval_prompt"} <= set(plain):
            return "persona"
    return "transcripts" if _is_chat(plain) else None


def point_to(path: Path, kind: Literal["rollouts", "transcripts"]) -> UserError:
    """What to do with a file that is used as it is. Raises `UserError` where transcripts are none."""
    file = shlex.quote(str(path))
    if kind == "rollouts":
        # The column of scores is named after the trait.
        named = [column for column in _columns(path) if column in persona_names()]
        trait = named[0] if len(named) == 1 else "TRAIT"
        command = f"personascope extract MODEL --trait {trait} --rollouts {file}"
        return UserError(f"{path} holds rollouts, which need no importing; `{command}` makes directions from them")
    role = "" if any(one.role for one in read_transcripts(path)) else " --role ROLE"
    command = f"personascope insert MODEL --transcripts {file}{role}"
    return UserError(f"{path} holds transcripts, which need no importing; `{command}` asks questions along them")


def import_personas(files: Sequence[Path], out: Path | None, name: str | None, as_json: bool) -> None:
    """Persona files, once they are valid, as ours. Raises `UserError` naming file, line and field, and before it would
    write over a file."""
    personas = [load_persona(file) for file in files]
    if name is not None:
        if len(personas) > 1:
            raise UserError(f"{len(personas)} personas cannot all be {name!r}; leave --name out")
        personas = [personas[0].model_copy(update={"name": check_name(name)})]
    places: dict[Path, Persona] = {}
    for persona in personas:
        place = (out or Path("personas")) / f"{file_name(persona.name)}.json"
        if place in places:
            raise UserError(f"two of the files are named {persona.name!r}; import them apart, one of them with --name")
        if place.exists():
            raise UserError(f"{place} is there already; give another --out or --name")
        places[place] = persona
    for place, persona in places.items():
        write_json(place, persona.model_dump(mode="json"))
    if as_json:
        emit({"personas": [{"name": one.name, "file": place} for place, one in places.items()]})
        return
    for place in places:
        print(f"persona  {place}")
    traits = " ".join(f"--trait {shlex.quote(str(place))}" for place in places)
    print(f"used as  personascope extract MODEL {traits}")


def _columns(path: Path) -> list[str]:
    try:
        if path.suffix == ".parquet":
            return list(pq.read_schema(path).names)
        with open(path, encoding="utf-8-sig", newline="") as file:
            return next(csv.reader(file), [])
    except FileNotFoundError as error:
        raise UserError(f"{path} does not exist; give a file to import") from error
    except (OSError, ValueError, csv.Error) as error:
        raise UserError(f"{path} cannot be read: {error}") from error


def _first(path: Path) -> Any:
    """The JSON of a file, or of the first line of a .jsonl; None where it is none."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        return json.loads(text.lstrip().partition("\n")[0] if path.suffix == ".jsonl" else text)
    except (OSError, ValueError, RecursionError):
        return None


def _is_chat(plain: Any) -> bool:
    """A message, a list of messages, an object with some, or a list of those."""
    if isinstance(plain, list):
        return bool(plain) and _is_chat(plain[0])
    return isinstance(plain, dict) and (bool(set(_CHATS) & set(plain)) or {"role", "content"} <= set(plain))
