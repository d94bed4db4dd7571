"""`personascope insert`: ask questions at many points of conversations."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from personascope.cli.doubts import say_doubts
from personascope.cli.insertion_estimate import estimate_insertion
from personascope.cli.insertion_tables import print_doses, print_inserted
from personascope.cli.layers import read_numbers
from personascope.cli.simulate import simulate_command
from personascope.cli.terminal import (
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
from personascope.corpora import Record, neutral_questions, read_prompts, read_transcripts
from personascope.directions import Direction, DirectionSet
from personascope.directions.doors import load_directions
from personascope.engine import load
from personascope.engine.cells import Cells
from personascope.engine.writes import check_width
from personascope.errors import UserError
from personascope.judging import Judge, check_judge, judge_for
from personascope.persistence.inserting import ARMS, Inserting, insert_all
from personascope.persistence.insertion import usual_layer
from personascope.persistence.known import known_personas, persona_keys
from personascope.persistence.signature_doses import signature_doses
from personascope.personas import Persona
from personascope.report.insertion import save_insertion
from personascope.runs import Config, RunFolder, Shards, cell_key
from personascope.subject import Subject

_QUESTIONS = 12


class _Group(TyperGroup):
    """`insert MODEL …` is `insert ask MODEL …`."""

    def parse_args(self, context: Any, arguments: list[str]) -> list[str]:
        if arguments and arguments[0] not in (*self.commands, "--help"):
            arguments = ["ask", *arguments]
        parsed: list[str] = super().parse_args(context, arguments)
        return parsed


app = typer.Typer(
    cls=_Group,
    help="Ask questions at many points of conversations, and look for a signature of the role.",
    no_args_is_help=True,
)


@app.command("ask", short_help="Ask questions along conversations (the default).")
def ask(
    model: ModelArgument,
    transcripts: Annotated[
        list[Path],
        typer.Option("--transcripts", help="a file or folder; several times; those of no role are the control"),
    ],
    role: Annotated[str | None, typer.Option("--role", help="of transcripts that name none")] = None,
    control: Annotated[
        str,
        typer.Option("--control", help="auto, alone (each question on its own), or the name of another role"),
    ] = "auto",
    question: Annotated[list[str] | None, typer.Option("--question", help="may be given several times")] = None,
    questions: Annotated[
        Path | None, typer.Option("--questions", help=f"a file; {_QUESTIONS} neutral questions by default")
    ] = None,
    points: Annotated[
        str | None, typer.Option("--points", help="pairs of turns, such as 1,2,5-20; all by default")
    ] = None,
    layer: Annotated[int | None, typer.Option("--layer", help="three fifths of the way up by default")] = None,
    arm: Annotated[
        list[str] | None, typer.Option("--arm", help=f"{', '.join(ARMS)}; several times; all by default")
    ] = None,
    persona: Annotated[
        list[Path] | None,
        typer.Option("--persona", help="for --steer: the file of a role's persona that does not ship; several times"),
    ] = None,
    steer: Annotated[
        bool, typer.Option("--steer", help="steer fresh conversations with the signatures, and judge them")
    ] = False,
    directions: Annotated[
        list[Path] | None, typer.Option("--directions", help="for --steer: the roles' own directions, beside them")
    ] = None,
    judge: Annotated[str, typer.Option("--judge", help="for --steer: auto, lexicon, chat or chat:MODEL")] = "auto",
    out: OutOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = None,
    dtype: DtypeOption = "auto",
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", help="for --steer: rows at once; what memory holds by default", min=1)
    ] = None,
    estimate: EstimateOption = False,
    as_json: JsonOption = False,
) -> None:
    """Ask questions at many points of conversations (the default: `insert MODEL` is `insert ask MODEL`)."""
    quiet_libraries()
    given_twice = [one for path in transcripts for one in read_transcripts(path, role)]
    held = list(dict.fromkeys(given_twice))
    asked = _questions(question, questions)
    at = None if points is None else read_numbers(points, "--points")
    arms = tuple(dict.fromkeys(arm or ARMS))
    given = load_directions(directions) if directions else []
    say_doubts(given)
    if persona and not steer:
        raise UserError("--persona is for judging what --steer brings; give --steer too, or leave it out")
    subject = load(model, device=device, dtype=dtype)
    layer = usual_layer(subject) if layer is None else layer
    plan = Inserting.of(held, asked, at, layer, control, arms, seed)
    known = known_personas(persona or ())
    named = [known[name] for name in plan.roles if name in known] if steer else []
    scorer = judge_for(subject, judge) if steer else None
    own: dict[str, Direction] = {}
    if steer:
        _check_steering(subject.name, plan, named, scorer)
        own = _own(subject, plan, given) if directions else {}
    if estimate:
        estimate_insertion(plan, subject, named, own, scorer, as_json)
        return
    identity: dict[str, Any] = {
        "layer": layer,
        "control": control,
    }
    extent = {
        "transcripts": [cell_key(transcript=one.plain()) for one in held],
        "questions": asked,
        "points": list(plan.points),
        "arms": list(arms),
        "steered": [f"judge {judge}", *sorted(f"{one.key}:{one.digest}" for one in own.values())] if steer else [],
        **({"personas": persona_keys(persona)} if persona else {}),
    }
    path = out or Path("runs") / f"insert-{cell_key(model=model, seed=seed, **identity, **extent)[:8]}"
    config = Config(identity, extent, {"device": str(subject.input_device), "batch_size": batch_size})
    folder = RunFolder.open(path, "insert", config, subject.describe(), seed)
    with folder.running(), progress() as advance:
        attributes = {"model": subject.name, "layer": layer, "shape": "prompts, hidden"}
        states = Shards(folder.path, folder.journal, "states", "states", attributes, rows=4096)
        found = insert_all(subject, plan, advance, states)
        doses = []
        if scorer is not None:
            doses = signature_doses(
                subject,
                named,
                found.signatures(),
                {name: own[name].norm if name in own else found.length(name) for name in plan.roles},
                scorer,
                own,
                seed=seed,
                batch_size=batch_size,
                on_progress=advance,
                cells=Cells(folder.path, folder.journal, {"model": subject.name}),
            )
        page = save_insertion(folder, found, doses)
    if len(held) < len(given_twice):
        say(f"note: of {len(given_twice)} transcripts {len(given_twice) - len(held)} equal another; each counts once")
    bare = sum(not one.instruction for one in held if one.role is not None)
    if bare and "no instruction" in arms:
        say(f"note: of the transcripts {bare} hold no system prompt: without an instruction they are as they were held")
    if as_json:
        emit({"run": folder.path, "report": page, **found.describe(), "doses": [one.describe() for one in doses]})
        return
    print_inserted(found)
    if doses:
        print_doses([one.describe() for one in doses])
    print(f"\nreport  {page}")


def _questions(question: list[str] | None, questions: Path | None) -> list[str]:
    if not question and questions is None:
        return list(neutral_questions()[:_QUESTIONS])
    records = [*(Record(text) for text in question or []), *(read_prompts(questions) if questions else [])]
    chats = [record for record in records if not isinstance(record.prompt, str)]
    if chats:
        raise UserError(f"{questions} holds chats; a question is one text that is asked at every point")
    return list(dict.fromkeys(str(record.prompt) for record in records))


def _check_steering(model: str, plan: Inserting, named: list[Persona], judge: Judge | None) -> None:
    unknown = sorted(set(plan.roles) - {one.name for one in named})
    if unknown:
        raise UserError(
            f"{unknown[0]!r} is no shipped persona, so that it cannot be judged; give its file with --persona, or leave "
            "--steer out"
        )
    if judge is None:
        raise UserError(f"--steer is judged, and no judge knows {model}; give --judge chat, or leave --steer out")
    check_judge(judge, named)


def _own(subject: Subject, plan: Inserting, given: Sequence[DirectionSet]) -> dict[str, Direction]:
    """By role its own direction. Raises `UserError` where there is none, and on one that cannot steer this model."""
    sets = {one.name: one for one in given}
    missing = sorted(set(plan.roles) - sets.keys())
    if missing:
        raise UserError(
            f"--directions has none for the role {missing[0]!r}; it has {', '.join(sorted(sets)) or 'nothing'}"
        )
    own = {role: sets[role][plan.layer] for role in plan.roles}
    check_width(list(own.values()), subject.hidden_size, subject.n_layers, subject.name)
    for one in own.values():
        one.unit()
    return own


app.command("simulate", short_help="Hold conversations under roles, to ask questions in.")(simulate_command)

COMMAND = app
