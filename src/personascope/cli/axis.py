"""`personascope axis`: the assistant axis."""

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
    table,
)
from personascope.engine import load
from personascope.engine.cells import Cells
from personascope.extraction.axis import AssistantAxis, assistant_axis
from personascope.personas import load_persona, persona_names
from personascope.runs import Config, RunFolder, write_json


def axis_command(
    model: ModelArgument,
    role: Annotated[
        list[str] | None,
        typer.Option("--role", help="a shipped role or a file; several times; all shipped ones by default"),
    ] = None,
    questions: Annotated[int, typer.Option("--questions", help="of each role", min=1)] = 10,
    samples: Annotated[int, typer.Option("--samples", help="responses to each", min=1)] = 1,
    judge: Annotated[str, typer.Option("--judge", help="auto, lexicon, chat, chat:MODEL or none")] = "auto",
    judge_scale: JudgeScale = "0-100",
    judge_prices: JudgePrices = None,
    max_new_tokens: Annotated[int, typer.Option("--max-new-tokens", min=1)] = 120,
    temperature: Annotated[float, typer.Option("--temperature")] = 1.0,
    out: OutOption = None,
    seed: SeedOption = 0,
    device: DeviceOption = None,
    dtype: DtypeOption = "auto",
    batch_size: BatchOption = None,
    estimate: EstimateOption = False,
    as_json: JsonOption = False,
) -> None:
    """Extract mean(default) − mean(roles), with the role vectors, their principal components and percentiles for capping."""
    quiet_libraries()
    names = role or [name for name in persona_names() if load_persona(name).kind == "role"]
    personas = [load_persona(name) for name in names]
    subject = load(model, device=device, dtype=dtype)
    asked = judge_option(subject, judge, judge_scale)
    prices = parse_prices(judge_prices)
    if estimate:
        answered = [min(questions, len(one.questions)) * samples for one in personas]
        # The roles' responses are judged, the default character's are not.
        played = [(one, count * len(one.instruction)) for one, count in zip(personas, answered, strict=True)]
        rows = sum(answered) + sum(count for _, count in played)
        estimate_sampling(
            subject, rows, max_new_tokens, as_json, estimate_judging(asked, played, max_new_tokens, prices)
        )
        return
    identity = {
        "judge": judge,
        "judge_scale": judge_scale,
        "max_new_tokens": max_new_tokens,
        "temperature": temperature,
    }
    extent = {"roles": [one.name for one in personas], "questions": questions, "samples": samples}
    config = Config(identity, extent, {"device": str(subject.input_device), "batch_size": batch_size})
    folder = RunFolder.open(out or Path("runs") / "axis", "axis", config, subject.describe(), seed)
    with folder.running(), progress() as advance:
        found = assistant_axis(
            subject,
            personas,
            questions,
            samples,
            asked,
            max_new_tokens,
            temperature,
            seed,
            batch_size=batch_size,
            on_progress=advance,
            store=Cells(folder.path, folder.journal, {"model": subject.name}),
        )
        found.axis.save(folder.path / "directions" / f"{found.axis.name}.safetensors")
        for one in (found.default, *found.roles):
            one.save(folder.path / "roles" / f"{one.name}.safetensors")
        write_json(folder.path / "axis.json", found.describe())
        usage = report_usage(folder, [asked], prices)
    if as_json:
        emit({"run": folder.path, **found.describe(), "judging": usage})
        return
    _print(found)
    print(f"\ndirections  {folder.path / 'directions'}\nrole means  {folder.path / 'roles'}")
    if usage is not None:
        print(f"judging     {said(usage['this_start'])}")


def _print(found: AssistantAxis) -> None:
    rows = []
    for layer in found.axis.layers:
        explained = list(found.components(layer)[1][:3]) if len(found.roles) > 1 else []
        bounds = [f"{found.percentile(layer, q):.2f}" for q in (5, 25, 50, 75, 95)]
        rows.append(
            [str(layer), f"{found.axis[layer].norm:.2f}", ", ".join(f"{one:.0%}" for one in explained), *bounds]
        )
    table("", ["layer", "length", "variance of roles on PC 1, 2, 3", "p5", "p25", "p50", "p75", "p95"], rows)
    print("Percentiles of responses' projections, for capping: --steer assistant_axis@LAYER:floor=p25")


COMMAND = axis_command
