"""`personascope insert`: ask questions at many points of conversations."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from personascope.cli.layers import read_numbers
from personascope.cli.simulate import simulate_command
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
    table,
    within,
)
from personascope.corpora import Record, neutral_questions, read_prompts, read_transcripts
from personascope.directions.doors import load_directions
from personascope.engine import load
from personascope.engine.cells import Cells
from personascope.errors import UserError
from personascope.judging import judge_for
from personascope.persistence.inserting import ARMS, Inserted, Inserting, insert_all
from personascope.persistence.signature_doses import signature_doses
from personascope.personas import Persona, load_persona, persona_names
from personascope.report.insertion import save_insertion
from personascope.runs import Config, RunFolder, Shards, cell_key

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


@app.command("ask")
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
    layer: Annotated[int, typer.Option("--layer")] = 3,
    arm: Annotated[
        list[str] | None, typer.Option("--arm", help=f"{', '.join(ARMS)}; several times; all by default")
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
    batch_size: BatchOption = None,
    estimate: EstimateOption = False,
    as_json: JsonOption = False,
) -> None:
    """Ask questions at many points of conversations (the default: `insert MODEL` is `insert ask MODEL`)."""
    quiet_libraries()
    held = [one for path in transcripts for one in read_transcripts(path, role)]
    asked = _questions(question, questions)
    at = None if points is None else read_numbers(points, "--points")
    arms = tuple(dict.fromkeys(arm or ARMS))
    own = {one.name: one[layer] for one in load_directions(directions)} if directions else {}
    subject = load(model, device=device, dtype=dtype)
    plan = Inserting.of(held, asked, at, layer, control, arms, seed)
    named = [load_persona(name) for name in plan.roles if name in persona_names()] if steer else []
    scorer = judge_for(subject, judge) if steer else None
    if steer:
        _check_steering(subject.name, plan, named, scorer is not None, set(own) if directions else None)
    if estimate:
        _estimate(plan, subject, as_json)
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
    if as_json:
        emit({"run": folder.path, "report": page, **found.describe(), "doses": [one.describe() for one in doses]})
        return
    _print(found)
    if doses:
        _print_doses([one.describe() for one in doses])
    print(f"\nreport  {page}")


def _questions(question: list[str] | None, questions: Path | None) -> list[str]:
    if not question and questions is None:
        return list(neutral_questions()[:_QUESTIONS])
    records = [*(Record(text) for text in question or []), *(read_prompts(questions) if questions else [])]
    chats = [record for record in records if not isinstance(record.prompt, str)]
    if chats:
        raise UserError(f"{questions} holds chats; a question is one text that is asked at every point")
    return list(dict.fromkeys(str(record.prompt) for record in records))


def _check_steering(model: str, plan: Inserting, named: list[Persona], has_judge: bool, own: set[str] | None) -> None:
    unknown = sorted(set(plan.roles) - {one.name for one in named})
    if unknown:
        raise UserError(
            f"{unknown[0]!r} is no shipped persona, so that it cannot be judged; leave --steer out, or name the role after "
            "one with --role"
        )
    if not has_judge:
        raise UserError(f"--steer is judged, and no judge knows {model}; give --judge chat, or leave --steer out")
    if own is not None and set(plan.roles) - own:
        missing = sorted(set(plan.roles) - own)[0]
        raise UserError(f"--directions has none for the role {missing!r}; it has {', '.join(sorted(own)) or 'nothing'}")


def _estimate(plan: Inserting, subject: Any, as_json: bool) -> None:
    count = plan.prompts
    tokens = plan.least_tokens(subject)
    if as_json:
        emit({"prompts": count, "tokens_at_least": tokens})
        return
    print(f"{count:,} questions asked; beginnings run once, that is about {tokens:,} tokens")


def _print(found: Inserted) -> None:
    rows = []
    for one in found.parts:
        plain = one.describe()
        consistency, slope = plain.get("consistency"), plain.get("slope")
        rows.append(
            [
                one.role,
                one.arm,
                within(consistency, 2),
                f"{plain['explained'][0]:.2f}",
                f"{plain['lift']:.2f}",
                within(slope, 3),
                "–" if plain.get("p") is None else f"{plain['p']:.3f}",
            ]
        )
    table(
        "",
        ["role", "transcripts", "cosine between points", "explained", "lift", "drift per pair", "p"],
        rows,
        words=["transcripts"],
    )
    if found.told:
        table(
            "",
            ["transcripts", "role told by one state", "by a conversation"],
            [[arm, within(one.accuracy, 2), within(one.by_conversation, 2)] for arm, one in found.told.items()],
        )
    print(f"Centred by {found.control}. Explained: by the signature, of the centred means. 95 % over transcripts.")


def _print_doses(doses: list[dict[str, Any]]) -> None:
    alphas = sorted({one["alpha"] for one in doses if one["alpha"]})
    scored = {
        (one["role"], one["source"], one["alpha"]): f"{one['trait']:.0f} / {one['coherence']:.0f}" for one in doses
    }
    rows = []
    for role, source in dict.fromkeys((one["role"], one["source"]) for one in doses if one["alpha"]):
        rows.append([role, source, scored[role, "unsteered", 0.0], *(scored[role, source, alpha] for alpha in alphas)])
    columns = ["role", "steered with", "unsteered", *(f"α {alpha:g}" for alpha in alphas)]
    table("", columns, rows, words=["steered with"])
    print("Trait / coherence of fresh conversations, 0–100, all vectors of a role at the same length.")


app.command("simulate")(simulate_command)

COMMAND = app
