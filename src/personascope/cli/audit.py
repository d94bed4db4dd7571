"""`personascope audit`: can this judge be trusted with this trait?"""

from pathlib import Path
from typing import Annotated

import typer

from personascope.cli.judges import JudgeScale, judge_option, report_usage
from personascope.cli.terminal import (
    BatchOption,
    DeviceOption,
    DtypeOption,
    JsonOption,
    ModelArgument,
    OutOption,
    SeedOption,
    emit,
    progress,
    quiet_libraries,
    say,
    table,
)
from personascope.engine import load
from personascope.engine.cells import Cells
from personascope.errors import UserError
from personascope.extraction.rollouts import cells, sample_rollouts
from personascope.extraction.splits import split_persona
from personascope.judging import LexiconJudge
from personascope.judging.audit import Audit, Item, audit
from personascope.personas import Persona, load_persona
from personascope.runs import Config, RunFolder, write_json
from personascope.subject import Subject


def audit_command(
    model: ModelArgument,
    judge: Annotated[str, typer.Option("--judge", help="chat, chat:MODEL or lexicon")],
    trait: Annotated[list[str], typer.Option("--trait", help="a shipped persona or a file; several times")],
    judge_scale: JudgeScale = "0-100",
    questions: Annotated[int, typer.Option("--questions", help="of each trait, under either pole", min=4)] = 10,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=1)] = 120,
    out: OutOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = None,
    dtype: DtypeOption = "auto",
    batch_size: BatchOption = None,
    as_json: JsonOption = False,
) -> None:
    """Audit a judge on a model's answers: repeatability, separation, length bias, shuffled words; on organisms the truth."""
    quiet_libraries()
    personas = [load_persona(one) for one in trait]
    subject = load(model, device=device, dtype=dtype)
    asked = judge_option(subject, judge, judge_scale)
    if asked is None:
        raise UserError("there is no judge to audit; give --judge chat or --judge lexicon")
    for persona in personas:
        # A judge that does not know a persona says so before anything is sampled.
        asked.judge(persona, [])
    identity = {"judge": judge, "judge_scale": judge_scale, "max_new_tokens": max_new_tokens}
    extent = {"traits": [one.name for one in personas], "questions": questions}
    config = Config(identity, extent, {"device": str(subject.input_device), "batch_size": batch_size})
    path = out or Path("runs") / f"audit-{judge.replace(':', '-').replace('/', '-')}"
    folder = RunFolder.open(path, "audit", config, subject.describe(), seed)
    with folder.running(), progress() as advance:
        store = Cells(folder.path, folder.journal, {"model": subject.name})
        found: list[Audit] = []
        for persona in personas:
            wanted = [
                cell
                for cell in cells(persona, split_persona(persona, questions), 1)
                if cell.split == "extract" and cell.pair == 0
            ]
            advance(f"answers for {persona.name}", len(wanted))
            rollouts = sample_rollouts(
                subject,
                wanted,
                [0],
                ("response",),
                max_new_tokens,
                1.0,
                seed,
                batch_size,
                lambda: advance("", None),
                store,
            )
            items = [Item(one.cell.question, one.answer, one.cell.pole == "pos") for one in rollouts]
            advance(f"judging {persona.name}", None)
            found.append(audit(asked, persona, items, _reference(subject, persona, judge), folder.journal, seed))
        write_json(folder.path / "audit.json", [one.describe() for one in found])
        report_usage(folder, [asked])
    if as_json:
        emit({"run": folder.path, "audits": [{**one.describe(), "warnings": one.warnings} for one in found]})
        return
    _print(found)


def _reference(subject: Subject, persona: Persona, judge: str) -> LexiconJudge | None:
    """The judge that knows, where the persona is planted."""
    truth = subject.truth
    if truth is None or judge == "lexicon" or persona.name not in (*truth.personas, *truth.behaviours):
        return None
    return LexiconJudge(truth)


def _print(found: list[Audit]) -> None:
    def shown(value: float | None, form: str = ".2f") -> str:
        return "–" if value is None else f"{value:{form}}"

    rows = [
        [
            one.persona,
            f"{one.repeat_difference:.1f}",
            shown(one.separation),
            shown(one.length_bias, "+.2f"),
            shown(one.scrambled),
            f"{one.unscored:.0%}",
            shown(one.agreement),
            shown(one.kept_alike),
            shown(one.bias, "+.1f"),
        ]
        for one in found
    ]
    columns = ["trait", "asked twice ±", "AUROC", "length", "shuffled", "unscored", "agreement", "same side", "bias"]
    table("", columns, rows)
    print(
        "asked twice: mean difference of two rounds, of 100. AUROC: answers asked for the trait against others. length: "
        "correlation with it.\nshuffled: share whose coherence falls with their words shuffled. agreement, same side of 50, "
        "bias: against the planted truth."
    )
    for one in found:
        for warning in one.warnings:
            say(f"{one.persona}: {warning}")


COMMAND = audit_command
