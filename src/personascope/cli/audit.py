"""`personascope audit`: can this judge be trusted with this trait?"""

from pathlib import Path
from typing import Annotated

import typer

from personascope.cli.estimate import estimate_sampling
from personascope.cli.judges import (
    JudgePrices,
    JudgeScale,
    estimate_judging,
    judge_option,
    parse_prices,
    report_usage,
    said,
)
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
    table,
)
from personascope.engine import load
from personascope.engine.cells import Cells
from personascope.errors import UserError
from personascope.extraction.rollouts import Cell, cells, sample_rollouts
from personascope.extraction.splits import split_persona
from personascope.judging import LexiconJudge, check_judge
from personascope.judging.anchors import Anchor, anchors_of, is_planted, shipped_grammar
from personascope.judging.audit import Audit, Item, audit
from personascope.personas import Persona, load_persona
from personascope.runs import Config, RunFolder, write_json
from personascope.subject import Subject

# Every answer is judged in two rounds, and once with its words shuffled.
_TIMES = 3


def audit_command(
    model: ModelArgument,
    judge: Annotated[str, typer.Option("--judge", help="chat, chat:MODEL or lexicon")],
    trait: Annotated[list[str], typer.Option("--trait", help="a shipped persona or a file; several times")],
    judge_scale: JudgeScale = "0-100",
    judge_prices: JudgePrices = None,
    questions: Annotated[int, typer.Option("--questions", help="of each trait, under either pole", min=4)] = 10,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=1)] = 120,
    out: OutOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = None,
    dtype: DtypeOption = "auto",
    batch_size: BatchOption = None,
    estimate: EstimateOption = False,
    as_json: JsonOption = False,
) -> None:
    """Audit a judge: repeatability, separation, length bias, shuffled words, known scores; on organisms the truth."""
    quiet_libraries()
    personas = [load_persona(one) for one in trait]
    subject = load(model, device=device, dtype=dtype)
    asked = judge_option(subject, judge, judge_scale)
    if asked is None:
        raise UserError("there is no judge to audit; give --judge chat or --judge lexicon")
    prices = parse_prices(judge_prices)
    check_judge(asked, personas)
    wanted = {one.name: _wanted(one, questions) for one in personas}
    anchors = {one.name: _anchors(subject, one) for one in personas}
    if estimate:
        answers = [(one, _TIMES * len(wanted[one.name]) + len(anchors[one.name])) for one in personas]
        judging = estimate_judging(asked, answers, max_new_tokens, prices)
        estimate_sampling(subject, sum(map(len, wanted.values())), max_new_tokens, as_json, judging)
        return
    identity = {"judge": judge, "judge_scale": judge_scale, "max_new_tokens": max_new_tokens}
    extent = {"traits": [one.name for one in personas], "questions": questions}
    config = Config(identity, extent, {"device": str(subject.input_device), "batch_size": batch_size})
    path = out or Path("runs") / f"audit-{judge.replace(':', '-').replace('/', '-')}"
    folder = RunFolder.open(path, "audit", config, subject.describe(), seed)
    with folder.running(), progress() as advance:
        store = Cells(folder.path, folder.journal, {"model": subject.name})
        found: list[Audit] = []
        for persona in personas:
            advance(f"answers for {persona.name}", len(wanted[persona.name]))
            rollouts = sample_rollouts(
                subject,
                wanted[persona.name],
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
            reference = _reference(subject, persona, judge)
            found.append(audit(asked, persona, items, reference, folder.journal, seed, anchors[persona.name]))
        write_json(folder.path / "audit.json", [one.describe() for one in found])
        usage = report_usage(folder, [asked], prices)
    if as_json:
        audits = [{**one.describe(), "warnings": one.warnings} for one in found]
        emit({"run": folder.path, "audits": audits, "judging": usage})
        return
    _print(found)
    for persona in personas:
        if not anchors[persona.name]:
            say(f"{persona.name}: no answers of known score, for it is not planted in the organisms")
    if usage is not None:
        print(f"judging     {said(usage['this_start'])}")


def _wanted(persona: Persona, questions: int) -> list[Cell]:
    """The answers to sample: one to each question, under both poles of one instruction."""
    every = cells(persona, split_persona(persona, questions), 1)
    return [cell for cell in every if cell.split == "extract" and cell.pair == 0]


def _anchors(subject: Subject, persona: Persona) -> list[Anchor]:
    """Answers of known score, in the organism's own words where the model is one; none where nobody planted any."""
    grammar = subject.truth.grammar if subject.truth is not None else shipped_grammar()
    return anchors_of(persona.name, grammar) if is_planted(persona.name, grammar) else []


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
            shown(one.anchors_right, ".0%"),
            " / ".join(shown(mean, ".0f") for mean in (one.shown_high, one.shown_low)),
            f"{one.unscored:.0%}",
            shown(one.agreement),
            shown(one.kept_alike),
            shown(one.bias, "+.1f"),
        ]
        for one in found
    ]
    columns = ["trait", "asked twice ±", "AUROC", "length", "shuffled", "known", "of 100 / of 0", "unscored"]
    columns += ["agreement", "same side", "bias"]
    table("", columns, rows)
    print(
        "asked twice: mean difference of two rounds, of 100. AUROC: answers asked for the trait against others. length: "
        "correlation with it.\nshuffled: share whose coherence falls with their words shuffled. known: share of answers of "
        "known score on the right side of 50; of 100 / of 0: its mean scores of those that show all of the trait and none."
        "\nagreement, same side of 50, bias: against the planted truth."
    )
    for one in found:
        for warning in one.warnings:
            say(f"{one.persona}: {warning}")


COMMAND = audit_command
